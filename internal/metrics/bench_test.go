package metrics

import (
	"net/http"
	"testing"
	"time"
)

// BenchmarkWebhook measures all counting for one accepted webhook.
func BenchmarkWebhook(b *testing.B) {
	m := New(well())
	source := m.Source("default")
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		took := 300 * time.Microsecond
		for pb.Next() {
			took += 997 * time.Nanosecond
			if took > 20*time.Millisecond {
				took = 300 * time.Microsecond
			}
			m.Appended(took, nil)
			m.Accepted("order.paid", false)
			source.Count(http.StatusAccepted)
			m.Request(http.MethodPost, http.StatusAccepted, took)
		}
	})
}

package adminapi

import (
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/hookgate/hookgate"
)

// BenchmarkStream reads 100,000 stored events as NDJSON over HTTP.
func BenchmarkStream(b *testing.B) {
	const events = 100_000
	g := newGate(b, func(s *setup) { s.queue = &fakeQueue{} })
	now := time.Now()
	batch := &hookgate.Batch{Worker: "test", ProcessedAt: now, Attempts: 1}
	for i := range events {
		batch.Records = append(batch.Records, hookgate.Record{
			Request: hookgate.Request{
				RequestID: hookgate.NewRequestID(now), OrderingKey: fmt.Sprint("customer-", i%1000),
				Identity: hookgate.Identity{Source: "default", EventType: "order.paid",
					MessageID: fmt.Sprint("message-", i)},
				Sequence: int64(i), ReceivedAt: now, RemoteAddr: "192.0.2.1:4711", Body: []byte("{}"),
				Headers: []hookgate.Header{{Name: "Content-Type", Value: "application/json"}},
			}, EnqueuedAt: now, Position: hookgate.Position{Major: uint64(i + 1)}})
		if len(batch.Records) == 1000 {
			_, err := g.store.Apply(b.Context(), batch)
			must(b, err)
			batch.Records = batch.Records[:0]
		}
	}
	r, err := http.NewRequest("GET", g.url+"/api/events", nil)
	must(b, err)
	r.Header.Set("Accept", ndjson)
	r.Header.Set("Authorization", "Bearer "+adminToken)
	b.ReportAllocs()
	for b.Loop() {
		resp, err := g.client.Do(r)
		must(b, err)
		n, err := io.Copy(io.Discard, resp.Body)
		must(b, err)
		resp.Body.Close()
		b.SetBytes(n)
		if resp.StatusCode != 200 || n < events*300 {
			b.Fatalf("%s, %d bytes", resp.Status, n)
		}
	}
}

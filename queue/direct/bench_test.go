package direct

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/hookgate/hookgate/queue/queuetest"
)

func openBench(b *testing.B) *Queue {
	s := openStore(b, filepath.Join(b.TempDir(), "store.db"))
	q, err := New(s, Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		q.Close()
		s.Close()
	})
	return q
}

// BenchmarkAppend measures durable appends by concurrent callers, whose transactions they share.
func BenchmarkAppend(b *testing.B) {
	for _, callers := range []int{1, 16, 256} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			queuetest.BenchmarkAppendAlone(b,
				openBench(b), callers)
		})
	}
}

// BenchmarkPaced measures appends at 500 a second.
func BenchmarkPaced(b *testing.B) { queuetest.BenchmarkPaced(b, openBench(b), 500) }

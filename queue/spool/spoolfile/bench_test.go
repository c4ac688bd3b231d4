package spoolfile

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/hookgate/hookgate/queue/queuetest"
)

func openBench(b *testing.B) *File {
	q, err := Open(context.Background(), filepath.Join(b.TempDir(), "spool.db"),
		Options{HighWater: 1 << 40})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { q.Close() })
	return q
}

// BenchmarkAppend measures durable appends by concurrent callers, whose fsync they share.
func BenchmarkAppend(b *testing.B) {
	for _, callers := range []int{1, 50} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			queuetest.BenchmarkAppend(b,
				openBench(b), callers)
		})
	}
}

// BenchmarkRead measures Next and Commit.
func BenchmarkRead(b *testing.B) { queuetest.BenchmarkRead(b, openBench(b)) }

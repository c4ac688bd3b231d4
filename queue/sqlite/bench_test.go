package sqlite

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hookgate/hookgate"
)

func benchDelivery(n int64) *hookgate.Delivery {
	now := time.Now()
	return &hookgate.Delivery{
		RequestID:   hookgate.NewRequestID(now),
		Identity:    hookgate.Identity{Source: "default", EventType: "order.paid", MessageID: fmt.Sprintf("evt-%016x", n)},
		OrderingKey: fmt.Sprintf("customer-%d", n%100),
		Sequence:    n,
		Body:        make([]byte, 600),
		RemoteAddr:  "127.0.0.1:4711",
		ReceivedAt:  now,
	}
}

// BenchmarkAppend measures durable appends of 600-byte bodies by concurrent callers, with a consumer that
// releases them at once, so that claims and removals are part of the cost.
func BenchmarkAppend(b *testing.B) {
	for _, callers := range []int{1, 50} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			o, err := Options{}.withDefaults()
			if err != nil {
				b.Fatal(err)
			}
			q, err := open(context.Background(), filepath.Join(b.TempDir(), "queue.db"), o, nil)
			if err != nil {
				b.Fatal(err)
			}
			defer q.Close()
			var consuming sync.WaitGroup
			consuming.Go(func() { drain(b, q) })
			var n atomic.Int64
			b.ReportAllocs()
			b.SetParallelism((callers + 1) / 2)
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if _, err := q.Append(context.Background(), benchDelivery(n.Add(1))); err != nil {
						b.Error(err)
						return
					}
				}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "appends/s")
			b.StopTimer()
			q.Close()
			consuming.Wait()
		})
	}
}

func drain(b *testing.B, q *Queue) {
	c, err := q.Consume(context.Background())
	if err != nil {
		b.Error(err)
		return
	}
	for {
		records, err := c.Next(context.Background(), 500, 8<<20)
		if err != nil {
			return // closed
		}
		last := map[int]hookgate.Position{}
		for _, r := range records {
			last[r.Partition] = r.Position
		}
		var offsets []hookgate.Offset
		for p, position := range last {
			offsets = append(offsets, hookgate.Offset{Partition: p, Position: position})
		}
		if c.Commit(context.Background(), offsets) != nil {
			return
		}
	}
}

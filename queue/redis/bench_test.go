package redis

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/internal/redistest"
)

func benchDelivery(n int64) *hookgate.Delivery {
	d := testDelivery(fmt.Sprintf("customer-%d", n%100), int(n))
	d.MessageID = fmt.Sprintf("evt-%016x", n)
	return d
}

// appendAll appends b.N records of 600 bytes from 50 callers.
func appendAll(b *testing.B, q *Queue) {
	var n atomic.Int64
	b.SetParallelism(25) // times GOMAXPROCS; two processors are what the figures are for
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := q.Append(context.Background(), benchDelivery(n.Add(1))); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

// BenchmarkAppend measures appends of 600-byte bodies by 50 callers, at both settings of the append-only file.
func BenchmarkAppend(b *testing.B) {
	for _, fsync := range []string{"everysec", "always"} {
		b.Run(fsync, func(b *testing.B) {
			server := redistest.Start(b, redistest.Options{AppendFsync: fsync})
			q := mustOpen(b, Config{URL: server.URL(), HighWater: 1 << 40, LeaseTTL: 5 * time.Second})
			b.ReportAllocs()
			b.ResetTimer()
			appendAll(b, q)
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "appends/s")
		})
	}
}

// BenchmarkConsume measures Next and Commit in batches of 500 on a backlog over 16 partitions.
func BenchmarkConsume(b *testing.B) {
	server := redistest.Start(b, redistest.Options{AppendFsync: "everysec"})
	q := mustOpen(b, Config{URL: server.URL(), HighWater: 1 << 40, LeaseTTL: 5 * time.Second})
	appendAll(b, q)
	c := mustConsume(b, q)
	b.ReportAllocs()
	b.ResetTimer()
	for n := 0; n < b.N; {
		records, err := c.Next(b.Context(), 500, 8<<20)
		if err != nil {
			b.Fatal(err)
		}
		if err := c.Commit(b.Context(), hookgate.LastOffsets(records)); err != nil {
			b.Fatal(err)
		}
		n += len(records)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
}

package redis

import (
	"context"
	"fmt"
	"strconv"
	"sync/atomic"
	"syscall"
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

// reportProcessors measures, between its call and that of what it returns, the processor time of Redis and of this process.
func reportProcessors(b *testing.B, server *redistest.Server) (report func()) {
	read := func() (redis, self float64) {
		text := server.MustDo("INFO", "cpu")
		for _, name := range []string{"used_cpu_sys", "used_cpu_user"} {
			seconds, err := strconv.ParseFloat(infoField(text, name), 64)
			if err != nil {
				b.Fatal(err)
			}
			redis += seconds
		}
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return redis, time.Duration(u.Utime.Nano() + u.Stime.Nano()).Seconds()
	}
	redis, self := read()
	return func() {
		redisAfter, selfAfter := read()
		b.ReportMetric((redisAfter-redis)*1e6/float64(b.N), "redis-µs/op")
		b.ReportMetric((selfAfter-self)*1e6/float64(b.N), "own-µs/op")
	}
}

// BenchmarkAppend measures appends of 600-byte bodies by 50 callers, at both settings of the append-only file.
func BenchmarkAppend(b *testing.B) {
	for _, fsync := range []string{"everysec", "always"} {
		b.Run(fsync, func(b *testing.B) {
			server := redistest.Start(b, redistest.Options{AppendFsync: fsync})
			q := mustOpen(b, Config{URL: server.URL(), HighWater: 1 << 40, LeaseTTL: 5 * time.Second})
			b.ReportAllocs()
			report := reportProcessors(b, server)
			b.ResetTimer()
			appendAll(b, q)
			report()
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
	report := reportProcessors(b, server)
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
	report()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
}

package redis

import (
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/hookgate/hookgate/internal/redistest"
	"github.com/hookgate/hookgate/queue/queuetest"
)

// reportProcessors measures the processor time of Redis and of this process between its call and
// the call of report. It reports them for each of n events. That of this process includes making
// the requests.
func reportProcessors(b *testing.B, server *redistest.Server) (report func(n int)) {
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
	return func(n int) {
		redisAfter, selfAfter := read()
		b.ReportMetric((redisAfter-redis)*1e6/float64(n), "redis-µs/event")
		b.ReportMetric((selfAfter-self)*1e6/float64(n), "own-µs/event")
	}
}

// BenchmarkAppend measures appends by 50 callers at both settings of the append-only file.
func BenchmarkAppend(b *testing.B) {
	for _, fsync := range []string{"everysec", "always"} {
		b.Run(fsync, func(b *testing.B) {
			server := redistest.Start(b, redistest.Options{AppendFsync: fsync})
			q := mustOpen(b, Config{URL: server.URL(), HighWater: 1 << 40, LeaseTTL: 5 * time.Second})
			report := reportProcessors(b, server)
			report(queuetest.BenchmarkAppend(b, q, 50))
		})
	}
}

// BenchmarkRead measures Next and Commit over 16 partitions.
func BenchmarkRead(b *testing.B) {
	server := redistest.Start(b, redistest.Options{AppendFsync: "everysec"})
	queuetest.BenchmarkRead(b, mustOpen(b, Config{URL: server.URL(), HighWater: 1 << 40,
		LeaseTTL: 5 * time.Second}))
}

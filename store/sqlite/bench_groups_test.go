//go:build unix

package sqlite

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/hookgate/hookgate/store/storetest"
)

// BenchmarkGroups measures the CPU time and the pages of write-ahead log for each event, for
// transactions of several sizes. The store has 100,000 events with random message ids and 100
// ordering keys.
func BenchmarkGroups(b *testing.B) {
	for _, size := range []int{1, 25, 256} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			path := filepath.Join(b.TempDir(), "store.db")
			s, err := Open(b.Context(), path)
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			apply := func(size int) {
				b.StopTimer()
				batch := storetest.BenchBatch(size, 0, nil)
				batch.Epochs = nil
				for i := range batch.Records {
					batch.Records[i].OrderingKey = fmt.Sprint("customer-", i*7919%100)
				}
				b.StartTimer()
				if _, err := s.Apply(b.Context(), batch); err != nil {
					b.Fatal(err)
				}
			}
			for range 100 {
				apply(1000)
			}
			s.mu.Lock()
			err = sqlitex.ExecuteTransient(s.conn, "PRAGMA wal_checkpoint(TRUNCATE)", nil)
			if err == nil {
				err = sqlitex.ExecuteTransient(s.conn, "PRAGMA wal_autocheckpoint = 0", nil)
			}
			s.mu.Unlock()
			if err != nil {
				b.Fatal(err)
			}
			b.ResetTimer()
			before, n := cpuTime(b), 0
			for b.Loop() {
				apply(size)
				n += size
			}
			log, err := os.Stat(path + "-wal")
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64((cpuTime(b)-before).Nanoseconds())/1000/float64(n), "cpu-µs/event")
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "events/s")
			b.ReportMetric(float64(log.Size()/(24+8192))/float64(n), "pages/event")
		})
	}
}

// cpuTime returns the CPU time of the process so far.
func cpuTime(b *testing.B) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

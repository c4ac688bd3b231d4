package postgres

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/hookgate/hookgate/internal/pgtest"
	"github.com/hookgate/hookgate/store/storetest"
)

// openBench opens a store on a server that waits for its disk.
func openBench(b *testing.B) *Store {
	cluster, err := pgtest.Start(b.Context(), pgtest.Options{Fsync: true,
		Settings: []string{"max_wal_size=4GB", "checkpoint_timeout=1h"}})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { cluster.Close() })
	name, err := cluster.NewDatabase(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	s, err := Open(b.Context(), Config{URL: cluster.URL(name)})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() })
	return s
}

// BenchmarkDelivery measures the log and the subscriptions as delivery uses them.
func BenchmarkDelivery(b *testing.B) {
	s := openBench(b)
	storetest.BenchmarkDelivery(b, s, s, s.Subscriptions())
}

// BenchmarkLeases measures what pull asks of the store.
func BenchmarkLeases(b *testing.B) {
	storetest.BenchmarkLeases(b, openBench(b).Subscriptions())
}

// BenchmarkNotify measures how the notification of an append slows it down, as a ratio of two times
// of one run. Another process listens.
func BenchmarkNotify(b *testing.B) {
	s := openBench(b)
	listener, err := New(b.Context(), Config{URL: s.config.ConnString()})
	if err != nil {
		b.Fatal(err)
	}
	defer listener.Close()
	if err := listener.Prepare(b.Context()); err != nil {
		b.Fatal(err)
	}
	listener.Grown()
	for _, size := range []int{1, 25, 256} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			var took [2][]time.Duration
			for n := 0; b.Loop(); n++ {
				for i := range 2 {
					i ^= n & 1
					s.quiet = i == 0
					batch := storetest.BenchBatch(size, 0, nil)
					start := time.Now()
					if _, err := s.Apply(b.Context(), batch); err != nil {
						b.Fatal(err)
					}
					took[i] = append(took[i], time.Since(start))
				}
			}
			for i := range took {
				slices.Sort(took[i])
			}
			for name, rank := range map[string]float64{"p50": 0.5, "p95": 0.95} {
				n := int(float64(len(took[0])-1) * rank)
				b.ReportMetric(float64(took[1][n])/float64(took[0][n]), name+"-with/without")
			}
		})
	}
}

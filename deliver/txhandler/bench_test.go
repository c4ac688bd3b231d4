package txhandler

import (
	"sync"
	"sync/atomic"
	"testing"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/internal/pgtest"
)

// BenchmarkPgx delivers events to a function with one INSERT, on a PostgreSQL of this machine whose
// commits wait for the disk. The number of deliveries at a time is that of gate.HandleTx.
func BenchmarkPgx(b *testing.B) {
	for _, c := range []struct {
		name    string
		attempt int
	}{
		{"grouped", 1},
		{"one_transaction_per_event", 2}, // a second attempt runs alone
	} {
		b.Run(c.name, func(b *testing.B) {
			cluster, err := pgtest.Start(b.Context(), pgtest.Options{Fsync: true})
			if err != nil {
				b.Fatal(err)
			}
			defer cluster.Close()
			name, err := cluster.NewDatabase(b.Context())
			if err != nil {
				b.Fatal(err)
			}
			w := pgxWorld(b, cluster.URL(name))
			w.concurrent()
			var next atomic.Int64
			var workers sync.WaitGroup
			b.ResetTimer()
			for range 128 {
				workers.Go(func() {
					for {
						id := next.Add(1)
						if id > int64(b.N) {
							return
						}
						d := delivery(id)
						d.Attempt = c.attempt
						if a := w.Deliver(b.Context(), d); a.Verdict != hookgate.VerdictDelivered {
							b.Errorf("event %d is answered %+v", id, a)
							return
						}
					}
				})
			}
			workers.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
			b.ReportMetric(float64(b.N)/float64(w.begun.Load()), "events/transaction")
		})
	}
}

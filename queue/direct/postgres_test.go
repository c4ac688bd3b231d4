package direct

import (
	"context"
	"testing"
	"time"

	"github.com/hookgate/hookgate/internal/pgtest"
	"github.com/hookgate/hookgate/queue/queuetest"
	"github.com/hookgate/hookgate/store/postgres"
)

// TestConformancePostgres runs the suite of every queue over PostgreSQL.
func TestConformancePostgres(t *testing.T) {
	cluster, err := pgtest.Shared()
	if err != nil {
		t.Fatal(err)
	}
	queuetest.RunQueue(t, queuetest.QueueBackend{
		FailsWrites: true,
		NewPlace: func(t queuetest.TB) string {
			name, err := cluster.NewDatabase(context.Background())
			if err != nil {
				t.Fatalf("%v", err)
			}
			return cluster.URL(name)
		},
		Open: func(t queuetest.TB, place string) queuetest.QueueInstance {
			s, err := postgres.Open(context.Background(), postgres.Config{URL: place, MaxConns: 6})
			if err != nil {
				t.Fatalf("open store: %v", err)
			}
			return instance(t, &faults{backing: s}, Options{Partitions: 4, Timeout: time.Minute, Shared: true})
		},
	})
}

package direct

import (
	"context"
	"testing"
	"time"

	"github.com/hookgate/hookgate/internal/pgtest"
	"github.com/hookgate/hookgate/queue/queuetest"
	"github.com/hookgate/hookgate/store/postgres"
)

// newDatabase returns the shared server and the name of a database with the tables of a store,
// which has nothing yet.
func newDatabase(t queuetest.TB) (*pgtest.Cluster, string) {
	t.Helper()
	cluster, err := pgtest.Shared()
	if err != nil {
		t.Fatalf("%v", err)
	}
	name, err := cluster.NewPrepared(context.Background(), func(url string) error {
		return postgres.Migrate(context.Background(), url, "")
	})
	if err != nil {
		t.Fatalf("%v", err)
	}
	t.Cleanup(func() {
		if err := cluster.ResetPrepared(context.Background(), name); err != nil {
			t.Errorf("%v", err)
		}
	})
	return cluster, name
}

func openPostgres(t queuetest.TB, url string) backing {
	t.Helper()
	s, err := postgres.Open(context.Background(), postgres.Config{URL: url, MaxConns: 6})
	if err != nil {
		t.Fatalf("open store: %v", err)
	}
	return s
}

// TestConformancePostgres runs the suite of every queue over PostgreSQL.
func TestConformancePostgres(t *testing.T) {
	queuetest.RunQueue(t, queuetest.QueueBackend{
		FailsWrites: true,
		NewPlace: func(t queuetest.TB) string {
			cluster, name := newDatabase(t)
			return cluster.URL(name)
		},
		Open: func(t queuetest.TB, place string) queuetest.QueueInstance {
			return instance(t, &faults{backing: openPostgres(t, place)}, Options{Partitions: 4,
				Timeout: time.Minute, Shared: true})
		},
	})
}

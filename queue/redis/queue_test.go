package redis

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/hookgate/hookgate/control/settings"
	"github.com/hookgate/hookgate/control/settings/settingstest"
	"github.com/hookgate/hookgate/internal/modeltest"
	"github.com/hookgate/hookgate/internal/redistest"
	"github.com/hookgate/hookgate/queue/queuetest"
)

func TestMain(m *testing.M) {
	// After each crash the model waits until the leases of the dead process run out.
	modeltest.Checks(5)
	goleak.VerifyTestMain(m,
		// rueidis closes unused connections of a cluster 5 s late, even after its own Close.
		goleak.IgnoreAnyFunction("github.com/redis/rueidis.(*clusterClient)._refresh.func2"),
		// It also ends a delayed refresh of the cluster only when its delay of a second is over.
		goleak.IgnoreAnyFunction("github.com/redis/rueidis.(*call).DelayDo.func1"))
}

// testLease is short because tests wait for the leases of dead processes to run out. It is long
// enough for a busy machine to renew in time.
const testLease = time.Second

var places atomic.Int64

// newPlace returns an unused prefix.
func newPlace(queuetest.TB) string { return fmt.Sprintf("t%d", places.Add(1)) }

// backend runs the suite against the Redis at url.
func backend(url string) queuetest.Backend {
	return queuetest.Backend{
		NewPlace: newPlace,
		Open: func(t queuetest.TB, place string, o queuetest.Options) queuetest.Instance {
			t.Helper()
			q := openAt(t, url, place, o)
			return queuetest.Instance{BufferedQueue: q, End: q.Close, Crash: q.abandon}
		},
	}
}

func openAt(t queuetest.TB, url, place string, o queuetest.Options) *Queue {
	t.Helper()
	q, err := Open(context.Background(), Config{
		URL: url, Prefix: place, LeaseTTL: testLease, OpTimeout: 3 * time.Minute,
		Partitions: o.Partitions, HighWater: o.HighWater, ClaimTTL: o.ClaimTTL,
	})
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	return q
}

// TestConformance runs the suite against a single server, with connections that break on demand.
func TestConformance(t *testing.T) {
	t.Parallel() // it mostly waits for leases to run out
	server := redistest.Start(t, redistest.Options{})
	queuetest.Run(t, queuetest.Backend{
		FailsWrites: true,
		NewPlace:    newPlace,
		Open: func(t queuetest.TB, place string, o queuetest.Options) queuetest.Instance {
			t.Helper()
			p := newProxy(t, server.Addr())
			q := openAt(t, p.url(), place, o)
			return queuetest.Instance{
				BufferedQueue: q,
				FailWrites:    p.fail.Store,
				End:           func() error { defer p.close(); return q.Close() },
				Crash:         func() { q.abandon(); p.close() },
			}
		},
	})
}

// TestSettings runs the suite of the settings against a single server.
func TestSettings(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, redistest.Options{})
	settingstest.Run(t, settingstest.Backend{
		Shared:   true,
		NewPlace: func(t *testing.T) string { return newPlace(t) },
		Open: func(t *testing.T, place string) settingstest.Instance {
			p := newProxy(t, server.Addr())
			q := openAt(t, p.url(), place, queuetest.Options{Partitions: 4, HighWater: 100,
				ClaimTTL: time.Hour})
			k, err := settings.Open(t.Context(), q, settings.Options{Poll: 10 * time.Millisecond})
			if err != nil {
				t.Fatal(err)
			}
			return settingstest.Instance{
				Settings:   k,
				FailWrites: p.fail.Store,
				End:        sync.OnceFunc(func() { k.Close(); q.Close(); p.close() }),
				Crash:      sync.OnceFunc(func() { k.Close(); q.abandon(); p.close() }),
			}
		},
	})
}

// TestCluster runs the suite against three masters.
func TestCluster(t *testing.T) {
	t.Parallel()
	queuetest.Run(t, backend(redistest.ClusterURL(redistest.Cluster(t, 3, redistest.Options{}))))
}

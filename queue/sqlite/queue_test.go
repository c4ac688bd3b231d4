package sqlite

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"

	"github.com/hookgate/hookgate/internal/modeltest"
	"github.com/hookgate/hookgate/queue/queuetest"
)

func TestMain(m *testing.M) {
	modeltest.Checks(20)
	goleak.VerifyTestMain(m)
}

var errInjected = errors.New("injected write error")

// faults makes the commits of one queue fail.
type faults struct{ when atomic.Pointer[bool] }

func (f *faults) commit(done bool) error {
	if when := f.when.Load(); when != nil && *when == done {
		return errInjected
	}
	return nil
}

func openInstance(t queuetest.TB, path string, o Options) (*Queue, queuetest.Instance) {
	t.Helper()
	o, err := o.withDefaults()
	if err != nil {
		t.Fatalf("options: %v", err)
	}
	f := &faults{}
	q, err := open(context.Background(), path, o, f.commit)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	return q, queuetest.Instance{
		BufferedQueue: q,
		Close:         q.Close,
		FailWrites:    f.when.Store,
		Crash: func() {
			// From here on nothing reaches the file, and Close finds nothing to write.
			notDone := false
			f.when.Store(&notDone)
			q.Close()
		},
	}
}

// TestConformance runs the suite of the port against queues in temporary folders.
func TestConformance(t *testing.T) {
	root := t.TempDir()
	queuetest.Run(t, queuetest.Backend{
		FailsWrites: true,
		NewPlace: func(t queuetest.TB) string {
			dir, err := os.MkdirTemp(root, "")
			if err != nil {
				t.Fatalf("%v", err)
			}
			return filepath.Join(dir, "queue.db")
		},
		Open: func(t queuetest.TB, place string, o queuetest.Options) queuetest.Instance {
			_, i := openInstance(t, place, Options{Partitions: o.Partitions, HighWater: o.HighWater, ClaimTTL: o.ClaimTTL})
			return i
		},
	})
}

package direct

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/internal/modeltest"
	"github.com/hookgate/hookgate/internal/pgtest"
	"github.com/hookgate/hookgate/internal/sqlitetest"
	"github.com/hookgate/hookgate/queue/queuetest"
	"github.com/hookgate/hookgate/store/sqlite"
)

func TestMain(m *testing.M) {
	modeltest.Checks(8)
	goleak.VerifyTestMain(pgtest.Run(m))
}

// backing is a store that can read its events.
type backing interface {
	hookgate.Store
	hookgate.Reader
	Close() error
}

var errInjected = errors.New("injected write error")

// faults is a store whose calls fail on demand: before the store gets them, or afterwards.
type faults struct {
	backing
	when atomic.Pointer[bool]
	// apply, if set, replaces the store's Apply.
	apply func(ctx context.Context, b *hookgate.Batch) (hookgate.Outcome, error)
}

func (f *faults) Apply(ctx context.Context, b *hookgate.Batch) (hookgate.Outcome, error) {
	when := f.when.Load()
	if when != nil && !*when {
		return hookgate.Outcome{}, errInjected
	}
	apply := f.backing.Apply
	if f.apply != nil {
		apply = f.apply
	}
	outcome, err := apply(ctx, b)
	if when != nil {
		return hookgate.Outcome{}, errInjected
	}
	return outcome, err
}

// emptyStore is a store without events.
var emptyStore = sqlitetest.Template{Create: func(path string) error {
	s, err := sqlite.Open(context.Background(), path)
	if err != nil {
		return err
	}
	return s.Close()
}}

// openStore opens the SQLite store at a place.
func openStore(t queuetest.TB, place string) backing {
	t.Helper()
	s, err := sqlite.Open(context.Background(), place)
	if err != nil {
		t.Fatalf("open store: %v", err)
	}
	return s
}

func instance(t queuetest.TB, s *faults, o Options) queuetest.QueueInstance {
	t.Helper()
	q, err := New(s, o)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	return queuetest.QueueInstance{
		Queue:      q,
		Kept:       func(t queuetest.TB, _ int) []hookgate.Record { return stored(t, s) },
		FailWrites: s.when.Store,
		End:        func() error { return errors.Join(q.Close(), s.Close()) },
		Crash: func() {
			notDone := false
			s.when.Store(&notDone) // from here on nothing reaches the store
			q.Close()
			s.Close()
		},
	}
}

// TestConformance runs the suite of every queue over the embedded store.
func TestConformance(t *testing.T) {
	root, n := t.TempDir(), atomic.Int64{}
	queuetest.RunQueue(t, queuetest.QueueBackend{
		FailsWrites: true,
		NewPlace: func(t queuetest.TB) string {
			path := filepath.Join(root, fmt.Sprint("store-", n.Add(1), ".db"))
			if err := emptyStore.Copy(path); err != nil {
				t.Fatalf("%v", err)
			}
			return path
		},
		Open: func(t queuetest.TB, place string) queuetest.QueueInstance {
			return instance(t, &faults{backing: openStore(t, place)}, Options{Partitions: 4,
				Timeout: time.Minute})
		},
	})
}

// stored returns all events in the order of the store, then all duplicates.
func stored(t queuetest.TB, r hookgate.Reader) (all []hookgate.Record) {
	t.Helper()
	ctx := context.Background()
	seen := map[string]bool{}
	var duplicates []hookgate.Record
	for e, err := range r.Events(ctx, hookgate.EventFilter{}) {
		if err != nil {
			t.Fatalf("read events: %v", err)
		}
		body, err := r.Body(ctx, e.ID)
		if err != nil {
			t.Fatalf("read body of event %s: %v", e.ID, err)
		}
		all = append(all, hookgate.Record{Request: hookgate.Request{
			RequestID: e.RequestID, Identity: e.Identity, OrderingKey: e.OrderingKey, Sequence: e.Sequence,
			Headers: e.Headers, Body: body, RemoteAddr: e.RemoteAddr, ReceivedAt: e.ReceivedAt,
		}})
		if !seen[e.MessageID] {
			seen[e.MessageID] = true
			duplicates = append(duplicates, duplicatesOf(t, r, e.MessageID)...)
		}
	}
	return append(all, duplicates...)
}

// duplicatesOf returns the requests that repeated a message id.
func duplicatesOf(t queuetest.TB, r hookgate.Reader, messageID string) (all []hookgate.Record) {
	t.Helper()
	trails, err := r.Trace(context.Background(), messageID, hookgate.RequestID{}, 10_000)
	if err != nil {
		t.Fatalf("trace %s: %v", messageID, err)
	}
	for _, trail := range trails {
		for _, e := range trail.Entries {
			if e.Stage != hookgate.StageDuplicate {
				continue
			}
			var meta struct{ FirstRequestID hookgate.RequestID }
			if err := json.Unmarshal(e.Metadata, &meta); err != nil {
				t.Fatalf("metadata %s of request %s: %v", e.Metadata, trail.RequestID, err)
			}
			r := hookgate.Record{DuplicateOf: meta.FirstRequestID}
			r.RequestID, r.Identity = trail.RequestID, trail.Identity
			all = append(all, r)
		}
	}
	return all
}

package sqlite

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/store/storetest"
)

// keyedBatch returns a batch of keyed events: event n has the key n % keys.
func keyedBatch(from, size, keys int) *hookgate.Batch {
	b := storetest.BenchBatch(size, 0, nil)
	for i := range b.Records {
		b.Records[i].Keyed, b.Records[i].OrderingKey = true, fmt.Sprint("k", (from+i)%keys)
	}
	return b
}

// TestReadKeyWhileIndexed: readers follow keys while events arrive and the late indexes are filled.
// Each reader continues after Next and sees every event of its key, in order, also when the writer
// lost its memory of recent events.
func TestReadKeyWhileIndexed(t *testing.T) {
	const keys, batches, size = 3, 150, 6
	path := filepath.Join(t.TempDir(), "store.db")
	s, _ := openBounded(t, path,
		lateBounds{set: 16, slice: 5, small: 3, most: 60, every: time.Millisecond})
	defer s.Close()
	var stored [keys][]int64
	var ended atomic.Bool
	var all sync.WaitGroup
	all.Go(func() {
		defer ended.Store(true)
		for n := range batches {
			b := keyedBatch(n*size, size, keys)
			o, err := s.Apply(context.Background(), b)
			if err != nil {
				t.Error(err)
				return
			}
			for i, r := range o.Results {
				stored[i%keys] = append(stored[i%keys], r.ID)
			}
			if n%40 == 39 { // as after a failed commit
				s.mu.Lock()
				s.recent.valid = false
				s.mu.Unlock()
			}
		}
	})
	var seen [keys][]int64
	for k := range keys {
		all.Go(func() {
			for after, last := int64(0), false; ; {
				if !last {
					last = ended.Load() // read once more after the end
				}
				p, err := s.ReadLog(context.Background(), hookgate.LogQuery{After: after,
					OrderingKey: fmt.Sprint("k", k), Max: 4, MaxBytes: 1 << 20})
				if err != nil {
					t.Error(err)
					return
				}
				for _, e := range p.Events {
					seen[k] = append(seen[k], e.ID)
				}
				if after = p.Next; last && !p.More {
					return
				}
			}
		})
	}
	all.Wait()
	for k := range keys {
		if !slices.Equal(seen[k], stored[k]) {
			t.Errorf("key %d: %d events were seen, %d stored", k, len(seen[k]), len(stored[k]))
		}
	}
}

// TestReadKeyUsesIndex: the index of keys keeps a read of one key from reading all events that the
// late indexes lack.
func TestReadKeyUsesIndex(t *testing.T) {
	s := openLate(t, filepath.Join(t.TempDir(), "store.db"), byHand)
	defer s.Close()
	if _, err := s.Apply(t.Context(), keyedBatch(0, 100, 100)); err != nil {
		t.Fatal(err)
	}
	last := s.lastID.Load()
	late := s.lateKey("k7", 0)
	if !late.known || len(late.ids) != 1 || late.to != last {
		t.Errorf("the index has %+v of the key, up to %d", late, last)
	}
	if _, _, err := s.indexStep(100); err != nil {
		t.Fatal(err)
	}
	if late := s.lateKey("k7", 0); !late.known || len(late.ids) != 0 || late.from != last {
		t.Errorf("once all is indexed, the index has %+v", late)
	}
}

// TestSavesShareATransaction: the test holds up the writer until an append and several saves wait,
// one of them with an old epoch. They share the next commit, and the failure of one undoes nothing
// of the others. The writer keeps its memory of recent events.
func TestSavesShareATransaction(t *testing.T) {
	s := openLate(t, filepath.Join(t.TempDir(), "store.db"), byHand)
	defer s.Close()
	subs := s.Subscriptions()
	const saves = 6
	defs := make([]hookgate.SubscriptionDefinition, saves)
	epochs := make([]hookgate.Epoch, saves)
	for i := range defs {
		defs[i] = hookgate.SubscriptionDefinition{Name: fmt.Sprint("s", i), Order: hookgate.OrderKey,
			Definition: "{}"}
	}
	if _, err := subs.Define(t.Context(), defs, true); err != nil {
		t.Fatal(err)
	}
	for i := range defs {
		state, err := subs.Acquire(t.Context(), defs[i].Name, "o", 0, 1)
		if err != nil {
			t.Fatal(err)
		}
		epochs[i] = state.Epoch
	}
	if _, err := s.Apply(t.Context(), keyedBatch(0, 2, 2)); err != nil {
		t.Fatal(err)
	}
	held, release := make(chan struct{}), make(chan struct{})
	first := make(chan error, 1)
	go func() { first <- s.change(func() error { close(held); <-release; return nil }) }()
	<-held
	results := make([]error, saves+1)
	var all sync.WaitGroup
	for i := range saves + 1 {
		all.Go(func() {
			if i == saves {
				_, results[i] = s.Apply(context.Background(), keyedBatch(2, 2, 2))
				return
			}
			epoch := epochs[i]
			if i == 2 {
				epoch--
			}
			_, results[i] = subs.Save(context.Background(), defs[i].Name, epoch, &hookgate.Results{
				Attempts: []hookgate.Attempt{{Event: 1, Number: 1, Outcome: hookgate.AttemptDelivered}}})
		})
	}
	for waiting := 0; waiting < saves+1; {
		s.writer.mu.Lock()
		waiting = len(s.writer.appends) + len(s.writer.saves)
		s.writer.mu.Unlock()
	}
	var commits atomic.Int64
	s.failCommit = func(done bool) error { // the writer holds s.mu until it is released
		if done {
			commits.Add(1)
		}
		return nil
	}
	close(release)
	all.Wait()
	if err := <-first; err != nil {
		t.Fatal(err)
	}
	for i, err := range results {
		if i == 2 && !errors.Is(err, hookgate.ErrFenced) || i != 2 && err != nil {
			t.Errorf("call %d got %v", i, err)
		}
	}
	if n := commits.Load(); n != 2 {
		t.Errorf("there were %d commits, want that of the first call and one more", n)
	}
	if attempts, err := subs.Attempts(t.Context(), 1); err != nil || len(attempts) != saves-1 {
		t.Errorf("%d attempts are stored (error %v), want %d", len(attempts), err, saves-1)
	}
	if !s.recent.valid || s.recent.waiting() != 4 {
		t.Errorf("recent has %d events and is valid: %t", s.recent.waiting(), s.recent.valid)
	}
	if err := s.Ping(t.Context()); err != nil {
		t.Errorf("a save with an old epoch counts as a failure of the store: %v", err)
	}
}

// TestWriterBoundsSaves: a transaction has at most maxSaves saves and about saveRows of their rows,
// and at least one save.
func TestWriterBoundsSaves(t *testing.T) {
	for _, test := range []struct{ saves, rows, want int }{{maxSaves + 5, 1, maxSaves},
		{5, saveRows, 1}, {5, saveRows / 3, 3}, {1, 2 * saveRows, 1}} {
		var w writer
		for range test.saves {
			w.join(&write{save: true, rows: test.rows})
		}
		w.join(&write{append: true})
		w.join(&write{})
		if got := len(w.take()); got != test.want+2 {
			t.Errorf("%d saves of %d rows: the transaction has %d calls, want %d", test.saves, test.rows,
				got, test.want+2)
		}
	}
}

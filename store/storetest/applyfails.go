package storetest

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/hookgate/hookgate"
)

// testRejected: if a store rejects a record as an event and as a dead letter, it rejects the whole
// batch and continues to work.
func testRejected(t *testing.T, b Backend) {
	s := open(t, b)
	o := own(t, s, 0)
	bad := b.Rejected()
	for _, batch := range [][]hookgate.Record{{bad}, {record("k", 1), bad, record("k", 2)}} {
		if _, err := o.apply(batch...); !errors.Is(err, hookgate.ErrRejected) ||
			errors.Is(err, hookgate.ErrFenced) {
			t.Errorf("%d records with one at fault got %v, want ErrRejected", len(batch), err)
		}
		if err := s.Ping(t.Context()); err != nil {
			t.Errorf("the store is not well after a rejection: %v", err)
		}
	}
	mustHave(t, s, hookgate.StoreCounts{})
	o.mustApply(t, record("k", 1), record("k", 2))
	mustHave(t, s, hookgate.StoreCounts{}, "k-1", "k-2")
	mustVerify(t, s)
}

// testIDs: a store that was restored from a backup, or lost its file, does not reuse an id of the
// earlier store. So a reader that waits after the last of those ids misses nothing.
func testIDs(t *testing.T, b Backend) {
	last := ""
	for range 3 {
		s := b.Open(t, b.NewPlace(t))
		o := own(t, s, 0)
		o.mustApply(t, record("k", 1), record("k", 2))
		o.mustApply(t, record("k", 3))
		var ids []string
		for e, err := range s.Events(t.Context(), hookgate.EventFilter{After: last}) {
			if err != nil {
				t.Fatal(err)
			}
			ids = append(ids, e.ID)
		}
		if len(ids) != 3 || len(ids[0]) < 16 || !slices.IsSorted(ids) || ids[0] <= last {
			t.Errorf("behind id %q of the store before, the events have the ids %v", last, ids)
		}
		last = ids[len(ids)-1]
		mustVerify(t, s)
		s.Close()
	}
}

// testReopen: after the store is closed and opened again, all data is there and epochs continue.
func testReopen(t *testing.T, b Backend) {
	place := b.NewPlace(t)
	s := b.Open(t, place)
	o := own(t, s, 0)
	o.mustApply(t, record("k", 1))
	s.Close()
	s = b.Open(t, place)
	defer s.Close()
	late := &owner{s, o.epochs}
	late.mustApply(t, record("k", 2))
	if now := own(t, s, 0); now.epochs[0] <= o.epochs[0] {
		t.Errorf("epoch %d follows %d", now.epochs[0], o.epochs[0])
	}
	if _, err := late.apply(record("k", 3)); !errors.Is(err, hookgate.ErrFenced) {
		t.Errorf("an epoch from before got %v, want ErrFenced", err)
	}
	mustHave(t, s, hookgate.StoreCounts{}, "k-1", "k-2")
	mustVerify(t, s)
}

// testClosed: calls on a closed store fail, and closing it again is no error.
func testClosed(t *testing.T, b Backend) {
	s := open(t, b)
	o := own(t, s, 0)
	if err := errors.Join(s.Close(), s.Close()); err != nil {
		t.Errorf("close: %v", err)
	}
	if _, err := o.apply(record("k", 1)); !errors.Is(err, hookgate.ErrClosed) {
		t.Errorf("apply got %v, want ErrClosed", err)
	}
	if _, err := s.Acquire(t.Context(), 0); !errors.Is(err, hookgate.ErrClosed) {
		t.Errorf("acquire got %v, want ErrClosed", err)
	}
	if err := s.Ping(t.Context()); err == nil {
		t.Error("ping got no error")
	}
}

// testApplyFails: a transaction fails before it takes effect, and another after. The caller cannot
// tell the two apart and applies the batch again. Everything is then stored once.
func testApplyFails(t *testing.T, b Backend, done bool) {
	place := b.NewPlace(t)
	s := b.Open(t, place)
	defer func() { s.Close() }()
	o := own(t, s, 0)
	o.mustApply(t, record("k", 0))
	known := again(record("k", 0))
	known.DuplicateOf = hookgate.NewRequestID(start)
	batch := o.batch(record("k", 1), known, again(record("k", 1)))
	batch.Dead = []hookgate.DeadLetter{{Record: record("dead", 1), Reason: "at fault"}}
	s.FailWrites(&done)
	for range 2 {
		_, err := s.Apply(t.Context(), batch)
		if err == nil || errors.Is(err, hookgate.ErrFenced) || errors.Is(err, hookgate.ErrRejected) {
			t.Fatalf("apply got %v, want an error that says to try again", err)
		}
	}
	if err := s.Ping(t.Context()); err == nil {
		t.Error("ping does not tell that writing fails")
	}
	s.FailWrites(nil)
	wantStored := 1
	if done {
		wantStored = 0
	}
	batch.Attempts, batch.LastError = 3, "injected"
	if outcome := mustApply(t, s, batch); outcome.Stored != wantStored {
		t.Errorf("outcome of the repetition is %+v, want %d stored", outcome, wantStored)
	}
	if err := s.Ping(t.Context()); err != nil {
		t.Errorf("ping still tells of an error: %v", err)
	}
	for _, reopened := range []bool{false, true} {
		if reopened {
			s.Close()
			s = b.Open(t, place)
		}
		mustHave(t, s, hookgate.StoreCounts{Duplicates: 2, DeadLetters: 1}, "k-0", "k-1")
		if got := stages(t, s, "k-1"); len(got) != 2 || strings.Contains(got[0], "retried") == done {
			t.Errorf("reopened %v: trail of k-1 is %v", reopened, got)
		}
		mustVerify(t, s)
	}
}

// testAcquireFails: an owner whose epoch was lost acquires the partition again and gets a higher
// epoch than any before.
func testAcquireFails(t *testing.T, b Backend, done bool) {
	s := open(t, b)
	old := own(t, s, 0)
	s.FailWrites(&done)
	if _, err := s.Acquire(context.Background(), 0); err == nil {
		t.Fatal("acquire whose write failed returned no error")
	}
	s.FailWrites(nil)
	o := own(t, s, 0)
	if o.epochs[0] <= old.epochs[0] {
		t.Errorf("epoch %d follows %d", o.epochs[0], old.epochs[0])
	}
	o.mustApply(t, record("k", 1))
	mustVerify(t, s)
}

package sqlite

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/store/entry"
	"github.com/hookgate/hookgate/store/storetest"
)

// byHand are the bounds of a store that indexes only when a test calls indexStep.
var byHand = lateBounds{set: 4, slice: 2, small: 1, most: 1 << 20}

// openLate opens a store with bounds. As after a crash, it does not index when it closes, unless
// the test resets its bounds.
func openLate(t testing.TB, path string, late lateBounds) *Store {
	t.Helper()
	s, err := open(context.Background(), path, late)
	if err != nil {
		t.Fatal(err)
	}
	s.late.slice = 0
	t.Cleanup(func() { s.Close() })
	return s
}

// lateRecord returns a new request of event n.
func lateRecord(n int) hookgate.Record {
	r := storetest.Sample(0, n)
	r.RequestID, r.OrderingKey = hookgate.NewRequestID(r.ReceivedAt), fmt.Sprint("k", n%3)
	r.Position, r.EnqueuedAt = hookgate.Position{}, time.Time{}
	return r
}

func applyLate(s *Store, records ...hookgate.Record) (hookgate.Outcome, error) {
	return s.Apply(context.Background(), &hookgate.Batch{Records: records, Worker: "w", Attempts: 1})
}

// mustKnow checks that the store finds events 0 to n-1 in every way, stores none of them again, and
// passes its audit.
func mustKnow(t *testing.T, when string, s *Store, n int) {
	t.Helper()
	ctx := t.Context()
	before, err := s.Counts(ctx)
	if err != nil || before.Events != int64(n) {
		t.Fatalf("%s: %+v (error %v), want %d events", when, before, err, n)
	}
	for i := range n {
		r := lateRecord(i)
		unproven := r
		unproven.RequestID, unproven.EventType,
			unproven.TypeUnproven = hookgate.NewRequestID(r.ReceivedAt), "another", true
		o, err := applyLate(s, r, unproven)
		if err != nil || o.Stored != 0 || o.Results[0].DuplicateOf.IsZero() ||
			o.Results[1].DuplicateOf != o.Results[0].DuplicateOf {
			t.Fatalf("%s: a repetition of event %d has the outcome %+v (error %v)", when, i, o, err)
		}
		found := 0
		for e, err := range s.Events(ctx, hookgate.EventFilter{MessageID: r.MessageID}) {
			if err != nil || e.Identity != r.Identity {
				t.Fatalf("%s: a listing of %s has %+v (error %v)", when, r.MessageID, e, err)
			}
			found++
		}
		page, err := s.Search(ctx, hookgate.EventSearch{EventFilter: hookgate.EventFilter{MessageID: r.MessageID, Limit: 5}})
		if err != nil || len(page.Events) != 1 || found != 1 {
			t.Fatalf("%s: event %d is listed %d times, and a search has %+v (error %v)", when, i, found,
				page, err)
		}
		if trail, err := s.Trace(ctx, r.MessageID, hookgate.RequestID{}, 1); err != nil ||
			len(trail) != 1 {
			t.Fatalf("%s: event %d has the trace %+v (error %v)", when, i, trail, err)
		}
	}
	if found, err := Verify(ctx, s.path, nil); err != nil || found.Break != nil {
		t.Fatalf("%s: the audit finds %v (error %v)", when, found.Break, err)
	}
}

// TestLateStates: an event is found, and its repetitions are duplicates, in every state: fresh, in
// a set of which none, some or all slices are indexed, and indexed. The state of a dead letter that
// was stored later follows from the event.
func TestLateStates(t *testing.T) {
	s := openLate(t, filepath.Join(t.TempDir(), "store.db"), byHand)
	dead := lateRecord(0)
	if _, err := s.Apply(t.Context(),
		&hookgate.Batch{Dead: []hookgate.DeadLetter{{Record: dead, Reason: "at fault"}}, Worker: "w",
			Attempts: 1}); err != nil {
		t.Fatal(err)
	}
	n := 0
	state := func(when string) {
		t.Helper()
		mustKnow(t, when, s, n)
		for d, err := range s.DeadLetters(t.Context(), hookgate.DeadLetterFilter{}) {
			if err != nil || (d.State == hookgate.DeadLetterStored) != (n > 0) {
				t.Fatalf("%s: the dead letter is %s (error %v)", when, d.State, err)
			}
		}
	}
	add := func(more int) {
		t.Helper()
		for range more {
			if o, err := applyLate(s, lateRecord(n)); err != nil || o.Stored != 1 {
				t.Fatalf("event %d: %+v (error %v)", n, o, err)
			}
			n++
		}
	}
	step := func(size int, wantMore bool) {
		t.Helper()
		if more, _, err := s.indexStep(size); err != nil || more != wantMore {
			t.Fatalf("a step of %d: more %v (error %v), want %v", size, more, err, wantMore)
		}
	}
	state("empty")
	add(5)
	state("fresh")
	step(2, true)
	state("after a slice")
	add(3)
	state("with events behind the set")
	step(2, true)
	step(2, false)
	state("after a set")
	step(1, true)
	step(1, true)
	state("in the middle of the next")
	step(1, false)
	step(1, false)
	state("with nothing left")
	if s.recent.waiting() != 0 || s.log.indexed == 0 {
		t.Errorf("%d events wait, and the index goes to %d", s.recent.waiting(), s.log.indexed)
	}
}

// TestLateFailures: if the commit of a step or of an append fails, before or after it takes effect,
// nothing is lost and nothing is indexed twice. The same holds for a process that opens the file at
// that moment.
func TestLateFailures(t *testing.T) {
	for _, done := range []bool{false, true} {
		path := filepath.Join(t.TempDir(), "store.db")
		s := openLate(t, path, byHand)
		fail := func(call func() error) {
			t.Helper()
			s.failCommit = func(now bool) error {
				if now == done {
					return errors.New("injected")
				}
				return nil
			}
			if err := call(); err == nil {
				t.Fatal("a call whose commit failed got no error")
			}
			s.failCommit = nil
		}
		step := func() error { _, _, err := s.indexStep(2); return err }
		for i := range 7 {
			if i%2 == 0 {
				fail(func() error { _, err := applyLate(s, lateRecord(i)); return err })
			}
			if o, err := applyLate(s, lateRecord(i)); err != nil || o.Results[0].ID == 0 {
				t.Fatal(o, err)
			}
		}
		for k := range 3 {
			fail(step)
			mustKnow(t, fmt.Sprint("after failure ", k, ", done ", done), s, 7)
			if err := step(); err != nil {
				t.Fatal(err)
			}
			mustKnow(t, fmt.Sprint("after step ", k, ", done ", done), s, 7)
			other := openLate(t, path, byHand)
			mustKnow(t, fmt.Sprint("in a new process after step ", k), other, 7)
			other.Close()
		}
		fail(step) // without anything in between that makes the store reload
		for more := true; more; {
			var err error
			if more, _, err = s.indexStep(2); err != nil {
				t.Fatal(err)
			}
		}
		if s.recent.waiting() != 0 {
			t.Errorf("%d events wait", s.recent.waiting())
		}
		mustKnow(t, "at the end", s, 7)
	}
}

// TestLateBesideSave: after a step whose commit failed, the next one shares its transaction with a
// save of a subscription. It indexes what the failed step did not.
func TestLateBesideSave(t *testing.T) {
	s := openLate(t, filepath.Join(t.TempDir(), "store.db"), byHand)
	for i := range 4 {
		if _, err := applyLate(s, lateRecord(i)); err != nil {
			t.Fatal(err)
		}
	}
	s.failCommit = func(bool) error { return errors.New("injected") }
	if _, _, err := s.indexStep(2); err == nil {
		t.Fatal("a step whose commit failed got no error")
	}
	s.failCommit = nil
	step := &write{late: true, run: func() error { return s.indexSlice(4) }}
	s.commit([]*write{{save: true, run: func() error { return nil }}, step})
	if step.err != nil || s.log.indexed != s.log.lastID {
		t.Fatalf("the step indexed up to %d of %d (error %v)", s.log.indexed, s.log.lastID, step.err)
	}
	mustKnow(t, "at the end", s, 4)
}

// TestLateInTurn: two processes write one file in turn, index it and remove from it. Neither stores
// an event of the other again, and both store events again that were removed.
func TestLateInTurn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	stores := []*Store{openLate(t, path, byHand), openLate(t, path, byHand)}
	n := 0
	for round := range 4 {
		for i, s := range stores {
			if o, err := applyLate(s, lateRecord(n), lateRecord(n+1), lateRecord(n)); err != nil ||
				o.Stored != 2 {
				t.Fatalf("%+v (error %v)", o, err)
			}
			n += 2
			mustKnow(t, fmt.Sprint("round ", round), stores[1-i], n)
			if _, _, err := stores[(round+i)%2].indexStep(1 + round%3); err != nil {
				t.Fatal(err)
			}
			mustKnow(t, fmt.Sprint("round ", round, ", indexed"), s, n)
		}
	}
	at := time.Now().Add(time.Second)
	for _, limit := range []int{3, 1000} {
		if _, err := stores[0].Prune(t.Context(), hookgate.Cutoffs{Events: at}, limit); err != nil {
			t.Fatal(err)
		}
		if found, err := Verify(t.Context(), path, nil); err != nil || found.Break != nil {
			t.Fatalf("after a removal: %v (error %v)", found.Break, err)
		}
	}
	for i := range n {
		if o, err := applyLate(stores[1], lateRecord(i)); err != nil || o.Stored != 1 {
			t.Fatalf("event %d, which is gone: %+v (error %v)", i, o, err)
		}
	}
	mustKnow(t, "stored again", stores[0], n)
}

// TestLateBound: the number of events without an index row is bounded, because appends index them.
func TestLateBound(t *testing.T) {
	s := openLate(t, filepath.Join(t.TempDir(), "store.db"), lateBounds{set: 4, slice: 2, small: 1,
		most: 6})
	for i := range 40 {
		if _, err := applyLate(s, lateRecord(i)); err != nil {
			t.Fatal(err)
		}
		if n := s.recent.waiting(); n > 6 {
			t.Fatalf("after event %d, %d wait", i, n)
		}
	}
	mustKnow(t, "at the end", s, 40)
}

// TestLateUndone: the store forgets the events of a call that was undone, and remembers those of
// the other calls in the transaction.
func TestLateUndone(t *testing.T) {
	s := openLate(t, filepath.Join(t.TempDir(), "store.db"), byHand)
	part := lateRecord(1)
	part.Whole = &hookgate.Whole{RequestID: part.RequestID, Body: []byte("[]")}
	if err := execute(s.path, `CREATE TRIGGER refuse BEFORE INSERT ON webhook_request_bodies BEGIN`+
		` SELECT raise(ABORT, 'refused'); END;`); err != nil {
		t.Fatal(err)
	}
	call := func(records ...hookgate.Record) *write {
		b := &hookgate.Batch{Records: records, Worker: "w", Attempts: 1}
		items, err := entry.Items(b)
		if err != nil {
			t.Fatal(err)
		}
		a := &application{Store: s, batch: b, items: items,
			outcome: entry.NewOutcome(b)}
		return &write{run: a.run, append: true}
	}
	// The second call fails with all of its records, because not even a dead letter can store its
	// request.
	group := []*write{call(lateRecord(0)), call(lateRecord(2), part), call(lateRecord(1))}
	s.commit(group)
	if group[0].err != nil || !errors.Is(group[1].err, hookgate.ErrRejected) || group[2].err != nil {
		t.Fatalf("the calls got %v, %v and %v", group[0].err, group[1].err, group[2].err)
	}
	if n := len(s.recent.fresh.events); n != 2 || !s.recent.valid {
		t.Errorf("%d events are remembered, want 2", n)
	}
	mustKnow(t, "after the undoing", s, 2)
	if o, err := applyLate(s, lateRecord(2)); err != nil || o.Stored != 1 {
		t.Errorf("what was undone is not stored: %+v (error %v)", o, err)
	}
	mustKnow(t, "at the end", s, 3)
}

// TestLateClash: a late index with another event in the place of one makes the store fail with a
// clear error.
func TestLateClash(t *testing.T) {
	s := openLate(t, filepath.Join(t.TempDir(), "store.db"), byHand)
	if _, err := applyLate(s, lateRecord(0), lateRecord(1)); err != nil {
		t.Fatal(err)
	}
	if err := execute(s.path, `INSERT INTO webhook_identities SELECT max(identity),`+
		` min(id) FROM webhook_events;`); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.indexStep(10); !errors.Is(err, errTwice) {
		t.Errorf("a step got %v", err)
	}
	if err := s.Ping(t.Context()); !errors.Is(err, errTwice) {
		t.Errorf("a ping got %v", err)
	}
}

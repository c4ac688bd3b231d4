package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hookgate/hookgate"
)

// Pruner removes old rows; see retention.Store.
type Pruner interface {
	Prune(ctx context.Context, c hookgate.Cutoffs, limit int) (hookgate.Pruned, error)
}

// cut returns a time after everything stored so far, and not after anything stored later, with the
// precision of stored times.
func cut() time.Time {
	at := time.Now().Truncate(time.Microsecond).Add(time.Microsecond)
	for time.Now().Before(at) {
	}
	return at
}

// mustPrune removes everything older than the cutoffs, in steps of about limit rows, and adds up
// the results.
func mustPrune(t TB, s Pruner, c hookgate.Cutoffs, limit int) (sum hookgate.Pruned) {
	t.Helper()
	for {
		p, err := s.Prune(context.Background(), c, limit)
		if err != nil {
			t.Fatalf("prune: %v", err)
		}
		if p.Busy {
			t.Fatalf("the only process that prunes gets Busy")
		}
		sum.Events += p.Events
		sum.Bytes += p.Bytes
		sum.Links += p.Links
		sum.Entries += p.Entries
		sum.Requests += p.Requests
		if sum.OldestEvent = p.OldestEvent; !p.More {
			return sum
		}
		if p.Events+p.Links+p.Entries == 0 {
			t.Logf("a step removed nothing and says that there is more: %+v", p)
		}
	}
}

// testPruneBodies: an old event loses its body and nothing else. It is in no listing, but still in
// the trail, which shows the removal. Its identity is free, and its id is not reused.
func testPruneBodies(t *testing.T, s Instance) {
	o := own(t, s, 0)
	first := record("k", 1)
	known := again(first)
	known.DuplicateOf, known.Body = first.RequestID, nil
	b := o.batch(first, record("k", 2), known)
	b.Dead = []hookgate.DeadLetter{{Record: record("dead", 1), Reason: "at fault"}}
	mustApply(t, s, b)
	old := list(t, s, hookgate.EventFilter{})
	at := cut()
	o.mustApply(t, record("k", 3))
	young := list(t, s, hookgate.EventFilter{MessageID: "k-3"})[0]

	p := mustPrune(t, s, hookgate.Cutoffs{Events: at}, 100)
	if want := int64(len(first.Body) * 2); p.Events != 2 || p.Bytes != want || p.Entries != 0 ||
		!p.OldestEvent.Equal(young.PersistedAt) {
		t.Errorf("removed was %+v, want 2 events of %d bytes, and the oldest left from %s", p, want,
			young.PersistedAt)
	}
	mustHave(t, s, hookgate.StoreCounts{Duplicates: 1, DeadLetters: 1}, "k-3")
	for _, e := range old {
		if _, err := s.Event(t.Context(), e.ID); !errors.Is(err, hookgate.ErrNotFound) {
			t.Errorf("event %s is answered with %v, want ErrNotFound", e.ID, err)
		}
		if _, err := s.Body(t.Context(), e.ID); !errors.Is(err, hookgate.ErrNotFound) {
			t.Errorf("body %s is answered with %v, want ErrNotFound", e.ID, err)
		}
		if next := list(t, s, hookgate.EventFilter{After: e.ID, Limit: 1}); len(next) != 1 ||
			next[0].ID != young.ID {
			t.Errorf("behind event %s comes %+v, want the first that is left", e.ID, next)
		}
	}
	got, want := stages(t, s, "k-1"), []string{"received enqueued processed duplicate",
		"received enqueued processed persisted removed"}
	if slices.Sort(got); !slices.Equal(got, want) {
		t.Errorf("trails of k-1 are %q, want %q", got, want)
	}
	if letters := deadLetters(t, s, hookgate.DeadLetterFilter{}); len(letters) != 1 {
		t.Errorf("%d dead letters are left, want 1", len(letters))
	}
	late := again(first)
	if outcome := o.mustApply(t, late); outcome.Stored != 1 || len(Duplicates(outcome)) != 0 {
		t.Errorf("the repetition of an event that is gone has the outcome %+v, want a new event", outcome)
	}
	if got := stages(t, s, "k-1"); len(got) != 3 {
		t.Errorf("%d requests of k-1 have a trail, want 3: %q", len(got), got)
	}
	for _, e := range list(t, s, hookgate.EventFilter{MessageID: "k-1"}) {
		if e.RequestID != late.RequestID ||
			slices.ContainsFunc(old, func(gone hookgate.StoredEvent) bool { return gone.ID == e.ID }) {
			t.Errorf("the new event is %+v, want one with an id of its own", e)
		}
	}
}

// testPruneTrail: retention removes lineage entry by entry, except for dead letters. After a purge
// those go too.
func testPruneTrail(t *testing.T, s Instance) {
	o := own(t, s, 0, 1)
	for round := range 6 {
		var records []hookgate.Record
		for p := range 2 {
			for n := range 3 {
				r := record(fmt.Sprint("p", p), round*10+n)
				r.Partition = p
				records = append(records, r)
			}
			known := again(records[len(records)-1])
			known.DuplicateOf, known.Body = records[len(records)-1].RequestID, nil
			records = append(records, known)
		}
		b := o.batch(records...)
		if round == 2 || round == 3 {
			dead := record("dead", round)
			b.Dead = []hookgate.DeadLetter{{Record: dead, Reason: "at fault"}} // in partition 0
		}
		mustApply(t, s, b)
	}
	at := cut()
	o.mustApply(t, record("young", 1))
	p := mustPrune(t, s, hookgate.Cutoffs{Events: at, Trail: at}, 5)
	if p.Events != 36 || p.Entries != 48 || p.Requests != 48 {
		t.Errorf("removed was %+v, want 36 events, and 48 entries", p)
	}
	mustHave(t, s, hookgate.StoreCounts{DeadLetters: 2}, "young-1")
	for id, want := range map[string]int{"p0-0": 0, "p1-20": 0, "p0-12": 0, "p0-20": 0, "p0-22": 0,
		"p0-30": 0, "dead-2": 1, "young-1": 1} {
		if got := stages(t, s, id); len(got) != want {
			t.Errorf("%s has the trails %q, want %d", id, got, want)
		}
	}
	mustVerify(t, s)
	letters := deadLetters(t, s, hookgate.DeadLetterFilter{})
	for _, d := range letters {
		if body, err := s.DeadLetterBody(t.Context(), d.ID); err != nil || len(body) == 0 {
			t.Errorf("the body of dead letter %s is %q (error %v)", d.ID, body, err)
		}
	}
	mustPurge(t, s, letters[0].ID)
	if p := mustPrune(t, s, hookgate.Cutoffs{Events: at, Trail: at}, 5); p.Entries != 1 {
		t.Errorf("after a purge %d entries went, want that dead letter", p.Entries)
	}
	mustVerify(t, s)
	mustPurge(t, s, letters[1].ID)
	at = cut()
	// A purge is removed after its dead letter, so perhaps only by the next call.
	all := mustPrune(t, s, hookgate.Cutoffs{Events: at, Trail: at}, 5).Entries +
		mustPrune(t, s, hookgate.Cutoffs{Events: at, Trail: at}, 5).Entries
	if all != 4 {
		t.Errorf("at the end %d entries went, want the other dead letter, the young event and two purges",
			all)
	}
	mustHave(t, s, hookgate.StoreCounts{})
	mustVerify(t, s)
	o.mustApply(t, record("k", 1), again(record("k", 1)))
	mustHave(t, s, hookgate.StoreCounts{Duplicates: 1}, "k-1")
}

// testPruneStoredDeadLetter: the event of a retry stays in the trail as long as its dead letter
// does. Otherwise the dead letter would count as open again.
func testPruneStoredDeadLetter(t *testing.T, s Instance) {
	o := own(t, s, 0)
	dead := record("k", 1)
	b := o.batch()
	b.Dead = []hookgate.DeadLetter{{Record: dead, Reason: "at fault"}}
	mustApply(t, s, b)
	o.mustApply(t, record("other", 1))
	o.mustApply(t, replayOf(dead, 1))
	at := cut()
	if p := mustPrune(t, s, hookgate.Cutoffs{Events: at, Trail: at}, 1); p.Events != 2 ||
		p.Entries != 1 {
		t.Errorf("removed was %+v, want two bodies and one entry", p)
	}
	letters := deadLetters(t, s, hookgate.DeadLetterFilter{})
	if len(letters) != 1 || letters[0].State != hookgate.DeadLetterStored {
		t.Errorf("the dead letters are %+v, want one that is stored", letters)
	}
	if got := stages(t, s, "k-1"); len(got) != 2 {
		t.Errorf("the trails are %q, want those of the dead letter and of its replay", got)
	}
}

// testPruneSteps: with steps of any size, the audit holds after each one, nothing young is
// removed, and in the end all old rows are gone.
func testPruneSteps(t *testing.T, s Instance) {
	o := own(t, s, 0, 1, 2)
	n := 0
	add := func(count int) {
		var records []hookgate.Record
		for range count {
			r := record("k", n)
			r.Partition = n % 3
			n++
			records = append(records, r)
		}
		o.mustApply(t, records...)
	}
	for _, count := range []int{1, 7, 30, 2} {
		add(count)
	}
	trail := cut()
	add(9)
	events := cut()
	add(5)
	young := list(t, s, hookgate.EventFilter{})[49:]
	c := hookgate.Cutoffs{Events: events, Trail: trail}
	var sum hookgate.Pruned
	for _, limit := range []int{1, 0, -1, 3, 2, 7, 1, 1, 1, 1000} {
		p, err := s.Prune(t.Context(), c, limit)
		if err != nil {
			t.Fatal(err)
		}
		if limit <= 1 && p.Events > 1 {
			t.Errorf("a step of %d removed %d bodies", limit, p.Events)
		}
		sum.Events += p.Events
		sum.Entries += p.Entries
		mustVerify(t, s)
	}
	rest := mustPrune(t, s, c, 4)
	if sum.Events+rest.Events != 49 || sum.Entries+rest.Entries != 40 {
		t.Errorf("removed were %d bodies and %d entries, want 49 and 40", sum.Events+rest.Events,
			sum.Entries+rest.Entries)
	}
	if left := list(t, s, hookgate.EventFilter{}); len(left) != 5 || left[0].ID != young[0].ID ||
		left[4].ID != young[4].ID {
		t.Errorf("left are %+v, want %+v", left, young)
	}
	if again := mustPrune(t, s, c, 100); again.Events+again.Entries != 0 {
		t.Errorf("removed rows are removed again: %+v", again)
	}
}

// testPruneNothing: an empty store, and one in which nothing is old enough, do not change.
func testPruneNothing(t *testing.T, s Instance) {
	before := cut()
	if p := mustPrune(t, s, hookgate.Cutoffs{Events: before, Trail: before},
		10); p != (hookgate.Pruned{}) {
		t.Errorf("of nothing was removed %+v", p)
	}
	own(t, s, 0).mustApply(t, record("k", 1))
	for _, c := range []hookgate.Cutoffs{{Events: before}, {Events: before, Trail: before}, {}} {
		if p := mustPrune(t, s, c, 10); p.Events+p.Entries+p.Requests+p.Bytes != 0 ||
			p.OldestEvent.IsZero() {
			t.Errorf("with %+v was removed %+v", c, p)
		}
	}
	mustHave(t, s, hookgate.StoreCounts{}, "k-1")
}

// testPruneWhileWriting: removal and new events do not disturb each other, and no audit in between
// finds a break.
func testPruneWhileWriting(t *testing.T, s Instance) {
	const batches = 60
	o := own(t, s, 0, 1)
	done := make(chan error, 1)
	stop := make(chan struct{})
	go func() {
		for {
			select {
			case <-stop:
				done <- nil
				return
			default:
			}
			at := time.Now().Add(-20 * time.Millisecond)
			if _, err := s.Prune(context.Background(), hookgate.Cutoffs{Events: at,
				Trail: at.Add(-20 * time.Millisecond)}, 20); err != nil {
				done <- err
				return
			}
		}
	}()
	for n := range batches {
		var records []hookgate.Record
		for i := range 10 {
			r := record("k", n*10+i)
			r.Partition = i % 2
			records = append(records, r)
		}
		if outcome := o.mustApply(t, records...); outcome.Stored != 10 {
			t.Errorf("batch %d: %+v", n, outcome)
		}
		if n%10 == 0 {
			mustVerify(t, s)
		}
	}
	close(stop)
	if err := <-done; err != nil {
		t.Fatalf("prune: %v", err)
	}
	at := cut()
	mustPrune(t, s, hookgate.Cutoffs{Events: at, Trail: at}, 100)
	mustHave(t, s, hookgate.StoreCounts{})
}

// testPruneFails: a step fails before it takes effect, and another after. After the step is
// repeated, exactly the old rows are gone. A failed step does not let anybody else remove rows, and
// ids continue after a restart.
func testPruneFails(t *testing.T, b Backend, done bool) {
	place := b.NewPlace(t)
	s := b.Open(t, place)
	defer func() { s.Close() }()
	o := own(t, s, 0)
	for n := range 4 {
		o.mustApply(t, record("k", 2*n), record("k", 2*n+1))
	}
	at := cut()
	o.mustApply(t, record("young", 1))
	c := hookgate.Cutoffs{Events: at, Trail: at}
	for range 2 {
		s.FailWrites(&done)
		if _, err := s.Prune(t.Context(), c, 3); err == nil ||
			!strings.Contains(err.Error(), "injected") {
			t.Fatalf("prune got %v, want the injected error", err)
		}
		s.FailWrites(nil)
		mustVerify(t, s)
	}
	mustPrune(t, s, c, 3)
	mustHave(t, s, hookgate.StoreCounts{}, "young-1")
	mustVerify(t, s)
	at = cut()
	mustPrune(t, s, hookgate.Cutoffs{Events: at, Trail: at}, 3)
	s.Close()
	s = b.Open(t, place)
	late := &owner{s, o.epochs}
	late.mustApply(t, record("k", 0), record("k", 1))
	mustHave(t, s, hookgate.StoreCounts{}, "k-0", "k-1")
	if events := list(t, s, hookgate.EventFilter{}); events[0].ID == "1" {
		t.Errorf("an id is given out again: %+v", events[0])
	}
	mustVerify(t, s)
}

package storetest

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/hookgate/hookgate"
)

// directBatch returns a batch of records that come from no queue.
func directBatch(records ...hookgate.Record) *hookgate.Batch {
	for i := range records {
		records[i].Position, records[i].EnqueuedAt, records[i].Lease = hookgate.Position{}, time.Time{}, 0
	}
	return &hookgate.Batch{Records: records, Worker: "direct", Attempts: 1}
}

// testDirect: the store takes requests itself, without an owner of their partition. Each result has
// the id of its entry, a repetition has the same id as before, and the position derives from the
// id.
func testDirect(t *testing.T, s Instance) {
	first := record("k", 1)
	first.Partition, first.Keyed = 5, true
	repeated := again(first)
	b := directBatch(first, repeated, record("k", 2))
	outcome := mustApply(t, s, b)
	events := list(t, s, hookgate.EventFilter{})
	if len(events) != 2 || outcome.Stored != 2 || outcome.Results[1].DuplicateOf != first.RequestID {
		t.Fatalf("stored are %+v, the outcome is %+v", events, outcome)
	}
	for i, result := range []hookgate.Result{outcome.Results[0], outcome.Results[2]} {
		if id := strconv.FormatInt(result.ID, 10); events[i].ID != id || events[i].Position != id+"-0" {
			t.Errorf("event %s at %s has the result %+v", events[i].ID, events[i].Position, result)
		}
	}
	if id := outcome.Results[1].ID; id <= outcome.Results[0].ID || id >= outcome.Results[2].ID {
		t.Errorf("the duplicate has id %d, want one between those of its neighbours: %+v", id, outcome)
	}
	if got := mustApply(t, s, b); got.Stored != 0 ||
		fmt.Sprint(got.Results) != fmt.Sprint(outcome.Results) {
		t.Errorf("the repeated batch has the outcome %+v, want the results %+v", got, outcome.Results)
	}
	trail, err := s.Request(t.Context(), first.RequestID)
	if err != nil || len(trail.Entries) != 4 {
		t.Fatalf("the trail is %+v (error %v), want 4 stages", trail, err)
	}
	for _, e := range trail.Entries[1:] {
		if !e.Timestamp.Equal(events[0].PersistedAt) {
			t.Errorf("stage %s has the time %s, want that of the commit, %s", e.Stage, e.Timestamp,
				events[0].PersistedAt)
		}
	}
	mustHave(t, s, hookgate.StoreCounts{Duplicates: 1}, "k-1", "k-2")
}

// testDirectConcurrent: many concurrent calls, beside admin work, each store their events once. The
// ids grow for every caller.
func testDirectConcurrent(t *testing.T, s Instance) {
	const callers, each = 16, 15
	var all sync.WaitGroup
	for c := range callers {
		all.Go(func() {
			last := int64(0)
			for n := range each {
				outcome, err := s.Apply(context.Background(), directBatch(record(fmt.Sprint("c", c), n)))
				if err != nil || outcome.Stored != 1 || outcome.Results[0].ID <= last {
					t.Errorf("caller %d, record %d: %+v behind %d (error %v)", c, n, outcome, last, err)
					return
				}
				last = outcome.Results[0].ID
			}
		})
	}
	all.Go(func() {
		for n := range 5 {
			if err := s.RecordAction(context.Background(), action(n)); err != nil {
				t.Error(err)
			}
		}
	})
	all.Wait()
	next := map[string]int64{}
	for _, e := range list(t, s, hookgate.EventFilter{}) {
		if e.Sequence != next[e.OrderingKey] {
			t.Errorf("%s came where %d was due", e.MessageID, next[e.OrderingKey])
		}
		next[e.OrderingKey]++
	}
	if c, err := s.Counts(t.Context()); err != nil || c.Events != callers*each {
		t.Errorf("counts are %+v (error %v), want %d events", c, err, callers*each)
	}
}

// testOneLog: entries of all kinds take their ids from one counter in the order of the batch, with
// dead letters after the records. Admin actions are anchored before the entries that follow them.
func testOneLog(t *testing.T, s Instance) {
	first := record("k", 1)
	b := directBatch(first, again(first))
	b.Dead = []hookgate.DeadLetter{{Record: record("dead", 1), Reason: "at fault"}}
	outcome := mustApply(t, s, b)
	dead, err := strconv.ParseInt(deadLetters(t, s, hookgate.DeadLetterFilter{})[0].ID, 10, 64)
	if err != nil || outcome.Results[1].ID != outcome.Results[0].ID+1 || dead != outcome.Results[1].ID+
		1 {
		t.Errorf("the dead letter has id %d (error %v), the records %+v;"+
			" want three that follow each other", dead, err, outcome.Results)
	}
	if err := s.RecordAction(t.Context(), action(1)); err != nil {
		t.Fatal(err)
	}
	if got := mustApply(t, s, b); got.Stored != 0 {
		t.Errorf("the repeated batch has the outcome %+v", got)
	}
	mustPurge(t, s, strconv.FormatInt(dead, 10))
	outcome = mustApply(t, s, directBatch(record("k", 2)))
	if id := outcome.Results[0].ID; id < dead+3 {
		t.Errorf("behind %d come an anchor, a purge and event %d", dead, id)
	}
}

// testIsolated: an event that the store rejects becomes a dead letter, and the other events of its
// batch are stored. While the dead letter is open, repetitions become duplicates of it, but a retry
// does not.
func testIsolated(t *testing.T, b Backend) {
	place := b.NewPlace(t)
	s := b.Open(t, place)
	defer func() { s.Close() }()
	own(t, s, 0) // creates the store
	b.Refuse(t, place, "poison")
	bad := func(n int) hookgate.Record {
		r := record("bad", n)
		r.EventType = "poison"
		return r
	}
	one, two := bad(1), bad(2)
	batch := directBatch(record("k", 1), one, record("k", 2), two, again(one), record("k", 3))
	outcome := mustApply(t, s, batch)
	mustHave(t, s, hookgate.StoreCounts{Duplicates: 1, DeadLetters: 2}, "k-1", "k-2", "k-3")
	for i, r := range outcome.Results {
		rejected, repeated := i == 1 || i == 3, i == 4
		if (r.Rejected != nil) != rejected || r.DuplicateOf.IsZero() == repeated || r.ID == 0 {
			t.Errorf("record %d has the result %+v", i, r)
		}
	}
	if outcome.Results[4].DuplicateOf != one.RequestID {
		t.Errorf("the repetition is a duplicate of %s, want of %s", outcome.Results[4].DuplicateOf,
			one.RequestID)
	}
	again := mustApply(t, s, batch)
	for i, r := range again.Results {
		if r.ID != outcome.Results[i].ID || r.DuplicateOf != outcome.Results[i].DuplicateOf ||
			(r.Rejected == nil) != (outcome.Results[i].Rejected == nil) {
			t.Errorf("repeated, record %d has the result %+v, want %+v", i, r, outcome.Results[i])
		}
	}
	letters := deadLetters(t, s, hookgate.DeadLetterFilter{})
	if len(letters) != 2 || letters[0].Reason == "" || letters[0].State != hookgate.DeadLetterOpen {
		t.Fatalf("the dead letters are %+v", letters)
	}
	if body, err := s.DeadLetterBody(t.Context(), letters[0].ID); err != nil ||
		string(body) != string(one.Body) {
		t.Errorf("the body of the dead letter is %q (error %v)", body, err)
	}
	replay := mustApply(t, s, directBatch(replayOf(one, 1)))
	if replay.Results[0].Rejected == nil || !replay.Results[0].DuplicateOf.IsZero() {
		t.Errorf("a replay has the result %+v, want a dead letter", replay.Results[0])
	}
	mustHave(t, s, hookgate.StoreCounts{Duplicates: 1, DeadLetters: 3}, "k-1", "k-2", "k-3")
	if err := s.Ping(t.Context()); err != nil {
		t.Errorf("the store is not well after rejections: %v", err)
	}
	mustVerify(t, s)
}

package storetest

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hookgate/hookgate"
)

// testEvent: every field of a record is stored and read back unchanged.
func testEvent(t *testing.T, s Instance) {
	o := own(t, s, 3)
	r := record("k", 1)
	r.Partition = 3
	before := time.Now().Truncate(time.Microsecond)
	if outcome := o.mustApply(t, r); outcome.Stored != 1 || len(Duplicates(outcome)) > 0 {
		t.Errorf("outcome is %+v, want one event stored", outcome)
	}
	plain := record("plain", 2)
	plain.Partition, plain.Sequence, plain.Headers, plain.RemoteAddr = 3, hookgate.NoSequence, nil, ""
	o.mustApply(t, plain)
	events := list(t, s, hookgate.EventFilter{})
	if len(events) != 2 {
		t.Fatalf("%d events are stored, want 2", len(events))
	}
	for i, r := range []hookgate.Record{r, plain} {
		e := events[i]
		if e.PersistedAt.Before(before) || e.PersistedAt.After(time.Now()) {
			t.Errorf("persisted at %s, want a time during the test", e.PersistedAt)
		}
		want := hookgate.StoredEvent{
			ID: e.ID, Identity: r.Identity, OrderingKey: r.OrderingKey, Sequence: r.Sequence,
			RequestID: r.RequestID,
			Headers:   r.Headers, RemoteAddr: r.RemoteAddr, ReceivedAt: r.ReceivedAt,
			PersistedAt: e.PersistedAt,
			Partition:   3, Position: r.Position.String(), Size: int64(len(r.Body)),
			SHA256: sha256.Sum256(r.Body),
		}
		if !reflect.DeepEqual(e, want) {
			t.Errorf("stored is\n%+v, want\n%+v", e, want)
		}
		if single, err := s.Event(t.Context(), e.ID); err != nil || !reflect.DeepEqual(single, e) {
			t.Errorf("event %s alone is %+v (error %v), want %+v", e.ID, single, err, e)
		}
	}
}

// testBodies: any bytes are stored unchanged, and so is any text that admission accepts.
func testBodies(t *testing.T, s Instance) {
	o := own(t, s, 0)
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	for n, body := range [][]byte{nil, {}, {0}, all, []byte("{\"a\":\"\xff\xfe\"}"),
		bytes.Repeat([]byte("x"), 1<<20)} {
		r := record("k", n)
		r.Body = body
		r.MessageID = fmt.Sprintf("%d '\";--%%_\\ \u00e9 e\u0301 \U0001f600", n)
		o.mustApply(t, r)
		found := list(t, s, hookgate.EventFilter{MessageID: r.MessageID})
		if len(found) != 1 {
			t.Fatalf("body %d: found %d events with message id %q", n, len(found), r.MessageID)
		}
		got, err := s.Body(t.Context(), found[0].ID)
		if err != nil || !bytes.Equal(got, body) || found[0].Size != int64(len(body)) {
			t.Errorf("body %d: got %d bytes (size %d, error %v), want %d", n, len(got), found[0].Size, err,
				len(body))
		}
	}
}

// testIdentity: the same message id with another source or type is another event.
func testIdentity(t *testing.T, s Instance) {
	o := own(t, s, 0)
	var batch []hookgate.Record
	for n, id := range []hookgate.Identity{
		{Source: "a", EventType: "x", MessageID: "1"}, {Source: "b", EventType: "x", MessageID: "1"},
		{Source: "a", EventType: "y", MessageID: "1"},
		{Source: "a", EventType: "x", MessageID: "2"}, {Source: "a", EventType: "X", MessageID: "1"},
		{Source: "a", EventType: "x ", MessageID: "1"},
	} {
		r := record("k", n)
		r.Identity = id
		batch = append(batch, r)
	}
	if outcome := o.mustApply(t, batch...); outcome.Stored != len(batch) ||
		len(Duplicates(outcome)) != 0 {
		t.Errorf("outcome is %+v, want %d events stored", outcome, len(batch))
	}
}

// testUnprovenType: an event whose type is not proved is stored once, even if a repetition has
// another type. The repetition may be in the same batch or a later one. The same holds if the event
// was first stored with a proved type.
func testUnprovenType(t *testing.T, s Instance) {
	o := own(t, s, 0)
	unproven := func(n int, eventType string) hookgate.Record {
		r := record("k", n)
		r.EventType, r.TypeUnproven = eventType, true
		return r
	}
	proven := record("k", 2)
	if outcome := o.mustApply(t, unproven(1, "a"), unproven(1, "b"), proven); outcome.Stored != 2 ||
		!slices.Equal(Duplicates(outcome), []int{1}) {
		t.Errorf("outcome is %+v, want 2 stored and number 1 a duplicate", outcome)
	}
	batch := []hookgate.Record{unproven(1, "c"), unproven(2, "other"), unproven(3, "a"),
		record("k", 3)}
	batch[3].EventType = "A proven type" // sorts before "a"
	for range 2 {                        // the second round assumes that the outcome of the first was unknown
		if outcome := o.mustApply(t, batch...); !slices.Equal(Duplicates(outcome), []int{0, 1}) {
			t.Errorf("outcome is %+v, want numbers 0 and 1 to be duplicates", outcome)
		}
	}
	mustHave(t, s, hookgate.StoreCounts{Duplicates: 3}, "k-1", "k-2", "k-3", "k-3")
	other := record("k", 1)
	other.Source, other.TypeUnproven = "other", true
	if outcome := o.mustApply(t, other); outcome.Stored != 1 {
		t.Errorf("outcome of another source is %+v, want it stored", outcome)
	}
}

// testDuplicates: an identity is stored once, whether it repeats in its batch or in a later one,
// and whether or not the queue recognised it. The first event stays; each repetition has its own
// trail.
func testDuplicates(t *testing.T, s Instance) {
	o := own(t, s, 0)
	first := record("k", 1)
	unknown, known := again(first), again(first)
	unknown.Body = []byte("another body")
	known.Body, known.DuplicateOf = nil, first.RequestID
	if outcome := o.mustApply(t, first, unknown, known, record("k", 2)); outcome.Stored != 2 ||
		!slices.Equal(Duplicates(outcome), []int{1, 2}) {
		t.Errorf("outcome is %+v, want 2 stored and numbers 1 and 2 duplicates", outcome)
	}
	later := again(first)
	if outcome := o.mustApply(t, record("k", 3), later); outcome.Stored != 1 ||
		!slices.Equal(Duplicates(outcome), []int{1}) {
		t.Errorf("outcome is %+v, want 1 stored and number 1 a duplicate", outcome)
	}
	mustHave(t, s, hookgate.StoreCounts{Duplicates: 3}, "k-1", "k-2", "k-3")
	e := list(t, s, hookgate.EventFilter{MessageID: "k-1"})[0]
	if body, _ := s.Body(t.Context(), e.ID); e.RequestID != first.RequestID ||
		!bytes.Equal(body, first.Body) {
		t.Errorf("kept is request %s with body %q, want the first", e.RequestID, body)
	}
	if got := stages(t, s, "k-1"); len(got) != 4 {
		t.Errorf("%d requests have a trail, want 4: %v", len(got), got)
	}
}

// testRepeated: the owner, or the next owner, applies a batch of unknown outcome again. Nothing
// changes.
func testRepeated(t *testing.T, s Instance) {
	o := own(t, s, 0)
	known := again(record("k", 1))
	known.DuplicateOf = hookgate.NewRequestID(start)
	b := o.batch(record("k", 1), known, record("k", 2))
	b.Dead = []hookgate.DeadLetter{{Record: record("dead", 1), Reason: "at fault"}}
	first := mustApply(t, o, b)
	for range 2 {
		if outcome := mustApply(t, o, b); outcome.Stored != 0 ||
			!slices.Equal(outcome.Results, first.Results) {
			t.Errorf("the repeated batch had the outcome %+v, want the results of the first, %+v", outcome,
				first)
		}
		mustHave(t, s, hookgate.StoreCounts{Duplicates: 1, DeadLetters: 1}, "k-1", "k-2")
		if got := len(stages(t, s, "k-1")); got != 2 {
			t.Errorf("%d requests of k-1 have a trail, want 2", got)
		}
		b.Epochs = own(t, s, 0).epochs
	}
}

// testPartlyRepeated: after a restart a batch can contain stored and new records.
func testPartlyRepeated(t *testing.T, s Instance) {
	o := own(t, s, 0)
	a, b, c := record("k", 1), record("k", 2), record("k", 3)
	o.mustApply(t, a, b)
	if outcome := o.mustApply(t, a, b, c); outcome.Stored != 1 || len(Duplicates(outcome)) != 0 {
		t.Errorf("outcome is %+v, want 1 stored", outcome)
	}
	mustHave(t, s, hookgate.StoreCounts{}, "k-1", "k-2", "k-3")
}

// testSameRequest: a request is stored once, however often it is in a batch and with any
// history.
func testSameRequest(t *testing.T, s Instance) {
	o := own(t, s, 0)
	first := record("k", 1)
	known, unknown, dead := again(first), again(first), record("dead", 1)
	known.DuplicateOf, known.Body = first.RequestID, nil
	b := o.batch(first, known, known, unknown, unknown, first)
	b.Dead = []hookgate.DeadLetter{{Record: dead, Reason: "at fault"},
		{Record: dead, Reason: "at fault"}}
	if outcome := mustApply(t, s, b); outcome.Stored != 1 || !slices.Equal(Duplicates(outcome),
		[]int{1, 2, 3, 4}) {
		t.Errorf("outcome is %+v, want 1 stored and numbers 1 to 4 duplicates", outcome)
	}
	mustHave(t, s, hookgate.StoreCounts{Duplicates: 2, DeadLetters: 1}, "k-1")
	// The request of the dead letter comes again as an event, after another event with its
	// identity.
	if outcome := o.mustApply(t, again(dead), dead); outcome.Stored != 1 ||
		!slices.Equal(Duplicates(outcome), []int{1}) {
		t.Errorf("outcome is %+v, want 1 stored and number 1 a duplicate", outcome)
	}
	mustHave(t, s, hookgate.StoreCounts{Duplicates: 2, DeadLetters: 1}, "k-1", "dead-1")
}

// testPartitions: one batch can contain records of several partitions.
func testPartitions(t *testing.T, s Instance) {
	o := own(t, s, 0, 1, 2)
	var batch []hookgate.Record
	for n := range 9 {
		r := record("k", n)
		r.Partition = (n * 2) % 3
		batch = append(batch, r)
	}
	if outcome := o.mustApply(t, batch...); outcome.Stored != 9 {
		t.Errorf("outcome is %+v, want 9 stored", outcome)
	}
	for _, e := range list(t, s, hookgate.EventFilter{}) {
		if want := int(e.Sequence*2) % 3; e.Partition != want {
			t.Errorf("%s is in partition %d, want %d", e.MessageID, e.Partition, want)
		}
	}
}

// testFence: a replaced owner cannot store anything, not even in a partition that it still owns.
func testFence(t *testing.T, s Instance) {
	old := own(t, s, 0, 1)
	r := record("k", 1)
	r.Partition = 1
	old.mustApply(t, record("k", 0))
	current := own(t, s, 1)
	if current.epochs[1] <= old.epochs[1] {
		t.Fatalf("epoch %d follows %d", current.epochs[1], old.epochs[1])
	}
	if _, err := old.apply(record("k", 2), r); !errors.Is(err, hookgate.ErrFenced) ||
		errors.Is(err, hookgate.ErrRejected) {
		t.Errorf("a batch with an old epoch got %v, want ErrFenced alone", err)
	}
	dead := old.batch()
	dead.Dead = []hookgate.DeadLetter{{Record: r, Reason: "late"}}
	if _, err := s.Apply(t.Context(), dead); !errors.Is(err, hookgate.ErrFenced) {
		t.Errorf("a dead letter with an old epoch got %v, want ErrFenced", err)
	}
	mustHave(t, s, hookgate.StoreCounts{}, "k-0")
	current.mustApply(t, r)
	old.mustApply(t, record("k", 2))
	mustHave(t, s, hookgate.StoreCounts{}, "k-0", "k-1", "k-2")
}

// testNoEpoch: a batch of a partition that was never acquired is an error of the caller. It is
// neither ErrFenced nor ErrRejected.
func testNoEpoch(t *testing.T, s Instance) {
	o := own(t, s, 0)
	r := record("k", 1)
	r.Partition = 5
	for name, epochs := range map[string]map[int]hookgate.Epoch{"without an epoch": o.epochs,
		"never acquired": {0: 1, 5: 1}} {
		b := o.batch(record("k", 0), r)
		b.Epochs = epochs
		if _, err := s.Apply(t.Context(), b); err == nil || errors.Is(err, hookgate.ErrFenced) ||
			errors.Is(err, hookgate.ErrRejected) {
			t.Errorf("partition %s: got %v, want an error of another kind", name, err)
		}
	}
	mustHave(t, s, hookgate.StoreCounts{})
}

// testCorrupt: Apply rejects a corrupt record as an event, but accepts it as a dead letter, also
// several of them.
func testCorrupt(t *testing.T, s Instance) {
	o := own(t, s, 0)
	b := o.batch()
	for n := range 2 {
		corrupt := hookgate.Record{
			Request: hookgate.Request{RequestID: hookgate.NewRequestID(start),
				Sequence: hookgate.NoSequence, Body: []byte{0, 255, byte(n)}},
			Position: hookgate.Position{Major: 1, Minor: uint64(n)}, Corrupt: errors.New("checksum"),
		}
		if _, err := o.apply(record("k", n), corrupt); !errors.Is(err, hookgate.ErrRejected) {
			t.Errorf("a corrupt record got %v, want ErrRejected", err)
		}
		b.Dead = append(b.Dead, hookgate.DeadLetter{Record: corrupt, Reason: "checksum"})
	}
	mustHave(t, s, hookgate.StoreCounts{})
	mustApply(t, o, b)
	all := deadLetters(t, s, hookgate.DeadLetterFilter{})
	if len(all) != 2 {
		t.Fatalf("dead letters are %+v, want the two corrupt records", all)
	}
	for n, d := range all {
		if body, err := s.DeadLetterBody(t.Context(), d.ID); err != nil ||
			!bytes.Equal(body, []byte{0, 255, byte(n)}) {
			t.Errorf("the body of corrupt record %d is %v (error %v)", n, body, err)
		}
	}
}

// testTimes: it does not matter if the clock jumps between the stages of an event.
func testTimes(t *testing.T, s Instance) {
	o := own(t, s, 0)
	r := record("k", 1)
	r.ReceivedAt = time.Date(2099, 1, 1, 0, 0, 0, 0, time.UTC)
	r.EnqueuedAt = time.Date(1999, 1, 1, 0, 0, 0, 1000, time.UTC)
	o.mustApply(t, r)
	if e := list(t, s, hookgate.EventFilter{})[0]; !e.ReceivedAt.Equal(r.ReceivedAt) {
		t.Errorf("received at %s, want %s", e.ReceivedAt, r.ReceivedAt)
	}
}

// testConcurrent: workers that own different partitions store at the same time, each in its order.
func testConcurrent(t *testing.T, s Instance) {
	const workers, batches, size = 4, 10, 20
	var all sync.WaitGroup
	for p := range workers {
		o := own(t, s, p)
		all.Go(func() {
			for n := range batches {
				var batch []hookgate.Record
				for i := range size {
					r := record(fmt.Sprint("w", p), n*size+i)
					r.Partition = p
					batch = append(batch, r)
				}
				if outcome, err := o.apply(batch...); err != nil || outcome.Stored != size {
					t.Errorf("worker %d, batch %d: outcome %+v, error %v", p, n, outcome, err)
				}
			}
		})
	}
	all.Wait()
	next := map[string]int64{}
	for _, e := range list(t, s, hookgate.EventFilter{}) {
		if e.Sequence != next[e.OrderingKey] {
			t.Errorf("%s came where %d was due", e.MessageID, next[e.OrderingKey])
		}
		next[e.OrderingKey]++
	}
	if len(next) != workers || next["w0"] != batches*size {
		t.Errorf("stored are %v", next)
	}
}

// testEmpty: an empty batch changes nothing.
func testEmpty(t *testing.T, s Instance) {
	if outcome := own(t, s, 0).mustApply(t); outcome.Stored != 0 {
		t.Errorf("outcome is %+v", outcome)
	}
	mustHave(t, s, hookgate.StoreCounts{})
}

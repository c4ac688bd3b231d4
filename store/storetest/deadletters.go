package storetest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/hookgate/hookgate"
)

// mustDeadLetter stores records as dead letters, in a batch of their own.
func (o *owner) mustDeadLetter(t TB, reason string, records ...hookgate.Record) {
	t.Helper()
	b := o.batch()
	for _, r := range records {
		b.Dead = append(b.Dead, hookgate.DeadLetter{Record: r, Reason: reason})
	}
	mustApply(t, o, b)
}

// deadLetters returns all dead letters that match.
func deadLetters(t TB, s hookgate.Reader,
	f hookgate.DeadLetterFilter) (all []hookgate.StoredDeadLetter) {
	t.Helper()
	for d, err := range s.DeadLetters(context.Background(), f) {
		if err != nil {
			t.Fatalf("list dead letters: %v", err)
		}
		all = append(all, d)
	}
	return all
}

// mustBeIn checks the states of the requests' dead letters, in listings by state and one by one.
func mustBeIn(t TB, s hookgate.Reader, want map[hookgate.RequestID]hookgate.DeadLetterState) {
	t.Helper()
	mustCountOpen(t, s)
	got := map[hookgate.RequestID]hookgate.DeadLetterState{}
	for _, state := range []hookgate.DeadLetterState{hookgate.DeadLetterOpen,
		hookgate.DeadLetterStored,
		hookgate.DeadLetterSuperseded, hookgate.DeadLetterPurged} {
		for _, d := range deadLetters(t, s, hookgate.DeadLetterFilter{State: state}) {
			if before, twice := got[d.RequestID]; twice || d.State != state {
				t.Errorf("dead letter %s is listed as %s, says %s, and was listed as %q", d.RequestID, state,
					d.State, before)
			}
			got[d.RequestID] = state
			for _, id := range []string{d.ID, d.RequestID.String()} {
				if one, err := s.DeadLetter(context.Background(), id); err != nil ||
					!reflect.DeepEqual(one, d) {
					t.Errorf("dead letter %s is\n%+v (error %v), and in the listing\n%+v", id, one, err, d)
				}
			}
		}
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("states are %v, want %v", got, want)
	}
}

// testDeadLetters: a dead letter is stored whole and once. It is no event, so its identity stays
// free.
func testDeadLetters(t *testing.T, s Instance) {
	o := own(t, s, 0)
	var b *hookgate.Batch
	for n := range 3 {
		b = o.batch(record("k", n))
		b.Dead = []hookgate.DeadLetter{{Record: record("dead", n), Reason: fmt.Sprintf("reason %d", n)}}
		b.Attempts, b.LastError = n+1, fmt.Sprintf("error %d", n)
		mustApply(t, o, b)
	}
	mustApply(t, o, b)
	mustHave(t, s, hookgate.StoreCounts{DeadLetters: 3}, "k-0", "k-1", "k-2")
	all := deadLetters(t, s, hookgate.DeadLetterFilter{})
	if len(all) != 3 {
		t.Fatalf("%d dead letters, want 3", len(all))
	}
	r, d := b.Dead[0].Record, all[2]
	want := hookgate.StoredDeadLetter{
		ID: d.ID, Identity: r.Identity, OrderingKey: r.OrderingKey, Sequence: r.Sequence,
		RequestID: r.RequestID, Headers: r.Headers,
		RemoteAddr: r.RemoteAddr, Size: int64(len(r.Body)), SHA256: sha256.Sum256(r.Body),
		Reason: "reason 2", ReceivedAt: r.ReceivedAt,
		DeadLetteredAt: d.DeadLetteredAt, Partition: r.Partition, Position: r.Position.String(),
		Attempts: 3, LastError: "error 2",
		State: hookgate.DeadLetterOpen,
	}
	if !reflect.DeepEqual(d, want) || d.DeadLetteredAt.IsZero() {
		t.Errorf("dead letter is\n%+v, want\n%+v", d, want)
	}
	for _, id := range []string{d.ID, d.RequestID.String()} {
		if body, err := s.DeadLetterBody(t.Context(), id); err != nil || !bytes.Equal(body, r.Body) {
			t.Errorf("its body is %q (error %v), want %q", body, err, r.Body)
		}
	}
	if got := stages(t, s, "dead-2"); !slices.Equal(got,
		[]string{"received enqueued processed retried dead_lettered"}) {
		t.Errorf("trail of a dead letter is %v", got)
	}
	if outcome := o.mustApply(t, again(r)); outcome.Stored != 1 {
		t.Errorf("the identity of a dead letter is taken: %+v", outcome)
	}
}

// testDeadLetterStates: the state of a dead letter follows from what is stored after it.
func testDeadLetterStates(t *testing.T, s Instance) {
	o := own(t, s, 0)
	replayed, sentAgain, untouched := record("k", 1), record("k", 2), record("k", 3)
	undecoded := hookgate.Record{Request: hookgate.Request{RequestID: hookgate.NewRequestID(start),
		Sequence: hookgate.NoSequence, Body: []byte{255}},
		Position: hookgate.Position{Minor: 99}}
	o.mustDeadLetter(t, "at fault", replayed, sentAgain, untouched, undecoded)
	otherType := record("k", 3)
	otherType.EventType = "another"
	o.mustApply(t, otherType, again(sentAgain))
	want := map[hookgate.RequestID]hookgate.DeadLetterState{
		replayed.RequestID: hookgate.DeadLetterOpen, sentAgain.RequestID: hookgate.DeadLetterStored,
		untouched.RequestID: hookgate.DeadLetterOpen, undecoded.RequestID: hookgate.DeadLetterOpen,
	}
	mustBeIn(t, s, want)

	failed := replayOf(replayed, 1)
	o.mustDeadLetter(t, "still at fault", failed)
	want[replayed.RequestID], want[failed.RequestID] = hookgate.DeadLetterSuperseded,
		hookgate.DeadLetterOpen
	mustBeIn(t, s, want)
	d, err := s.DeadLetter(t.Context(), failed.RequestID.String())
	if err != nil || d.RetryOf != replayed.RequestID || !d.RetriedAt.Equal(failed.RetriedAt) ||
		d.Undecoded() {
		t.Errorf("the dead letter of a replay is %+v (error %v)", d, err)
	}
	if d, err := s.DeadLetter(t.Context(), undecoded.RequestID.String()); err != nil ||
		!d.Undecoded() {
		t.Errorf("the dead letter that cannot be decoded is %+v (error %v)", d, err)
	}

	o.mustApply(t, replayOf(failed, 2))
	want[replayed.RequestID], want[failed.RequestID] = hookgate.DeadLetterStored,
		hookgate.DeadLetterStored
	mustBeIn(t, s, want)
	mustPurge(t, s, d.ID)
	want[replayed.RequestID], want[failed.RequestID] = hookgate.DeadLetterPurged,
		hookgate.DeadLetterPurged
	mustBeIn(t, s, want)
}

// mustCountOpen compares OpenDeadLetters, with and without its limit, with the listing.
func mustCountOpen(t TB, s hookgate.Reader) {
	t.Helper()
	open := int64(len(deadLetters(t, s, hookgate.DeadLetterFilter{State: hookgate.DeadLetterOpen})))
	for most, want := range map[int64]int64{100: open, open: open, 1: min(open, 1)} {
		if n, err := s.OpenDeadLetters(context.Background(), most); n != want || err != nil {
			t.Errorf("%d open dead letters of %d at most (error %v), want %d", n, most, err, want)
		}
	}
}

// testReplays: however often a dead letter is retried, one event is stored, with the body and the
// time of the dead letter. Repeating the same retry changes nothing.
func testReplays(t *testing.T, s Instance) {
	o := own(t, s, 0)
	dead := record("k", 1)
	o.mustDeadLetter(t, "at fault", dead)
	d := deadLetters(t, s, hookgate.DeadLetterFilter{})[0]
	body, err := s.DeadLetterBody(t.Context(), d.ID)
	if err != nil {
		t.Fatal(err)
	}
	made := d.Retry(body, start.Add(time.Hour).Add(123*time.Nanosecond))
	want := dead.Request
	want.RequestID, want.RetryOf, want.RetriedAt = made.RequestID, dead.RequestID,
		start.Add(time.Hour)
	if !reflect.DeepEqual(*made, want) || made.RequestID == dead.RequestID {
		t.Errorf("the replay is\n%+v, want\n%+v", *made, want)
	}
	replays := []hookgate.Record{replayOf(dead, 1), replayOf(dead, 2), replayOf(dead, 3)}
	for range 2 {
		o.mustApply(t, replays[0], replays[1])
		o.mustApply(t, replays[1], replays[2], replays[0])
	}
	mustHave(t, s, hookgate.StoreCounts{Duplicates: 2, DeadLetters: 1}, "k-1")
	event := list(t, s, hookgate.EventFilter{})[0]
	if event.RequestID != replays[0].RequestID || event.SHA256 != sha256.Sum256(dead.Body) ||
		!event.ReceivedAt.Equal(dead.ReceivedAt) {
		t.Errorf("stored is %+v, want the first replay with what %+v brought", event, dead)
	}
}

// testDeadLetterComesAgain: a record became a dead letter, and a crash lost its release, so it
// comes again. If it is rejected again, or another request has stored the event, nothing changes.
// Otherwise it is stored, and its lineage shows both.
func testDeadLetterComesAgain(t *testing.T, s Instance) {
	o := own(t, s, 0)
	stored, replaced := record("k", 1), record("k", 2)
	for range 2 {
		o.mustDeadLetter(t, "at fault", stored, replaced)
	}
	o.mustApply(t, stored, replayOf(replaced, 1))
	o.mustApply(t, stored, replaced)
	mustHave(t, s, hookgate.StoreCounts{DeadLetters: 2}, "k-1", "k-2")
	mustBeIn(t, s, map[hookgate.RequestID]hookgate.DeadLetterState{
		stored.RequestID: hookgate.DeadLetterStored, replaced.RequestID: hookgate.DeadLetterStored,
	})
	if got := stages(t, s, "k-1"); !slices.Equal(got,
		[]string{"received enqueued processed dead_lettered processed persisted"}) {
		t.Errorf("trail of what was stored after all is %q", got)
	}
	if got := stages(t, s, "k-2"); !slices.Equal(got,
		[]string{"received enqueued processed dead_lettered",
			"received replayed enqueued processed persisted"}) {
		t.Errorf("trail of what was replayed is %q", got)
	}
}

// testDeadLetterFilters: each field of the filter works, alone and with others.
func testDeadLetterFilters(t *testing.T, s Instance) {
	o := own(t, s, 0)
	var all []hookgate.Record
	for n := range 4 {
		r := record("k", n)
		r.EventType, r.Source, r.OrderingKey = fmt.Sprint("type", n%2), fmt.Sprint("source", n/2),
			fmt.Sprint("key", n)
		all = append(all, r)
		o.mustDeadLetter(t, fmt.Sprintf("CHECK %d%%_ violated", n), r)
	}
	listed := deadLetters(t, s, hookgate.DeadLetterFilter{})
	for _, test := range []struct {
		f    hookgate.DeadLetterFilter
		want string
	}{
		{hookgate.DeadLetterFilter{}, "k-0 k-1 k-2 k-3"},
		{hookgate.DeadLetterFilter{EventType: "type1"}, "k-1 k-3"},
		{hookgate.DeadLetterFilter{Source: "source0"}, "k-0 k-1"},
		{hookgate.DeadLetterFilter{OrderingKey: "key2"}, "k-2"},
		{hookgate.DeadLetterFilter{MessageID: "k-3"}, "k-3"},
		{hookgate.DeadLetterFilter{MessageIDPrefix: "k-"}, "k-0 k-1 k-2 k-3"},
		{hookgate.DeadLetterFilter{MessageIDPrefix: "k-2", EventType: "type0"}, "k-2"},
		{hookgate.DeadLetterFilter{MessageIDPrefix: "%"}, ""},
		{hookgate.DeadLetterFilter{MessageIDPrefix: "k\xff"}, ""},
		{hookgate.DeadLetterFilter{ReasonContains: "2%_ v"}, "k-2"},
		{hookgate.DeadLetterFilter{ReasonContains: "check"}, ""},
		{hookgate.DeadLetterFilter{Source: "source1", EventType: "type0"}, "k-2"},
		{hookgate.DeadLetterFilter{From: listed[1].DeadLetteredAt, To: listed[3].DeadLetteredAt},
			"k-1 k-2"},
		{hookgate.DeadLetterFilter{After: listed[1].ID}, "k-2 k-3"},
		{hookgate.DeadLetterFilter{After: listed[0].ID, Limit: 2}, "k-1 k-2"},
		{hookgate.DeadLetterFilter{State: hookgate.DeadLetterOpen, Limit: 1}, "k-0"},
		{hookgate.DeadLetterFilter{State: hookgate.DeadLetterStored}, ""},
		{hookgate.DeadLetterFilter{MessageID: "\x00"}, ""},
		{hookgate.DeadLetterFilter{ReasonContains: "\xff"}, ""},
	} {
		got := ""
		for _, d := range deadLetters(t, s, test.f) {
			if got != "" {
				got += " "
			}
			got += d.MessageID
		}
		if got != test.want {
			t.Errorf("%+v selects %q, want %q", test.f, got, test.want)
		}
	}
	for _, err := range s.DeadLetters(t.Context(), hookgate.DeadLetterFilter{After: "x"}) {
		if !errors.Is(err, hookgate.ErrNotFound) {
			t.Errorf("an After that is no ID got %v, want ErrNotFound", err)
		}
	}
	for _, id := range []string{"", "x", "-1", "99999", hookgate.NewRequestID(start).String()} {
		if d, err := s.DeadLetter(t.Context(), id); !errors.Is(err, hookgate.ErrNotFound) {
			t.Errorf("dead letter %q is %+v (error %v), want ErrNotFound", id, d, err)
		}
		if body, err := s.DeadLetterBody(t.Context(), id); !errors.Is(err, hookgate.ErrNotFound) {
			t.Errorf("the body of dead letter %q is %q (error %v), want ErrNotFound", id, body, err)
		}
	}
	o.mustApply(t, again(all[0])) // a duplicate has a request too, but is not a dead letter
	o.mustApply(t, again(all[0]))
	for _, id := range []string{"5", "6"} {
		if d, err := s.DeadLetter(t.Context(), id); !errors.Is(err, hookgate.ErrNotFound) {
			t.Errorf("request %s, a duplicate, is the dead letter %+v (error %v)", id, d, err)
		}
	}
}

// testDeadLetterPages: a listing longer than a page has each dead letter once, in order, while
// others are added and purged.
func testDeadLetterPages(t *testing.T, s Instance) {
	o := own(t, s, 0)
	const many = 1203
	var records []hookgate.Record
	for n := range many {
		records = append(records, record("k", n))
	}
	o.mustDeadLetter(t, "at fault", records...)
	n := 0
	for d, err := range s.DeadLetters(t.Context(),
		hookgate.DeadLetterFilter{State: hookgate.DeadLetterOpen}) {
		if err != nil {
			t.Fatal(err)
		}
		if d.Sequence != int64(n) {
			t.Fatalf("dead letter %d is of sequence %d", n, d.Sequence)
		}
		if n++; n == 10 {
			mustPurge(t, s, d.ID)
			o.mustDeadLetter(t, "late", record("late", many))
		}
	}
	if n != many+1 {
		t.Errorf("%d dead letters were listed, want %d", n, many+1)
	}
}

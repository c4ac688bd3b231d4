package storetest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hookgate/hookgate"
)

// testTrail: each request that was acknowledged tells where and when it went through which stage.
func testTrail(t *testing.T, s Instance) {
	o := own(t, s, 2)
	first := record("k", 1)
	first.Partition = 2
	known, unknown := again(first), again(first)
	known.DuplicateOf, known.Body = first.RequestID, nil
	o.mustApply(t, first, known)
	o.mustApply(t, unknown)
	trails, err := s.Trace(t.Context(), "k-1", hookgate.RequestID{}, 1000)
	if err != nil || len(trails) != 3 {
		t.Fatalf("%d trails and error %v, want 3", len(trails), err)
	}
	if !slices.IsSortedFunc(trails, func(a, b hookgate.RequestTrail) int {
		return slices.Compare(a.RequestID[:], b.RequestID[:])
	}) {
		t.Error("the trails are not in the order of receipt")
	}
	event := list(t, s, hookgate.EventFilter{})[0]
	for _, trail := range trails {
		last, metadata := hookgate.StageDuplicate,
			map[string]any{"firstRequestId": first.RequestID.String()}
		if trail.RequestID == first.RequestID {
			last, metadata = hookgate.StagePersisted, map[string]any{"event": event.ID}
		}
		position := first.Position.String()
		if trail.RequestID != first.RequestID {
			position = known.Position.String()
		}
		if trail.Identity != first.Identity {
			t.Errorf("trail of %s, want of %s", trail.Identity, first.Identity)
		}
		for i, want := range []struct {
			stage    hookgate.Stage
			at       time.Time // zero: any
			metadata map[string]any
		}{
			{hookgate.StageReceived, first.ReceivedAt, map[string]any{"remoteAddr": first.RemoteAddr}},
			{hookgate.StageEnqueued, first.EnqueuedAt, map[string]any{"partition": 2.0,
				"position": position}},
			{hookgate.StageProcessed, start.Add(time.Hour), map[string]any{"worker": "gate/1"}},
			{last, time.Time{}, metadata},
		} {
			got := trail.Entries[i]
			if got.Stage != want.stage || !want.at.IsZero() && !got.Timestamp.Equal(want.at) {
				t.Errorf("stage %d is %s at %s, want %s at %s", i, got.Stage, got.Timestamp, want.stage,
					want.at)
			}
			var metadata map[string]any
			if err := json.Unmarshal(got.Metadata, &metadata); err != nil {
				t.Errorf("metadata of %s: %v", got.Stage, err)
			}
			if i == 3 && metadata["batch"] == nil {
				t.Errorf("stage %s does not name its batch: %s", got.Stage, got.Metadata)
			}
			for name, value := range want.metadata {
				if metadata[name] != value {
					t.Errorf("stage %s says %s, want %s to be %v", got.Stage, got.Metadata, name, value)
				}
			}
		}
	}
}

// testTracePages reads the requests of one message id page by page; the pages together are the
// whole.
func testTracePages(t *testing.T, s Instance) {
	o := own(t, s, 2)
	first := record("k", 1)
	first.Partition = 2
	batch := []hookgate.Record{first}
	for range 6 {
		batch = append(batch, again(first))
	}
	o.mustApply(t, batch...)
	whole, err := s.Trace(t.Context(), "k-1", hookgate.RequestID{}, 100)
	if err != nil || len(whole) != len(batch) {
		t.Fatalf("%d requests (error %v), want %d", len(whole), err, len(batch))
	}
	for limit := 1; limit <= len(batch)+1; limit++ {
		var pages []hookgate.RequestTrail
		for after, n := (hookgate.RequestID{}), limit; n == limit; {
			page, err := s.Trace(t.Context(), "k-1", after, limit)
			if err != nil || len(page) > limit {
				t.Fatalf("a page of %d has %d requests (error %v)", limit, len(page), err)
			}
			if n = len(page); n > 0 {
				after = page[n-1].RequestID
			}
			pages = append(pages, page...)
		}
		if fmt.Sprint(pages) != fmt.Sprint(whole) {
			t.Errorf("pages of %d are together %v, want %v", limit, pages, whole)
		}
	}
}

// testListingEnds stops a listing that looks at each event, after its first window, and continues
// from where it stopped: together both parts are the whole.
func testListingEnds(t *testing.T, s Instance) {
	o := own(t, s, 2)
	var batch []hookgate.Record
	for i := range 300 {
		r := record("k", i+1)
		r.Partition = 2
		if i%2 > 0 {
			r.EventType = "other"
		}
		batch = append(batch, r)
	}
	o.mustApply(t, batch...)
	f := hookgate.EventFilter{EventType: "other"}
	want := list(t, s, f)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var got []hookgate.Event
	var partial *hookgate.PartialError
	for e, err := range s.Events(ctx, f) {
		cancel()
		if err != nil {
			if !errors.As(err, &partial) || !errors.Is(err, context.Canceled) {
				t.Fatalf("a listing whose context ended says %v", err)
			}
			break
		}
		got = append(got, e)
	}
	if partial == nil || len(got) == 0 || len(got) >= len(want) {
		t.Fatalf("%d of %d events before the end of the context, then %v", len(got), len(want), partial)
	}
	f.After = partial.After
	got = append(got, list(t, s, f)...)
	if len(want) != 150 || !slices.EqualFunc(got,
		want, func(a, b hookgate.Event) bool { return a.ID == b.ID }) {
		t.Errorf("%d events in two parts, %d in one", len(got), len(want))
	}
	cancelled, stop := context.WithCancel(t.Context())
	stop()
	for _, err := range s.Events(cancelled, f) {
		if errors.As(err, &partial) || !errors.Is(err, context.Canceled) {
			t.Errorf("a listing that looked at nothing says %v", err)
		}
	}
}

// testTrailRetried: an event that was stored at a later attempt says so, with the error.
func testTrailRetried(t *testing.T, s Instance) {
	o := own(t, s, 0)
	b := o.batch(record("k", 1))
	b.Attempts, b.LastError = 4, "no \"route\" to store"
	mustApply(t, o, b)
	if got := stages(t, s, "k-1"); !slices.Equal(got,
		[]string{"received enqueued processed retried persisted"}) {
		t.Errorf("trail is %v", got)
	}
	trails, _ := s.Trace(t.Context(), "k-1", hookgate.RequestID{}, 1000)
	var metadata struct {
		Attempts  int
		LastError string
	}
	if err := json.Unmarshal(trails[0].Entries[3].Metadata, &metadata); err != nil ||
		metadata.Attempts != 4 || metadata.LastError != b.LastError {
		t.Errorf("metadata is %s (error %v)", trails[0].Entries[3].Metadata, err)
	}
	if trails, err := s.Trace(t.Context(), "unknown", hookgate.RequestID{}, 1000); err != nil ||
		len(trails) != 0 {
		t.Errorf("an unknown message id has the trails %v (error %v)", trails, err)
	}
}

// testTrailSpooled: what went through a local spool says when, be it an event, a duplicate or a
// dead letter.
func testTrailSpooled(t *testing.T, s Instance) {
	o := own(t, s, 0)
	spooled := func(r hookgate.Record) hookgate.Record {
		r.SpooledAt = r.ReceivedAt.Add(500 * time.Microsecond)
		return r
	}
	event := spooled(record("k", 1))
	b := o.batch(event, spooled(again(event)), record("k", 2))
	b.Dead = []hookgate.DeadLetter{{Record: spooled(record("dead", 1)), Reason: "at fault"}}
	mustApply(t, o, b)
	for id, want := range map[string][]string{
		"k-1": {"received spooled enqueued processed duplicate",
			"received spooled enqueued processed persisted"},
		"k-2":    {"received enqueued processed persisted"},
		"dead-1": {"received spooled enqueued processed dead_lettered"},
	} {
		got := stages(t, s, id)
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("trails of %s are %v, want %v", id, got, want)
		}
	}
	trails, err := s.Trace(t.Context(), "dead-1", hookgate.RequestID{}, 1000)
	if err != nil || !trails[0].Entries[1].Timestamp.Equal(record("dead",
		1).ReceivedAt.Add(500*time.Microsecond)) || string(trails[0].Entries[1].Metadata) != "{}" {
		t.Errorf("trail is %+v (error %v)", trails, err)
	}
}

// testTrailReplayed: what replays a dead letter says when and of which request, be it an event, a
// duplicate or a dead letter again.
func testTrailReplayed(t *testing.T, s Instance) {
	o := own(t, s, 0)
	dead := record("k", 1)
	b := o.batch()
	b.Dead = []hookgate.DeadLetter{{Record: dead, Reason: "at fault"}}
	mustApply(t, o, b)
	failed, event := replayOf(dead, 1), replayOf(dead, 2)
	b = o.batch()
	b.Dead = []hookgate.DeadLetter{{Record: failed, Reason: "still at fault"}}
	mustApply(t, o, b)
	late := replayOf(dead, 3)
	late.SpooledAt = late.RetriedAt.Add(time.Millisecond)
	o.mustApply(t, event, late)
	got := stages(t, s, "k-1")
	want := []string{"received enqueued processed dead_lettered",
		"received replayed enqueued processed dead_lettered",
		"received replayed enqueued processed persisted",
		"received replayed spooled enqueued processed duplicate"}
	if !slices.Equal(got, want) {
		t.Errorf("trails are %q, want %q", got, want)
	}
	trails, err := s.Trace(t.Context(), "k-1", hookgate.RequestID{}, 1000)
	if err != nil {
		t.Fatal(err)
	}
	entry := trails[2].Entries[1]
	if !entry.Timestamp.Equal(event.RetriedAt) || !strings.Contains(string(entry.Metadata),
		dead.RequestID.String()) {
		t.Errorf("the replay is told of at %s as %s", entry.Timestamp, entry.Metadata)
	}
	if e := list(t, s, hookgate.EventFilter{})[0]; e.RequestID != event.RequestID ||
		!e.ReceivedAt.Equal(dead.ReceivedAt) {
		t.Errorf("the event is %+v, want that of the first replay that was stored, received when the dead letter was", e)
	}
}

// testOrder: events come in the order stored, which within a partition is the order of its records.
func testOrder(t *testing.T, s Instance) {
	o := own(t, s, 0)
	var want []string
	for batch := range 5 {
		var records []hookgate.Record
		for i := range 7 {
			r := record("k", 100-batch*7-i) // whatever the ids and times are
			records = append(records, r)
			want = append(want, r.MessageID)
		}
		o.mustApply(t, records...)
	}
	mustHave(t, s, hookgate.StoreCounts{}, want...)
}

// testFilters: each filter selects what it says, byte for byte, and filters combine.
func testFilters(t *testing.T, s Instance) {
	o := own(t, s, 0)
	var batch []hookgate.Record
	for n, id := range []string{"a", "a%", "a%b", "a_b", "aXb", "ab", "b", "A", "\u00e9", "\u00e9z",
		"\U0010ffff", "\U0010ffff\U0010ffff"} {
		r := record([]string{"even", "odd"}[n%2], n)
		r.MessageID = id
		r.EventType = []string{"x", "y", "z"}[n%3]
		r.Source = []string{"default", "github"}[n/6]
		batch = append(batch, r)
	}
	o.mustApply(t, batch...)
	at := func(n int) time.Time { return start.Add(time.Duration(n) * time.Second) }
	for _, test := range []struct {
		filter hookgate.EventFilter
		want   string
	}{
		{hookgate.EventFilter{}, "a a% a%b a_b aXb ab b A \u00e9 \u00e9z \U0010ffff \U0010ffff\U0010ffff"},
		{hookgate.EventFilter{Source: "github"}, "b A \u00e9 \u00e9z \U0010ffff \U0010ffff\U0010ffff"},
		{hookgate.EventFilter{ExceptSource: "github"}, "a a% a%b a_b aXb ab"},
		{hookgate.EventFilter{ExceptSource: "default", OrderingKey: "odd"},
			"A \u00e9z \U0010ffff\U0010ffff"},
		{hookgate.EventFilter{EventType: "y"}, "a% aXb A \U0010ffff"},
		{hookgate.EventFilter{OrderingKey: "odd"}, "a% a_b ab A \u00e9z \U0010ffff\U0010ffff"},
		{hookgate.EventFilter{MessageID: "a%"}, "a%"},
		{hookgate.EventFilter{MessageIDPrefix: "a"}, "a a% a%b a_b aXb ab"},
		{hookgate.EventFilter{MessageIDPrefix: "a%"}, "a% a%b"},
		{hookgate.EventFilter{MessageIDPrefix: "a_"}, "a_b"},
		{hookgate.EventFilter{MessageIDPrefix: "\u00e9"}, "\u00e9 \u00e9z"},
		{hookgate.EventFilter{MessageIDPrefix: "\U0010ffff"}, "\U0010ffff \U0010ffff\U0010ffff"},
		{hookgate.EventFilter{MessageIDPrefix: "nothing"}, ""},
		{hookgate.EventFilter{RequestID: batch[4].RequestID}, "aXb"},
		{hookgate.EventFilter{RequestID: batch[4].RequestID, Source: "github"}, ""},
		{hookgate.EventFilter{BodyContains: `"odd"`, Source: "github"}, "A \u00e9z \U0010ffff\U0010ffff"},
		{hookgate.EventFilter{BodyContains: `"n":11}`}, "\U0010ffff\U0010ffff"},
		{hookgate.EventFilter{BodyContains: `"N":11}`}, ""},
		{hookgate.EventFilter{From: at(10)}, "\U0010ffff \U0010ffff\U0010ffff"},
		{hookgate.EventFilter{To: at(2)}, "a a%"},
		{hookgate.EventFilter{From: at(3), To: at(5)}, "a_b aXb"},
		{hookgate.EventFilter{From: at(3).Add(time.Microsecond), To: at(5).Add(time.Microsecond)},
			"aXb ab"},
		{hookgate.EventFilter{Limit: 3}, "a a% a%b"},
		{hookgate.EventFilter{Source: "default", EventType: "x", OrderingKey: "even"}, "a"},
		{hookgate.EventFilter{MessageIDPrefix: "a", EventType: "z", Limit: 1}, "a%b"},
	} {
		var got []string
		for _, e := range list(t, s, test.filter) {
			got = append(got, e.MessageID)
		}
		if strings.Join(got, " ") != test.want {
			t.Errorf("%+v selects %q, want %q", test.filter, got, test.want)
		}
	}
}

// testPages: a listing can be continued behind any event, also when it is longer than what a
// backend reads at a time.
func testPages(t *testing.T, s Instance) {
	const n = 1234
	o := own(t, s, 0)
	var batch []hookgate.Record
	for i := range n {
		r := record("k", i)
		r.EventType = []string{"x", "y"}[i%2]
		batch = append(batch, r)
	}
	o.mustApply(t, batch...)
	if all := list(t, s, hookgate.EventFilter{}); len(all) != n {
		t.Errorf("the listing has %d events, want %d", len(all), n)
	}
	for _, limit := range []int{1, 7, 500, 501, 617, n} {
		after, seen := "", int64(1)
		for pages := 0; ; pages++ {
			page := list(t, s, hookgate.EventFilter{EventType: "y", After: after, Limit: limit})
			if len(page) > limit {
				t.Fatalf("a page has %d events, want at most %d", len(page), limit)
			}
			for _, e := range page {
				if e.Sequence != seen {
					t.Fatalf("pages of %d: %d follows where %d was due", limit, e.Sequence, seen)
				}
				seen += 2
			}
			if len(page) == 0 {
				break
			}
			if after = page[len(page)-1].ID; limit == 1 && pages == 20 {
				seen = n + 1 // one by one, a few will do
				break
			}
		}
		if seen != n+1 {
			t.Errorf("pages of %d end before %d", limit, seen)
		}
	}
}

// testNotFound: what is not there is ErrNotFound, whatever the id looks like.
func testNotFound(t *testing.T, s Instance) {
	own(t, s, 0).mustApply(t, record("k", 1))
	for _, id := range []string{"", "0", "999999", "-1", "1 ", " 1", "+1", "01", "1;", "x",
		"9223372036854775808", strings.Repeat("1", 1000), "\x00", "\xff"} {
		if _, err := s.Event(t.Context(), id); !errors.Is(err, hookgate.ErrNotFound) {
			t.Errorf("event %.20q: got %v, want ErrNotFound", id, err)
		}
		if _, err := s.Body(t.Context(), id); !errors.Is(err, hookgate.ErrNotFound) {
			t.Errorf("body %.20q: got %v, want ErrNotFound", id, err)
		}
	}
	for _, after := range []string{"x", "-1", "01"} {
		n, last := 0, error(nil)
		for _, err := range s.Events(t.Context(), hookgate.EventFilter{After: after}) {
			n, last = n+1, err
		}
		if n != 1 || !errors.Is(last, hookgate.ErrNotFound) {
			t.Errorf("events after %q: %d results, the last with error %v, want ErrNotFound alone", after, n,
				last)
		}
	}
}

// testStopReading: a caller may stop in the middle of a listing and go on using the store, more
// often than there can be connections.
func testStopReading(t *testing.T, s Instance) {
	o := own(t, s, 0)
	b := o.batch(record("k", 1), record("k", 2))
	b.Dead = []hookgate.DeadLetter{{Record: record("dead", 1)}, {Record: record("dead", 2)}}
	mustApply(t, o, b)
	for range 50 {
		for range s.Events(t.Context(), hookgate.EventFilter{}) {
			break
		}
		for range s.DeadLetters(t.Context(), hookgate.DeadLetterFilter{}) {
			break
		}
	}
	mustHave(t, s, hookgate.StoreCounts{DeadLetters: 2}, "k-1", "k-2")
}

// testReadWhileWriting: a listing that is read slowly neither stops the writer nor shows anything
// twice or out of order.
func testReadWhileWriting(t *testing.T, s Instance) {
	o := own(t, s, 0)
	n := 0
	add := func() {
		var batch []hookgate.Record
		for range 300 {
			batch = append(batch, record("k", n))
			n++
		}
		o.mustApply(t, batch...)
	}
	add()
	add()
	seen := 0
	for e, err := range s.Events(t.Context(), hookgate.EventFilter{}) {
		if err != nil {
			t.Fatal(err)
		}
		if want := fmt.Sprint("k-", seen); e.MessageID != want {
			t.Fatalf("%s came where %s was due", e.MessageID, want)
		}
		if seen++; seen%200 == 0 && n < 1500 {
			add()
		}
	}
	if seen < 600 {
		t.Errorf("the listing had %d events, want at least the 600 that were there when it began", seen)
	}
}

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

// testListingEnds stops a listing without an index after its first window, and continues from
// there. Both parts together must be the whole.
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
	var got []hookgate.StoredEvent
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
		want, func(a, b hookgate.StoredEvent) bool { return a.ID == b.ID }) {
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

// testOrder: events come in stored order. Within a partition this is the order of its records.
func testOrder(t *testing.T, s Instance) {
	o := own(t, s, 0)
	var want []string
	for batch := range 5 {
		var records []hookgate.Record
		for i := range 7 {
			r := record("k", 100-batch*7-i) // not the order of ids or times
			records = append(records, r)
			want = append(want, r.MessageID)
		}
		o.mustApply(t, records...)
	}
	mustHave(t, s, hookgate.StoreCounts{}, want...)
}

// testFilters: each filter selects exactly the matching events, byte for byte, and filters combine.
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
		{hookgate.EventFilter{}, "a a% a%b a_b aXb ab b A \u00e9 \u00e9z \U0010ffff" +
			" \U0010ffff\U0010ffff"},
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

// testPages: a listing can continue after any event, even if it is longer than a page.
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
				seen = n + 1 // one at a time, so a few are enough
				break
			}
		}
		if seen != n+1 {
			t.Errorf("pages of %d end before %d", limit, seen)
		}
	}
}

// testNotFound: reads of something missing return ErrNotFound, for any form of id.
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

// testStopReading: a caller may stop in the middle of a listing and keep using the store, more
// often than there are connections.
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

// testReadWhileWriting: a slow listing neither stops the writer nor shows an event twice or out of
// order.
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

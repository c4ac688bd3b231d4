package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/audit"
	"github.com/hookgate/hookgate/internal/modeltest"
)

// searched fills a store for searches. Its events have several types and keys and unordered ids;
// some were stored long after their receipt, some by a retry.
func searched(t *testing.T, s Instance) {
	o := own(t, s, 0)
	const n = 400
	late := []hookgate.Record{}
	var batch []hookgate.Record
	for i := range n {
		r := record([]string{"even", "odd"}[i%2], i)
		r.MessageID = fmt.Sprintf("id-%03d", i*173%n)
		r.EventType = []string{"x", "y", "z"}[i%3]
		r.Source = []string{"default", "github"}[i/250]
		r.Body = fmt.Appendf(nil, "\x00{\"customer\": \"c-%d\"}\xff", i%50)
		switch {
		case i%40 == 7:
			b := o.batch()
			b.Dead = []hookgate.DeadLetter{{Record: r, Reason: "at fault"}}
			mustApply(t, o, b)
			late = append(late, replayOf(r, 30+i))
		case i%40 == 9:
			late = append(late, r)
		default:
			batch = append(batch, r)
		}
	}
	o.mustApply(t, batch[:100]...)
	o.mustApply(t, append(batch[100:], late...)...)
}

// newestFirst sorts events in the order that hookgate.EventSearch documents.
func newestFirst(events []hookgate.StoredEvent, q hookgate.EventSearch) {
	slices.Reverse(events) // last stored first
	var compare func(a, b hookgate.StoredEvent) int
	switch {
	case q.Stored:
		return
	case q.MessageID != "":
		compare = func(a, b hookgate.StoredEvent) int {
			x, y := audit.IdentityKey(a.Identity), audit.IdentityKey(b.Identity)
			return bytes.Compare(x[:], y[:])
		}
	case q.EventType != "":
		compare = func(a, b hookgate.StoredEvent) int { return b.ReceivedAt.Compare(a.ReceivedAt) }
	case !q.From.IsZero() || !q.To.IsZero():
		compare = func(a, b hookgate.StoredEvent) int { return bytes.Compare(b.RequestID[:], a.RequestID[:]) }
	default:
		return
	}
	slices.SortStableFunc(events, compare)
}

func idsOf(events []hookgate.StoredEvent) string {
	var ids []string
	for _, e := range events {
		ids = append(ids, e.ID)
	}
	return strings.Join(ids, " ")
}

// searchPage bounds a page of a search.
type searchPage struct {
	limit   int
	maxTime time.Duration
}

// searchPages are the bounds with which testSearch searches. A page of one event ends before its
// time does, and 1000 end no page, so only make soak has these pairs.
var searchPages = append([]searchPage{{1, 0}, {17, 0}, {17, 1}, {1000, 1}},
	modeltest.Pick(nil, []searchPage{{1, 1}, {1000, 0}})...)

// testSearch follows searches page by page to the end and back, with every page length, and with
// and without a time limit. Each walk must show the events of the listing once, in the documented
// order.
func testSearch(t *testing.T, s Instance) {
	searched(t, s)
	at := func(n int) time.Time { return start.Add(time.Duration(n) * time.Second) }
	one := list(t, s, hookgate.EventFilter{MessageID: "id-173"})[0]
	for _, f := range []hookgate.EventFilter{
		{},
		{Source: "github"},
		{ExceptSource: "github"},
		{ExceptSource: "default", EventType: "y", From: at(30)},
		{OrderingKey: "odd"},
		{EventType: "y"},
		{EventType: "y", Source: "default", OrderingKey: "even"},
		{EventType: "x", From: at(30), To: at(301)},
		{MessageID: "id-173"},
		{MessageIDPrefix: "id-1"},
		{MessageIDPrefix: "id-1", EventType: "z", From: at(30)},
		{RequestID: one.RequestID},
		{RequestID: one.RequestID, Source: "elsewhere"},
		{From: at(350)},
		{To: at(50)},
		{From: at(40), To: at(60)},
		{From: at(40), To: at(341), OrderingKey: "odd"},
		{BodyContains: `"c-7"`},
		{BodyContains: `"c-7"`, EventType: "z"},
		{BodyContains: "\x00{"},
		{BodyContains: "c-49\"}\xff", From: at(100)},
		{BodyContains: `"C-7"`},
		{BodyContains: "nowhere"},
		{Source: "nobody's"},
		{EventType: "none"},
	} {
		for _, stored := range []bool{false, true} {
			q := hookgate.EventSearch{EventFilter: f, Stored: stored}
			want := list(t, s, f)
			newestFirst(want, q)
			for _, page := range searchPages {
				if q.Limit, q.MaxTime = page.limit, page.maxTime; page.limit == 1 && len(want) > 50 {
					continue
				}
				walk(t, s, q, want)
			}
		}
	}
}

// walk follows the cursors of a search to its end and back.
func walk(t *testing.T, s Instance, q hookgate.EventSearch, want []hookgate.StoredEvent) {
	t.Helper()
	var got []hookgate.StoredEvent
	var last hookgate.EventPage
	for {
		last = mustSearch(t, s, q)
		got = append(got, last.Events...)
		if last.Older == "" {
			break
		}
		q.Cursor = last.Older
	}
	if idsOf(got) != idsOf(want) {
		t.Errorf("%+v shows the events %s, want %s", q, idsOf(got), idsOf(want))
		return
	}
	if last.Newer == "" && len(want) > 0 {
		t.Errorf("%+v ends with a page that has no way to newer events", q)
		return
	}
	// Back to the newest, starting at the first event of the last page.
	back := last.Events
	q.Newer, q.Cursor = true, last.Newer
	for q.Cursor != "" {
		p := mustSearch(t, s, q)
		back = append(slices.Clone(p.Events), back...)
		if p.Newer == q.Cursor || p.Newer == "" {
			break
		}
		q.Cursor = p.Newer
	}
	if idsOf(back) != idsOf(want) {
		t.Errorf("%+v, from its end back: shows the events %s, want %s", q, idsOf(back), idsOf(want))
	}
}

func mustSearch(t *testing.T, s hookgate.Reader, q hookgate.EventSearch) hookgate.EventPage {
	t.Helper()
	p, err := s.Search(t.Context(), q)
	if err != nil {
		t.Fatalf("search %+v: %v", q, err)
	}
	if len(p.Events) > q.Limit {
		t.Fatalf("search %+v: a page of %d events", q, len(p.Events))
	}
	return p
}

// testSearchTimeout: a search that finds little returns how far it came when its time is over, and
// the next page continues from there.
func testSearchTimeout(t *testing.T, s Instance) {
	searched(t, s)
	q := hookgate.EventSearch{EventFilter: hookgate.EventFilter{BodyContains: "nowhere", Limit: 10},
		MaxTime: 1}
	pages, before := 0, start.Add(1000*time.Hour)
	for {
		p := mustSearch(t, s, q)
		if pages++; len(p.Events) != 0 {
			t.Fatalf("found %s", idsOf(p.Events))
		}
		if p.Partial != (p.Older != "") || p.Partial == p.SearchedTo.IsZero() {
			t.Fatalf("page %d is %+v", pages, p)
		}
		if p.Older == "" {
			break
		}
		if pages > 3 && !p.SearchedTo.Before(before) { // the first events are retries and late ones
			t.Errorf("page %d came to %s, that before it to %s", pages, p.SearchedTo, before)
		}
		q.Cursor, before = p.Older, p.SearchedTo
	}
	left, leave := context.WithCancel(t.Context())
	leave()
	if page, err := s.Search(left, q); err == nil {
		t.Errorf("a caller whose context has ended gets %+v", page)
	}
	if pages < 3 {
		t.Errorf("400 events were searched in %d steps, although there was no time", pages)
	}
}

// testTail: a reader that follows new events sees each one once, even if its filter matches only a
// few.
func testTail(t *testing.T, s Instance) {
	o := own(t, s, 0)
	empty := mustSearch(t, s, hookgate.EventSearch{Stored: true,
		EventFilter: hookgate.EventFilter{Limit: 1}})
	if empty.Newer != "" || empty.Older != "" || len(empty.Events) != 0 {
		t.Errorf("an empty store shows %+v", empty)
	}
	o.mustApply(t, record("k", 0))
	cursor := mustSearch(t, s, hookgate.EventSearch{Stored: true,
		EventFilter: hookgate.EventFilter{Limit: 1}}).Newer
	var got []string
	for round := range 5 {
		for i := range 100 {
			n := 1 + round*100 + i
			r := record("k", n)
			if n%30 == 0 {
				r.EventType = "rare"
			}
			o.mustApply(t, r)
		}
		for {
			p := mustSearch(t, s, hookgate.EventSearch{
				EventFilter: hookgate.EventFilter{EventType: "rare", Limit: 2}, Stored: true, Cursor: cursor,
				Newer: true, MaxTime: 1,
			})
			for _, e := range slices.Backward(p.Events) {
				got = append(got, e.MessageID)
			}
			if p.Newer == cursor {
				break
			}
			cursor = p.Newer
		}
	}
	var want []string
	for n := 30; n <= 500; n += 30 {
		want = append(want, fmt.Sprint("k-", n))
	}
	if !slices.Equal(got, want) {
		t.Errorf("the tail showed %v, want %v", got, want)
	}
}

// testCursors: a cursor that does not belong to such a search is ErrNotFound, in any form.
func testCursors(t *testing.T, s Instance) {
	own(t, s, 0).mustApply(t, record("k", 1), record("k", 2))
	given := mustSearch(t, s, hookgate.EventSearch{EventFilter: hookgate.EventFilter{Limit: 1}}).Older
	for _, cursor := range []string{"x1", "1,2", "1%", "-x", "many", "\x00", "1\xff",
		"9223372036854775808", "t1,1", "r00000000-0000-7000-8000-000000000000"} {
		if _, err := s.Search(t.Context(), hookgate.EventSearch{Cursor: cursor}); !errors.Is(err,
			hookgate.ErrNotFound) {
			t.Errorf("cursor %q: got %v, want ErrNotFound", cursor, err)
		}
	}
	for _, q := range []hookgate.EventSearch{
		{Cursor: given, EventFilter: hookgate.EventFilter{EventType: "order.paid"}},
		{Cursor: "m\x00", EventFilter: hookgate.EventFilter{MessageID: "k-1"}},
		{Cursor: "m%", EventFilter: hookgate.EventFilter{MessageID: "k-1"}},
	} {
		if p, err := s.Search(t.Context(), q); !errors.Is(err, hookgate.ErrNotFound) &&
			!(err == nil && q.Cursor[0] == 'm' && len(p.Events) == 1) {
			t.Errorf("%+v: got %+v and error %v, want ErrNotFound", q, p, err)
		}
	}
}

// testRequest: the lineage of one request is the same as in the trace of its message id.
func testRequest(t *testing.T, s Instance) {
	o := own(t, s, 0)
	first := record("k", 1)
	second := again(first)
	b := o.batch(first, second)
	b.Dead = []hookgate.DeadLetter{{Record: record("dead", 1), Reason: "at fault"}}
	mustApply(t, o, b)
	for _, messageID := range []string{"k-1", "dead-1"} {
		trails, err := s.Trace(t.Context(), messageID, hookgate.RequestID{}, 1000)
		if err != nil || len(trails) == 0 {
			t.Fatalf("trace %s: %v (error %v)", messageID, trails, err)
		}
		for _, want := range trails {
			got, err := s.Request(t.Context(), want.RequestID)
			if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("request %s has the lineage %v (error %v), want %v", want.RequestID, got, err, want)
			}
		}
	}
	if _, err := s.Request(t.Context(), hookgate.NewRequestID(start)); !errors.Is(err,
		hookgate.ErrNotFound) {
		t.Errorf("an unknown request: got error %v, want ErrNotFound", err)
	}
}

package storetest

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/hookgate/hookgate"
)

// page reads one page of the log and checks what holds for every page.
func (d *deliveryTest) page(q hookgate.LogQuery) hookgate.LogPage {
	d.Helper()
	p, err := d.Events.ReadLog(d.Context(), q)
	if err != nil {
		d.Fatalf("read the log: %v", err)
	}
	bytes, last := 0, q.After
	for _, e := range p.Events {
		bytes += len(e.Body)
		if e.ID <= last || q.Until > 0 && e.ID > q.Until {
			d.Errorf("event %d came after %d in a page up to %d", e.ID, last, q.Until)
		}
		last = e.ID
	}
	if len(p.Events) > q.Max || len(p.Events) > 1 && bytes > q.MaxBytes {
		d.Errorf("a page has %d events and %d bytes, at most %d and %d", len(p.Events), bytes, q.Max,
			q.MaxBytes)
	}
	if p.Next < last || p.More && len(p.Events) == 0 {
		d.Errorf("a page of %d events after %d ends at %d, and there is more: %v", len(p.Events),
			q.After, p.Next, p.More)
	}
	if p.More && p.Next != last {
		// There may be a gap, but no event may be in it.
		rest := q
		rest.After, rest.Until, rest.Max = last, p.Next, 1
		if skipped := d.page(rest); len(skipped.Events) > 0 {
			d.Errorf("a page skips event %d", skipped.Events[0].ID)
		}
	}
	return p
}

// pages reads all pages.
func (d *deliveryTest) pages(q hookgate.LogQuery) (ids []int64) {
	d.Helper()
	for {
		p := d.page(q)
		ids = append(ids, logIDs(p.Events)...)
		q.After = p.Next
		if !p.More {
			return ids
		}
	}
}

// testReadLog stores events and reads them back as they were.
func testReadLog(d *deliveryTest) {
	keyed, keyless := message("k\"ö", 1), message("", 2)
	keyless.Headers, keyless.Body, keyless.Source = nil, []byte{0, 0xff, '\n'}, hookgate.TestSource
	before := time.Now().Add(-time.Minute)
	ids := d.Append(d, keyed, keyless)
	after := time.Now().Add(time.Minute)
	page := d.page(hookgate.LogQuery{After: ids[0] - 1, Max: 10, MaxBytes: 1 << 20})
	both, err := d.Events.ReadEvents(d.Context(), ids)
	if err != nil || len(both) != 2 || len(page.Events) != 2 || page.More {
		d.Fatalf("got %d events and %+v, error %v", len(both), page, err)
	}
	for i, want := range []hookgate.Event{keyed, keyless} {
		for what, got := range map[string]hookgate.Event{"page": page.Events[i], "event": both[i]} {
			if got.StoredAt.Before(before) || got.StoredAt.After(after) {
				d.Errorf("stored at %v", got.StoredAt)
			}
			want.ID, want.StoredAt, got.ReceivedAt = ids[i], got.StoredAt, got.ReceivedAt.UTC()
			same(d, what, got, want)
		}
	}
	if key := both[0].Key(); key != "k:k\"ö" {
		d.Errorf("the key is %q", key)
	}
	if key := both[1].Key(); key != fmt.Sprintf("e:%d", ids[1]) {
		d.Errorf("the key is %q", key)
	}
}

// testReadLogPages reads with all bounds.
func testReadLogPages(d *deliveryTest) {
	var events []hookgate.Event
	for n := range 7 {
		e := message("", n)
		e.Body = make([]byte, 10)
		if n == 3 {
			e.Body = make([]byte, 1000) // more than a page takes
		}
		events = append(events, e)
	}
	ids := d.Append(d, events...)
	base, end := ids[0]-1, ids[6]
	for _, maximum := range []int{1, 3, 7, 8} {
		for _, bytes := range []int{1, 10, 25, 2000} {
			q := hookgate.LogQuery{After: base, Max: maximum, MaxBytes: bytes}
			same(d, "pages", d.pages(q), ids)
			q.Until = ids[4]
			same(d, "pages up to an id", d.pages(q), ids[:5])
		}
	}
	first := d.page(hookgate.LogQuery{After: base, Max: 2, MaxBytes: 1000})
	if !first.More || len(first.Events) != 2 {
		d.Errorf("a page of at most 2 has %d, and there is more: %v", len(first.Events), first.More)
	}
	if p := d.page(hookgate.LogQuery{After: base, Max: 9, MaxBytes: 25}); !p.More ||
		len(p.Events) != 2 {
		d.Errorf("a page of at most 25 bytes has %d events, and there is more: %v", len(p.Events),
			p.More)
	}
	for name, test := range map[string]struct {
		query hookgate.LogQuery
		next  int64
	}{
		"the end of the log":   {hookgate.LogQuery{After: base}, end},
		"the end of the query": {hookgate.LogQuery{After: base, Until: ids[2]}, ids[2]},
		"a query past the end": {hookgate.LogQuery{After: base, Until: end + 10}, end},
		"an empty query":       {hookgate.LogQuery{After: ids[2], Until: ids[1]}, ids[2]},
		"from the end":         {hookgate.LogQuery{After: end}, end},
		"from past the end":    {hookgate.LogQuery{After: end + 10}, end + 10},
	} {
		test.query.Max, test.query.MaxBytes = 100, 1<<20
		if p := d.page(test.query); p.More || p.Next != test.next {
			d.Errorf("%s: the page ends at %d and there is more: %v, want %d", name, p.Next, p.More,
				test.next)
		}
	}
}

// testReadLogKey reads the events of one key.
func testReadLogKey(d *deliveryTest) {
	key := d.prefix + "-k"
	ids := d.append(key, "l", "", key, "l", key, key, "m")
	keyless := message("", 1)
	keyless.OrderingKey = key // the text of the key, but not as a key
	d.Append(d, keyless)
	want := []int64{ids[0], ids[3], ids[5], ids[6]}
	for maximum := 1; maximum <= 5; maximum++ {
		q := hookgate.LogQuery{OrderingKey: key, Max: maximum, MaxBytes: 1 << 20}
		same(d, "of a key", d.pages(q), want)
		q.After = ids[0]
		same(d, "after an id", d.pages(q), want[1:])
		q.Until = ids[5]
		same(d, "up to an id", d.pages(q), want[1:3])
		q.Until = ids[4]
		p := d.page(q)
		if same(d, "one", logIDs(p.Events), want[1:2]); !p.More && p.Next != ids[4] {
			d.Errorf("the last page ends at %d, want %d", p.Next, ids[4])
		}
	}
	same(d, "of nobody", len(d.pages(hookgate.LogQuery{OrderingKey: "nobody", Max: 9,
		MaxBytes: 9})), 0)
}

// testReadLogGaps reads a log that ends with entries that are no events.
func testReadLogGaps(d *deliveryTest) {
	if d.Other == nil {
		d.Skip("the log has nothing but events")
	}
	id := d.append("k")[0]
	d.Other(d)
	q := hookgate.LogQuery{After: id - 1, Max: 10, MaxBytes: 1 << 20}
	p := d.page(q)
	if p.Next <= id || p.More || len(p.Events) != 1 {
		d.Errorf("the page ends at %d, after the event %d, and there is more: %v", p.Next, id, p.More)
	}
	if end := d.subscribe("a").info().End; end != p.Next {
		d.Errorf("the page ends at %d, and the log at %d", p.Next, end)
	}
	next := d.append("k")[0]
	same(d, "after the gap", d.pages(hookgate.LogQuery{After: p.Next, Max: 10, MaxBytes: 1000}),
		[]int64{next})
	same(d, "over the gap", d.pages(q), []int64{id, next})
}

// testReadEvents reads events by id.
func testReadEvents(d *deliveryTest) {
	ids := d.append("a", "b", "c")
	ask := []int64{ids[2], 5, ids[0], ids[2] + 1_000_000}
	events, err := d.Events.ReadEvents(d.Context(), ask)
	if err != nil {
		d.Fatal(err)
	}
	same(d, "events", logIDs(events), []int64{ids[2], ids[0]})
	if events, err = d.Events.ReadEvents(d.Context(), nil); err != nil || len(events) != 0 {
		d.Errorf("no ids: got %d events, error %v", len(events), err)
	}
	var many []int64
	for n := range 2000 {
		many = append(many, 5+int64(n))
	}
	events, err = d.Events.ReadEvents(d.Context(), append(many, ids...))
	if err != nil || len(events) != 3 {
		d.Errorf("many ids: got %d events, error %v", len(events), err)
	}
}

// testGrown waits for events. Several wait at once.
func testGrown(d *deliveryTest) {
	for range 3 {
		first, second := d.Events.Grown(), d.Events.Grown()
		d.append("k")
		<-first
		<-second
	}
}

// testReadLogWhileWriting follows the log while several writers append batches. The reader sees
// every event once, in the order of ids.
func testReadLogWhileWriting(d *deliveryTest) {
	const writers, batches, size = 4, 15, 3
	after := d.append("base")[0]
	var (
		mu     sync.Mutex // guards stored
		stored []int64
		wg     sync.WaitGroup
	)
	for w := range writers {
		wg.Go(func() {
			for n := range batches {
				var events []hookgate.Event
				for i := range size {
					events = append(events, message(fmt.Sprint(w), n*size+i))
				}
				ids := d.Append(d, events...)
				mu.Lock()
				stored = append(stored, ids...)
				mu.Unlock()
			}
		})
	}
	var seen []int64
	for len(seen) < writers*batches*size {
		grown := d.Events.Grown()
		p := d.page(hookgate.LogQuery{After: after, Max: 7, MaxBytes: 1 << 20})
		seen = append(seen, logIDs(p.Events)...)
		if after = p.Next; !p.More && len(p.Events) == 0 {
			<-grown
		}
	}
	wg.Wait()
	slices.Sort(stored)
	same(d, "events that the reader saw", seen, stored)
}

// testRemoved removes events in the way retention does. Cursors hold it up. Events that a
// subscription needs can still be read by id and by key.
func testRemoved(d *deliveryTest) {
	if d.Remove == nil {
		d.Skip("the store has no retention in this suite")
	}
	gone := d.subscribe("gone") // does not hold it up, because it is removed
	s := d.subscribe("a")
	k, z := d.prefix+"-k", d.prefix+"-z"
	ids := d.append(k, k, "", "dead", z, z, k)
	d.mustDefine(true, s.SubscriptionDefinition)
	s.save(&hookgate.Results{Cursor: ids[5], Created: []hookgate.Exception{parked(ids[0], k),
		dead(ids[3]), waiting(ids[4], z, day)},
		Attempts: []hookgate.Attempt{tried(ids[3], 1, hookgate.AttemptDeadLettered)},
		Holds: []hookgate.Hold{{OrderingKey: k, After: ids[0] - 1}, {OrderingKey: z,
			After: ids[4] - 1}}})
	has := func(want ...int64) {
		d.Helper()
		events, err := d.Events.ReadEvents(d.Context(), ids)
		if err != nil {
			d.Fatal(err)
		}
		same(d, "by id", logIDs(events), want)
		for _, e := range events {
			if len(e.Body) == 0 || len(e.Headers) != 2 {
				d.Errorf("event %d has no body or no headers", e.ID)
			}
		}
	}
	d.Remove(d, ids[6])
	same(d, "the log", d.read(0), ids[6:])
	has(ids[0], ids[1], ids[3], ids[4], ids[5], ids[6])
	q := hookgate.LogQuery{OrderingKey: k, Max: 10, MaxBytes: 1 << 20}
	same(d, "the key", d.pages(q), []int64{ids[0], ids[1], ids[6]})
	q.After, q.Until = ids[0], ids[5]
	same(d, "behind the hold", d.pages(q), ids[1:2])
	stored, err := d.Reader.Exceptions(d.Context(), hookgate.ExceptionFilter{Subscription: s.Name})
	if err != nil || len(stored) != 3 || stored[0].Size == 0 || stored[0].MessageID == "" {
		d.Errorf("exceptions are %+v, error %v", stored, err)
	}

	s.mustStay("a seek before the horizon", func() {
		_, err := d.Control.Seek(d.Context(), s.Name, hookgate.Start{At: hookgate.StartAfter,
			After: ids[2]}, false, person)
		var horizon *hookgate.HorizonError
		if !errors.As(err, &horizon) || horizon.Horizon <= ids[2] || horizon.Horizon > ids[5] {
			d.Errorf("a seek before the horizon returned %v", err)
		}
	})
	early := definition(d.prefix+"-early", hookgate.OrderKey, hookgate.Filter{})
	early.Start = hookgate.Start{At: hookgate.StartBeginning}
	d.mustDefine(false, early)
	if info, _ := d.find(early.Name); info.Cursor < ids[4] || info.Cursor >= ids[6] ||
		info.Backlog != 1 {
		d.Errorf("the beginning is %d with a backlog of %d", info.Cursor, info.Backlog)
	}
	d.mustDefine(true, s.SubscriptionDefinition)
	if info := gone.info(); info.Cursor >= ids[0] || info.OldestStoredAt.IsZero() {
		d.Errorf("the removed subscription is %+v", info)
	}

	// The first event is skipped, and the second one delivered. Both are needed no more.
	s.resolve(hookgate.ResolveSkip, ids[0])
	d.Remove(d, ids[6])
	has(ids[1], ids[3], ids[4], ids[5], ids[6])
	s.save(&hookgate.Results{Attempts: []hookgate.Attempt{tried(ids[1], 1,
		hookgate.AttemptDelivered)}, Freed: []string{k}})
	d.Remove(d, ids[6])
	has(ids[3], ids[4], ids[5], ids[6])
	if r := s.seek(hookgate.Start{At: hookgate.StartBeginning}); r.Deleted != 0 {
		d.Errorf("a seek to the beginning: %+v", r)
	}
}

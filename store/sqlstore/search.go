package sqlstore

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/audit"
)

const (
	// firstWindow and maxWindow are how many events a search looks at in one read when it must look at
	// each.
	firstWindow, maxWindow = 64, 1 << 16
	// wantedRead is how long such a read should take.
	wantedRead = 50 * time.Millisecond
)

// Search implements hookgate.Reader.
//
// What an index serves is read with a limit. If the filter has more, the index is passed over in
// windows: the key that stands so many events further is looked up, and what matches up to there is
// read. So a read ends in time however rare the matches are, and the search knows how far it has
// come. Nothing is held between two reads.
//
// Each of its reads is a statement of its own, so that a time-out of the database bounds a read and
// not the search. A caller who leaves interrupts the read.
func (t *Tables) Search(ctx context.Context, q hookgate.EventSearch) (page hookgate.EventPage,
	err error) {
	if !t.canMatch(&q.EventFilter) {
		return page, nil
	}
	if text, err := url.PathUnescape(q.Cursor); err != nil || !t.storable(text) {
		return page, fmt.Errorf("cursor %.40q is of no search: %w", q.Cursor, hookgate.ErrNotFound)
	}
	s := search{Tables: t, q: q, window: firstWindow, begun: time.Now()}
	s.plan()
	if err := s.run(ctx, &page); err != nil {
		return hookgate.EventPage{}, fmt.Errorf("search events: %w", err)
	}
	return page, nil
}

// search is a search on its way.
type search struct {
	*Tables
	q     hookgate.EventSearch
	order *order
	// spans are the ranges of the index that hold all that can match, newest first, and filter is what
	// must be looked at in each event.
	spans  []span
	filter conditions

	window window
	begun  time.Time
}

// plan chooses the order and divides the filter into what its index serves and the rest.
func (s *search) plan() {
	f := &s.q.EventFilter
	s.order = byStored
	switch {
	case s.q.Stored:
	case !f.RequestID.IsZero():
		s.order = byRequest
	case f.MessageID != "":
		s.order = byMessage
	case f.EventType != "":
		s.order = byReceipt
	case !f.From.IsZero() || !f.To.IsZero():
		s.order = byRequest
	}
	all := span{}
	equal := func(column, value string, indexed bool) {
		if indexed {
			all.equal(column, value)
		} else {
			s.filter.equal(s.Unindexed+column, value)
		}
	}
	equal("source", f.Source, false)
	equal("ordering_key", f.OrderingKey, false)
	if f.ExceptSource != "" {
		s.filter.add(s.Unindexed+"source <> ?", f.ExceptSource)
	}
	equal("event_type", f.EventType, s.order == byReceipt)
	if f.MessageID != "" && s.order == byMessage {
		low, high := audit.MessageRange(f.MessageID)
		all.narrow(blob(low[:]), true, true)
		all.narrow(blob(high[:]), true, false)
		all.add("message_id = ?", f.MessageID)
	} else {
		equal("message_id", f.MessageID, false)
	}
	if _, _, ok := f.RequestID.Parts(); ok {
		s.bound(&all, byRequest, f.RequestID.String(), true)
		s.bound(&all, byRequest, f.RequestID.Part(hookgate.MaxParts).String(), false)
	} else if !f.RequestID.IsZero() {
		equal("request_id", f.RequestID.String(), s.order == byRequest)
	}
	s.addPrefix(&s.filter, s.Unindexed+"message_id", f.MessageIDPrefix)
	if !f.From.IsZero() {
		s.bound(&all, byReceipt, f.From.UnixMicro(), true)
	}
	if !f.To.IsZero() {
		s.bound(&all, byReceipt, f.To.UnixMicro(), false)
	}
	if f.BodyContains != "" {
		s.filter.add(s.Contains("payload"), []byte(f.BodyContains))
	}
	s.spans = []span{all}
	if s.order == byRequest && f.RequestID.IsZero() {
		s.requestSpans(all)
	}
}

// bound adds the condition that the first column of an order is at least a value (low), or below
// it: to the range if that is the order of the search, else to the filter.
func (s *search) bound(in *span, of *order, value any, low bool) {
	if s.order == of {
		in.narrow(value, low, low)
		return
	}
	operator := " < ?"
	if low {
		operator = " >= ?"
	}
	s.filter.add(s.Unindexed+of.columns[0].name+operator, value)
}

// requestSpans bounds request ids by the times of receipt. An id tells that time, but for a replay,
// whose id is younger: what was received before To may therefore stand behind it, among the
// replays.
func (s *search) requestSpans(all span) {
	if !s.q.From.IsZero() {
		all.narrow(hookgate.FirstRequestID(s.q.From).String(), true, true)
	}
	if s.q.To.IsZero() {
		s.spans = []span{all}
		return
	}
	end := hookgate.FirstRequestID(s.q.To.Add(time.Millisecond)).String()
	replays := all.clone()
	replays.add("replay_of <> ''")
	replays.narrow(end, true, true)
	all.narrow(end, false, false)
	s.spans = []span{replays, all}
}

func (s *search) run(ctx context.Context, page *hookgate.EventPage) error {
	var from place // behind which it goes on
	var err error
	if s.q.Cursor != "" {
		if from, err = s.order.parse(s.q.Cursor); err != nil {
			return err
		}
	}
	var newest place // before anything is read, so that what is stored meanwhile is newer
	for i := 0; from == nil && newest == nil && i < len(s.spans); i++ {
		if newest, err = s.edge(ctx, s.spans[i]); err != nil {
			return err
		}
	}
	spans := s.spans
	if s.q.Newer {
		slices.Reverse(spans)
	}
	limit := max(s.q.Limit, 1)
	reached := from
	more := false
	for _, span := range spans {
		events, last, broken, err := s.through(ctx, span, from, limit+1-len(page.Events))
		if err != nil {
			return err
		}
		page.Events = append(page.Events, events...)
		if last != nil {
			reached = last
		}
		if more = broken; broken || len(page.Events) > limit {
			break
		}
	}
	if len(page.Events) > limit {
		page.Events, more = page.Events[:limit], true
		reached = s.order.key(&page.Events[limit-1])
	} else if more && len(page.Events) < limit {
		page.Partial = true
		if page.SearchedTo, err = s.receivedAt(ctx, reached); err != nil {
			return err
		}
	}
	if from == nil {
		from = newest
	}
	s.turn(page, from, reached, more)
	return nil
}

// turn makes the cursors of a page that begins at from and ends at reached.
func (s *search) turn(page *hookgate.EventPage, from, reached place, more bool) {
	if s.q.Newer {
		slices.Reverse(page.Events)
		page.Newer = s.order.cursor(reached)
		if n := len(page.Events); n > 0 {
			page.Older = s.order.cursor(s.order.key(&page.Events[n-1]))
		}
		return
	}
	if more {
		page.Older = s.order.cursor(reached)
	}
	page.Newer = s.order.cursor(from)
	if len(page.Events) > 0 {
		page.Newer = s.order.cursor(s.order.key(&page.Events[0]))
	}
}

// through reads at most want events that match behind a key, in one range of the index. last is the
// last key that it has looked at, and broken says that there are more which it has not.
func (s *search) through(ctx context.Context, in span, from place, want int) (found []hookgate.Event,
	last place, broken bool, err error) {
	var end place // of the range, if events may come while it is read
	if s.q.Newer {
		if end, err = s.edge(ctx, in); err != nil || end == nil {
			return nil, nil, false, err
		}
	}
	for {
		events, until, full, took, err := s.look(ctx, in, from, end, want-len(found))
		if err != nil {
			return nil, nil, false, err
		}
		found = append(found, events...)
		if until != nil {
			last = until
		}
		switch {
		case len(found) >= want || full:
			return found, last, false, nil
		case s.q.MaxTime > 0 && time.Since(s.begun) > s.q.MaxTime:
			return found, last, true, nil
		}
		from = until
		s.window.adapt(took)
	}
}

// look reads at most want events that match behind a key, in the next window if the filter must be
// looked at; else, or in the last one, full is true and it reads up to end. took is what the
// reading of events took.
func (s *search) look(ctx context.Context, in span, from, end place,
	want int) (events []hookgate.Event, until place, full bool, took time.Duration, err error) {
	until, full = end, true
	if len(s.filter.texts) > 0 {
		if err := s.turns.take(ctx); err != nil {
			return nil, nil, false, 0, err
		}
		defer s.turns.give()
		next, err := s.ahead(ctx, in, from, int(s.window)-1)
		if err != nil {
			return nil, nil, false, 0, err
		}
		if full = next == nil; !full {
			until = next
		}
	}
	started := time.Now()
	events, err = s.rows(ctx, in, from, until, want)
	return events, until, full, time.Since(started), err
}

// rows reads events behind a key, up to another one that may be nil.
func (s *search) rows(ctx context.Context, in span, from, until place, limit int) ([]hookgate.Event,
	error) {
	c := in.clone()
	if from != nil {
		s.order.behind(&c, from, s.q.Newer, false)
	}
	if until != nil {
		s.order.behind(&c, until, !s.q.Newer, true)
	}
	c.texts, c.args = append(c.texts, s.filter.texts...), append(c.args, s.filter.args...)
	where, args := c.clause(s.order)
	return s.events(ctx, "FROM "+s.table()+where+" ORDER BY "+s.order.orderBy(s.q.Newer)+" LIMIT ?",
		values(append(args, limit)))
}

// ahead returns the key that stands skip further than the next one behind from, or nil if there are
// no more so many.
func (s *search) ahead(ctx context.Context, in span, from place, skip int) (place, error) {
	c := in.clone()
	if from != nil {
		s.order.behind(&c, from, s.q.Newer, false)
	}
	return s.keyAt(ctx, c, s.q.Newer, skip)
}

// edge returns the newest key of a range, or nil.
func (s *search) edge(ctx context.Context, in span) (place, error) {
	return s.keyAt(ctx, in, false, 0)
}

// table is the one that serves the order.
func (s *search) table() string {
	if s.order == byMessage {
		return s.ByIdentity
	}
	return "webhook_events"
}

// keyAt returns the key that stands skip further than the first of a range, or nil.
func (s *search) keyAt(ctx context.Context, c span, backwards bool, skip int) (key place, err error) {
	where, args := c.clause(s.order)
	query := "SELECT " + s.order.names() + " FROM " + s.table() + where + " ORDER BY " +
		s.order.orderBy(backwards) + " LIMIT 1 OFFSET ?"
	_, err = s.one(ctx, query, func(r Row) error {
		key = s.order.scan(r)
		return nil
	}, values(append(args, skip))...)
	return key, err
}

// values are arguments as a store takes them.
func values(args []any) []any {
	for i := range args {
		if b, ok := args[i].(blob); ok {
			args = slices.Clone(args)
			args[i] = []byte(b)
		}
	}
	return args
}

// receivedAt returns when the event that stands at the key was received; zero in the order of
// message ids.
func (s *search) receivedAt(ctx context.Context, key place) (at time.Time, err error) {
	if s.order == byMessage || key == nil {
		return time.Time{}, nil
	}
	if s.order == byReceipt {
		return micros(key[0].(int64)), nil
	}
	_, err = s.one(ctx, "SELECT received_at FROM webhook_events WHERE "+s.order.names()+" = ?",
		func(r Row) error {
			at = micros(r.Int(0))
			return nil
		}, values(key)...)
	return at, err
}

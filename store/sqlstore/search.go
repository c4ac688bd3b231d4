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
	// firstWindow and maxWindow bound the number of events that one read examines if no index
	// serves the whole filter.
	firstWindow, maxWindow = 64, 1 << 16
	// wantedRead is how long such a read should take.
	wantedRead = 50 * time.Millisecond
)

// Search implements hookgate.Reader.
//
// If an index serves the whole filter, Search reads with a limit. Otherwise it reads the index in
// windows: it looks up the key at which the next window ends, then reads the matching events up to
// that key. So each read ends in time even if few events match, and the search knows how far it has
// come. Nothing stays open between two reads.
//
// Each read is a statement of its own. So the database's time-out applies to one read, not to the
// whole search. If the caller's context ends, the read is interrupted.
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

// search is one call of Search.
type search struct {
	*Tables
	q     hookgate.EventSearch
	order *order
	// spans are the ranges of the index that contain all possible matches, newest first. filter are
	// the conditions that the search must check for each event.
	spans  []span
	filter conditions

	window window
	begun  time.Time
}

// plan chooses the order and splits the filter into the part that its index serves and the rest.
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

// bound adds the condition that the first column of an order is at least value, or less than value
// if low is false. If the search uses that order, the condition narrows the span; otherwise it goes
// into the filter.
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

// requestSpans turns the times of receipt into bounds on request ids. A request id contains the
// time of receipt, except for a retry, whose id is younger. So an event received before To can have
// a request id after it, but only among the retries.
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
	var from place // where the page continues
	var err error
	if s.q.Cursor != "" {
		if from, err = s.order.parse(s.q.Cursor); err != nil {
			return err
		}
	}
	var newest place // found before any read, so that events stored during the search are newer
	for i := 0; from == nil && newest == nil && i < len(s.spans); i++ {
		if newest, err = s.newestKey(ctx, s.spans[i]); err != nil {
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
		events, last, broken, err := s.readSpan(ctx, span, from, limit+1-len(page.Events))
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
	s.setCursors(page, from, reached, more)
	return nil
}

// setCursors sets the cursors of a page that begins at from and ends at reached.
func (s *search) setCursors(page *hookgate.EventPage, from, reached place, more bool) {
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

// readSpan reads at most want matching events after a key, in one range of the index. last is the
// last key that it examined. broken reports that it stopped before the end of the range.
func (s *search) readSpan(ctx context.Context, in span, from place,
	want int) (found []hookgate.StoredEvent,
	last place, broken bool, err error) {
	var end place // of the range, if new events can arrive while it is read
	if s.q.Newer {
		if end, err = s.newestKey(ctx, in); err != nil || end == nil {
			return nil, nil, false, err
		}
	}
	for {
		events, until, full, took, err := s.readWindow(ctx, in, from, end, want-len(found))
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

// readWindow reads at most want matching events after a key. If the filter must be checked for each
// event, it reads the next window; full reports that this was the last one. Otherwise it reads up
// to end and sets full. took is the time that reading the events took.
func (s *search) readWindow(ctx context.Context, in span, from, end place,
	want int) (events []hookgate.StoredEvent, until place, full bool, took time.Duration, err error) {
	until, full = end, true
	if len(s.filter.texts) > 0 {
		if err := s.slots.acquire(ctx); err != nil {
			return nil, nil, false, 0, err
		}
		defer s.slots.release()
		next, err := s.keyAhead(ctx, in, from, int(s.window)-1)
		if err != nil {
			return nil, nil, false, 0, err
		}
		if full = next == nil; !full {
			until = next
		}
	}
	started := time.Now()
	events, err = s.readEvents(ctx, in, from, until, want)
	return events, until, full, time.Since(started), err
}

// readEvents reads matching events after the key from and up to the key until, if that is not nil.
func (s *search) readEvents(ctx context.Context, in span, from, until place,
	limit int) ([]hookgate.StoredEvent,
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

// keyAhead skips skip keys after from and returns the next one, or nil if there are too few.
func (s *search) keyAhead(ctx context.Context, in span, from place, skip int) (place, error) {
	c := in.clone()
	if from != nil {
		s.order.behind(&c, from, s.q.Newer, false)
	}
	return s.keyAt(ctx, c, s.q.Newer, skip)
}

// newestKey returns the newest key of a range, or nil.
func (s *search) newestKey(ctx context.Context, in span) (place, error) {
	return s.keyAt(ctx, in, false, 0)
}

// table returns the table or view that serves the order.
func (s *search) table() string {
	if s.order == byMessage {
		return s.ByIdentity
	}
	return "webhook_events"
}

// keyAt skips skip keys of a range and returns the next one, or nil if there are too few.
func (s *search) keyAt(ctx context.Context, c span, backwards bool, skip int) (key place,
	err error) {
	where, args := c.clause(s.order)
	query := "SELECT " + s.order.names() + " FROM " + s.table() + where + " ORDER BY " +
		s.order.orderBy(backwards) + " LIMIT 1 OFFSET ?"
	_, err = s.one(ctx, query, func(r Row) error {
		key = s.order.scan(r)
		return nil
	}, values(append(args, skip))...)
	return key, err
}

// values returns the arguments in types that a database takes.
func values(args []any) []any {
	for i := range args {
		if b, ok := args[i].(blob); ok {
			args = slices.Clone(args)
			args[i] = []byte(b)
		}
	}
	return args
}

// receivedAt returns when the event at the key was received. It returns zero if the search is
// ordered by identity.
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

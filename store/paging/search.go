package paging

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/hookgate/hookgate"
)

const (
	// firstWindow and maxWindow are how many events a search looks at in one read when it must look at each.
	firstWindow, maxWindow = 64, 1 << 16
	// wantedRead is how long such a read should take.
	wantedRead = 50 * time.Millisecond
)

// Searcher is what a search needs of a store. Queries have a ? for each argument.
type Searcher interface {
	// Keys runs a query for keys, whose columns are numbers or text as said.
	Keys(ctx context.Context, query string, args []any, numbers []bool) ([]Key, error)
	// Rows runs a query that lacks the columns of events: the rest, from FROM on.
	Rows(ctx context.Context, rest string, args []any) ([]hookgate.Event, error)
	// Prefix is the condition that a column, of text, begins with p.
	Prefix(column, p string) (condition string, args []any)
	// Contains is the condition that the body contains what ? stands for, which is bytes.
	Contains() string
	// Unindexed is the name of a column for a condition that no index should be used for.
	Unindexed(column string) string
}

// Search implements hookgate.Reader.
//
// What an index serves is read with a limit. If the filter has more, the index is passed over in windows: the key that stands
// so many events further is looked up, and what matches up to there is read. So a read ends in time however rare the matches
// are, and the search knows how far it has come. Nothing is held between two reads.
func Search(ctx context.Context, q hookgate.EventSearch, store Searcher) (page hookgate.EventPage, err error) {
	s := search{q: q, store: store, window: firstWindow, begun: time.Now()}
	s.plan()
	if err := s.run(ctx, &page); err != nil {
		return hookgate.EventPage{}, fmt.Errorf("search events: %w", err)
	}
	return page, nil
}

// search is a search on its way.
type search struct {
	q     hookgate.EventSearch
	store Searcher
	order *order
	// spans are the ranges of the index that hold all that can match, newest first, and filter is what must be looked at in each event.
	spans  []conditions
	filter conditions

	window int
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
	case f.MessageID != "" || f.MessageIDPrefix != "":
		s.order = byMessage
	case f.EventType != "":
		s.order = byReceipt
	case !f.From.IsZero() || !f.To.IsZero():
		s.order = byRequest
	}
	var span conditions
	equal := func(column, value string, indexed bool) {
		switch {
		case value == "":
		case indexed:
			span.add(column+" = ?", []any{value})
		default:
			s.filter.add(s.store.Unindexed(column)+" = ?", []any{value})
		}
	}
	equal("source", f.Source, false)
	equal("ordering_key", f.OrderingKey, false)
	equal("event_type", f.EventType, s.order == byReceipt)
	equal("message_id", f.MessageID, s.order == byMessage)
	if !f.RequestID.IsZero() {
		equal("request_id", f.RequestID.String(), s.order == byRequest)
	}
	if f.MessageIDPrefix != "" {
		to := &s.filter
		if s.order == byMessage {
			to = &span
		}
		to.add(s.store.Prefix("message_id", f.MessageIDPrefix))
	}
	times := &s.filter
	if s.order == byReceipt {
		times = &span
	}
	if !f.From.IsZero() {
		times.add("received_at >= ?", []any{f.From.UnixMicro()})
	}
	if !f.To.IsZero() {
		times.add("received_at < ?", []any{f.To.UnixMicro()})
	}
	if f.BodyContains != "" {
		s.filter.add(s.store.Contains(), []any{[]byte(f.BodyContains)})
	}
	s.spans = []conditions{span}
	if s.order == byRequest && f.RequestID.IsZero() {
		s.requestSpans(span)
	}
}

// requestSpans bounds request ids by the times of receipt. An id tells that time, but for a replay, whose id is younger: what was received before
// To may therefore stand behind it, among the replays.
func (s *search) requestSpans(span conditions) {
	if !s.q.From.IsZero() {
		span.add("request_id >= ?", []any{hookgate.FirstRequestID(s.q.From).String()})
	}
	if s.q.To.IsZero() {
		s.spans = []conditions{span}
		return
	}
	end := hookgate.FirstRequestID(s.q.To.Add(time.Millisecond)).String()
	replays := span.clone()
	replays.add("replay_of <> ''", nil)
	replays.add("request_id >= ?", []any{end})
	span.add("request_id < ?", []any{end})
	s.spans = []conditions{replays, span}
}

func (s *search) run(ctx context.Context, page *hookgate.EventPage) error {
	var from Key // behind which it goes on
	var err error
	if s.q.Cursor != "" {
		if from, err = s.order.parse(s.q.Cursor); err != nil {
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
		events, last, broken, err := s.span(ctx, span, from, limit+1-len(page.Events))
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
	return s.turn(ctx, page, from, reached, more)
}

// turn makes the cursors of a page that begins behind from and ends at reached.
func (s *search) turn(ctx context.Context, page *hookgate.EventPage, from, reached Key, more bool) error {
	if s.q.Newer {
		slices.Reverse(page.Events)
		page.Newer = s.order.cursor(reached)
		if n := len(page.Events); n > 0 {
			page.Older = s.order.cursor(s.order.key(&page.Events[n-1]))
		}
		return nil
	}
	if more {
		page.Older = s.order.cursor(reached)
	}
	switch {
	case len(page.Events) > 0:
		page.Newer = s.order.cursor(s.order.key(&page.Events[0]))
	case from != nil:
		page.Newer = s.order.cursor(from)
	default:
		for _, span := range s.spans {
			if newest, err := s.edge(ctx, span, false); err != nil || newest != nil {
				page.Newer = s.order.cursor(newest)
				return err
			}
		}
	}
	return nil
}

// span reads at most want events that match behind a key, in one range of the index. last is the last key that it has looked at, and broken says
// that there are more which it has not.
func (s *search) span(ctx context.Context, span conditions, from Key, want int) (found []hookgate.Event, last Key, broken bool, err error) {
	var end Key // of the range, if events may come while it is read
	if s.q.Newer {
		if end, err = s.edge(ctx, span, false); err != nil || end == nil {
			return nil, nil, false, err
		}
	}
	for {
		until, full := end, true
		if len(s.filter.texts) > 0 {
			next, err := s.ahead(ctx, span, from, s.window-1)
			if err != nil {
				return nil, nil, false, err
			}
			if full = next == nil; !full {
				until = next
			}
		}
		started := time.Now()
		events, err := s.rows(ctx, span, from, until, want-len(found))
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
		case s.q.Patience > 0 && time.Since(s.begun) > s.q.Patience:
			return found, last, true, nil
		}
		from = until
		switch took := time.Since(started); {
		case took < wantedRead/2:
			s.window = min(2*s.window, maxWindow)
		case took > 2*wantedRead:
			s.window = max(s.window/4, 1)
		}
	}
}

// rows reads events behind a key, up to another one that may be nil.
func (s *search) rows(ctx context.Context, span conditions, from, until Key, limit int) ([]hookgate.Event, error) {
	c := span.clone()
	if from != nil {
		s.order.behind(&c, from, s.q.Newer, false)
	}
	if until != nil {
		s.order.behind(&c, until, !s.q.Newer, true)
	}
	for _, text := range s.filter.texts {
		c.add(text, nil)
	}
	c.args = append(c.args, s.filter.args...)
	return s.store.Rows(ctx, "FROM webhook_events"+c.where()+" ORDER BY "+s.order.orderBy(s.q.Newer)+" LIMIT ?", append(c.args, int64(limit)))
}

// ahead returns the key that stands skip further than the next one behind from, or nil if there are no more so many.
func (s *search) ahead(ctx context.Context, span conditions, from Key, skip int) (Key, error) {
	c := span.clone()
	if from != nil {
		s.order.behind(&c, from, s.q.Newer, false)
	}
	return s.one(ctx, c, s.q.Newer, skip)
}

// edge returns the first key of a range, or backwards the last, or nil.
func (s *search) edge(ctx context.Context, span conditions, backwards bool) (Key, error) {
	return s.one(ctx, span.clone(), backwards, 0)
}

func (s *search) one(ctx context.Context, c conditions, backwards bool, skip int) (Key, error) {
	query := "SELECT " + s.order.names() + " FROM webhook_events" + c.where() + " ORDER BY " + s.order.orderBy(backwards) + " LIMIT 1 OFFSET ?"
	keys, err := s.store.Keys(ctx, query, append(c.args, int64(skip)), s.order.numbers())
	if err != nil || len(keys) == 0 {
		return nil, err
	}
	return keys[0], nil
}

// receivedAt returns when the event that stands at the key was received; zero in the order of message ids.
func (s *search) receivedAt(ctx context.Context, key Key) (time.Time, error) {
	if s.order == byMessage || key == nil {
		return time.Time{}, nil
	}
	if s.order == byReceipt {
		return time.UnixMicro(key[0].(int64)).UTC(), nil
	}
	keys, err := s.store.Keys(ctx, "SELECT received_at FROM webhook_events WHERE "+s.order.names()+" = ?", key, []bool{true})
	if err != nil || len(keys) == 0 {
		return time.Time{}, err
	}
	return time.UnixMicro(keys[0][0].(int64)).UTC(), nil
}

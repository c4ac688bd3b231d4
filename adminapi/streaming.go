package adminapi

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/api"
	"github.com/hookgate/hookgate/control"
	"github.com/hookgate/hookgate/deliver/pull"
)

// Log is what a stream reads.
type Log interface {
	hookgate.Log
	// LogRange returns the highest event id that retention has removed, and the last id of the log.
	LogRange(context.Context) (horizon, end int64, err error)
}

const (
	// streamWait is how long a stream goes on if the caller does not say. pull.MaxWait bounds it.
	streamWait = 30 * time.Second
	// streamPage and streamBytes bound the events that a stream has in memory.
	streamPage, streamBytes = 500, 512 << 10
	// tokenCheck is how often a stream that follows the log looks whether its token is still valid.
	tokenCheck = time.Second
)

// streamQuery holds the parameters of /api/events/stream.
type streamQuery struct {
	after  int64 // negative: the end of the log
	wait   time.Duration
	filter hookgate.Filter
}

// parseStream reads the parameters of /api/events/stream. An error is a badParameter.
func parseStream(query string) (q streamQuery, err error) {
	q = streamQuery{after: -1, wait: streamWait}
	values, err := url.ParseQuery(query)
	if err != nil {
		return q, badParameter{"string", "must be URL-encoded"}
	}
	for name, all := range values {
		switch {
		case slices.Contains(all, ""):
			return q, badParameter{name, "is empty"}
		case name == "source":
			q.filter.Sources = all
		case name == "type":
			q.filter.Types = all
		case name != "after" && name != "wait":
			return q, unknownParameter(name)
		case len(all) > 1:
			return q, badParameter{name, "occurs more than once"}
		case name == "after":
			if q.after, err = parseEventID(all[0]); err != nil {
				return q, badParameter{name, "must be the id of an event"}
			}
		default:
			if q.wait, err = time.ParseDuration(all[0]); err != nil || q.wait < 0 || q.wait > pull.MaxWait {
				return q, badParameter{name, fmt.Sprintf("must be a duration such as 30s, up to %v",
					pull.MaxWait)}
			}
		}
	}
	return q, nil
}

// stream answers the events after an id as they are stored. It holds one page of them in memory
// and no transaction, however slowly the client reads.
func (s *API) stream(c *call) {
	q, err := parseStream(c.request.URL.RawQuery)
	if err != nil {
		c.fail(http.StatusBadRequest, err.Error())
		return
	}
	selects, ok := s.mayStream(c)
	if !ok {
		return
	}
	select {
	case s.streams <- struct{}{}:
		defer func() { <-s.streams }()
	default:
		c.Header()["Retry-After"] = s.retryAfter
		c.fail(http.StatusServiceUnavailable, fmt.Sprintf("%d streams are open: wait until one has ended",
			cap(s.streams)))
		return
	}
	ctx, done := c.waiting(q.wait)
	defer done()
	horizon, end, err := s.tailed.LogRange(ctx)
	from := q.after
	switch {
	case err != nil:
	case from < 0:
		from = end
	case from > end:
		err = &hookgate.AheadError{End: end}
	case from < horizon:
		err = &hookgate.HorizonError{Horizon: horizon}
	}
	if err != nil {
		if status, text := subscriptionError(err); status != 0 {
			c.failSubscription(status, text, err)
		} else {
			c.unavailable("reading the log", err)
		}
		return
	}
	c.head(http.StatusOK, ndjson)
	w := newEventWriter(c)
	defer w.close()
	if q.after < 0 {
		w.place(from)
	}
	from, err = s.tail(ctx, w, from, q.wait, func(e *hookgate.Event) bool {
		return q.filter.Match(e.Source, e.EventType) && selects(e)
	})
	switch {
	case w.failed || c.request.Context().Err() != nil:
	case err != nil && s.ending.Err() == nil:
		// The client must not take a part for the whole.
		s.log.Error("stream of the log failed", "request_id", c.requestID, "after", from, "error", err)
		panic(http.ErrAbortHandler)
	default:
		w.place(from)
		w.flush()
	}
}

// mayStream returns a function that reports whether the caller may see an event. If ok is false,
// the call is answered.
func (s *API) mayStream(c *call) (may func(*hookgate.Event) bool, ok bool) {
	if c.actor.role != control.RoleConsumer {
		return func(*hookgate.Event) bool { return true }, true
	}
	all, err := s.readSubscriptions(c.request.Context())
	if err != nil {
		c.unavailable("reading the subscriptions", err)
		return nil, false
	}
	var filters []hookgate.Filter
	for i := range all {
		if slices.Contains(c.actor.subscriptions, all[i].Name) {
			filters = append(filters, all[i].Filter)
		}
	}
	return func(e *hookgate.Event) bool {
		return slices.ContainsFunc(filters, func(f hookgate.Filter) bool {
			return f.Match(e.Source, e.EventType)
		})
	}, true
}

// tail writes the events after an id that selects accepts, until wait has passed, and at least one
// page of them. It returns the id to continue after.
func (s *API) tail(ctx context.Context, w *eventWriter, after int64, wait time.Duration,
	selects func(*hookgate.Event) bool) (int64, error) {
	began, ended := time.Now(), time.NewTimer(wait)
	var checked time.Time
	defer ended.Stop()
	for {
		grown := s.tailed.Grown()
		page, err := s.tailed.ReadLog(ctx, hookgate.LogQuery{After: after, Max: streamPage,
			MaxBytes: streamBytes})
		if err == nil && page.Next > after {
			err = s.stillThere(ctx, after)
		}
		if err != nil {
			return after, err
		}
		for i := range page.Events {
			if e := &page.Events[i]; selects(e) {
				w.b = append(api.AppendLogEvent(w.b, e), "}\n"...)
				if !w.next() {
					return after, nil
				}
			}
		}
		after = page.Next
		if !page.More {
			if w.flush(); w.failed || w.control.Flush() != nil {
				return after, nil
			}
			select {
			case <-grown:
				if now := time.Now(); now.Sub(checked) >= tokenCheck {
					if checked = now; !w.c.stillAllowed() {
						return after, nil // the next call is answered 401
					}
				}
				continue
			case <-ended.C:
			case <-ctx.Done():
			}
			return after, ctx.Err()
		}
		if time.Since(began) >= wait {
			return after, nil
		}
	}
}

// stillThere returns an error if retention has removed events after an id.
func (s *API) stillThere(ctx context.Context, after int64) error {
	horizon, _, err := s.tailed.LogRange(ctx)
	if err == nil && horizon > after {
		err = &hookgate.HorizonError{Horizon: horizon}
	}
	return err
}

// place writes a line that has only a place in the log.
func (w *eventWriter) place(after int64) {
	w.b = strconv.AppendInt(append(w.b, `{"after":"`...), after, 10)
	w.b = append(w.b, "\"}\n"...)
}

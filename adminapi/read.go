package adminapi

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/api"
)

// eventQuery holds the parameters of /api/events.
type eventQuery struct {
	hookgate.EventFilter
	order  string
	before string
	tests  bool // include the events of hookgate.TestSource
}

// The orders of a listing.
const (
	// oldestStored is the default.
	oldestStored = "oldest"
	// newest is the order that hookgate.EventSearch has an index for, newestStored its order by
	// storage.
	newest, newestStored = "newest", "stored"
)

// parseEventQuery reads the parameters of /api/events. An error is a badParameter.
func parseEventQuery(query string) (q eventQuery, err error) {
	q.order = oldestStored
	err = readParameters(query, func(name, value string) error {
		switch name {
		case "source":
			q.Source = value
		case "type":
			q.EventType = value
		case "key":
			q.OrderingKey = value
		case "messageId":
			q.MessageID = value
		case "prefix":
			q.MessageIDPrefix = value
		case "requestId":
			if q.RequestID, err = hookgate.ParseRequestID(value); err != nil {
				return badParameter{name, "must be a UUID"}
			}
		case "body":
			if q.BodyContains = value; len(value) > maxBodyText {
				return badParameter{name, fmt.Sprintf("must be at most %d bytes long", maxBodyText)}
			}
		case "tests":
			if q.tests = value == "true"; !q.tests && value != "false" {
				return badParameter{name, "must be true or false"}
			}
		case "after":
			q.After = value
		case "before":
			q.before = value
		case "order":
			if q.order = value; value != oldestStored && value != newest && value != newestStored {
				return badParameter{name, "must be " + oldestStored + ", " + newest + " or " + newestStored}
			}
		case "from":
			return parseTime(&q.From, name, value)
		case "to":
			return parseTime(&q.To, name, value)
		case "limit":
			return parseLimit(&q.Limit, name, value)
		default:
			return unknownParameter(name)
		}
		return nil
	})
	// A query for a source or an id includes test traffic if that is what it names.
	if !q.tests && q.Source == "" && q.MessageID == "" && q.MessageIDPrefix == "" &&
		q.RequestID.IsZero() {
		q.ExceptSource = hookgate.TestSource
	}
	switch {
	case err != nil:
	case q.before != "" && q.order == oldestStored:
		err = badParameter{"before", "needs the order " + newest + " or " + newestStored}
	case q.before != "" && q.After != "":
		err = badParameter{"before", "cannot be combined with after"}
	}
	return q, err
}

// events lists events.
func (s *API) events(c *call) {
	q, err := parseEventQuery(c.request.URL.RawQuery)
	switch {
	case err != nil:
		c.fail(http.StatusBadRequest, err.Error())
		return
	case q.order != oldestStored:
		s.searchEvents(c, q)
		return
	}
	f := q.EventFilter
	answerList(c, listing[hookgate.StoredEvent, api.Event]{
		name: "events", one: "an event", limit: f.Limit,
		read: func(ctx context.Context, limit int) iter.Seq2[hookgate.StoredEvent, error] {
			f.Limit = limit
			return s.stored.Events(ctx, f)
		},
		pageTime: s.config.SearchTime,
		row:      eventOf,
		id:       func(e *hookgate.StoredEvent) string { return e.ID },
		page: func(rows []api.Event, next string, partial bool) any {
			return api.Events{Events: rows, Next: next, Partial: partial}
		},
	})
}

// event answers one event without its body.
func (s *API) event(c *call) {
	e, err := s.stored.Event(c.request.Context(), c.parameter("id"))
	if c.found(err, "reading the event") {
		c.json(eventOf(&e))
	}
}

// eventBody answers the body of an event, byte for byte.
func (s *API) eventBody(c *call) {
	body, err := s.stored.Body(c.request.Context(), c.parameter("id"))
	if !c.found(err, "reading the body") {
		return
	}
	c.bytes(body)
}

// requestBody answers the body of the request that brought an event. That is the event's own,
// unless the request carried several.
func (s *API) requestBody(c *call) {
	ctx, id := c.request.Context(), c.parameter("id")
	e, err := s.stored.Event(ctx, id)
	if !c.found(err, "reading the event") {
		return
	}
	read := func() ([]byte, error) { return s.stored.Body(ctx, id) }
	if origin, ok := hookgate.OriginOf(e.Headers); ok {
		read = func() ([]byte, error) { return s.trails.RequestBody(ctx, origin.RequestID) }
	}
	body, err := read()
	if c.found(err, "reading the request's body") {
		c.bytes(body)
	}
}

// found answers an error and returns false, or returns true if err is nil.
func (c *call) found(err error, doing string) bool {
	switch {
	case errors.Is(err, hookgate.ErrNotFound):
		c.fail(http.StatusNotFound, "no such event")
	case err != nil:
		c.unavailable(doing, err)
	}
	return err == nil
}

// trace answers the lineage of a message id.
func (s *API) trace(c *call) {
	messageID := c.parameter("messageId")
	if messageID == "" {
		c.fail(http.StatusBadRequest, "the path must end with a message id")
		return
	}
	var after hookgate.RequestID
	var limit int
	err := readParameters(c.request.URL.RawQuery, func(name, value string) (err error) {
		switch name {
		case "after":
			if after, err = hookgate.ParseRequestID(value); err != nil {
				return badParameter{name, "must be a request id"}
			}
			return nil
		case "limit":
			return parseLimit(&limit, name, value)
		}
		return unknownParameter(name)
	})
	if err != nil {
		c.fail(http.StatusBadRequest, err.Error())
		return
	}
	limit, ok := c.pageLimit(limit)
	if !ok {
		return
	}
	trails, err := s.trails.Trace(c.request.Context(), messageID, after, limit+1)
	if err != nil {
		c.unavailable("reading the trace", err)
		return
	}
	answer := api.Trace{MessageID: messageID}
	if len(trails) > limit {
		trails = trails[:limit]
		answer.Next = trails[limit-1].RequestID.String()
	}
	answer.Requests = trailsOf(trails)
	c.json(answer)
}

package httpd

import (
	"errors"
	"iter"
	"net/http"

	"github.com/hookgate/hookgate"
)

// parseFilter reads the parameters of /api/events. An error is a badParameter.
func parseFilter(query string) (f hookgate.EventFilter, err error) {
	return f, readParameters(query, func(name, value string) error {
		switch name {
		case "source":
			f.Source = value
		case "type":
			f.EventType = value
		case "key":
			f.OrderingKey = value
		case "messageId":
			f.MessageID = value
		case "prefix":
			f.MessageIDPrefix = value
		case "after":
			f.After = value
		case "from":
			return parseTime(&f.From, name, value)
		case "to":
			return parseTime(&f.To, name, value)
		case "limit":
			return parseLimit(&f.Limit, name, value)
		default:
			return unknownParameter(name)
		}
		return nil
	})
}

// events answers a listing of events.
func (s *Server) events(c *call) {
	f, err := parseFilter(c.request.URL.RawQuery)
	if err != nil {
		c.fail(http.StatusBadRequest, err.Error())
		return
	}
	answerList(c, listing[hookgate.Event]{
		name: "events", one: "an event", limit: f.Limit,
		read: func(limit int) iter.Seq2[hookgate.Event, error] {
			f.Limit = limit
			return s.reader.Events(c.request.Context(), f)
		},
		append: appendEvent,
		id:     func(e *hookgate.Event) string { return e.ID },
	})
}

// event answers one event without its body.
func (s *Server) event(c *call) {
	e, err := s.reader.Event(c.request.Context(), c.parameter("id"))
	if c.found(err, "reading the event") {
		c.text(http.StatusOK, append(appendEvent(nil, &e), '\n'))
	}
}

// eventBody answers the body of an event.
func (s *Server) eventBody(c *call) {
	body, err := s.reader.Body(c.request.Context(), c.parameter("id"))
	if !c.found(err, "reading the body") {
		return
	}
	c.bytes(body)
}

// found answers for an error and reports whether there was none.
func (c *call) found(err error, doing string) bool {
	switch {
	case errors.Is(err, hookgate.ErrNotFound):
		c.fail(http.StatusNotFound, "no such event")
	case err != nil:
		c.broken(doing, err)
	}
	return err == nil
}

// trace answers the lineage of a message id.
func (s *Server) trace(c *call) {
	messageID := c.parameter("messageId")
	if messageID == "" {
		c.fail(http.StatusBadRequest, "the path does not end with a message id")
		return
	}
	trails, err := s.reader.Trace(c.request.Context(), messageID)
	if err != nil {
		c.broken("reading the trace", err)
		return
	}
	c.text(http.StatusOK, append(appendTrace(nil, messageID, trails), '\n'))
}

package httpd

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/hookgate/hookgate"
)

const (
	// defaultPage and maxPage are the number of events in an answer that is not a stream.
	defaultPage, maxPage = 100, 1000
	// flushEvery is the number of events after which a stream is flushed and gets new time to write.
	flushEvery = 500

	ndjson = "application/x-ndjson"
)

// badParameter says what is wrong with a parameter of the read API.
type badParameter struct{ name, reason string }

func (e badParameter) Error() string { return fmt.Sprintf("parameter %s %s", e.name, e.reason) }

// parseFilter reads the parameters of /api/events. An error is a badParameter.
func parseFilter(query string) (f hookgate.EventFilter, err error) {
	values, err := url.ParseQuery(query)
	if err != nil {
		return f, badParameter{"string", "is not properly encoded"}
	}
	for name, all := range values {
		if len(all) != 1 {
			return f, badParameter{name, "occurs more than once"}
		}
		value := all[0]
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
			f.From, err = time.Parse(time.RFC3339, value)
		case "to":
			f.To, err = time.Parse(time.RFC3339, value)
		case "limit":
			if f.Limit, err = strconv.Atoi(value); err == nil && f.Limit < 1 {
				err = errors.New("not positive")
			}
		default:
			return f, badParameter{strconv.Quote(head(name)), "is unknown"}
		}
		switch {
		case err != nil && name == "limit":
			return f, badParameter{name, "is not a positive number"}
		case err != nil:
			return f, badParameter{name, "is not a time like 2026-11-23T12:00:00Z"}
		case value == "":
			return f, badParameter{name, "is empty"}
		}
	}
	return f, nil
}

// events answers a listing, as one page or as a stream.
func (s *Server) events(c *call) {
	f, err := parseFilter(c.request.URL.RawQuery)
	if err != nil {
		c.fail(http.StatusBadRequest, err.Error())
		return
	}
	if strings.Contains(c.request.Header.Get("Accept"), ndjson) {
		s.stream(c, f)
		return
	}
	limit := f.Limit
	switch {
	case limit == 0:
		limit = defaultPage
	case limit > maxPage:
		c.fail(http.StatusBadRequest, badParameter{"limit", fmt.Sprintf("is greater than %d; ask for %s to have everything", maxPage, ndjson)}.Error())
		return
	}
	f.Limit = limit + 1 // one more tells whether there is a next page
	answer := []byte(`{"events":[`)
	next, n := "", 0
	for e, err := range s.reader.Events(c.request.Context(), f) {
		if errors.Is(err, hookgate.ErrNotFound) {
			c.fail(http.StatusBadRequest, badParameter{"after", "is not the id of an event"}.Error())
			return
		} else if err != nil {
			c.broken("reading events", err)
			return
		}
		if n++; n > limit {
			answer = append(answer, `],"next":`...)
			answer = hookgate.AppendJSONString(answer, next)
			c.text(http.StatusOK, append(answer, "}\n"...))
			return
		}
		if n > 1 {
			answer = append(answer, ',')
		}
		answer = appendEvent(answer, &e)
		next = e.ID
	}
	c.text(http.StatusOK, append(answer, "]}\n"...))
}

// stream answers everything that matches, a line each. If it fails in the middle it breaks the connection, so that
// the client does not take a part for the whole.
func (s *Server) stream(c *call, f hookgate.EventFilter) {
	control := http.NewResponseController(c)
	moreTime := func() { control.SetWriteDeadline(time.Now().Add(s.config.WriteTimeout)) }
	moreTime()
	begun, n := false, 0
	var line []byte
	for e, err := range s.reader.Events(c.request.Context(), f) {
		switch {
		case err == nil:
		case begun:
			s.log.Error("stream of events broke off", "request_id", c.requestID, "after", n, "error", err)
			panic(http.ErrAbortHandler)
		case errors.Is(err, hookgate.ErrNotFound):
			c.fail(http.StatusBadRequest, badParameter{"after", "is not the id of an event"}.Error())
			return
		default:
			c.broken("reading events", err)
			return
		}
		if !begun {
			begun = true
			c.Header().Set("Content-Type", ndjson)
			c.WriteHeader(http.StatusOK)
		}
		line = append(appendEvent(line[:0], &e), '\n')
		if _, err := c.Write(line); err != nil {
			return // the client is gone
		}
		if n++; n%flushEvery == 0 {
			control.Flush()
			moreTime()
		}
	}
	if !begun {
		c.Header().Set("Content-Type", ndjson)
		c.WriteHeader(http.StatusOK)
	}
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
	// Never of a type that a browser would act on: it is whatever someone sent.
	h := c.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Content-Disposition", "attachment")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	c.WriteHeader(http.StatusOK)
	c.Write(body) // the client may be gone
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

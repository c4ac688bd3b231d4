package adminapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"sync"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/api"
	"github.com/hookgate/hookgate/control"
	"github.com/hookgate/hookgate/internal/httpserver"
)

// call is one request to anything but /webhooks.
type call struct {
	http.ResponseWriter
	server    *API
	request   *http.Request
	id        hookgate.RequestID
	requestID string // id as text
	status    int

	route *route // nil if no route fits
	actor actor  // the caller, unless the call is open to anyone
	csrf  string // of the caller's session, if it has one
	// outer is the call of the page that makes this one, for the same actor; nil if it came from
	// outside.
	outer *call

	// The reason of a call that changes something, and its target once that is in the admin trail.
	reason, target string
	recorded       bool
	// action is its name in the trail, if not Route.Action; approval is the number of the approval
	// that it uses, or 0.
	action   string
	approval int64
}

// WriteHeader notes the status for the metrics.
func (c *call) WriteHeader(status int) {
	if status < 300 && c.route != nil && c.route.Action != "" && !c.recorded {
		panic("route " + c.route.Path + " changed something without writing it into the admin trail")
	}
	c.status = status
	c.ResponseWriter.WriteHeader(status)
}

// Unwrap lets http.ResponseController reach the connection.
func (c *call) Unwrap() http.ResponseWriter { return c.ResponseWriter }

// serve handles the call if the caller's role allows it. This is the only place that checks roles.
func (c *call) serve() {
	switch {
	case c.route.Role == control.RoleNone:
	case c.outer != nil:
		if !c.identified(c.actor, nil) {
			return
		}
	case !c.authorise():
		return
	}
	if c.route.Action != "" && !c.readReason() {
		return
	}
	c.route.handle(c.server, c)
}

// json answers 200 with v.
func (c *call) json(v any) { c.jsonStatus(http.StatusOK, v) }

func (c *call) jsonStatus(status int, v any) {
	var text bytes.Buffer
	if err := newEncoder(&text).Encode(v); err != nil {
		panic(err) // every type of package api has a JSON form
	}
	c.text(status, text.Bytes())
}

// newEncoder returns an encoder that leaves <, > and & as they are: no answer is part of a page.
func newEncoder(w io.Writer) *json.Encoder {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e
}

func (c *call) text(status int, body []byte) {
	c.head(status, "application/json")
	c.Write(body) // the client may be gone
}

// head begins an answer.
func (c *call) head(status int, contentType string) {
	h := c.Header()
	h.Set("Content-Type", contentType)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	c.WriteHeader(status)
}

// alone takes the lock for a call of which there is one at a time; the caller unlocks it. If
// another call has it, alone answers and returns false.
func (c *call) alone(turn *sync.Mutex, busy string) bool {
	if turn.TryLock() {
		return true
	}
	c.Header()["Retry-After"] = c.server.retryAfter
	c.fail(http.StatusServiceUnavailable, busy)
	return false
}

// fail answers with an error.
func (c *call) fail(status int, reason string) {
	if c.route != nil && c.route.Page() && c.outer == nil {
		c.failPage(status, reason)
		return
	}
	c.jsonStatus(status, api.ErrorAnswer{Status: "error", Error: reason, RequestID: c.requestID})
}

// unavailable logs an error that is not the caller's, and answers 503. If the caller has gone, the
// error says nothing about the store.
func (c *call) unavailable(doing string, err error) {
	if errors.Is(c.request.Context().Err(), context.Canceled) {
		c.server.log.Debug(doing+" ended, because the caller has gone", "request_id", c.requestID,
			"error", err)
	} else {
		c.server.log.Error(doing+" failed", "request_id", c.requestID, "error", err)
	}
	c.Header()["Retry-After"] = c.server.retryAfter
	c.fail(http.StatusServiceUnavailable, doing+" failed: "+
		publicReason(err, "see the log for the reason"))
}

// printable shortens a text that a client chose, for answers and the log.
func printable(s string) string { return httpserver.Printable(s, httpserver.MaxLogged) }

package adminapi

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"sync"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/api"
	"github.com/hookgate/hookgate/control"
	"github.com/hookgate/hookgate/internal/httpserver"
)

// call is a request to anything but /webhooks, on its way to its answer.
type call struct {
	http.ResponseWriter
	server    *API
	request   *http.Request
	id        hookgate.RequestID
	requestID string // id as text
	status    int

	route *route // nil if none fits
	actor actor  // who makes the call, unless it is open
	csrf  string // of the session that it is made with, if it is
	// that of a page which makes this one, in the name of the same actor; nil if it came from outside
	outer *call

	// Of a call that changes something: its reason, and once it is in the admin trail its target.
	reason, target string
	recorded       bool
	// action is what the trail calls it, if not by the route's name; approval is the number of the
	// approval that it rests on, if any.
	action   string
	approval int64
}

// WriteHeader notes the status for the metrics.
func (c *call) WriteHeader(status int) {
	if status < 300 && c.route != nil && c.route.Action != "" && !c.recorded {
		panic("route " + c.route.Path + " has done something and not written it into the admin trail")
	}
	c.status = status
	c.ResponseWriter.WriteHeader(status)
}

// Unwrap lets http.ResponseController reach the connection.
func (c *call) Unwrap() http.ResponseWriter { return c.ResponseWriter }

// serve answers the call if its bearer may make it.
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
		panic(err) // all answers are made of types that have a JSON form
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
	h := c.Header()
	h.Set("Content-Type", "application/json")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	c.WriteHeader(status)
	c.Write(body) // the client may be gone
}

// alone takes turn, which must be given back, for a call of which there is one at a time. If
// another has it the call is answered.
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

// broken answers 503 for an error that is not the caller's, and logs it.
func (c *call) broken(doing string, err error) {
	c.server.log.Error(doing+" failed", "request_id", c.requestID, "error", err)
	c.Header()["Retry-After"] = c.server.retryAfter
	c.fail(http.StatusServiceUnavailable, doing+" failed: "+told(err, "the log has the reason"))
}

// printable shortens a text that a client chose, for answers and the log.
func printable(s string) string { return httpserver.Printable(s, httpserver.MaxLogged) }

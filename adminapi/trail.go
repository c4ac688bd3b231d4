package adminapi

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/hookgate/hookgate/api"
	"github.com/hookgate/hookgate/control"
)

const (
	// reasonHeader has the reason of a call that changes something.
	reasonHeader = "X-Reason"
	// maxReason is the longest reason, in bytes. A longer result is truncated to it.
	maxReason = 500
)

// readReason reads the reason of a call from its header. If it returns false, the call is answered.
func (c *call) readReason() bool {
	c.reason = c.request.Header.Get(reasonHeader)
	if len(c.reason) > maxReason || !utf8.ValidString(c.reason) {
		c.fail(http.StatusBadRequest, fmt.Sprintf("header %s must be UTF-8 of at most %d bytes",
			reasonHeader, maxReason))
		return false
	}
	return true
}

// begin records in the admin trail that the route's action is about to be done to the target, a
// text for people such as a mode, an id or a filter. Call it before the effect. If it returns
// false, do nothing: the call is answered.
func (c *call) begin(target string) bool {
	if err := c.record(target, control.ResultBegun); err != nil {
		c.unavailable("writing the admin trail, which must precede the action,", err)
		return false
	}
	return true
}

// end records the result of the action that begin announced: ResultDone or ResultFailed, optionally
// with a colon and more text. Call it before the answer. If it returns false, the call is answered.
func (c *call) end(result string) bool {
	if err := c.record(c.target, result); err != nil {
		c.unavailable("the action was "+result+", but recording that in the admin trail", err)
		return false
	}
	return true
}

// failed ends an action that an error prevented, and answers 503.
func (c *call) failed(doing string, err error) {
	if c.end(failedWith(err)) {
		c.unavailable(doing, err)
	}
}

// cut truncates a text, between characters, to what the admin trail takes.
func cut(text string) string { return strings.ToValidUTF8(text[:min(len(text), maxReason)], "") }

// failedWith is the result of an action that an error prevented.
func failedWith(err error) string {
	return cut(control.ResultFailed + ": " + err.Error())
}

// record appends a row to the admin trail, and logs it whether that succeeds or not. It does not
// end with the call.
func (c *call) record(target, result string) error {
	c.target, c.recorded = target, true
	a := control.AdminAction{
		At: time.Now().Truncate(time.Microsecond).UTC(), RequestID: c.id,
		Actor: c.actor.name, Role: c.actor.role, RemoteAddr: c.request.RemoteAddr,
		Action: cmp.Or(c.action, c.route.Action), Target: target, Reason: c.reason, Result: result,
	}
	if c.approval != 0 {
		a.Target += fmt.Sprintf(" (approval %d)", c.approval)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.request.Context()), accessTimeout)
	defer cancel()
	err := c.server.access.RecordAction(ctx, a)
	c.server.log.Warn("admin action", "request_id", c.requestID, "action", a.Action, "target",
		a.Target, "result", a.Result,
		"by", a.Actor, "role", a.Role, "remote", a.RemoteAddr, "reason", a.Reason, "recorded", err == nil)
	return err
}

// actions answers a page of the admin trail.
func (s *API) actions(c *call) {
	f, limit, err := parseActionFilter(c.request.URL.RawQuery)
	if err != nil {
		c.fail(http.StatusBadRequest, err.Error())
		return
	}
	limit, ok := c.pageLimit(limit)
	if !ok {
		return
	}
	f.Limit = limit + 1 // one more tells whether there is a next page
	ctx, cancel := context.WithTimeout(c.request.Context(), accessTimeout)
	defer cancel()
	rows, err := s.access.Actions(ctx, f)
	if err != nil {
		c.unavailable("reading the admin trail", err)
		return
	}
	answer := api.Actions{Actions: []api.Action{}}
	for i, a := range rows {
		if i == limit {
			answer.Next = strconv.FormatInt(rows[i-1].Sequence, 10)
			break
		}
		answer.Actions = append(answer.Actions, actionOf(a))
	}
	c.json(answer)
}

// parseActionFilter reads the parameters of the admin trail. limit is 0 if there is none. An error
// is a badParameter.
func parseActionFilter(query string) (f control.ActionFilter, limit int, err error) {
	err = readParameters(query, func(name, value string) (err error) {
		switch name {
		case "actor":
			f.Actor = value
		case "action":
			f.Action = value
		case "from":
			return parseTime(&f.From, name, value)
		case "to":
			return parseTime(&f.To, name, value)
		case "order":
			if f.Newest = value == newest; !f.Newest && value != oldestStored {
				return badParameter{name, "must be " + oldestStored + " or " + newest}
			}
		case "after":
			if f.After, err = strconv.ParseInt(value, 10, 64); err != nil || f.After < 0 {
				return badParameter{name, "must be the number of a row"}
			}
		case "limit":
			return parseLimit(&limit, name, value)
		default:
			return unknownParameter(name)
		}
		return nil
	})
	return f, limit, err
}

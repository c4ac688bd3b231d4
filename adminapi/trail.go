package adminapi

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/hookgate/hookgate/api"
	"github.com/hookgate/hookgate/control"
)

const (
	// reasonHeader is where a call that changes something says why.
	reasonHeader = "X-Reason"
	// maxReason is the longest reason, in bytes. A result that is longer is cut to it.
	maxReason = 500
)

// readReason takes the reason of a call from its header. If it is none that can be kept the call is
// answered.
func (c *call) readReason() bool {
	c.reason = c.request.Header.Get(reasonHeader)
	if len(c.reason) > maxReason || !utf8.ValidString(c.reason) {
		c.fail(http.StatusBadRequest, fmt.Sprintf("header %s is longer than %d bytes, or not UTF-8",
			reasonHeader, maxReason))
		return false
	}
	return true
}

// begin writes into the admin trail that the route's action is about to be done to the target,
// which is for people to read: a mode, an id, a filter. It must come before the effect. If it
// returns false the action must not be done, and the call is answered.
func (c *call) begin(target string) bool {
	if err := c.record(target, control.ResultBegun); err != nil {
		c.broken("writing the admin trail, without which nothing is done,", err)
		return false
	}
	return true
}

// end writes into the admin trail what came of the action that begin announced: ResultDone or
// ResultFailed, after which a colon and more may follow. It must come before the answer. If it
// returns false the call is answered.
func (c *call) end(result string) bool {
	if err := c.record(c.target, result); err != nil {
		c.broken("the action was "+result+", but writing that into the admin trail", err)
		return false
	}
	return true
}

// failed ends an action that an error kept from being done, and answers 503.
func (c *call) failed(doing string, err error) {
	if c.end(failedWith(err)) {
		c.broken(doing, err)
	}
}

// cut shortens a text to what the admin trail takes, between characters.
func cut(text string) string { return strings.ToValidUTF8(text[:min(len(text), maxReason)], "") }

// failedWith is the result of an action that an error kept from being done.
func failedWith(err error) string {
	return cut(control.ResultFailed + ": " + err.Error())
}

// record writes a row into the admin trail, and a line into the log whatever becomes of it. It goes
// on if the caller hangs up.
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
	after, limit, err := parsePage(c.request.URL.RawQuery)
	if err != nil {
		c.fail(http.StatusBadRequest, err.Error())
		return
	}
	ctx, cancel := context.WithTimeout(c.request.Context(), accessTimeout)
	defer cancel()
	rows, err := s.access.Actions(ctx, after, limit+1) // one more tells whether there is a next page
	if err != nil {
		c.broken("reading the admin trail", err)
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

// parsePage reads the parameters of a listing by number. An error is a badParameter.
func parsePage(query string) (after int64, limit int, err error) {
	limit = defaultPage
	values, err := url.ParseQuery(query)
	if err != nil {
		return 0, 0, badParameter{"string", "is not properly encoded"}
	}
	for name, all := range values {
		switch {
		case len(all) != 1:
			return 0, 0, badParameter{name, "occurs more than once"}
		case name == "after":
			if after, err = strconv.ParseInt(all[0], 10, 64); err != nil || after < 0 {
				return 0, 0, badParameter{name, "is not the number of a row"}
			}
		case name == "limit":
			if limit, err = strconv.Atoi(all[0]); err != nil || limit < 1 || limit > maxPage {
				return 0, 0, badParameter{name, fmt.Sprintf("is not a number from 1 to %d", maxPage)}
			}
		default:
			return 0, 0, badParameter{strconv.Quote(printable(name)), "is unknown"}
		}
	}
	return after, limit, nil
}

package adminapi

import (
	"context"
	"errors"
	"iter"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/api"
)

// anyState lists dead letters in every state.
const anyState = "all"

// setDeadLetterFilter sets a filter from a parameter. An error is a badParameter.
func setDeadLetterFilter(f *hookgate.DeadLetterFilter, name, value string) (err error) {
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
	case "reason":
		f.ReasonContains = value
	case "from":
		return parseTime(&f.From, name, value)
	case "to":
		return parseTime(&f.To, name, value)
	case "state":
		if value == anyState {
			f.State = ""
			return nil
		}
		if f.State, err = hookgate.ParseDeadLetterState(value); err != nil {
			return badParameter{name, "must be open, stored, superseded, purged or " + anyState}
		}
	default:
		return unknownParameter(name)
	}
	return nil
}

// deadLetters lists dead letters. The default is the open ones. With the parameter subscription it
// lists the dead letters of a subscription, which are stored events.
func (s *API) deadLetters(c *call) {
	if query := c.request.URL.Query(); query.Has("subscription") {
		s.deadExceptions(c, query.Get("subscription"))
		return
	}
	f := hookgate.DeadLetterFilter{State: hookgate.DeadLetterOpen}
	err := readParameters(c.request.URL.RawQuery, func(name, value string) error {
		switch name {
		case "after":
			f.After = value
			return nil
		case "limit":
			return parseLimit(&f.Limit, name, value)
		}
		return setDeadLetterFilter(&f, name, value)
	})
	if err != nil {
		c.fail(http.StatusBadRequest, err.Error())
		return
	}
	answerList(c, listing[hookgate.StoredDeadLetter, api.DeadLetter]{
		name: "deadLetters", one: "a dead letter", limit: f.Limit,
		read: func(ctx context.Context, limit int) iter.Seq2[hookgate.StoredDeadLetter, error] {
			f.Limit = limit
			return s.letters.DeadLetters(ctx, f)
		},
		row: deadLetterOf,
		id:  func(d *hookgate.StoredDeadLetter) string { return d.ID },
		page: func(rows []api.DeadLetter, next string, _ bool) any {
			return api.DeadLetters{DeadLetters: rows, Next: next}
		},
	})
}

// deadExceptions lists the dead letters of a subscription.
func (s *API) deadExceptions(c *call, name string) {
	info, ok := s.subscriptionNamed(c, name)
	if !ok {
		return
	}
	f := hookgate.ExceptionFilter{Subscription: info.Name, State: hookgate.ExceptionDead}
	s.exceptions(c, f, func(_ *hookgate.ExceptionFilter, name, value string) error {
		if name == "subscription" {
			return nil
		}
		if err := setDeadLetterFilter(&hookgate.DeadLetterFilter{}, name, value); err != nil {
			return err
		}
		return badParameter{name, "cannot be combined with subscription"}
	})
}

// findDeadLetter returns the dead letter of the path. If ok is false, the call is answered.
func (s *API) findDeadLetter(c *call) (d hookgate.StoredDeadLetter, ok bool) {
	d, err := s.letters.DeadLetter(c.request.Context(), c.parameter("id"))
	switch {
	case errors.Is(err, hookgate.ErrNotFound):
		c.fail(http.StatusNotFound, "no such dead letter")
	case err != nil:
		c.unavailable("reading the dead letter", err)
	}
	return d, err == nil
}

// deadLetter answers one dead letter without its body, all dead letters of its identity, and the
// lineage of all their requests.
func (s *API) deadLetter(c *call) {
	d, ok := s.findDeadLetter(c)
	if !ok {
		return
	}
	history := []hookgate.StoredDeadLetter{d}
	if !d.Undecoded() {
		history = nil
		f := hookgate.DeadLetterFilter{Source: d.Source, EventType: d.EventType, MessageID: d.MessageID}
		for other, err := range s.letters.DeadLetters(c.request.Context(), f) {
			if err != nil {
				c.unavailable("reading the dead letter's history", err)
				return
			}
			history = append(history, other)
		}
	}
	trails, err := s.trails.Trace(c.request.Context(), d.MessageID, hookgate.RequestID{}, defaultPage+
		1)
	more := len(trails) > defaultPage
	if more {
		trails = trails[:defaultPage]
	}
	if err == nil && more && !slices.ContainsFunc(trails,
		func(t hookgate.RequestTrail) bool { return t.RequestID == d.RequestID }) {
		var own hookgate.RequestTrail
		own, err = s.trails.Request(c.request.Context(), d.RequestID)
		trails = append(trails, own)
	}
	if err != nil {
		c.unavailable("reading the dead letter's lineage", err)
		return
	}
	trails = slices.DeleteFunc(trails, func(t hookgate.RequestTrail) bool {
		return t.Identity != d.Identity || d.Undecoded() && t.RequestID != d.RequestID
	})
	answer := api.DeadLetterDetails{DeadLetter: deadLetterOf(&d), Requests: trailsOf(trails),
		MoreRequests: more}
	for i := range history {
		answer.History = append(answer.History, failedAttemptOf(&history[i]))
	}
	c.json(answer)
}

// deadLetterBody answers the exact bytes of a dead letter's body.
func (s *API) deadLetterBody(c *call) {
	d, ok := s.findDeadLetter(c)
	if !ok {
		return
	}
	body, err := s.letters.DeadLetterBody(c.request.Context(), d.ID)
	switch {
	case errors.Is(err, hookgate.ErrNotFound):
		c.fail(http.StatusGone, "the body was purged")
	case err != nil:
		c.unavailable("reading the dead letter's body", err)
	default:
		c.bytes(body)
	}
}

// describe describes what a filter selects, for the admin trail and for people.
func describe(f hookgate.DeadLetterFilter) string {
	var parts []string
	add := func(name, value string) {
		if value != "" {
			parts = append(parts, name+"="+strconv.Quote(value))
		}
	}
	add("source", f.Source)
	add("type", f.EventType)
	add("key", f.OrderingKey)
	add("messageId", f.MessageID)
	add("prefix", f.MessageIDPrefix)
	add("reason", f.ReasonContains)
	if !f.From.IsZero() {
		add("from", api.At(f.From).String())
	}
	if !f.To.IsZero() {
		add("to", api.At(f.To).String())
	}
	add("state", string(f.State))
	if len(parts) == 0 {
		parts = append(parts, "all")
	}
	add("after", f.After)
	return strings.Join(parts, " ")
}

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
)

// anyState is what lists dead letters in every state.
const anyState = "all"

// setDeadLetterFilter sets what a parameter says. An error is a badParameter.
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
			return badParameter{name, "is none of open, stored, superseded, purged and " + anyState}
		}
	default:
		return unknownParameter(name)
	}
	return nil
}

// deadLetters answers a listing of dead letters: the open ones, unless it asks for others.
func (s *API) deadLetters(c *call) {
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
	answerList(c, listing[hookgate.StoredDeadLetter]{
		name: "deadLetters", one: "a dead letter", limit: f.Limit,
		read: func(ctx context.Context, limit int) iter.Seq2[hookgate.StoredDeadLetter, error] {
			f.Limit = limit
			return s.reader.DeadLetters(ctx, f)
		},
		append: appendDeadLetter,
		id:     func(d *hookgate.StoredDeadLetter) string { return d.ID },
	})
}

// findDeadLetter returns the dead letter of the path. If ok is false the call is answered.
func (s *API) findDeadLetter(c *call) (d hookgate.StoredDeadLetter, ok bool) {
	d, err := s.reader.DeadLetter(c.request.Context(), c.parameter("id"))
	switch {
	case errors.Is(err, hookgate.ErrNotFound):
		c.fail(http.StatusNotFound, "no such dead letter")
	case err != nil:
		c.broken("reading the dead letter", err)
	}
	return d, err == nil
}

// deadLetter answers one dead letter without its body, all dead letters of its identity, and the
// lineage of all requests of that.
func (s *API) deadLetter(c *call) {
	d, ok := s.findDeadLetter(c)
	if !ok {
		return
	}
	history := []hookgate.StoredDeadLetter{d}
	if !d.Undecoded() {
		history = nil
		f := hookgate.DeadLetterFilter{Source: d.Source, EventType: d.EventType, MessageID: d.MessageID}
		for other, err := range s.reader.DeadLetters(c.request.Context(), f) {
			if err != nil {
				c.broken("reading the dead letter's history", err)
				return
			}
			history = append(history, other)
		}
	}
	trails, err := s.reader.Trace(c.request.Context(), d.MessageID, hookgate.RequestID{}, defaultPage+
		1)
	more := len(trails) > defaultPage
	if more {
		trails = trails[:defaultPage]
	}
	if err == nil && more && !slices.ContainsFunc(trails,
		func(t hookgate.RequestTrail) bool { return t.RequestID == d.RequestID }) {
		var own hookgate.RequestTrail
		own, err = s.reader.Request(c.request.Context(), d.RequestID)
		trails = append(trails, own)
	}
	if err != nil {
		c.broken("reading the dead letter's lineage", err)
		return
	}
	trails = slices.DeleteFunc(trails, func(t hookgate.RequestTrail) bool {
		return t.Identity != d.Identity || d.Undecoded() && t.RequestID != d.RequestID
	})
	answer := appendDeadLetter([]byte(`{"deadLetter":`), &d)
	answer = append(answer, `,"history":[`...)
	for i := range history {
		if i > 0 {
			answer = append(answer, ',')
		}
		answer = appendAttempt(answer, &history[i])
	}
	answer = appendTrails(append(answer, `],"requests":`...), trails)
	if more {
		answer = append(answer, `,"moreRequests":true`...)
	}
	c.text(http.StatusOK, append(answer, "}\n"...))
}

// deadLetterBody answers the exact bytes of a dead letter's body.
func (s *API) deadLetterBody(c *call) {
	d, ok := s.findDeadLetter(c)
	if !ok {
		return
	}
	body, err := s.reader.DeadLetterBody(c.request.Context(), d.ID)
	switch {
	case errors.Is(err, hookgate.ErrNotFound):
		c.fail(http.StatusGone, "the body was purged")
	case err != nil:
		c.broken("reading the dead letter's body", err)
	default:
		c.bytes(body)
	}
}

// appendDeadLetter appends the JSON of a dead letter.
func appendDeadLetter(b []byte, d *hookgate.StoredDeadLetter) []byte {
	o := object{b: append(b, '{')}
	o.text("id", d.ID)
	o.text("state", string(d.State))
	o.text("source", d.Source)
	o.text("messageId", d.MessageID)
	o.text("eventType", d.EventType)
	o.text("orderingKey", d.OrderingKey)
	o.sequence(d.Sequence)
	o.text("requestId", d.RequestID.String())
	o.text("remoteAddr", d.RemoteAddr)
	o.time("receivedAt", d.ReceivedAt)
	o.time("deadLetteredAt", d.DeadLetteredAt)
	o.text("reason", d.Reason)
	o.number("partition", int64(d.Partition))
	o.text("position", d.Position)
	o.number("size", d.Size)
	o.hex("sha256", d.SHA256[:])
	if !d.RetryOf.IsZero() {
		o.text("retryOf", d.RetryOf.String())
		o.time("retriedAt", d.RetriedAt)
	}
	o.purge(d)
	o.headers(d.Headers)
	return append(o.b, '}')
}

// appendAttempt appends the JSON of a dead letter as a step in the history of its identity.
func appendAttempt(b []byte, d *hookgate.StoredDeadLetter) []byte {
	o := object{b: append(b, '{')}
	o.text("id", d.ID)
	o.text("state", string(d.State))
	o.text("requestId", d.RequestID.String())
	if !d.RetryOf.IsZero() {
		o.text("retryOf", d.RetryOf.String())
		o.time("retriedAt", d.RetriedAt)
	}
	o.time("deadLetteredAt", d.DeadLetteredAt)
	o.text("reason", d.Reason)
	o.number("attempts", int64(d.Attempts))
	o.text("lastError", d.LastError)
	o.purge(d)
	return append(o.b, '}')
}

func (o *object) purge(d *hookgate.StoredDeadLetter) {
	if d.State == hookgate.DeadLetterPurged {
		o.time("purgedAt", d.PurgedAt)
		o.text("purgedBy", d.PurgedBy)
		o.text("purgeReason", d.PurgeReason)
	}
}

// describe says what a filter selects, for the admin trail and for people.
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
		add("from", f.From.UTC().Format(timeFormat))
	}
	if !f.To.IsZero() {
		add("to", f.To.UTC().Format(timeFormat))
	}
	add("state", string(f.State))
	if len(parts) == 0 {
		parts = append(parts, "all")
	}
	add("after", f.After)
	return strings.Join(parts, " ")
}

package gatetest

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/gate"
)

// unsettled returns what is not settled. It reads the cursors first: an event at or below the
// cursor that is settled later has an exception until then, so it cannot be missed.
func unsettled(ctx context.Context, g *gate.Gate) (r report, err error) {
	subscriptions, err := g.Subscriptions().Subscriptions(ctx)
	if err != nil {
		return r, err
	}
	for i := range subscriptions {
		s := &subscriptions[i]
		if !s.RemovedAt.IsZero() {
			continue
		}
		before := len(r.lines)
		parked, err := r.exceptions(ctx, g, s)
		if err != nil {
			return r, err
		}
		if err := r.ahead(ctx, g, s); err != nil {
			return r, err
		}
		if s.Held > 0 && len(r.lines) == before {
			r.add(s, "events of %d ordering keys are being read again", s.Held)
		}
		if s.Leased > 0 {
			r.add(s, "clients have leases of %d events", s.Leased)
		}
		left := len(r.lines) > before
		if paused := !s.PausedAt.IsZero(); left && paused {
			r.add(s, "it is paused by %s: %s", orGate(s.PausedBy), s.PauseReason)
			r.stuck = true
		}
		r.stuck = r.stuck || parked
	}
	return r, nil
}

func orGate(person string) string {
	if person == "" {
		return "the gate"
	}
	return person
}

func (r *report) add(s *hookgate.SubscriptionInfo, format string, args ...any) {
	r.lines = append(r.lines, "subscription "+s.Name+": "+fmt.Sprintf(format, args...))
}

// exceptions adds the events of a subscription that are waiting or parked. It reports whether one
// is parked.
func (r *report) exceptions(ctx context.Context, g *gate.Gate, s *hookgate.SubscriptionInfo) (
	parked bool, err error) {
	for _, state := range []hookgate.ExceptionState{hookgate.ExceptionWaiting,
		hookgate.ExceptionParked} {
		found, err := g.Subscriptions().Exceptions(ctx, hookgate.ExceptionFilter{Subscription: s.Name,
			State: state})
		if err != nil {
			return parked, err
		}
		for _, e := range found {
			parked = parked || state == hookgate.ExceptionParked
			r.add(s, "event %d (%v) is %s after %d failed attempts: %s", e.Event, e.Identity, state,
				e.Attempts, firstLine(e.Reason))
		}
	}
	return parked, nil
}

// ahead adds the events after the cursor of a subscription that it selects and has not settled.
func (r *report) ahead(ctx context.Context, g *gate.Gate, s *hookgate.SubscriptionInfo) error {
	after := hookgate.EventFilter{}
	if s.Cursor > 0 {
		after.After = strconv.FormatInt(s.Cursor, 10)
	}
	for e, err := range g.Events().Events(ctx, after) {
		if err != nil {
			return err
		}
		if !s.Filter.Match(e.Source, e.EventType) {
			continue
		}
		id, err := strconv.ParseInt(e.ID, 10, 64)
		if err != nil {
			return err
		}
		attempts, err := g.Subscriptions().Attempts(ctx, id)
		if err != nil {
			return err
		}
		attempts = slices.DeleteFunc(attempts, func(a hookgate.StoredAttempt) bool {
			return a.Subscription != s.Name
		})
		switch last := len(attempts) - 1; {
		case last < 0:
			r.add(s, "event %s (%v) is in flight, or waits for an attempt", e.ID, e.Identity)
		case !attempts[last].Outcome.Settles():
			r.add(s, "event %s (%v) has failed: %s", e.ID, e.Identity, firstLine(attempts[last].Reason))
		}
	}
	return nil
}

// firstLine returns the first line of a text: the rest is the stack of a panic.
func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line
}

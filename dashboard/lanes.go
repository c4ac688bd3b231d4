package dashboard

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/api"
)

// lane is what one subscription did with an event.
type lane struct {
	Subscription string
	// Link is the address of the subscription's page, or of the tab that shows the event.
	Link  string
	Steps []laneStep
	// Says is how things stand, in words, and Level its colour.
	Says, Level string
	// Due is when the next attempt begins; nil if none is planned.
	Due *api.Time
	// Reason is why the gate does not deliver now; may be empty.
	Reason string
	// Unsettled reports that the lane will change.
	Unsettled bool
}

// laneStep is an attempt, or what a person did instead.
type laneStep struct {
	Says, Level string
	At          time.Time
	// Since is the time from the receipt of the request.
	Since   time.Duration
	Attempt int
	// First is the first of several attempts that failed in the same way, and Until the time from the
	// receipt to the last of them; 0 if there was one.
	First      int
	Until      time.Duration
	Redelivery int64
	// Answer is the reason of a failure, with the status and an excerpt of the response.
	Answer string
	// Status is the HTTP status of an answer without a reason; 0 otherwise.
	Status int
	Took   time.Duration
	By     string
	// Omitted counts the earlier attempts that are not shown.
	Omitted int64
}

// deliveryStage is the metadata of a stage of a delivery.
type deliveryStage struct {
	Subscription string
	Attempt      int
	Redelivery   int64
	Status       int
	DurationMs   float64
	Reason, By   string
	Omitted      int64
}

// addStep adds a stage to the lane of its subscription. It returns false if the stage is of none.
func (l *lineage) addStep(s *api.Stage) bool {
	var m deliveryStage
	if json.Unmarshal(s.Metadata, &m) != nil || m.Subscription == "" {
		return false
	}
	i := slices.IndexFunc(l.Lanes, func(one lane) bool { return one.Subscription == m.Subscription })
	if i < 0 {
		i = len(l.Lanes)
		l.Lanes = append(l.Lanes, lane{Subscription: m.Subscription,
			Link: deliveriesPath + "/" + url.PathEscape(m.Subscription)})
	}
	known := stageNames[string(s.Stage)]
	step := laneStep{Says: known.name, Level: known.level, At: s.Timestamp.Time,
		Attempt: m.Attempt, Redelivery: m.Redelivery, Answer: m.Reason, By: m.By, Omitted: m.Omitted,
		Took: time.Duration(m.DurationMs * float64(time.Millisecond))}
	if step.Answer == "" {
		step.Status = m.Status
	}
	if len(l.Stages) > 0 {
		step.Since = step.At.Sub(l.Stages[0].At)
	}
	one := &l.Lanes[i]
	if n := len(one.Steps); n > 0 && step.repeats(&one.Steps[n-1]) {
		last := &one.Steps[n-1]
		last.First = cmp.Or(last.First, last.Attempt)
		last.Attempt, last.Took, last.Until = step.Attempt, step.Took, step.Since
	} else {
		one.Steps = append(one.Steps, step)
	}
	one.Says, one.Level = known.name, known.level
	return true
}

// repeats reports whether the attempt failed in the same way as the one before it.
func (s *laneStep) repeats(last *laneStep) bool {
	return s.Says == failedStep && last.Says == failedStep && s.Answer == last.Answer &&
		s.Redelivery == last.Redelivery && s.Omitted == 0
}

// addStates says how things stand in each lane of an event, and adds the lanes of subscriptions
// that select it and have not attempted it.
func (l *lineage) addStates(ctx context.Context, v *Visitor, e *event,
	subscriptions []*subscription) error {
	for _, s := range subscriptions {
		i := slices.IndexFunc(l.Lanes, func(one lane) bool { return one.Subscription == s.Name })
		selects := s.State != api.SubscriptionRemoved && s.Filter.Match(e.Source, e.EventType)
		if i < 0 && !selects {
			continue
		}
		if i < 0 {
			i = len(l.Lanes)
			l.Lanes = append(l.Lanes, lane{Subscription: s.Name, Link: s.Link()})
		}
		if err := l.Lanes[i].addState(ctx, v, e, s); err != nil {
			return err
		}
	}
	slices.SortStableFunc(l.Lanes, func(a, b lane) int {
		return cmp.Compare(a.Subscription, b.Subscription)
	})
	return nil
}

func (l *lane) addState(ctx context.Context, v *Visitor, e *event, s *subscription) error {
	call := "/api/subscriptions/" + url.PathEscape(s.Name) + "/exceptions?limit=1"
	first := func(query string) (x *api.Exception, err error) {
		var page api.Exceptions
		if err = v.Get(ctx, call+query, &page); len(page.Exceptions) > 0 {
			x = &page.Exceptions[0]
		}
		return x, unlessTold(err)
	}
	x, err := first(fmt.Sprintf("&after=%d", number(e.ID)-1))
	if err != nil {
		return err
	}
	if x != nil && x.Event == e.ID {
		l.Link = s.Tab(string(x.State)) + "&key=" + url.QueryEscape(x.Key)
		if x.Key == "" {
			l.Link = s.Tab(string(x.State))
		}
		switch x.State {
		case hookgate.ExceptionWaiting:
			l.Says, l.Level, l.Due, l.Unsettled = "waits for the next attempt", levelWarn, &x.Due, true
			l.Reason = s.standsStill()
		case hookgate.ExceptionParked:
			l.Says, l.Level, l.Unsettled = "parked", levelBad, true
		case hookgate.ExceptionDead:
			l.Says, l.Level = "dead letter", levelBad
		}
		return nil
	}
	if len(l.Steps) > 0 {
		return nil // the last step says it
	}
	if number(s.Cursor) < number(e.ID) {
		l.Says, l.Level, l.Unsettled = "not attempted yet", levelWarn, true
		if s.State == api.SubscriptionPulled {
			l.Says = "not pulled yet"
		}
		l.Reason = s.standsStill()
		return nil
	}
	if x, err = first("&held=true&key=" + url.QueryEscape(e.OrderingKey)); err != nil {
		return err
	}
	if e.OrderingKey != "" && x != nil && number(x.Event) < number(e.ID) {
		l.Says, l.Level, l.Unsettled = "waits behind event "+x.Event+" of its key", levelWarn, true
		l.Link = s.Tab(tabHeld) + "&key=" + url.QueryEscape(e.OrderingKey)
		return nil
	}
	l.Says, l.Level = "not delivered: the cursor has passed it", ""
	if e.PersistedAt.Before(s.CreatedAt.Time) {
		l.Says = "not delivered: the subscription began later"
	}
	return nil
}

// standsStill says why a subscription delivers nothing now; empty if it delivers.
func (s *subscription) standsStill() string {
	switch s.State {
	case api.SubscriptionPaused:
		return "the subscription is paused"
	case api.SubscriptionBroken:
		return "the breaker is open: the consumer is down"
	case api.SubscriptionUnowned:
		return "no process delivers the subscription"
	}
	return ""
}

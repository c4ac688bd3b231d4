package consume

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/api"
	"github.com/hookgate/hookgate/internal/backoff"
)

// eventID is the id of an event as a number.
func eventID(e *api.PulledEvent) int64 {
	id, _ := strconv.ParseInt(e.ID, 10, 64)
	return id
}

// deliver posts an event until the application has answered, and prints the attempt. It returns
// false if the lease or ctx has ended before.
func (f *Forwarder) deliver(ctx context.Context, l *lease, e *api.PulledEvent) (hookgate.Answer,
	bool) {
	request, _ := hookgate.ParseRequestID(e.WebhookID)
	d := &hookgate.Delivery{Subscription: l.subscription, Attempt: e.Attempt,
		Redelivery: e.Redelivery, Event: &hookgate.Event{
			ID:          eventID(e),
			Identity:    hookgate.Identity{Source: e.Source, EventType: e.EventType, MessageID: e.MessageID},
			OrderingKey: e.OrderingKey, Keyed: e.Key == "k:"+e.OrderingKey, RequestID: request,
			Headers: e.Headers, ReceivedAt: e.ReceivedAt.Time, StoredAt: e.PersistedAt.Time, Body: e.Body,
		}}
	for failures := 1; ; failures++ {
		began := time.Now()
		f.inFlight.Add(1)
		a := f.App.Deliver(context.WithoutCancel(ctx), d)
		f.inFlight.Add(-1)
		took := time.Since(began)
		if a.Status != 0 || took >= f.Timeout {
			f.reached()
			f.Print(e, a, took)
			return a, true
		}
		f.unreached(a.Reason)
		if backoff.Sleep(ctx, pauses.Pause(failures)) != nil || l.over.Load() {
			return a, false
		}
	}
}

func (f *Forwarder) unreached(reason string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.silent {
		f.silent = true
		f.note(fmt.Sprintf("%s does not answer: %s; events wait until it does", f.To, reason))
	}
}

func (f *Forwarder) reached() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.silent {
		f.silent = false
		f.note(f.To + " answers again")
	}
}

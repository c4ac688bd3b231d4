package adminapi

import (
	"encoding/json"
	"strconv"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/api"
	"github.com/hookgate/hookgate/internal/attention"
)

// subscriptionOf returns a subscription with its live state if this process delivers it.
func subscriptionOf(i *hookgate.SubscriptionInfo, live []LiveSubscription,
	now time.Time) api.Subscription {
	a := api.Subscription{
		Name: i.Name, State: api.SubscriptionDelivering, Order: i.Order, Filter: i.Filter,
		Revision: i.Revision, Cursor: api.EventID(i.Cursor), End: api.EventID(i.End),
		Backlog: i.Backlog, Waiting: i.Waiting, Parked: i.Parked, Dead: i.Dead, Held: i.Held,
		Leases: i.Leases, Leased: i.Leased, PulledAt: api.AtOrNull(i.PulledAt),
		Idle: api.Duration(i.Idle), Owner: i.Owner, CreatedAt: api.At(i.CreatedAt),
		LastDeliveredAt: api.AtOrNull(i.LastDeliveredAt),
	}
	if json.Valid([]byte(i.Definition)) {
		a.Definition = json.RawMessage(i.Definition)
	}
	if !i.OldestStoredAt.IsZero() {
		a.LagSeconds = max(0, now.Sub(i.OldestStoredAt).Seconds())
	}
	if !i.BrokenSince.IsZero() {
		a.BrokenSince, a.State = api.At(i.BrokenSince), api.SubscriptionBroken
	}
	switch {
	case attention.Pulled(i):
		a.State = api.SubscriptionPulled
	case i.Owner == "":
		a.State = api.SubscriptionUnowned
	}
	if !i.PausedAt.IsZero() {
		a.State = api.SubscriptionPaused
		a.PauseNote = api.PauseNote{PausedAt: api.At(i.PausedAt), PausedBy: i.PausedBy,
			PauseReason: i.PauseReason}
	}
	if !i.RemovedAt.IsZero() && i.Idle == 0 {
		a.RemovedAt, a.State = api.At(i.RemovedAt), api.SubscriptionRemoved
	}
	for _, l := range live {
		if l.Name == i.Name {
			a.Live = &api.LiveSubscription{InFlight: l.InFlight, Limit: l.Limit, Breaker: l.Breaker,
				Problem: l.Problem}
		}
	}
	return a
}

func exceptionOf(e *hookgate.StoredException) api.Exception {
	a := api.Exception{
		Event: api.EventID(e.Event), Redelivery: e.Redelivery, State: e.State, Key: e.OrderingKey,
		Attempts: e.Attempts, Reason: e.Reason, Status: e.Status, ChangedAt: api.At(e.Changed),
		Source: e.Source, EventType: e.EventType, MessageID: e.MessageID,
		RequestID: e.RequestID.String(), ReceivedAt: api.At(e.ReceivedAt), Size: e.Size,
	}
	if e.State == hookgate.ExceptionWaiting && !e.Due.IsZero() {
		a.Due = api.At(e.Due)
	}
	return a
}

func jobOf(j *hookgate.StoredJob) api.RedeliveryJob {
	a := api.RedeliveryJob{
		State: api.JobRunning, Redelivery: j.Redelivery, After: api.EventID(j.After),
		Until: api.EventID(j.Until), Filter: j.Filter, Key: j.OrderingKey, Rate: j.Rate,
		Position: api.EventID(j.Position), Delivered: j.Delivered, Failed: j.Failed, By: j.By,
		Reason: j.Reason,
	}
	if j.ID != 0 {
		a.ID = strconv.FormatInt(j.ID, 10)
	}
	for _, id := range j.Events {
		a.Events = append(a.Events, api.EventID(id))
	}
	if !j.CreatedAt.IsZero() {
		a.CreatedAt = api.At(j.CreatedAt)
	}
	if !j.EndedAt.IsZero() {
		a.EndedAt, a.State = api.At(j.EndedAt), api.JobDone
	}
	if j.Cancelled {
		a.State = api.JobCancelled
	}
	return a
}

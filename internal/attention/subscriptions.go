package attention

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/internal/metrics"
)

// brokenFor is how long a breaker is open before it is a problem. A restart of the consumer opens
// it for less.
const brokenFor = time.Minute

// behindFor is the lag from which a subscription is a problem.
const behindFor = 5 * time.Minute

// unownedFor is how long no process owns a subscription before that is a problem: three times the
// lease that a process which dies leaves behind.
const unownedFor = 30 * time.Second

// Subscriptions reads the subscriptions of the store for the health and the metrics. It caches
// them.
type Subscriptions struct {
	all   cache[subscribed]
	waits time.Duration // see metrics.Config.RetentionWaits
}

// subscribed are the subscriptions at one time.
type subscribed struct {
	all []hookgate.SubscriptionInfo
	// unowned has the time since which a subscription that a process should deliver was seen without
	// one.
	unowned map[string]time.Time
}

// NewSubscriptions returns a Subscriptions over a function that reads all subscriptions of the
// store. retentionWaits is that of metrics.Config.
func NewSubscriptions(read func(context.Context) ([]hookgate.SubscriptionInfo, error),
	retentionWaits time.Duration) *Subscriptions {
	var unowned map[string]time.Time // of the last read; the cache reads once at a time
	return &Subscriptions{waits: retentionWaits, all: cache[subscribed]{
		read: func(ctx context.Context) (now subscribed, err error) {
			if now.all, err = read(ctx); err != nil {
				return now, err
			}
			now.unowned = map[string]time.Time{}
			for i := range now.all {
				if one := &now.all[i]; one.Owner != "" || !one.PausedAt.IsZero() || Pulled(one) {
					continue
				}
				since, before := unowned[now.all[i].Name]
				if !before {
					since = time.Now()
				}
				now.unowned[now.all[i].Name] = since
			}
			unowned = now.unowned
			return now, nil
		},
	}}
}

// All returns all subscriptions, removed ones too. They can be some seconds old. known is false if
// the last read failed.
func (s *Subscriptions) All(ctx context.Context) (all []hookgate.SubscriptionInfo, known bool) {
	now, known := s.all.get(ctx)
	return now.all, known
}

// Items is a Source: items for each subscription that has parked events, is paused, that no process
// delivers, whose breaker is open, or that holds up retention. A failed read keeps the last items,
// and one more says so when they are old.
func (s *Subscriptions) Items(ctx context.Context) (items []Item) {
	now, unknown := s.all.last(ctx, "subscriptions")
	for i := range now.all {
		if one := &now.all[i]; one.RemovedAt.IsZero() {
			items = append(items, s.itemsOf(one, now.unowned[one.Name])...)
		}
	}
	return append(items, unknown...)
}

func (s *Subscriptions) itemsOf(one *hookgate.SubscriptionInfo, unowned time.Time) (items []Item) {
	since := time.Time{}
	add := func(name string, count int64, format string, args ...any) {
		items = append(items, Item{Name: name, What: one.Name, Count: count,
			Text: "Subscription " + one.Name + " " + fmt.Sprintf(format, args...),
			Link: "/ui/deliveries/" + one.Name, Since: sinceOf(since)})
	}
	if n := one.Parked; n > 0 {
		add("subscription_parked", n, "has %d parked %s: %s until you retry, skip or dead-letter %s", n,
			many(n, "event", "events"), many(n, "its key waits", "their keys wait"), many(n, "it", "them"))
	}
	if n := one.Dead; n > 0 {
		add("subscription_dead", n, "has %d dead %s: retry or skip %s", n, many(n, "letter", "letters"),
			many(n, "it", "them"))
	}
	since = one.PausedAt
	switch {
	case one.PausedAt.IsZero():
	case one.PausedBy != "":
		add("subscription_paused", 1, "was paused by a person at %s", utc(one.PausedAt))
	default:
		add("subscription_paused", 1, "was paused by the gate at %s: its consumer answered that it is"+
			" gone; run hookgate subscriptions resume when it is back", utc(one.PausedAt))
	}
	since = unowned
	if !since.IsZero() && time.Since(since) > unownedFor {
		add("subscription_unowned", 1, "has no process that delivers it since %s; the events wait",
			utc(since))
	}
	since = one.BrokenSince
	broken := !since.IsZero() && time.Since(since) > brokenFor
	if broken {
		add("subscription_broken", 1, "cannot reach its consumer since %s; the events wait", utc(since))
	}
	since = one.OldestStoredAt
	if lag := time.Since(since); !since.IsZero() && lag > behindFor && !broken &&
		one.PausedAt.IsZero() {
		add("subscription_behind", one.Backlog, "is behind: its next event was stored at %s, and %d"+
			" %s", utc(since), one.Backlog, many(one.Backlog, "event waits", "events wait"))
	}
	if metrics.HoldsRetention(one, s.waits) {
		add("subscription_holds_retention", 1, "holds up retention: its next event was stored at %s,"+
			" and nothing after it is removed until the subscription has passed it",
			utc(one.OldestStoredAt))
	}
	return items
}

// Pulled reports whether clients fetch the events of a subscription.
func Pulled(i *hookgate.SubscriptionInfo) bool {
	var definition struct{ Pull *struct{} }
	return json.Unmarshal([]byte(i.Definition), &definition) == nil && definition.Pull != nil
}

func utc(at time.Time) string { return at.UTC().Format(time.RFC3339) }

package metrics

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hookgate/hookgate"
)

// TestDelivery: attempts and outcomes are counted by subscription. A configured subscription is at
// 0 before its first attempt, and a class or outcome that nobody declared is "other".
func TestDelivery(t *testing.T) {
	m := New(well())
	m.Subscription("calm")
	m.Attempted("billing", "5xx", 20*time.Millisecond)
	m.Attempted("billing", "2xx", 30*time.Millisecond)
	m.Attempted("billing", "invented", time.Millisecond)
	m.Settled("billing", "delivered", 2*time.Hour)
	m.Settled("billing", "invented", time.Second)
	scrape(t, m).want(t, map[string]float64{
		`webhook_delivery_attempts_total{class="5xx",subscription="billing"}`:      1,
		`webhook_delivery_attempts_total{class="2xx",subscription="billing"}`:      1,
		`webhook_delivery_attempts_total{class="other",subscription="billing"}`:    1,
		`webhook_deliveries_total{outcome="delivered",subscription="billing"}`:     1,
		`webhook_deliveries_total{outcome="other",subscription="billing"}`:         1,
		`webhook_attempt_duration_ms_sum{subscription="billing"}`:                  51,
		`webhook_delivery_latency_ms_count{subscription="billing"}`:                2,
		`webhook_delivery_latency_ms_bucket{subscription="billing",le="3.6e+06"}`:  1,
		`webhook_delivery_latency_ms_bucket{subscription="billing",le="8.64e+07"}`: 2,
		`webhook_deliveries_total{outcome="parked",subscription="calm"}`:           0,
		`webhook_delivery_attempts_total{class="error",subscription="calm"}`:       0,
		`webhook_attempt_duration_ms_count{subscription="calm"}`:                   0,
	})
}

// TestSubscriptions: the gauges show each configured subscription of the store. A removed one, and
// all of them while the store does not answer, are absent.
func TestSubscriptions(t *testing.T) {
	now := time.Now()
	subscription := func(name string, change func(*hookgate.SubscriptionInfo)) (
		s hookgate.SubscriptionInfo) {
		s.Name = name
		change(&s)
		return s
	}
	all := []hookgate.SubscriptionInfo{
		subscription("busy", func(s *hookgate.SubscriptionInfo) {
			s.OldestStoredAt, s.Backlog = now.Add(-time.Minute), 5
			s.Waiting, s.Held, s.Parked, s.Dead = 4, 3, 2, 1
		}),
		subscription("calm", func(s *hookgate.SubscriptionInfo) {}),
		subscription("gone", func(s *hookgate.SubscriptionInfo) {
			s.PausedAt, s.OldestStoredAt = now, now.Add(-49*time.Hour)
		}),
		subscription("away", func(s *hookgate.SubscriptionInfo) {
			s.PausedAt, s.PausedBy, s.BrokenSince = now, "ann", now
		}),
		subscription("removed", func(s *hookgate.SubscriptionInfo) {
			s.RemovedAt, s.OldestStoredAt = now, now.Add(-49*time.Hour)
		}),
	}
	known := true
	c := well()
	c.Subscriptions = func(context.Context) ([]hookgate.SubscriptionInfo, bool) { return all, known }
	c.RetentionWaits = 48 * time.Hour
	m := New(c)
	e := scrape(t, m)
	want := map[string]float64{
		`webhook_subscription_paused{by="gate",subscription="gone"}`:   1,
		`webhook_subscription_paused{by="person",subscription="gone"}`: 0,
		`webhook_subscription_paused{by="gate",subscription="away"}`:   0,
		`webhook_subscription_paused{by="person",subscription="away"}`: 1,
		`webhook_subscription_lag_seconds{subscription="calm"}`:        0,
	}
	for metric, values := range map[string][4]float64{ // busy, calm, gone, away
		"backlog":         {5, 0, 0, 0},
		"waiting":         {4, 0, 0, 0},
		"held_keys":       {3, 0, 0, 0},
		"parked":          {2, 0, 0, 0},
		"dead":            {1, 0, 0, 0},
		"breaker_open":    {0, 0, 0, 1},
		"holds_retention": {0, 0, 1, 0},
	} {
		for i, value := range values {
			want[fmt.Sprintf(`webhook_subscription_%s{subscription=%q}`, metric, all[i].Name)] = value
		}
	}
	e.want(t, want)
	lag := e.samples[`webhook_subscription_lag_seconds{subscription="busy"}`]
	if lag < 60 || lag > 120 {
		t.Errorf("the lag is %v s, want about 60", lag)
	}
	if strings.Contains(e.text, `"removed"`) {
		t.Error("a subscription that no configuration has is shown")
	}
	known = false
	if e := scrape(t, m); strings.Contains(e.text, "webhook_subscription_") {
		t.Error("subscriptions are shown although the store does not answer")
	}
	all[2].RemovedAt = now
	if HoldsRetention(&all[2], c.RetentionWaits) || HoldsRetention(&all[0], 0) {
		t.Error("a removed subscription, or any without retention, holds it up")
	}
}

package metrics

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/hookgate/hookgate"
)

// attemptClasses are the label values of the answers to attempts. Any other is counted as "other".
var attemptClasses = []string{"2xx", "3xx", "4xx", "5xx", "error", "own"}

// deliveryOutcomes are the label values of what became of an event.
var deliveryOutcomes = []string{"delivered", "dead_lettered", "parked"}

// deliveryBuckets are the bounds in milliseconds of a histogram that includes retries.
var deliveryBuckets = append(slices.Clone(latencyBuckets), 600_000, 3_600_000, 86_400_000)

var (
	subscriptionLag = desc("webhook_subscription_lag_seconds",
		"Seconds since the first event was stored that the subscription has not passed; 0 if it has"+
			" passed all.", "subscription")
	subscriptionBacklog = desc("webhook_subscription_backlog",
		"Events that the subscription has not passed, before its filter; counted up to 100000.",
		"subscription")
	subscriptionWaiting = desc("webhook_subscription_waiting",
		"Events that failed and wait for their next attempt.", "subscription")
	subscriptionHeld = desc("webhook_subscription_held_keys",
		"Ordering keys whose events wait for an earlier event of the key.", "subscription")
	subscriptionParked = desc("webhook_subscription_parked",
		"Events that ran out of time to retry. Each stops its ordering key until a person acts.",
		"subscription")
	subscriptionDead = desc("webhook_subscription_dead",
		"Dead letters of the subscription that a person has neither retried nor skipped.",
		"subscription")
	subscriptionBroken = desc("webhook_subscription_breaker_open",
		"1 while the breaker of the subscription is open because its consumer is away, else 0.",
		"subscription")
	subscriptionPaused = desc("webhook_subscription_paused",
		"1 while the subscription is paused, by the gate (the consumer answered 410) or by a person,"+
			" else 0.", "subscription", "by")
	subscriptionHoldsUp = desc("webhook_subscription_holds_retention",
		"1 if retention would remove the next event of the subscription and waits for it, else 0.",
		"subscription")
)

var subscriptionDescs = []*prometheus.Desc{
	subscriptionLag, subscriptionBacklog, subscriptionWaiting, subscriptionHeld, subscriptionParked,
	subscriptionDead, subscriptionBroken, subscriptionPaused, subscriptionHoldsUp,
}

// deliveryMetrics count what this process delivers.
type deliveryMetrics struct {
	settled, attempts *prometheus.CounterVec
	latency, took     *prometheus.HistogramVec
	// subscriptions has a *subscriptionMetrics for each subscription.
	subscriptions *sync.Map
}

// subscriptionMetrics are the metrics of one subscription, looked up once.
type subscriptionMetrics struct {
	settled, attempts map[string]prometheus.Counter
	latency, took     prometheus.Observer
}

func newDelivery(f promauto.Factory) deliveryMetrics {
	return deliveryMetrics{
		settled: counters(f, "webhook_deliveries_total",
			"Deliveries that this process has ended, by outcome: delivered, dead_lettered or parked.",
			"subscription", "outcome"),
		attempts: counters(f, "webhook_delivery_attempts_total",
			"Attempts of this process to deliver an event, by class of the answer: a class of HTTP"+
				" statuses, error for none, or own for a failure that is not the consumer's.",
			"subscription", "class"),
		latency: f.NewHistogramVec(histogram("webhook_delivery_latency_ms",
			"Milliseconds from the receipt of an event to the end of its delivery, retries included.",
			deliveryBuckets), []string{"subscription"}),
		took: f.NewHistogramVec(histogram("webhook_attempt_duration_ms",
			"Duration of an attempt to deliver an event, in milliseconds.", latencyBuckets),
			[]string{"subscription"}),
		subscriptions: new(sync.Map),
	}
}

// Subscription starts the counters of a configured subscription at 0, so that alerts see the first
// increase. Like Attempted and Settled it must not be called with names from outside, because each
// name becomes a label value.
func (m *Metrics) Subscription(name string) { m.delivery.of(name) }

func (d *deliveryMetrics) of(name string) *subscriptionMetrics {
	if s, ok := d.subscriptions.Load(name); ok {
		return s.(*subscriptionMetrics)
	}
	s := &subscriptionMetrics{
		settled: map[string]prometheus.Counter{}, attempts: map[string]prometheus.Counter{},
		latency: d.latency.WithLabelValues(name), took: d.took.WithLabelValues(name),
	}
	for _, outcome := range deliveryOutcomes {
		s.settled[outcome] = d.settled.WithLabelValues(name, outcome)
	}
	for _, class := range attemptClasses {
		s.attempts[class] = d.attempts.WithLabelValues(name, class)
	}
	first, _ := d.subscriptions.LoadOrStore(name, s)
	return first.(*subscriptionMetrics)
}

// Attempted counts an attempt to deliver an event, with the class of its answer and its duration.
func (m *Metrics) Attempted(subscription, class string, took time.Duration) {
	s := m.delivery.of(subscription)
	if c, ok := s.attempts[class]; ok {
		c.Inc()
	} else {
		m.delivery.attempts.WithLabelValues(subscription, other).Inc()
	}
	s.took.Observe(millis(took))
}

// Settled counts an event whose delivery has ended, with the time since its receipt.
func (m *Metrics) Settled(subscription, outcome string, sinceReceived time.Duration) {
	s := m.delivery.of(subscription)
	if c, ok := s.settled[outcome]; ok {
		c.Inc()
	} else {
		m.delivery.settled.WithLabelValues(subscription, other).Inc()
	}
	s.latency.Observe(millis(sinceReceived))
}

// HoldsRetention reports whether retention would remove the next event of a subscription, because
// it is older than keep, and waits for the subscription. A keep of 0 means that retention waits for
// no subscription, or removes nothing.
func HoldsRetention(s *hookgate.SubscriptionInfo, keep time.Duration) bool {
	return keep > 0 && s.RemovedAt.IsZero() && !s.OldestStoredAt.IsZero() &&
		time.Since(s.OldestStoredAt) > keep
}

// collectSubscriptions sends the gauges of the subscriptions that are configured somewhere. They
// are the same in every process.
func (g *gauges) collectSubscriptions(ctx context.Context, to sender) {
	all, known := g.config.Subscriptions(ctx)
	if !known {
		return
	}
	for i := range all {
		s := &all[i]
		if !s.RemovedAt.IsZero() {
			continue
		}
		lag := 0.0
		if !s.OldestStoredAt.IsZero() {
			lag = max(0, time.Since(s.OldestStoredAt).Seconds())
		}
		to.gauge(subscriptionLag, lag, s.Name)
		to.gauge(subscriptionBacklog, float64(s.Backlog), s.Name)
		to.gauge(subscriptionWaiting, float64(s.Waiting), s.Name)
		to.gauge(subscriptionHeld, float64(s.Held), s.Name)
		to.gauge(subscriptionParked, float64(s.Parked), s.Name)
		to.gauge(subscriptionDead, float64(s.Dead), s.Name)
		to.gauge(subscriptionBroken, one(!s.BrokenSince.IsZero()), s.Name)
		paused := !s.PausedAt.IsZero()
		to.gauge(subscriptionPaused, one(paused && s.PausedBy == ""), s.Name, "gate")
		to.gauge(subscriptionPaused, one(paused && s.PausedBy != ""), s.Name, "person")
		to.gauge(subscriptionHoldsUp, one(HoldsRetention(s, g.config.RetentionWaits)), s.Name)
	}
}

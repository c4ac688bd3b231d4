package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/hookgate/hookgate/release/canary"
)

// The sides of a canary.
const (
	SideGate     = "gate"
	SideUpstream = "upstream"
)

// classes are the label values of statuses, by their first digit.
var classes = [...]string{other, "1xx", "2xx", "3xx", "4xx", "5xx"}

// statusBroken is the class of an upstream's answer that broke off.
const statusBroken = "broken"

// ForwardedByKey is the reason for forwarding a webhook whose ordering key the gate does not take.
// Every other reason is the one for which the gate would have rejected the webhook.
const ForwardedByKey = "key"

// canaryMetrics are the metrics of a canary.
type canaryMetrics struct {
	requests, forwarded, failures *prometheus.CounterVec
	latency                       prometheus.Histogram
}

func newCanary(f promauto.Factory) canaryMetrics {
	s := canaryMetrics{
		requests: counters(f, "hookgate_canary_requests_total",
			"Webhooks under a canary, by side and class of the answer.",
			"side", "status"),
		forwarded: counters(f, "hookgate_canary_forwarded_total",
			"Webhooks forwarded to the upstream: because of their ordering key, or for the reason for"+
				" which the gate would reject them.", "reason"),
		failures: counters(f, "hookgate_canary_upstream_failures_total",
			"Forwarded webhooks without a complete answer of the upstream, by reason.", "reason"),
		latency: f.NewHistogram(histogram("hookgate_canary_upstream_latency_ms",
			"Milliseconds from forwarding a webhook to the end of the upstream's answer.",
			latencyBuckets)),
	}
	s.forwarded.WithLabelValues(ForwardedByKey)
	for _, class := range classes[2:] { // at 0 from the start, so that the first is an increase
		for _, side := range []string{SideGate, SideUpstream} {
			s.requests.WithLabelValues(side, class)
		}
	}
	for _, failure := range canary.Failures {
		s.failures.WithLabelValues(string(failure))
	}
	return s
}

// CanaryAnswered counts a webhook that one side answered under a canary.
func (m *Metrics) CanaryAnswered(side string, status int) {
	class := other
	if status > 0 && status/100 < len(classes) {
		class = classes[status/100]
	}
	m.canary.requests.WithLabelValues(side, class).Inc()
}

// CanaryForwarded counts a forwarded webhook with the reason, its outcome, and how long it took.
func (m *Metrics) CanaryForwarded(reason string, o canary.Outcome, took time.Duration) {
	m.canary.forwarded.WithLabelValues(reason).Inc()
	if o.Partial {
		m.canary.requests.WithLabelValues(SideUpstream, statusBroken).Inc()
	} else {
		m.CanaryAnswered(SideUpstream, o.Status)
	}
	if o.Failure != "" {
		m.canary.failures.WithLabelValues(string(o.Failure)).Inc()
		return
	}
	m.canary.latency.Observe(millis(took))
}

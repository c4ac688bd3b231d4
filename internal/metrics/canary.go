package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

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

// PassedShare is the reason for forwarding a webhook whose ordering key the gate does not take.
// Every other reason is the one for which the gate would have rejected the webhook.
const PassedShare = "share"

// shared are the metrics of a canary.
type shared struct {
	requests, passed, failures *prometheus.CounterVec
	latency                    prometheus.Histogram
}

func newShared(r *prometheus.Registry) shared {
	s := shared{
		requests: counters("hookgate_canary_requests_total",
			"Webhooks under a canary, by side and class of the answer.",
			"side", "status"),
		passed: counters("hookgate_canary_passed_total",
			"Webhooks forwarded to the upstream: because of their ordering key, or for the reason for"+
				" which the gate would reject them.", "reason"),
		failures: counters("hookgate_canary_upstream_failures_total",
			"Forwarded webhooks without a complete answer of the upstream, by reason.", "reason"),
		latency: prometheus.NewHistogram(histogram("hookgate_canary_upstream_latency_ms",
			"Milliseconds from forwarding a webhook to the end of the upstream's answer.",
			latencyBuckets)),
	}
	r.MustRegister(s.requests, s.passed, s.failures, s.latency)
	s.passed.WithLabelValues(PassedShare)
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

// Shared counts a webhook that one side answered under a canary.
func (m *Metrics) Shared(side string, status int) {
	class := other
	if status > 0 && status/100 < len(classes) {
		class = classes[status/100]
	}
	m.shared.requests.WithLabelValues(side, class).Inc()
}

// Passed counts a forwarded webhook with the reason, its outcome, and how long it took.
func (m *Metrics) Passed(reason string, o canary.Outcome, took time.Duration) {
	m.shared.passed.WithLabelValues(reason).Inc()
	if o.Partial {
		m.shared.requests.WithLabelValues(SideUpstream, statusBroken).Inc()
	} else {
		m.Shared(SideUpstream, o.Status)
	}
	if o.Failure != "" {
		m.shared.failures.WithLabelValues(string(o.Failure)).Inc()
		return
	}
	m.shared.latency.Observe(millis(took))
}

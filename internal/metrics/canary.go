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

// classes of statuses, by their first digit.
var classes = [...]string{other, "1xx", "2xx", "3xx", "4xx", "5xx"}

// statusBroken is the class of an answer of the upstream that broke off.
const statusBroken = "broken"

// PassedShare is the reason of a webhook that was passed on because its ordering key is not in the
// gate's share. The other reasons are those of refusals: what the gate would have refused.
const PassedShare = "share"

// shared is what there is of a canary.
type shared struct {
	requests, passed, failures *prometheus.CounterVec
	latency                    prometheus.Histogram
}

func newShared(r *prometheus.Registry) shared {
	s := shared{
		requests: counters("hookgate_canary_requests_total",
			"Webhooks under a canary, by the side that they were given to and the class of the answer.",
			"side", "status"),
		passed: counters("hookgate_canary_passed_total",
			"Webhooks that were passed on to the upstream: because of their share, or because the gate would refuse them.", "reason"),
		failures: counters("hookgate_canary_upstream_failures_total",
			"Webhooks that were passed on and got no whole answer of the upstream.", "reason"),
		latency: prometheus.NewHistogram(histogram("hookgate_canary_upstream_latency_ms",
			"Time from passing a webhook on to the end of the upstream's answer, in milliseconds.",
			latencyBuckets)),
	}
	r.MustRegister(s.requests, s.passed, s.failures, s.latency)
	s.passed.WithLabelValues(PassedShare)
	for _, class := range classes[2:] { // shown from the start, so that the first is an increase
		for _, side := range []string{SideGate, SideUpstream} {
			s.requests.WithLabelValues(side, class)
		}
	}
	for _, failure := range canary.Failures {
		s.failures.WithLabelValues(string(failure))
	}
	return s
}

// Shared counts a webhook of a side under a canary.
func (m *Metrics) Shared(side string, status int) {
	class := other
	if status > 0 && status/100 < len(classes) {
		class = classes[status/100]
	}
	m.shared.requests.WithLabelValues(side, class).Inc()
}

// Passed counts a webhook that was passed on: why, what became of it, and how long that took.
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

package metrics

import (
	"cmp"
	"errors"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/history"
)

type requestLabels struct {
	method string
	status int
}

// Request counts an answered request of any kind, with its duration.
func (m *Metrics) Request(method string, status int, took time.Duration) {
	switch method {
	case http.MethodGet, http.MethodPost, http.MethodHead, http.MethodPut, http.MethodDelete,
		http.MethodOptions, http.MethodPatch:
	default:
		method = other
	}
	labels := requestLabels{method, status}
	observer, ok := m.requests.Load(labels)
	if !ok {
		observer, _ = m.requests.LoadOrStore(labels, m.httpLatency.WithLabelValues(method,
			strconv.Itoa(status)))
	}
	observer.(prometheus.Observer).Observe(millis(took))
}

// Accepted counts a webhook that got 202.
func (m *Metrics) Accepted(eventType string, duplicate bool) {
	if t := m.of(eventType); duplicate {
		t.duplicate.Inc()
	} else {
		t.accepted.Inc()
	}
}

// Answers counts the answers of one source.
type Answers struct {
	accepted prometheus.Counter
	all      *prometheus.CounterVec
	source   string
	// received is the Unix time in seconds of the last answer of 2xx, or of the call of Source.
	received atomic.Int64
	// duplicates and latency are for the history.
	duplicates atomic.Int64
	latency    history.Counter
}

// Source returns the counter of a configured source. Do not call it with names from outside,
// because each name becomes a label value.
func (m *Metrics) Source(name string) *Answers {
	// Start every status at 0, so that the first rejection is an increase that alerts see. A sender
	// that calls seldom may have no second one.
	for status := range reasons {
		if status != http.StatusNotFound { // an unknown path has no source
			m.ingested.WithLabelValues(name, strconv.Itoa(status))
		}
	}
	a := &Answers{accepted: m.ingested.WithLabelValues(name, strconv.Itoa(http.StatusAccepted)),
		all: m.ingested, source: name}
	a.received.Store(time.Now().Unix())
	m.received.Store(name, a)
	return a
}

// lastReceived collects when each source last got an answer of 2xx. It maps names of sources to
// *Answers.
type lastReceived struct{ *sync.Map }

// Describe implements prometheus.Collector.
func (l lastReceived) Describe(to chan<- *prometheus.Desc) { to <- sourceReceived }

// Collect implements prometheus.Collector.
func (l lastReceived) Collect(to chan<- prometheus.Metric) {
	l.Range(func(name, a any) bool {
		sender(to).gauge(sourceReceived, float64(a.(*Answers).received.Load()), name.(string))
		return true
	})
}

// Count counts an answer.
func (a *Answers) Count(status int) {
	if status/100 == 2 {
		a.received.Store(time.Now().Unix())
	}
	if status == http.StatusAccepted {
		a.accepted.Inc()
		return
	}
	a.all.WithLabelValues(a.source, strconv.Itoa(status)).Inc()
}

// Accepted counts the answer to an accepted webhook, with the time since its receipt.
func (a *Answers) Accepted(status int, duplicate bool, took time.Duration) {
	a.Count(status)
	if duplicate {
		a.duplicates.Add(1)
	}
	a.latency.Observe(took)
}

// The reasons of rejections that the status does not show.
const (
	ReasonReadOnly   = "read_only"
	ReasonBreaker    = "breaker"
	ReasonInFlight   = "in_flight"
	ReasonBodyMemory = "body_memory"
	// ReasonHeaderMemory is for any request, also other than webhooks, whose header finds no memory.
	ReasonHeaderMemory = "header_memory"
	ReasonQueueFull    = "queue_full"
)

// reasons are the label values of the other rejections, by status.
var reasons = map[int]string{
	http.StatusBadRequest:            "malformed",
	http.StatusUnauthorized:          "unauthenticated",
	http.StatusForbidden:             "address",
	http.StatusNotFound:              "no_source",
	http.StatusMethodNotAllowed:      "method",
	http.StatusRequestTimeout:        "slow_body",
	http.StatusRequestEntityTooLarge: "too_large",
	http.StatusUnsupportedMediaType:  "media_type",
	http.StatusTooManyRequests:       "rate",
	http.StatusServiceUnavailable:    "not_durable",
}

// startReasons starts every reason at 0, so that the first rejection is an increase that alerts
// see.
func (m *Metrics) startReasons() {
	for _, reason := range []string{ReasonReadOnly, ReasonBreaker, ReasonInFlight, ReasonBodyMemory,
		ReasonHeaderMemory, ReasonQueueFull, other} {
		m.refused.WithLabelValues(reason)
	}
	for _, reason := range reasons {
		m.refused.WithLabelValues(reason)
	}
}

// Refused counts a rejected webhook. reason is one of the Reason constants, or "" if the status
// shows the reason.
func (m *Metrics) Refused(reason string, status int) {
	m.refused.WithLabelValues(m.Reason(reason, status)).Inc()
}

// Reason returns the label value of a rejection.
func (m *Metrics) Reason(reason string, status int) string {
	return cmp.Or(reason, reasons[status], other)
}

// Appended counts an Append of the queue with its duration and its error.
func (m *Metrics) Appended(took time.Duration, err error) {
	outcome := 0
	switch {
	case errors.Is(err, hookgate.ErrFull):
		outcome = 1
	case err != nil:
		outcome = 2
	}
	m.appended[outcome].Observe(millis(took))
}

// Package metrics is what Prometheus sees of the gate.
//
// Label values that come from outside are bounded: the first event types seen have a value of their own, the
// rest are counted as "other".
package metrics

import (
	"context"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/hookgate/hookgate"
)

// MaxEventTypes is the number of event types that get a label value of their own.
const MaxEventTypes = 100

// other is the label value of everything beyond a bound.
const other = "other"

// The values of the label status of webhook_events_total and webhook_queue_latency_ms.
const (
	statusAccepted     = "accepted"      // acknowledged, first of its identity
	statusDuplicate    = "duplicate"     // acknowledged, known before; in the latency: found to be so when stored
	statusPersisted    = "persisted"     // stored
	statusDeadLettered = "dead_lettered" // stored as a dead letter
)

// latencyBuckets are in milliseconds.
var latencyBuckets = []float64{0.1, 0.25, 0.5, 1, 2, 3, 5, 7.5, 10, 15, 25, 50, 75, 100, 120, 150, 250, 500, 1000, 2500, 5000, 10000, 60000}

// Config says where the metrics get what they are not told.
type Config struct {
	// Queue and Store are asked at each scrape.
	Queue func(context.Context) (hookgate.QueueStats, error)
	Store func(context.Context) (hookgate.StoreCounts, error)
	// Version is shown as a label of hookgate_build_info.
	Version string
}

// Metrics counts what the gate does. All methods may be called concurrently.
type Metrics struct {
	registry     *prometheus.Registry
	httpLatency  *prometheus.HistogramVec
	queueLatency *prometheus.HistogramVec
	events       *prometheus.CounterVec
	batchSize    prometheus.Histogram
	batchLatency prometheus.Histogram
	applyFailed  prometheus.Counter
	workers      prometheus.Gauge
	pruning      pruning

	// types holds a *typeMetrics for each event type that has a label value.
	types    sync.Map
	typesLen atomic.Int64
	others   *typeMetrics
	// requests holds a prometheus.Observer for each requestLabels seen.
	requests sync.Map
}

// typeMetrics are those of one event type, looked up once.
type typeMetrics struct {
	accepted, duplicate, persisted, deadLettered            prometheus.Counter
	latencyPersisted, latencyDuplicate, latencyDeadLettered prometheus.Observer
}

// New returns metrics with a registry of their own.
func New(c Config) *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		httpLatency: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "webhook_http_latency_ms", Help: "Time from a request's header to its answer, in milliseconds.", Buckets: latencyBuckets,
		}, []string{"method", "status"}),
		queueLatency: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "webhook_queue_latency_ms", Help: "Time from receipt to the store's commit, in milliseconds.", Buckets: latencyBuckets,
		}, []string{"eventType", "status"}),
		events: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "webhook_events_total", Help: "Requests by what became of them: accepted or duplicate when acknowledged, persisted or dead_lettered when stored.",
		}, []string{"eventType", "status"}),
		batchSize: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "webhook_batch_records", Help: "Records in a transaction of the store.", Buckets: []float64{1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500},
		}),
		batchLatency: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "webhook_batch_latency_ms", Help: "Time that a transaction of the store took, in milliseconds.", Buckets: latencyBuckets,
		}),
		applyFailed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "webhook_batch_failures_total", Help: "Attempts to store a batch that failed.",
		}),
		workers: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "webhook_workers", Help: "Workers that take records from the queue to the store now.",
		}),
	}
	m.pruning = newPruning(m.registry)
	buildInfo := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "hookgate_build_info", Help: "Always 1.", ConstLabels: prometheus.Labels{"version": c.Version},
	})
	buildInfo.Set(1)
	m.registry.MustRegister(m.httpLatency, m.queueLatency, m.events, m.batchSize, m.batchLatency, m.applyFailed, m.workers, buildInfo,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), &gauges{config: c})
	m.others = m.resolve(other)
	return m
}

func (m *Metrics) resolve(eventType string) *typeMetrics {
	return &typeMetrics{
		accepted:            m.events.WithLabelValues(eventType, statusAccepted),
		duplicate:           m.events.WithLabelValues(eventType, statusDuplicate),
		persisted:           m.events.WithLabelValues(eventType, statusPersisted),
		deadLettered:        m.events.WithLabelValues(eventType, statusDeadLettered),
		latencyPersisted:    m.queueLatency.WithLabelValues(eventType, statusPersisted),
		latencyDuplicate:    m.queueLatency.WithLabelValues(eventType, statusDuplicate),
		latencyDeadLettered: m.queueLatency.WithLabelValues(eventType, statusDeadLettered),
	}
}

// of returns the metrics of an event type, or those of the rest if there are too many types.
func (m *Metrics) of(eventType string) *typeMetrics {
	if t, ok := m.types.Load(eventType); ok {
		return t.(*typeMetrics)
	}
	if m.typesLen.Load() >= MaxEventTypes || m.typesLen.Add(1) > MaxEventTypes {
		return m.others
	}
	t, loaded := m.types.LoadOrStore(eventType, m.resolve(eventType))
	if loaded {
		m.typesLen.Add(-1)
	}
	return t.(*typeMetrics)
}

type requestLabels struct {
	method string
	status int
}

// Request counts an answered request of any kind.
func (m *Metrics) Request(method string, status int, took time.Duration) {
	switch method {
	case http.MethodGet, http.MethodPost, http.MethodHead, http.MethodPut, http.MethodDelete, http.MethodOptions, http.MethodPatch:
	default:
		method = other
	}
	labels := requestLabels{method, status}
	observer, ok := m.requests.Load(labels)
	if !ok {
		observer, _ = m.requests.LoadOrStore(labels, m.httpLatency.WithLabelValues(method, strconv.Itoa(status)))
	}
	observer.(prometheus.Observer).Observe(millis(took))
}

// Accepted counts a delivery that was answered 202.
func (m *Metrics) Accepted(eventType string, duplicate bool) {
	if t := m.of(eventType); duplicate {
		t.duplicate.Inc()
	} else {
		t.accepted.Inc()
	}
}

// Persisted counts an event that was stored, sinceReceived after it was received.
func (m *Metrics) Persisted(eventType string, sinceReceived time.Duration) {
	t := m.of(eventType)
	t.persisted.Inc()
	t.latencyPersisted.Observe(millis(sinceReceived))
}

// Duplicate notes when the lineage of a duplicate was stored. It was counted when it was acknowledged.
func (m *Metrics) Duplicate(eventType string, sinceReceived time.Duration) {
	m.of(eventType).latencyDuplicate.Observe(millis(sinceReceived))
}

// DeadLettered counts a dead letter that was stored.
func (m *Metrics) DeadLettered(eventType string, sinceReceived time.Duration) {
	t := m.of(eventType)
	t.deadLettered.Inc()
	t.latencyDeadLettered.Observe(millis(sinceReceived))
}

// Batch counts a transaction of the store.
func (m *Metrics) Batch(records int, took time.Duration) {
	m.batchSize.Observe(float64(records))
	m.batchLatency.Observe(millis(took))
}

// ApplyFailed counts an attempt to store a batch that failed.
func (m *Metrics) ApplyFailed() { m.applyFailed.Inc() }

// Handler serves the metrics in the formats of Prometheus.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError})
}

// Workers tells how many workers there are now.
func (m *Metrics) Workers(active int) { m.workers.Set(float64(active)) }

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

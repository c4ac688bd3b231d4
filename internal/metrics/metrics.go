// Package metrics is what Prometheus sees of the gate.
//
// Label values that come from outside are bounded: the first event types seen have a value of their
// own, the rest are counted as "other".
package metrics

import (
	"context"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/control"
	"github.com/hookgate/hookgate/guard"
	"github.com/hookgate/hookgate/release"
)

// MaxEventTypes is the number of event types that get a label value of their own.
const MaxEventTypes = 100

// MaxSources is the number of sources for which gaps and inversions are counted apart. A worker
// stores what other processes took, of sources that it need not have in its own configuration.
const MaxSources = 100

// other is the label value of everything beyond a bound.
const other = "other"

// The values of the label status of webhook_events_total and webhook_queue_latency_ms.
const (
	statusAccepted = "accepted" // acknowledged, first of its identity
	// acknowledged, known before; in the latency: found to be so when stored
	statusDuplicate    = "duplicate"
	statusPersisted    = "persisted"     // stored
	statusDeadLettered = "dead_lettered" // stored as a dead letter
)

// latencyBuckets are in milliseconds.
var latencyBuckets = []float64{0.1, 0.25, 0.5, 1, 2, 3, 5, 7.5, 10, 15, 25, 50, 75, 100, 120, 150,
	250, 500, 1000, 2500, 5000, 10000, 60000}

// Config says where the metrics get what they are not told.
type Config struct {
	// Queue and Store are asked at each scrape.
	Queue func(context.Context) (hookgate.QueueStats, error)
	Store func(context.Context) (hookgate.StoreCounts, error)
	// Guard, Release, Holdings and Pool are asked too; what is nil is left out.
	Guard    func() guard.Status
	Release  func() release.Status
	Holdings func() Holdings
	Pool     func() Pool
	// CanaryPercent is asked too; nil: there is no canary, and the gate takes all.
	CanaryPercent func() int
	// Kind is the kind of queue, direct or redis.
	Kind string
	// ClockBehind is asked too: by how much this machine's clock is behind the last id of the store;
	// nil: it is left out.
	ClockBehind func(context.Context) (behind time.Duration, known bool)
	// Mode is asked too; nil: it is left out.
	Mode func() control.Mode
	// OpenDeadLetters counts dead letters that are open. It and DataDir are asked too; what is nil, or
	// not known, is left out.
	OpenDeadLetters func(context.Context) (n int64, known bool)
	// DataDir returns the free space and the size, in bytes, of the file system that holds the data
	// directory.
	DataDir func() (free, size int64, err error)
	// CertificateExpiry returns when the TLS certificate expires; nil without one.
	CertificateExpiry func() (time.Time, error)
	// Version is shown as a label of hookgate_build_info.
	Version string
}

// Holdings is what this process holds of the queue.
type Holdings struct {
	// Owners has for each partition the number of the worker that has it, from 1; 0 if none of this
	// process does.
	Owners []int
	// LeasesLost is how many partitions went to others before their time, since the start.
	LeasesLost int64
}

// Partitions is how many its workers have.
func (h Holdings) Partitions() (n int) {
	for _, owner := range h.Owners {
		if owner > 0 {
			n++
		}
	}
	return n
}

// Pool is the state of the store's connections.
type Pool struct {
	Acquired, Idle, Total, Max int
	// Waits is how often a caller found none free, and Waited how long they waited in all.
	Waits  int64
	Waited time.Duration
}

// Metrics counts what the gate does. All methods may be called concurrently.
type Metrics struct {
	registry     *prometheus.Registry // the gate's
	process      *prometheus.Registry // those of the Go process
	httpLatency  *prometheus.HistogramVec
	queueLatency *prometheus.HistogramVec
	events       *prometheus.CounterVec
	ingested     *prometheus.CounterVec
	refused      *prometheus.CounterVec
	received     lastReceived
	appended     [3]prometheus.Observer // by outcome
	batchSize    prometheus.Histogram
	batchLatency prometheus.Histogram
	applyFailed  prometheus.Counter
	fenced       prometheus.Counter
	deadLettered prometheus.Counter
	gaps         *prometheus.CounterVec
	inversions   *prometheus.CounterVec
	workers      prometheus.Gauge
	storing      prometheus.Gauge
	pruning      pruning
	shared       shared
	holdings     func() Holdings // nil if nobody knows

	// types holds a *typeMetrics for each event type that has a label value.
	types    sync.Map
	typesLen atomic.Int64
	others   *typeMetrics
	// requests holds a prometheus.Observer for each requestLabels seen.
	requests sync.Map
	// sources holds the labels given to sources that workers have seen.
	sources bounded
}

// New returns metrics that count and observe.
func New(c Config) *Metrics {
	m := NewCounters(c.Version)
	m.Observe(c)
	return m
}

// NewCounters returns metrics that count only. The parts of a gate that are counted need them before
// the parts exist that Observe asks.
func NewCounters(version string) *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		received: lastReceived{new(sync.Map)},
		httpLatency: prometheus.NewHistogramVec(histogram("webhook_http_latency_ms",
			"Time from a request's header to its answer, in milliseconds.", latencyBuckets),
			[]string{"method", "status"}),
		queueLatency: prometheus.NewHistogramVec(histogram("webhook_queue_latency_ms",
			"Time from receipt to the store's commit, in milliseconds.", latencyBuckets),
			[]string{"eventType", "status"}),
		events: counters("webhook_events_total",
			"Events by what became of the requests that carried them: accepted or duplicate when acknowledged, persisted or dead_lettered when stored.", "eventType", "status"),
		ingested: counters("webhook_ingest_total",
			"Requests to the paths of configured sources, by the status of the answer; without tests of the endpoint that are not signed.", "source", "status"),
		refused: counters("webhook_refusals_total", "Webhooks that were refused, by the reason.",
			"reason"),
		batchSize: prometheus.NewHistogram(histogram("webhook_batch_records",
			"Records in a transaction of the store.", []float64{1, 2, 5, 10, 25, 50, 100, 250, 500, 1000,
				2500})),
		batchLatency: prometheus.NewHistogram(histogram("webhook_batch_latency_ms",
			"Time that a transaction of the store took, in milliseconds.", latencyBuckets)),
		applyFailed: counter("webhook_batch_failures_total", "Attempts to store a batch that failed."),
		fenced: counter("webhook_fenced_total",
			"Batches that the store refused because another worker has taken their partition over."),
		deadLettered: counter("webhook_dead_letters_total", "Dead letters stored, of any event type."),
		gaps: counters("webhook_sequence_gaps_total",
			"Events whose sequence is more than one above the one stored before it under their ordering key.", "source"),
		inversions: counters("webhook_sequence_inversions_total",
			"Events whose sequence is below the highest stored before it under their ordering key.",
			"source"),
		workers: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "webhook_workers", Help: "Workers that take records from Redis to the store now; 0 without Redis.",
		}),
		storing: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "webhook_workers_storing",
			Help: "Transactions with webhooks that this process has under way in the store; 0 in mode buffer once it pauses.",
		}),
		sources: bounded{most: MaxSources},
	}
	appended := prometheus.NewHistogramVec(histogram("webhook_append_latency_ms",
		"Time that the queue took to make a webhook durable, or to fail, in milliseconds.",
		latencyBuckets), []string{"outcome"})
	for i, outcome := range [...]string{"appended", "full", "failed"} {
		m.appended[i] = appended.WithLabelValues(outcome)
	}
	m.pruning, m.shared = newPruning(m.registry), newShared(m.registry)
	buildInfo := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "hookgate_build_info", Help: "Always 1.",
		ConstLabels: prometheus.Labels{"version": version},
	})
	buildInfo.Set(1)
	m.registry.MustRegister(m.httpLatency, m.queueLatency, m.events, m.ingested, m.refused, appended,
		m.batchSize, m.batchLatency,
		m.applyFailed, m.fenced, m.deadLettered, m.received, m.gaps, m.inversions, m.workers, m.storing,
		buildInfo)
	m.process = prometheus.NewRegistry()
	m.process.MustRegister(collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.others = m.resolve(other)
	m.startReasons()
	return m
}

// Observe adds the gauges, which ask the parts in c at each scrape. It is called once, before the
// first scrape and the first Snapshot.
func (m *Metrics) Observe(c Config) {
	m.holdings = c.Holdings
	m.registry.MustRegister(&gauges{config: c})
}

// Collector returns the metrics of the gate, without those of the Go process, for a registry of the
// program that embeds the gate.
func (m *Metrics) Collector() prometheus.Collector { return m.registry }

// histogram has classic buckets and, for a Prometheus that asks for them, native ones: buckets 10%
// apart, at most 160.
func histogram(name, help string, buckets []float64) prometheus.HistogramOpts {
	return prometheus.HistogramOpts{
		Name: name, Help: help, Buckets: buckets,
		NativeHistogramBucketFactor:     1.1,
		NativeHistogramMaxBucketNumber:  160,
		NativeHistogramMinResetDuration: time.Hour,
	}
}

func counters(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
}

func counter(name, help string) prometheus.Counter {
	return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
}

// Handler serves the metrics in the formats of Prometheus.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(prometheus.Gatherers{m.registry, m.process},
		promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError})
}

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

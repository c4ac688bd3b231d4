// Package metrics has the Prometheus metrics of the gate. docs/reference/metrics.md describes them.
//
// Label values from outside are bounded: the first MaxEventTypes event types and MaxSources sources
// have a value of their own, and the rest are counted as "other".
package metrics

import (
	"context"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/control"
	"github.com/hookgate/hookgate/guard"
	"github.com/hookgate/hookgate/release"
)

// MaxEventTypes is the number of event types that get a label value of their own.
const MaxEventTypes = 100

// MaxSources is the number of sources that get a label value of their own in counts of gaps and
// inversions. They are bounded because a worker also stores webhooks of sources that are not in its
// own configuration.
const MaxSources = 100

// other is the label value of everything beyond a limit.
const other = "other"

// The values of the label status of webhook_events_total and webhook_queue_latency_ms.
const (
	statusAccepted = "accepted" // acknowledged, and the first of its identity
	// acknowledged, and not the first; in the latency: found to be a duplicate when stored
	statusDuplicate    = "duplicate"
	statusPersisted    = "persisted"     // stored
	statusDeadLettered = "dead_lettered" // stored as a dead letter
)

// latencyBuckets are the bounds of the latency histograms in milliseconds.
var latencyBuckets = []float64{0.1, 0.25, 0.5, 1, 2, 3, 5, 7.5, 10, 15, 25, 50, 75, 100, 120, 150,
	250, 500, 1000, 2500, 5000, 10000, 60000}

// Config has the functions that the gauges call at each scrape. The metrics of a nil function are
// absent, unless its comment says otherwise.
type Config struct {
	// Queue and Store must be set.
	Queue func(context.Context) (hookgate.QueueStats, error)
	Store func(context.Context) (hookgate.StoreCounts, error)
	// Guard and Release return the load protection and the release triggers. Holdings returns what
	// this process owns of the queue, and Pool the connections of the store.
	Guard    func() guard.Status
	Release  func() release.Status
	Holdings func() Holdings
	Pool     func() Pool
	// CanaryPercent returns the percentage of the ordering keys that the gate takes; nil: 100.
	CanaryPercent func() int
	// Kind is the kind of the queue, direct or redis.
	Kind string
	// ClockBehind returns how far this machine's clock is behind the last event id of the store.
	ClockBehind func(context.Context) (behind time.Duration, known bool)
	// Mode returns the mode of the gate.
	Mode func() control.Mode
	// OpenDeadLetters counts the open dead letters.
	OpenDeadLetters func(context.Context) (n int64, known bool)
	// Subscriptions returns all subscriptions of the store.
	Subscriptions func(context.Context) (all []hookgate.SubscriptionInfo, known bool)
	// RetentionWaits is the age at which retention removes events and waits for subscriptions that
	// have not passed them; 0 if it waits for none.
	RetentionWaits time.Duration
	// DataDir returns the free space and the size of the data directory's file system, in bytes.
	DataDir func() (free, size int64, err error)
	// CertificateExpiry returns when the TLS certificate expires; nil: the metric is 0.
	CertificateExpiry func() (time.Time, error)
	// Version is a label of hookgate_build_info.
	Version string
}

// Holdings is what the workers of this process own of the queue.
type Holdings struct {
	// Owners has for each partition the number of the worker that owns it, from 1; 0 if another
	// process or none does.
	Owners []int
	// LeasesLost counts the partitions that other processes took over before this one released them,
	// since the start.
	LeasesLost int64
}

// Partitions returns how many partitions the workers own.
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
	// Waits counts the callers that found no free connection, Waited is how long they waited in total.
	Waits  int64
	Waited time.Duration
}

// Metrics counts what the gate does. All methods may be called concurrently.
type Metrics struct {
	registry     *prometheus.Registry // the gate's
	process      *prometheus.Registry // the Go runtime and the process
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
	canary       canaryMetrics
	delivery     deliveryMetrics
	holdings     func() Holdings // Config.Holdings

	// types has a *typeMetrics for each event type with a label value.
	types    sync.Map
	typesLen atomic.Int64
	others   *typeMetrics
	// requests has a prometheus.Observer for each requestLabels.
	requests sync.Map
	// sources are the label values for gaps and inversions.
	sources bounded
}

// New returns metrics with counters and gauges.
func New(c Config) *Metrics {
	m := NewCounters(c.Version)
	m.Observe(c)
	return m
}

// NewCounters returns metrics without gauges. Parts of the gate need the counters before the parts
// exist that the gauges ask; Observe adds the gauges then.
func NewCounters(version string) *Metrics {
	registry := prometheus.NewRegistry()
	f := promauto.With(registry) // it registers each metric that it makes
	m := &Metrics{
		registry: registry,
		received: lastReceived{new(sync.Map)},
		httpLatency: f.NewHistogramVec(histogram("webhook_http_latency_ms",
			"Milliseconds from the header of a request to the end of its answer.", latencyBuckets),
			[]string{"method", "status"}),
		queueLatency: f.NewHistogramVec(histogram("webhook_queue_latency_ms",
			"Milliseconds from the receipt of a webhook to the store's commit.", latencyBuckets),
			[]string{"eventType", "status"}),
		events: counters(f, "webhook_events_total",
			"Events: accepted and duplicate are counted at the 202, persisted and dead_lettered when"+
				" stored.", "eventType", "status"),
		ingested: counters(f, "webhook_ingest_total",
			"Requests to the paths of configured sources, by status of the answer; without unsigned tests"+
				" of the endpoint.", "source", "status"),
		refused: counters(f, "webhook_refusals_total", "Rejected webhooks, by reason.",
			"reason"),
		batchSize: f.NewHistogram(histogram("webhook_batch_records",
			"Records in one transaction of the store.", []float64{1, 2, 5, 10, 25, 50, 100, 250, 500, 1000,
				2500})),
		batchLatency: f.NewHistogram(histogram("webhook_batch_latency_ms",
			"Duration of a transaction of the store, in milliseconds.", latencyBuckets)),
		applyFailed: counter(f, "webhook_batch_failures_total", "Failed attempts to store a batch."),
		fenced: counter(f, "webhook_fenced_total",
			"Batches that the store rejected because another worker owns their partition."),
		deadLettered: counter(f, "webhook_dead_letters_total",
			"Dead letters stored, of all event types."),
		gaps: counters(f, "webhook_sequence_gaps_total",
			"Events whose sequence is more than one above the previous one of their ordering key.",
			"source"),
		inversions: counters(f, "webhook_sequence_inversions_total",
			"Events whose sequence is below the highest one stored for their ordering key.",
			"source"),
		workers: f.NewGauge(prometheus.GaugeOpts{
			Name: "webhook_workers", Help: "Workers of this process that store records from Redis; 0" +
				" without Redis.",
		}),
		storing: f.NewGauge(prometheus.GaugeOpts{
			Name: "webhook_workers_storing",
			Help: "Transactions with webhooks that this process has open in the store.",
		}),
		sources: bounded{most: MaxSources},
	}
	appended := f.NewHistogramVec(histogram("webhook_append_latency_ms",
		"Milliseconds that the queue took to store a webhook durably, or to fail.",
		latencyBuckets), []string{"outcome"})
	for i, outcome := range [...]string{"appended", "full", "failed"} {
		m.appended[i] = appended.WithLabelValues(outcome)
	}
	m.pruning, m.canary, m.delivery = newPruning(f), newCanary(f), newDelivery(f)
	buildInfo := f.NewGauge(prometheus.GaugeOpts{
		Name: "hookgate_build_info", Help: "Always 1. The label version is the version of the gate.",
		ConstLabels: prometheus.Labels{"version": version},
	})
	buildInfo.Set(1)
	m.registry.MustRegister(m.received)
	m.process = prometheus.NewRegistry()
	m.process.MustRegister(collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.others = m.resolve(other)
	m.startReasons()
	return m
}

// Observe adds the gauges, which call the functions in c at each scrape. Call it once, before the
// first scrape and the first Snapshot.
func (m *Metrics) Observe(c Config) {
	m.holdings = c.Holdings
	m.registry.MustRegister(&gauges{config: c})
}

// Collector returns the metrics of the gate for another registry. It leaves out the metrics of the
// Go runtime and the process, which that registry may have.
func (m *Metrics) Collector() prometheus.Collector { return m.registry }

// histogram returns the options of a histogram with classic buckets and, for a Prometheus that asks
// for them, at most 160 native buckets 10% apart.
func histogram(name, help string, buckets []float64) prometheus.HistogramOpts {
	return prometheus.HistogramOpts{
		Name: name, Help: help, Buckets: buckets,
		NativeHistogramBucketFactor:     1.1,
		NativeHistogramMaxBucketNumber:  160,
		NativeHistogramMinResetDuration: time.Hour,
	}
}

func counters(f promauto.Factory, name, help string, labels ...string) *prometheus.CounterVec {
	return f.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
}

func counter(f promauto.Factory, name, help string) prometheus.Counter {
	return f.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
}

// Handler serves the metrics in the formats of Prometheus.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(prometheus.Gatherers{m.registry, m.process},
		promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError})
}

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

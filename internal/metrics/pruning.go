package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/hookgate/hookgate"
)

// pruning are the metrics of retention.
type pruning struct {
	removed     *prometheus.CounterVec
	latency     prometheus.Histogram
	failed      prometheus.Counter
	lastRun     prometheus.Gauge
	oldestEvent prometheus.Gauge
}

func newPruning(f promauto.Factory) pruning {
	p := pruning{
		removed: f.NewCounterVec(prometheus.CounterOpts{
			Name: "webhook_retention_removed_total",
			Help: "Removed by retention, by kind: bodies of events, links of the audit chain, and requests.",
		}, []string{"kind"}),
		latency: f.NewHistogram(prometheus.HistogramOpts{
			Name: "webhook_retention_latency_ms",
			Help: "Duration of a step of retention, in milliseconds.", Buckets: latencyBuckets,
		}),
		failed: f.NewCounter(prometheus.CounterOpts{
			Name: "webhook_retention_failures_total", Help: "Failed steps of retention.",
		}),
		lastRun: f.NewGauge(prometheus.GaugeOpts{
			Name: "webhook_retention_last_run_timestamp_seconds",
			Help: "Unix time in seconds when retention last had nothing more to remove; 0 if never since" +
				" the start.",
		}),
		oldestEvent: f.NewGauge(prometheus.GaugeOpts{
			Name: "webhook_retention_oldest_event_timestamp_seconds",
			Help: "Unix time in seconds when the oldest event that still has its body was stored; 0 if" +
				" unknown.",
		}),
	}
	for _, kind := range []string{"events", "links", "requests"} {
		p.removed.WithLabelValues(kind)
	}
	return p
}

// Pruned counts a step of retention.
func (m *Metrics) Pruned(p hookgate.Pruned, took time.Duration) {
	if p.Busy {
		return // another process counts it
	}
	m.pruning.removed.WithLabelValues("events").Add(float64(p.Events))
	m.pruning.removed.WithLabelValues("links").Add(float64(p.Links + p.Entries))
	m.pruning.removed.WithLabelValues("requests").Add(float64(p.Requests))
	m.pruning.latency.Observe(millis(took))
	if !p.More {
		m.pruning.lastRun.SetToCurrentTime()
	}
	if !p.OldestEvent.IsZero() {
		m.pruning.oldestEvent.Set(float64(p.OldestEvent.UnixMicro()) / 1e6)
	}
}

// PruneFailed counts a step of retention that failed.
func (m *Metrics) PruneFailed() { m.pruning.failed.Inc() }

package metrics

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/hookgate/hookgate/control"
	"github.com/hookgate/hookgate/guard"
	"github.com/hookgate/hookgate/release"
)

// scrapeTimeout bounds what one scrape asks of queue and store.
const scrapeTimeout = 2 * time.Second

var (
	queueInfo = desc("webhook_queue_info",
		"Always 1; kind is direct if the store takes the webhooks, or redis.", "kind")
	clockBehind = desc("webhook_clock_behind_seconds",
		"How far the clock of this machine is behind the last id of the store; 0 if it is not.")
	queueUp    = desc("webhook_queue_up", "1 if the queue takes deliveries.")
	queueDepth = desc("webhook_queue_depth",
		"Webhooks that are acknowledged and not stored yet: those in Redis and those in the local spool.")
	queueLimit  = desc("webhook_queue_high_water", "Depth at which deliveries are refused with 503.")
	queueOldest = desc("webhook_queue_oldest_seconds",
		"Age of the oldest record in the queue; 0 if there is none.")
	queueSpool = desc("webhook_queue_spooled",
		"Webhooks that wait in the local spool for the store or Redis to come back; their 202 is worth this machine's disk.")
	queueDegraded = desc("webhook_queue_degraded",
		"1 while webhooks go to a local file: the store or Redis is away, or those of an earlier configuration are moved.")
	storeUp   = desc("webhook_store_up", "1 if the store answers.")
	storeRows = desc("webhook_store_rows", "What the store holds.", "kind")

	sourceReceived = desc("webhook_source_last_received_timestamp_seconds",
		"When a request of the source was last answered 2xx, in seconds of Unix; the start of the process if none has been since.", "source")
	deadOpen = desc("webhook_dead_letters_open",
		"Dead letters that nobody has replayed or purged; at most 10000 are counted.")
	dataFree = desc("hookgate_data_dir_free_bytes",
		"Free space of the file system that holds the data directory, in bytes.")
	dataSize = desc("hookgate_data_dir_size_bytes",
		"Size of the file system that holds the data directory, in bytes.")
	certExpiry = desc("hookgate_tls_certificate_expiry_timestamp_seconds",
		"When the TLS certificate expires, in seconds of Unix; 0 without one.")
	mode       = desc("hookgate_mode", "1 at the mode that the gate is in.", "mode")
	partitions = desc("webhook_partitions_owned", "Partitions that the workers of this process hold.")
	leasesLost = desc("webhook_leases_lost_total",
		"Partitions that this process lost to another before it gave them back.")

	poolConnections = desc("webhook_store_pool_connections", "Connections to the database.", "state")
	poolMax         = desc("webhook_store_pool_max", "Connections to the database at most.")
	poolWaits       = desc("webhook_store_pool_waits_total",
		"How often a caller found no connection free.")
	poolWaited = desc("webhook_store_pool_wait_seconds_total",
		"Time that callers have waited for a connection.")

	breakerState    = desc("webhook_breaker_state", "1 at the state that the breaker is in.", "state")
	breakerAdmitted = desc("webhook_breaker_admitted_ratio",
		"Ratio of the webhooks that the breaker admits, from 0 to 1.")
	breakerOpened = desc("webhook_breaker_openings_total", "How often the breaker has opened.")
	guardValue    = desc("webhook_guard_value",
		"Value that the guard watches, in the unit of its name; left out while it cannot be read.",
		"signal")
	guardNearness = desc("webhook_guard_nearness_ratio",
		"That value in proportion to its limit: 1 is at the limit; left out where there is none.",
		"signal")
	inFlight      = desc("webhook_in_flight", "Webhooks between their last byte and their answer.")
	inFlightLimit = desc("webhook_in_flight_limit",
		"Their number at most now; 0 if there is no bound.")
	bodyMemory    = desc("webhook_body_memory_bytes", "Buffers of the bodies in flight.")
	canaryPercent = desc("hookgate_canary_percent",
		"Share of the ordering keys that the gate takes; 100 if there is no canary.")
	triggerValue = desc("hookgate_release_trigger_value",
		"Value of a release trigger, in its unit; left out while it cannot be read or says nothing.",
		"trigger")
	triggerNear = desc("hookgate_release_trigger_nearness_ratio",
		"That value in proportion to its limit: above 1 for long enough the trigger fires.", "trigger")
	triggerState = desc("hookgate_release_trigger_state",
		"1 at the state that the release trigger is in.", "trigger", "state")
	triggerFired = desc("hookgate_release_trigger_firings_total",
		"How often a release trigger has fired.", "trigger")
	alarmsSent = desc("hookgate_release_alarms_total",
		"Alarms for the webhook, by what became of them.", "outcome")
	bodyLimit = desc("webhook_body_memory_limit_bytes", "What they may take at most.")
)

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

// gauges asks queue, store and guard when Prometheus does.
type gauges struct{ config Config }

// Describe implements prometheus.Collector.
func (g *gauges) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		queueInfo, clockBehind, queueUp, queueDepth, queueLimit, queueOldest, queueSpool, queueDegraded,
		storeUp, storeRows, partitions, leasesLost,
		poolConnections, poolMax, poolWaits, poolWaited, breakerState, breakerAdmitted, breakerOpened,
		guardValue, guardNearness,
		inFlight, inFlightLimit, bodyMemory, bodyLimit, canaryPercent, mode, deadOpen, dataFree, dataSize,
		certExpiry, triggerValue, triggerNear, triggerState, triggerFired, alarmsSent,
	} {
		to <- d
	}
}

// sender sends metrics to a scrape.
type sender chan<- prometheus.Metric

func (to sender) gauge(d *prometheus.Desc, value float64, labels ...string) {
	to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
}

func (to sender) counter(d *prometheus.Desc, value float64, labels ...string) {
	to <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, value, labels...)
}

// Collect implements prometheus.Collector. What cannot be had is left out, and the gauge "up" says
// so.
func (g *gauges) Collect(ch chan<- prometheus.Metric) {
	to := sender(ch)
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
	defer cancel()
	g.collectQueue(ctx, to)
	to.gauge(queueInfo, 1, g.config.Kind)
	if g.config.ClockBehind != nil {
		if behind, known := g.config.ClockBehind(ctx); known {
			to.gauge(clockBehind, behind.Seconds())
		}
	}
	rows, err := g.config.Store(ctx)
	if err == nil {
		to.gauge(storeRows, float64(rows.Events), "events")
		to.gauge(storeRows, float64(rows.Duplicates), "duplicates")
		to.gauge(storeRows, float64(rows.DeadLetters), "dead_letters")
	}
	to.gauge(storeUp, one(err == nil))
	percent := 100
	if g.config.CanaryPercent != nil {
		percent = g.config.CanaryPercent()
	}
	to.gauge(canaryPercent, float64(percent))
	if g.config.Mode != nil {
		is := g.config.Mode()
		for _, m := range control.Modes {
			to.gauge(mode, one(is == m), string(m))
		}
	}
	if g.config.OpenDeadLetters != nil {
		if n, known := g.config.OpenDeadLetters(ctx); known {
			to.gauge(deadOpen, float64(n))
		}
	}
	if g.config.DataDir != nil {
		if free, size, err := g.config.DataDir(); err == nil {
			to.gauge(dataFree, float64(free))
			to.gauge(dataSize, float64(size))
		}
	}
	if g.config.CertificateExpiry == nil {
		to.gauge(certExpiry, 0)
	} else if at, err := g.config.CertificateExpiry(); err == nil {
		to.gauge(certExpiry, float64(at.Unix()))
	}
	if g.config.Holdings != nil {
		h := g.config.Holdings()
		to.gauge(partitions, float64(h.Partitions()))
		to.counter(leasesLost, float64(h.LeasesLost))
	}
	if g.config.Pool != nil {
		p := g.config.Pool()
		to.gauge(poolConnections, float64(p.Acquired), "acquired")
		to.gauge(poolConnections, float64(p.Idle), "idle")
		to.gauge(poolConnections, float64(p.Total-p.Acquired-p.Idle), "opening")
		to.gauge(poolMax, float64(p.Max))
		to.counter(poolWaits, float64(p.Waits))
		to.counter(poolWaited, p.Waited.Seconds())
	}
	if g.config.Guard != nil {
		collectGuard(g.config.Guard(), to)
	}
	if g.config.Release != nil {
		collectRelease(g.config.Release(), to)
	}
}

func (g *gauges) collectQueue(ctx context.Context, to sender) {
	q, err := g.config.Queue(ctx)
	to.gauge(queueUp, one(err == nil && q.Err == nil))
	if err != nil {
		return
	}
	to.gauge(queueDepth, float64(q.Depth))
	to.gauge(queueLimit, float64(q.HighWater))
	oldest := 0.0
	if !q.OldestEnqueuedAt.IsZero() {
		oldest = max(0, time.Since(q.OldestEnqueuedAt).Seconds())
	}
	to.gauge(queueOldest, oldest)
	to.gauge(queueSpool, float64(q.Spooled))
	to.gauge(queueDegraded, one(q.Degraded != nil))
}

func collectGuard(s guard.Status, to sender) {
	for _, state := range []guard.State{guard.Closed, guard.Open, guard.Recovering} {
		to.gauge(breakerState, one(s.Breaker == state), string(state))
	}
	to.gauge(breakerAdmitted, float64(s.AdmittedPercent)/100)
	to.counter(breakerOpened, float64(s.Opened))
	for _, signal := range s.Signals {
		if signal.Known {
			to.gauge(guardValue, signal.Value, signal.Name)
		}
		if signal.Known && signal.Limit > 0 {
			to.gauge(guardNearness, signal.Nearness, signal.Name)
		}
	}
	to.gauge(inFlight, float64(s.InFlight))
	to.gauge(inFlightLimit, float64(s.InFlightLimit))
	to.gauge(bodyMemory, float64(s.BodyMemory))
	to.gauge(bodyLimit, float64(s.BodyMemoryLimit))
}

func collectRelease(r release.Status, to sender) {
	for _, t := range r.Triggers {
		for _, state := range release.TriggerStates {
			to.gauge(triggerState, one(t.State == state), t.Name, string(state))
		}
		if t.Known {
			to.gauge(triggerValue, t.Value, t.Name)
		}
		if t.Known && t.Limit > 0 {
			to.gauge(triggerNear, t.Nearness, t.Name)
		}
		to.counter(triggerFired, float64(t.TimesFired), t.Name)
	}
	var w release.WebhookStatus
	if r.Webhook != nil {
		w = *r.Webhook
	}
	to.counter(alarmsSent, float64(w.Delivered), "delivered")
	to.counter(alarmsSent, float64(w.Failed), "failed")
	to.counter(alarmsSent, float64(w.Dropped), "dropped")
}

func one(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

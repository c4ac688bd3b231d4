package metrics

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/hookgate/hookgate/control"
	"github.com/hookgate/hookgate/guard"
	"github.com/hookgate/hookgate/release"
)

// scrapeTimeout bounds the queries of one scrape to the queue and the store.
const scrapeTimeout = 2 * time.Second

var (
	queueInfo = desc("webhook_queue_info",
		"Always 1. The label kind is direct if the store takes the webhooks, or redis.", "kind")
	clockBehind = desc("webhook_clock_behind_seconds",
		"Seconds by which the clock of this machine is behind the last event id of the store; 0 if it"+
			" is not behind.")
	queueUp = desc("webhook_queue_up",
		"1 if the queue takes webhooks, else 0.")
	queueDepth = desc("webhook_queue_depth",
		"Webhooks that are acknowledged and not stored yet, in Redis and in the local spool.")
	queueLimit = desc("webhook_queue_high_water",
		"Depth at which the gate rejects webhooks with 503; 0 without Redis and spool.")
	queueOldest = desc("webhook_queue_oldest_seconds",
		"Age in seconds of the oldest webhook in the queue; 0 if the queue is empty.")
	queueSpool = desc("webhook_queue_spooled",
		"Webhooks in the local spool, which wait for the store or Redis.")
	queueDegraded = desc("webhook_queue_degraded",
		"1 while webhooks go to a local file, because the store or Redis is away or webhooks of an"+
			" earlier configuration are being moved; else 0.")
	storeUp = desc("webhook_store_up",
		"1 if the store answers, else 0.")
	storeRows = desc("webhook_store_rows",
		"Rows in the store: events, duplicates and dead letters.", "kind")

	sourceReceived = desc("webhook_source_last_received_timestamp_seconds",
		"Unix time in seconds when the source last got an answer of 2xx; the start of the process if"+
			" it got none since.", "source")
	deadOpen = desc("webhook_dead_letters_open",
		"Dead letters that were neither retried nor purged; counted up to 10000.")
	dataFree = desc("hookgate_data_dir_free_bytes",
		"Free space of the file system with the data directory, in bytes.")
	dataSize = desc("hookgate_data_dir_size_bytes",
		"Size of the file system with the data directory, in bytes.")
	certExpiry = desc("hookgate_tls_certificate_expiry_timestamp_seconds",
		"Unix time in seconds when the TLS certificate expires; 0 without a certificate.")
	mode = desc("hookgate_mode",
		"1 for the current mode, 0 for the other modes.", "mode")
	partitions = desc("webhook_partitions_owned",
		"Partitions that the workers of this process own.")
	leasesLost = desc("webhook_leases_lost_total",
		"Partitions that another process took over before this one released them.")

	poolConnections = desc("webhook_store_pool_connections",
		"Connections to the database, by state: acquired, idle or opening.", "state")
	poolMax = desc("webhook_store_pool_max",
		"Limit of the connections to the database.")
	poolWaits = desc("webhook_store_pool_waits_total",
		"Times that a caller found no free connection to the database.")
	poolWaited = desc("webhook_store_pool_wait_seconds_total",
		"Seconds that callers have waited for a connection to the database.")

	breakerState = desc("webhook_breaker_state",
		"1 for the current state of the breaker, 0 for the other states.", "state")
	breakerAdmitted = desc("webhook_breaker_admitted_ratio",
		"Ratio of the webhooks that the breaker admits, from 0 to 1.")
	breakerOpened = desc("webhook_breaker_openings_total",
		"Times that the breaker opened.")
	guardValue = desc("webhook_guard_value",
		"Value of a signal of the load protection, in the unit at the end of the signal name; absent"+
			" while it cannot be read.",
		"signal")
	guardNearness = desc("webhook_guard_nearness_ratio",
		"Value of a signal of the load protection, divided by its limit; absent without a limit.",
		"signal")
	inFlight = desc("webhook_in_flight",
		"Webhooks in flight: received completely and not answered yet.")
	inFlightLimit = desc("webhook_in_flight_limit",
		"Current limit of webhooks in flight; 0 means unlimited.")
	bodyMemory = desc("webhook_body_memory_bytes",
		"Memory for the bodies of webhooks in flight, in bytes.")
	canaryPercent = desc("hookgate_canary_percent",
		"Percentage of the ordering keys that the gate takes; 100 without a canary.")
	triggerValue = desc("hookgate_release_trigger_value",
		"Value of a release trigger: milliseconds for p95, webhooks for queue_depth, else percent;"+
			" absent while it cannot be read or says nothing.",
		"trigger")
	triggerNear = desc("hookgate_release_trigger_nearness_ratio",
		"Value of a release trigger, divided by its limit. The trigger fires if this stays above 1.",
		"trigger")
	triggerState = desc("hookgate_release_trigger_state",
		"1 for the current state of the release trigger, 0 for the other states.", "trigger", "state")
	triggerFired = desc("hookgate_release_trigger_firings_total",
		"Times that the release trigger fired.", "trigger")
	alarmsSent = desc("hookgate_release_alarms_total",
		"Alarms for release.alarm.url, by outcome: delivered, failed (given up) or dropped (too many"+
			" waited).", "outcome")
	bodyLimit = desc("webhook_body_memory_limit_bytes",
		"Limit of the memory for the bodies of webhooks in flight, in bytes.")
)

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

// gauges collects the values that it asks other parts for at each scrape.
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
	for _, d := range subscriptionDescs {
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

// Collect implements prometheus.Collector. It omits a value that it cannot read; webhook_queue_up
// and webhook_store_up are 0 then.
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
	if g.config.Subscriptions != nil {
		g.collectSubscriptions(ctx, to)
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

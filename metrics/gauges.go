package metrics

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// scrapeTimeout bounds what one scrape asks of queue and store.
const scrapeTimeout = 2 * time.Second

var (
	queueUp     = prometheus.NewDesc("webhook_queue_up", "1 if the queue takes deliveries.", nil, nil)
	queueAway   = prometheus.NewDesc("webhook_queue_degraded", "1 while deliveries are taken although the queue is away: they are spooled locally.", nil, nil)
	queueDepth  = prometheus.NewDesc("webhook_queue_depth", "Records that are acknowledged and not yet stored and released.", nil, nil)
	queueLimit  = prometheus.NewDesc("webhook_queue_high_water", "Depth at which deliveries are refused with 503.", nil, nil)
	queueOldest = prometheus.NewDesc("webhook_queue_oldest_seconds", "Age of the oldest record in the queue; 0 if there is none.", nil, nil)
	queueSpool  = prometheus.NewDesc("webhook_queue_spooled", "Records that wait in the local spool for the queue to come back.", nil, nil)
	storeUp     = prometheus.NewDesc("webhook_store_up", "1 if the store answers.", nil, nil)
	storeRows   = prometheus.NewDesc("webhook_store_rows", "What the store holds.", []string{"kind"}, nil)
)

// gauges asks queue and store when Prometheus does.
type gauges struct{ config Config }

// Describe implements prometheus.Collector.
func (g *gauges) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{queueUp, queueAway, queueDepth, queueLimit, queueOldest, queueSpool, storeUp, storeRows} {
		to <- d
	}
}

// Collect implements prometheus.Collector. What cannot be had is left out, and the gauge "up" says so.
func (g *gauges) Collect(to chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
	defer cancel()
	send := func(d *prometheus.Desc, value float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	q, err := g.config.Queue(ctx)
	if err == nil {
		send(queueDepth, float64(q.Depth))
		send(queueLimit, float64(q.HighWater))
		oldest := 0.0
		if !q.OldestEnqueuedAt.IsZero() {
			oldest = max(0, time.Since(q.OldestEnqueuedAt).Seconds())
		}
		send(queueOldest, oldest)
		send(queueSpool, float64(q.Spooled))
	}
	send(queueUp, one(err == nil && q.Err == nil))
	send(queueAway, one(err == nil && q.Degraded != nil))
	rows, err := g.config.Store(ctx)
	if err == nil {
		send(storeRows, float64(rows.Events), "events")
		send(storeRows, float64(rows.Duplicates), "duplicates")
		send(storeRows, float64(rows.DeadLetters), "dead_letters")
	}
	send(storeUp, one(err == nil))
}

func one(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

package metrics

import (
	"math"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/hookgate/hookgate/history"
)

// History returns the counts since the start of the process, by subject, for its history.
func (m *Metrics) History() map[history.Subject]history.Counts {
	all := map[history.Subject]history.Counts{}
	whole := history.Counts{} // of the gate
	m.received.Range(func(name, a any) bool {
		answers := a.(*Answers)
		latency := answers.latency.Read()
		all[history.Subject{Kind: history.Source, Name: name.(string)}] = history.Counts{
			Duplicates: answers.duplicates.Load(), Latency: latency}
		whole.Add(&history.Counts{Latency: latency})
		return true
	})
	each(m.ingested, func(row *dto.Metric) {
		subject := history.Subject{Kind: history.Source, Name: labelOf(row, "source")}
		status, _ := strconv.Atoi(labelOf(row, "status"))
		c, n := all[subject], int64(row.GetCounter().GetValue())
		switch {
		case status/100 == 2:
			c.Accepted += n
		case status == 401:
			c.Unauthenticated += n
		case status/100 == 5:
			c.Unavailable += n
		default:
			c.Refused += n
		}
		all[subject] = c
	})
	m.delivery.subscriptions.Range(func(name, s any) bool {
		all[history.Subject{Kind: history.Subscription, Name: name.(string)}] =
			s.(*subscriptionMetrics).counts()
		return true
	})
	var sizes dto.Metric
	m.batchSize.Write(&sizes) // cannot fail for this metric
	whole.Stored = int64(sizes.GetHistogram().GetSampleSum())
	all[history.Subject{Kind: history.Gate}] = whole
	return all
}

func (s *subscriptionMetrics) counts() (c history.Counts) {
	c.Delivered = countOf(s.settled["delivered"])
	c.DeadLettered, c.Parked = countOf(s.settled["dead_lettered"]), countOf(s.settled["parked"])
	for class, counter := range s.attempts {
		n := countOf(counter)
		if c.Attempts += n; class != "2xx" {
			c.Failed += n
		}
	}
	c.Latency, c.Duration = histogramOf(s.latency), histogramOf(s.took)
	return c
}

func countOf(c prometheus.Counter) int64 {
	var row dto.Metric
	c.Write(&row) // cannot fail for these metrics
	return int64(row.GetCounter().GetValue())
}

// histogramOf returns the counts of a histogram of Prometheus.
func histogramOf(o prometheus.Observer) (h history.Histogram) {
	var row dto.Metric
	o.(prometheus.Metric).Write(&row) // cannot fail for these metrics
	before := uint64(0)
	for _, bucket := range row.GetHistogram().GetBucket() {
		h.Observe(bucket.GetUpperBound(), int64(bucket.GetCumulativeCount()-before))
		before = bucket.GetCumulativeCount()
	}
	h.Observe(math.Inf(1), int64(row.GetHistogram().GetSampleCount()-before))
	return h
}

package metrics

import (
	"net/http"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// Snapshot has the counts since the start of the process. It is cheap enough for once a second,
// because unlike a scrape it asks neither the queue nor the store.
type Snapshot struct {
	// Answers has a row for each configured source and each status that it got, and a row for 202 in
	// any case.
	Answers []Answered
	// Refused are the rejected webhooks by reason. Reasons that did not occur are absent.
	Refused map[string]int64
	// Duplicates counts acknowledged duplicates, DeadLettered stored dead letters.
	Duplicates, DeadLettered int64
	// Batches counts the transactions of the store, Records the records in them, and BatchMillis their
	// milliseconds.
	Batches, Records int64
	BatchMillis      float64
	// BatchFailures counts failed attempts to store a batch.
	BatchFailures int64
	// Workers is the current number of workers.
	Workers int
	// Owners is Holdings.Owners.
	Owners []int
}

// Answered is how often a source got a status.
type Answered struct {
	Source string
	Status int
	Count  int64
}

// Snapshot reads the counters. It takes some microseconds for each source and event type.
func (m *Metrics) Snapshot() Snapshot {
	s := Snapshot{Refused: map[string]int64{}}
	each(m.ingested, func(row *dto.Metric) {
		status, _ := strconv.Atoi(labelOf(row, "status"))
		a := Answered{labelOf(row, "source"), status, int64(row.GetCounter().GetValue())}
		// Other statuses are at 0 only for alerts.
		if a.Count > 0 || status == http.StatusAccepted {
			s.Answers = append(s.Answers, a)
		}
	})
	each(m.refused, func(row *dto.Metric) {
		if n := int64(row.GetCounter().GetValue()); n > 0 {
			s.Refused[labelOf(row, "reason")] = n
		}
	})
	var row dto.Metric
	read := func(metric prometheus.Metric) *dto.Metric {
		row.Reset()
		metric.Write(&row) // cannot fail for these metrics
		return &row
	}
	add := func(t *typeMetrics) {
		s.Duplicates += int64(read(t.duplicate).GetCounter().GetValue())
		s.DeadLettered += int64(read(t.deadLettered).GetCounter().GetValue())
	}
	add(m.others)
	m.types.Range(func(_, t any) bool { add(t.(*typeMetrics)); return true })
	sizes := read(m.batchSize).GetHistogram()
	s.Batches, s.Records = int64(sizes.GetSampleCount()), int64(sizes.GetSampleSum())
	s.BatchMillis = read(m.batchLatency).GetHistogram().GetSampleSum()
	s.BatchFailures = int64(read(m.applyFailed).GetCounter().GetValue())
	s.Workers = int(read(m.workers).GetGauge().GetValue())
	if m.holdings != nil {
		s.Owners = m.holdings().Owners
	}
	return s
}

// each calls f with every row of a family.
func each(family prometheus.Collector, f func(*dto.Metric)) {
	rows := make(chan prometheus.Metric, 16)
	go func() {
		family.Collect(rows)
		close(rows)
	}()
	var row dto.Metric
	for metric := range rows {
		row.Reset()
		metric.Write(&row) // cannot fail for these metrics
		f(&row)
	}
}

func labelOf(row *dto.Metric, name string) string {
	for _, l := range row.GetLabel() {
		if l.GetName() == name {
			return l.GetValue()
		}
	}
	return ""
}

package metrics

import (
	"net/http"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// Snapshot is what has been counted since the start, for those who look every second. Unlike a
// scrape it asks neither queue nor store.
type Snapshot struct {
	// Answers are those to configured sources, each with one row for each status that it has got, and
	// one for 202 in any case.
	Answers []Answered
	// Refused is by reason; only those that have occurred.
	Refused map[string]int64
	// Duplicates were acknowledged as such, DeadLettered were stored as dead letters.
	Duplicates, DeadLettered int64
	// Batches are the transactions of the store, Records what they held, and BatchMillis the time that
	// they took, each in all.
	Batches, Records int64
	BatchMillis      float64
	// BatchFailures are attempts to store a batch that failed.
	BatchFailures int64
	// Workers there are now.
	Workers int
	// Owners are those of Holdings.
	Owners []int
}

// Answered is how often a source has got a status.
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
		// other statuses are there as 0 for the sake of alerts
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
		metric.Write(&row) // of a metric of our own it cannot fail
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

// each hands every row of a family to f.
func each(family prometheus.Collector, f func(*dto.Metric)) {
	rows := make(chan prometheus.Metric, 16)
	go func() {
		family.Collect(rows)
		close(rows)
	}()
	var row dto.Metric
	for metric := range rows {
		row.Reset()
		metric.Write(&row) // as above
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

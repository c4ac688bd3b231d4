package metrics

import "time"

// Persisted counts a stored event. sinceReceived is the time from its receipt to the commit.
func (m *Metrics) Persisted(eventType string, sinceReceived time.Duration) {
	t := m.of(eventType)
	t.persisted.Inc()
	t.latencyPersisted.Observe(millis(sinceReceived))
}

// Duplicate records the latency of a duplicate whose lineage was stored. Accepted has counted it.
func (m *Metrics) Duplicate(eventType string, sinceReceived time.Duration) {
	m.of(eventType).latencyDuplicate.Observe(millis(sinceReceived))
}

// DeadLettered counts a stored dead letter.
func (m *Metrics) DeadLettered(eventType string, sinceReceived time.Duration) {
	m.deadLettered.Inc()
	t := m.of(eventType)
	t.deadLettered.Inc()
	t.latencyDeadLettered.Observe(millis(sinceReceived))
}

// Batch counts a transaction of the store, with its records and duration.
func (m *Metrics) Batch(records int, took time.Duration) {
	m.batchSize.Observe(float64(records))
	m.batchLatency.Observe(millis(took))
}

// ApplyFailed counts a failed attempt to store a batch.
func (m *Metrics) ApplyFailed() { m.applyFailed.Inc() }

// Fenced counts a batch that the store rejected because its partition has another owner.
func (m *Metrics) Fenced() { m.fenced.Inc() }

// SequenceGap counts an event whose sequence is more than one above the previous one.
func (m *Metrics) SequenceGap(source string) {
	m.gaps.WithLabelValues(m.sources.label(source)).Inc()
}

// SequenceInversion counts an event whose sequence is below an earlier one.
func (m *Metrics) SequenceInversion(source string) {
	m.inversions.WithLabelValues(m.sources.label(source)).Inc()
}

// Workers sets the current number of workers.
func (m *Metrics) Workers(active int) { m.workers.Set(float64(active)) }

// Storing adds to the number of transactions in progress.
func (m *Metrics) Storing(calls int) { m.storing.Add(float64(calls)) }

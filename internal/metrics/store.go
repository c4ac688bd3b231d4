package metrics

import "time"

// Persisted counts an event that was stored, sinceReceived after it was received.
func (m *Metrics) Persisted(eventType string, sinceReceived time.Duration) {
	t := m.of(eventType)
	t.persisted.Inc()
	t.latencyPersisted.Observe(millis(sinceReceived))
}

// Duplicate notes when the lineage of a duplicate was stored. It was counted when it was
// acknowledged.
func (m *Metrics) Duplicate(eventType string, sinceReceived time.Duration) {
	m.of(eventType).latencyDuplicate.Observe(millis(sinceReceived))
}

// DeadLettered counts a dead letter that was stored.
func (m *Metrics) DeadLettered(eventType string, sinceReceived time.Duration) {
	m.deadLettered.Inc()
	t := m.of(eventType)
	t.deadLettered.Inc()
	t.latencyDeadLettered.Observe(millis(sinceReceived))
}

// Batch counts a transaction of the store.
func (m *Metrics) Batch(records int, took time.Duration) {
	m.batchSize.Observe(float64(records))
	m.batchLatency.Observe(millis(took))
}

// ApplyFailed counts an attempt to store a batch that failed.
func (m *Metrics) ApplyFailed() { m.applyFailed.Inc() }

// Fenced counts a batch that was refused because its partition has another owner.
func (m *Metrics) Fenced() { m.fenced.Inc() }

// SequenceGap counts an event whose sequence leaves some out, SequenceInversion one whose sequence
// comes late.
func (m *Metrics) SequenceGap(source string) {
	m.gaps.WithLabelValues(m.sources.label(source)).Inc()
}

// SequenceInversion is described at SequenceGap.
func (m *Metrics) SequenceInversion(source string) {
	m.inversions.WithLabelValues(m.sources.label(source)).Inc()
}

// Workers tells how many workers there are now.
func (m *Metrics) Workers(active int) { m.workers.Set(float64(active)) }

// Storing adds to the number of calls of the store that workers have under way.
func (m *Metrics) Storing(calls int) { m.storing.Add(float64(calls)) }

package metrics

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// bounded gives the first values a label value of their own, and "other" to the rest.
type bounded struct {
	most int

	mu   sync.Mutex // guards seen
	seen map[string]bool
}

func (b *bounded) label(value string) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.seen[value] {
		return value
	}
	if len(b.seen) >= b.most {
		return other
	}
	if b.seen == nil {
		b.seen = map[string]bool{}
	}
	b.seen[value] = true
	return value
}

// typeMetrics are the metrics of one event type, looked up once.
type typeMetrics struct {
	accepted, duplicate, persisted, deadLettered            prometheus.Counter
	latencyPersisted, latencyDuplicate, latencyDeadLettered prometheus.Observer
}

func (m *Metrics) resolve(eventType string) *typeMetrics {
	return &typeMetrics{
		accepted:            m.events.WithLabelValues(eventType, statusAccepted),
		duplicate:           m.events.WithLabelValues(eventType, statusDuplicate),
		persisted:           m.events.WithLabelValues(eventType, statusPersisted),
		deadLettered:        m.events.WithLabelValues(eventType, statusDeadLettered),
		latencyPersisted:    m.queueLatency.WithLabelValues(eventType, statusPersisted),
		latencyDuplicate:    m.queueLatency.WithLabelValues(eventType, statusDuplicate),
		latencyDeadLettered: m.queueLatency.WithLabelValues(eventType, statusDeadLettered),
	}
}

// of returns the metrics of an event type, or those of "other" if there are too many types.
func (m *Metrics) of(eventType string) *typeMetrics {
	if t, ok := m.types.Load(eventType); ok {
		return t.(*typeMetrics)
	}
	if m.typesLen.Load() >= MaxEventTypes || m.typesLen.Add(1) > MaxEventTypes {
		return m.others
	}
	t, loaded := m.types.LoadOrStore(eventType, m.resolve(eventType))
	if loaded {
		m.typesLen.Add(-1)
	}
	return t.(*typeMetrics)
}

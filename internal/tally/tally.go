// Package tally counts the results of batches that a store has applied.
package tally

import (
	"log/slog"
	"time"

	"github.com/hookgate/hookgate"
)

// Metrics receives the counts. Its methods are called concurrently.
type Metrics interface {
	// Persisted, Duplicate and DeadLettered count one event, with the time since it was received or
	// retried.
	Persisted(eventType string, sinceReceived time.Duration)
	Duplicate(eventType string, sinceReceived time.Duration)
	DeadLettered(eventType string, sinceReceived time.Duration)
	// Batch counts one transaction of the store, ApplyFailed one failed attempt.
	Batch(records int, took time.Duration)
	ApplyFailed()
	// SequenceGap counts one event whose sequence skips numbers of its ordering key.
	// SequenceInversion counts one that comes after a higher sequence.
	SequenceGap(source string)
	SequenceInversion(source string)
}

// Counter counts batches. It is for one goroutine.
type Counter struct {
	// NoGaps turns gaps off: other processes store events of the same keys, so a gap here means
	// nothing.
	NoGaps bool

	metrics   Metrics
	logger    *slog.Logger
	sequences *sequences
	// unheard are the requests of Unheard, the older half of them apart. When the younger half is
	// full, it replaces the older one.
	unheard, older map[hookgate.RequestID]struct{}
}

// maxUnheard bounds half of the requests of Unheard; each takes about 40 bytes.
const maxUnheard = 1 << 14

// New returns a counter that reports to metrics and logs the events that the store has rejected.
func New(metrics Metrics, logger *slog.Logger) *Counter {
	return &Counter{metrics: metrics, logger: logger, sequences: newSequences()}
}

// Unheard notes that nobody learnt that the counted records are stored, because their appends had
// timed out. So they may come once more, and Count then leaves them out.
func (c *Counter) Unheard(records []hookgate.Record) {
	for i := range records {
		if len(c.unheard) >= maxUnheard {
			c.older, c.unheard = c.unheard, nil
		}
		if c.unheard == nil {
			c.unheard = map[hookgate.RequestID]struct{}{}
		}
		c.unheard[records[i].RequestID] = struct{}{}
	}
}

// counted reports whether Count has counted a request that comes once more.
func (c *Counter) counted(id hookgate.RequestID) bool {
	if len(c.unheard)+len(c.older) == 0 {
		return false
	}
	_, young := c.unheard[id]
	_, old := c.older[id]
	delete(c.unheard, id)
	delete(c.older, id)
	return young || old
}

// Count counts the records and dead letters of b, which the store applied in the time took.
func (c *Counter) Count(b *hookgate.Batch, outcome *hookgate.Outcome, took time.Duration) {
	now := time.Now()
	c.metrics.Batch(len(b.Records)+len(b.Dead), took)
	for i := range b.Records {
		r, result := &b.Records[i], &outcome.Results[i]
		if c.counted(r.RequestID) {
			continue
		}
		switch since := now.Sub(r.SubmittedAt()); {
		case !r.DuplicateOf.IsZero() || !result.DuplicateOf.IsZero():
			c.metrics.Duplicate(r.EventType, since)
		case result.Rejected != nil:
			c.logger.Error("the store rejected an event, which is now a dead letter", "request_id",
				r.RequestID.String(),
				"event", r.Identity.String(), "position", r.Position, "error", result.Rejected)
			c.metrics.DeadLettered(r.EventType, since)
		default:
			c.metrics.Persisted(r.EventType, since)
			c.observe(r)
		}
	}
	for i := range b.Dead {
		d := &b.Dead[i]
		c.metrics.DeadLettered(d.EventType, now.Sub(d.SubmittedAt()))
	}
}

func (c *Counter) observe(r *hookgate.Record) {
	switch follows := c.sequences.observe(r); {
	case follows == afterGap && !c.NoGaps:
		c.metrics.SequenceGap(r.Source)
	case follows == inverted:
		c.metrics.SequenceInversion(r.Source)
	}
}

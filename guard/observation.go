package guard

import (
	"context"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/control"
)

// Observation is the load of the gate at one moment. The guard makes one each second.
type Observation struct {
	At time.Time
	// Queue is what the queue reported, or QueueErr why it did not answer.
	Queue    hookgate.QueueStats
	QueueErr error
	// Buffering says that the mode is control.ModeBuffer: the queue grows because a person wants it
	// to.
	Buffering bool
	// P95 is that of the last ten seconds, from a webhook's last byte to its 202; 0 if there were
	// fewer than 20 webhooks.
	P95 time.Duration
	// Minute sums up the last minute.
	Minute Minute
}

// Inputs are what Run observes beside the webhooks.
type Inputs struct {
	// Queue returns the state of the queue. nil: there is none.
	Queue func(context.Context) (hookgate.QueueStats, error)
	// Mode returns the mode. nil: it is always normal.
	Mode func() control.Mode
	// Observer gets each observation, in order; nil if nobody else needs them. It must not block.
	Observer func(context.Context, Observation)
}

// Observed returns the last observation. Its time is zero before the first.
func (g *Guard) Observed() Observation {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.last
}

// Latency describes the time from a webhook's last byte to its 202, over the last ten seconds.
type Latency struct {
	// Count is the number of webhooks.
	Count int
	// The quantiles are at most an eighth too high. They are 0 if there were no webhooks.
	P50, P95, P99 time.Duration
}

// Latency returns the latency of the last ten seconds.
func (g *Guard) Latency() (l Latency) {
	counts := g.window.counts()
	l.Count, l.P50 = quantile(&counts, 0.50)
	_, l.P95 = quantile(&counts, 0.95)
	_, l.P99 = quantile(&counts, 0.99)
	return l
}

package guard

import (
	"time"

	"github.com/hookgate/hookgate"
)

// Latency tells how long the webhooks of the last ten seconds took from their last byte to their
// 202.
type Latency struct {
	// Count is their number.
	Count int
	// The quantiles are at most an eighth too high; 0 if there were none.
	P50, P95, P99 time.Duration
}

// Latency returns that of the last ten seconds.
func (g *Guard) Latency() (l Latency) {
	counts := g.window.counts()
	l.Count, l.P50 = quantile(&counts, 0.50)
	_, l.P95 = quantile(&counts, 0.95)
	_, l.P99 = quantile(&counts, 0.99)
	return l
}

// LastLook returns what the queue said when it was asked last, which is done each second, and when
// that was; zero before the first time.
func (g *Guard) LastLook() (q hookgate.QueueStats, at time.Time, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.last.queue, g.last.now, g.last.err
}

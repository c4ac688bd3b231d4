package guard

import (
	"sync/atomic"
	"time"
)

// InFlight bounds how many webhooks are between their last byte and their answer at a time.
//
// The bound adapts like the congestion window of TCP (AIMD; Chiu and Jain, 1989): a quarter second
// in which the P95 of the accepted ones was above Latency makes it three quarters of what was in
// flight, any other makes it grow by a fiftieth of Max. It does not follow the least latency seen,
// as gradient limiters do: a queue that puts hundreds of appends into one fsync is slower for each
// and faster for all, and what it can take within Latency there is no reason to refuse.
type InFlight struct {
	// Min and Max bound the bound. Max 0: no bound.
	Min, Max int
	// Latency is what P95 should stay below.
	Latency time.Duration
}

const (
	// growths is how many steps lead from nothing to InFlight.Max.
	growths = 50
	// fewestInSlot is the number of requests that a quarter second must have for its P95 to count.
	fewestInSlot = 10
)

// limiter is an InFlight at work.
type limiter struct {
	InFlight
	inFlight, limit atomic.Int64
	refused         atomic.Int64
}

func (l *limiter) busy() bool {
	if l.Max == 0 || l.inFlight.Load() < l.limit.Load() {
		return false
	}
	l.refused.Add(1)
	return true
}

func (l *limiter) enter() bool {
	if l.inFlight.Add(1) <= l.limit.Load() || l.Max == 0 {
		return true
	}
	l.inFlight.Add(-1)
	l.refused.Add(1)
	return false
}

func (l *limiter) leave() { l.inFlight.Add(-1) }

// adjust fits the bound to a slot of the window.
func (l *limiter) adjust(s slotSummary) {
	if l.Max == 0 {
		return
	}
	limit := l.limit.Load()
	if s.n >= fewestInSlot && s.p95 > l.Latency {
		limit = max(int64(l.Min), min(limit, int64(s.inFlight))*3/4)
	} else {
		limit = min(int64(l.Max), limit+int64(max(1, l.Max/growths)))
	}
	l.limit.Store(limit)
}

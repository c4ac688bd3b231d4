package guard

import (
	"sync/atomic"
	"time"
)

// InFlight limits how many webhooks are between their last byte and their answer at a time.
//
// The limit adapts like the congestion window of TCP (AIMD; Chiu and Jain, 1989). After a quarter
// second in which the P95 of the accepted webhooks was above Latency, the limit becomes three
// quarters of the number in flight. After any other quarter second it grows by a fiftieth of Max.
//
// Gradient limiters compare with the least latency seen. That does not fit here: a queue that puts
// hundreds of appends into one fsync is slower for each and faster for all. As long as P95 stays
// within Latency there is no reason to reject.
type InFlight struct {
	// Min and Max are the least and the greatest limit. Max 0: no limit.
	Min, Max int
	// Latency is the target for P95.
	Latency time.Duration
}

const (
	// growths is the number of steps from 0 to InFlight.Max.
	growths = 50
	// fewestInSlot is the least number of requests in a quarter second for which its P95 counts.
	fewestInSlot = 10
)

// limiter enforces an InFlight.
type limiter struct {
	InFlight
	inFlight, limit atomic.Int64
	rejected        atomic.Int64
}

func (l *limiter) busy() bool {
	if l.Max == 0 || l.inFlight.Load() < l.limit.Load() {
		return false
	}
	l.rejected.Add(1)
	return true
}

func (l *limiter) enter() bool {
	if l.inFlight.Add(1) <= l.limit.Load() || l.Max == 0 {
		return true
	}
	l.inFlight.Add(-1)
	l.rejected.Add(1)
	return false
}

func (l *limiter) leave() { l.inFlight.Add(-1) }

// adjust adapts the limit to a slot of the window that has ended.
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

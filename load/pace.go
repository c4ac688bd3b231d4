package load

import (
	"context"
	"math"
	"time"
)

// fineWait is the last stretch before an event is due, which is waited out by nap. A timer of the
// runtime may fire a whole millisecond late on an idle process, which would count as latency.
const fineWait = 2 * time.Millisecond

// pacer places events on an absolute schedule: the n-th is due n/rate seconds after the first.
// A late event does not move those after it.
type pacer struct {
	rate  float64 // events a second; 0 means that nothing is ever waited for
	nap   func(time.Duration)
	start time.Time
	n     int64
}

// next returns when the next event is due, having waited for that moment; an error is that of
// ctx. With rate 0 it returns the zero time at once. The schedule starts at the first call.
func (p *pacer) next(ctx context.Context) (time.Time, error) {
	if p.rate == 0 {
		return time.Time{}, ctx.Err()
	}
	if p.n == 0 {
		p.start = time.Now()
	}
	due := p.start.Add(time.Duration(min(float64(p.n)/p.rate*float64(time.Second), math.MaxInt64/2)))
	p.n++
	return due, p.wait(ctx, due)
}

// at is next for an event that is due a time of its own after the first.
func (p *pacer) at(ctx context.Context, after time.Duration) (time.Time, error) {
	if p.start.IsZero() {
		p.start = time.Now().Add(-after)
	}
	due := p.start.Add(after)
	return due, p.wait(ctx, due)
}

// skip gives the next place of the schedule to nobody.
func (p *pacer) skip() { p.n++ }

// wait waits for the moment.
func (p *pacer) wait(ctx context.Context, due time.Time) error {
	for {
		wait := time.Until(due)
		switch {
		case wait <= 0:
			return ctx.Err()
		case wait <= fineWait:
			p.nap(wait)
		case !pause(ctx, wait-fineWait):
			return ctx.Err()
		}
	}
}

// pause waits for d and reports whether ctx allowed it.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

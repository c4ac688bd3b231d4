package load

import (
	"context"
	"math"
	"time"
)

// fineWait is the last part of the wait for an event, for which nap is used. A timer of the runtime
// may fire a millisecond late in an idle process, which would count as latency.
const fineWait = 2 * time.Millisecond

// pacer puts events on an absolute schedule: event n is due n/rate seconds after the first. A late
// event does not delay the next ones.
type pacer struct {
	rate  float64 // events per second; 0 means no waiting
	nap   func(time.Duration)
	start time.Time
	n     int64
}

// next waits until the next event is due, and returns that time. Its error is that of ctx. With
// rate 0 it returns the zero time at once. The schedule starts with the first call.
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

// at is next for an event with its own time after the first one.
func (p *pacer) at(ctx context.Context, after time.Duration) (time.Time, error) {
	if p.start.IsZero() {
		p.start = time.Now().Add(-after)
	}
	due := p.start.Add(after)
	return due, p.wait(ctx, due)
}

// skip leaves out the next place of the schedule.
func (p *pacer) skip() { p.n++ }

// wait waits until an event is due.
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

// pause waits, and reports whether ctx allowed that.
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

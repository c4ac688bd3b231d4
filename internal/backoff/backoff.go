// Package backoff repeats a call that fails, with growing pauses between the attempts.
//
//	err := backoff.Policy{Min: time.Second, Max: time.Minute}.Retry(ctx, func(backoff.Attempt) error {
//		return send(ctx)
//	})
package backoff

import (
	"context"
	"fmt"
	"time"
)

// Policy says how to retry. The pauses double from Min up to Max, and each is longer or shorter by
// up to half of it at random, so that processes that failed together do not retry together.
type Policy struct {
	Min, Max time.Duration
	// Stop reports whether an error ends the attempts; nil: only the end of the context does.
	Stop func(error) bool
	// Failed is called after each failed attempt that another one follows, before the pause; nil: not
	// at all.
	Failed func(failed Attempt, pause time.Duration)
}

// Attempt describes one call.
type Attempt struct {
	// Number counts from 1.
	Number int
	// Err is the error of the attempt before, for the function that is called, and of this attempt,
	// for Policy.Failed.
	Err error
}

// Retry calls f until it returns nil, Stop reports true or ctx ends. It returns the last error of
// f. If ctx has ended, the error wraps that of ctx too.
func (p Policy) Retry(ctx context.Context, f func(Attempt) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	var last error
	for n := 1; ; n++ {
		last = f(Attempt{n, last})
		if last == nil || p.Stop != nil && p.Stop(last) {
			return last
		}
		pause := p.Pause(n)
		if ctx.Err() == nil && p.Failed != nil {
			p.Failed(Attempt{n, last}, pause)
		}
		if err := Sleep(ctx, pause); err != nil {
			return fmt.Errorf("%w: %w", err, last)
		}
	}
}

// Pause returns the pause after so many failures in a row.
func (p Policy) Pause(failures int) time.Duration {
	pause := p.Min
	for ; failures > 1 && pause < p.Max; failures-- {
		pause *= 2
	}
	pause = min(pause, p.Max)
	return pause/2 + Random(pause+1)
}

// Sleep waits for d. It returns the error of ctx if that ends first.
func Sleep(ctx context.Context, d time.Duration) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

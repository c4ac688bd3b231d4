package load

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// Goal: event n is due exactly n/rate after the first, and is released then. A late event keeps its
// due time and delays no other. Method: fake time, in which only waiting takes time, so that all
// times are exact.
func TestPacerKeepsAnAbsoluteSchedule(t *testing.T) {
	for _, rate := range []float64{0.5, 3, 500, 1e6} {
		synctest.Test(t, func(t *testing.T) {
			p := pacer{rate: rate, nap: time.Sleep}
			start := time.Now()
			var stall time.Duration
			for n := range 100 {
				if n == 40 { // the reader of the schedule is away for ten events
					stall = time.Duration(10 / rate * float64(time.Second))
					if !pause(t.Context(), stall) {
						t.Fatal("not paused")
					}
				}
				want := start.Add(time.Duration(float64(n) / rate * float64(time.Second)))
				due, err := p.next(t.Context())
				if err != nil || !due.Equal(want) {
					t.Fatalf("event %d due %v after the start, %v; want %v", n, due.Sub(start), err,
						want.Sub(start))
				}
				late := time.Since(due)
				if (n < 40 || n >= 52) && late != 0 || late < 0 || late > stall {
					t.Fatalf("event %d handed over %v late", n, late)
				}
			}
		})
	}
}

// Goal: without a rate there is no waiting and no due time.
func TestPacerWithoutRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pacer{nap: func(time.Duration) { t.Error("waited") }}
		for range 10 {
			if due, err := p.next(t.Context()); err != nil || !due.IsZero() {
				t.Fatalf("due %v, %v", due, err)
			}
		}
	})
}

// Goal: the end of the context ends the wait at once, however far away the next event is, even
// beyond the range of a Duration.
func TestPacerStops(t *testing.T) {
	for _, rate := range []float64{1.0 / 3600, 1e-15} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			p := pacer{rate: rate, nap: time.Sleep}
			start := time.Now()
			if _, err := p.next(ctx); err != nil {
				t.Fatal(err)
			}
			if _, err := p.next(ctx); !errors.Is(err, context.DeadlineExceeded) ||
				time.Since(start) != time.Second {
				t.Errorf("error %v after %v", err, time.Since(start))
			}
		})
	}
}

// Goal: nap waits at least as long as asked for.
func TestNap(t *testing.T) {
	start := time.Now()
	for time.Since(start) < time.Millisecond { // it may return early on a signal, as the pacer knows
		nap(time.Millisecond)
	}
}

// Package retention removes from a store what is older than it is to be kept.
//
// One loop takes small steps. Each is a transaction of a few milliseconds, and after it the loop
// pauses for so much longer that it has no more than its share of the store's time: whoever stores
// events waits for a step now and then, and never for the whole.
//
//	  ┌────────── more to remove: pause by the share ◄───┐
//	  ▼                                                  │
//	Prune ──── nothing is old enough: rest ──────────────┤
//	  ▲  └──── another process is at it: rest ───────────┤
//	  └─────── failed: back off, the same step again ◄───┘
//
// What may go and what must stay is the store's to decide (see Store): dead letters always stay.
package retention

import (
	"context"
	"log/slog"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/internal/backoff"
)

// Store is what retention needs of a store.
type Store interface {
	// Prune removes, in one transaction, what is older than the cutoffs, oldest first: about limit
	// rows at most, unless a single link of the audit chain has more. It keeps every dead letter, with
	// the link that holds it. An error leaves the outcome unknown; to call it again is harmless.
	Prune(ctx context.Context, c hookgate.Cutoffs, limit int) (hookgate.Pruned, error)
}

// Metrics is told what each step did. Its methods are called by one goroutine.
type Metrics interface {
	// Pruned counts a step that was done.
	Pruned(p hookgate.Pruned, took time.Duration)
	// PruneFailed counts one that failed.
	PruneFailed()
}

// Config of the loop. Zero fields take their defaults.
type Config struct {
	// Events is how long bodies are kept; 0 is for ever. Trail is how long their lineage is; 0 is for
	// ever, else it is not shorter than Events.
	Events, Trail time.Duration
	// Share is the part of the store's time that removal may take, above 0 and below 1; default 0.1.
	Share float64
	// StepTarget is the time that a step should take at most; default 10 ms, for a store in which
	// nobody can store meanwhile. Steps adapt to it.
	StepTarget time.Duration
	// StepTimeout bounds a step; default 30 s.
	StepTimeout time.Duration
	// RestMax bounds the rest when there is nothing to remove; default 1 min. It is shorter if what is
	// kept is.
	RestMax time.Duration
	// BackoffMin and BackoffMax bound the pauses after failures, which double and vary at random by
	// half; default 1 s and 1 min.
	BackoffMin, BackoffMax time.Duration
	// Paused reports whether the store must be left alone for now; nil: it never must. A step that is
	// under way is seen through.
	Paused func() bool
	Logger *slog.Logger
}

func (c Config) withDefaults() Config {
	if c.Share <= 0 || c.Share >= 1 {
		c.Share = 0.1
	}
	for to, value := range map[*time.Duration]time.Duration{
		&c.StepTarget: 10 * time.Millisecond, &c.StepTimeout: 30 * time.Second, &c.RestMax: time.Minute,
		&c.BackoffMin: time.Second, &c.BackoffMax: time.Minute,
	} {
		if *to <= 0 {
			*to = value
		}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// Run removes what is old until ctx ends; a step that is under way then is seen through. It returns
// at once if events are kept for ever.
func Run(ctx context.Context, c Config, s Store, m Metrics) {
	if c.Events <= 0 {
		return
	}
	l := &loop{Config: c.withDefaults(), store: s, metrics: m, limit: firstStep}
	for {
		pause := l.step(ctx)
		if backoff.Sleep(ctx, pause) != nil {
			return
		}
	}
}

const (
	// firstStep, leastStep and mostStep are rows that a step may remove: at the start, at least and at
	// most. Below the least the time goes into the commit.
	firstStep, leastStep, mostStep = 128, 64, 4096
	// leastPause lets those that wait for the store have it between two steps, however short these
	// are.
	leastPause = 10 * time.Millisecond
	// pausePoll is how often Paused is asked while it says so.
	pausePoll = time.Second
	// restsPerTime is how often what is old is looked for within the time that it is kept.
	restsPerTime = 20
)

// loop is the state of Run. It is for one goroutine.
type loop struct {
	Config
	store   Store
	metrics Metrics
	limit   int
	// failures is the number of steps that failed in a row.
	failures int
}

// step removes some of what is old and returns the pause after it.
func (l *loop) step(ctx context.Context) time.Duration {
	if l.Paused != nil && l.Paused() {
		return pausePoll
	}
	// The end of ctx does not cut a step off: it would only make its outcome unknown.
	working, cancel := context.WithTimeout(context.WithoutCancel(ctx), l.StepTimeout)
	defer cancel()
	start := time.Now()
	p, err := l.store.Prune(working, l.cutoffs(start), l.limit)
	took := time.Since(start)
	if err != nil {
		return l.failed(err)
	}
	if l.failures > 0 {
		l.Logger.Info("retention works again", "failures", l.failures)
		l.failures = 0
	}
	l.metrics.Pruned(p, took)
	switch {
	case p.Busy:
		return l.rest()
	case !p.More:
		return max(l.paused(took), l.rest())
	}
	l.adapt(took)
	return l.paused(took)
}

// cutoffs are those of the moment.
func (l *loop) cutoffs(now time.Time) hookgate.Cutoffs {
	c := hookgate.Cutoffs{Events: now.Add(-l.Events)}
	if l.Trail > 0 {
		c.Trail = now.Add(-max(l.Trail, l.Events))
	}
	return c
}

// paused is how long to pause after a step that took so long, so that steps have no more than their
// share.
func (l *loop) paused(took time.Duration) time.Duration {
	return max(leastPause, time.Duration(float64(took)*(1-l.Share)/l.Share))
}

// rest is how long to wait when nothing is old enough.
func (l *loop) rest() time.Duration {
	return max(leastPause, min(l.RestMax, l.Events/restsPerTime))
}

// adapt fits the size of the next step to the time that the last one took: steps that are too long
// shrink by half, others grow by a quarter.
func (l *loop) adapt(took time.Duration) {
	if took > l.StepTarget {
		l.limit = max(leastStep, l.limit/2)
	} else {
		l.limit = min(mostStep, l.limit+l.limit/4)
	}
}

// failed notes a failure and returns the pause after it. Of failures in a row the log has the
// first, and the last that is followed by success.
func (l *loop) failed(err error) time.Duration {
	l.metrics.PruneFailed()
	if l.failures++; l.failures == 1 {
		l.Logger.Warn("retention failed; will try again, and say so when it works", "error", err)
	} else {
		l.Logger.Debug("retention still fails", "failures", l.failures, "error", err)
	}
	l.limit = max(leastStep, l.limit/2) // it may have been too much for its time
	return backoff.Policy{Min: l.BackoffMin, Max: l.BackoffMax}.Pause(l.failures)
}

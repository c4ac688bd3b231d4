// Package retention removes old rows from a store.
//
// One loop takes small steps. Each step is a transaction of a few milliseconds. The pause after it
// is long enough that the loop uses no more than its share of the store's time. So calls that store
// events wait for one step now and then, but never for a whole removal.
//
//	  ┌────────── more to remove: pause by the share ◄───┐
//	  ▼                                                  │
//	Prune ──── nothing is old enough: rest ──────────────┤
//	  ▲  └──── another process is at it: rest ───────────┤
//	  └─────── failed: back off, the same step again ◄───┘
//
// The store decides what can be removed (see Store). It keeps all dead letters.
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
	// Prune removes rows older than the cutoffs in one transaction, oldest first. It removes about
	// limit rows, or more if a single link of the audit chain has more. It keeps every dead letter,
	// with the link that contains it. After an error the outcome is unknown; the call can be
	// repeated.
	Prune(ctx context.Context, c hookgate.Cutoffs, limit int) (hookgate.Pruned, error)
}

// Metrics receives the result of each step. One goroutine calls its methods.
type Metrics interface {
	// Pruned counts a successful step.
	Pruned(p hookgate.Pruned, took time.Duration)
	// PruneFailed counts a failed step.
	PruneFailed()
}

// Config configures the loop. Zero fields have their defaults.
type Config struct {
	// Events is how long bodies are kept, and Trail how long their lineage is; 0 means for ever.
	// Trail is at least as long as Events.
	Events, Trail time.Duration
	// PassSubscriptions removes the bodies of events that a subscription has not passed yet.
	PassSubscriptions bool
	// Share is the largest part of the store's time that removal may use, between 0 and 1; default
	// 0.1.
	Share float64
	// StepTarget is the longest time that a step should take; default 10 ms, for a store that can
	// store nothing meanwhile. Steps adapt to it.
	StepTarget time.Duration
	// StepTimeout bounds a step; default 30 s.
	StepTimeout time.Duration
	// RestMax bounds the pause when there is nothing to remove; default 1 min. The pause is shorter
	// if Events or Trail are short.
	RestMax time.Duration
	// BackoffMin and BackoffMax bound the pauses after failures; default 1 s and 1 min. The pauses
	// double, and vary at random by half.
	BackoffMin, BackoffMax time.Duration
	// Paused reports whether the loop must not use the store now; nil means never. A step that has
	// begun is finished.
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

// Run removes old rows until ctx ends. It finishes a step that has begun. It returns at once if
// events are kept for ever.
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
	// firstStep, leastStep and mostStep are numbers of rows: in the first step, at least, and at
	// most. A step smaller than leastStep would spend most of its time in the commit.
	firstStep, leastStep, mostStep = 128, 64, 4096
	// leastPause gives waiting calls a chance between two steps, even if the steps are very short.
	leastPause = 10 * time.Millisecond
	// pausePoll is how often the loop calls Paused while it returns true.
	pausePoll = time.Second
	// restsPerTime is how often the loop checks for old rows within the time that rows are kept.
	restsPerTime = 20
)

// loop is the state of Run. Only one goroutine uses it.
type loop struct {
	Config
	store   Store
	metrics Metrics
	limit   int
	// failures is the number of failed steps in a row.
	failures int
	// heldUpBy is the subscription that held up the last step, or empty.
	heldUpBy string
}

// step removes some old rows and returns the pause after it.
func (l *loop) step(ctx context.Context) time.Duration {
	if l.Paused != nil && l.Paused() {
		return pausePoll
	}
	// The end of ctx does not interrupt a step, because its outcome would be unknown.
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
	l.logHeldUp(&p)
	switch {
	case p.Busy:
		return l.rest()
	case !p.More:
		return max(l.paused(took), l.rest())
	}
	l.adapt(took)
	return l.paused(took)
}

// logHeldUp logs when a subscription begins to hold retention up, and when that ends.
func (l *loop) logHeldUp(p *hookgate.Pruned) {
	// A step that ended before the oldest remaining event does not know.
	if p.HeldUpBy == l.heldUpBy || p.More && p.HeldUpBy == "" {
		return
	}
	if l.heldUpBy = p.HeldUpBy; p.HeldUpBy != "" {
		l.Logger.Warn("a subscription holds retention up: it has not passed events that are old enough"+
			" to be removed", "subscription", p.HeldUpBy)
	} else {
		l.Logger.Info("no subscription holds retention up any more")
	}
}

// cutoffs returns the cutoffs at this moment.
func (l *loop) cutoffs(now time.Time) hookgate.Cutoffs {
	c := hookgate.Cutoffs{Events: now.Add(-l.Events), PassSubscriptions: l.PassSubscriptions}
	if l.Trail > 0 {
		c.Trail = now.Add(-max(l.Trail, l.Events))
	}
	return c
}

// paused returns the pause after a step, so that steps use no more than their share.
func (l *loop) paused(took time.Duration) time.Duration {
	return max(leastPause, time.Duration(float64(took)*(1-l.Share)/l.Share))
}

// rest returns the pause when nothing is old enough.
func (l *loop) rest() time.Duration {
	return max(leastPause, min(l.RestMax, l.Events/restsPerTime))
}

// adapt sets the size of the next step by the time of the last one: a step that took too long
// shrinks by half, others grow by a quarter.
func (l *loop) adapt(took time.Duration) {
	if took > l.StepTarget {
		l.limit = max(leastStep, l.limit/2)
	} else {
		l.limit = min(mostStep, l.limit+l.limit/4)
	}
}

// failed counts a failure and returns the pause after it. For failures in a row the log has one
// line at the first, and one when a step succeeds again.
func (l *loop) failed(err error) time.Duration {
	l.metrics.PruneFailed()
	if l.failures++; l.failures == 1 {
		l.Logger.Warn("retention failed; will try again, and say so when it works", "error", err)
	} else {
		l.Logger.Debug("retention still fails", "failures", l.failures, "error", err)
	}
	l.limit = max(leastStep, l.limit/2) // the step may have been too large for its time
	return backoff.Policy{Min: l.BackoffMin, Max: l.BackoffMax}.Pause(l.failures)
}

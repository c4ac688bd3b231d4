// Package guard protects the gate from more load than it, its queue or its store can take.
//
//	webhook ─► breaker: does it admit this one? ─►  in flight: is there a place? ─► Append
//	                 ▲                                         ▲            │
//	                 │ each second                             │            │ time taken
//	   queue depth, lag, P95: rules with two marks       AIMD on P95 ◄─── window
//
// The breaker reacts to a load that builds up over seconds and minutes. The limit on webhooks in
// flight reacts to the load of this moment. Both act on webhooks only: workers, the admin API and
// the read API go on. A rejected webhook was not acknowledged: the guard loses nothing that the
// gate has acknowledged.
//
// The guard observes the load once a second and passes each observation on, to the release triggers
// for example (package release).
//
// A webhook costs the guard a few atomic operations. Run does everything else.
package guard

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/control"
)

const (
	// observeEvery is how often the guard observes queue depth, lag and P95.
	observeEvery = time.Second
	// queueTimeout bounds one call of Inputs.Queue.
	queueTimeout = 2 * time.Second
	// fewest is the number of webhooks in the window below which their P95 counts as 0: too few to
	// judge by.
	fewest = 20
)

// The names of the signals, with their units.
const (
	SignalDepth = "queue_depth_percent" // unreleased records, in percent of the high-water mark
	SignalLag   = "store_lag_seconds"   // age of the oldest unreleased record
	// P95, over ten seconds, of the time from a webhook's last byte to its 202
	SignalP95 = "ingest_p95_ms"
)

// Config of a guard. A rule whose Limit is 0 is off.
type Config struct {
	// Depth is in percent of the high-water mark, Lag in seconds, P95 in milliseconds.
	Depth, Lag, P95 Rule
	// Recovery is how long the breaker takes, once the load is normal again, from admitting a tenth
	// of the webhooks to admitting all. 0: it admits all at once.
	Recovery time.Duration
	// InFlight limits the webhooks between their last byte and their answer.
	InFlight InFlight
	// BodyMemory limits, in bytes, the buffers of all bodies in flight, including those that are
	// still arriving.
	BodyMemory int64
	// Logger gets a line for each change of the breaker; nil for none.
	Logger *slog.Logger
}

// Guard is the load protection of one process. All methods may be called concurrently.
type Guard struct {
	config  Config
	breaker breaker
	limiter limiter
	window  window
	minute  minute
	failed  atomic.Uint64 // webhooks that failed in the slot that is being filled
	bodies  Budget
	log     *slog.Logger

	// mu guards signals, last, and the fields of the breaker that are not atomic. Only the goroutine
	// that observes changes them.
	mu      sync.Mutex
	signals []*signal
	last    Observation

	// unread says that the queue did not answer last time. Only the goroutine that observes uses it.
	unread bool
}

// signal is an observed value and the rule it must keep.
type signal struct {
	name string
	Condition
	read func(Observation) (value float64, known bool)
}

// New returns a guard that admits everything until Run is called.
func New(c Config) *Guard {
	g := &Guard{config: c, log: c.Logger, bodies: Budget{limit: c.BodyMemory}}
	if g.log == nil {
		g.log = slog.New(slog.DiscardHandler)
	}
	g.breaker.state, g.breaker.recovery = Closed, c.Recovery
	g.breaker.admitted.Store(admitAll)
	g.limiter.InFlight = c.InFlight
	g.limiter.limit.Store(int64(c.InFlight.Max))
	g.signals = []*signal{
		{SignalDepth, Condition{Rule: c.Depth}, readDepth},
		{SignalLag, Condition{Rule: c.Lag}, readLag},
		{SignalP95, Condition{Rule: c.P95}, func(o Observation) (float64, bool) {
			return float64(o.P95) / float64(time.Millisecond), true
		}},
	}
	return g
}

// readDepth returns the depth in percent. It is unknown while the queue fails, unless the queue
// fails because it is full. A queue in which nothing can wait has no high-water mark.
func readDepth(o Observation) (float64, bool) {
	q := o.Queue
	if o.QueueErr != nil || q.Err != nil && !errors.Is(q.Err, hookgate.ErrFull) {
		return 0, false
	}
	if q.HighWater <= 0 {
		return 0, q.Depth == 0
	}
	return 100 * float64(q.Depth) / float64(q.HighWater), true
}

// readLag returns the age of the oldest record. It is unknown while the gate spools, because the
// oldest record may be in the queue that does not answer.
func readLag(o Observation) (float64, bool) {
	q := o.Queue
	if o.QueueErr != nil || q.Degraded != nil || q.Err != nil && !errors.Is(q.Err, hookgate.ErrFull) {
		return 0, false
	}
	if q.OldestEnqueuedAt.IsZero() || o.Buffering {
		return 0, true
	}
	return max(0, o.At.Sub(q.OldestEnqueuedAt).Seconds()), true
}

// Admit reports whether the breaker lets a webhook in. The HTTP handler asks before it reads the
// body.
func (g *Guard) Admit() bool { return g.breaker.allow() }

// Busy reports whether Enter would fail now, so that the HTTP handler need not read a body in vain.
func (g *Guard) Busy() bool { return g.limiter.busy() }

// Enter counts a webhook whose body has been read as in flight. It returns false if too many are.
// After true, Leave must follow.
func (g *Guard) Enter() bool { return g.limiter.enter() }

// Leave counts a webhook as answered.
func (g *Guard) Leave() { g.limiter.leave() }

// Accepted records how long a webhook took from Enter until it was durable. Do not call it for
// rejected webhooks: they would make the gate look faster than it is.
func (g *Guard) Accepted(took time.Duration) { g.window.observe(took) }

// Failed counts an authentic webhook that was answered 5xx for another reason than the mode: the
// gate could not store it, or rejected it because of the load. Do not call it for requests that did
// not authenticate: strangers must not decide about the release.
func (g *Guard) Failed() { g.failed.Add(1) }

// Bodies is the memory of all bodies in flight.
func (g *Guard) Bodies() *Budget { return &g.bodies }

// Run observes the load and adapts to it until ctx ends.
func (g *Guard) Run(ctx context.Context, in Inputs) {
	var all sync.WaitGroup
	all.Go(func() { every(ctx, slotTime, g.adapt) })
	all.Go(func() { every(ctx, observeEvery, func() { g.observe(ctx, in) }) })
	all.Wait()
}

func every(ctx context.Context, period time.Duration, f func()) {
	ticker := time.NewTicker(period)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			f()
		case <-ctx.Done():
			return
		}
	}
}

// adapt fits the limit on webhooks in flight to the slot of the window that ends, and adds that
// slot to the minute.
func (g *Guard) adapt() {
	g.window.advance()
	took := g.window.ended()
	g.limiter.adjust(summarise(&took))
	g.minute.add(&took, g.failed.Swap(0))
}

// observe makes an observation, lets the breaker act on it, and passes it on.
func (g *Guard) observe(ctx context.Context, in Inputs) {
	var o Observation
	if in.Queue != nil {
		asking, cancel := context.WithTimeout(ctx, queueTimeout)
		defer cancel()
		o.Queue, o.QueueErr = in.Queue(asking)
	}
	if ctx.Err() != nil {
		return
	}
	o.Buffering = in.Mode != nil && in.Mode() == control.ModeBuffer
	if n, p95 := g.window.quantile(0.95); n >= fewest {
		o.P95 = p95
	}
	o.Minute = g.minute.read()
	o.At = time.Now()

	if unread := o.QueueErr != nil; unread != g.unread {
		g.unread = unread
		if unread {
			g.log.Warn("the queue does not answer; until it does, the breaker ignores depth and lag",
				"error", o.QueueErr)
		}
	}
	if g.judge(o) {
		g.logBreaker()
	}
	if in.Observer != nil {
		in.Observer(ctx, o)
	}
}

// judge updates the signals and the breaker. It reports whether the breaker has changed its state.
func (g *Guard) judge(o Observation) (changed bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.last = o
	for _, s := range g.signals {
		value, known := s.read(o)
		s.Observe(o.At, value, known)
	}
	return g.breaker.step(o.At, g.signals)
}

// logBreaker logs the state of the breaker and the signals that caused it. Only the goroutine that
// observes calls it, and only that goroutine changes what it reads.
func (g *Guard) logBreaker() {
	args := []any{"breaker", g.breaker.state}
	for _, s := range g.signals {
		if s.Limit > 0 {
			args = append(args, s.name, s.Value, s.name+"_limit", s.Limit)
		}
	}
	switch g.breaker.state {
	case Open:
		g.log.Error("breaker opened: webhooks are rejected with 503 until this has cleared",
			append(args, "because", g.breaker.reason)...)
	case Recovering:
		g.log.Warn("breaker admits webhooks again, a growing part of them",
			append(args, "over", g.config.Recovery.String())...)
	default:
		g.log.Info("breaker closed: all webhooks are admitted", args...)
	}
}

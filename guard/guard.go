// Package guard protects the gate from more load than it, its queue or its store can take.
//
//	webhook ─► breaker: how large a share is taken? ─► in flight: is there a place? ─► Append
//	                 ▲                                        ▲            │
//	                 │ each second                            │            │ time taken
//	   queue depth, lag, P95: rules with two marks      AIMD on P95 ◄─── window
//
// The breaker acts on what builds up over seconds and minutes, the bound of requests in flight on
// what happens now. Workers and everything but webhooks go on whatever the guard decides. What is
// refused was not acknowledged: the sender keeps it, so the guard can delay and never lose
// anything.
//
// Beside that it watches the release triggers: figures that say, when they stay above their limits
// for minutes, that the release should go back to the one before. They refuse nothing; they alarm,
// and act if they are told to.
//
//	the last minute's webhooks, queue, pool ─► trigger.go: states ─► alarm.go: log, metrics, webhook
//	                 ▲ each second                          └──────► act.go: read_only, canary back, roll-back command
//
// For a webhook the guard costs a few atomic operations; everything else is done in Run.
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
	// lookEvery is how often queue depth, lag and P95 are looked at.
	lookEvery = time.Second
	// lookTimeout bounds one look at the queue.
	lookTimeout = 2 * time.Second
	// fewest is the number of requests in the window below which their P95 says nothing and counts as
	// 0.
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
	// Recovery is the time in which the breaker, once what opened it has cleared, goes from taking a
	// tenth of the webhooks to taking all. 0: at once.
	Recovery time.Duration
	// InFlight bounds the webhooks between their last byte and their answer.
	InFlight InFlight
	// BodyMemory bounds, in bytes, the buffers of all bodies in flight, those that are still arriving
	// included.
	BodyMemory int64
	// Triggers are the release triggers, Acts what their actions need, and Webhook where their alarms
	// go.
	Triggers Triggers
	Acts     Acts
	Webhook  Webhook
	// Process and Version tell in alarms which process of which release this is.
	Process, Version string
	// Queue is asked each second.
	Queue func(context.Context) (hookgate.QueueStats, error)
	// Mode is asked each second too; nil: it is always normal. In control.ModeBuffer the queue grows
	// because someone wants it to: the lag and the release trigger of the queue's depth then count for
	// nothing.
	Mode func() control.Mode
	// Logger gets a line for each change of the breaker and of a release trigger, and for what is
	// done; nil for none.
	Logger *slog.Logger
}

// Guard is the load protection of one process. All methods may be called concurrently.
type Guard struct {
	config  Config
	breaker breaker
	limiter limiter
	window  window
	minute  minute
	failed  atomic.Uint64 // webhooks since the minute was told last
	bodies  Budget
	alarms  alarms
	acting  sync.WaitGroup // actions of triggers that have fired
	log     *slog.Logger

	// guards signals, triggers and what of the breaker is not atomic; only the goroutine that looks
	// changes them
	mu       sync.Mutex
	signals  []*signal
	triggers []*trigger

	// last is what was seen of the queue last, guarded by mu.
	last look

	// unread says that the queue could not be asked last time. It belongs to the goroutine that looks.
	unread bool
}

// signal is a value that is watched and what it is held against.
type signal struct {
	name string
	condition
	read func(look) (value float64, known bool)
}

// look is what the signals are read from.
type look struct {
	now    time.Time
	queue  hookgate.QueueStats
	err    error // of asking the queue
	buffer bool  // the mode is ModeBuffer
	p95    time.Duration
	minute minuteSummary
}

// New returns a guard that takes everything until Run is called.
func New(c Config) *Guard {
	g := &Guard{config: c, log: c.Logger, bodies: Budget{limit: c.BodyMemory}}
	if g.log == nil {
		g.log = slog.New(slog.DiscardHandler)
	}
	g.breaker.state, g.breaker.recovery = Closed, c.Recovery
	g.breaker.share.Store(whole)
	g.limiter.InFlight = c.InFlight
	g.limiter.limit.Store(int64(c.InFlight.Max))
	g.signals = []*signal{
		{SignalDepth, condition{Rule: c.Depth}, readDepth},
		{SignalLag, condition{Rule: c.Lag}, readLag},
		{SignalP95, condition{Rule: c.P95}, func(l look) (float64, bool) { return millis(l.p95), true }},
	}
	g.triggers = newTriggers(c.Triggers)
	g.alarms.to, g.alarms.process, g.alarms.version, g.alarms.log = c.Webhook, c.Process, c.Version,
		g.log
	g.alarms.waiting = make(chan Alarm, alarmsWaiting)
	return g
}

// readDepth: a queue that fails has no depth to act on. One that is full has. Where nothing can
// wait there is no high-water mark.
func readDepth(l look) (float64, bool) {
	q := l.queue
	if l.err != nil || q.Err != nil && !errors.Is(q.Err, hookgate.ErrFull) {
		return 0, false
	}
	if q.HighWater <= 0 {
		return 0, q.Depth == 0
	}
	return 100 * float64(q.Depth) / float64(q.HighWater), true
}

// readLag: while deliveries are spooled, the oldest record may be one that cannot be seen.
func readLag(l look) (float64, bool) {
	q := l.queue
	if l.err != nil || q.Degraded != nil || q.Err != nil && !errors.Is(q.Err, hookgate.ErrFull) {
		return 0, false
	}
	if q.OldestEnqueuedAt.IsZero() || l.buffer {
		return 0, true
	}
	return max(0, l.now.Sub(q.OldestEnqueuedAt).Seconds()), true
}

// Admit reports whether the breaker lets a webhook in. The edge asks before it reads the body.
func (g *Guard) Admit() bool { return g.breaker.allow() }

// Busy reports whether Begin would refuse now, so that a body need not be read in vain.
func (g *Guard) Busy() bool { return g.limiter.busy() }

// Begin takes a place in flight for a webhook whose body has been read. If it returns true, End
// must follow.
func (g *Guard) Begin() bool { return g.limiter.begin() }

// End gives the place back.
func (g *Guard) End() { g.limiter.end() }

// Accepted tells how long a webhook took from Begin until it was durable. Refused ones are not
// told: they would make the gate look fast when it is not.
func (g *Guard) Accepted(took time.Duration) { g.window.observe(took) }

// Failed counts an authentic webhook that got 5xx for another reason than the mode: the gate could
// not take it, or would not for the load. Requests of strangers must not be counted: they would
// decide about the release.
func (g *Guard) Failed() { g.failed.Add(1) }

// Bodies is the memory of all bodies in flight.
func (g *Guard) Bodies() *Budget { return &g.bodies }

// Run watches, adapts, alarms and acts until ctx ends.
func (g *Guard) Run(ctx context.Context) {
	var all sync.WaitGroup
	all.Go(func() { every(ctx, slotTime, g.adapt) })
	all.Go(func() { every(ctx, lookEvery, func() { g.look(ctx) }) })
	all.Go(func() { g.alarms.run(ctx) })
	all.Wait()
	g.acting.Wait()
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

// adapt fits the bound of requests in flight to the slot of the window that ends, and adds that
// slot to the minute.
func (g *Guard) adapt() {
	g.window.advance()
	took := g.window.ended()
	g.limiter.adjust(summarise(&took))
	g.minute.add(&took, g.failed.Swap(0))
}

// look reads all signals and lets the breaker act on them.
func (g *Guard) look(ctx context.Context) {
	asking, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	var l look
	if g.config.Queue != nil {
		l.queue, l.err = g.config.Queue(asking)
	}
	if ctx.Err() != nil {
		return
	}
	l.buffer = g.config.Mode != nil && g.config.Mode() == control.ModeBuffer
	if n, p95 := g.window.quantile(0.95); n >= fewest {
		l.p95 = p95
	}
	l.minute = g.minute.read()
	l.now = time.Now()

	if unread := l.err != nil; unread != g.unread {
		g.unread = unread
		if unread {
			g.log.Warn("guard cannot ask the queue; depth and lag change nothing until it can", "error",
				l.err)
		}
	}
	changed, triggers := g.take(l)
	if changed {
		g.tell()
	}
	for _, t := range triggers {
		g.turn(ctx, t)
	}
}

// take lets the signals, the breaker and the release triggers take up a look. It reports whether
// the breaker has changed, and which triggers have fired or cleared.
func (g *Guard) take(l look) (changed bool, triggers []*trigger) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.last = l
	for _, s := range g.signals {
		value, known := s.read(l)
		s.observe(l.now, value, known)
	}
	for _, t := range g.triggers {
		if t.take(l) {
			triggers = append(triggers, t)
		}
	}
	return g.breaker.step(l.now, g.signals), triggers
}

// turn alarms and acts because a trigger has fired, or tells that it has cleared. Like tell it is
// for the goroutine that looks.
func (g *Guard) turn(ctx context.Context, t *trigger) {
	action := t.Action.orNothing()
	alarm := Alarm{Kind: AlarmCleared, Trigger: t.name, Value: thousandths(t.watched.value),
		Limit: t.Limit, Unit: t.unit, Action: action}
	args := []any{"trigger", t.name, "value", alarm.Value, "limit", t.Limit, "unit", t.unit}
	if t.state != TriggerFired {
		t.cancel()
		g.log.Warn("release trigger cleared", args...)
		g.alarms.raise(alarm)
		return
	}
	alarm.Kind = AlarmRaised
	g.log.Error("release trigger fired", append(args, "sustained", t.Sustain.String(), "action",
		action)...)
	g.alarms.raise(alarm)
	if action == ActNothing {
		t.cancel = func() {}
		return
	}
	var acting context.Context
	acting, t.cancel = context.WithCancel(ctx)
	reason := t.String()
	g.acting.Go(func() { g.act(ctx, acting, alarm, reason) })
}

// tell logs the state of the breaker with what brought it about. Like take it is for the goroutine
// that looks, and nobody else changes what it reads.
func (g *Guard) tell() {
	args := []any{"breaker", g.breaker.state}
	for _, s := range g.signals {
		if s.Limit > 0 {
			args = append(args, s.name, s.value, s.name+"_limit", s.Limit)
		}
	}
	switch g.breaker.state {
	case Open:
		g.log.Error("breaker opened: webhooks are refused with 503 until this has cleared",
			append(args, "because", g.breaker.reason)...)
	case Recovering:
		g.log.Warn("breaker lets webhooks in again, a growing share of them",
			append(args, "over", g.config.Recovery.String())...)
	default:
		g.log.Info("breaker closed: all webhooks are taken", args...)
	}
}

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

package guard

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/hookgate/hookgate"
)

// The names of the release triggers: figures that say, when they stay above their limits, that the
// release which is running should go back to the one before.
const (
	TriggerP95        = "p95"         // P95 of a minute, from a webhook's last byte to its 202
	TriggerErrorRate  = "error_rate"  // webhooks of a minute that got 5xx through the gate's own fault
	TriggerQueueDepth = "queue_depth" // unreleased records
	TriggerStorePool  = "store_pool"  // connections of the store in use, of those there may be
	TriggerRedis      = "redis"       // looks at the queue that found Redis failing
)

// recentLooks is how many looks the values of TriggerStorePool and TriggerRedis are the mean of:
// ten seconds.
const recentLooks = 10

// Trigger says when a release trigger fires, and what is done then.
type Trigger struct {
	// Limit is the highest value that is well, in the unit of the trigger; 0 turns it off.
	Limit float64
	// Sustain is how long the value must have been above it.
	Sustain time.Duration
	// Action is what the guard does, once, when it fires; ActNothing and empty leave it at the alarm.
	Action Action
}

// Triggers are the release triggers of a gate. They judge, alarm and act, and unlike the breaker
// never refuse a webhook by themselves.
type Triggers struct {
	// P95 is in milliseconds, ErrorRate, StorePool and Redis in percent, QueueDepth in records.
	P95, ErrorRate, QueueDepth, StorePool, Redis Trigger
	// ClearFor is how long a value must not have been above its limit until the alarm is over.
	ClearFor time.Duration
	// Fewest is the number of webhooks in a minute below which their P95 and error rate say nothing.
	Fewest int
	// Pool tells how many connections of the store are in use, of how many at most; nil if it has
	// none.
	Pool func() (inUse, most int)
	// NoWebhooks says that this process takes none, NoRedis that the queue is not in Redis.
	NoWebhooks, NoRedis bool
}

// TriggerState is a state of a release trigger.
type TriggerState string

// The states of a release trigger.
//
//	        above the limit          for Sustain
//	quiet ──────────────────► pending ──────────► fired
//	  ▲  ▲                       │                  │
//	  │  └───────────────────────┘                  │
//	  └─────────────────────────────────────────────┘
//	            not above it for ClearFor
//
// One that has fired stays so while its value cannot be read or says nothing: that nobody sends any
// more is no cure.
const (
	// it has no limit, or this process has nothing that it could be read from
	TriggerOff     TriggerState = "off"
	TriggerUnknown TriggerState = "unknown" // its value could not be read
	// too few webhooks for its value to say anything, or a queue that grows because of the mode buffer
	TriggerIdle    TriggerState = "idle"
	TriggerQuiet   TriggerState = "quiet"
	TriggerPending TriggerState = "pending" // above the limit, not yet for long enough
	TriggerFired   TriggerState = "fired"
)

// TriggerStates are all states.
var TriggerStates = []TriggerState{TriggerOff, TriggerUnknown, TriggerIdle, TriggerQuiet,
	TriggerPending, TriggerFired}

// reading is what a look gives a trigger.
type reading struct {
	value float64
	state TriggerState // TriggerUnknown or TriggerIdle if there is no value; else empty
}

// trigger is a Trigger at work. Only the goroutine that looks changes it, under Guard.mu.
type trigger struct {
	Trigger
	name, unit string
	absent     string // why it is off although it has a limit
	read       func(look) reading
	watched    condition
	state      TriggerState
	since      time.Time          // of state; zero before the first look
	fired      int                // times
	cancel     context.CancelFunc // ends what its action is still trying; set while it has fired
}

func newTriggers(c Triggers) []*trigger {
	noWebhooks, noRedis, noPool := "", "", ""
	if c.NoWebhooks {
		noWebhooks = "this process takes no webhooks"
	}
	if c.NoRedis {
		noRedis = "Redis is not in use"
	}
	if c.Pool == nil {
		noPool = "the store has no pool of connections"
	}
	all := []*trigger{
		{Trigger: c.P95, name: TriggerP95, unit: "ms", absent: noWebhooks, read: func(l look) reading {
			if l.minute.accepted < max(1, c.Fewest) {
				return reading{state: TriggerIdle}
			}
			return reading{value: millis(l.minute.p95)}
		}},
		{Trigger: c.ErrorRate, name: TriggerErrorRate, unit: "percent", absent: noWebhooks,
			read: func(l look) reading {
				n := l.minute.accepted + l.minute.failed
				if n < max(1, c.Fewest) {
					return reading{state: TriggerIdle}
				}
				return reading{value: 100 * float64(l.minute.failed) / float64(n)}
			}},
		{Trigger: c.QueueDepth, name: TriggerQueueDepth, unit: "records", read: func(l look) reading {
			return readRecords(l, c.QueueDepth.Limit)
		}},
		{Trigger: c.StorePool, name: TriggerStorePool, unit: "percent", absent: noPool,
			read: meanOf(func(look) float64 {
				inUse, most := c.Pool()
				return 100 * float64(inUse) / float64(max(1, most))
			})},
		{Trigger: c.Redis, name: TriggerRedis, unit: "percent", absent: noRedis,
			read: meanOf(func(l look) float64 {
				if l.err != nil || l.queue.Degraded != nil || l.queue.Err != nil &&
					!errors.Is(l.queue.Err, hookgate.ErrFull) {
					return 100
				}
				return 0
			})},
	}
	for _, t := range all {
		t.state = TriggerUnknown
		if t.Limit <= 0 || t.absent != "" {
			t.state = TriggerOff
		}
		// A Rule is too high at its limit, a trigger only above it.
		t.watched.Rule = Rule{Limit: math.Nextafter(t.Limit, math.Inf(1)), Sustain: t.Sustain,
			Clear: t.Limit, ClearFor: c.ClearFor}
	}
	return all
}

// readRecords: a queue that is away tells only what is spooled, which is too much or says nothing.
func readRecords(l look, limit float64) reading {
	q := l.queue
	switch {
	case l.err != nil, q.Err != nil && !errors.Is(q.Err, hookgate.ErrFull), q.Degraded != nil &&
		float64(q.Depth) <= limit:
		return reading{state: TriggerUnknown}
	case l.buffer:
		return reading{state: TriggerIdle}
	}
	return reading{value: float64(q.Depth)}
}

// meanOf returns a reader of the mean of the last looks.
func meanOf(value func(look) float64) func(look) reading {
	var last [recentLooks]float64
	n := 0
	return func(l look) reading {
		last[n%recentLooks] = value(l)
		n++
		sum := 0.0
		for _, v := range last[:min(n, recentLooks)] {
			sum += v
		}
		return reading{value: sum / float64(min(n, recentLooks))}
	}
}

// take takes up a look and reports whether the trigger has fired or cleared.
func (t *trigger) take(l look) (changed bool) {
	if t.state == TriggerOff {
		return false
	}
	before := t.state
	r := t.read(l)
	switch r.state {
	case TriggerUnknown:
		t.watched.observe(l.now, 0, false)
	case TriggerIdle:
		t.watched.lapse()
	default:
		t.watched.observe(l.now, r.value, true)
	}
	switch {
	case t.watched.raised:
		t.state = TriggerFired
	case r.state != "":
		t.state = r.state
	case t.watched.zone == high:
		t.state = TriggerPending
	default:
		t.state = TriggerQuiet
	}
	if t.state != before {
		t.since = l.now
	}
	if t.state == TriggerFired && before != TriggerFired {
		t.fired++
	}
	return (t.state == TriggerFired) != (before == TriggerFired)
}

// String describes the trigger for people: the reason of what is done about it.
func (t *trigger) String() string {
	return fmt.Sprintf("release trigger %s: %v %s, above %v for %v", t.name,
		thousandths(t.watched.value), t.unit, t.Limit, t.Sustain)
}

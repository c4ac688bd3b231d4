package release

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/guard"
)

// The names of the release triggers. A value that stays above its limit says that the release
// should be rolled back.
const (
	TriggerP95        = "p95"         // P95 of a minute, from a webhook's last byte to its 202
	TriggerErrorRate  = "error_rate"  // share of a minute's webhooks that the gate answered 5xx
	TriggerQueueDepth = "queue_depth" // unreleased records
	TriggerStorePool  = "store_pool"  // share of the store's connections that are in use
	TriggerRedis      = "redis"       // share of the last observations in which Redis failed
)

// Trigger says when a release trigger fires, and what the monitor does then.
type Trigger struct {
	// Limit is the highest normal value, in the unit of the trigger; 0 turns the trigger off.
	Limit float64
	// Sustain is how long the value must stay above Limit.
	Sustain time.Duration
	// Action is taken once, when the trigger fires. ActionNone and "" only raise the alarm.
	Action Action
}

// Triggers are the release triggers of a gate.
type Triggers struct {
	// P95 is in milliseconds, ErrorRate, StorePool and Redis in percent, QueueDepth in records.
	P95, ErrorRate, QueueDepth, StorePool, Redis Trigger
	// ClearFor is how long a value must not have been above its limit for the alarm to clear.
	ClearFor time.Duration
	// Fewest is the least number of webhooks in a minute for which P95 and error rate are judged.
	Fewest int
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
// A trigger that has fired stays fired while its value is unknown or idle: silence is no recovery.
const (
	// The trigger has no limit, or this process has no such value.
	TriggerOff TriggerState = "off"
	// The value could not be read.
	TriggerUnknown TriggerState = "unknown"
	// There were too few webhooks to judge by, or the queue grows because the mode is buffer.
	TriggerIdle  TriggerState = "idle"
	TriggerQuiet TriggerState = "quiet"
	// The value is above the limit, not yet for long enough.
	TriggerPending TriggerState = "pending"
	TriggerFired   TriggerState = "fired"
)

// TriggerStates are all states.
var TriggerStates = []TriggerState{TriggerOff, TriggerUnknown, TriggerIdle, TriggerQuiet,
	TriggerPending, TriggerFired}

// reading is the value that an observation has for a trigger.
type reading struct {
	value float64
	state TriggerState // TriggerUnknown or TriggerIdle if there is no value; else empty
}

// trigger is a Trigger with its state. Only the goroutine that calls Monitor.Observe changes it,
// while it holds Monitor.mu.
type trigger struct {
	Trigger
	name, unit string
	absent     string // why it is off although it has a limit
	read       func(guard.Observation) reading
	watched    guard.Condition
	state      TriggerState
	since      time.Time // of state; zero before the first observation
	fired      int       // times
}

func newTriggers(c Config) []*trigger {
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
		{Trigger: c.P95, name: TriggerP95, unit: "ms", absent: noWebhooks,
			read: func(o guard.Observation) reading {
				if o.Minute.Accepted < max(1, c.Fewest) {
					return reading{state: TriggerIdle}
				}
				return reading{value: float64(o.Minute.P95) / float64(time.Millisecond)}
			}},
		{Trigger: c.ErrorRate, name: TriggerErrorRate, unit: "percent", absent: noWebhooks,
			read: func(o guard.Observation) reading {
				n := o.Minute.Accepted + o.Minute.Failed
				if n < max(1, c.Fewest) {
					return reading{state: TriggerIdle}
				}
				return reading{value: 100 * float64(o.Minute.Failed) / float64(n)}
			}},
		{Trigger: c.QueueDepth, name: TriggerQueueDepth, unit: "records",
			read: func(o guard.Observation) reading { return readRecords(o, c.QueueDepth.Limit) }},
		{Trigger: c.StorePool, name: TriggerStorePool, unit: "percent", absent: noPool,
			read: meanOf(func(guard.Observation) float64 {
				inUse, most := c.Pool()
				return 100 * float64(inUse) / float64(max(1, most))
			})},
		{Trigger: c.Redis, name: TriggerRedis, unit: "percent", absent: noRedis,
			read: meanOf(func(o guard.Observation) float64 {
				if o.QueueErr != nil || o.Queue.Degraded != nil || o.Queue.Err != nil &&
					!errors.Is(o.Queue.Err, hookgate.ErrFull) {
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
		// A guard.Rule is too high at its limit, a trigger only above it.
		t.watched.Rule = guard.Rule{Limit: math.Nextafter(t.Limit, math.Inf(1)), Sustain: t.Sustain,
			Clear: t.Limit, ClearFor: c.ClearFor}
	}
	return all
}

// readRecords returns the depth of the queue. While the gate spools, the depth covers the spool
// only: above the limit it is too much, below it is unknown.
func readRecords(o guard.Observation, limit float64) reading {
	q := o.Queue
	switch {
	case o.QueueErr != nil, q.Err != nil && !errors.Is(q.Err, hookgate.ErrFull),
		q.Degraded != nil && float64(q.Depth) <= limit:
		return reading{state: TriggerUnknown}
	case o.Buffering:
		return reading{state: TriggerIdle}
	}
	return reading{value: float64(q.Depth)}
}

// recent is the number of observations, one a second, over which meanOf takes the mean.
const recent = 10

// meanOf returns a reader of the mean over the recent observations.
func meanOf(value func(guard.Observation) float64) func(guard.Observation) reading {
	var last [recent]float64
	n := 0
	return func(o guard.Observation) reading {
		last[n%recent] = value(o)
		n++
		sum := 0.0
		for _, v := range last[:min(n, recent)] {
			sum += v
		}
		return reading{value: sum / float64(min(n, recent))}
	}
}

// judge acts on an observation. It reports whether the trigger has fired or cleared.
func (t *trigger) judge(o guard.Observation) (changed bool) {
	if t.state == TriggerOff {
		return false
	}
	before := t.state
	r := t.read(o)
	switch r.state {
	case TriggerUnknown:
		t.watched.Observe(o.At, 0, false)
	case TriggerIdle:
		t.watched.Lapse()
	default:
		t.watched.Observe(o.At, r.value, true)
	}
	switch {
	case t.watched.Raised:
		t.state = TriggerFired
	case r.state != "":
		t.state = r.state
	case t.watched.Zone == guard.High:
		t.state = TriggerPending
	default:
		t.state = TriggerQuiet
	}
	if t.state != before {
		t.since = o.At
	}
	if t.state == TriggerFired && before != TriggerFired {
		t.fired++
	}
	return (t.state == TriggerFired) != (before == TriggerFired)
}

// reason describes why the trigger fired, for the admin trail and for people.
func (t *trigger) reason() string {
	return fmt.Sprintf("release trigger %s: %v %s, above %v for %v", t.name,
		thousandths(t.watched.Value), t.unit, t.Limit, t.Sustain)
}

// thousandths rounds for people.
func thousandths(x float64) float64 { return math.Round(1000*x) / 1000 }

// Package release watches whether the running release should be rolled back.
//
//	guard: an observation each second ─► triggers: states ─► alarms: log, metrics, webhook
//	                                                 └─────► actions: read_only, canary back,
//	                                                         roll-back command
//
// A release trigger is a value with a limit. It fires when the value stays above the limit for
// minutes. Then the monitor raises an alarm and, if the settings say so, takes an action. Unlike
// the breaker of package guard, a trigger never rejects a webhook by itself.
//
// The subpackage canary moves the webhooks from the previous service to the gate step by step. The
// subpackage rollback rolls a gate back to the previous release.
package release

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/hookgate/hookgate/guard"
)

// Config of a Monitor.
type Config struct {
	Triggers
	// Pool returns how many connections of the store are in use, of how many at most; nil if the store
	// has no pool.
	Pool func() (inUse, most int)
	// NoWebhooks says that this process takes no webhooks, NoRedis that the queue is not in Redis.
	NoWebhooks, NoRedis bool
	// Webhook is where alarms are sent.
	Webhook Webhook
	// Process and Version are shown in alarms: which process of which release raised them.
	Process, Version string
	// Logger gets a line each time a trigger fires or clears and for each action; nil for none.
	Logger *slog.Logger
}

// Monitor watches the release triggers of one process. All methods may be called concurrently,
// except that only one goroutine may call Observe.
type Monitor struct {
	config  Config
	alarms  alarms
	changes chan change
	acting  sync.WaitGroup // actions of triggers that have fired
	log     *slog.Logger

	mu       sync.Mutex // guards the state of the triggers
	triggers []*trigger
}

// change is a trigger that has fired or cleared.
type change struct {
	fired  bool
	alarm  Alarm
	reason string // of the action
}

// maxChanges is how many changes may wait for Run. There are five triggers, and Run does not block.
const maxChanges = 64

// NewMonitor returns a monitor.
func NewMonitor(c Config) *Monitor {
	m := &Monitor{config: c, log: c.Logger, triggers: newTriggers(c),
		changes: make(chan change, maxChanges)}
	if m.log == nil {
		m.log = slog.New(slog.DiscardHandler)
	}
	m.alarms = alarms{to: c.Webhook, process: c.Process, version: c.Version, log: m.log,
		waiting: make(chan Alarm, alarmsWaiting)}
	return m
}

// Observe judges an observation of the guard. If a trigger fires or clears, Run acts on it.
func (m *Monitor) Observe(ctx context.Context, o guard.Observation) {
	for _, c := range m.judge(o) {
		select {
		case m.changes <- c:
		case <-ctx.Done():
		}
	}
}

func (m *Monitor) judge(o guard.Observation) (changes []change) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, t := range m.triggers {
		if !t.judge(o) {
			continue
		}
		c := change{fired: t.state == TriggerFired, reason: t.reason(), alarm: Alarm{
			Kind: AlarmCleared, Trigger: t.name, Value: thousandths(t.watched.Value),
			Limit: t.Limit, Unit: t.unit, Action: t.Action.orNone(),
		}}
		if c.fired {
			c.alarm.Kind = AlarmRaised
		}
		changes = append(changes, c)
	}
	return changes
}

// Run raises the alarms and takes the actions of the triggers that Observe finds fired, until ctx
// ends. It returns when no action is running any more.
func (m *Monitor) Run(ctx context.Context, controls Controls) {
	var sending sync.WaitGroup
	sending.Go(func() { m.alarms.run(ctx) })
	cancels := map[string]context.CancelFunc{} // of the actions of fired triggers, by trigger
	for done := false; !done; {
		select {
		case c := <-m.changes:
			m.handle(ctx, c, controls, cancels)
		case <-ctx.Done():
			done = true
		}
	}
	sending.Wait()
	m.acting.Wait()
}

// handle alarms that a trigger has fired or cleared. If it fired, its action starts; if it cleared,
// the action's retries end.
func (m *Monitor) handle(ctx context.Context, c change, controls Controls,
	cancels map[string]context.CancelFunc) {
	args := []any{"trigger", c.alarm.Trigger, "value", c.alarm.Value, "limit", c.alarm.Limit,
		"unit", c.alarm.Unit}
	if !c.fired {
		if cancel := cancels[c.alarm.Trigger]; cancel != nil {
			cancel()
			delete(cancels, c.alarm.Trigger)
		}
		m.log.Warn("release trigger cleared", args...)
		m.alarms.raise(c.alarm)
		return
	}
	m.log.Error("release trigger fired",
		append(args, "action", c.alarm.Action, "reason", c.reason)...)
	m.alarms.raise(c.alarm)
	if c.alarm.Action == ActionNone {
		return
	}
	acting, cancel := context.WithCancel(ctx)
	cancels[c.alarm.Trigger] = cancel
	m.acting.Go(func() { m.act(ctx, acting, controls, c) })
}

// Verdict says whether a canary may take its next step. fired names the release triggers that have
// fired, and "breaker" unless the breaker is closed. If it is not empty, the canary goes back.
// unknown names the values that cannot be read, and those that are above their limits but not yet
// for long enough. If it is not nil, the canary stays at its step.
func Verdict(g *guard.Guard, m *Monitor) (fired []string, unknown error) {
	load, release := g.Status(), m.Status()
	fired = release.Fired
	for _, trigger := range release.Triggers {
		switch trigger.State {
		case TriggerUnknown:
			unknown = errors.Join(unknown, fmt.Errorf("%s cannot be read", trigger.Name))
		case TriggerPending:
			unknown = errors.Join(unknown, fmt.Errorf("%s is above its limit", trigger.Name))
		}
	}
	if load.Breaker != guard.Closed {
		fired = append(fired, "breaker")
	}
	for _, signal := range load.Signals {
		if signal.Limit > 0 && !signal.Known {
			unknown = errors.Join(unknown, fmt.Errorf("%s cannot be read", signal.Name))
		}
	}
	return fired, unknown
}

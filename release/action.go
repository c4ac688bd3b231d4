package release

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/control"
	"github.com/hookgate/hookgate/internal/backoff"
)

// Action is what the monitor does, beside the alarm, when a release trigger fires.
type Action string

// The actions.
const (
	ActionNone       Action = "none"
	ActionReadOnly   Action = "read_only"   // set the mode to read_only
	ActionCanaryBack Action = "canary_back" // set the canary back to 0 percent
	ActionRollBack   Action = "rollback"    // start the roll-back command
)

// ParseAction parses an action of the settings.
func ParseAction(s string) (Action, error) {
	switch a := Action(s); a {
	case ActionNone, ActionReadOnly, ActionCanaryBack, ActionRollBack:
		return a, nil
	}
	return "", fmt.Errorf("action %q is none of %s, %s, %s and %s", s, ActionNone, ActionReadOnly,
		ActionCanaryBack, ActionRollBack)
}

func (a Action) orNone() Action {
	if a == "" {
		return ActionNone
	}
	return a
}

// Controls are what the actions change. A field must be set if an action of the triggers needs it.
type Controls struct {
	// Mode is what ActionReadOnly sets.
	Mode interface {
		Mode() control.Mode
		SetMode(context.Context, control.Mode) error
	}
	// Canary is what ActionCanaryBack sets back.
	Canary interface {
		// Back sets the canary to 0 percent and ends a running plan. nil: that is done, and stored.
		Back(ctx context.Context, reason string) error
	}
	// RollBack starts the roll-back command, which may outlive this process, and returns a note for
	// the trail. It fails if it started one a short time ago. If the command ends while this process
	// runs, RollBack calls ended once, from another goroutine.
	RollBack func(id hookgate.RequestID, reason string, ended func(error)) (note string, err error)
	// Trail records the actions; nil if only the log has them.
	Trail interface {
		RecordAction(context.Context, control.AdminAction) error
	}
}

const (
	// Actor is the actor of these actions in the admin trail.
	Actor = "guard"
	// actTimeout bounds one attempt of an action, trailTimeout one write to the admin trail.
	actTimeout, trailTimeout = 10 * time.Second, 5 * time.Second
	// The pause after a failed attempt grows from actRetryMin to actRetryMax.
	actRetryMin, actRetryMax = time.Second, 30 * time.Second
	// maxResult is the longest result in the admin trail, in bytes.
	maxResult = 500
)

var errBuffering = errors.New("the mode is buffer, and read_only would let workers write to the " +
	"store; when the work on the database is done, run: hookgate maintenance read_only")

// act takes the action of a trigger that has fired, records it in the admin trail and raises an
// alarm with the result. It retries to set the mode or the canary until that succeeds or ctx ends,
// which happens when the trigger clears. It starts a roll-back only once. life ends with the gate.
func (m *Monitor) act(life, ctx context.Context, controls Controls, c change) {
	alarm, reason := c.alarm, c.reason
	id := hookgate.NewRequestID(time.Now())
	a := control.AdminAction{RequestID: id, Actor: Actor, Role: control.RoleOperator, Reason: reason}
	var do func(context.Context) error
	note := ""
	started := make(chan struct{})
	defer close(started)
	switch alarm.Action {
	case ActionReadOnly:
		a.Action, a.Target = "maintenance", string(control.ModeReadOnly)
		do = func(ctx context.Context) error {
			// In read_only workers go on storing. In buffer they must not, because a person works on the
			// database.
			if controls.Mode.Mode() == control.ModeBuffer {
				return errBuffering
			}
			return controls.Mode.SetMode(ctx, control.ModeReadOnly)
		}
	case ActionCanaryBack:
		a.Action, a.Target = "canary", "0 percent"
		do = func(ctx context.Context) error { return controls.Canary.Back(ctx, reason) }
	case ActionRollBack:
		a.Action, a.Target = "rollback", "the configured command"
		do = func(context.Context) (err error) {
			note, err = controls.RollBack(id, reason, func(err error) {
				<-started // the trail gets the start first
				m.rolledBack(alarm, err)
			})
			return err
		}
	}
	// The database may be the broken part. So the action does not wait for the rows of the trail.
	rows := make(chan control.AdminAction, 2)
	var trail sync.WaitGroup
	trail.Go(func() {
		for row := range rows {
			m.record(life, controls, row)
		}
	})
	rows <- m.row(a, control.ResultBegun)
	err := m.attempt(ctx, alarm.Action, do)
	result := control.ResultDone
	switch {
	case err != nil:
		result = control.ResultFailed + ": " + err.Error()
	case note != "":
		result += ": " + note
	}
	rows <- m.row(a, result)
	close(rows)
	m.acted(alarm, result)
	trail.Wait()
}

// acted raises an alarm with the result of an action.
func (m *Monitor) acted(alarm Alarm, result string) {
	alarm.Kind, alarm.Result = AlarmActed, result
	m.alarms.raise(alarm)
}

// rolledBack raises an alarm if the roll-back command failed. If it succeeded, a new process starts
// and no alarm is needed.
func (m *Monitor) rolledBack(alarm Alarm, err error) {
	if err == nil {
		m.log.Warn("the roll-back command has succeeded")
		return
	}
	m.log.Error("the roll-back command has failed", "error", err)
	m.acted(alarm, control.ResultFailed+": the roll-back command: "+err.Error())
}

// attempt calls do. It retries with growing pauses, except for a roll-back.
func (m *Monitor) attempt(ctx context.Context, action Action,
	do func(context.Context) error) error {
	policy := backoff.Policy{
		Min: actRetryMin, Max: actRetryMax,
		Stop: func(error) bool { return action == ActionRollBack },
	}
	var last error
	err := policy.Retry(ctx, func(backoff.Attempt) error {
		bounded, cancel := context.WithTimeout(ctx, actTimeout)
		defer cancel()
		err := do(bounded)
		if err != nil && ctx.Err() == nil {
			last = err
			m.log.Error("the action of a release trigger failed", "action", action, "error", err)
		}
		return err
	})
	if err != nil && ctx.Err() != nil {
		return errors.Join(errors.New("the trigger cleared or the gate stopped before an attempt "+
			"succeeded"), last)
	}
	if err != nil {
		return last
	}
	return nil
}

// row completes a row of the admin trail with time and result, and logs it.
func (m *Monitor) row(a control.AdminAction, result string) control.AdminAction {
	a.At = time.Now().Truncate(time.Microsecond).UTC()
	a.Result = strings.ToValidUTF8(result[:min(len(result), maxResult)], "")
	m.log.Warn("admin action", "request_id", a.RequestID.String(), "action", a.Action, "target",
		a.Target, "result", a.Result,
		"by", a.Actor, "reason", a.Reason)
	return a
}

// record writes a row to the admin trail. It retries until the gate stops, so that the trail has
// the row even if its own database was down. After a failure with unknown outcome the trail may
// have the row twice.
func (m *Monitor) record(life context.Context, controls Controls, a control.AdminAction) {
	if controls.Trail == nil {
		return
	}
	policy := backoff.Policy{Min: actRetryMin, Max: actRetryMax}
	for failures := 1; ; failures++ {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(life), trailTimeout)
		err := controls.Trail.RecordAction(ctx, a)
		cancel()
		if err == nil {
			return
		}
		m.log.Error("cannot write the admin trail; retrying", "request_id",
			a.RequestID.String(), "result", a.Result, "error", err)
		if backoff.Sleep(life, policy.Pause(failures)) != nil {
			return
		}
	}
}

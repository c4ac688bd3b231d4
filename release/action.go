package release

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/failsafe-go/failsafe-go"
	"github.com/failsafe-go/failsafe-go/retrypolicy"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/control"
)

// Action is what the monitor does, beside the alarm, when a release trigger fires.
type Action string

// The actions.
const (
	ActionNone       Action = "none"
	ActionReadOnly   Action = "read_only"   // stop the intake
	ActionCanaryBack Action = "canary_back" // send all webhooks to the old release again
	ActionRollBack   Action = "rollback"    // start the roll-back command
)

// ParseAction reads an action as it is written in the settings.
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
	// Mode is for ActionReadOnly.
	Mode interface {
		Mode() control.Mode
		SetMode(context.Context, control.Mode) error
	}
	// Canary is for ActionCanaryBack.
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
	// actTimeout bounds one attempt of an action, trailTimeout the writing of a row.
	actTimeout, trailTimeout = 10 * time.Second, 5 * time.Second
	// actRetryMin and actRetryMax bound the pause after an attempt that failed.
	actRetryMin, actRetryMax = time.Second, 30 * time.Second
	// maxResult is the longest result in the trail, in bytes.
	maxResult = 500
)

var errBuffering = errors.New("the mode is buffer, and read_only would let workers write to the store; " +
	"when the work on the database is done, set it by hand")

// act does what the trigger's action says, and tells. A mode or a canary that cannot be set is
// tried again until it is or the trigger has cleared, which ends ctx; a roll-back is started once
// for each firing. The gate's end ends life.
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
			// In read_only workers store, which nobody must have them do while a person works on the
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
				<-started // that it was started is recorded first
				m.rolledBack(alarm, err)
			})
			return err
		}
	}
	// The database may be what is broken, and each row waits for it: what protects does not.
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

// acted alarms of what an action came to.
func (m *Monitor) acted(alarm Alarm, result string) {
	alarm.Kind, alarm.Result = AlarmActed, result
	m.alarms.raise(alarm)
}

// rolledBack tells that the roll-back command has failed. One that has done its work is seen by a
// new process coming up.
func (m *Monitor) rolledBack(alarm Alarm, err error) {
	if err == nil {
		m.log.Warn("the roll-back command has ended well")
		return
	}
	m.log.Error("the roll-back command has failed", "error", err)
	m.acted(alarm, control.ResultFailed+": the roll-back command: "+err.Error())
}

// attempt does it, again and again where that does no harm.
func (m *Monitor) attempt(ctx context.Context, action Action, do func(context.Context) error) error {
	retries := -1
	if action == ActionRollBack {
		retries = 0
	}
	policy := retrypolicy.NewBuilder[any]().
		WithMaxRetries(retries).
		WithBackoff(actRetryMin, actRetryMax).
		WithJitterFactor(0.25).
		AbortIf(func(any, error) bool { return ctx.Err() != nil }).
		Build()
	var last error
	err := failsafe.With(policy).WithContext(ctx).Run(func() error {
		bounded, cancel := context.WithTimeout(ctx, actTimeout)
		defer cancel()
		err := do(bounded)
		if err != nil && ctx.Err() == nil {
			last = err
			m.log.Error("what a release trigger asks for failed", "action", action, "error", err)
		}
		return err
	})
	if err != nil && ctx.Err() != nil {
		return errors.Join(errors.New("it was still being tried when the trigger cleared or the gate ended"), last)
	}
	if err != nil {
		return last
	}
	return nil
}

// row is a row of the admin trail of now, which the log has at once.
func (m *Monitor) row(a control.AdminAction, result string) control.AdminAction {
	a.At = time.Now().Truncate(time.Microsecond).UTC()
	a.Result = strings.ToValidUTF8(result[:min(len(result), maxResult)], "")
	m.log.Warn("admin action", "request_id", a.RequestID.String(), "action", a.Action, "target",
		a.Target, "result", a.Result,
		"by", a.Actor, "reason", a.Reason)
	return a
}

// record writes a row into the admin trail. One that cannot be written is tried again until the
// gate ends, so that the trail tells of an outage of its own database too when that is over; after
// a failure whose outcome is unknown it may have the row twice.
func (m *Monitor) record(life context.Context, controls Controls, a control.AdminAction) {
	if controls.Trail == nil {
		return
	}
	for pause := actRetryMin; ; pause = min(2*pause, actRetryMax) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(life), trailTimeout)
		err := controls.Trail.RecordAction(ctx, a)
		cancel()
		if err == nil {
			return
		}
		m.log.Error("the admin trail does not have what the guard does", "request_id",
			a.RequestID.String(), "result", a.Result, "error", err)
		select {
		case <-life.Done():
			return
		case <-time.After(pause):
		}
	}
}

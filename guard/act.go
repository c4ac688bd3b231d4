package guard

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

// Action is what the guard does when a release trigger fires, beside the alarm.
type Action string

// The actions.
const (
	ActNothing    Action = "none"
	ActReadOnly   Action = "read_only"   // stop the intake
	ActCanaryBack Action = "canary_back" // send all webhooks to the old release again
	ActRollBack   Action = "rollback"    // start the roll-back command
)

// ParseAction reads an action as it is written in the settings.
func ParseAction(s string) (Action, error) {
	switch a := Action(s); a {
	case ActNothing, ActReadOnly, ActCanaryBack, ActRollBack:
		return a, nil
	}
	return "", fmt.Errorf("action %q is none of %s, %s, %s and %s", s, ActNothing, ActReadOnly,
		ActCanaryBack, ActRollBack)
}

func (a Action) orNothing() Action {
	if a == "" {
		return ActNothing
	}
	return a
}

// Acts are the guard's hands. What an action of the triggers needs must be set.
type Acts struct {
	// Mode is for ActReadOnly.
	Mode interface {
		Mode() control.Mode
		SetMode(context.Context, control.Mode) error
	}
	// Canary is for ActCanaryBack.
	Canary interface {
		// Back sends no more webhooks to the canary and ends a plan that is running. nil: it is so, and
		// kept.
		Back(ctx context.Context, reason string) error
	}
	// RollBack starts the roll-back command, which may outlive this process, and returns what there is
	// to tell. It refuses for some time after it has started one. If the command ends while this
	// process still runs, ended is called once, by a goroutine of its own.
	RollBack func(id hookgate.RequestID, reason string, ended func(error)) (told string, err error)
	// Trail takes up what the guard does; nil if only the log shall have it.
	Trail interface {
		RecordAction(context.Context, control.AdminAction) error
	}
}

const (
	// Actor is what the guard is called in the admin trail.
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
func (g *Guard) act(life, ctx context.Context, alarm Alarm, reason string) {
	id := hookgate.NewRequestID(time.Now())
	a := control.AdminAction{RequestID: id, Actor: Actor, Role: control.RoleOperator, Reason: reason}
	var do func(context.Context) error
	told := ""
	started := make(chan struct{})
	defer close(started)
	switch acts := g.config.Acts; alarm.Action {
	case ActReadOnly:
		a.Action, a.Target = "maintenance", string(control.ModeReadOnly)
		do = func(ctx context.Context) error {
			// In read_only workers store, which nobody must have them do while a person works on the
			// database.
			if acts.Mode.Mode() == control.ModeBuffer {
				return errBuffering
			}
			return acts.Mode.SetMode(ctx, control.ModeReadOnly)
		}
	case ActCanaryBack:
		a.Action, a.Target = "canary", "0 percent"
		do = func(ctx context.Context) error { return acts.Canary.Back(ctx, reason) }
	case ActRollBack:
		a.Action, a.Target = "rollback", "the configured command"
		do = func(context.Context) (err error) {
			told, err = acts.RollBack(id, reason, func(err error) {
				<-started // that it was started is told first
				g.rolledBack(alarm, err)
			})
			return err
		}
	}
	// The database may be what is broken, and each row waits for it: what protects does not.
	rows := make(chan control.AdminAction, 2)
	var trail sync.WaitGroup
	trail.Go(func() {
		for row := range rows {
			g.record(life, row)
		}
	})
	rows <- g.row(a, control.ResultBegun)
	err := g.attempt(ctx, alarm.Action, do)
	result := control.ResultDone
	switch {
	case err != nil:
		result = control.ResultFailed + ": " + err.Error()
	case told != "":
		result += ": " + told
	}
	rows <- g.row(a, result)
	close(rows)
	g.acted(alarm, result)
	trail.Wait()
}

// acted alarms of what an action came to.
func (g *Guard) acted(alarm Alarm, result string) {
	alarm.Kind, alarm.Result = AlarmActed, result
	g.alarms.raise(alarm)
}

// rolledBack tells that the roll-back command has failed. One that has done its work is seen by a
// new process coming up.
func (g *Guard) rolledBack(alarm Alarm, err error) {
	if err == nil {
		g.log.Warn("the roll-back command has ended well")
		return
	}
	g.log.Error("the roll-back command has failed", "error", err)
	g.acted(alarm, control.ResultFailed+": the roll-back command: "+err.Error())
}

// attempt does it, again and again where that does no harm.
func (g *Guard) attempt(ctx context.Context, action Action, do func(context.Context) error) error {
	retries := -1
	if action == ActRollBack {
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
			g.log.Error("what a release trigger asks for failed", "action", action, "error", err)
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
func (g *Guard) row(a control.AdminAction, result string) control.AdminAction {
	a.At = time.Now().Truncate(time.Microsecond).UTC()
	a.Result = strings.ToValidUTF8(result[:min(len(result), maxResult)], "")
	g.log.Warn("admin action", "request_id", a.RequestID.String(), "action", a.Action, "target",
		a.Target, "result", a.Result,
		"by", a.Actor, "reason", a.Reason)
	return a
}

// record writes a row into the admin trail. One that cannot be written is tried again until the
// gate ends, so that the trail tells of an outage of its own database too when that is over; after
// a failure whose outcome is unknown it may have the row twice.
func (g *Guard) record(life context.Context, a control.AdminAction) {
	if g.config.Acts.Trail == nil {
		return
	}
	for pause := actRetryMin; ; pause = min(2*pause, actRetryMax) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(life), trailTimeout)
		err := g.config.Acts.Trail.RecordAction(ctx, a)
		cancel()
		if err == nil {
			return
		}
		g.log.Error("the admin trail does not have what the guard does", "request_id",
			a.RequestID.String(), "result", a.Result, "error", err)
		select {
		case <-life.Done():
			return
		case <-time.After(pause):
		}
	}
}

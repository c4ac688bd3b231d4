package canary

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/control"
)

const (
	// lookEvery is how often a process looks at what others have kept, at its guard and at its plan.
	lookEvery = 100 * time.Millisecond
	// lookMost is the most that one look counts of the time of a step: a process that was stopped has
	// not watched meanwhile.
	lookMost = time.Second
	// tryEvery is the pause between attempts to keep what could not be kept.
	tryEvery = time.Second
	// stepRetry is the pause after a step that could not be recorded or kept, of which each attempt is
	// two rows of the trail.
	stepRetry = time.Minute
	// stepDelay bounds by how much longer than others a process waits with a step, so that one takes
	// it.
	stepDelay = 500 * time.Millisecond
	// trailTimeout bounds the writing of a row of the admin trail.
	trailTimeout = 5 * time.Second
)

// Step is a share for a time.
type Step struct {
	Percent int
	// For is how long the guard must have said go before the step after it; for the last step, before
	// the plan is done. Only that may be 0, which ends the plan when it is reached.
	For time.Duration
}

// CheckPlan finds what a plan cannot be.
func CheckPlan(plan []Step) error {
	for i, step := range plan {
		switch {
		case step.Percent < 1 || step.Percent > 100:
			return fmt.Errorf("step %d has %d percent, which is not from 1 to 100", i+1, step.Percent)
		case i > 0 && step.Percent <= plan[i-1].Percent:
			return fmt.Errorf("step %d has %d percent, which is not more than the step before it", i+1,
				step.Percent)
		case step.For < 0 || step.For == 0 && i < len(plan)-1:
			return fmt.Errorf("step %d has no time", i+1)
		}
	}
	return nil
}

// Start begins the plan at the first step that is above the percentage of now. Its errors are those
// of Set.
func (c *Canary) Start(ctx context.Context, why Change) (control.Canary, error) {
	c.changing.Lock()
	defer c.changing.Unlock()
	now := c.State()
	next, err := c.start(now, why)
	if err != nil {
		return now, err
	}
	return c.change(ctx, now, next, why)
}

// CheckStart returns the Refusal that Start would return now; nil if it would try.
func (c *Canary) CheckStart(why Change) error {
	_, err := c.start(c.State(), why)
	return err
}

// start is what Start makes of the canary of now.
func (c *Canary) start(now control.Canary, why Change) (next control.Canary, err error) {
	switch {
	case len(c.config.Plan) == 0:
		return next, Refusal("there is no plan: set canary.plan, or a percentage")
	case now.Step > 0:
		return next, Refusal(fmt.Sprintf("the plan is under way, at step %d", now.Step))
	}
	if fired, _ := c.config.Verdict(); len(fired) > 0 {
		return next, Refusal("the guard has fired, and the plan would go back at once: " +
			strings.Join(fired, ", "))
	}
	for i, step := range c.config.Plan {
		if step.Percent > now.Percent {
			return c.at(i), c.fits(now, why)
		}
	}
	return next, Refusal(fmt.Sprintf("the plan has no step above %d percent", now.Percent))
}

// at is the canary at a step of the plan, counted from 0. A last step without a time ends the plan.
func (c *Canary) at(i int) control.Canary {
	s := control.Canary{Percent: c.config.Plan[i].Percent, Step: i + 1}
	if c.config.Plan[i].For == 0 {
		s.Step = 0
	}
	return s
}

// Run follows other processes and the plan until ctx ends.
func (c *Canary) Run(ctx context.Context) {
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for last := time.Now(); ; {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		now := time.Now()
		c.look(ctx, min(now.Sub(last), lookMost))
		last = now
	}
}

// look takes up what has changed, and does what the plan says after so much more time.
func (c *Canary) look(ctx context.Context, passed time.Duration) {
	c.changing.Lock()
	defer c.changing.Unlock()
	c.follow(ctx)
	c.remember()
	now := c.State()
	if now.Step == 0 {
		return
	}
	fired, unknown := c.config.Verdict()
	switch {
	case len(fired) > 0:
		c.fire(ctx, fired)
	case c.config.Follower:
	case unknown != nil:
		c.hold("the guard cannot tell: " + unknown.Error())
	case now.Step > len(c.config.Plan):
		c.hold(fmt.Sprintf("the plan of this process has no step %d", now.Step))
	case c.idle(passed, c.config.Plan[now.Step-1].For+c.delay):
		c.hold("its time is over, and this process has taken no webhook of its share in it")
	case c.watch(passed) >= c.config.Plan[now.Step-1].For+c.delay &&
		time.Since(c.failedAt) >= stepRetry:
		c.advance(ctx, now)
	}
}

// watch counts time with the guard's word, and returns how much there is; changing must be held.
func (c *Canary) watch(passed time.Duration) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.watched += passed; time.Since(c.failedAt) >= stepRetry {
		c.held = ""
	}
	return c.watched
}

// idle reports whether the step has its time after so much more, and nothing to show for it.
func (c *Canary) idle(passed, most time.Duration) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.watched+passed >= most && c.taken.Load() == c.takenBefore
}

// hold notes why the step does not go on.
func (c *Canary) hold(why string) {
	c.mu.Lock()
	before := c.held
	c.held = why
	c.mu.Unlock()
	if before != why {
		c.config.Logger.Warn("canary holds its step", "why", why)
	}
}

// fire goes back, first here and then for all, and records it; changing must be held.
func (c *Canary) fire(ctx context.Context, fired []string) {
	reason := "the guard fired: " + strings.Join(fired, ", ")
	c.goBack(ActorGuard, reason)
	id, target := hookgate.NewRequestID(time.Now()), "0 percent (back)"
	// It is done whether it can be recorded or not; the log has it in any case.
	_ = c.record(ctx, id, ActorGuard, target, reason, control.ResultBegun)
	result := control.ResultDone
	if err := c.keepBack(ctx); err != nil {
		result = control.ResultFailed + ": " + err.Error()
	}
	_ = c.record(ctx, id, ActorGuard, target, reason, result)
}

// advance takes the next step, or ends the plan behind the last; changing must be held. A step that
// cannot be recorded is not taken.
func (c *Canary) advance(ctx context.Context, now control.Canary) {
	steps := len(c.config.Plan)
	next, target := control.Canary{Percent: now.Percent}, fmt.Sprintf("%d percent (plan done)",
		now.Percent)
	if now.Step < steps {
		next = c.at(now.Step)
		target = fmt.Sprintf("%d percent (step %d of %d)", next.Percent, now.Step+1, steps)
	}
	why := Change{By: ActorPlan, Reason: fmt.Sprintf("step %d of %d had its time and the guard's word",
		now.Step, steps)}
	id := hookgate.NewRequestID(time.Now())
	if err := c.record(ctx, id, why.By, target, why.Reason, control.ResultBegun); err != nil {
		c.failedAt = time.Now()
		c.hold("the admin trail cannot be written")
		return
	}
	result := control.ResultDone
	switch _, err := c.change(ctx, now, next, why); {
	case errors.Is(err, control.ErrCanaryChanged):
		result = control.ResultFailed + ": another process was first"
	case err != nil:
		result = control.ResultFailed + ": " + err.Error()
		c.failedAt = time.Now()
		c.hold("the step cannot be kept: " + err.Error())
	}
	_ = c.record(ctx, id, why.By, target, why.Reason, result) // the log has it in any case
}

// record writes a row into the admin trail, and into the log if that fails.
func (c *Canary) record(ctx context.Context, id hookgate.RequestID, actor, target, reason,
	result string) error {
	ctx, cancel := context.WithTimeout(ctx, trailTimeout)
	defer cancel()
	err := c.config.Trail.RecordAction(ctx, control.AdminAction{
		At: time.Now().Truncate(time.Microsecond).UTC(), RequestID: id, Actor: actor,
		Role:   control.RoleOperator,
		Action: "canary", Target: target, Reason: reason, Result: result,
	})
	if err != nil {
		c.config.Logger.Error("canary's row of the admin trail could not be written", "actor", actor,
			"target", target, "reason", reason,
			"result", result, "error", err)
	}
	return err
}

// Status is what a person wants to know.
type Status struct {
	control.Canary
	Plan []Step
	// Watched is how long the step has had the guard's word in this process, and Held why it does not
	// go on; empty if nothing is in its way.
	Watched time.Duration
	Held    string
	// Kept is false while a way back is in effect in this process alone.
	Kept bool
	// Fired and Unknown are the guard's word now.
	Fired   []string
	Unknown error
	// Upstream is where the others go, without a password.
	Upstream string
}

// Status returns the state now.
func (c *Canary) Status() Status {
	s := Status{Plan: c.config.Plan, Upstream: c.config.Upstream.URL.Redacted()}
	s.Fired, s.Unknown = c.config.Verdict()
	c.mu.Lock()
	defer c.mu.Unlock()
	s.Canary, s.Watched, s.Held, s.Kept = c.state, c.watched, c.held, !c.unkept
	return s
}

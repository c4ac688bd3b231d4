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
	// checkEvery is how often a process checks the settings, its verdict and its plan.
	checkEvery = 100 * time.Millisecond
	// maxGap is the longest time between two checks that counts for a step. A process that was stopped
	// did not watch meanwhile.
	maxGap = time.Second
	// storeEvery is the pause between attempts to store the canary again.
	storeEvery = time.Second
	// stepRetry is the pause after a step that could not be recorded or stored. Each attempt writes
	// two rows of the admin trail.
	stepRetry = time.Minute
	// stepDelay is the longest random delay of a step. Processes wait for different times, so that one
	// of them takes the step.
	stepDelay = 500 * time.Millisecond
	// trailTimeout bounds one write to the admin trail.
	trailTimeout = 5 * time.Second
)

// Step is a step of a plan: a percentage and a time.
type Step struct {
	Percent int
	// For is how long the verdict must be good before the next step, or after the last step before
	// the plan is done. The last step may have 0: the plan is done when it reaches that step.
	For time.Duration
}

// CheckPlan returns an error if a plan is invalid.
func CheckPlan(plan []Step) error {
	for i, step := range plan {
		switch {
		case step.Percent < 1 || step.Percent > 100:
			return fmt.Errorf("step %d has %d percent; it must be from 1 to 100", i+1, step.Percent)
		case i > 0 && step.Percent <= plan[i-1].Percent:
			return fmt.Errorf("step %d has %d percent; it must be more than the previous step has", i+1,
				step.Percent)
		case step.For < 0 || step.For == 0 && i < len(plan)-1:
			return fmt.Errorf("step %d has no time: set its for, such as 30m", i+1)
		}
	}
	return nil
}

// Start starts the plan at the first step above the current percentage. It returns the same errors
// as Set.
func (c *Canary) Start(ctx context.Context, why Change) (control.Canary, error) {
	c.changing.Lock()
	defer c.changing.Unlock()
	now := c.State()
	next, err := c.nextForStart(now, why)
	if err != nil {
		return now, err
	}
	return c.change(ctx, now, next, why)
}

// CheckStart returns the Refusal that Start would return now, or nil.
func (c *Canary) CheckStart(why Change) error {
	_, err := c.nextForStart(c.State(), why)
	return err
}

// nextForStart returns the canary that Start stores.
func (c *Canary) nextForStart(now control.Canary, why Change) (next control.Canary, err error) {
	switch {
	case len(c.config.Plan) == 0:
		return next, Refusal("there is no plan: set canary.plan, or set a percentage")
	case now.Step > 0:
		return next, Refusal(fmt.Sprintf("the plan is running, at step %d", now.Step))
	}
	if fired, _ := c.config.Verdict(); len(fired) > 0 {
		return next, Refusal("release triggers have fired, and the plan would go back at once: " +
			strings.Join(fired, ", "))
	}
	for i, step := range c.config.Plan {
		if step.Percent > now.Percent {
			return c.at(i), c.checkEvidence(now, why)
		}
	}
	return next, Refusal(fmt.Sprintf("the plan has no step above %d percent", now.Percent))
}

// at returns the canary at step i of the plan, counted from 0. A last step without a time ends the
// plan.
func (c *Canary) at(i int) control.Canary {
	s := control.Canary{Percent: c.config.Plan[i].Percent, Step: i + 1}
	if c.config.Plan[i].For == 0 {
		s.Step = 0
	}
	return s
}

// Run follows other processes and the plan until ctx ends.
func (c *Canary) Run(ctx context.Context) {
	ticker := time.NewTicker(checkEvery)
	defer ticker.Stop()
	for last := time.Now(); ; {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		now := time.Now()
		c.check(ctx, min(now.Sub(last), maxGap))
		last = now
	}
}

// check applies what other processes changed, and advances the plan by the time that has passed.
func (c *Canary) check(ctx context.Context, passed time.Duration) {
	c.changing.Lock()
	defer c.changing.Unlock()
	c.sync(ctx)
	c.remember()
	now := c.State()
	if now.Step == 0 {
		return
	}
	fired, unknown := c.config.Verdict()
	switch {
	case len(fired) > 0:
		c.backBecause(ctx, fired)
	case c.config.Follower:
	case unknown != nil:
		c.hold("the verdict is not known: " + unknown.Error())
	case now.Step > len(c.config.Plan):
		c.hold(fmt.Sprintf("the plan of this process has no step %d", now.Step))
	case c.idle(passed, c.config.Plan[now.Step-1].For+c.delay):
		c.hold("its time is over, and this process has accepted no webhook in it")
	case c.watch(passed) >= c.config.Plan[now.Step-1].For+c.delay &&
		time.Since(c.failedAt) >= stepRetry:
		c.advance(ctx, now)
	}
}

// watch adds to the time with a good verdict and returns the sum. The caller holds changing.
func (c *Canary) watch(passed time.Duration) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.watched += passed; time.Since(c.failedAt) >= stepRetry {
		c.held = ""
	}
	return c.watched
}

// idle reports whether the time of the step is over and this process accepted no webhook in it.
func (c *Canary) idle(passed, most time.Duration) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.watched+passed >= most && c.accepted.Load() == c.acceptedBefore
}

// hold records why the plan stays at its step.
func (c *Canary) hold(why string) {
	c.mu.Lock()
	before := c.held
	c.held = why
	c.mu.Unlock()
	if before != why {
		c.config.Logger.Warn("canary stays at its step", "why", why)
	}
}

// backBecause goes back to 0 percent because release triggers fired: first in this process, then
// for all. It records that in the admin trail. The caller holds changing.
func (c *Canary) backBecause(ctx context.Context, fired []string) {
	reason := "release triggers fired: " + strings.Join(fired, ", ")
	c.goBack(ActorGuard, reason)
	id, target := hookgate.NewRequestID(time.Now()), "0 percent (back)"
	// The canary goes back even if the admin trail cannot be written. The log has it in any case.
	_ = c.record(ctx, id, ActorGuard, target, reason, control.ResultBegun)
	result := control.ResultDone
	if err := c.storeBack(ctx); err != nil {
		result = control.ResultFailed + ": " + err.Error()
	}
	_ = c.record(ctx, id, ActorGuard, target, reason, result)
}

// advance takes the next step, or ends the plan after the last one. It takes no step that it cannot
// record in the admin trail. The caller holds changing.
func (c *Canary) advance(ctx context.Context, now control.Canary) {
	steps := len(c.config.Plan)
	next, target := control.Canary{Percent: now.Percent}, fmt.Sprintf("%d percent (plan done)",
		now.Percent)
	if now.Step < steps {
		next = c.at(now.Step)
		target = fmt.Sprintf("%d percent (step %d of %d)", next.Percent, now.Step+1, steps)
	}
	why := Change{By: ActorPlan, Reason: fmt.Sprintf(
		"step %d of %d had its time, and no release trigger fired",
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
		c.hold("the step cannot be stored: " + err.Error())
	}
	_ = c.record(ctx, id, why.By, target, why.Reason, result) // the log has it in any case
}

// record writes a row to the admin trail. If that fails it writes it to the log.
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
		c.config.Logger.Error("cannot write the canary's change to the admin trail", "actor", actor,
			"target", target, "reason", reason,
			"result", result, "error", err)
	}
	return err
}

// Status describes a canary for people.
type Status struct {
	control.Canary
	Plan []Step
	// Watched is for how long this process has seen a good verdict at this step. Held says why the
	// plan stays at the step; empty if nothing holds it.
	Watched time.Duration
	Held    string
	// Stored is false while only this process is at 0 percent.
	Stored bool
	// Fired and Unknown are the current verdict.
	Fired   []string
	Unknown error
	// Upstream is the URL of the upstream, without a password.
	Upstream string
}

// Status returns the current status.
func (c *Canary) Status() Status {
	s := Status{Plan: c.config.Plan, Upstream: c.config.Upstream.URL.Redacted()}
	s.Fired, s.Unknown = c.config.Verdict()
	c.mu.Lock()
	defer c.mu.Unlock()
	s.Canary, s.Watched, s.Held, s.Stored = c.state, c.watched, c.held, !c.localOnly
	return s
}

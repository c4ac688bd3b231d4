// Package rollback rolls a gate back to the previous release. It follows a playbook, from outside
// the gate.
//
//	announce ─► read_only ─► drain ─► command ─► health ─► normal ─► record
//	   │            senders get 503      │  the release   │ senders      │
//	   ▼            from here            ▼  is replaced   ▼ get 202      ▼
//	 admin trail        journal: a line before and after each step, on disk before the next one
//
// If a step fails, the gate stays as it is. From read_only to normal senders get 503: nothing
// acknowledged is lost, and most senders retry.
//
// The process may be killed at any moment. Resume then continues from the journal. It repeats steps
// except for the command. The journal and a file with the exit code say whether the command ran and
// how it ended, even if the command outlived the process.
package rollback

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/hookgate/hookgate/control"
)

// Step is a step of the playbook.
type Step string

// The steps.
const (
	Announce Step = "announce"  // write the start to the admin trail; the gate may require an approval
	ReadOnly Step = "read_only" // set the mode, so that the gate rejects webhooks
	Drain    Step = "drain"     // wait until every queued event is stored
	Command  Step = "command"   // run the command that replaces the release
	Health   Step = "health"    // wait until the expected version answers
	Normal   Step = "normal"    // set the mode, so that the gate accepts webhooks again
	Record   Step = "record"    // write the result to the admin trail
)

// Steps are all steps, in order.
var Steps = []Step{Announce, ReadOnly, Drain, Command, Health, Normal, Record}

// ErrNoAnswer is wrapped by the error of a Gate that did not answer, or whose answer broke off.
var ErrNoAnswer = errors.New("the gate does not answer")

// Advised is an error with advice.
type Advised struct {
	Err error
	Do  string // what to do
}

func (e *Advised) Error() string { return e.Err.Error() }
func (e *Advised) Unwrap() error { return e.Err }

// State is the state of a gate, from its health.
type State struct {
	Version string
	// Mode is empty if it is unknown.
	Mode control.Mode
	// Queued is the number of records that are not stored yet. It is valid if Known is true.
	Queued int64
	Known  bool
}

// Gate is the gate to roll back. If the gate does not answer, the error wraps ErrNoAnswer, and the
// Playbook repeats the call. So each method must be idempotent: the gate may have acted although
// its answer was lost.
type Gate interface {
	// Announce writes to the admin trail that the roll-back starts.
	Announce(ctx context.Context, id, expectedVersion string) error
	SetMode(ctx context.Context, m control.Mode, reason string) error
	State(context.Context) (State, error)
	// Record writes the result to the admin trail: control.ResultDone or control.ResultFailed, and a
	// summary of one line.
	Record(ctx context.Context, id, result, summary string) error
}

// Plan says how to roll back. The journal stores it, so that Resume continues with the same plan.
type Plan struct {
	ExpectedVersion string `json:"expectedVersion"`
	// FromVersion is the version before the roll-back; empty if the gate did not answer.
	FromVersion string        `json:"fromVersion,omitempty"`
	Command     []string      `json:"command"`
	Drain       time.Duration `json:"drainTimeout_ns"`
	Run         time.Duration `json:"commandTimeout_ns"`
	Health      time.Duration `json:"healthTimeout_ns"`
	// Goal is the longest time that the roll-back should take.
	Goal time.Duration `json:"goal_ns"`
	// Idempotent says that the command may run again if its result is unknown.
	Idempotent bool `json:"idempotent,omitempty"`
	// Reason is the reason that the operator gave.
	Reason string `json:"reason,omitempty"`
}

// Choices are decisions of a person about steps that cannot go as planned.
type Choices struct {
	// GateDown skips announce, read_only and drain if the gate does not answer.
	GateDown bool
	// Undrained continues although the queue has not drained in time. The records stay queued, and the
	// other release stores them.
	Undrained bool
	// If the command failed or its result is unknown, Rerun runs it again and CommandDone counts it as
	// done.
	Rerun, CommandDone bool
}

const (
	// poll is the pause between two calls while a step waits for the gate.
	poll = 100 * time.Millisecond
	// callTimeout bounds one call of the gate, normalTimeout all attempts to set the mode back.
	callTimeout, normalTimeout = 15 * time.Second, 30 * time.Second
	// retryFor is how long a call is repeated that the gate does not answer: a gate that restarts
	// breaks connections and answers again soon. retryShort is for calls that may be skipped.
	retryFor, retryShort = 15 * time.Second, time.Second
)

// Playbook is a roll-back in progress.
type Playbook struct {
	gate    Gate
	journal *Journal
	id      string
	plan    Plan
	choices Choices
	show    func(StepReport)
	// retryFor is how long a call is repeated that the gate does not answer.
	retryFor time.Duration
}

// newPlaybook returns a Playbook.
func newPlaybook(j *Journal, g Gate, id string, p Plan, c Choices,
	show func(StepReport)) *Playbook {
	w := &Playbook{gate: g, journal: j, id: id, plan: p, choices: c, show: show, retryFor: retryFor}
	if c.GateDown {
		w.retryFor = retryShort
	}
	return w
}

// Start writes the plan of a new roll-back to the journal. It fails if the last roll-back has not
// ended. The Playbook calls show when a step starts, with an empty State, and when it ends.
func Start(j *Journal, g Gate, id string, p Plan, c Choices, show func(StepReport)) (*Playbook,
	error) {
	if last := j.last(); last != nil && !last.ended {
		return nil, &Advised{fmt.Errorf("roll-back %s, started at %s, has not ended", last.id,
			last.started.Format(time.RFC3339)),
			"To continue it: hookgate rollback --resume. To end it where it is: hookgate rollback " +
				"--abandon."}
	}
	if j.find(id) != nil {
		return nil, fmt.Errorf("the journal has a roll-back %s already", id)
	}
	w := newPlaybook(j, g, id, p, c, show)
	return w, j.write(entry{ID: id, Step: stepPlan, State: stateStarted, Plan: &p})
}

// Resume returns the last roll-back, if it has not ended.
func Resume(j *Journal, g Gate, c Choices, show func(StepReport)) (*Playbook, error) {
	last := j.last()
	if last == nil || last.ended {
		return nil, errors.New("nothing to resume: every roll-back in the journal has ended")
	}
	return newPlaybook(j, g, last.id, last.plan, c, show), nil
}

// Abandon ends the last roll-back where it is. It changes nothing on the gate.
func Abandon(ctx context.Context, j *Journal, g Gate) (Report, error) {
	w, err := Resume(j, g, Choices{}, func(StepReport) {})
	if err != nil {
		return Report{}, err
	}
	if err := j.write(entry{ID: w.id, Step: stepEnd, State: stateAbandoned}); err != nil {
		return Report{}, err
	}
	w.retryFor = retryShort
	w.record(ctx, control.ResultFailed, "abandoned")
	return w.report(""), nil
}

// Run runs the steps that are not done. An error means that it stopped. The report says where, and
// what to do before Resume.
func (w *Playbook) Run(ctx context.Context) (Report, error) {
	for _, step := range Steps {
		if w.skips(step) {
			continue
		}
		err := ctx.Err()
		if err == nil {
			err = w.step(ctx, step)
		}
		if err != nil {
			summary := fmt.Sprintf("stopped at %s: %v", step, err)
			w.retryFor = min(w.retryFor, retryShort) // a person waits for the report
			w.record(context.WithoutCancel(ctx), control.ResultFailed, summary)
			return w.report(w.advice(step, err)), fmt.Errorf("roll-back %s %s", w.id, summary)
		}
	}
	if err := w.journal.write(entry{ID: w.id, Step: stepEnd, State: stateDone}); err != nil {
		return w.report(""), err
	}
	return w.report(""), nil
}

// Reason returns the reason for the roll-back.
func (w *Playbook) Reason() string { return w.plan.Reason }

// skips reports whether a step need not run. Until the command is done, Resume repeats read_only
// and drain, because a person may have set the gate back to normal.
func (w *Playbook) skips(step Step) bool {
	steps := w.journal.find(w.id).steps
	switch step {
	case ReadOnly, Drain, Command:
		return steps[Command].complete() && !w.choices.Rerun
	}
	return steps[step].complete()
}

// step runs a step, between two lines of the journal.
func (w *Playbook) step(ctx context.Context, step Step) error {
	if err := w.journal.write(entry{ID: w.id, Step: step, State: stateStarted}); err != nil {
		return err
	}
	w.show(StepReport{Step: step, StartedAt: time.Now()})
	state, note, err := w.perform(ctx, step)
	if err != nil && ctx.Err() != nil {
		err = fmt.Errorf("interrupted (%w)", err)
	}
	if err != nil {
		state, note = stateFailed, err.Error()
	}
	if failed := w.journal.write(entry{ID: w.id, Step: step, State: state, Note: note}); err == nil {
		err = failed
	}
	w.show(*w.journal.find(w.id).steps[step].report(step))
	return err
}

// perform does the work of a step. It returns stateDone or stateSkipped.
func (w *Playbook) perform(ctx context.Context, step Step) (state, note string, err error) {
	switch step {
	case Announce:
		return w.orDown(w.call(ctx, func(ctx context.Context) error {
			return w.gate.Announce(ctx, w.id,
				w.plan.ExpectedVersion)
		}))
	case ReadOnly:
		return w.orDown(w.call(ctx, func(ctx context.Context) error {
			s, err := w.gate.State(ctx)
			if err == nil && s.Mode == control.ModeBuffer {
				return &Advised{errBuffering,
					"When the database may be written again: hookgate maintenance normal. Then: hookgate " +
						"rollback --resume."}
			}
			return w.gate.SetMode(ctx, control.ModeReadOnly, w.reason(step))
		}))
	case Drain:
		return w.drain(ctx)
	case Command:
		return w.command(ctx)
	case Health:
		return w.health(ctx)
	case Normal:
		return stateDone, "", w.normal(ctx)
	}
	// The roll-back is done even if this fails: the previous release may not have the call.
	r := w.report("")
	if err := w.record(ctx, control.ResultDone, r.summary()); err != nil {
		return stateSkipped, "the admin trail does not have the result: " + err.Error(), nil
	}
	return stateDone, "", nil
}

// errBuffering prevents read_only, in which workers store, while a person works on the database.
var errBuffering = errors.New("the gate is in mode buffer: someone works on its database, and " +
	"read_only would let workers write to it")

func (w *Playbook) reason(step Step) string { return "rollback " + w.id + ": " + string(step) }

// call calls the gate. While the gate does not answer it repeats the call, for w.retryFor at most.
func (w *Playbook) call(ctx context.Context, f func(context.Context) error) error {
	for end := time.Now().Add(w.retryFor); ; {
		err := once(ctx, f)
		if !errors.Is(err, ErrNoAnswer) || time.Now().After(end) || wait(ctx, poll) != nil {
			return err
		}
	}
}

// once calls the gate once, within callTimeout.
func once(ctx context.Context, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return f(ctx)
}

// record writes the result to the admin trail.
func (w *Playbook) record(ctx context.Context, result, summary string) error {
	return w.call(ctx, func(ctx context.Context) error {
		return w.gate.Record(ctx, w.id, result,
			shorten(summary, maxSummary))
	})
}

// maxSummary is the longest summary that a gate accepts, in bytes.
const maxSummary = 400

func shorten(s string, most int) string {
	s = strings.Join(strings.Fields(s), " ")
	return strings.ToValidUTF8(s[:min(len(s), most)], "")
}

// orDown skips the step if the gate does not answer and Choices.GateDown allows that.
func (w *Playbook) orDown(err error) (state, note string, _ error) {
	if w.choices.GateDown && errors.Is(err, ErrNoAnswer) {
		return stateSkipped, "the gate does not answer", nil
	}
	return stateDone, "", err
}

// drain waits until the queue is empty.
func (w *Playbook) drain(ctx context.Context) (state, note string, err error) {
	bounded, cancel := context.WithTimeout(ctx, w.plan.Drain)
	defer cancel()
	queued := "the number of queued records is unknown"
	for {
		var s State
		err := w.call(bounded, func(ctx context.Context) (err error) {
			s, err = w.gate.State(ctx)
			return err
		})
		switch {
		case w.choices.GateDown && errors.Is(err, ErrNoAnswer) && bounded.Err() == nil:
			return w.orDown(err)
		case err != nil && bounded.Err() == nil:
			queued = err.Error()
		case err == nil && s.Known && s.Queued == 0:
			return stateDone, "", nil
		case err == nil && s.Known:
			queued = fmt.Sprintf("%d records are still queued", s.Queued)
		}
		if wait(bounded, poll) != nil {
			break
		}
	}
	switch {
	case ctx.Err() != nil:
		return "", "", ctx.Err()
	case w.choices.Undrained:
		return stateSkipped, queued + " after " + w.plan.Drain.String(), nil
	}
	return "", "", fmt.Errorf("%s after %v", queued, w.plan.Drain)
}

// health waits until the expected version answers.
func (w *Playbook) health(ctx context.Context) (state, note string, err error) {
	bounded, cancel := context.WithTimeout(ctx, w.plan.Health)
	defer cancel()
	seen := "nothing answered"
	for {
		s, err := w.gate.State(bounded)
		switch {
		case err == nil && s.Version == w.plan.ExpectedVersion:
			return stateDone, "", nil
		case err == nil:
			seen = "version " + s.Version + " answers"
		case bounded.Err() == nil:
			seen = err.Error()
		}
		if wait(bounded, poll) != nil {
			break
		}
	}
	if ctx.Err() != nil {
		return "", "", ctx.Err()
	}
	return "", "", fmt.Errorf("version %s does not answer after %v: %s", w.plan.ExpectedVersion,
		w.plan.Health, seen)
}

// normal sets the mode back. It retries, because a release that has just started may not reach its
// database yet.
func (w *Playbook) normal(ctx context.Context) error {
	bounded, cancel := context.WithTimeout(ctx, normalTimeout)
	defer cancel()
	for {
		err := once(bounded, func(ctx context.Context) error {
			return w.gate.SetMode(ctx,
				control.ModeNormal, w.reason(Normal))
		})
		if err == nil || wait(bounded, 5*poll) != nil {
			return err
		}
	}
}

// wait returns after d, or with the error of ctx.
func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

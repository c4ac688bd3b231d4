// Package rollback walks the playbook of a roll-back, from outside the gate.
//
//	announce ─► read_only ─► drain ─► command ─► health ─► normal ─► record
//	   │            senders get 503      │  the release   │ senders      │
//	   ▼            from here            ▼  is replaced   ▼ go on        ▼
//	 admin trail                      journal: a line before and after each step, on disk before the next begins
//
// A step that fails leaves the gate as it is then, in read_only between the second and the last but
// one: nothing acknowledged is lost, and most senders retry. Whoever walked may be killed at any
// moment: Resume goes on from the journal. All steps but the command may be made twice; whether the
// command has run, and with what result, is known even if it outlived whoever started it.
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
	Announce Step = "announce"  // the gate notes it in its admin trail, and may want an approval
	ReadOnly Step = "read_only" // no more webhooks are taken
	Drain    Step = "drain"     // what is queued is stored
	Command  Step = "command"   // the release is replaced
	Health   Step = "health"    // the expected version answers
	Normal   Step = "normal"    // webhooks are taken again
	Record   Step = "record"    // the admin trail has what came of it
)

// Steps are all, in their order.
var Steps = []Step{Announce, ReadOnly, Drain, Command, Health, Normal, Record}

// ErrNoAnswer is in the error of a Gate that did not answer, or whose answer broke off.
var ErrNoAnswer = errors.New("the gate does not answer")

// Advised is an error that says what to do about it.
type Advised struct {
	Err error
	Do  string
}

func (e *Advised) Error() string { return e.Err.Error() }
func (e *Advised) Unwrap() error { return e.Err }

// State is a gate as its health shows it.
type State struct {
	Version string
	// Mode is empty if it is not known.
	Mode control.Mode
	// Queued is how many records are not yet stored, if Known.
	Queued int64
	Known  bool
}

// Gate is the gate that is rolled back. An error of one that does not answer wraps ErrNoAnswer.
// Walk then repeats the call, so each method must be idempotent: the gate may have acted and its
// answer been lost.
type Gate interface {
	// Announce notes in the admin trail that the roll-back begins.
	Announce(ctx context.Context, id, expectedVersion string) error
	SetMode(ctx context.Context, m control.Mode, reason string) error
	State(context.Context) (State, error)
	// Record notes in the admin trail what came of it: control.ResultDone or ResultFailed, and a
	// line.
	Record(ctx context.Context, id, result, summary string) error
}

// Plan is what is to be done. It is kept in the journal, so that a resumed roll-back is the one
// that was begun.
type Plan struct {
	ExpectedVersion string `json:"expectedVersion"`
	// FromVersion is the version when it began; empty if the gate did not answer.
	FromVersion string        `json:"fromVersion,omitempty"`
	Command     []string      `json:"command"`
	Drain       time.Duration `json:"drainTimeout_ns"`
	Run         time.Duration `json:"commandTimeout_ns"`
	Health      time.Duration `json:"healthTimeout_ns"`
	// Goal is the time that all of it should take at most.
	Goal time.Duration `json:"goal_ns"`
	// Idempotent says that the command may be run again when it is not known what came of it.
	Idempotent bool `json:"idempotent,omitempty"`
	// Reason is why, as whoever began it said.
	Reason string `json:"reason,omitempty"`
}

// Choices are what a person decides when a step cannot be made as planned.
type Choices struct {
	// GateDown goes on without announcement, read_only and drain if the gate does not answer.
	GateDown bool
	// Undrained goes on although something is queued when the time is over: it stays queued, for the
	// other release to store.
	Undrained bool
	// Rerun runs the command again, CommandDone takes it for done, although it failed or its outcome
	// is not known.
	Rerun, CommandDone bool
}

const (
	// poll is how often the gate is asked while something is waited for.
	poll = 100 * time.Millisecond
	// callTimeout bounds one call of the gate, normalTimeout the attempts to set the mode back.
	callTimeout, normalTimeout = 15 * time.Second, 30 * time.Second
	// repeatFor is how long Walk repeats a call that the gate does not answer. A gate that restarts
	// breaks connections and answers again soon. repeatShort is for a call that may be left out.
	repeatFor, repeatShort = 15 * time.Second, time.Second
)

// Walk is a roll-back under way.
type Walk struct {
	gate    Gate
	journal *Journal
	id      string
	plan    Plan
	choices Choices
	show    func(StepReport)
	// patience is how long a call is repeated that the gate does not answer.
	patience time.Duration
}

// newWalk returns a Walk with its patience.
func newWalk(j *Journal, g Gate, id string, p Plan, c Choices, show func(StepReport)) *Walk {
	w := &Walk{gate: g, journal: j, id: id, plan: p, choices: c, show: show, patience: repeatFor}
	if c.GateDown {
		w.patience = repeatShort
	}
	return w
}

// Begin notes the plan of a new roll-back. It refuses while the last one has not ended. show is
// told of each step's beginning, with an empty State, and end.
func Begin(j *Journal, g Gate, id string, p Plan, c Choices, show func(StepReport)) (*Walk, error) {
	if last := j.last(); last != nil && !last.ended {
		return nil, &Advised{fmt.Errorf("roll-back %s, begun at %s, has not ended", last.id,
			last.begun.Format(time.RFC3339)),
			"hookgate rollback --resume goes on with it; hookgate rollback --abandon ends it where it is"}
	}
	if j.find(id) != nil {
		return nil, fmt.Errorf("there was a roll-back %s before", id)
	}
	w := newWalk(j, g, id, p, c, show)
	return w, j.write(entry{ID: id, Step: stepPlan, State: stateBegun, Plan: &p})
}

// Resume returns the last roll-back, which has not ended.
func Resume(j *Journal, g Gate, c Choices, show func(StepReport)) (*Walk, error) {
	last := j.last()
	if last == nil || last.ended {
		return nil, errors.New("there is no roll-back that has not ended: nothing to resume")
	}
	return newWalk(j, g, last.id, last.plan, c, show), nil
}

// Abandon ends the last roll-back where it is, and changes nothing.
func Abandon(ctx context.Context, j *Journal, g Gate) (Report, error) {
	w, err := Resume(j, g, Choices{}, func(StepReport) {})
	if err != nil {
		return Report{}, err
	}
	if err := j.write(entry{ID: w.id, Step: stepEnd, State: stateAbandoned}); err != nil {
		return Report{}, err
	}
	w.patience = repeatShort
	w.tell(ctx, control.ResultFailed, "abandoned")
	return w.report(""), nil
}

// Run makes the steps that are not yet made. An error means that it stopped; the report says where
// and what to do, and it can be resumed.
func (w *Walk) Run(ctx context.Context) (Report, error) {
	for _, step := range Steps {
		if w.made(step) {
			continue
		}
		err := ctx.Err()
		if err == nil {
			err = w.make(ctx, step)
		}
		if err != nil {
			summary := fmt.Sprintf("stopped at %s: %v", step, err)
			w.patience = min(w.patience, repeatShort) // a person waits for the report
			w.tell(context.WithoutCancel(ctx), control.ResultFailed, summary)
			return w.report(w.advice(step, err)), fmt.Errorf("roll-back %s %s", w.id, summary)
		}
	}
	if err := w.journal.write(entry{ID: w.id, Step: stepEnd, State: stateDone}); err != nil {
		return w.report(""), err
	}
	return w.report(""), nil
}

// Reason is why it was begun.
func (w *Walk) Reason() string { return w.plan.Reason }

// made reports whether a step need not be made. What comes before the command is made anew by
// whoever resumes, as the gate may have been put back to normal in between.
func (w *Walk) made(step Step) bool {
	steps := w.journal.find(w.id).steps
	switch step {
	case ReadOnly, Drain, Command:
		return steps[Command].made() && !w.choices.Rerun
	}
	return steps[step].made()
}

// make makes a step, between two lines of the journal.
func (w *Walk) make(ctx context.Context, step Step) error {
	if err := w.journal.write(entry{ID: w.id, Step: step, State: stateBegun}); err != nil {
		return err
	}
	w.show(StepReport{Step: step, StartedAt: time.Now()})
	state, note, err := w.effect(ctx, step)
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

// effect is what a step does. The state is stateDone or stateSkipped.
func (w *Walk) effect(ctx context.Context, step Step) (state, note string, err error) {
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
					"When the database may be written again: hookgate maintenance normal. Then: hookgate rollback --resume."}
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
	// The roll-back is done whether this can be told or not; the release that is there now need not
	// know the call.
	r := w.report("")
	if err := w.tell(ctx, control.ResultDone, r.summary()); err != nil {
		return stateSkipped, "the admin trail does not have the result: " + err.Error(), nil
	}
	return stateDone, "", nil
}

// errBuffering: in read_only workers store, which nobody must have them do while a person works on
// the database.
var errBuffering = errors.New("the gate is in mode buffer: someone works on its database, and read_only would let workers write to it")

func (w *Walk) reason(step Step) string { return "rollback " + w.id + ": " + string(step) }

// call makes a call of the gate, and repeats it while the gate does not answer, for w.patience at
// most. So the gate may see a call twice: all methods of Gate allow that.
func (w *Walk) call(ctx context.Context, f func(context.Context) error) error {
	for end := time.Now().Add(w.patience); ; {
		err := once(ctx, f)
		if !errors.Is(err, ErrNoAnswer) || time.Now().After(end) || wait(ctx, poll) != nil {
			return err
		}
	}
}

// once makes a call of the gate, within callTimeout.
func once(ctx context.Context, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return f(ctx)
}

// tell notes in the admin trail what came of it.
func (w *Walk) tell(ctx context.Context, result, summary string) error {
	return w.call(ctx, func(ctx context.Context) error {
		return w.gate.Record(ctx, w.id, result,
			shorten(summary, maxSummary))
	})
}

// maxSummary is what a gate takes, in bytes.
const maxSummary = 400

func shorten(s string, most int) string {
	s = strings.Join(strings.Fields(s), " ")
	return strings.ToValidUTF8(s[:min(len(s), most)], "")
}

// orDown passes over a gate that does not answer, if it may.
func (w *Walk) orDown(err error) (state, note string, _ error) {
	if w.choices.GateDown && errors.Is(err, ErrNoAnswer) {
		return stateSkipped, "the gate does not answer", nil
	}
	return stateDone, "", err
}

// drain waits until nothing is queued.
func (w *Walk) drain(ctx context.Context) (state, note string, err error) {
	bounded, cancel := context.WithTimeout(ctx, w.plan.Drain)
	defer cancel()
	queued := "nobody knows how many records are queued"
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
func (w *Walk) health(ctx context.Context) (state, note string, err error) {
	bounded, cancel := context.WithTimeout(ctx, w.plan.Health)
	defer cancel()
	seen := "nothing has answered"
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

// normal sets the mode back. A release that has just begun may not reach its database yet.
func (w *Walk) normal(ctx context.Context) error {
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

package rollback

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Report describes a roll-back for people and scripts.
type Report struct {
	ID              string `json:"id"`
	FromVersion     string `json:"fromVersion,omitempty"`
	ExpectedVersion string `json:"expectedVersion"`
	// State is done, stopped or abandoned.
	State     string       `json:"state"`
	StartedAt time.Time    `json:"startedAt"`
	Steps     []StepReport `json:"steps"`
	// TotalMS is the time to recovery in milliseconds: from the start until the gate accepted webhooks
	// again, or until now. Interruptions count.
	TotalMS int64 `json:"total_ms"`
	GoalMS  int64 `json:"goal_ms"`
	// WithinGoal says that the roll-back is done and took no longer than the goal.
	WithinGoal bool `json:"withinGoal"`
	// Next says what to do if the roll-back stopped.
	Next string `json:"next,omitempty"`
}

// StepReport describes a step that was started.
type StepReport struct {
	Step Step `json:"step"`
	// State is done, skipped or failed; empty if the step has not ended.
	State     string    `json:"state"`
	StartedAt time.Time `json:"startedAt"`
	TookMS    int64     `json:"took_ms"`
	Note      string    `json:"note,omitempty"`
}

func (s *stepHistory) report(step Step) *StepReport {
	r := &StepReport{Step: step, State: s.state, StartedAt: s.first,
		TookMS: s.at.Sub(s.first).Milliseconds(), Note: s.note}
	if r.State == stateStarted || r.State == stateRunning {
		r.State = ""
	}
	return r
}

func (w *Playbook) report(next string) Report {
	p := w.journal.find(w.id)
	r := Report{
		ID: w.id, FromVersion: p.plan.FromVersion, ExpectedVersion: p.plan.ExpectedVersion,
		State: "stopped", StartedAt: p.started,
		Steps: []StepReport{}, GoalMS: p.plan.Goal.Milliseconds(), Next: next,
	}
	end := time.Now()
	for _, step := range Steps {
		s := p.steps[step]
		if s == nil {
			continue
		}
		r.Steps = append(r.Steps, *s.report(step))
		if step == Normal && s.complete() {
			end = s.at
			r.State = stateDone
		}
	}
	if p.ended {
		r.State = p.state
	}
	r.TotalMS = end.Sub(p.started).Milliseconds()
	r.WithinGoal = r.State == stateDone && r.TotalMS <= r.GoalMS
	return r
}

// summary returns the report as one line, for the admin trail.
func (r Report) summary() string {
	var steps []string
	for _, s := range r.Steps {
		if s.Step != Record {
			steps = append(steps, fmt.Sprintf("%s %s %v", s.Step, s.State, milliseconds(s.TookMS)))
		}
	}
	return fmt.Sprintf("version %s, %v in all: %s", r.ExpectedVersion, milliseconds(r.TotalMS),
		strings.Join(steps, ", "))
}

func milliseconds(n int64) time.Duration { return time.Duration(n) * time.Millisecond }

// Table returns the report as a table for people.
func (r Report) Table() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-10s %-8s %-24s %10s  %s\n", "STEP", "RESULT", "STARTED", "TOOK", "NOTE")
	for _, s := range r.Steps {
		note, more, _ := strings.Cut(s.Note, "\n")
		if more != "" || len(note) > 100 {
			note = shorten(note, 100) + " …"
		}
		fmt.Fprintln(&b, strings.TrimRight(fmt.Sprintf("%-10s %-8s %-24s %10v  %s", s.Step, s.State,
			s.StartedAt.Format("2006-01-02T15:04:05.000Z"), milliseconds(s.TookMS), note), " "))
	}
	goal := milliseconds(r.GoalMS)
	switch {
	case r.State == stateDone && r.WithinGoal:
		fmt.Fprintf(&b, "\nrolled back to %s in %v, within the goal of %v (roll-back %s)\n",
			r.ExpectedVersion, milliseconds(r.TotalMS), goal, r.ID)
	case r.State == stateDone:
		fmt.Fprintf(&b, "\nrolled back to %s in %v, which is more than the goal of %v (roll-back %s)\n",
			r.ExpectedVersion, milliseconds(r.TotalMS), goal, r.ID)
	default:
		fmt.Fprintf(&b, "\n%s after %v (roll-back %s)\n", r.State, milliseconds(r.TotalMS), r.ID)
	}
	return b.String()
}

// advice says what to do after a step failed.
func (w *Playbook) advice(step Step, err error) string {
	var advised *Advised
	if errors.As(err, &advised) {
		return advised.Do
	}
	const resume = "hookgate rollback --resume"
	readOnly := " Until then the gate is in read_only: senders get 503, and most retry."
	switch step {
	case Announce, ReadOnly:
		return "Only what the table shows has changed. If the gate is down, continue without it: " +
			resume +
			" --gate-down. Otherwise fix the cause of the error, then: " + resume + "."
	case Drain:
		return "Find out why events are not stored (/api/health, the log of the gate), then: " + resume +
			". Or leave the queued events to the previous release, which must understand them: " + resume +
			" --allow-undrained. Or give up: hookgate maintenance normal, hookgate rollback --abandon." +
			readOnly
	case Command:
		return "Check what the command did (its output is next to the journal). To run it again: " +
			resume + " --rerun-command. If its work is done: " + resume +
			" --command-done. Or give up: hookgate maintenance normal, hookgate rollback --abandon." +
			readOnly
	case Health:
		return "Find out why version " + w.plan.ExpectedVersion +
			" does not answer (is it running, what does its log say, is --target right?), then: " + resume +
			". To run the command again first: " +
			resume + " --rerun-command." + readOnly
	case Normal:
		return "The gate runs the expected version and is still in read_only. Fix the cause of the" +
			" error, " +
			"then: " + resume + ". Or: hookgate maintenance normal."
	}
	return "Then: " + resume + "."
}

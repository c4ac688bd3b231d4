package dashboard

import (
	"time"
)

// canaryAnswer is what GET /admin/canary answers.
type canaryAnswer struct {
	Configured           bool
	Upstream             string
	Percent              int
	At                   *time.Time
	By, Reason, Evidence string
	Plan                 []canaryStep
	// Step is the one under way, counted from 1; 0 if none is.
	Step           int
	WatchedSeconds float64
	Held           string
	Guard          struct {
		Fired   []string
		Unknown string
	}
	Stored bool
}

// canaryStep is a step of the plan.
type canaryStep struct {
	Percent    int
	ForSeconds float64
}

// For says for how long the step lasts; empty if it has no time.
func (s canaryStep) For() string { return span(s.ForSeconds) }

// Rest is the share that goes to the service before, in percent.
func (c canaryAnswer) Rest() int { return 100 - c.Percent }

// Steps are those of the plan, and which of them is under way.
func (c canaryAnswer) Steps() (steps []struct {
	canaryStep
	Now     bool
	Watched string
}) {
	steps = make([]struct {
		canaryStep
		Now     bool
		Watched string
	}, len(c.Plan))
	for i, s := range c.Plan {
		steps[i].canaryStep = s
		if steps[i].Now = i+1 == c.Step; steps[i].Now {
			steps[i].Watched = span(c.WatchedSeconds)
		}
	}
	return steps
}

// Startable reports whether the plan has a step to begin with.
func (c canaryAnswer) Startable() bool {
	return c.Step == 0 && len(c.Plan) > 0 && c.Plan[len(c.Plan)-1].Percent > c.Percent
}

package dashboard

import "github.com/hookgate/hookgate/api"

// canaryAnswer is the answer of GET /admin/canary.
type canaryAnswer struct{ api.Canary }

// canaryStep is a step of the plan on a page.
type canaryStep struct {
	api.CanaryStep
	Now     bool   // whether it is the current step
	Watched string // time on the step; empty: not the current one
}

// For is how long the step lasts; empty if it has no time.
func (s canaryStep) For() string { return span(s.Seconds) }

// Rest is the share of the previous service, in percent.
func (c canaryAnswer) Rest() int { return 100 - c.Percent }

// Steps returns the steps of the plan.
func (c canaryAnswer) Steps() []canaryStep {
	steps := make([]canaryStep, len(c.Plan))
	for i, s := range c.Plan {
		steps[i].CanaryStep = s
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

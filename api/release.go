package api

import "time"

// Canary is the answer of /admin/canary.
type Canary struct {
	Configured bool `json:"configured"`
	// Upstream is the service that gets the other webhooks.
	Upstream string `json:"upstream,omitempty"`
	// Percent is the share of the ordering keys that the gate takes.
	Percent int `json:"percent"`
	// At is when the share was last set; null if it never was.
	At     *Time  `json:"at"`
	By     string `json:"by,omitempty"`
	Reason string `json:"reason,omitempty"`
	// Evidence is the id of the evidence with which the canary left 0 percent.
	Evidence string       `json:"evidence,omitempty"`
	Plan     []CanaryStep `json:"plan"`
	// Step is the current step of the plan, from 1; 0 if no plan is running.
	Step int `json:"step"`
	// WatchedSeconds is how long this process has seen "go" from the release triggers in this step.
	WatchedSeconds float64 `json:"watchedSeconds"`
	// Held is the reason why the plan does not go on to the next step.
	Held    string        `json:"held,omitempty"`
	Verdict CanaryVerdict `json:"verdict"`
	// Stored is false while a way back to 0 percent is in effect in this process only.
	Stored bool `json:"stored"`
	// Recorded is false if the canary went back but the admin trail could not be written; otherwise
	// nil.
	Recorded *bool `json:"recorded,omitempty"`
}

// CanaryStep is a step of the canary's plan.
type CanaryStep struct {
	Percent int     `json:"percent"`
	Seconds float64 `json:"forSeconds"`
}

// CanaryVerdict says whether a canary may take its next step.
type CanaryVerdict struct {
	// Fired names the triggers that have fired; empty means "go".
	Fired []string `json:"fired"`
	// Unknown is the reason why the triggers cannot tell.
	Unknown string `json:"unknown,omitempty"`
}

// The values of CanaryRequest.Plan.
const (
	PlanStart = "start"
	PlanBack  = "back"
)

// CanaryRequest is the body of POST /admin/canary: a percentage, or what to do with the plan.
type CanaryRequest struct {
	Percent *int   `json:"percent,omitempty"`
	Plan    string `json:"plan,omitempty"` // PlanStart or PlanBack
	// Evidence is the id of evidence that this process has received.
	Evidence string `json:"evidence,omitempty"`
	// Unproven accepts Evidence although the gate has no public keys, so that nothing is proven
	// about who made it. The admin trail records it.
	Unproven bool `json:"unproven,omitempty"`
}

// RollbackStart is the body of POST /admin/rollback.
type RollbackStart struct {
	ID              string `json:"id"`
	ExpectedVersion string `json:"expectedVersion"`
}

// RollbackResult is the body of POST /admin/rollback/{id}.
type RollbackResult struct {
	Result  string `json:"result"` // done or failed
	Summary string `json:"summary"`
}

// Rollback is the answer of both calls.
type Rollback struct {
	ID string `json:"id"`
	// Version is that of this process.
	Version string `json:"version"`
}

// Release is the answer of /admin/release: the release triggers of one process, and its last
// alarms.
type Release struct {
	Process string `json:"process"`
	// Fired names the triggers that have fired and not cleared; empty means "go".
	Fired    []string  `json:"fired"`
	Triggers []Trigger `json:"triggers"`
	// Alarms are the last ones, newest first.
	Alarms []Alarm `json:"alarms"`
	// Webhook counts the alarms by outcome; nil if no webhook is configured.
	Webhook *AlarmWebhook `json:"webhook,omitempty"`
}

// Trigger is the state of a release trigger.
type Trigger struct {
	Name string `json:"name"`
	// State is off, unknown, idle, quiet, pending or fired.
	State string `json:"state"`
	// Why is the reason why a trigger with a limit is off.
	Why string `json:"why,omitempty"`
	// Since is when it entered this state; zero before the first reading.
	Since time.Time `json:"since,omitzero"`
	Unit  string    `json:"unit"`
	Value float64   `json:"value"`
	// Known is false if the last attempt to read the value failed.
	Known bool `json:"known"`
	// Limit is 0 if there is none. Nearness is Value divided by Limit.
	Limit    float64 `json:"limit"`
	Nearness float64 `json:"nearness"`
	// AboveSeconds is how long the value has been above the limit. The trigger fires after
	// SustainSeconds.
	AboveSeconds   float64 `json:"above_s"`
	SustainSeconds float64 `json:"sustain_s"`
	// Action is none, read_only, canary_back or rollback.
	Action string `json:"action"`
	// TimesFired counts since the process started.
	TimesFired int `json:"times_fired"`
}

// Alarm is a change of a release trigger that a person should know of.
type Alarm struct {
	ID string    `json:"id"`
	At time.Time `json:"at"`
	// Kind is raised, cleared or acted.
	Kind    string  `json:"kind"`
	Trigger string  `json:"trigger"`
	Value   float64 `json:"value"`
	Limit   float64 `json:"limit"`
	Unit    string  `json:"unit"`
	Action  string  `json:"action"`
	// Result begins with done or failed; only of kind acted.
	Result string `json:"result,omitempty"`
}

// AlarmWebhook counts alarms since the process started: delivered, given up, and dropped because
// too many were waiting.
type AlarmWebhook struct {
	Delivered int64 `json:"delivered"`
	Failed    int64 `json:"failed"`
	Dropped   int64 `json:"dropped"`
}

package release

import (
	"time"

	"github.com/hookgate/hookgate/guard"
)

// Status is the state of the release triggers at one moment.
type Status struct {
	// Process is the process that watches them. Each process watches for itself.
	Process string `json:"process"`
	// Fired names the triggers that have fired and not cleared. Empty means that the release may stay.
	Fired    []string        `json:"fired"`
	Triggers []TriggerStatus `json:"triggers"`
	// Alarms are the last alarms, newest first.
	Alarms []Alarm `json:"alarms"`
	// Webhook counts the alarms sent to the webhook; nil if none is configured.
	Webhook *WebhookStatus `json:"webhook,omitempty"`
}

// TriggerStatus is the state of a release trigger at one moment.
type TriggerStatus struct {
	Name  string       `json:"name"`
	State TriggerState `json:"state"`
	// Why explains why a trigger with a limit is off.
	Why string `json:"why,omitempty"`
	// Since is when the trigger changed to its state; zero before the first observation.
	Since time.Time `json:"since,omitzero"`
	Unit  string    `json:"unit"`
	// Value is the last value read. Known is false if the last observation had none.
	Value float64 `json:"value"`
	Known bool    `json:"known"`
	// Limit is 0 if there is none. Nearness is Value divided by Limit.
	Limit    float64 `json:"limit"`
	Nearness float64 `json:"nearness"`
	// AboveSeconds is how long the value has been above the limit. The trigger fires at
	// SustainSeconds.
	AboveSeconds   float64 `json:"above_s"`
	SustainSeconds float64 `json:"sustain_s"`
	Action         Action  `json:"action"`
	// TimesFired counts the firings since the process started.
	TimesFired int `json:"times_fired"`
}

// WebhookStatus counts alarms since the process started: delivered, given up, and dropped because
// too many waited.
type WebhookStatus struct {
	Delivered int64 `json:"delivered"`
	Failed    int64 `json:"failed"`
	Dropped   int64 `json:"dropped"`
}

// Fired returns the names of the release triggers that have fired and not cleared. Empty means that
// the release may stay.
func (m *Monitor) Fired() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.fired()
}

func (m *Monitor) fired() []string {
	names := []string{}
	for _, t := range m.triggers {
		if t.state == TriggerFired {
			names = append(names, t.name)
		}
	}
	return names
}

// Status returns the state of the release triggers now.
func (m *Monitor) Status() Status {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := Status{Process: m.config.Process, Fired: m.fired(), Alarms: m.alarms.last(),
		Webhook: m.alarms.status()}
	for _, t := range m.triggers {
		s.Triggers = append(s.Triggers, t.status())
	}
	return s
}

func (t *trigger) status() TriggerStatus {
	s := TriggerStatus{
		Name: t.name, State: t.state, Since: t.since, Unit: t.unit, Value: thousandths(t.watched.Value),
		Known: t.watched.Known,
		Limit: t.Limit, SustainSeconds: t.Sustain.Seconds(), Action: t.Action.orNone(),
		TimesFired: t.fired,
	}
	if t.Limit > 0 {
		s.Why = t.absent
		s.Nearness = thousandths(t.watched.Value / t.Limit)
	}
	if t.watched.Zone == guard.High {
		s.AboveSeconds = thousandths(t.watched.InZone.Seconds())
	}
	return s
}

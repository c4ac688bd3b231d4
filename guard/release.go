package guard

import "time"

// Release is what the release triggers say at one moment.
type Release struct {
	// Process tells this guard from those of other processes; each watches for itself.
	Process string `json:"process"`
	// Fired names the triggers that have fired and not cleared; without any it is "go".
	Fired    []string        `json:"fired"`
	Triggers []TriggerStatus `json:"triggers"`
	// Alarms are the last ones, newest first.
	Alarms []Alarm `json:"alarms"`
	// Webhook counts the alarms by what became of them; nil if none is configured.
	Webhook *WebhookStatus `json:"webhook,omitempty"`
}

// TriggerStatus is a release trigger at one moment.
type TriggerStatus struct {
	Name  string       `json:"name"`
	State TriggerState `json:"state"`
	// Why says why a trigger with a limit is off.
	Why string `json:"why,omitempty"`
	// Since is when it took its state; zero before the first look.
	Since time.Time `json:"since,omitzero"`
	Unit  string    `json:"unit"`
	// Value is the last one read; Known is false if there was none at the last look.
	Value float64 `json:"value"`
	Known bool    `json:"known"`
	// Limit is 0 if there is none. Nearness is Value in proportion to it.
	Limit    float64 `json:"limit"`
	Nearness float64 `json:"nearness"`
	// AboveSeconds is how long the value has been above the limit, of the SustainSeconds that make it
	// fire.
	AboveSeconds   float64 `json:"above_s"`
	SustainSeconds float64 `json:"sustain_s"`
	Action         Action  `json:"action"`
	// TimesFired is how often it has fired since the start of the process.
	TimesFired int `json:"times_fired"`
}

// WebhookStatus counts alarms since the start of the process: delivered, given up, and dropped
// because too many waited.
type WebhookStatus struct {
	Delivered int64 `json:"delivered"`
	Failed    int64 `json:"failed"`
	Dropped   int64 `json:"dropped"`
}

// Fired returns the names of the release triggers that have fired and not cleared. Empty is "go".
func (g *Guard) Fired() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.fired()
}

func (g *Guard) fired() []string {
	names := []string{}
	for _, t := range g.triggers {
		if t.state == TriggerFired {
			names = append(names, t.name)
		}
	}
	return names
}

// Release returns the state of the release triggers now.
func (g *Guard) Release() Release {
	g.mu.Lock()
	defer g.mu.Unlock()
	r := Release{Process: g.config.Process, Fired: g.fired(), Alarms: g.alarms.last(),
		Webhook: g.alarms.status()}
	for _, t := range g.triggers {
		r.Triggers = append(r.Triggers, t.status())
	}
	return r
}

func (t *trigger) status() TriggerStatus {
	s := TriggerStatus{
		Name: t.name, State: t.state, Since: t.since, Unit: t.unit, Value: thousandths(t.watched.value),
		Known: t.watched.known,
		Limit: t.Limit, SustainSeconds: t.Sustain.Seconds(), Action: t.Action.orNothing(),
		TimesFired: t.fired,
	}
	if t.Limit > 0 {
		s.Why = t.absent
		s.Nearness = thousandths(t.watched.value / t.Limit)
	}
	if t.watched.zone == high {
		s.AboveSeconds = thousandths(t.watched.inZone.Seconds())
	}
	return s
}

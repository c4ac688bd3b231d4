package dashboard

import (
	"fmt"
	"time"

	"github.com/hookgate/hookgate/api"
	"github.com/hookgate/hookgate/release"
)

// releaseAnswer is the answer of GET /admin/release.
type releaseAnswer struct {
	api.Release
	Triggers []trigger `json:"triggers"`
	Alarms   []alarm   `json:"alarms"`
}

// trigger is a release trigger on a page.
type trigger struct{ api.Trigger }

// Words describes the state.
func (t trigger) Words() string {
	switch release.TriggerState(t.State) {
	case release.TriggerOff:
		if t.Why != "" {
			return "off: " + t.Why
		}
		return "off: it has no limit"
	case release.TriggerUnknown:
		if t.Since.IsZero() {
			return "not read yet"
		}
		return "cannot be read"
	case release.TriggerIdle:
		return "too few webhooks to tell"
	case release.TriggerPending:
		return fmt.Sprintf("too high for %s of %s", span(t.AboveSeconds), span(t.SustainSeconds))
	case release.TriggerFired:
		return "fired"
	}
	return "well"
}

// Level is the colour of the state.
func (t trigger) Level() string {
	switch release.TriggerState(t.State) {
	case release.TriggerFired:
		return levelBad
	case release.TriggerUnknown:
		if t.Since.IsZero() {
			return ""
		}
		return levelWarn
	case release.TriggerPending:
		return levelWarn
	case release.TriggerQuiet:
		return "good"
	}
	return ""
}

// Near is the nearness, at most 1.
func (t trigger) Near() float64 { return min(1, t.Nearness) }

// Then is what the gate does when the trigger fires.
func (t trigger) Then() string { return actionWords[release.Action(t.Action)] }

// Rolls reports whether the trigger starts the roll-back command.
func (t trigger) Rolls() bool {
	return release.TriggerState(t.State) != release.TriggerOff &&
		release.Action(t.Action) == release.ActionRollBack
}

var actionWords = map[release.Action]string{
	release.ActionNone: "alarm", release.ActionReadOnly: "alarm, maintenance",
	release.ActionCanaryBack: "alarm, canary back to 0%",
	release.ActionRollBack:   "alarm, roll-back command",
}

// unitOf is the unit of a trigger as it is written after a number.
func unitOf(unit string) string {
	switch unit {
	case "percent":
		return "%"
	case "records":
		return ""
	}
	return "\u202f" + unit
}

// alarm is an alarm on a page.
type alarm struct{ api.Alarm }

// Words describes the alarm.
func (a alarm) Words() string {
	switch a.Kind {
	case release.AlarmRaised:
		return fmt.Sprintf("fired at %s%s, above %s%s", figure(a.Value), unitOf(a.Unit), rate(a.Limit),
			unitOf(a.Unit))
	case release.AlarmCleared:
		return fmt.Sprintf("is well again, at %s%s", figure(a.Value), unitOf(a.Unit))
	}
	return actedWords[release.Action(a.Action)] + ": " + a.Result
}

var actedWords = map[release.Action]string{
	release.ActionReadOnly: "maintenance", release.ActionCanaryBack: "canary back to 0%",
	release.ActionRollBack: "roll-back command",
}

// Level is its colour.
func (a alarm) Level() string {
	switch {
	case a.Kind == release.AlarmRaised:
		return levelBad
	case a.Kind == release.AlarmCleared:
		return "good"
	}
	return levelWarn
}

// alarmsShown is how many alarms the overview shows.
const alarmsShown = 5

// Latest are the alarms that the overview shows.
func (r releaseAnswer) Latest() []alarm { return r.Alarms[:min(len(r.Alarms), alarmsShown)] }

// RollBacks are the alarms about roll-back commands, newest first.
func (r releaseAnswer) RollBacks() (all []alarm) {
	for _, a := range r.Alarms {
		if a.Kind == release.AlarmActed && release.Action(a.Action) == release.ActionRollBack {
			all = append(all, a)
		}
	}
	return all
}

// Rolling are the triggers that start the roll-back command.
func (r releaseAnswer) Rolling() (all []trigger) {
	for _, t := range r.Triggers {
		if t.Rolls() {
			all = append(all, t)
		}
	}
	return all
}

// span writes a time in seconds with its largest two units; empty if there is none.
func span(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second)).Round(time.Second)
	h, m, s := d/time.Hour, d%time.Hour/time.Minute, d%time.Minute/time.Second
	switch {
	case seconds <= 0:
		return ""
	case h > 0 && m > 0:
		return fmt.Sprintf("%d h %d min", h, m)
	case h > 0:
		return fmt.Sprintf("%d h", h)
	case m > 0 && s > 0:
		return fmt.Sprintf("%d min %d s", m, s)
	case m > 0:
		return fmt.Sprintf("%d min", m)
	}
	return fmt.Sprintf("%d s", s)
}

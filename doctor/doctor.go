// Package doctor looks at the machine and the services that a configuration would use, and says
// what to change and why. It changes nothing but for a file of its own in the data directory, by
// which it times the disk, and it shows no secret.
package doctor

import (
	"context"
	"fmt"
	"time"
)

// Level says how much a finding matters.
type Level int

// The levels, from what is well to what must be changed.
const (
	OK        Level = iota
	Advice          // works, could be better
	Warning         // will fail or refuse under load, or loses a little in a crash of a machine
	Unknown         // could not be looked at
	LosesData       // loses what was acknowledged
)

// String returns the level as the report shows it.
func (l Level) String() string {
	return [...]string{"ok", "advice", "warning", "unknown", "loses data"}[l]
}

// MarshalText returns String.
func (l Level) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// Finding is one thing that was looked at.
type Finding struct {
	// Area is where: redis, postgres, data directory, machine, network, keys.
	Area string `json:"area"`
	// What was looked at.
	What  string `json:"what"`
	Level Level  `json:"level"`
	// Seen is what was found, and Want what would be well.
	Seen string `json:"seen"`
	Want string `json:"want,omitempty"`
	// Do says what to change, and why. Empty if nothing.
	Do string `json:"do,omitempty"`
}

// Config is what the doctor needs of the gate's. Parts without their address are not looked at.
type Config struct {
	Settings
	DataDir  DataDir
	Redis    Redis
	Postgres Postgres
	// Timeout bounds the look at each service.
	Timeout time.Duration
}

// Report is what was found, area by area.
type Report struct {
	Findings []Finding `json:"findings"`
}

// Worst returns the highest level of all findings.
func (r *Report) Worst() Level {
	worst := OK
	for _, f := range r.Findings {
		worst = max(worst, f.Level)
	}
	return worst
}

// area collects the findings of one area.
type area struct {
	name   string
	report *Report
}

func (r *Report) area(name string) area { return area{name, r} }

// ok notes that something is as it should be.
func (a area) ok(what, seen string) { a.add(OK, what, seen, "", "") }

func (a area) add(level Level, what, seen, want, do string) {
	a.report.Findings = append(a.report.Findings, Finding{a.name, what, level, seen, want, do})
}

// Examine looks at everything. What cannot be looked at is a finding too.
func Examine(ctx context.Context, c Config) *Report {
	r := &Report{}
	c.DataDir.examine(r.area("data directory"))
	for _, service := range []struct {
		name    string
		wanted  bool
		examine func(context.Context, area) error
	}{
		{"redis", c.Redis.URL != "", c.Redis.examine},
		{"postgres", c.Postgres.URL != "", c.Postgres.examine},
	} {
		if !service.wanted {
			continue
		}
		a := r.area(service.name)
		ctx, cancel := context.WithTimeout(ctx, c.Timeout)
		if err := service.examine(ctx, a); err != nil {
			a.add(Unknown, "connection", err.Error(), "an answer",
				"make it reachable from here: serve does not start without it")
		}
		cancel()
	}
	c.examineMachine(r.area("machine"))
	c.examineNetwork(r.area("network"))
	c.examineKeys(r.area("keys"))
	return r
}

// skew judges the difference of two clocks, as far as the round trip lets it be known.
func (a area) skew(ahead, roundTrip time.Duration) {
	off := max(ahead, -ahead) - roundTrip/2
	seen := fmt.Sprintf("%v ahead of this machine (round trip %v)", ahead.Round(time.Microsecond),
		roundTrip.Round(time.Microsecond))
	if ahead < 0 {
		seen = fmt.Sprintf("%v behind this machine (round trip %v)", -ahead.Round(time.Microsecond),
			roundTrip.Round(time.Microsecond))
	}
	switch {
	case off > time.Second:
		a.add(Warning, "clock", seen, "less than 1s",
			"run NTP on both: the times in a trail come from several machines, and retention counts by them")
	case off > 100*time.Millisecond:
		a.add(Advice, "clock", seen, "less than 100ms",
			"run NTP on both: the times in a trail come from several machines")
	default:
		a.ok("clock", seen)
	}
}

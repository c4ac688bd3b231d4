// Package doctor examines the machine and the services that a configuration uses, and says what to
// change and why. It changes nothing: it only writes a file into the data directory to time the
// disk, and removes it again. It shows no secret.
package doctor

import (
	"context"
	"fmt"
	"time"
)

// Level is the severity of a finding.
type Level int

// The levels, from the least severe to the most severe.
const (
	OK        Level = iota
	Advice          // works, but could be better
	Warning         // fails or rejects webhooks under load, or loses a little if a machine crashes
	Unknown         // could not be examined
	LosesData       // can lose acknowledged webhooks
)

// String returns the level as the report shows it.
func (l Level) String() string {
	return [...]string{"ok", "advice", "warning", "unknown", "loses data"}[l]
}

// MarshalText implements encoding.TextMarshaler.
func (l Level) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// Finding is the result of one examination.
type Finding struct {
	// Area is one of redis, postgres, data directory, machine, network, keys.
	Area string `json:"area"`
	// The thing that was examined.
	What  string `json:"what"`
	Level Level  `json:"level"`
	// Seen is its state, and Want the state that it should have.
	Seen string `json:"seen"`
	Want string `json:"want,omitempty"`
	// Do says what to change, and why; empty if nothing.
	Do string `json:"do,omitempty"`
}

// Config says what to examine. A service without an address is not examined.
type Config struct {
	Settings
	DataDir  DataDir
	Redis    Redis
	Postgres Postgres
	// Timeout bounds the examination of each service.
	Timeout time.Duration
}

// Report has the findings, area by area.
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

// ok adds a finding without a problem.
func (a area) ok(what, seen string) { a.add(OK, what, seen, "", "") }

func (a area) add(level Level, what, seen, want, do string) {
	a.report.Findings = append(a.report.Findings, Finding{a.name, what, level, seen, want, do})
}

// Examine examines everything. If something cannot be examined, that is a finding too.
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
				"make it reachable from here: the gate cannot use it otherwise")
		}
		cancel()
	}
	c.examineMachine(r.area("machine"))
	c.examineNetwork(r.area("network"))
	c.examineKeys(r.area("keys"))
	return r
}

// skew judges the difference of two clocks, as far as the round trip allows.
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
			"run NTP on both: the times in a trail come from several machines, and retention "+
				"counts by them")
	case off > 100*time.Millisecond:
		a.add(Advice, "clock", seen, "less than 100ms",
			"run NTP on both: the times in a trail come from several machines")
	default:
		a.ok("clock", seen)
	}
}

package certify

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
)

// Demand is what evidence must show before a gate is promoted on it.
type Demand struct {
	// Profile has the least numbers and the greatest limits. Phases must have passed under them.
	Profile Profile
	Phases  []string
}

// NewCheck returns the check of a demand, for gate.EvidenceOptions: phases must have passed under the
// profile of a file. No phases mean smoke, load and full; an empty profile is the default one. The
// errors name the settings of the gate.
func NewCheck(profile string, phases []string) (check func(dir string) (reason string, err error),
	err error) {
	d := DefaultDemand()
	if d.Profile, err = d.Profile.load(profile); err != nil {
		return nil, fmt.Errorf("evidence.profile: %w", err)
	}
	if len(phases) > 0 {
		d.Phases = phases
	}
	if err := d.Validate(); err != nil {
		return nil, fmt.Errorf("evidence.phases: %w", err)
	}
	return d.Check, nil
}

// DefaultDemand returns the demand that a gate makes by default: the phases of "all" under the
// default profile, except that others may send meanwhile: a canary begins on a gate that is in use.
// A profile that says exclusive: true demands it.
func DefaultDemand() Demand {
	d := Demand{Profile: DefaultProfile(), Phases: []string{Smoke, Load, Full}}
	d.Profile.Exclusive = false
	return d
}

// Validate returns an error for phases that the profile does not have.
func (d Demand) Validate() error {
	for _, name := range d.Phases {
		if _, ok := d.Profile.Phases[name]; !ok || name == Ramp {
			return fmt.Errorf("%q is none of the phases smoke, load, full, soak, deliver", name)
		}
	}
	return nil
}

// maxSmallFile bounds the files that Check reads: evidence may come from anywhere.
const maxSmallFile = 8 << 20

// Check returns the reason why the evidence in a folder is not enough; empty if it is. It reads the
// verdict and the profile alone, and relies on the signer for them: VerifyBundle judges the rest.
func (d Demand) Check(dir string) (reason string, err error) {
	var v Verdict
	var p Profile
	for file, to := range map[string]any{verdictFile: &v, profileFile: &p} {
		f, err := os.Open(filepath.Join(dir, file))
		if err != nil {
			return "", err
		}
		text, err := io.ReadAll(io.LimitReader(f, maxSmallFile))
		f.Close()
		if err != nil {
			return "", err
		}
		if err := json.Unmarshal(text, to); err != nil {
			return fmt.Sprintf("its %s cannot be read: %v", file, err), nil
		}
	}
	if v.Status != Pass || statusOf(v.Criteria) != Pass {
		return fmt.Sprintf("its verdict is %s, not %s", v.Status, Pass), nil
	}
	if p.CanaryPercent < d.Profile.CanaryPercent {
		return fmt.Sprintf("it has only the keys of a canary at %d percent, and tried no wrong "+
			"credentials: certify without --canary-percent", p.CanaryPercent), nil
	}
	switch wanted := &d.Profile; {
	case wanted.Exclusive && !p.Exclusive:
		return "others could send meanwhile: certify without --exclusive=false", nil
	case p.ClockSeconds > wanted.ClockSeconds:
		return fmt.Sprintf("it has clock_s %g, which is laxer than %g", p.ClockSeconds,
			wanted.ClockSeconds), nil
	case p.SettleSeconds < wanted.SettleSeconds:
		return fmt.Sprintf("it has settle_s %g, which is laxer than %g", p.SettleSeconds,
			wanted.SettleSeconds), nil
	}
	for _, name := range d.Phases {
		i := slices.IndexFunc(v.Phases, func(s Summary) bool { return s.Phase == name })
		wanted := d.Profile.Phases[name]
		switch {
		case i < 0:
			return fmt.Sprintf("it lacks the phase %s", name), nil
		case v.Phases[i].Status != Pass:
			return fmt.Sprintf("its phase %s is %s", name, v.Phases[i].Status), nil
		case v.Phases[i].Stored < wanted.count():
			return fmt.Sprintf("its phase %s stored %d events, fewer than %d", name,
				v.Phases[i].Stored, wanted.count()), nil
		}
		phase, ok := p.Phases[name]
		if !ok {
			return fmt.Sprintf("its profile lacks the phase %s", name), nil
		}
		for _, n := range Numbers {
			if got, want := n.value(&phase), n.value(&wanted); !n.atLeastAsStrict(got, want) {
				return fmt.Sprintf("its phase %s has %s %g, which is laxer than %g", name, n.Name, got,
					want), nil
			}
		}
		if wanted.Consumer != nil {
			if laxer := phase.Consumer.laxer(wanted.Consumer); laxer != "" {
				return fmt.Sprintf("its phase %s has %s", name, laxer), nil
			}
		}
	}
	return "", nil
}

// laxer returns the first number of the consumer that asks less of a target than wanted does; empty
// if there is none. c may be nil.
func (c *Consumer) laxer(wanted *Consumer) string {
	if c == nil {
		return "no consumer"
	}
	for _, n := range []struct {
		name      string
		got, want float64
		strict    strictness
	}{
		{"errors_percent", c.Errors, wanted.Errors, more},
		{"hangs_percent", c.Hangs, wanted.Hangs, more},
		{"resets_percent", c.Resets, wanted.Resets, more},
		{"slow_percent", c.Slow, wanted.Slow, more}, {"slow_s", c.SlowSeconds, wanted.SlowSeconds, more},
		{"restarts", float64(c.Restarts), float64(wanted.Restarts), more},
		{"outage_s", c.OutageSeconds, wanted.OutageSeconds, more},
		{"unready_s", c.UnreadySeconds, wanted.UnreadySeconds, more},
		{"retry_after_s", float64(c.RetryAfterSeconds), float64(wanted.RetryAfterSeconds), more},
		{"prompt_ms", c.PromptMS, wanted.PromptMS, less},
		{"recover_s", c.RecoverSeconds, wanted.RecoverSeconds, less},
		{"pull_recover_s", c.PullRecoverSeconds, wanted.PullRecoverSeconds, less},
		{"ready_s", c.ReadySeconds, wanted.ReadySeconds, less},
		{"probes_per_s", c.ProbesPerSecond, wanted.ProbesPerSecond, less},
		{"healed_s", c.HealedSeconds, wanted.HealedSeconds, less},
		{"storm_factor", c.StormFactor, wanted.StormFactor, less},
		{"others_ms", c.OthersMS, wanted.OthersMS, less},
		{"clock_s", c.ClockSeconds, wanted.ClockSeconds, less},
		{"lag_ms", c.LagMS, wanted.LagMS, less},
	} {
		if n.strict == more && n.got < n.want || n.strict == less && n.got > n.want {
			return fmt.Sprintf("%s %g, which is laxer than %g", n.name, n.got, n.want)
		}
	}
	return ""
}

// strictness says which value of a number makes a phase stricter.
type strictness int

const (
	either  strictness = iota // neither of them
	more                      // the greater one
	less                      // the smaller one
	lessOr0                   // the smaller one; 0 is not judged
	moreOr0                   // the greater one; 0 is without a bound
)

// strictnessOf has each of Numbers. The number of events is compared with what was stored.
var strictnessOf = map[string]strictness{
	"events": either, "seconds": either, "size": either, "keys": either,
	"max-size": more, "duplicates": more, "gzip": more, "concurrency": more, "acceptance": more, "mean-batch": more,
	"rate":    moreOr0,
	"timeout": less, "error-rate": less, "drain": less, "lag-p99": less, "counter-tolerance": less,
	"latency-gap": less,
	"p95":         lessOr0, "p99": lessOr0, "max": lessOr0,
}

// atLeastAsStrict compares a value with the one that is wanted.
func (n Number) atLeastAsStrict(got, want float64) bool {
	switch strictnessOf[n.Name] {
	case more:
		return got >= want
	case moreOr0:
		return got == 0 || want != 0 && got >= want
	case less:
		return got <= want
	case lessOr0:
		return want == 0 || got != 0 && got <= want
	}
	return true
}

// value is the number in a phase.
func (n Number) value(p *Phase) float64 {
	switch v := n.of(p).(type) {
	case *float64:
		return *v
	case *int:
		return float64(*v)
	}
	return 0
}

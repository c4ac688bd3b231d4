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

// DefaultDemand returns the demand that a gate makes by default: the phases of "all" under the
// default profile.
func DefaultDemand() Demand {
	return Demand{Profile: DefaultProfile(), Phases: []string{Smoke, Load, Full}}
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
	for _, name := range d.Phases {
		i := slices.IndexFunc(v.Phases, func(s Summary) bool { return s.Phase == name })
		wanted := d.Profile.Phases[name]
		switch {
		case i < 0:
			return fmt.Sprintf("it lacks the phase %s", name), nil
		case v.Phases[i].Status != Pass:
			return fmt.Sprintf("its phase %s is %s", name, v.Phases[i].Status), nil
		case v.Phases[i].Stored < wanted.count():
			return fmt.Sprintf("its phase %s stored %d events, and %d are the least", name,
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
	}
	return "", nil
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
	"duplicates": more, "concurrency": more, "acceptance": more, "mean-batch": more,
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

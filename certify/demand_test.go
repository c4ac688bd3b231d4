package certify

import (
	"path/filepath"
	"strings"
	"testing"
)

// Goal: each number of a phase has a place in the comparison, so that no new limit is forgotten.
func TestEveryNumberIsCompared(t *testing.T) {
	for _, n := range Numbers {
		if _, ok := strictnessOf[n.Name]; !ok {
			t.Errorf("the number %s is not in strictnessOf: say which value of it is stricter", n.Name)
		}
	}
	for _, d := range []Demand{DefaultDemand(), {DefaultProfile(), []string{Deliver}}} {
		if err := d.Validate(); err != nil {
			t.Error(err)
		}
	}
	for _, phase := range []string{"none", Ramp, ""} {
		if (Demand{DefaultProfile(), []string{phase}}).Validate() == nil {
			t.Errorf("the phase %q is accepted", phase)
		}
	}
}

// Goal: evidence is enough only if each phase has passed with at least so many events, and under
// limits that are no laxer. Method: one bundle, and demands that differ in one number.
func TestDemand(t *testing.T) {
	v, dir := smallBundle(t, faults{})
	if v.Status != Pass {
		_, text := faulty(v)
		t.Fatal(text)
	}
	var own Profile
	if err := readJSON(filepath.Join(dir, profileFile), &own); err != nil {
		t.Fatal(err)
	}
	check := func(name string, change func(*Phase), reason string) {
		t.Helper()
		p := own
		phase := p.Phases[Smoke]
		change(&phase)
		p.Phases = map[string]Phase{Smoke: phase}
		got, err := Demand{p, []string{Smoke}}.Check(dir)
		if err != nil || (reason == "") != (got == "") || !strings.Contains(got, reason) {
			t.Errorf("%s: %q, want %q (%v)", name, got, reason, err)
		}
	}
	check("the same", func(*Phase) {}, "")
	check("fewer events", func(p *Phase) { p.Events-- }, "")
	check("more events", func(p *Phase) { p.Events++ }, "stored 60 events")
	for _, n := range Numbers {
		switch strictnessOf[n.Name] {
		case more:
			check(n.Name, func(p *Phase) { set(n, p, n.value(p)+1) }, n.Name)
			check(n.Name, func(p *Phase) { set(n, p, max(0, n.value(p)-1)) }, "")
		case moreOr0:
			check(n.Name, func(p *Phase) { set(n, p, 0) }, n.Name)
			check(n.Name, func(p *Phase) { set(n, p, n.value(p)+1) }, n.Name)
		case less:
			check(n.Name, func(p *Phase) { set(n, p, n.value(p)+1) }, "")
			check(n.Name, func(p *Phase) { set(n, p, n.value(p)-1) }, n.Name)
		case lessOr0:
			check(n.Name, func(p *Phase) { set(n, p, 0) }, "")
			if phase := own.Phases[Smoke]; n.value(&phase) == 0 {
				check(n.Name, func(p *Phase) { set(n, p, 10) }, n.Name) // it was not judged
			}
		}
	}
	all := DefaultDemand()
	if got, err := all.Check(dir); err != nil || got == "" {
		t.Errorf("a small bundle is enough for a gate: %q, %v", got, err)
	}
	all.Phases = []string{Full}
	if got, err := all.Check(dir); err != nil || !strings.Contains(got, "lacks the phase full") {
		t.Errorf("%q, %v", got, err)
	}
	edit(t, filepath.Join(dir, verdictFile), replace(`"PASS"`, `"FAIL"`))
	if got, err := (Demand{own, []string{Smoke}}).Check(dir); err != nil || !strings.Contains(got,
		"FAIL") {
		t.Errorf("%q, %v", got, err)
	}
}

func set(n Number, p *Phase, value float64) {
	switch to := n.of(p).(type) {
	case *float64:
		*to = value
	case *int:
		*to = int(value)
	}
}

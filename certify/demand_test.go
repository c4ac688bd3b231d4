package certify

import (
	"path/filepath"
	"reflect"
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
	v, dir := honestBundle.copy(t)
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
	// The times of the profile itself, in both directions.
	for name, change := range map[string]func(p *Profile, by float64){
		"clock_s":  func(p *Profile, by float64) { p.ClockSeconds -= by },
		"settle_s": func(p *Profile, by float64) { p.SettleSeconds += by },
	} {
		for by, enough := range map[float64]bool{-1: true, 0: true, 1: false} {
			p := own
			change(&p, by)
			if got, err := (Demand{p, []string{Smoke}}).Check(dir); err != nil || enough != (got == "") ||
				!enough && !strings.Contains(got, name) {
				t.Errorf("%s by %g: %q, %v", name, by, got, err)
			}
		}
	}
	exclusive := func(yes string) (reason string) {
		t.Helper()
		file := filepath.Join(t.TempDir(), "demand.yaml")
		writeFile(t, file, []byte(yes+`
settle_s: 0
phases:
  smoke: {events: 60, duplicates: 0, max_size: 0, gzip: 0, concurrency: 1, rate: 1, p95_ms: 0,
    p99_ms: 0, max_ms: 0, acceptance_percent: 0, error_percent: 100, drain_s: 60, mean_batch: 0,
    lag_p99_ms: 60000, latency_gap_ms: 60000, timeout_s: 60}`))
		check, err := NewCheck(file, []string{Smoke})
		if err == nil {
			reason, err = check(dir)
		}
		if err != nil {
			t.Error(err)
		}
		return reason
	}
	edit(t, filepath.Join(dir, profileFile), replace(`"exclusive": true`, `"exclusive": false`))
	for yes, want := range map[string]string{"": "", "exclusive: false": "",
		"exclusive: true": "others could send"} {
		if got := exclusive(yes); (got == "") != (want == "") || !strings.Contains(got, want) {
			t.Errorf("a demand with %q of evidence that is not: %q", yes, got)
		}
	}
	edit(t, filepath.Join(dir, profileFile), replace(`"exclusive": false`, `"exclusive": true`))
	if got := exclusive("exclusive: true"); got != "" {
		t.Errorf("exclusive evidence: %q", got)
	}
	edit(t, filepath.Join(dir, profileFile), replace(`"canary_percent": 100`, `"canary_percent": 10`))
	if got, err := (Demand{own, []string{Smoke}}).Check(dir); err != nil || !strings.Contains(got,
		"canary at 10 percent") {
		t.Errorf("the keys of a share: %q, %v", got, err)
	}
	edit(t, filepath.Join(dir, profileFile), replace(`"canary_percent": 10`, `"canary_percent": 100`))
	all := DefaultDemand()
	if got, err := all.Check(dir); err != nil || got == "" {
		t.Errorf("a small bundle is enough for a gate: %q, %v", got, err)
	}
	all.Phases, all.Profile.SettleSeconds = []string{Full}, 0
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

// Goal: the phase deliver is enough only if its consumer was no easier, and its limits no laxer.
// Method: each number of the consumer is changed in both directions; one of them is laxer, except
// for the time of a lease.
func TestDemandOfConsumer(t *testing.T) {
	wanted := DefaultProfile().Phases[Deliver].Consumer
	if got := wanted.laxer(wanted); got != "" {
		t.Errorf("the same consumer has %s", got)
	}
	if (*Consumer)(nil).laxer(wanted) == "" {
		t.Error("no consumer is enough")
	}
	kind := reflect.TypeFor[Consumer]()
	for i := range kind.NumField() {
		name, laxer := kind.Field(i).Tag.Get("json"), 0
		for _, by := range []float64{-1, 1} {
			changed := *wanted
			if f := reflect.ValueOf(&changed).Elem().Field(i); f.CanInt() {
				f.SetInt(f.Int() + int64(by))
			} else {
				f.SetFloat(f.Float() + by)
			}
			if changed.laxer(wanted) != "" {
				laxer++
			}
		}
		if name != "lease_s" && laxer != 1 {
			t.Errorf("%s is laxer in %d directions, want 1", name, laxer)
		}
	}
}

// Goal: wrong credentials may go untried only on the share of a canary.
func TestCredentialsUntried(t *testing.T) {
	whole := DefaultProfile()
	share := whole
	share.CanaryPercent = 10
	r := credentialReport{Skipped: "no time"}
	if c := r.criterion(whole); c.Status != Invalid {
		t.Errorf("without a canary the criterion is %s", c.Status)
	}
	if c := r.criterion(share); c.Status != Pass {
		t.Errorf("on a share the criterion is %s", c.Status)
	}
}

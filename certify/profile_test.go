package certify

import (
	"reflect"
	"strings"
	"testing"

	"github.com/hookgate/hookgate"
)

// Goal: a profile changes the named settings and no others.
func TestReadProfile(t *testing.T) {
	p, err := ReadProfile([]byte("application: shop\nexclusive: false\nmetrics: " +
		"[http://a/metrics]\nphases: {full: {rate: 1000, p95_ms: 50}}\n"))
	want := DefaultProfile()
	want.Application, want.Exclusive, want.Metrics = "shop", false, []string{"http://a/metrics"}
	full := want.Phases[Full]
	full.Rate, full.P95MS = 1000, 50
	want.Phases[Full] = full
	if err != nil || !reflect.DeepEqual(p, want) {
		t.Errorf("got %+v, %v\nwant %+v", p, err, want)
	}
	if p, err := ReadProfile(nil); err != nil || !reflect.DeepEqual(p, DefaultProfile()) {
		t.Errorf("an empty profile is not the default: %v", err)
	}
}

// TestOfShare checks that under a canary a source is used that the previous service knows, unless
// another was chosen.
func TestOfShare(t *testing.T) {
	p := DefaultProfile()
	if p.Source != hookgate.TestSource || p.Path != "/webhooks/hookgate-certify" ||
		!reflect.DeepEqual(p.OfShare(), p) {
		t.Errorf("the default is source %s at %s", p.Source, p.Path)
	}
	p.CanaryPercent = 10
	if got := p.OfShare(); got.Source != "default" || got.Path != "/webhooks" {
		t.Errorf("on its share the source is %s at %s", got.Source, got.Path)
	}
	p.Source, p.Path = "shop", "/webhooks/shop"
	if got := p.OfShare(); got.Source != "shop" || got.Path != "/webhooks/shop" {
		t.Errorf("on its share the chosen source is %s at %s", got.Source, got.Path)
	}
}

// TestDefaultProfile checks the numbers of the default profile.
func TestDefaultProfile(t *testing.T) {
	p := DefaultProfile()
	smoke, load, full := p.Phases[Smoke], p.Phases[Load], p.Phases[Full]
	if smoke.Events != 1000 || smoke.AcceptancePercent != 100 || smoke.P95MS != 20 ||
		smoke.ErrorPercent != 0 || smoke.DrainSeconds != 30 {
		t.Errorf("smoke is %+v", smoke)
	}
	if load.Events != 5000 || load.Concurrency != 10 || load.AcceptancePercent != 100 ||
		load.P95MS != 50 || load.ErrorPercent != 0 || load.DrainSeconds != 60 || load.MeanBatch < 2 {
		t.Errorf("load is %+v", load)
	}
	if full.Events != 30_000 || full.Concurrency != 50 || full.Rate != 500 ||
		full.AcceptancePercent != 99.9 || full.P95MS != 120 || full.P99MS != 200 ||
		full.ErrorPercent != 0.1 {
		t.Errorf("full is %+v", full)
	}
	if err := p.Check(); err != nil {
		t.Error(err)
	}
}

// Goal: a profile that cannot be used is rejected with a message that names the setting.
func TestBadProfiles(t *testing.T) {
	for text, names := range map[string]string{
		"phases: {walk: {}}":                        "walk",
		"phases: {full: {evnets: 3}}":               "evnets",
		"phases: {full: {events: -3}}":              "full",
		"phases: {full: {events: many}}":            "events",
		"phases: {full: {size: 10}}":                "size",
		"phases: {full: {duplicates: 200}}":         "duplicates",
		"phases: {full: {acceptance_percent: 200}}": "percentages",
		"phases: {soak: {rate: 0}}":                 "rate",
		"phases: {ramp: {steps: [3, 2]}}":           "steps",
		"phases: {ramp: {steps: []}}":               "steps",
		"phases: {full: {drain_s: 0}}":              "drain_s",
		"phases: {full: {p95_ms: .nan}}":            "finite",
		"phases: {full: {rate: .inf}}":              "finite",
		"aplication: x":                             "aplication",
		"application: ''":                           "application",
		"path: webhooks":                            "path",
		"[":                                         "profile",
	} {
		if _, err := ReadProfile([]byte(text)); err == nil || !strings.Contains(err.Error(), names) {
			t.Errorf("%s: error %v does not name %s", text, err, names)
		}
	}
}

func FuzzReadProfile(f *testing.F) {
	f.Add([]byte("phases: {full: {rate: 1000}}"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if p, err := ReadProfile(text); err == nil && p.Check() != nil {
			t.Errorf("%q is taken", text)
		}
	})
}

package certify

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/hookgate/hookgate"
)

// Names of the phases.
const (
	Smoke = "smoke"
	Load  = "load"
	Full  = "full"
	Soak  = "soak"
	Ramp  = "ramp"
)

// Profile is what a target is asked for. Every number of a certification is in it.
type Profile struct {
	// Application names what is certified, in the verdict and for whoever collects evidence.
	Application string `json:"application"`
	// Source and Path are the source of kind envelope that is used. hookgate.TestSource marks what is
	// sent as test traffic. A canary below 100 percent passes on what it does not take, and the
	// service before does not know that source: see OfShare.
	Source string `json:"source"`
	Path   string `json:"path"`
	// Exclusive says that nobody else sends to the target meanwhile, and that Metrics are those of all
	// its processes: then nothing may be stored that was not sent, and counters must be equal; else
	// they may be greater.
	Exclusive bool `json:"exclusive"`
	// Metrics are the URLs of the metrics of all processes, which are added up; none means /metrics of
	// the target.
	Metrics []string `json:"metrics"`
	// AuditTimeoutSeconds bounds the wait for the target's verification of its own chain.
	AuditTimeoutSeconds float64 `json:"audit_timeout_s"`
	// CanaryPercent draws ordering keys that the target takes at this percentage of a canary, so that
	// what is sent reaches it and not the service before; 100 means any keys. Recorded traffic has its
	// own.
	CanaryPercent int `json:"canary_percent"`
	// Seed determines the generated events, but for the run id in their message ids.
	Seed uint64 `json:"seed"`

	Phases map[string]Phase `json:"phases"`
}

// Phase is one load and what is asked of the target under it. A limit of 0 on latency or batches is
// not judged.
type Phase struct {
	// Events is the number of different events; Duplicates percent of it are repetitions on top.
	Events     int     `json:"events"`
	Duplicates float64 `json:"duplicates"`
	// Concurrency is the number of connections, Rate the requests due a second, 0 for as many as the
	// connections allow.
	Concurrency int     `json:"concurrency"`
	Rate        float64 `json:"rate"`
	// Keys is the number of ordering keys, Size that of a body in bytes.
	Keys int `json:"keys"`
	Size int `json:"size"`
	// TimeoutSeconds bounds one request.
	TimeoutSeconds float64 `json:"timeout_s"`
	// Seconds, if not 0, replaces Events by Rate times Seconds; for a soak.
	Seconds float64 `json:"seconds"`
	// Steps are the rates of a ramp, rising; each is held for Seconds.
	Steps []float64 `json:"steps,omitempty"`

	AcceptancePercent float64 `json:"acceptance_percent"`
	ErrorPercent      float64 `json:"error_percent"`
	P95MS             float64 `json:"p95_ms"`
	P99MS             float64 `json:"p99_ms"`
	DrainSeconds      float64 `json:"drain_s"`
	// MeanBatch is the least mean number of records in a transaction of the target's store.
	MeanBatch float64 `json:"mean_batch"`
	// LagP99MS is what the client may be behind its own schedule before nothing it measured counts.
	LagP99MS float64 `json:"lag_p99_ms"`
	// CounterPercent is what the target's counters may differ from the client's, and LatencyGapMS by
	// how much the client's P95 of a request may exceed what the target's histogram says.
	CounterPercent float64 `json:"counter_percent"`
	LatencyGapMS   float64 `json:"latency_gap_ms"`
}

// DefaultProfile returns the profile that is used unless another is named.
func DefaultProfile() Profile {
	phase := Phase{
		Concurrency: 50, Duplicates: 4, Keys: 100, Size: 600, TimeoutSeconds: 10,
		AcceptancePercent: 100, ErrorPercent: 0, DrainSeconds: 60, LagP99MS: 5, LatencyGapMS: 25,
	}
	smoke, load, full, soak, ramp := phase, phase, phase, phase, phase
	smoke.Events, smoke.Rate, smoke.Concurrency, smoke.P95MS, smoke.DrainSeconds = 1000, 200, 10, 20,
		30
	load.Events, load.Concurrency, load.P95MS, load.MeanBatch = 5000, 10, 50, 2
	full.Events, full.Rate, full.P95MS, full.P99MS, full.AcceptancePercent, full.ErrorPercent = 30_000,
		500, 120, 200, 99.9, 0.1
	soak = full
	soak.Events, soak.Seconds = 0, 3600
	ramp = full
	ramp.Events, ramp.Rate, ramp.Seconds, ramp.Steps = 0, 0, 10, []float64{250, 500, 1000, 2000, 4000,
		8000}
	return Profile{
		Application: "hookgate", Source: hookgate.TestSource, Path: webhooks + hookgate.TestSource,
		Exclusive: true, AuditTimeoutSeconds: 300, CanaryPercent: 100, Seed: 1,
		Phases: map[string]Phase{Smoke: smoke, Load: load, Full: full, Soak: soak, Ramp: ramp},
	}
}

// webhooks begins the paths of sources.
const webhooks = "/webhooks/"

// OfShare returns the profile for a gate whose canary takes a share: unless another source was
// chosen, it is the default one, which the service before knows too.
func (p Profile) OfShare() Profile {
	if p.CanaryPercent < 100 && p.Source == hookgate.TestSource {
		p.Source, p.Path = defaultSource, strings.TrimSuffix(webhooks, "/")
	}
	return p
}

// LoadProfile reads a profile from a file, or returns the default one if there is no file.
func LoadProfile(file string) (Profile, error) {
	if file == "" {
		return DefaultProfile(), nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return Profile{}, fmt.Errorf("profile: %w", err)
	}
	p, err := ReadProfile(text)
	if err != nil {
		err = fmt.Errorf("%s: %w", file, err)
	}
	return p, err
}

// ReadProfile applies YAML to the default profile. A setting that does not exist is an error.
func ReadProfile(text []byte) (Profile, error) {
	p := DefaultProfile()
	var settings map[string]any
	if err := yaml.Unmarshal(text, &settings); err != nil {
		return p, fmt.Errorf("profile: %w", err)
	}
	given, ok := settings["phases"].(map[string]any)
	if !ok && settings["phases"] != nil {
		return p, errors.New("profile: phases does not have a phase in each line")
	}
	delete(settings, "phases")
	if err := apply(settings, &p); err != nil {
		return p, fmt.Errorf("profile: %w", err)
	}
	for name, settings := range given {
		phase, ok := p.Phases[name]
		if !ok {
			return p, fmt.Errorf("profile: phases.%s is none of the phases smoke, load, full, soak, ramp",
				name)
		}
		if err := apply(settings, &phase); err != nil {
			return p, fmt.Errorf("profile: phases.%s: %w", name, err)
		}
		p.Phases[name] = phase
	}
	return p, p.Check()
}

// apply sets what settings has in to, by the names of JSON.
func apply(settings, to any) error {
	text, err := json.Marshal(settings)
	if errors.As(err, new(*json.UnsupportedValueError)) {
		return errors.New("every number must be finite")
	} else if err != nil {
		return err
	}
	in := json.NewDecoder(bytes.NewReader(text))
	in.DisallowUnknownFields()
	return in.Decode(to)
}

// Check says what in a profile cannot be used.
func (p Profile) Check() error {
	if p.Application == "" || p.Source == "" || !strings.HasPrefix(p.Path, "/") ||
		p.AuditTimeoutSeconds <= 0 {
		return errors.New("profile: application, source, path (from /) and audit_timeout_s must be set")
	}
	if p.CanaryPercent < 1 || p.CanaryPercent > 100 {
		return fmt.Errorf("profile: canary_percent is %d; it must be from 1 to 100, the percentage that the target's canary stands at", p.CanaryPercent)
	}
	for name, ph := range p.Phases {
		var problem string
		_, err := json.Marshal(ph)
		switch {
		case err != nil:
			problem = "every number must be finite"
		case ph.Events < 0 || ph.Seconds < 0 || ph.Rate < 0 || ph.Duplicates < 0 || ph.Duplicates > 100:
			problem = "events, seconds, rate and duplicates must not be negative, duplicates at most 100"
		case ph.Events == 0 && ph.Seconds == 0:
			problem = "there must be events or seconds"
		case ph.Seconds > 0 && ph.Rate == 0 && name != Ramp:
			problem = "seconds need a rate"
		case name == Ramp && (len(ph.Steps) == 0 || ph.Seconds == 0):
			problem = "a ramp needs steps and seconds"
		case ph.Concurrency < 1 || ph.Keys < 1 || ph.Keys > 1_000_000 || ph.TimeoutSeconds <= 0:
			problem = "concurrency, keys (at most 1,000,000) and timeout_s must be positive"
		case ph.Size < minSize || ph.Size > 1<<20:
			problem = fmt.Sprintf("size must be between %d and %d", minSize, 1<<20)
		case ph.DrainSeconds <= 0 || ph.LagP99MS <= 0:
			problem = "drain_s and lag_p99_ms must be positive"
		case ph.P95MS < 0 || ph.P99MS < 0 || ph.MeanBatch < 0 || ph.CounterPercent < 0 ||
			ph.LatencyGapMS < 0 ||
			ph.AcceptancePercent < 0 || ph.AcceptancePercent > 100 || ph.ErrorPercent < 0 ||
			ph.ErrorPercent > 100:
			problem = "limits must not be negative, percentages at most 100"
		}
		for i, step := range ph.Steps {
			if step <= 0 || i > 0 && step <= ph.Steps[i-1] {
				problem = "steps must be positive and rise"
			}
		}
		if problem != "" {
			return fmt.Errorf("profile: phases.%s: %s", name, problem)
		}
	}
	return nil
}

// count is the number of different events of the phase.
func (ph Phase) count() int {
	if ph.Seconds > 0 {
		return max(1, int(ph.Rate*ph.Seconds/(1+ph.Duplicates/100)))
	}
	return ph.Events
}

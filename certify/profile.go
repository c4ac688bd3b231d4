package certify

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
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

// Profile has the requirements of a certification, with all its numbers.
type Profile struct {
	// Application names what is certified, in the verdict and in submitted evidence.
	Application string `json:"application"`
	// Source and Path are the source of kind envelope to send to. hookgate.TestSource marks the
	// events as test traffic. Under a canary below 100 percent the gate forwards some requests to
	// the previous service, which does not know that source: see OfShare.
	Source string `json:"source"`
	Path   string `json:"path"`
	// Exclusive means that nobody else sends to the target meanwhile, and that Metrics are those of
	// all its processes. Then no other events may be stored, and counters must be equal. Otherwise
	// counters may be greater.
	Exclusive bool `json:"exclusive"`
	// Metrics are the URLs of the metrics of all processes, which are added up; none means /metrics
	// of the target.
	Metrics []string `json:"metrics"`
	// AuditTimeoutSeconds bounds the wait for the target's verification of its own audit chain.
	AuditTimeoutSeconds float64 `json:"audit_timeout_s"`
	// ClockSeconds is the greatest difference of the clocks of target and client with which times
	// are judged. Times are INVALID beyond it.
	ClockSeconds float64 `json:"clock_s"`
	// SettleSeconds is the least time from the end of the last phase to the second reading.
	SettleSeconds float64 `json:"settle_s"`
	// CanaryPercent restricts the ordering keys to those that the target takes at this percentage
	// of a canary, so that the requests reach it and not the previous service. 100 means any keys.
	// Recorded traffic has its own keys.
	CanaryPercent int `json:"canary_percent"`
	// Seed determines the generated events, except the run id in their message ids.
	Seed uint64 `json:"seed"`

	Phases map[string]Phase `json:"phases"`
}

// Phase is one load, and the requirements on the target under it. A limit of 0 on latency or
// batches is not judged.
type Phase struct {
	// Events is the number of different events. Duplicates is the percentage of repetitions in
	// addition.
	Events     int     `json:"events"`
	Duplicates float64 `json:"duplicates"`
	// Concurrency is the number of connections. Rate is the number of requests due per second; 0
	// means as many as the connections allow.
	Concurrency int     `json:"concurrency"`
	Rate        float64 `json:"rate"`
	// Keys is the number of ordering keys, Size the size of a body in bytes.
	Keys int `json:"keys"`
	Size int `json:"size"`
	// MaxSize is the size of the largest of up to ten bodies that are larger than Size. 0 means none.
	// It must not be above the limit of the target, by default 1 MiB.
	MaxSize int `json:"max_size"`
	// Gzip is the percentage of events that are sent compressed, with Content-Encoding.
	Gzip float64 `json:"gzip"`
	// TimeoutSeconds bounds one request.
	TimeoutSeconds float64 `json:"timeout_s"`
	// Seconds, if not 0, replaces Events by Rate times Seconds, for a soak.
	Seconds float64 `json:"seconds"`
	// Steps are the rising rates of a ramp, each for Seconds.
	Steps []float64 `json:"steps,omitempty"`

	AcceptancePercent float64 `json:"acceptance_percent"`
	ErrorPercent      float64 `json:"error_percent"`
	P95MS             float64 `json:"p95_ms"`
	P99MS             float64 `json:"p99_ms"`
	// MaxMS limits the slowest answer.
	MaxMS        float64 `json:"max_ms"`
	DrainSeconds float64 `json:"drain_s"`
	// MeanBatch is the least mean number of records per transaction of the target's store.
	MeanBatch float64 `json:"mean_batch"`
	// LagP99MS is the greatest lag of the client behind its own schedule. Beyond it no measurement
	// counts.
	LagP99MS float64 `json:"lag_p99_ms"`
	// CounterPercent is the allowed difference between the counters of target and client.
	// LatencyGapMS is how much the client's P95 may exceed that of the target's histogram.
	CounterPercent float64 `json:"counter_percent"`
	LatencyGapMS   float64 `json:"latency_gap_ms"`
	// Consumer is only for the phase deliver.
	Consumer *Consumer `json:"consumer,omitempty"`
}

// DefaultProfile returns the default profile.
func DefaultProfile() Profile {
	phase := Phase{
		Concurrency: 50, Duplicates: 4, Keys: 100, Size: 600, TimeoutSeconds: 10,
		AcceptancePercent: 100, ErrorPercent: 0, DrainSeconds: 60, LagP99MS: 5, LatencyGapMS: 25,
		MaxMS: 2000, MaxSize: 1<<20 - 1<<10, Gzip: 10,
	}
	smoke, load, full, soak, ramp := phase, phase, phase, phase, phase
	smoke.Events, smoke.Rate, smoke.Concurrency, smoke.P95MS, smoke.DrainSeconds = 1000, 200, 10, 20,
		30
	smoke.P99MS, load.P99MS = 100, 200
	load.Events, load.Concurrency, load.P95MS, load.MeanBatch = 5000, 10, 50, 2
	full.Events, full.Rate, full.P95MS, full.P99MS, full.AcceptancePercent, full.ErrorPercent = 30_000,
		500, 120, 200, 99.9, 0.1
	soak = full
	soak.Events, soak.Seconds, soak.MaxMS = 0, 3600, 5000
	ramp = full
	ramp.Events, ramp.Rate, ramp.Seconds, ramp.Steps = 0, 0, 10, []float64{250, 500, 1000, 2000, 4000,
		8000}
	return Profile{
		Application: "hookgate", Source: hookgate.TestSource, Path: webhooks + hookgate.TestSource,
		Exclusive: true, AuditTimeoutSeconds: 300, ClockSeconds: 60, SettleSeconds: 5,
		CanaryPercent: 100, Seed: 1,
		Phases: map[string]Phase{Smoke: smoke, Load: load, Full: full, Soak: soak, Ramp: ramp,
			Deliver: defaultDelivery(full)},
	}
}

// maxBody is the greatest size of a body, above all limits that a gate allows.
const maxBody = 16 << 20

// webhooks begins the paths of sources.
const webhooks = "/webhooks/"

// OfShare returns the profile for a gate whose canary takes a share. Unless another source was
// chosen, it uses the default source, which the previous service knows too.
func (p Profile) OfShare() Profile {
	if p.CanaryPercent < 100 && p.Source == hookgate.TestSource {
		p.Source, p.Path = defaultSource, strings.TrimSuffix(webhooks, "/")
	}
	return p
}

// LoadProfile reads a profile from a file, or returns the default one if there is no file.
func LoadProfile(file string) (Profile, error) {
	return DefaultProfile().load(file)
}

// load applies a file, if there is one.
func (p Profile) load(file string) (Profile, error) {
	if file == "" {
		return p, nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return Profile{}, fmt.Errorf("profile: %w", err)
	}
	if p, err = p.read(text); err != nil {
		err = fmt.Errorf("%s: %w", file, err)
	}
	return p, err
}

// ReadProfile applies YAML to the default profile. A setting that does not exist is an error.
func ReadProfile(text []byte) (Profile, error) { return DefaultProfile().read(text) }

// read applies YAML. It changes p.Phases.
func (p Profile) read(text []byte) (Profile, error) {
	var settings map[string]any
	if err := yaml.Unmarshal(text, &settings); err != nil {
		return p, fmt.Errorf("profile: %w", err)
	}
	given, ok := settings["phases"].(map[string]any)
	if !ok && settings["phases"] != nil {
		return p, errors.New("profile: phases is not a list of phases by name")
	}
	delete(settings, "phases")
	if err := apply(settings, &p); err != nil {
		return p, fmt.Errorf("profile: %w", err)
	}
	for name, settings := range given {
		phase, ok := p.Phases[name]
		if !ok {
			return p, fmt.Errorf("profile: phases.%s is none of the phases smoke, load, full, "+
				"soak, ramp, deliver", name)
		}
		if err := apply(settings, &phase); err != nil {
			return p, fmt.Errorf("profile: phases.%s: %w", name, err)
		}
		p.Phases[name] = phase
	}
	return p, p.Check()
}

// apply applies settings to a struct, by the names of its JSON members.
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

// Check returns the reason why a profile cannot be used.
func (p Profile) Check() error {
	if p.Application == "" || p.Source == "" || !strings.HasPrefix(p.Path, "/") ||
		p.AuditTimeoutSeconds <= 0 {
		return errors.New("profile: application, source, path (from /) and audit_timeout_s must " +
			"be set")
	}
	if !(p.ClockSeconds >= 0 && p.SettleSeconds >= 0) || math.IsInf(p.ClockSeconds, 0) ||
		math.IsInf(p.SettleSeconds, 0) {
		return errors.New("profile: clock_s and settle_s must be finite and not negative")
	}
	if p.CanaryPercent < 1 || p.CanaryPercent > 100 {
		return fmt.Errorf("profile: canary_percent is %d; it must be from 1 to 100, the "+
			"percentage that the target's canary stands at", p.CanaryPercent)
	}
	for name, ph := range p.Phases {
		var problem string
		_, err := json.Marshal(ph)
		switch {
		case err != nil:
			problem = "every number must be finite"
		case ph.Events < 0 || ph.Seconds < 0 || ph.Rate < 0 || ph.Duplicates < 0 || ph.Duplicates > 100:
			problem = "events, seconds, rate and duplicates must not be negative, duplicates at " +
				"most 100"
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
		case ph.Gzip < 0 || ph.Gzip > 100:
			problem = "gzip must be a percentage from 0 to 100"
		case ph.MaxSize < 0 || ph.MaxSize > maxBody:
			problem = fmt.Sprintf("max_size must be between 0 and %d", maxBody)
		case ph.DrainSeconds <= 0 || ph.LagP99MS <= 0:
			problem = "drain_s and lag_p99_ms must be positive"
		case ph.P95MS < 0 || ph.P99MS < 0 || ph.MaxMS < 0 || ph.MeanBatch < 0 || ph.CounterPercent < 0 ||
			ph.LatencyGapMS < 0 ||
			ph.AcceptancePercent < 0 || ph.AcceptancePercent > 100 || ph.ErrorPercent < 0 ||
			ph.ErrorPercent > 100:
			problem = "limits must not be negative, percentages at most 100"
		}
		switch {
		case (ph.Consumer != nil) != (name == Deliver):
			problem = "consumer is for the phase deliver, which needs it"
		case ph.Consumer != nil:
			if err := ph.Consumer.check(); err != nil {
				problem = err.Error()
			}
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

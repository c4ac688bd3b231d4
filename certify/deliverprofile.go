package certify

import (
	"errors"

	"github.com/hookgate/hookgate/certify/consumer"
)

// Deliver is the phase in which certify also plays the consumer of a subscription.
const Deliver = "deliver"

// Consumer says how the consumer of the phase deliver fails, and what the target must do about it.
type Consumer struct {
	// Errors, Hangs, Resets and Slow are shares of attempts in percent: answered 500, not answered
	// at all, cut by a reset, and answered after SlowSeconds.
	Errors      float64 `json:"errors_percent"`
	Hangs       float64 `json:"hangs_percent"`
	Resets      float64 `json:"resets_percent"`
	Slow        float64 `json:"slow_percent"`
	SlowSeconds float64 `json:"slow_s"`
	// Restarts is how often the consumer goes away and comes back at once, and OutageSeconds how
	// long it stays away once.
	Restarts      int     `json:"restarts"`
	OutageSeconds float64 `json:"outage_s"`
	// UnreadySeconds is how long the consumer answers 503 to everything before that; 0: never. Every
	// second of these answers asks for a wait of RetryAfterSeconds.
	UnreadySeconds    float64 `json:"unready_s"`
	RetryAfterSeconds int     `json:"retry_after_s"`
	// LeaseSeconds is the time of a lease of a subscription that is pulled.
	LeaseSeconds float64 `json:"lease_s"`

	// PromptMS is the greatest P95 of the time from sending to the consumer before it fails.
	PromptMS float64 `json:"prompt_ms"`
	// RecoverSeconds bounds the time after the outage until everything acknowledged before its end
	// is pushed, and PullRecoverSeconds until it is pulled. ReadySeconds is the same after the 503s.
	RecoverSeconds     float64 `json:"recover_s"`
	PullRecoverSeconds float64 `json:"pull_recover_s"`
	ReadySeconds       float64 `json:"ready_s"`
	// ProbesPerSecond bounds the attempts while the consumer answers 503 to everything, without
	// those of the first second.
	ProbesPerSecond float64 `json:"probes_per_s"`
	// HealedSeconds bounds the time from the last fault until nothing is left.
	HealedSeconds float64 `json:"healed_s"`
	// StormFactor bounds the attempts after the outage, as a multiple of those of a rate that begins
	// at one per second and doubles each second.
	StormFactor float64 `json:"storm_factor"`
	// OthersMS is how much the P95 of another subscription may grow while this one fails.
	OthersMS float64 `json:"others_ms"`
	// ClockSeconds bounds the difference between the clocks of client and target, with the time that
	// a request takes.
	ClockSeconds float64 `json:"clock_s"`
	// LagMS is the greatest delay of the consumer itself. Beyond it no time that it measured counts.
	LagMS float64 `json:"lag_ms"`
}

// defaultDelivery is the phase deliver of the default profile. Few keys hang at a time, because
// each does so for the whole time-out of the subscription. The guide "Certify a gate" says where
// its limits come from.
func defaultDelivery(full Phase) Phase {
	full.Events, full.Rate, full.Keys, full.DrainSeconds = 30_000, 250, 500, 120
	full.P95MS, full.P99MS = 50, 130
	full.Consumer = &Consumer{Errors: 2, Hangs: 0.1, Resets: 1, Slow: 2, SlowSeconds: 0.5, Restarts: 2,
		OutageSeconds: 60, UnreadySeconds: 10, RetryAfterSeconds: 20, LeaseSeconds: 30, PromptMS: 80,
		RecoverSeconds: 60, PullRecoverSeconds: 15, ReadySeconds: 60, ProbesPerSecond: 2,
		HealedSeconds: 2.5, StormFactor: 2, OthersMS: 50, ClockSeconds: 10, LagMS: 1000}
	return full
}

func (c *Consumer) check() error {
	switch {
	case c.Errors < 0 || c.Hangs < 0 || c.Resets < 0 || c.Slow < 0 ||
		c.Errors+c.Hangs+c.Resets+c.Slow > 50:
		return errors.New("the shares of consumer must not be negative, and together at most 50 percent")
	case c.SlowSeconds < 0 || c.Restarts < 0 || c.Restarts > 100 || c.OutageSeconds <= 0:
		return errors.New("slow_s and restarts (at most 100) of consumer must not be negative, and " +
			"outage_s must be positive")
	case c.UnreadySeconds < 0 || c.UnreadySeconds > 0 && c.RetryAfterSeconds < 1:
		return errors.New("unready_s of consumer must not be negative, and retry_after_s be at least 1")
	case c.LeaseSeconds < 1 || c.SlowSeconds > c.LeaseSeconds/2:
		return errors.New("lease_s of consumer must be at least 1, and twice slow_s")
	case min(c.PromptMS, c.RecoverSeconds, c.PullRecoverSeconds, c.ReadySeconds, c.ProbesPerSecond,
		c.HealedSeconds, c.StormFactor, c.OthersMS, c.ClockSeconds, c.LagMS) <= 0:
		return errors.New("the limits of consumer must be positive")
	}
	return nil
}

func (c *Consumer) faults() consumer.Faults {
	return consumer.Faults{Errors: c.Errors, Hangs: c.Hangs, Resets: c.Resets, Slow: c.Slow,
		Pause: seconds(c.SlowSeconds)}
}

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
	// LeaseSeconds is the time of a lease of a subscription that is pulled.
	LeaseSeconds float64 `json:"lease_s"`

	// RecoverSeconds bounds the time after the outage until everything acknowledged before its end
	// is delivered.
	RecoverSeconds float64 `json:"recover_s"`
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
// each does so for the whole time-out of the subscription.
func defaultDelivery(full Phase) Phase {
	full.Events, full.Rate, full.Keys, full.DrainSeconds = 30_000, 250, 500, 120
	full.Consumer = &Consumer{Errors: 2, Hangs: 0.1, Resets: 1, Slow: 2, SlowSeconds: 0.5, Restarts: 2,
		OutageSeconds: 60, LeaseSeconds: 30, RecoverSeconds: 60, StormFactor: 2, OthersMS: 250,
		ClockSeconds: 10, LagMS: 1000}
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
	case c.LeaseSeconds < 1 || c.SlowSeconds > c.LeaseSeconds/2:
		return errors.New("lease_s of consumer must be at least 1, and twice slow_s")
	case c.RecoverSeconds <= 0 || c.StormFactor <= 0 || c.OthersMS <= 0 || c.ClockSeconds <= 0 ||
		c.LagMS <= 0:
		return errors.New("the limits of consumer must be positive")
	}
	return nil
}

func (c *Consumer) faults() consumer.Faults {
	return consumer.Faults{Errors: c.Errors, Hangs: c.Hangs, Resets: c.Resets, Slow: c.Slow,
		Pause: seconds(c.SlowSeconds)}
}

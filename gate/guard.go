package gate

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/hookgate/hookgate/guard"
)

// GuardOptions are the limits of the load protection. A limit of 0 turns it off.
type GuardOptions struct {
	// Depth is the number of waiting webhooks, and P95 the latency of accepted webhooks over ten
	// seconds, at which the breaker opens.
	Depth    PercentLimit    `setting:"depth"`
	P95      TimeLimit       `setting:"p95"`
	InFlight InFlightOptions `setting:"in_flight"`
}

// PercentLimit is a limit in percent of Queue.HighWater.
type PercentLimit struct {
	Limit int `setting:"limit"`
}

// TimeLimit is a limit on a duration.
type TimeLimit struct {
	Limit time.Duration `setting:"limit"`
}

// InFlightOptions limit the webhooks in flight.
type InFlightOptions struct {
	// Max is the upper end of the limit, which adapts to the load.
	Max int `setting:"max"`
	// Latency is the P95 of accepted webhooks above which the limit shrinks.
	Latency time.Duration `setting:"latency"`
}

// The defaults must not reject what the gate is there to accept: see
// docs/guides/load-protection.md.
var defaultGuard = GuardOptions{
	Depth:    PercentLimit{Limit: 90},
	P95:      TimeLimit{Limit: 2 * time.Second},
	InFlight: InFlightOptions{Max: 5000, Latency: 500 * time.Millisecond},
}

// depthRule opens the breaker when the queue was at its limit for two seconds, and closes it at
// five sixths of the limit. The margin leaves room for some seconds of webhooks, so that senders do
// not see acceptance and rejection alternate.
func depthRule(limit int) guard.Rule {
	return guard.Rule{Limit: float64(limit), Sustain: 2 * time.Second, Clear: float64(limit) * 5 / 6,
		ClearFor: 2 * time.Second}
}

// p95Rule opens the breaker when P95 was at its limit for ten seconds, and closes it at a quarter
// of the limit.
func p95Rule(limit time.Duration) guard.Rule {
	millis := float64(limit) / float64(time.Millisecond)
	return guard.Rule{Limit: millis, Sustain: 10 * time.Second, Clear: millis / 4,
		ClearFor: 5 * time.Second}
}

// check returns an error for an invalid setting.
func (c GuardOptions) check() error {
	switch {
	case c.Depth.Limit < 0 || c.Depth.Limit > 100:
		return fmt.Errorf("guard.depth.limit is %d percent of queue.high_water; it must be from 0 to 100",
			c.Depth.Limit)
	case c.P95.Limit < 0:
		return errors.New("guard.p95.limit must not be negative; 0 turns it off")
	case c.InFlight.Max < 0:
		return errors.New("guard.in_flight.max must not be negative; 0 means no limit")
	case c.InFlight.Max > 0 && c.InFlight.Latency <= 0:
		return errors.New("guard.in_flight.latency must be greater than zero")
	}
	return nil
}

func guardConfigOf(o Options, log *slog.Logger) guard.Config {
	g := o.Guard
	if !o.receives() {
		g = GuardOptions{} // it accepts no webhooks
	}
	return guard.Config{
		Depth:    depthRule(g.Depth.Limit),
		P95:      p95Rule(g.P95.Limit),
		Recovery: recovery,
		InFlight: guard.InFlight{Min: min(minInFlight, g.InFlight.Max), Max: g.InFlight.Max,
			Latency: g.InFlight.Latency},
		BodyMemory: int64(o.HTTP.MaxBodyMemory),
		Logger:     log,
	}
}

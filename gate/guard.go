package gate

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/hookgate/hookgate/guard"
)

// GuardOptions is the load protection, and what watches the release.
type GuardOptions struct {
	Depth    PercentRule     `setting:"depth"`
	Lag      TimeRule        `setting:"lag"`
	P95      TimeRule        `setting:"p95"`
	Recovery time.Duration   `setting:"recovery"`
	InFlight InFlightOptions `setting:"in_flight"`

	Triggers         TriggersOptions `setting:"triggers"`
	Alarm            AlarmOptions    `setting:"alarm"`
	RollbackCommand  []string        `setting:"rollback_command"`
	RollbackCooldown time.Duration   `setting:"rollback_cooldown"`
}

// PercentRule and TimeRule are a guard.Rule in the unit that people write.
type PercentRule struct {
	Limit    int           `setting:"limit"`
	Sustain  time.Duration `setting:"sustain"`
	Clear    int           `setting:"clear"`
	ClearFor time.Duration `setting:"clear_for"`
}

type TimeRule struct {
	Limit    time.Duration `setting:"limit"`
	Sustain  time.Duration `setting:"sustain"`
	Clear    time.Duration `setting:"clear"`
	ClearFor time.Duration `setting:"clear_for"`
}

type InFlightOptions struct {
	Min     int           `setting:"min"`
	Max     int           `setting:"max"`
	Latency time.Duration `setting:"latency"`
}

// defaultGuard must never refuse what the gate is there to take: see docs/reference/configuration.md.
var defaultGuard = GuardOptions{
	Depth: PercentRule{Limit: 90, Sustain: 2 * time.Second, Clear: 75, ClearFor: 2 * time.Second},
	Lag:   TimeRule{Sustain: 30 * time.Second, Clear: time.Minute, ClearFor: 10 * time.Second},
	P95: TimeRule{Limit: 2 * time.Second, Sustain: 10 * time.Second,
		Clear: 500 * time.Millisecond, ClearFor: 5 * time.Second},
	Recovery: 10 * time.Second,
	InFlight: InFlightOptions{Min: 100, Max: 5000, Latency: 500 * time.Millisecond},

	Triggers:         defaultTriggers,
	Alarm:            AlarmOptions{Timeout: 10 * time.Second, RetryFor: 15 * time.Minute},
	RollbackCooldown: time.Hour,
}

// check finds settings that cannot work.
func (c GuardOptions) check() error {
	for _, rule := range []struct {
		name                             string
		limit, clear, sustain, clearTime int64
	}{
		{"guard.depth", int64(c.Depth.Limit), int64(c.Depth.Clear), int64(c.Depth.Sustain),
			int64(c.Depth.ClearFor)},
		{"guard.lag", int64(c.Lag.Limit), int64(c.Lag.Clear), int64(c.Lag.Sustain),
			int64(c.Lag.ClearFor)},
		{"guard.p95", int64(c.P95.Limit), int64(c.P95.Clear), int64(c.P95.Sustain),
			int64(c.P95.ClearFor)},
	} {
		switch {
		case rule.limit < 0 || rule.clear < 0 || rule.sustain < 0 || rule.clearTime < 0:
			return fmt.Errorf("%s: none of its settings may be negative", rule.name)
		case rule.limit > 0 && rule.clear >= rule.limit:
			return fmt.Errorf("%s.clear must be below %s.limit: what opens the breaker must not close it",
				rule.name, rule.name)
		}
	}
	switch {
	case c.Depth.Limit > 100:
		return fmt.Errorf("guard.depth.limit is %d percent of queue.high_water; that is never reached",
			c.Depth.Limit)
	case c.Recovery < 0:
		return errors.New("guard.recovery must not be negative")
	case c.InFlight.Max < 0 || c.InFlight.Min < 0:
		return errors.New("guard.in_flight.min and max must not be negative; a max of 0 means no bound")
	case c.InFlight.Max > 0 && (c.InFlight.Min < 1 || c.InFlight.Min > c.InFlight.Max ||
		c.InFlight.Latency <= 0):
		return errors.New("guard.in_flight: min must be from 1 to max, and latency greater than zero")
	}
	return nil
}

func guardConfigOf(o Options, log *slog.Logger) guard.Config {
	g := o.Guard
	if o.Role == RoleWorker {
		g = GuardOptions{} // there is nothing to refuse
	}
	return guard.Config{
		Depth: guard.Rule{
			Limit: float64(g.Depth.Limit), Sustain: g.Depth.Sustain, Clear: float64(g.Depth.Clear),
			ClearFor: g.Depth.ClearFor,
		},
		Lag:        g.Lag.in(time.Second),
		P95:        g.P95.in(time.Millisecond),
		Recovery:   g.Recovery,
		InFlight:   guard.InFlight(g.InFlight),
		BodyMemory: int64(o.HTTP.MaxBodyMemory),
		Logger:     log,
	}
}

// in returns the rule with its marks in a unit.
func (r TimeRule) in(unit time.Duration) guard.Rule {
	return guard.Rule{
		Limit: float64(r.Limit) / float64(unit), Sustain: r.Sustain,
		Clear: float64(r.Clear) / float64(unit), ClearFor: r.ClearFor,
	}
}

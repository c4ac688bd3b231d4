package main

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/hookgate/hookgate/guard"
)

// guardConfig is the load protection, and what watches the release.
type guardConfig struct {
	Depth    percentRule    `koanf:"depth"`
	Lag      timeRule       `koanf:"lag"`
	P95      timeRule       `koanf:"p95"`
	Recovery time.Duration  `koanf:"recovery"`
	InFlight inFlightConfig `koanf:"in_flight"`

	Triggers         triggersConfig `koanf:"triggers"`
	Alarm            alarmConfig    `koanf:"alarm"`
	RollbackCommand  []string       `koanf:"rollback_command"`
	RollbackCooldown time.Duration  `koanf:"rollback_cooldown"`
}

// percentRule and timeRule are a guard.Rule in the unit that people write.
type percentRule struct {
	Limit    int           `koanf:"limit"`
	Sustain  time.Duration `koanf:"sustain"`
	Clear    int           `koanf:"clear"`
	ClearFor time.Duration `koanf:"clear_for"`
}

type timeRule struct {
	Limit    time.Duration `koanf:"limit"`
	Sustain  time.Duration `koanf:"sustain"`
	Clear    time.Duration `koanf:"clear"`
	ClearFor time.Duration `koanf:"clear_for"`
}

type inFlightConfig struct {
	Min     int           `koanf:"min"`
	Max     int           `koanf:"max"`
	Latency time.Duration `koanf:"latency"`
}

// defaultGuardConfig must never refuse what the gate is there to take: see docs/reference/configuration.md.
var defaultGuardConfig = guardConfig{
	Depth: percentRule{Limit: 90, Sustain: 2 * time.Second, Clear: 75, ClearFor: 2 * time.Second},
	Lag:   timeRule{Sustain: 30 * time.Second, Clear: time.Minute, ClearFor: 10 * time.Second},
	P95: timeRule{Limit: 2 * time.Second, Sustain: 10 * time.Second,
		Clear: 500 * time.Millisecond, ClearFor: 5 * time.Second},
	Recovery: 10 * time.Second,
	InFlight: inFlightConfig{Min: 100, Max: 5000, Latency: 500 * time.Millisecond},

	Triggers:         defaultTriggers,
	Alarm:            alarmConfig{Timeout: 10 * time.Second, RetryFor: 15 * time.Minute},
	RollbackCooldown: time.Hour,
}

// check finds settings that cannot work.
func (c guardConfig) check() error {
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

func guardConfigOf(c config, log *slog.Logger) guard.Config {
	g := c.Guard
	if c.Role == roleWorker {
		g = guardConfig{} // there is nothing to refuse
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
		BodyMemory: int64(c.HTTP.MaxBodyMemory),
		Logger:     log,
	}
}

// in returns the rule with its marks in a unit.
func (r timeRule) in(unit time.Duration) guard.Rule {
	return guard.Rule{
		Limit: float64(r.Limit) / float64(unit), Sustain: r.Sustain,
		Clear: float64(r.Clear) / float64(unit), ClearFor: r.ClearFor,
	}
}

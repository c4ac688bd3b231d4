package guard

import (
	"math"
	"time"
)

// Status is the state of a guard at one moment.
type Status struct {
	Breaker State `json:"breaker"`
	// Reason names the signals that keep the breaker open.
	Reason string `json:"reason,omitempty"`
	// Since is when the breaker took this state; zero if that was at the start.
	Since time.Time `json:"since,omitzero"`
	// SharePercent is how many of a hundred webhooks the breaker lets in.
	SharePercent int `json:"share_percent"`
	// Opened is how often the breaker has opened.
	Opened int `json:"opened"`
	// InFlight is the number of webhooks in flight, InFlightLimit the bound now, 0 if there is none.
	InFlight      int64 `json:"in_flight"`
	InFlightLimit int64 `json:"in_flight_limit"`
	// InFlightRefused is how many webhooks that bound has turned away.
	InFlightRefused int64 `json:"in_flight_refused"`
	// BodyMemory is what the buffers of the bodies in flight take, in bytes, of at most
	// BodyMemoryLimit.
	BodyMemory      int64          `json:"body_memory"`
	BodyMemoryLimit int64          `json:"body_memory_limit"`
	Signals         []SignalStatus `json:"signals"`
}

// SignalStatus is a value that is watched.
type SignalStatus struct {
	Name string `json:"name"`
	// Value is the last one read; Known is false if the last attempt failed.
	Value float64 `json:"value"`
	Known bool    `json:"known"`
	// Limit is 0 if there is none. Nearness is Value in proportion to it.
	Limit    float64 `json:"limit"`
	Nearness float64 `json:"nearness"`
	// Raised says that the limit was passed for long enough and has not cleared since.
	Raised bool `json:"raised"`
}

// Status returns the state now.
func (g *Guard) Status() Status {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := Status{
		Breaker:         g.breaker.state,
		Reason:          g.breaker.reason,
		Since:           g.breaker.since,
		SharePercent:    int(100 * g.breaker.share.Load() / whole),
		Opened:          g.breaker.opened,
		InFlight:        g.limiter.inFlight.Load(),
		InFlightLimit:   g.limiter.limit.Load(),
		InFlightRefused: g.limiter.refused.Load(),
		BodyMemory:      g.bodies.used.Load(),
		BodyMemoryLimit: g.bodies.limit,
	}
	for _, signal := range g.signals {
		s.Signals = append(s.Signals, SignalStatus{
			Name: signal.name, Value: thousandths(signal.Value), Known: signal.Known, Limit: signal.Limit,
			Nearness: thousandths(signal.Nearness()), Raised: signal.Raised,
		})
	}
	return s
}

// thousandths rounds for people.
func thousandths(x float64) float64 { return math.Round(1000*x) / 1000 }

package guard

import (
	"math"
	"time"
)

// Status is the state of a guard at one moment.
type Status struct {
	Breaker State `json:"breaker"`
	// Reason names the raised signals, while the breaker is open.
	Reason string `json:"reason,omitempty"`
	// Since is when the breaker changed to this state; zero if it never changed.
	Since time.Time `json:"since,omitzero"`
	// AdmittedPercent is how many of 100 webhooks the breaker admits.
	AdmittedPercent int `json:"admitted_percent"`
	// Opened is how often the breaker has opened.
	Opened int `json:"opened"`
	// InFlight is the number of webhooks in flight, InFlightLimit the current limit on it. 0: no
	// limit.
	InFlight      int64 `json:"in_flight"`
	InFlightLimit int64 `json:"in_flight_limit"`
	// InFlightRejected counts the webhooks rejected because of that limit.
	InFlightRejected int64 `json:"in_flight_rejected"`
	// BodyMemory is the size of the buffers of the bodies in flight, in bytes, and BodyMemoryLimit the
	// limit on it.
	BodyMemory      int64          `json:"body_memory"`
	BodyMemoryLimit int64          `json:"body_memory_limit"`
	Signals         []SignalStatus `json:"signals"`
}

// SignalStatus is an observed value and its limit.
type SignalStatus struct {
	Name string `json:"name"`
	// Value is the last one read. Known is false if the last observation had none.
	Value float64 `json:"value"`
	Known bool    `json:"known"`
	// Limit is 0 if there is none. Nearness is Value divided by Limit.
	Limit    float64 `json:"limit"`
	Nearness float64 `json:"nearness"`
	// Raised says that the value reached the limit for long enough and has not cleared since.
	Raised bool `json:"raised"`
}

// Status returns the state now.
func (g *Guard) Status() Status {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := Status{
		Breaker:          g.breaker.state,
		Reason:           g.breaker.reason,
		Since:            g.breaker.since,
		AdmittedPercent:  int(100 * g.breaker.admitted.Load() / admitAll),
		Opened:           g.breaker.opened,
		InFlight:         g.limiter.inFlight.Load(),
		InFlightLimit:    g.limiter.limit.Load(),
		InFlightRejected: g.limiter.rejected.Load(),
		BodyMemory:       g.bodies.used.Load(),
		BodyMemoryLimit:  g.bodies.limit,
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

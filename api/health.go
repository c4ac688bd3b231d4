package api

import (
	"time"

	"github.com/hookgate/hookgate/control"
)

// The values of Health.Status.
const (
	StatusOK       = "ok"
	StatusDegraded = "degraded"
)

// Status is the answer of /livez and /readyz.
type Status struct {
	Status string `json:"status"` // ok or ready
}

// Health is the answer of /api/health. The call needs no token, so the answer has no paths and no
// causes: GET /admin/queue has those of the queue.
type Health struct {
	Status        string       `json:"status"` // StatusOK or StatusDegraded
	Version       string       `json:"version"`
	Mode          control.Mode `json:"mode"`
	UptimeSeconds int64        `json:"uptime_s"`
	Queue         QueueHealth  `json:"queue"`
	Store         StoreHealth  `json:"store"`
	Guard         Guard        `json:"guard"`
	// Attention lists the things that a person should look at. It does not change Status.
	Attention []Attention `json:"attention"`
}

// QueueHealth is the state of the queue.
type QueueHealth struct {
	// Kind is "direct" if the store takes the webhooks, or "redis".
	Kind string `json:"kind"`
	// Depth is the number of queued records; null if the queue does not answer.
	Depth *int64 `json:"depth"`
	// Spooled is how many of them are in spools.
	Spooled          int64   `json:"spooled"`
	HighWater        int64   `json:"high_water"`
	OldestAgeSeconds float64 `json:"oldest_age_s"`
	Partitions       int     `json:"partitions"`
	// Error is the reason why the gate rejects webhooks, Degraded a problem although it takes them.
	Error    string `json:"error,omitempty"`
	Degraded string `json:"degraded,omitempty"`
}

// StoreHealth is the state of the store.
type StoreHealth struct {
	Events      int64  `json:"events"`
	Duplicates  int64  `json:"duplicates"`
	DeadLetters int64  `json:"dead_letters"`
	Error       string `json:"error,omitempty"`
}

// Guard is the state of the load protection in one process.
type Guard struct {
	// Breaker is closed, open or recovering.
	Breaker string `json:"breaker"`
	// Reason names the signals that keep the breaker open.
	Reason string `json:"reason,omitempty"`
	// Since is when the breaker entered this state; zero if it has been in it since the start.
	Since time.Time `json:"since,omitzero"`
	// AdmittedPercent is how many of 100 webhooks the breaker admits.
	AdmittedPercent int `json:"admitted_percent"`
	// Opened counts how often the breaker has opened.
	Opened   int   `json:"opened"`
	InFlight int64 `json:"in_flight"`
	// InFlightLimit is the current limit; 0 means unlimited.
	InFlightLimit    int64 `json:"in_flight_limit"`
	InFlightRejected int64 `json:"in_flight_rejected"`
	// BodyMemory is the memory of the bodies in flight, in bytes.
	BodyMemory      int64    `json:"body_memory"`
	BodyMemoryLimit int64    `json:"body_memory_limit"`
	Signals         []Signal `json:"signals"`
}

// Signal is a value that the breaker watches.
type Signal struct {
	// Name includes the unit of Value and Limit.
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	// Known is false if the last attempt to read the value failed.
	Known bool `json:"known"`
	// Limit is 0 if there is none. Nearness is Value divided by Limit.
	Limit    float64 `json:"limit"`
	Nearness float64 `json:"nearness"`
	// Raised is true from when the value has been above the limit for long enough until it clears.
	Raised bool `json:"raised"`
}

// Attention is something that a person should look at.
type Attention struct {
	// Name is the kind, such as dead_letters or clock_behind.
	Name string `json:"name"`
	// The subject if there can be several of a kind, such as the name of a source.
	What  string `json:"what,omitempty"`
	Count int64  `json:"count"`
	// Text is a sentence for people.
	Text string `json:"text"`
	// Link is a path of this gate with more about it.
	Link string `json:"link,omitempty"`
	// Since is when it began; nil if that is not known.
	Since *Time `json:"since,omitempty"`
}

// Queue is the answer of GET /admin/queue.
type Queue struct {
	Mode control.Mode `json:"mode"`
	QueueHealth
	// Cause is the cause of Error or Degraded, as in the log.
	Cause string `json:"cause,omitempty"`
}

// DrainRequest is the body of POST /admin/drain.
type DrainRequest struct {
	// Timeout is a duration such as "30s"; empty means 30 seconds, and 10 minutes is the most.
	Timeout string `json:"timeout,omitempty"`
}

// Drained is the answer of POST /admin/drain.
type Drained struct {
	Drained bool  `json:"drained"`
	Left    int64 `json:"left"`
	TookMS  int64 `json:"took_ms"`
}

// ModeRequest is the body of POST /admin/maintenance.
type ModeRequest struct {
	Mode control.Mode `json:"mode"`
}

// Mode is the answer of /admin/maintenance.
type Mode struct {
	Mode control.Mode `json:"mode"`
	// Recorded is false if the mode was set but the admin trail could not be written; otherwise nil.
	Recorded *bool `json:"recorded,omitempty"`
}

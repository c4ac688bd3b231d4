package certify

import (
	"time"

	"github.com/hookgate/hookgate/api"
)

// The files of the phase deliver, besides those of every phase.
const (
	deliveryFile    = "delivery.json"
	attemptsFile    = "attempts.ndjson"
	witnessFile     = "witness.ndjson"
	statesFile      = "subscription.ndjson"
	exceptionsFile  = "exceptions.json"
	deliveredReport = "deliveries.json" // derived
)

// The stages of the consumer.
const (
	stageCalm     = "calm"     // everything is taken
	stageTrouble  = "trouble"  // a share of the attempts fails, and one key always
	stageUnready  = "unready"  // everything is answered 503
	stageReady    = "ready"    // everything is taken but the events of that key
	stageOutage   = "outage"   // nobody listens
	stageRecovery = "recovery" // everything is taken but the events of that key
	stageHealed   = "healed"   // everything is taken
	stageEnd      = "end"
)

// deliveryRun is delivery.json: what is known of the consumer beyond its ledger.
type deliveryRun struct {
	// Subscription is judged; Witness is another one, whose consumer never fails.
	Subscription string `json:"subscription"`
	Witness      string `json:"witness"`
	// Push is false if the events are pulled.
	Push bool `json:"push"`
	// URL has scheme and host of the subscription's URL. The rest may be secret.
	URL string `json:"url,omitempty"`
	// Then is what the subscription does with a failed event when it gives up: park or dead_letter.
	Then string `json:"then"`
	// TimeoutSeconds is when the gate gives up an attempt, or the time of a lease.
	TimeoutSeconds float64 `json:"timeoutSeconds"`
	// Signed and SenderSigned say which signatures the consumer could check.
	Signed       bool `json:"signed"`
	SenderSigned bool `json:"senderSigned"`

	Stages  []stageBegun `json:"stages"`
	Outages []outage     `json:"outages"`
	// FailingKey is the hookgate-key that always failed until Healed.
	FailingKey string    `json:"failingKey,omitempty"`
	Refused    *refusal  `json:"refused,omitempty"`
	Healed     time.Time `json:"healed,omitzero"`
	// Drained is true if the subscription said that nothing is left, DrainSeconds after Healed.
	Drained      bool    `json:"drained"`
	DrainSeconds float64 `json:"drainSeconds"`
	// Stopped is the reason why the phase did not run to its end, Unretried why events could not be
	// retried.
	Stopped   string `json:"stopped,omitempty"`
	Unretried string `json:"unretried,omitempty"`
}

type stageBegun struct {
	Name string    `json:"name"`
	At   time.Time `json:"at"`
}

// outage is a time without a listener. Restart marks a short one.
type outage struct {
	Down    time.Time `json:"down"`
	Up      time.Time `json:"up"`
	Restart bool      `json:"restart,omitempty"`
}

// refusal is an event that got an answer after which the gate must not retry.
type refusal struct {
	MessageID string `json:"messageId"`
	EventID   string `json:"eventId"`
	Key       string `json:"key"`
	Status    int    `json:"status"`
}

// stateSample is a line of subscription.ndjson.
type stateSample struct {
	At time.Time `json:"at"`
	// LagMS is the greatest delay of this client since the line before.
	LagMS float64           `json:"lagMs"`
	State *api.Subscription `json:"state,omitempty"`
	Error string            `json:"error,omitempty"`
}

// listedExceptions is exceptions.json: the exceptions of the subscription before the key was
// healed.
type listedExceptions struct {
	At         time.Time       `json:"at"`
	Error      string          `json:"error,omitempty"`
	Exceptions []api.Exception `json:"exceptions"`
}

// stage returns when a stage began; zero if it did not.
func (r *deliveryRun) stage(name string) time.Time {
	for _, s := range r.Stages {
		if s.Name == name {
			return s.At
		}
	}
	return time.Time{}
}

// down reports whether the consumer was away at some time between two moments.
func (r *deliveryRun) down(from, to time.Time) bool {
	for _, o := range r.Outages {
		if o.Down.Before(to) && (o.Up.IsZero() || o.Up.After(from)) {
			return true
		}
	}
	return false
}

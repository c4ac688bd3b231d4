package api

import (
	"encoding/json"
	"errors"

	"github.com/hookgate/hookgate"
)

// DeadLetter is a dead letter, without its body. If the queue's entry could not be decoded, all
// members that come from the request are empty.
type DeadLetter struct {
	// ID is opaque, and so is Position.
	ID          string                   `json:"id"`
	State       hookgate.DeadLetterState `json:"state"`
	Source      string                   `json:"source"`
	MessageID   string                   `json:"messageId"`
	EventType   string                   `json:"eventType"`
	OrderingKey string                   `json:"orderingKey"`
	// Sequence is null if the event has none.
	Sequence       *int64 `json:"sequence"`
	RequestID      string `json:"requestId"`
	RemoteAddr     string `json:"remoteAddr"`
	ReceivedAt     Time   `json:"receivedAt"`
	DeadLetteredAt Time   `json:"deadLetteredAt"`
	Reason         string `json:"reason"`
	Partition      int    `json:"partition"`
	Position       string `json:"position"`
	// Size is that of the body in bytes, 0 after a purge. SHA256 is its digest in hexadecimal.
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
	RetryNote
	PurgeNote
	Headers []hookgate.Header `json:"headers,omitempty"`
}

// RetryNote is set on a dead letter that is itself a retry.
type RetryNote struct {
	// RetryOf is the request whose dead letter was retried.
	RetryOf   string `json:"retryOf,omitempty"`
	RetriedAt Time   `json:"retriedAt,omitzero"`
}

// PurgeNote is when, by whom and why the body of a dead letter was purged.
type PurgeNote struct {
	PurgedAt    Time   `json:"purgedAt,omitzero"`
	PurgedBy    string `json:"purgedBy,omitempty"`
	PurgeReason string `json:"purgeReason,omitempty"`
}

// DeadLetters is a page of dead letters.
type DeadLetters struct {
	DeadLetters []DeadLetter `json:"deadLetters"`
	// Next is the After of the next page; empty on the last one.
	Next string `json:"next,omitempty"`
}

// DeadLetterDetails is a dead letter with everything that is stored about its identity.
type DeadLetterDetails struct {
	DeadLetter DeadLetter `json:"deadLetter"`
	// History has all dead letters of the identity, oldest first.
	History  []FailedAttempt `json:"history"`
	Requests []RequestTrail  `json:"requests"`
	// MoreRequests is true if Requests is incomplete; the trace has all.
	MoreRequests bool `json:"moreRequests,omitempty"`
}

// FailedAttempt is a dead letter in the history of its identity.
type FailedAttempt struct {
	ID        string                   `json:"id"`
	State     hookgate.DeadLetterState `json:"state"`
	RequestID string                   `json:"requestId"`
	RetryNote
	DeadLetteredAt Time   `json:"deadLetteredAt"`
	Reason         string `json:"reason"`
	// Attempts counts the attempts to store the dead letter itself, LastError is the last failure.
	Attempts  int    `json:"attempts"`
	LastError string `json:"lastError"`
	PurgeNote
}

// DeadLetterSelection is the body of the calls that change many dead letters: all of them, or those
// that a filter selects.
type DeadLetterSelection struct {
	All bool `json:"all,omitempty"`
	// Filter has the names of the parameters of GET /admin/dlq: source, type, key, messageId, prefix,
	// reason, from, to, state.
	Filter map[string]string `json:"filter,omitempty"`
	// After is the Next of the previous answer.
	After string `json:"after,omitempty"`
	Limit int    `json:"limit,omitempty"`
	// LoseEvents must be true to purge open dead letters, whose events are lost by that.
	LoseEvents bool `json:"loseEvents,omitempty"`
}

// Retried is the answer of the calls that retry dead letters. It comes with status 503 too, and
// then says how far the call got.
type Retried struct {
	Status    string `json:"status,omitempty"` // "error" if the call failed
	Error     string `json:"error,omitempty"`
	RequestID string `json:"requestId,omitempty"`

	Retried []RetriedLetter `json:"retried"`
	Skipped []SkippedLetter `json:"skipped"`
	// Next is the After of the next call; empty if there are no more.
	Next string `json:"next,omitempty"`
}

// RetriedLetter is a dead letter whose retry is queued.
type RetriedLetter struct {
	ID string `json:"id"`
	// RequestID is that of the retry, RetryOf that of the dead letter.
	RequestID string `json:"requestId"`
	RetryOf   string `json:"retryOf"`
	// JobID is partition and position.
	JobID string `json:"jobId"`
}

// SkippedLetter is a dead letter that was not retried, and why.
type SkippedLetter struct {
	ID     string                   `json:"id"`
	State  hookgate.DeadLetterState `json:"state"`
	Reason string                   `json:"reason"`
}

// PurgeRequest is the body of POST /admin/dlq/{id}/purge.
type PurgeRequest struct {
	LoseEvents bool `json:"loseEvents,omitempty"`
}

// Purged is the answer of the calls that purge dead letters.
type Purged struct {
	// Purged has the request ids of the dead letters.
	Purged []string `json:"purged"`
	// Next is the After of the next call; empty if there are no more.
	Next string `json:"next,omitempty"`
}

// RemovedTests is the answer of POST /admin/test-events/remove.
type RemovedTests struct {
	// Removed counts the events whose body the call has removed.
	Removed int64 `json:"removed"`
	// More is true if some are left: repeat the call.
	More bool `json:"more"`
}

// retried adds the answer that an error of a retry carries.
func retried(answer Retried, err error) (Retried, error) {
	var failed *Error
	if errors.As(err, &failed) && json.Unmarshal(failed.Body, &answer) != nil {
		answer = Retried{} // not the answer of a gate
	}
	return answer, err
}

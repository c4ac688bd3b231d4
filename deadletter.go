package hookgate

import (
	"fmt"
	"strings"
	"time"
)

// DeadLetterState is the state of a dead letter. No column holds it; it follows from what is
// stored:
//
//	          ┌─► stored      an event with its identity is stored: a retry, or the sender sent it again
//	open ─────┼─► superseded  its retry has become a dead letter in turn; that one is open
//	          └─► purged      a person has purged its body
//
// A superseded dead letter becomes stored together with the later one. A person can still purge a
// stored or superseded one.
type DeadLetterState string

// The states.
const (
	DeadLetterOpen       DeadLetterState = "open"
	DeadLetterStored     DeadLetterState = "stored"
	DeadLetterSuperseded DeadLetterState = "superseded"
	DeadLetterPurged     DeadLetterState = "purged"
)

// ParseDeadLetterState parses a state as the API writes it.
func ParseDeadLetterState(s string) (DeadLetterState, error) {
	all := []string{string(DeadLetterOpen), string(DeadLetterStored), string(DeadLetterSuperseded),
		string(DeadLetterPurged)}
	for _, state := range all {
		if s == state {
			return DeadLetterState(s), nil
		}
	}
	return "", fmt.Errorf("unknown state %q; the states are %s", s, strings.Join(all, ", "))
}

// StoredDeadLetter is a dead letter in the store, without its body.
type StoredDeadLetter struct {
	// ID names the dead letter in the store and in the API. Opaque.
	ID string
	// Identity and all other fields of the request are empty if the queue's entry could not be
	// decoded.
	Identity
	OrderingKey string
	Sequence    int64
	RequestID   RequestID
	Headers     []Header
	RemoteAddr  string
	ReceivedAt  time.Time
	Partition   int
	Position    string
	// Size is the size of the body in bytes; 0 after a purge. SHA256 is the digest of the body, even
	// after a purge.
	Size   int64
	SHA256 [32]byte
	// Reason is why the store could not store it as an event.
	Reason         string
	DeadLetteredAt time.Time
	// Attempts and LastError are those of the batch that stored the dead letter.
	Attempts  int
	LastError string
	// RetryOf and RetriedAt are those of the request: zero unless it retried an earlier dead letter.
	RetryOf   RequestID
	RetriedAt time.Time
	State     DeadLetterState
	// PurgedAt, PurgedBy and PurgeReason describe the purge; zero if there was none.
	PurgedAt              time.Time
	PurgedBy, PurgeReason string
}

// Undecoded reports whether the dead letter is a queue entry that could not be decoded. It has no
// identity, so it cannot be retried.
func (d *StoredDeadLetter) Undecoded() bool { return d.Identity == Identity{} }

// Retry returns the request that retries d at a time; body is the body of d. The request has an id
// of its own. Everything else is as it was received.
func (d *StoredDeadLetter) Retry(body []byte, at time.Time) *Request {
	return &Request{
		RequestID: NewRequestID(at), Identity: d.Identity, OrderingKey: d.OrderingKey,
		Sequence: d.Sequence, Headers: d.Headers,
		Body: body, RemoteAddr: d.RemoteAddr, ReceivedAt: d.ReceivedAt, RetryOf: d.RequestID,
		RetriedAt: at.UTC().Truncate(time.Microsecond),
	}
}

// DeadLetterFilter selects dead letters. Zero fields select everything.
type DeadLetterFilter struct {
	Source, EventType, OrderingKey, MessageID string
	// MessageIDPrefix selects message ids that begin with it, byte for byte.
	MessageIDPrefix string
	// ReasonContains selects dead letters whose reason contains it; case matters.
	ReasonContains string
	// From (inclusive) and To (exclusive) bound DeadLetteredAt.
	From, To time.Time
	State    DeadLetterState
	// After is the ID of a dead letter: the listing begins with the next one.
	After string
	// Limit bounds the number of dead letters; 0 means no bound.
	Limit int
}

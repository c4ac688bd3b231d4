package hookgate

import (
	"fmt"
	"strings"
	"time"
)

// DeadLetterState says what has become of a dead letter. It is stored nowhere but follows from what
// is:
//
//	          ┌─► stored      an event with its identity is stored: by a replay, or because the sender sent it again
//	open ─────┼─► superseded  a replay of it has become a dead letter in turn; that one is open
//	          └─► purged      a person had its body removed
//
// What is superseded becomes stored with the later one. What is stored or superseded can still be
// purged.
type DeadLetterState string

// The states.
const (
	DeadLetterOpen       DeadLetterState = "open"
	DeadLetterStored     DeadLetterState = "stored"
	DeadLetterSuperseded DeadLetterState = "superseded"
	DeadLetterPurged     DeadLetterState = "purged"
)

// ParseDeadLetterState reads a state as it is written in the API.
func ParseDeadLetterState(s string) (DeadLetterState, error) {
	all := []string{string(DeadLetterOpen), string(DeadLetterStored), string(DeadLetterSuperseded),
		string(DeadLetterPurged)}
	for _, state := range all {
		if s == state {
			return DeadLetterState(s), nil
		}
	}
	return "", fmt.Errorf("state %q is none of %s", s, strings.Join(all, ", "))
}

// StoredDeadLetter is a dead letter as it stands in the store, without its body.
type StoredDeadLetter struct {
	// ID names the dead letter in the store and in the API. Opaque.
	ID string
	// Identity is empty if the queue's entry could not be decoded; so are all fields that come from
	// the delivery then.
	Identity
	OrderingKey string
	Sequence    int64
	RequestID   RequestID
	Headers     []Header
	RemoteAddr  string
	ReceivedAt  time.Time
	Partition   int
	Position    string
	// Size is the body's, in bytes, 0 once it is purged; SHA256 is the digest it has or had.
	Size   int64
	SHA256 [32]byte
	// Reason is why it could not be stored as an event.
	Reason         string
	DeadLetteredAt time.Time
	// Attempts and LastError are those of the batch that stored it, as a dead letter.
	Attempts  int
	LastError string
	// RetryOf and RetriedAt are those of the delivery: zero unless it was the replay of an earlier
	// dead letter.
	RetryOf   RequestID
	RetriedAt time.Time
	State     DeadLetterState
	// PurgedAt, PurgedBy and PurgeReason tell of the purge; zero if there was none.
	PurgedAt              time.Time
	PurgedBy, PurgeReason string
}

// Undecoded reports whether the dead letter is a queue entry that could not be decoded. It has no
// identity, and so it cannot be replayed.
func (d *StoredDeadLetter) Undecoded() bool { return d.Identity == Identity{} }

// Retry returns the delivery that replays d, whose body is given, at a time. It has a request id
// of its own; all else is as it was received.
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
	// ReasonContains selects those whose reason contains it, in upper and lower case as given.
	ReasonContains string
	// From (inclusive) and To (exclusive) bound DeadLetteredAt.
	From, To time.Time
	State    DeadLetterState
	// After is the ID of the dead letter to continue behind.
	After string
	// Limit bounds their number; 0 means no bound.
	Limit int
}

package hookgate

import (
	"context"
	"fmt"
	"iter"
	"strings"
	"time"
)

// StoredEvent is a stored event without its body.
type StoredEvent struct {
	// ID names the event in the store and in the read API. Opaque.
	ID string
	Identity
	OrderingKey string
	Sequence    int64
	RequestID   RequestID
	Headers     []Header
	RemoteAddr  string
	ReceivedAt  time.Time
	PersistedAt time.Time
	Partition   int
	Position    string
	// Size is the size of the body in bytes, and SHA256 its digest.
	Size   int64
	SHA256 [32]byte
}

// EventFilter selects events. Zero fields select everything.
type EventFilter struct {
	Source, EventType, OrderingKey, MessageID string
	// ExceptSource leaves out the events of one source.
	ExceptSource string
	// MessageIDPrefix selects message ids that begin with it, byte for byte.
	MessageIDPrefix string
	// RequestID selects the event of one request, or all events of a request that carried several.
	RequestID RequestID
	// BodyContains selects bodies in which these bytes occur. No index helps with that: the search
	// reads every body that the other fields select.
	BodyContains string
	// From (inclusive) and To (exclusive) bound ReceivedAt.
	From, To time.Time
	// After is the ID of an event: the listing begins with the next one. Retention may have removed
	// that event.
	After string
	// Limit bounds the number of events; 0 means no bound.
	Limit int
}

// Stage is a step in the lineage of a request.
type Stage string

// The stages. An accepted request has received, enqueued and processed, and one of persisted,
// duplicate and dead_lettered. The others occur where they happen; StageReplayed is the retry of a
// dead letter.
const (
	StageReceived     Stage = "received"
	StageReplayed     Stage = "replayed"
	StageSpooled      Stage = "spooled"
	StageEnqueued     Stage = "enqueued"
	StageProcessed    Stage = "processed"
	StagePersisted    Stage = "persisted"
	StageDuplicate    Stage = "duplicate"
	StageRetried      Stage = "retried"
	StageDeadLettered Stage = "dead_lettered"
	StagePurged       Stage = "purged"
	// retention, or a person with all test traffic, removed the body
	StageRemoved Stage = "removed"
)

// The stages of the deliveries of a stored event. Their metadata has the subscription, attempt,
// redelivery, status, durationMs, reason and by. A subscription that gave an event up adds
// StageDeadLettered.
const (
	// the consumer accepted the event
	StageDelivered Stage = "delivered"
	// an attempt failed, and another one follows
	StageAttemptFailed Stage = "attempt_failed"
	// an attempt failed, and the event waits for a person
	StageParked Stage = "parked"
	// a person settled the event without delivering it
	StageSkipped Stage = "skipped"
	// the consumer accepted the event that a person had delivered again
	StageRedelivered Stage = "redelivered"
)

// TrailEntry is one stage of one request.
type TrailEntry struct {
	Stage     Stage
	Timestamp time.Time
	// Metadata is a JSON object.
	Metadata []byte
}

// RequestTrail is the lineage of one request, in time order. It has the last MaxTrailAttempts
// attempts of each subscription.
type RequestTrail struct {
	Identity
	RequestID RequestID
	Entries   []TrailEntry
}

// MaxTrailAttempts bounds the attempts of one event by one subscription in a RequestTrail.
const MaxTrailAttempts = 100

// StoreCounts counts what a store holds now; retention lowers the counts.
type StoreCounts struct {
	Events, Duplicates, DeadLetters int64
}

// Reader shows everything that is stored. Declare the smaller port where you need only one.
type Reader interface {
	Events
	Lineage
	DeadLetters
}

// Events reads stored events, oldest stored first unless a method says otherwise. It never writes.
// All methods may be called concurrently.
type Events interface {
	// Events yields the events that match. An After that no event can have as its ID yields
	// ErrNotFound. If ctx ends first, the error is a *PartialError once Events has made any
	// progress.
	Events(ctx context.Context, f EventFilter) iter.Seq2[StoredEvent, error]
	// Search returns one page of the events that match, newest first. EventSearch.MaxTime bounds
	// its time, however many events are stored and however few match. A Cursor that Search did not
	// give out for such a search is ErrNotFound.
	Search(ctx context.Context, q EventSearch) (EventPage, error)
	// Event returns one event. ErrNotFound: there is none, or retention has removed it.
	Event(ctx context.Context, id string) (StoredEvent, error)
	// Body returns the exact bytes of an event's body, or ErrNotFound.
	Body(ctx context.Context, id string) ([]byte, error)
	// Counts counts what is stored. It must not read every row, because it is called every few
	// seconds.
	Counts(ctx context.Context) (StoreCounts, error)
	// Ping reports whether the store can be reached and written to now.
	Ping(ctx context.Context) error
}

// Lineage reads the trails of requests. It never writes. All methods may be called concurrently.
type Lineage interface {
	// Trace returns the lineage of the requests that carried the message id, in the order of their
	// request ids. That is the order in which they were received or, for a retry, started. It
	// returns at most limit requests, those with ids above after; the zero RequestID starts from
	// the first. An unknown message id is not an error.
	//
	// A record can come again after it became a dead letter, and be stored then. Its entries show
	// both, one after the other.
	Trace(ctx context.Context, messageID string, after RequestID, limit int) ([]RequestTrail, error)
	// Request returns the lineage of one request, or ErrNotFound.
	Request(ctx context.Context, id RequestID) (RequestTrail, error)
	// Parts returns the lineage of the first max events of a request that carried several, in
	// their order there. A request with no parts is not an error.
	Parts(ctx context.Context, id RequestID, max int) ([]RequestTrail, error)
	// RequestBody returns the exact bytes of a request that carried several events, or
	// ErrNotFound.
	RequestBody(ctx context.Context, id RequestID) ([]byte, error)
}

// DeadLetters reads dead letters. It never writes. All methods may be called concurrently.
type DeadLetters interface {
	// DeadLetters yields the dead letters that match, oldest stored first. An After that no dead
	// letter can have as its ID yields ErrNotFound.
	DeadLetters(ctx context.Context, f DeadLetterFilter) iter.Seq2[StoredDeadLetter, error]
	// DeadLetter returns one dead letter by its ID or by its request id, or ErrNotFound.
	DeadLetter(ctx context.Context, id string) (StoredDeadLetter, error)
	// DeadLetterBody returns the exact bytes of a dead letter's body, by the dead letter's ID or
	// request id. For a queue entry that could not be decoded these are the entry's bytes.
	// ErrNotFound: there is no such dead letter, or its body is gone.
	DeadLetterBody(ctx context.Context, id string) ([]byte, error)
	// OpenDeadLetters counts the dead letters in the state open, up to most. It reads every dead
	// letter until it has counted that many.
	OpenDeadLetters(ctx context.Context, most int64) (int64, error)
}

// EventSearch asks a Reader for one page of events, newest first. The filter decides which order
// that is, so that an index serves it:
//
//	MessageID       in the order of a digest of the identity
//	EventType       last received first
//	From or To      highest request id first: last received, and retries by when they were started
//	anything else   last stored first
//
// No index serves MessageIDPrefix.
//
// A search by time uses request ids, which begin with the time of receipt. It also finds retries,
// whose ids are younger.
type EventSearch struct {
	// EventFilter selects events. Its After is ignored. Its Limit is the length of the page, at least
	// 1.
	EventFilter
	// Stored orders by time of storing, with any filter. A search after a Cursor then finds the
	// events that were stored since.
	Stored bool
	// Cursor is EventPage.Older or EventPage.Newer of a page of the same search: this page begins
	// there. Empty: at the newest event. With Stored it may also be the ID of an event, even of one
	// that retention has removed.
	Cursor string
	// Newer asks for the events on the other side of Cursor, the newer ones. They still come newest
	// first.
	Newer bool
	// MaxTime ends the search although the page is not full; 0 means no limit. The search takes a
	// little longer, because it finishes its current read. A search that an index serves does not
	// reach MaxTime.
	MaxTime time.Duration
}

// EventPage is the result of a search.
type EventPage struct {
	// Events are in the order of the search, newest first.
	Events []StoredEvent
	// Older is the Cursor of the next page of older events; empty if there are none.
	Older string
	// Newer is the Cursor of the next page of newer events. It stays valid while new events come. It
	// is empty only if no event has the type or the id of the search.
	Newer string
	// Partial reports whether MaxTime ended the search before the page was full. More events may
	// follow at Older, or at Newer if EventSearch.Newer was set.
	Partial bool
	// SearchedTo is the time of receipt of the last event that a partial search has read; zero for a
	// search by MessageID.
	SearchedTo time.Time
}

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

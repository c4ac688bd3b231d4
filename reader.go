package hookgate

import (
	"context"
	"iter"
	"time"
)

// Event is a stored event without its body.
type Event struct {
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
	// Size is the body's, in bytes, and SHA256 its digest.
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
	// BodyContains selects bodies in which these bytes occur. No index helps with that: every body
	// that the other fields select is read.
	BodyContains string
	// From (inclusive) and To (exclusive) bound ReceivedAt.
	From, To time.Time
	// After is the ID of the event to continue behind. That need not be stored any more.
	After string
	// Limit bounds the number of events; 0 means no bound.
	Limit int
}

// Stage is a step in the lineage of a request.
type Stage string

// The stages. A request that was accepted has received, enqueued and processed, and one of
// persisted, duplicate and dead_lettered; the others occur where they happen.
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
	StageRemoved      Stage = "removed" // the event's body, by retention or with test traffic
)

// TrailEntry is one stage of one request.
type TrailEntry struct {
	Stage     Stage
	Timestamp time.Time
	// Metadata is a JSON object.
	Metadata []byte
}

// RequestTrail is the lineage of one request, in time order.
type RequestTrail struct {
	Identity
	RequestID RequestID
	Entries   []TrailEntry
}

// StoreCounts counts what a store holds, without what retention has removed.
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
	Events(ctx context.Context, f EventFilter) iter.Seq2[Event, error]
	// Search returns one page of the events that match, newest first. EventSearch.Patience bounds
	// its time, however many events are stored and however few match. A Cursor that Search did not
	// give out for such a search is ErrNotFound.
	Search(ctx context.Context, q EventSearch) (EventPage, error)
	// Event returns one event. ErrNotFound: there is none, or retention has removed it.
	Event(ctx context.Context, id string) (Event, error)
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

// EventSearch asks a Reader for a page of events, newest first. What newest means follows from the
// filter, so that an index serves it:
//
//	MessageID       in the order of a digest of the identity
//	EventType       last received first
//	From or To      by request id, downwards: last received first, and a replay when it was started
//	anything else   last stored first
//
// No index serves MessageIDPrefix.
//
// A time is looked for among request ids, which NewRequestID begins with the time of receipt;
// replays, whose ids are younger, are found too.
type EventSearch struct {
	// EventFilter selects; its After is ignored. Its Limit is the length of the page, at least 1.
	EventFilter
	// Stored makes it last stored first in any case: what is searched again behind a Cursor has then
	// been stored since.
	Stored bool
	// Cursor is what a page of the same search said as its Older or Newer: where this one begins.
	// Empty: at the newest. In the order stored an event's ID will do too; the event need not be
	// stored any more.
	Cursor string
	// Newer asks for what is on the other side of Cursor: for the next newer events. They still come
	// newest first.
	Newer bool
	// MaxTime is the time after which the search is broken off although the page is not full. One
	// read is finished then, so that it takes a little longer; a search that an index serves does not
	// get there. 0 means no end.
	MaxTime time.Duration
}

// EventPage is what a search has found.
type EventPage struct {
	// Events are newest first.
	Events []Event
	// Older is where to go on to older events, empty if there are no more.
	Older string
	// Newer is where to go on to newer events, at any time. It is empty only if no event at all is of
	// the type, or has the id, that is searched.
	Newer string
	// Partial says that Patience ended before the page was full: there may be more behind Older, or
	// Newer if that was asked for.
	Partial bool
	// SearchedTo is when the last event was received that a partial search has looked at; zero if it
	// is of one MessageID.
	SearchedTo time.Time
}

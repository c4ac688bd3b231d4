package hookgate

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"
)

var (
	// ErrFenced is returned by Apply when a partition of the batch has been acquired by another
	// owner since. Nothing was stored. The caller has been replaced: it must drop what it holds
	// of its partitions and consume anew.
	ErrFenced = errors.New("partition has another owner")

	// ErrRejected is wrapped by the error of Apply when the store is well but refuses a record of the
	// batch, and the dead letter that would take its place too. Nothing was stored. A RejectedError
	// says which record that is; the others can be stored without it. Every other error of Apply but
	// ErrFenced means that the outcome is unknown and the same batch must be applied again.
	ErrRejected = errors.New("store rejects the batch")

	// ErrNotFound is returned by a Reader for something that is not there.
	ErrNotFound = errors.New("not found")
)

// RejectedError is an ErrRejected that names the record which the store refuses.
type RejectedError struct {
	// Index is that in Batch.Records, or len(Batch.Records) and more for one of Batch.Dead.
	Index int
	Err   error
}

func (e *RejectedError) Error() string {
	return fmt.Sprintf("%v: record %d: %v", ErrRejected, e.Index, e.Err)
}

// Unwrap returns ErrRejected and the cause.
func (e *RejectedError) Unwrap() []error { return []error{ErrRejected, e.Err} }

// PartialError is what Reader.Events yields when its context ended before it had looked at all
// events. The caller may continue with EventFilter.After set to After.
type PartialError struct {
	// After is the id of the last event that was looked at, whether it matched or not.
	After string
	Err   error
}

func (e *PartialError) Error() string { return e.Err.Error() }

func (e *PartialError) Unwrap() error { return e.Err }

// StoreMark says which store one is and how far it has come.
type StoreMark struct {
	// ID is another one for another store, and for one that was recovered to an earlier point in
	// time if it knows that of itself.
	ID string
	// Last is the id of the log's last entry. It only grows, unless the store is replaced by an older
	// copy.
	Last int64
}

// Follows reports whether a store with mark m has everything that it had with mark before.
func (m StoreMark) Follows(before StoreMark) bool {
	return m.ID == before.ID && m.Last >= before.Last
}

// Epoch numbers the owners of a partition. A higher epoch fences out all lower ones.
type Epoch uint64

// Store keeps events, their lineage and dead letters. All methods may be called concurrently.
type Store interface {
	// Acquire makes the caller the owner of the partition and returns its epoch. From then on
	// a batch with a lower epoch of that partition is refused with ErrFenced.
	Acquire(ctx context.Context, partition int) (Epoch, error)

	// Apply stores a batch in one durable transaction: events, lineage, dead letters, and the
	// next link of each partition's audit chain. nil: all of it is on disk.
	//
	// Whether an event is a duplicate is decided by its identity alone. A record whose identity
	// and request id are already stored is one that came again: it changes nothing. So repeating
	// a batch whose outcome is unknown is harmless.
	//
	// Errors: ErrFenced, ErrRejected; anything else obliges the caller to apply the batch again.
	// Apply does not refer to the batch after it has returned, whatever it returned.
	Apply(ctx context.Context, b *Batch) (Outcome, error)
}

// Batch is what a worker stores in one transaction.
type Batch struct {
	// Records are those to store, each partition's in queue order.
	Records []Record
	// Dead are the records that cannot be stored as events.
	Dead []DeadLetter
	// Epochs holds the caller's epoch for each partition that occurs in Records and Dead. nil: the
	// records come from no partition with an owner, and nothing is fenced.
	Epochs map[int]Epoch
	// Worker names the caller in the lineage.
	Worker string
	// ProcessedAt is when the worker first took up these records.
	ProcessedAt time.Time
	// Attempts counts the calls of Apply for these records, this one included: 1 unless retried.
	Attempts int
	// LastError is the error of the attempt before, or empty.
	LastError string
}

// DeadLetter is a record that cannot be stored as an event, with the reason.
type DeadLetter struct {
	Record
	Reason string
}

// Outcome says what Apply did with a batch.
type Outcome struct {
	// Stored is the number of events that this call added.
	Stored int
	// Results has one entry for each of Batch.Records, in their order.
	Results []Result
}

// Result says what Apply did with one record.
type Result struct {
	// ID is the id of the record's entry in the log: its event, its duplicate or its dead letter.
	ID int64
	// DuplicateOf is the request that brought the event first. It is zero if that is the record's own
	// request, also when an earlier call stored it.
	DuplicateOf RequestID
	// Rejected is why the store refused the event, which is a dead letter now; nil if it did not.
	Rejected error
}

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

// Reader shows what is stored. It never writes. All methods may be called concurrently; what
// they yield is oldest stored first.
type Reader interface {
	// Events yields the events that match. An After that no event can have as its ID yields
	// ErrNotFound. If ctx ends first, the error is a *PartialError once Events has made any progress.
	Events(ctx context.Context, f EventFilter) iter.Seq2[Event, error]
	// Search returns one page of the events that match, newest first. It returns before long however
	// many events are stored and however few match: see EventSearch.Patience. A Cursor that it has not
	// given out for such a search is ErrNotFound.
	Search(ctx context.Context, q EventSearch) (EventPage, error)
	// Event returns one event, or ErrNotFound, also of one that retention has removed.
	Event(ctx context.Context, id string) (Event, error)
	// Body returns the exact bytes of an event's body, or ErrNotFound.
	Body(ctx context.Context, id string) ([]byte, error)
	// Trace returns the lineage of the requests that carried the message id, in the order of their
	// request ids, which is the order in which they were received or, for a replay, started. It
	// returns at most limit of them, those with ids after after; the zero RequestID starts from the
	// first. No such request is not an error. A request whose record came again after it had become
	// a dead letter may have been stored then: its entries show both, one after the other.
	Trace(ctx context.Context, messageID string, after RequestID, limit int) ([]RequestTrail, error)
	// Request returns the lineage of one request, or ErrNotFound.
	Request(ctx context.Context, id RequestID) (RequestTrail, error)
	// Parts returns the lineage of the first max events of a request that carried several, in their
	// order there; none is not an error.
	Parts(ctx context.Context, id RequestID, max int) ([]RequestTrail, error)
	// RequestBody returns the exact bytes of a request that carried several events, or ErrNotFound.
	RequestBody(ctx context.Context, id RequestID) ([]byte, error)
	// DeadLetters yields the dead letters that match. An After that none can have as its ID yields
	// ErrNotFound.
	DeadLetters(ctx context.Context, f DeadLetterFilter) iter.Seq2[StoredDeadLetter, error]
	// DeadLetter returns one dead letter by its ID or by its request id, or ErrNotFound.
	DeadLetter(ctx context.Context, id string) (StoredDeadLetter, error)
	// DeadLetterBody returns the exact bytes of a dead letter's body by its ID or by its request id;
	// ErrNotFound if there is none, or none any more. Of a queue entry that could not be decoded they
	// are the entry's.
	DeadLetterBody(ctx context.Context, id string) ([]byte, error)
	// OpenDeadLetters counts the dead letters in the state open, up to most. It reads every dead
	// letter until it has that many.
	OpenDeadLetters(ctx context.Context, most int64) (int64, error)
	// Counts counts what is stored. It must not read every row: it is asked every few seconds.
	Counts(ctx context.Context) (StoreCounts, error)
	// Ping reports whether the store can be reached and written to now.
	Ping(ctx context.Context) error
}

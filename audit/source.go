package audit

import (
	"errors"
	"time"

	"github.com/hookgate/hookgate/control"
)

// Source reads one snapshot of a store, each of its tables once and in the order of ids. The
// methods that return ok go on to the next row with each call, and what they return holds until
// then; ok is false behind the last.
type Source interface {
	Link() (l *Link, ok bool, err error)
	// RemovedEvent returns the rows of webhook_removed_events, and Event those of webhook_events. A
	// row of one holds while the other goes on.
	RemovedEvent() (e *Row, ok bool, err error)
	Event() (e *Row, ok bool, err error)
	// Request returns the rows of webhook_requests.
	Request() (e *Row, ok bool, err error)
	// Purge returns the rows of webhook_purges.
	Purge() (p *Purge, ok bool, err error)
	// RequestBody returns a row of webhook_request_bodies.
	RequestBody(requestID string) (body []byte, ok bool, err error)
	// Removals returns the row of webhook_removals, and Checkpoints all of webhook_checkpoints by
	// partition and sequence. They come before the first row of all others.
	Removals() (Removals, error)
	Checkpoints() ([]Checkpoint, error)
	// Heads returns all rows of webhook_partitions by partition. It comes after the last link.
	Heads() ([]Head, error)
	// Log returns the row of webhook_log, and Gaps all of webhook_gaps by id; they come before the
	// first row of all others. ok is false if the store is of a release that had none.
	Log() (l Log, ok bool, err error)
	Gaps() ([]Gap, error)
	// Anchor returns the rows of webhook_anchors.
	Anchor() (a *Anchor, ok bool, err error)
	// Letters counts the rows of webhook_dead_letters.
	Letters() (int64, error)
	// Action returns the rows of webhook_admin_actions.
	Action() (a *Action, ok bool, err error)
	// LastAction returns the row of webhook_admin_chain. It comes after the last action.
	LastAction() (ActionHead, error)
}

// Link is a row of webhook_batches.
type Link struct {
	ID int64
	ChainLink
	Hash                     [32]byte
	Events, Requests, Purges int64
	// LastEvent and LastRequest are the ids at which its events and requests end.
	LastEvent, LastRequest int64
}

// Row is a row of webhook_events, webhook_removed_events or webhook_requests.
type Row struct {
	// Row is what the chain covers, but for the request ids. The outcome of an event need not be
	// there.
	Entry
	// Hash is that of the entry. Sealed says that it has one; else a link covers it.
	Hash   [32]byte
	Sealed bool
	// Key is the column identity; nil of a removed event, which has none.
	Key []byte
	// RequestID, FirstRequestID and RetryOf are as the store has them, which need not be well formed.
	RequestID, FirstRequestID, RetryOf string
	// Body is that of an event, unless it was Removed.
	Body    []byte
	Removed bool
	// Letter belongs to a dead letter; nil if there is none.
	Letter *Letter
	// Purged says that a row of webhook_purges names this request.
	Purged bool
}

// Purge is a row of webhook_purges.
type Purge struct {
	ID, Batch             int64
	RequestID, By, Reason string
	PurgedAt              int64 // microseconds since 1970
	// Hash is that of the entry. Sealed says that it has one; else a link covers it.
	Hash   [32]byte
	Sealed bool
}

// Anchor is a row of webhook_anchors.
type Anchor struct {
	ID, Sequence    int64
	TrailHash, Hash [32]byte
}

// Log is the row of webhook_log.
type Log struct {
	BeginsAfter, LastID                     int64
	Events, Duplicates, DeadLetters, Purges int64
	Anchored                                int64
	// Hash is the head of the chain; Begun is false if there is no entry yet.
	Hash  [32]byte
	Begun bool
}

// Letter is a row of webhook_dead_letters.
type Letter struct {
	Body              []byte
	RequestID, Reason string
	DeadLetteredAt    int64 // microseconds since 1970
}

// Head is a row of webhook_partitions.
type Head struct {
	Partition                       int
	Sequence                        int64
	Hash                            [32]byte
	Events, Duplicates, DeadLetters int64
}

// ErrNoRemovals is for a store without its row of webhook_removals.
var ErrNoRemovals = errors.New("webhook_removals has no row: the schema is damaged")

// Removals is the row of webhook_removals: what retention has removed since the beginning, and the
// highest ids in it.
type Removals struct {
	// Events are those whose body was removed, whether or not their lineage is left.
	Events, Duplicates, DeadLetters int64
	// LastEvent is the id up to which no event has a body. Behind it only test traffic can lack one.
	LastEvent, LastRequest, LastBatch int64
	LastPurge                         int64
}

// Checkpoint is a row of webhook_checkpoints: links From to To of a partition were removed. The
// audit chain goes on across it from Previous, the hash before the first of them, to Hash, that of
// the last.
type Checkpoint struct {
	Partition                       int
	From, To                        int64
	Previous, Hash                  [32]byte
	Events, Duplicates, DeadLetters int64
	Purges                          int64
	// PersistedAt is that of the youngest link.
	PersistedAt time.Time
}

// Gap is a row of webhook_gaps: the entries of the log with ids From to To were removed. The audit
// chain goes on across it from Previous, the hash before the first of them, to Hash, that of the
// last.
type Gap struct {
	From, To                        int64
	Previous, Hash                  [32]byte
	Events, Duplicates, DeadLetters int64
	Purges, Anchors                 int64
	// Anchored is the highest sequence of the anchors; 0 if there are none.
	Anchored int64
	// PersistedAt is that of the last entry.
	PersistedAt time.Time
}

// Action is a row of webhook_admin_actions.
type Action struct {
	control.AdminAction
	// RequestID is as the store has it, which need not be well formed.
	RequestID string
}

// ActionHead is the row of webhook_admin_chain: where the chain was left.
type ActionHead struct {
	Sequence int64
	Hash     [32]byte
}

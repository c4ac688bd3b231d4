package audit

import (
	"errors"
	"time"

	"github.com/hookgate/hookgate/control"
)

// Source reads one snapshot of a store. It reads each table once, in the order of ids. A method
// that returns ok returns the next row at each call; the row is valid until the next call, and ok
// is false after the last row.
type Source interface {
	Link() (l *Link, ok bool, err error)
	// RemovedEvent returns the rows of webhook_removed_events, and Event those of webhook_events. A
	// row of one stays valid while the other moves on.
	RemovedEvent() (e *Row, ok bool, err error)
	Event() (e *Row, ok bool, err error)
	// Request returns the rows of webhook_requests.
	Request() (e *Row, ok bool, err error)
	// Purge returns the rows of webhook_purges.
	Purge() (p *Purge, ok bool, err error)
	// RequestBody returns a row of webhook_request_bodies.
	RequestBody(requestID string) (body []byte, ok bool, err error)
	// Removals returns the row of webhook_removals, and Checkpoints all rows of webhook_checkpoints
	// ordered by partition and sequence. Run calls them before any method that returns rows.
	Removals() (Removals, error)
	Checkpoints() ([]Checkpoint, error)
	// Heads returns all rows of webhook_partitions ordered by partition. Run calls it after the
	// last link.
	Heads() ([]Head, error)
	// Log returns the row of webhook_log, and Gaps all rows of webhook_gaps ordered by id. Run
	// calls them before any method that returns rows. ok is false if an earlier release, which had
	// no log, wrote the store.
	Log() (l Log, ok bool, err error)
	Gaps() ([]Gap, error)
	// Anchor returns the rows of webhook_anchors.
	Anchor() (a *Anchor, ok bool, err error)
	// Letters counts the rows of webhook_dead_letters.
	Letters() (int64, error)
	// Action returns the rows of webhook_admin_actions.
	Action() (a *Action, ok bool, err error)
	// LastAction returns the row of webhook_admin_chain. Run calls it after the last action.
	LastAction() (ActionHead, error)
}

// Link is a row of webhook_batches.
type Link struct {
	ID int64
	ChainLink
	Hash                     [32]byte
	Events, Requests, Purges int64
	// LastEvent and LastRequest are the ids of its last event and its last request.
	LastEvent, LastRequest int64
}

// Row is a row of webhook_events, webhook_removed_events or webhook_requests.
type Row struct {
	// Entry is what the chain covers, except for the request ids. Its Outcome may be empty for an
	// event.
	Entry
	// Hash is the hash of the entry. Sealed reports that there is one; otherwise a link covers the
	// row.
	Hash   [32]byte
	Sealed bool
	// Key is the column identity. It is nil for a removed event, which has no such column.
	Key []byte
	// RequestID, FirstRequestID and RetryOf are the stored texts, which may be malformed.
	RequestID, FirstRequestID, RetryOf string
	// Body is the body of an event, unless it was Removed.
	Body    []byte
	Removed bool
	// Letter is the dead letter of the request, or nil.
	Letter *Letter
	// Purged reports that a row of webhook_purges names this request.
	Purged bool
}

// Purge is a row of webhook_purges.
type Purge struct {
	ID, Batch             int64
	RequestID, By, Reason string
	PurgedAt              int64 // microseconds since 1970
	// Hash is the hash of the entry. Sealed reports that there is one; otherwise a link covers the
	// row.
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
	// Hash is the head of the chain. Begun is false if the log has no entry yet.
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

// ErrNoRemovals is returned if webhook_removals has no row.
var ErrNoRemovals = errors.New("webhook_removals has no row: the schema is damaged;" +
	" restore a backup")

// Removals is the row of webhook_removals. It counts what retention has removed since the
// beginning, and has the highest id of each kind that it removed.
type Removals struct {
	// Events counts the events whose body was removed, with or without their lineage.
	Events, Duplicates, DeadLetters int64
	// No event with an id up to LastEvent has a body. Above it, only test traffic can lack one.
	LastEvent, LastRequest, LastBatch int64
	LastPurge                         int64
}

// Checkpoint is a row of webhook_checkpoints. It records that links From to To of a partition were
// removed. The chain continues across them from Previous, the hash before the first of them, to
// Hash, the hash of the last.
type Checkpoint struct {
	Partition                       int
	From, To                        int64
	Previous, Hash                  [32]byte
	Events, Duplicates, DeadLetters int64
	Purges                          int64
	// PersistedAt is when the youngest link was stored.
	PersistedAt time.Time
}

// Gap is a row of webhook_gaps. It records that the entries of the log with ids From to To were
// removed. The chain continues across them from Previous, the hash before the first of them, to
// Hash, the hash of the last.
type Gap struct {
	From, To                        int64
	Previous, Hash                  [32]byte
	Events, Duplicates, DeadLetters int64
	Purges, Anchors                 int64
	// Anchored is the highest sequence of the removed anchors; 0 if there were none.
	Anchored int64
	// PersistedAt is when the last entry was stored.
	PersistedAt time.Time
}

// Action is a row of webhook_admin_actions.
type Action struct {
	control.AdminAction
	// RequestID is the stored text, which may be malformed.
	RequestID string
}

// ActionHead is the row of webhook_admin_chain: the last row of the admin trail.
type ActionHead struct {
	Sequence int64
	Hash     [32]byte
}

package hookgate

import (
	"context"
	"time"
)

// StoreMark identifies a store and how far its log reaches. Comparing two marks shows whether the
// store was replaced by another one or by an older copy.
type StoreMark struct {
	// ID differs between two stores. It also changes when a store is recovered to an earlier point in
	// time, if the store can know that.
	ID string
	// Last is the id of the log's last entry. It only grows, unless an older copy replaces the store.
	Last int64
}

// Follows reports whether a store with mark m still has everything that it had with mark before.
func (m StoreMark) Follows(before StoreMark) bool {
	return m.ID == before.ID && m.Last >= before.Last
}

// Epoch numbers the owners of a partition. A higher epoch fences out all lower ones.
type Epoch uint64

// Store keeps events, their lineage and dead letters. All methods may be called concurrently.
type Store interface {
	// Acquire makes the caller the owner of the partition and returns its epoch. From then on Apply
	// rejects a batch with a lower epoch of that partition with ErrFenced.
	Acquire(ctx context.Context, partition int) (Epoch, error)

	// Apply stores a batch in one durable transaction: events, lineage, dead letters, and the
	// next link of each partition's audit chain. nil: all of it is on disk.
	//
	// Only its identity decides whether an event is a duplicate. A record whose identity and request
	// id are already stored has come again and changes nothing. So repeating a batch with unknown
	// outcome is harmless.
	//
	// Errors: ErrFenced, ErrRejected. After any other error the outcome is unknown, and the caller
	// must apply the batch again. Apply does not refer to the batch after it has returned, with an
	// error or without.
	Apply(ctx context.Context, b *Batch) (Outcome, error)

	// Close closes the store when the calls under way have ended. Calls that come later fail, most of
	// them with ErrClosed. Stored events are safe without it.
	Close() error
}

// Batch is a set of records that are stored in one transaction.
type Batch struct {
	// Records are the records to store, those of each partition in queue order.
	Records []Record
	// Dead are the records that cannot be stored as events.
	Dead []DeadLetter
	// Epochs has the caller's epoch of each partition in Records and Dead. nil: the partitions have no
	// owner, and the store fences nothing.
	Epochs map[int]Epoch
	// Worker names the caller in the lineage.
	Worker string
	// ProcessedAt is when the worker began to process these records.
	ProcessedAt time.Time
	// Attempts counts the calls of Apply for these records, this one included: 1 unless retried.
	Attempts int
	// LastError is the error of the previous attempt, or empty.
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
	// request, even if an earlier call of Apply stored it.
	DuplicateOf RequestID
	// Rejected is why the store rejected the event and stored a dead letter; nil if it did not.
	Rejected error
}

// Purger removes dead letters and test traffic. Its methods may be called concurrently.
type Purger interface {
	// Purge removes the bodies of dead letters, and of the earlier ones that they retry, in one
	// durable transaction. The audit chain covers the purge. Everything but the bodies stays, and the
	// lineage of each dead letter gains the stage purged. Purge skips IDs of no dead letter and of
	// purged ones. It returns the requests whose dead letters it purged.
	//
	// After an error the outcome is unknown; repeating the call is harmless.
	Purge(ctx context.Context, p Purge) ([]RequestID, error)
	// PurgeTests removes the bodies of at most limit events of TestSource, the oldest first, in one
	// durable transaction. Their lineage stays and gains the stage removed; retention removes it
	// later. Pruned.More reports whether some are left.
	//
	// After an error the outcome is unknown; repeating the call is harmless.
	PurgeTests(ctx context.Context, limit int) (Pruned, error)
}

// Purge says which dead letters are purged, by whom and why.
type Purge struct {
	// IDs are those of StoredDeadLetter.
	IDs        []string
	By, Reason string
}

// Cutoffs are the times before which retention removes. They compare with the commit that stored an
// entry (webhook_batches.persisted_at).
type Cutoffs struct {
	// Events: retention removes the bodies of events that were stored before, and keeps their lineage.
	// Zero: none.
	Events time.Time
	// Trail: retention also removes the lineage of what was stored before, link by link of the audit
	// chain. Zero: none. It is never after Events.
	Trail time.Time
	// PassSubscriptions removes the bodies of events that a subscription has not passed yet. Without
	// it they stay.
	PassSubscriptions bool
}

// Pruned is what one step of retention removed.
type Pruned struct {
	// Events is the number of events that lost their bodies, and Bytes the size of these.
	Events, Bytes int64
	// Links is the number of links removed from the chains of earlier releases, Entries that of
	// entries removed from the log, and Requests that of the requests whose lineage went with them.
	Links, Entries, Requests int64
	// More reports whether the step ended at its limit, so that more can be removed now.
	More bool
	// Busy reports whether another process was removing; this step did nothing then.
	Busy bool
	// OldestEvent is when the oldest remaining event was stored; zero if there is none or the step did
	// not reach it.
	OldestEvent time.Time
	// HeldUpBy is the subscription for which the oldest remaining event stays although it is old
	// enough to be removed; empty if there is none. Of several it is the one with the lowest cursor.
	HeldUpBy string
}

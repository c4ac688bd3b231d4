package hookgate

import (
	"context"
	"time"
)

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

	// Close closes the store when the calls under way have ended. Calls that come later fail, most of
	// them with ErrClosed. What was stored is safe without it.
	Close() error
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

// Purger removes dead letters and test traffic. Its methods may be called concurrently.
type Purger interface {
	// Purge removes the bodies of dead letters, and of the earlier ones that they replay, in one
	// durable transaction; the audit chain covers the purge. What is known of them beside the body
	// stays, and each one's lineage gains the stage purged. IDs that name none, or one that was purged
	// before, are passed over. It returns the requests whose dead letters were purged.
	//
	// After an error the outcome is unknown; repeating the call is harmless.
	Purge(ctx context.Context, p Purge) ([]RequestID, error)
	// PurgeTests removes the bodies of events of TestSource, oldest first and limit at most, in one
	// durable transaction. Their lineage stays and gains the stage removed; retention removes it when
	// it is old. More says that some are left.
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

// Cutoffs say what of a store is old enough to be removed. Age counts from the commit that stored
// it (webhook_batches.persisted_at).
type Cutoffs struct {
	// Events: of what was stored before this the body is removed, while its lineage stays. Zero: none.
	Events time.Time
	// Trail: of what was stored before this the lineage is removed too, link by link of the audit
	// chain. Zero: none; never after Events.
	Trail time.Time
}

// Pruned says what one step of retention removed.
type Pruned struct {
	// Events lost their bodies, and Bytes were in these.
	Events, Bytes int64
	// Links left the chains of earlier releases and Entries the log, and with them the lineage of
	// Requests.
	Links, Entries, Requests int64
	// More says that the step ended at its limit and not at what is too young.
	More bool
	// Busy says that another process removes what is old; this one has looked at nothing.
	Busy bool
	// OldestEvent is when the oldest event that is left was stored; zero if there is none, or if the
	// step did not get there.
	OldestEvent time.Time
}

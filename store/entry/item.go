// Package entry has the form in which the stores keep an entry of the log: an event, a duplicate or
// a dead letter. It makes entries from a hookgate.Batch, and has the one list of columns.
package entry

import (
	"crypto/sha256"
	"fmt"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/audit"
)

// Item is a record with its entry in the log, as far as the entry is known before it is stored. If
// the queue found the record to be a duplicate, Outcome and FirstRequestID are set; for a dead
// letter Outcome and Reason are. Place completes the entry.
type Item struct {
	audit.Entry
	Record *hookgate.Record
	// Index is the index in Batch.Records. It is -1 for a dead letter of the batch.
	Index int
	// Key is the audit.IdentityKey of its identity.
	Key [24]byte
	// Hash is the hash of the entry. A store sets it after Place.
	Hash [32]byte
}

// Items returns the records of the batch in their order, followed by its dead letters. It returns
// ErrRejected if a record is corrupt, and another error if the batch lacks the epoch of a
// partition.
func Items(b *hookgate.Batch) ([]Item, error) {
	items := make([]Item, 0, len(b.Records)+len(b.Dead))
	for i := range b.Records {
		r := &b.Records[i]
		if r.Corrupt != nil {
			return nil, &hookgate.RejectedError{Index: i, Err: r.Corrupt}
		}
		items = append(items, newItem(b, r, i, hookgate.StagePersisted))
		if !r.DuplicateOf.IsZero() {
			it := &items[i]
			it.Outcome, it.FirstRequestID = hookgate.StageDuplicate, r.DuplicateOf
		}
	}
	for i := range b.Dead {
		it := newItem(b, &b.Dead[i].Record, -1, hookgate.StageDeadLettered)
		it.Reason = b.Dead[i].Reason
		items = append(items, it)
	}
	if b.Epochs == nil {
		return items, nil
	}
	for i := range items {
		if _, ok := b.Epochs[items[i].Partition]; !ok {
			return nil, fmt.Errorf("the batch has records of partition %d but no epoch for it",
				items[i].Partition)
		}
	}
	return items, nil
}

func newItem(b *hookgate.Batch, r *hookgate.Record, index int, outcome hookgate.Stage) Item {
	it := Item{
		Record: r, Index: index, Key: audit.IdentityKey(r.Identity),
		Entry: audit.Entry{
			Request:     &r.Request,
			Outcome:     outcome,
			EnqueuedAt:  r.EnqueuedAt,
			Partition:   r.Partition,
			HeadersJSON: audit.HeadersText(r.Headers),
			BodySHA256:  sha256.Sum256(r.Body),
			ProcessedAt: b.ProcessedAt,
			Worker:      b.Worker,
			Attempts:    b.Attempts,
			LastError:   b.LastError,
		},
	}
	if r.Position != (hookgate.Position{}) {
		it.Position = r.Position.String()
	}
	return it
}

// Place sets the id, the batch and the times of the entry. batch is the id of the first entry that
// the same call of Apply adds. A record that comes from no queue has no times of its own before the
// commit.
func (it *Item) Place(id, batch int64, persistedAt time.Time) {
	it.ID, it.Batch, it.PersistedAt = id, batch, persistedAt
	if it.EnqueuedAt.IsZero() {
		it.EnqueuedAt = persistedAt
	}
	if it.ProcessedAt.IsZero() {
		it.ProcessedAt = persistedAt
	}
}

// MakeDuplicate turns an event into a duplicate of the one that the request first brought.
func (it *Item) MakeDuplicate(first hookgate.RequestID) {
	it.Outcome, it.FirstRequestID, it.BodySHA256 = hookgate.StageDuplicate, first, audit.EmptySHA256
}

// MakeDead turns an event that the store rejects into a dead letter.
func (it *Item) MakeDead(reason string) {
	it.Outcome, it.Reason = hookgate.StageDeadLettered, reason
}

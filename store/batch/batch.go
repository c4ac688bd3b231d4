// Package batch prepares a hookgate.Batch for a store, whatever the database: each record is put into the
// form in which the audit chain covers it.
package batch

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/hookgate/hookgate"
)

// EmptySHA256 is the digest of no bytes: that of a duplicate, whose body is not kept.
var EmptySHA256 = sha256.Sum256(nil)

// Part is what belongs to one partition, and so to one link.
type Part struct {
	Partition int
	// Items are the partition's records in queue order, and then its dead letters.
	Items []LinkItem
}

// LinkItem is a record and what can be worked out before it is stored. A record that repeats an identity for all the queue
// knows has its Outcome and FirstRequestID; a dead letter has its Outcome and Reason.
type LinkItem struct {
	hookgate.LinkEntry
	Record *hookgate.Record
	// Index is that in Batch.Records; -1 for a dead letter.
	Index int
}

// Prepare sorts the batch by partition and computes digests. The error is ErrRejected if the batch has a corrupt record.
func Prepare(b *hookgate.Batch) ([]Part, error) {
	items := make([]LinkItem, 0, len(b.Records)+len(b.Dead))
	for i := range b.Records {
		r := &b.Records[i]
		if r.Corrupt != nil {
			return nil, fmt.Errorf("%w: record %d is corrupt: %w", hookgate.ErrRejected, i, r.Corrupt)
		}
		it := newLinkItem(r, i, hookgate.StagePersisted)
		if !r.DuplicateOf.IsZero() {
			it.Outcome, it.FirstRequestID = hookgate.StageDuplicate, r.DuplicateOf
		}
		items = append(items, it)
	}
	for i := range b.Dead {
		it := newLinkItem(&b.Dead[i].Record, -1, hookgate.StageDeadLettered)
		it.Reason = b.Dead[i].Reason
		items = append(items, it)
	}
	slices.SortStableFunc(items, func(x, y LinkItem) int { return x.Record.Partition - y.Record.Partition })
	var parts []Part
	for begin, end := 0, 0; begin < len(items); begin = end {
		partition := items[begin].Record.Partition
		if _, ok := b.Epochs[partition]; !ok {
			return nil, fmt.Errorf("the batch has records of partition %d and no epoch for it", partition)
		}
		for end = begin; end < len(items) && items[end].Record.Partition == partition; end++ {
		}
		parts = append(parts, Part{Partition: partition, Items: items[begin:end]})
	}
	return parts, nil
}

func newLinkItem(r *hookgate.Record, index int, outcome hookgate.Stage) LinkItem {
	return LinkItem{
		Record: r, Index: index,
		LinkEntry: hookgate.LinkEntry{
			Delivery:    &r.Delivery,
			Outcome:     outcome,
			EnqueuedAt:  r.EnqueuedAt,
			Position:    r.Position.String(),
			HeadersJSON: headersText(r.Headers),
			BodySHA256:  sha256.Sum256(r.Body),
		},
	}
}

// headersText is the JSON of the headers. Bytes that are not UTF-8 are replaced in it, as JSON demands.
func headersText(headers []hookgate.Header) string {
	if len(headers) == 0 {
		return "[]"
	}
	text, err := json.Marshal(headers)
	if err != nil {
		panic(err) // two strings always have a JSON form
	}
	return string(text)
}

// ParseHeaders reads the text of headers as it is stored.
func ParseHeaders(text string) (headers []hookgate.Header, err error) {
	if text == "[]" {
		return nil, nil
	}
	err = json.Unmarshal([]byte(text), &headers)
	return headers, err
}

// RequestIDText is the text of a request id as it is stored: empty if there is none.
func RequestIDText(id hookgate.RequestID) string {
	if id.IsZero() {
		return ""
	}
	return id.String()
}

// ParseRequestIDText reads what RequestIDText writes.
func ParseRequestIDText(text string) (hookgate.RequestID, error) {
	if text == "" {
		return hookgate.RequestID{}, nil
	}
	return hookgate.ParseRequestID(text)
}

// MakeDuplicate turns an event into a duplicate of the one that the first request brought.
func (it *LinkItem) MakeDuplicate(first hookgate.RequestID) {
	it.Outcome, it.FirstRequestID, it.BodySHA256 = hookgate.StageDuplicate, first, EmptySHA256
}

// Head is how a partition stands in the store.
type Head struct {
	Epoch    hookgate.Epoch
	Sequence int64
	Hash     [32]byte
}

// Next checks the fence of a partition and returns the link that follows its head.
func (h Head) Next(b *hookgate.Batch, partition int, persistedAt time.Time) (hookgate.Link, error) {
	if epoch := b.Epochs[partition]; epoch < h.Epoch {
		return hookgate.Link{}, fmt.Errorf("partition %d has epoch %d, the batch %d: %w", partition, h.Epoch, epoch, hookgate.ErrFenced)
	}
	return hookgate.Link{
		Previous:    h.Hash,
		Partition:   partition,
		Sequence:    h.Sequence + 1,
		ProcessedAt: b.ProcessedAt,
		PersistedAt: persistedAt,
		Attempts:    b.Attempts,
		LastError:   b.LastError,
		Worker:      b.Worker,
	}, nil
}

// NextPurge returns the link that follows the head of a partition and seals a purge. Its row lock, and not an epoch, keeps
// it apart from the partition's owner, who goes on undisturbed.
func (h Head) NextPurge(p hookgate.Purge, partition int, at time.Time) hookgate.Link {
	return hookgate.Link{
		Previous: h.Hash, Partition: partition, Sequence: h.Sequence + 1, ProcessedAt: at, PersistedAt: at, Attempts: 1, Worker: p.By,
	}
}

package audit

import (
	"encoding/binary"
	"fmt"
	"hash"

	"github.com/hookgate/hookgate"
)

// head is the last link of a partition's chain that was checked.
type head struct {
	sequence int64
	hash     [32]byte
}

// link checks a link with its events, requests and purges.
func (w *walker) link(l *Link) error {
	broken := func(format string, args ...any) error {
		return &Break{l.Partition, l.Sequence, l.ID, fmt.Sprintf(format, args...)}
	}
	before, err := w.headOf(l.Partition)
	switch {
	case err != nil:
		return err
	case l.Sequence != before.sequence+1:
		return broken("follows link %d: links are missing or out of order", before.sequence)
	case l.Previous != before.hash:
		return broken("does not carry the hash of the link before")
	}
	w.hash.begin(&l.ChainLink)
	events, lastEvent, err := w.entries(&w.event, w.nextEvent, l, broken, w.checkEvent)
	if err != nil {
		return err
	}
	if events != l.Events {
		return broken("has %d events, and was sealed with %d", events, l.Events)
	}
	requests, lastRequest, err := w.entries(&w.request, w.Request, l, broken, w.checkRequest)
	if err != nil {
		return err
	}
	if requests != l.Requests {
		return broken("has %d duplicates and dead letters, and was sealed with %d", requests, l.Requests)
	}
	purges, err := w.checkPurges(l, broken)
	if err != nil {
		return err
	}
	if purges != l.Purges {
		return broken("has %d purges, and was sealed with %d", purges, l.Purges)
	}
	if l.Hash != w.hash.result() {
		return broken("its hash does not fit what it holds: the link, an event's columns," +
			" a request or a purge was changed")
	}
	if events > 0 && lastEvent != l.LastEvent || requests > 0 && lastRequest != l.LastRequest {
		return broken("its events and requests end with %d and %d, and it says %d and %d", lastEvent,
			lastRequest, l.LastEvent, l.LastRequest)
	}
	w.heads[l.Partition] = head{l.Sequence, l.Hash}
	return nil
}

// entries adds the rows of the link to its hash. It returns how many there are and the id of the
// last.
func (w *walker) entries(row **Row, next func() (*Row, bool, error), l *Link, broken breaker,
	check checker) (n, last int64, err error) {
	for ; *row != nil && (*row).Batch <= l.ID && !(*row).Sealed; n++ {
		e := *row
		if e.Batch < l.ID {
			return n, last, orphan(e, "row")
		}
		if e.Partition != l.Partition {
			return n, last, broken("row %d (message id %q) stands in partition %d", e.ID, e.MessageID,
				e.Partition)
		}
		if err := w.checkEntry(e, l.PersistedAt, broken, check); err != nil {
			return n, last, err
		}
		if w.hasLog && (e.Keyed != (e.OrderingKey != e.EventType) ||
			!e.ProcessedAt.Equal(l.ProcessedAt) ||
			!e.PersistedAt.Equal(l.PersistedAt) || e.Worker != l.Worker || e.Attempts != l.Attempts ||
			e.LastError != l.LastError) {
			return n, last, broken("row %d (message id %q) does not repeat what its link says", e.ID,
				e.MessageID)
		}
		w.hash.add(&e.Entry)
		last = e.ID
		if err := advance(row, next); err != nil {
			return n, last, err
		}
	}
	return n, last, nil
}

// checkPurges adds the purges of the link to its hash and counts them.
func (w *walker) checkPurges(l *Link, broken breaker) (n int64, err error) {
	for ; w.purge != nil && w.purge.Batch <= l.ID && !w.purge.Sealed; n++ {
		p := w.purge
		if p.Batch < l.ID {
			return n, orphanPurge(p)
		}
		id, err := hookgate.ParseRequestID(p.RequestID)
		if err != nil {
			return n, broken("purge %d: %v", p.ID, err)
		}
		if p.PurgedAt != l.PersistedAt.UnixMicro() {
			return n, broken("the purge of request %s is not the one that was stored", p.RequestID)
		}
		w.hash.addPurge(id, p.By, p.Reason)
		w.purges++
		if err := advance(&w.purge, w.Purge); err != nil {
			return n, err
		}
	}
	return n, nil
}

// compareHeads checks that each chain of earlier releases ends where its partition says. It adds
// the heads to the sum and returns them.
func (w *walker) compareHeads(sum hash.Hash) (heads []ChainHead, err error) {
	rows, err := w.Heads()
	if err != nil {
		return nil, err
	}
	var total Audit
	for _, want := range rows {
		got, err := w.headOf(want.Partition)
		if err != nil {
			return nil, err
		}
		if got != (head{want.Sequence, want.Hash}) {
			return nil, &Break{Partition: want.Partition, Sequence: want.Sequence,
				What: fmt.Sprintf("the chain ends with link %d, and the partition was left at link %d",
					got.sequence, want.Sequence)}
		}
		delete(w.heads, want.Partition)
		total.Events += want.Events
		total.Duplicates += want.Duplicates
		total.DeadLetters += want.DeadLetters
		sum.Write(binary.BigEndian.AppendUint64(nil, uint64(want.Partition)))
		sum.Write(want.Hash[:])
		if want.Sequence > 0 {
			heads = append(heads, ChainHead{Partition: want.Partition, Sequence: want.Sequence,
				Hash: want.Hash})
		}
	}
	for partition := range w.heads {
		return nil, &Break{Partition: partition, What: "the partition has a chain and no head"}
	}
	for partition, left := range w.checkpoints {
		if len(left) > 0 {
			return nil, &Break{Partition: partition, Sequence: left[0].From,
				What: fmt.Sprintf("a checkpoint says that links %d to %d were removed,"+
					" and the chain has them or does not come to them", left[0].From, left[0].To)}
		}
	}
	removed := w.audit.Removed
	events, duplicates, deadLetters := w.audit.Events+removed.Events, w.audit.Duplicates+
		removed.Duplicates, w.audit.DeadLetters+removed.DeadLetters
	if total.Events != events || total.Duplicates != duplicates || total.DeadLetters != deadLetters {
		return nil, &Break{What: fmt.Sprintf("the partitions count %d events,"+
			" %d duplicates and %d dead letters, stored are or were %d, %d and %d",
			total.Events, total.Duplicates, total.DeadLetters, events, duplicates, deadLetters)}
	}
	return heads, nil
}

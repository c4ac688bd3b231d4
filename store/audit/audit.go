// Package audit computes the audit chains of a store anew and compares, whatever the database.
package audit

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/hookgate/hookgate"
)

// Audit is what an audit found.
type Audit struct {
	// Links, Events, Duplicates, DeadLetters and Actions count what was checked.
	Links, Events, Duplicates, DeadLetters, Actions int64
	// Head is the SHA-256 over the heads of all chains: two stores with one head hold the same.
	Head [32]byte
	// Break is the first place where the store differs from its chain, or nil.
	Break *Break
}

// AdminTrail stands for the admin trail where else there is a partition.
const AdminTrail = -1

// Break says where and how the store differs from its audit chain.
type Break struct {
	// Partition is AdminTrail if the break is there.
	Partition int
	// Sequence is the link's number in its partition, and Batch its id in webhook_batches; 0 if unknown.
	Sequence, Batch int64
	// What is different, with the event's ids where that is known.
	What string
}

// String describes the break.
func (b *Break) String() string {
	if b.Partition == AdminTrail {
		return fmt.Sprintf("admin trail, row %d: %s", b.Sequence, b.What)
	}
	return fmt.Sprintf("partition %d, link %d (batch %d): %s", b.Partition, b.Sequence, b.Batch, b.What)
}

// Error makes a Break an error.
func (b *Break) Error() string { return b.String() }

// Source reads one snapshot of a store, each of its tables once and in the order of ids. The methods that return ok go
// on to the next row with each call, and what they return holds until then; ok is false behind the last.
type Source interface {
	Link() (l *Link, ok bool, err error)
	// Event returns the rows of webhook_events.
	Event() (e *Entry, ok bool, err error)
	// Request returns the rows of webhook_requests.
	Request() (e *Entry, ok bool, err error)
	// Heads returns all rows of webhook_partitions by partition. It comes after the last row of all others.
	Heads() ([]Head, error)
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
	hookgate.Link
	Hash             [32]byte
	Events, Requests int64
}

// Entry is a row of webhook_events or webhook_requests.
type Entry struct {
	ID, Batch int64
	Partition int
	// LinkEntry is what the chain covers, but for the request ids. The outcome of an event need not be there.
	hookgate.LinkEntry
	// RequestID and FirstRequestID are as the store has them, which need not be well formed.
	RequestID, FirstRequestID string
	// Body is that of an event.
	Body []byte
	// Letter belongs to a dead letter; nil if there is none.
	Letter *Letter
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

// Run reads everything in src once and compares. It holds no more than one row of each table. An error means that it could
// not be done. progress, if not nil, is called now and then.
//
// It shows any change, removal or insertion of events, lineage or dead letters behind the gate's back,
// also at the end of a chain. It cannot show that someone has computed all chains anew.
func Run(src Source, progress func(Audit)) (Audit, error) {
	w := &walker{Source: src, progress: progress, heads: map[int]head{}}
	err := w.run()
	var broken *Break
	if errors.As(err, &broken) {
		w.audit.Break, err = broken, nil
	}
	return w.audit, err
}

// head is where the chain of a partition has come to.
type head struct {
	sequence int64
	hash     [32]byte
}

// walker walks the links in the order of their ids, and with them events and requests, which stand in
// the same order.
type walker struct {
	Source
	audit    Audit
	progress func(Audit)
	heads    map[int]head
	hash     hookgate.LinkHash

	// event and request are the rows not yet used; nil behind the last.
	event, request *Entry
}

func (w *walker) run() (err error) {
	if err := advance(&w.event, w.Event); err != nil {
		return err
	}
	if err := advance(&w.request, w.Request); err != nil {
		return err
	}
	for {
		l, ok, err := w.Link()
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		if err := w.link(l); err != nil {
			return err
		}
		if w.audit.Links++; w.progress != nil && w.audit.Links%1000 == 0 {
			w.progress(w.audit)
		}
	}
	if w.event != nil {
		return orphan(w.event, "event")
	}
	if w.request != nil {
		return orphan(w.request, "request")
	}
	return w.compareHeads()
}

// advance reads the next row.
func advance(row **Entry, next func() (*Entry, bool, error)) error {
	e, ok, err := next()
	if *row = e; !ok {
		*row = nil
	}
	return err
}

func orphan(e *Entry, what string) error {
	return &Break{Partition: e.Partition, Batch: e.Batch,
		What: fmt.Sprintf("%s %d (message id %q) belongs to no link", what, e.ID, e.MessageID)}
}

// link checks a link with its events and requests.
func (w *walker) link(l *Link) error {
	broken := func(format string, args ...any) error {
		return &Break{l.Partition, l.Sequence, l.ID, fmt.Sprintf(format, args...)}
	}
	before := w.heads[l.Partition]
	switch {
	case l.Sequence != before.sequence+1:
		return broken("follows link %d: links are missing or out of order", before.sequence)
	case l.Previous != before.hash:
		return broken("does not carry the hash of the link before")
	}
	w.hash.Begin(&l.Link)
	events, err := w.entries(&w.event, w.Event, l, broken, w.checkEvent)
	if err != nil {
		return err
	}
	if events != l.Events {
		return broken("has %d events, and was sealed with %d", events, l.Events)
	}
	requests, err := w.entries(&w.request, w.Request, l, broken, w.checkRequest)
	if err != nil {
		return err
	}
	if requests != l.Requests {
		return broken("has %d duplicates and dead letters, and was sealed with %d", requests, l.Requests)
	}
	if l.Hash != w.hash.Sum() {
		return broken("its hash does not fit what it holds: the link, an event's columns or a request was changed")
	}
	w.heads[l.Partition] = head{l.Sequence, l.Hash}
	return nil
}

type breaker = func(format string, args ...any) error

// entries adds the rows that belong to the link to its hash and counts them.
func (w *walker) entries(row **Entry, next func() (*Entry, bool, error), l *Link, broken breaker,
	check func(*Entry, *Link, breaker) error) (n int64, err error) {
	for ; *row != nil && (*row).Batch <= l.ID; n++ {
		e := *row
		if e.Batch < l.ID {
			return n, orphan(e, "row")
		}
		if e.Partition != l.Partition {
			return n, broken("row %d (message id %q) stands in partition %d", e.ID, e.MessageID, e.Partition)
		}
		if e.LinkEntry.RequestID, err = hookgate.ParseRequestID(e.RequestID); err != nil {
			return n, broken("row %d (message id %q): %v", e.ID, e.MessageID, err)
		}
		if err := check(e, l, broken); err != nil {
			return n, err
		}
		w.hash.Add(&e.LinkEntry)
		if err := advance(row, next); err != nil {
			return n, err
		}
	}
	return n, nil
}

func (w *walker) checkEvent(e *Entry, _ *Link, broken breaker) error {
	e.Outcome = hookgate.StagePersisted
	if sha256.Sum256(e.Body) != e.BodySHA256 {
		return broken("the body of event %d (message id %q) is not the one that was stored", e.ID, e.MessageID)
	}
	w.audit.Events++
	return nil
}

func (w *walker) checkRequest(e *Entry, l *Link, broken breaker) (err error) {
	if e.FirstRequestID != "" {
		if e.LinkEntry.FirstRequestID, err = hookgate.ParseRequestID(e.FirstRequestID); err != nil {
			return broken("request %s: %v", e.RequestID, err)
		}
	}
	if e.Outcome != hookgate.StageDeadLettered {
		w.audit.Duplicates++
		return nil
	}
	w.audit.DeadLetters++
	d := e.Letter
	switch {
	case d == nil:
		return broken("the dead letter of request %s is missing", e.RequestID)
	case sha256.Sum256(d.Body) != e.BodySHA256 || d.RequestID != e.RequestID || d.Reason != e.Reason,
		d.DeadLetteredAt != l.PersistedAt.UnixMicro():
		return broken("the dead letter of request %s is not the one that was stored", e.RequestID)
	}
	return nil
}

// compareHeads checks that each chain ends where its partition says it does, and sums up the heads.
func (w *walker) compareHeads() error {
	rows, err := w.Heads()
	if err != nil {
		return err
	}
	sum := sha256.New()
	var total Audit
	for _, want := range rows {
		if got := w.heads[want.Partition]; got != (head{want.Sequence, want.Hash}) {
			return &Break{Partition: want.Partition, Sequence: want.Sequence,
				What: fmt.Sprintf("the chain ends with link %d, and the partition was left at link %d", got.sequence, want.Sequence)}
		}
		delete(w.heads, want.Partition)
		total.Events += want.Events
		total.Duplicates += want.Duplicates
		total.DeadLetters += want.DeadLetters
		sum.Write(binary.BigEndian.AppendUint64(nil, uint64(want.Partition)))
		sum.Write(want.Hash[:])
	}
	for partition := range w.heads {
		return &Break{Partition: partition, What: "the partition has a chain and no head"}
	}
	if total.Events != w.audit.Events || total.Duplicates != w.audit.Duplicates || total.DeadLetters != w.audit.DeadLetters {
		return &Break{What: fmt.Sprintf("the partitions count %d events, %d duplicates and %d dead letters, stored are %d, %d and %d",
			total.Events, total.Duplicates, total.DeadLetters, w.audit.Events, w.audit.Duplicates, w.audit.DeadLetters)}
	}
	letters, err := w.Letters()
	if err != nil {
		return err
	}
	if letters != w.audit.DeadLetters {
		return &Break{What: fmt.Sprintf("%d dead letters are stored, and %d requests tell of one", letters, w.audit.DeadLetters)}
	}
	if err := w.actions(sum); err != nil {
		return err
	}
	sum.Sum(w.audit.Head[:0])
	return nil
}

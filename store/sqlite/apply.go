package sqlite

import (
	"context"
	"fmt"
	"time"

	"zombiezen.com/go/sqlite"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/internal/sqlitedb"
	"github.com/hookgate/hookgate/store/batch"
)

// Apply implements hookgate.Store. It does not heed ctx: a transaction is short, and one that was
// cut off would have to be repeated.
func (s *Store) Apply(_ context.Context, b *hookgate.Batch) (hookgate.Outcome, error) {
	a := &application{Store: s, batch: b}
	a.outcome.Results = make([]hookgate.Result, len(b.Records))
	// What needs no database is done before the lock is taken.
	prepared, err := batch.Prepare(b)
	if err != nil {
		return hookgate.Outcome{}, fmt.Errorf("store batch: %w", err)
	}
	a.parts = make([]part, len(prepared))
	for i, p := range prepared {
		a.parts[i].Part = p
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	a.persistedAt = time.Now()
	if err := s.tx(a.run); err != nil {
		return hookgate.Outcome{}, fmt.Errorf("store batch: %w", err)
	}
	return a.outcome, nil
}

// rejection makes an ErrRejected of the errors that are about what was to be stored and not about
// the state of the store.
func rejection(err error) error {
	switch sqlite.ErrCode(err).ToPrimary() {
	case sqlite.ResultConstraint, sqlite.ResultTooBig, sqlite.ResultMismatch:
		return fmt.Errorf("%w: %w", hookgate.ErrRejected, err)
	}
	return err
}

// application is one call of Apply.
type application struct {
	*Store
	batch       *hookgate.Batch
	persistedAt time.Time
	outcome     hookgate.Outcome
	parts       []part

	lastEvent, lastRequest, lastBatch int64
	// whole was stored last.
	whole *hookgate.Whole
}

// part is what belongs to one partition, and so to one link.
type part struct {
	batch.Part
	link      hookgate.Link
	batchID   int64
	events    int
	duplicate int
	requests  []hookgate.LinkEntry // duplicates and dead letters that were added
}

// run is the transaction. It may be run only once.
func (a *application) run() error { return rejection(a.storeAll()) }

func (a *application) storeAll() error {
	if err := a.readIDs(); err != nil {
		return err
	}
	for i := range a.parts {
		if err := a.begin(&a.parts[i]); err != nil {
			return err
		}
	}
	for i := range a.parts {
		if err := a.store(&a.parts[i]); err != nil {
			return err
		}
	}
	return nil
}

func (a *application) readIDs() error {
	s := a.stmts.lastIDs
	defer s.Reset()
	if _, err := s.Step(); err != nil {
		return fmt.Errorf("read last ids: %w", err)
	}
	a.lastEvent, a.lastRequest, a.lastBatch = s.ColumnInt64(0), s.ColumnInt64(1), s.ColumnInt64(2)
	return nil
}

// begin checks the fence of a partition and reads the head of its chain.
func (a *application) begin(p *part) error {
	head, err := a.head(p.Partition)
	if err != nil {
		return err
	}
	p.link, err = head.Next(a.batch, p.Partition, a.persistedAt)
	return err
}

// head reads how a partition stands.
func (s *Store) head(partition int) (h batch.Head, err error) {
	row := s.stmts.head
	defer row.Reset()
	row.BindInt64(1, int64(partition))
	found, err := row.Step()
	if err != nil {
		return h, fmt.Errorf("read partition %d: %w", partition, err)
	}
	if !found {
		return h, fmt.Errorf("partition %d was never acquired", partition)
	}
	h.Epoch, h.Sequence = hookgate.Epoch(row.ColumnInt64(0)), row.ColumnInt64(1)
	row.ColumnBytes(2, h.Hash[:])
	return h, nil
}

// store adds the rows of a partition and then the link that seals them. A partition of which everything was
// stored before gets no link.
func (a *application) store(p *part) error {
	p.batchID = a.lastBatch + 1
	a.hash.Begin(&p.link)
	for i := range p.Items {
		it := &p.Items[i]
		var err error
		switch it.Outcome {
		case hookgate.StageDeadLettered:
			err = a.storeDead(p, it)
		case hookgate.StageDuplicate:
			_, err = a.storeRequest(p, it)
		default:
			err = a.storeEvent(p, it)
		}
		if err != nil {
			return err
		}
	}
	if p.events+len(p.requests) == 0 {
		return nil
	}
	for i := range p.requests {
		a.hash.Add(&p.requests[i])
	}
	return a.seal(p)
}

func (a *application) storeEvent(p *part, it *batch.Item) error {
	if it.TypeUnproven {
		// The index cannot say that another type has the event.
		if holder, err := a.holderOfAnyType(it); err != nil || holder != "" {
			return a.repeated(p, it, holder, err)
		}
	}
	d, s := it.Delivery, a.stmts.event
	id := a.nextID(a.lastEvent, a.persistedAt)
	s.BindInt64(1, id)
	s.BindText(2, d.MessageID)
	s.BindText(3, d.EventType)
	s.BindText(4, d.Source)
	s.BindText(5, d.OrderingKey)
	s.BindInt64(6, d.Sequence)
	s.BindBytes(7, d.Body)
	s.BindBytes(8, it.BodySHA256[:])
	s.BindText(9, d.RequestID.String())
	s.BindInt64(10, d.ReceivedAt.UnixMicro())
	s.BindInt64(11, it.EnqueuedAt.UnixMicro())
	s.BindText(12, it.HeadersJSON)
	s.BindText(13, d.RemoteAddr)
	s.BindInt64(14, int64(p.Partition))
	s.BindText(15, it.Position)
	s.BindInt64(16, p.batchID)
	s.BindInt64(17, d.SpooledMicros())
	s.BindText(18, batch.RequestIDText(d.ReplayOf))
	s.BindInt64(19, d.ReplayedMicros())
	if err := sqlitedb.Run(s); err != nil {
		return fmt.Errorf("store event %s: %w", d.Identity, err)
	}
	if a.conn.Changes() == 1 {
		a.lastEvent = id
		a.outcome.Results[it.Index].ID = id
		p.events++
		a.outcome.Stored++
		a.hash.Add(&it.LinkEntry)
		return a.storeWhole(it.Record.Whole)
	}
	holder, err := a.holderOf(d.Identity)
	return a.repeated(p, it, holder, err)
}

// repeated stores an event that holder has stored before as a duplicate, unless holder is its own
// request.
func (a *application) repeated(p *part, it *batch.Item, holder string, err error) error {
	if err != nil || holder == it.RequestID.String() {
		return err // this record was stored before
	}
	first, err := hookgate.ParseRequestID(holder)
	if err != nil {
		return err
	}
	a.outcome.Results[it.Index].DuplicateOf = first
	it.MakeDuplicate(first)
	_, err = a.storeRequest(p, it)
	return err
}

// holderOf returns the request whose event has the identity.
func (a *application) holderOf(id hookgate.Identity) (requestID string, err error) {
	s := a.stmts.holder
	defer s.Reset()
	s.BindText(1, id.MessageID)
	s.BindText(2, id.EventType)
	s.BindText(3, id.Source)
	if found, err := s.Step(); err != nil || !found {
		return "", fmt.Errorf("read event %s, which is there: %w", id, err)
	}
	return s.ColumnText(0), nil
}

// holderOfAnyType returns the request whose event has the message id, whatever its type: the item's own
// if it was stored before; empty if there is none.
func (a *application) holderOfAnyType(it *batch.Item) (requestID string, err error) {
	s := a.stmts.holderOfAnyType
	defer s.Reset()
	s.BindText(1, it.MessageID)
	s.BindText(2, it.Source)
	s.BindText(3, it.RequestID.String())
	if found, err := s.Step(); err != nil || !found {
		return "", err
	}
	return s.ColumnText(0), nil
}

// storeRequest adds a duplicate or a dead letter; added is false if it was stored before.
func (a *application) storeRequest(p *part, it *batch.Item) (added bool, err error) {
	d, s := it.Delivery, a.stmts.request
	s.BindInt64(1, a.lastRequest+1)
	s.BindText(2, d.RequestID.String())
	s.BindText(3, string(it.Outcome))
	s.BindText(4, batch.RequestIDText(it.FirstRequestID))
	s.BindText(5, it.Reason)
	s.BindText(6, d.MessageID)
	s.BindText(7, d.EventType)
	s.BindText(8, d.Source)
	s.BindText(9, d.OrderingKey)
	s.BindInt64(10, d.Sequence)
	s.BindBytes(11, it.BodySHA256[:])
	s.BindInt64(12, d.ReceivedAt.UnixMicro())
	s.BindInt64(13, it.EnqueuedAt.UnixMicro())
	s.BindText(14, it.HeadersJSON)
	s.BindText(15, d.RemoteAddr)
	s.BindInt64(16, int64(p.Partition))
	s.BindText(17, it.Position)
	s.BindInt64(18, p.batchID)
	s.BindInt64(19, d.SpooledMicros())
	s.BindText(20, batch.RequestIDText(d.ReplayOf))
	s.BindInt64(21, d.ReplayedMicros())
	if err := sqlitedb.Run(s); err != nil {
		return false, fmt.Errorf("store request %s: %w", d.RequestID, err)
	}
	if a.conn.Changes() == 0 {
		return false, nil
	}
	a.lastRequest++
	p.requests = append(p.requests, it.LinkEntry)
	if it.Outcome == hookgate.StageDuplicate {
		p.duplicate++
	}
	return true, nil
}

func (a *application) storeDead(p *part, it *batch.Item) error {
	added, err := a.storeRequest(p, it)
	if err != nil || !added {
		return err
	}
	s := a.stmts.deadLetter
	s.BindInt64(1, a.lastRequest)
	s.BindText(2, it.RequestID.String())
	s.BindBytes(3, it.Body)
	s.BindText(4, it.Reason)
	s.BindInt64(5, a.persistedAt.UnixMicro())
	if err := sqlitedb.Run(s); err != nil {
		return fmt.Errorf("store dead letter %s: %w", it.RequestID, err)
	}
	return a.storeWhole(it.Record.Whole)
}

// storeWhole keeps the request that an event is a part of, unless that has been done. The chain covers
// it by the digest in the header that names the origin of the event.
func (a *application) storeWhole(w *hookgate.Whole) error {
	if w == nil || w == a.whole {
		return nil
	}
	a.whole = w
	s := a.stmts.whole
	s.BindText(1, w.RequestID.String())
	s.BindBytes(2, w.Body)
	s.BindBytes(3, w.SHA256[:])
	s.BindInt64(4, a.persistedAt.UnixMicro())
	if err := sqlitedb.Run(s); err != nil {
		return fmt.Errorf("store the body of request %s: %w", w.RequestID, err)
	}
	return nil
}

// seal adds the link and moves the head of the chain.
func (a *application) seal(p *part) error {
	a.lastBatch = p.batchID
	return a.Store.seal(p.batchID, &p.link, linkCounts{
		events: p.events, duplicates: p.duplicate, deadLetters: len(p.requests) - p.duplicate,
		lastEvent: a.lastEvent, lastRequest: a.lastRequest,
	})
}

// linkCounts counts what a link seals, and says where its events and requests end.
type linkCounts struct {
	events, duplicates, deadLetters, purges int
	lastEvent, lastRequest                  int64
}

// seal adds a link, whose hash is in s.hash, and moves the head of its chain.
func (s *Store) seal(batchID int64, link *hookgate.Link, n linkCounts) error {
	hash := s.hash.Sum()
	insert := s.stmts.batch
	insert.BindInt64(1, batchID)
	insert.BindInt64(2, int64(link.Partition))
	insert.BindInt64(3, link.Sequence)
	insert.BindBytes(4, link.Previous[:])
	insert.BindBytes(5, hash[:])
	insert.BindInt64(6, int64(n.events))
	insert.BindInt64(7, int64(n.duplicates+n.deadLetters))
	insert.BindInt64(8, int64(n.purges))
	insert.BindText(9, link.Worker)
	insert.BindInt64(10, link.ProcessedAt.UnixMicro())
	insert.BindInt64(11, link.PersistedAt.UnixMicro())
	insert.BindInt64(12, int64(link.Attempts))
	insert.BindText(13, link.LastError)
	insert.BindInt64(14, n.lastEvent)
	insert.BindInt64(15, n.lastRequest)
	if err := sqlitedb.Run(insert); err != nil {
		return fmt.Errorf("store link %d of partition %d: %w", link.Sequence, link.Partition, err)
	}
	advance := s.stmts.advance
	advance.BindInt64(1, int64(link.Partition))
	advance.BindInt64(2, link.Sequence)
	advance.BindBytes(3, hash[:])
	advance.BindInt64(4, int64(n.events))
	advance.BindInt64(5, int64(n.duplicates))
	advance.BindInt64(6, int64(n.deadLetters))
	if err := sqlitedb.Run(advance); err != nil {
		return fmt.Errorf("move head of partition %d: %w", link.Partition, err)
	}
	return nil
}

package sqlite

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"zombiezen.com/go/sqlite"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/internal/sqlitedb"
)

// Apply implements hookgate.Store. It does not heed ctx: a transaction is short, and one that was
// cut off would have to be repeated.
func (s *Store) Apply(_ context.Context, b *hookgate.Batch) (hookgate.Outcome, error) {
	a := &application{Store: s, batch: b}
	// What needs no database is done before the lock is taken.
	if err := a.prepare(); err != nil {
		return hookgate.Outcome{}, fmt.Errorf("store batch: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	a.persistedAt = time.Now()
	if err := s.tx(a.run); err != nil {
		return hookgate.Outcome{}, fmt.Errorf("store batch: %w", err)
	}
	slices.Sort(a.outcome.Duplicates)
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
}

// part is what belongs to one partition, and so to one link.
type part struct {
	partition int
	items     []item
	link      hookgate.Link
	batchID   int64
	events    int
	duplicate int
	requests  []hookgate.LinkEntry // duplicates and dead letters that were added
}

// item is a record and what could be worked out beforehand.
type item struct {
	hookgate.LinkEntry
	record *hookgate.Record
	index  int // in Batch.Records; -1 for a dead letter
	dead   bool
}

// prepare sorts the batch by partition and computes digests.
func (a *application) prepare() error {
	items := make([]item, 0, len(a.batch.Records)+len(a.batch.Dead))
	for i := range a.batch.Records {
		r := &a.batch.Records[i]
		if r.Corrupt != nil {
			return fmt.Errorf("%w: record %d is corrupt: %w", hookgate.ErrRejected, i, r.Corrupt)
		}
		items = append(items, newItem(r, i, "", false))
	}
	for i := range a.batch.Dead {
		items = append(items, newItem(&a.batch.Dead[i].Record, -1, a.batch.Dead[i].Reason, true))
	}
	slices.SortStableFunc(items, func(x, y item) int { return x.record.Partition - y.record.Partition })
	for begin, end := 0, 0; begin < len(items); begin = end {
		partition := items[begin].record.Partition
		if _, ok := a.batch.Epochs[partition]; !ok {
			return fmt.Errorf("the batch has records of partition %d and no epoch for it", partition)
		}
		for end = begin; end < len(items) && items[end].record.Partition == partition; end++ {
		}
		a.parts = append(a.parts, part{partition: partition, items: items[begin:end]})
	}
	return nil
}

func newItem(r *hookgate.Record, index int, reason string, dead bool) item {
	return item{
		record: r, index: index, dead: dead,
		LinkEntry: hookgate.LinkEntry{
			Delivery:    &r.Delivery,
			EnqueuedAt:  r.EnqueuedAt,
			Position:    r.Position.String(),
			HeadersJSON: headersText(r.Headers),
			Reason:      reason,
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
	s := a.stmts.head
	defer s.Reset()
	s.BindInt64(1, int64(p.partition))
	found, err := s.Step()
	if err != nil {
		return fmt.Errorf("read partition %d: %w", p.partition, err)
	}
	epoch := a.batch.Epochs[p.partition]
	if !found {
		return fmt.Errorf("partition %d was never acquired", p.partition)
	}
	if current := hookgate.Epoch(s.ColumnInt64(0)); epoch < current {
		return fmt.Errorf("partition %d has epoch %d, the batch %d: %w", p.partition, current, epoch, hookgate.ErrFenced)
	}
	p.link = hookgate.Link{
		Partition:   p.partition,
		Sequence:    s.ColumnInt64(1) + 1,
		ProcessedAt: a.batch.ProcessedAt,
		PersistedAt: a.persistedAt,
		Attempts:    a.batch.Attempts,
		LastError:   a.batch.LastError,
		Worker:      a.batch.Worker,
	}
	s.ColumnBytes(2, p.link.Previous[:])
	return nil
}

// store adds the rows of a partition and then the link that seals them. A partition of which everything was
// stored before gets no link.
func (a *application) store(p *part) error {
	p.batchID = a.lastBatch + 1
	a.hash.Begin(&p.link)
	for i := range p.items {
		it := &p.items[i]
		var err error
		switch {
		case it.dead:
			err = a.storeDead(p, it)
		case !it.record.DuplicateOf.IsZero():
			_, err = a.storeRequest(p, it, hookgate.StageDuplicate, it.record.DuplicateOf.String())
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

func (a *application) storeEvent(p *part, it *item) error {
	it.Outcome = hookgate.StagePersisted
	d, s := it.Delivery, a.stmts.event
	s.BindInt64(1, a.lastEvent+1)
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
	s.BindInt64(14, int64(p.partition))
	s.BindText(15, it.Position)
	s.BindInt64(16, p.batchID)
	if err := sqlitedb.Run(s); err != nil {
		return fmt.Errorf("store event %s: %w", d.Identity, err)
	}
	if a.conn.Changes() == 1 {
		a.lastEvent++
		p.events++
		a.outcome.Stored++
		a.hash.Add(&it.LinkEntry)
		return nil
	}
	holder, err := a.holderOf(d.Identity)
	if err != nil || holder == d.RequestID.String() {
		return err // this record was stored before
	}
	a.outcome.Duplicates = append(a.outcome.Duplicates, it.index)
	it.BodySHA256 = emptySHA256 // the body of a duplicate is not kept
	_, err = a.storeRequest(p, it, hookgate.StageDuplicate, holder)
	return err
}

var emptySHA256 = sha256.Sum256(nil)

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

// storeRequest adds a duplicate or a dead letter; added is false if it was stored before.
func (a *application) storeRequest(p *part, it *item, outcome hookgate.Stage, first string) (added bool, err error) {
	d, s := it.Delivery, a.stmts.request
	if first != "" {
		if it.FirstRequestID, err = hookgate.ParseRequestID(first); err != nil {
			return false, err
		}
	}
	it.Outcome = outcome
	s.BindInt64(1, a.lastRequest+1)
	s.BindText(2, d.RequestID.String())
	s.BindText(3, string(outcome))
	s.BindText(4, first)
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
	s.BindInt64(16, int64(p.partition))
	s.BindText(17, it.Position)
	s.BindInt64(18, p.batchID)
	if err := sqlitedb.Run(s); err != nil {
		return false, fmt.Errorf("store request %s: %w", d.RequestID, err)
	}
	if a.conn.Changes() == 0 {
		return false, nil
	}
	a.lastRequest++
	p.requests = append(p.requests, it.LinkEntry)
	if outcome == hookgate.StageDuplicate {
		p.duplicate++
	}
	return true, nil
}

func (a *application) storeDead(p *part, it *item) error {
	added, err := a.storeRequest(p, it, hookgate.StageDeadLettered, "")
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
	return nil
}

// seal adds the link and moves the head of the chain.
func (a *application) seal(p *part) error {
	hash := a.hash.Sum()
	a.lastBatch = p.batchID
	s := a.stmts.batch
	s.BindInt64(1, p.batchID)
	s.BindInt64(2, int64(p.partition))
	s.BindInt64(3, p.link.Sequence)
	s.BindBytes(4, p.link.Previous[:])
	s.BindBytes(5, hash[:])
	s.BindInt64(6, int64(p.events))
	s.BindInt64(7, int64(len(p.requests)))
	s.BindText(8, p.link.Worker)
	s.BindInt64(9, p.link.ProcessedAt.UnixMicro())
	s.BindInt64(10, p.link.PersistedAt.UnixMicro())
	s.BindInt64(11, int64(p.link.Attempts))
	s.BindText(12, p.link.LastError)
	if err := sqlitedb.Run(s); err != nil {
		return fmt.Errorf("store link %d of partition %d: %w", p.link.Sequence, p.partition, err)
	}
	s = a.stmts.advance
	s.BindInt64(1, int64(p.partition))
	s.BindInt64(2, p.link.Sequence)
	s.BindBytes(3, hash[:])
	s.BindInt64(4, int64(p.events))
	s.BindInt64(5, int64(p.duplicate))
	s.BindInt64(6, int64(len(p.requests)-p.duplicate))
	if err := sqlitedb.Run(s); err != nil {
		return fmt.Errorf("move head of partition %d: %w", p.partition, err)
	}
	return nil
}

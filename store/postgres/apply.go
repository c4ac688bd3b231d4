package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/audit"
	"github.com/hookgate/hookgate/store/entry"
)

// Apply implements hookgate.Store.
//
// It assumes first that no event of the batch is stored and that no other process has added to the
// log: then one round trip stores all, or three if there are many events. The database ends that
// transaction if the assumption is wrong. The next one locks the log, reads what it must know, and
// writes in a second round trip. If the database rejects something of the batch, a third
// transaction finds out what, and stores it as a dead letter.
func (s *Store) Apply(ctx context.Context, b *hookgate.Batch) (hookgate.Outcome, error) {
	items, err := entry.Items(b)
	if err != nil {
		return hookgate.Outcome{}, fmt.Errorf("store batch: %w", err)
	}
	for i := range items {
		cleanItem(&items[i])
	}
	a, err := s.apply(ctx, b, items)
	if err != nil {
		return hookgate.Outcome{}, fmt.Errorf("store batch: %w", err)
	}
	return a.outcome.Outcome, nil
}

func (s *Store) apply(ctx context.Context, b *hookgate.Batch, items []entry.Item) (a *application,
	err error) {
	leave, err := s.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	head := s.head
	s.head = nil // unless the commit is known to have succeeded
	err = errMoved
	if s.careful > 0 {
		s.careful--
	} else if head != nil && len(items) > 0 && fresh(items) {
		a = s.newApplication(b, items)
		err = s.transact(ctx, s.beginAppend, func(ctx context.Context,
			t *transaction) error {
			return a.optimistic(ctx, t, *head)
		})
		if missed(err) {
			s.careful, err = carefulAfterMiss, errMoved
		}
	}
	if errors.Is(err, errMoved) {
		err = s.locked(ctx, func(ctx context.Context, t *transaction) error {
			a = s.newApplication(b, items)
			return a.lookAndStore(ctx, t)
		})
	}
	if errors.Is(err, hookgate.ErrRejected) {
		err = s.locked(ctx, func(ctx context.Context, t *transaction) error {
			a = s.newApplication(b, items)
			return a.isolate(ctx, t)
		})
	}
	if err == nil {
		s.keepHead(&a.log)
	}
	s.note(err)
	return a, err
}

// fresh reports whether all items are events that need no look at what is stored but the index's.
func fresh(items []entry.Item) bool {
	return !slices.ContainsFunc(items,
		func(it entry.Item) bool { return it.Outcome != hookgate.StagePersisted })
}

// missed reports whether the optimistic transaction failed because its assumption may be wrong: a
// guard divided by zero, or a unique index objected to an identity or an id.
func missed(err error) bool {
	return hasState(err, divisionByZero, uniqueViolation, lockNotAvailable) || errors.Is(err, errMoved)
}

// application is one transaction of Apply.
type application struct {
	batch   *hookgate.Batch
	items   []entry.Item
	outcome entry.Outcome
	// persistedAt is when Apply decides what to write.
	persistedAt time.Time

	// What the first round trip reads. Items are numbered as they stand.
	epochs  map[int]hookgate.Epoch
	holders map[int64]entry.Holder // the event that has the item's identity
	stored  map[int64]int64        // the id in webhook_requests of the item's request

	// What this transaction adds to it.
	log   logPart
	first map[hookgate.Identity]entry.Holder
	added map[hookgate.RequestID]int64 // the ids in webhook_requests
	// firstID is the id of the first entry; 0 if there is none.
	firstID int64

	// What the next round trip writes.
	events, requests, letters, wholes rows
	whole                             *hookgate.Whole // added last
}

// newApplication returns one for a copy of the items.
func (s *Store) newApplication(b *hookgate.Batch, items []entry.Item) *application {
	a := &application{
		batch: b, items: slices.Clone(items), outcome: entry.NewOutcome(b), persistedAt: time.Now(),
		epochs: map[int]hookgate.Epoch{}, holders: map[int64]entry.Holder{}, stored: map[int64]int64{},
		log: s.newLogPart(), first: make(map[hookgate.Identity]entry.Holder, len(items)),
		added: map[hookgate.RequestID]int64{},
	}
	a.clear(0, len(items))
	return a
}

// copyEvents is from how many events on COPY is faster than one INSERT, although it takes two round
// trips more: PostgreSQL reads its rows at less cost, and writes a page at a time.
const copyEvents = 48

// clear begins the next rows, which are those of some items.
func (a *application) clear(from, to int) {
	a.events, a.requests, a.letters, a.wholes = newRows(len(eventColumns)), newRows(len(requestColumns)), newRows(5),
		newRows(4)
	if to-from < copyEvents {
		return
	}
	const most = 700 // bytes of an event without its body, about
	size := 0
	for i := range a.items[from:to] {
		size += most + len(a.items[from+i].Body)
	}
	a.events = newStream(len(eventColumns), size)
}

const (
	// readHolders finds the events that have the keys of items. LATERAL and LIMIT leave the planner no
	// choice but to look each row up by its index.
	readHolders = `SELECT i.n, e.id, e.request_id, e.message_id, e.event_type, e.source FROM unnest($1, $2) AS i (n, identity)
		CROSS JOIN LATERAL (SELECT * FROM webhook_events e WHERE e.identity = i.identity LIMIT 1) e`
	// holdersOfAnyType is for events whose type is not proved.
	holdersOfAnyType = ` FROM unnest($1, $2, $3, $4, $5, $6) AS i (n, low, high, message_id, source, request_id)
		CROSS JOIN LATERAL (SELECT * FROM webhook_events e WHERE e.identity >= i.low AND e.identity <= i.high
			AND e.message_id = i.message_id AND e.source = i.source `
	// Of several holders it takes the item's own request.
	readHoldersOfAnyType = `SELECT i.n, e.id, e.request_id, e.message_id, e.event_type, e.source` +
		holdersOfAnyType +
		`ORDER BY e.request_id = i.request_id DESC LIMIT 1) e`
	// guardTypes divides by zero if there is one.
	guardTypes   = `SELECT 1 / (count(*) = 0)::integer` + holdersOfAnyType + `LIMIT 1) e`
	readRequests = `SELECT i.n, r.id FROM unnest($1, $2) AS i (n, request_id)
		CROSS JOIN LATERAL (SELECT id FROM webhook_requests r WHERE r.request_id = i.request_id LIMIT 1) r`
	// The rows of partitions are locked in their order, so that two batches never wait for each other.
	// Batches of different processes share them; the next owner waits.
	readEpochs = `SELECT partition, epoch FROM webhook_partitions WHERE partition = ANY ($1) ORDER BY partition FOR SHARE`
	// guardEpochs divides by zero unless all epochs hold.
	guardEpochs = `SELECT 1 / (count(*) = $3)::integer FROM (SELECT FROM webhook_partitions p
		JOIN unnest($1, $2) AS u (partition, epoch) ON p.partition = u.partition
		WHERE p.epoch <= u.epoch ORDER BY p.partition FOR SHARE OF p) held`
)

// partitions are those that occur, if they have owners.
func (a *application) partitions() (all []int) {
	if a.batch.Epochs == nil {
		return nil
	}
	for i := range a.items {
		if p := a.items[i].Partition; !slices.Contains(all, p) {
			all = append(all, p)
		}
	}
	return all
}

// unproven are the items whose type is not proved, for readHoldersOfAnyType and guardTypes. No
// event has a message id that PostgreSQL cannot hold.
func (a *application) unproven() rows {
	r := newRows(6)
	for n := range a.items {
		it := &a.items[n]
		if !it.TypeUnproven || it.Outcome != hookgate.StagePersisted || !storable(it.MessageID) ||
			!storable(it.Source) {
			continue
		}
		low, high := audit.MessageRange(it.MessageID)
		r.Int(int64(n))
		r.Bytes(low[:])
		r.Bytes(high[:])
		r.Text(it.MessageID)
		r.Text(it.Source)
		r.Text(it.RequestID.String())
	}
	return r
}

// optimistic stores the batch in one round trip behind the head, which it locks before it writes:
// two processes that both try do not wait for each other's rows.
func (a *application) optimistic(ctx context.Context, t *transaction, head logHead) error {
	a.log.logHead, a.log.before, a.log.read, a.log.begun = head, head, true, true
	if err := a.decide(0, len(a.items)); err != nil {
		return err
	}
	if a.requests.len() > 0 {
		return errMoved // the batch has an event twice
	}
	var statements []statement
	if partitions := a.partitions(); len(partitions) > 0 {
		r := newRows(2)
		for _, p := range partitions {
			r.Int(int64(p))
			r.Int(int64(a.batch.Epochs[p]))
		}
		statements = append(statements, statement{sql: guardEpochs, args: append(r.args(),
			argInt(int64(len(partitions))))})
	}
	statements = append(statements, a.log.moveFrom())
	if unproven := a.unproven(); unproven.len() > 0 {
		statements = append(statements, statement{sql: guardTypes, args: unproven.args()})
	}
	return t.commit(ctx, append(statements, a.inserts()...)...)
}

// lookAndStore locks the log, looks what of the batch is stored, and stores the rest.
func (a *application) lookAndStore(ctx context.Context, t *transaction) error {
	if err := a.look(ctx, t); err != nil {
		return err
	}
	if err := a.decide(0, len(a.items)); err != nil {
		return err
	}
	writes := a.inserts()
	if a.log.moved() {
		writes = append(writes, a.log.statements()...)
	}
	// With nothing to write it is a commit all the same, behind the one that stored what this repeats.
	return t.commit(ctx, writes...)
}

// look locks the partitions and the log, and reads what of the batch is stored. Nobody can add to
// that until this transaction ends.
func (a *application) look(ctx context.Context, t *transaction) error {
	partitions := a.partitions()
	if err := t.run(ctx, a.looks(partitions)...); err != nil {
		return err
	}
	for _, p := range partitions {
		epoch, ok := a.epochs[p]
		if !ok {
			return fmt.Errorf("partition %d was never acquired", p)
		}
		if have := a.batch.Epochs[p]; have < epoch {
			return fmt.Errorf("partition %d has epoch %d, the batch %d: %w", p, epoch, have,
				hookgate.ErrFenced)
		}
	}
	more, err := a.log.readFirstHash()
	if err != nil {
		return err
	}
	if err := t.run(ctx, more...); err != nil {
		return err
	}
	a.persistedAt = time.Now()
	return nil
}

// looks returns the statements of look.
func (a *application) looks(partitions []int) (reads []statement) {
	if len(partitions) > 0 {
		r := newRows(1)
		for _, p := range partitions {
			r.Int(int64(p))
		}
		reads = append(reads, statement{sql: readEpochs, args: r.args(), row: func(r row) error {
			a.epochs[int(r.Int(0))] = hookgate.Epoch(r.Int(1))
			return nil
		}})
	}
	reads = append(reads, a.log.lock())
	if len(a.items) == 0 {
		return reads
	}
	identities, requests := newRows(2), newRows(2)
	for n := range a.items {
		it := &a.items[n]
		if it.Outcome == hookgate.StagePersisted && !it.TypeUnproven {
			identities.Int(int64(n))
			identities.Bytes(it.Key[:])
		}
		requests.Int(int64(n))
		requests.Text(it.RequestID.String())
	}
	takeHolder := func(r row) error {
		request, err := hookgate.ParseRequestID(r.Text(2))
		a.holders[r.Int(0)] = entry.Holder{ID: r.Int(1), Request: request,
			Identity: hookgate.Identity{MessageID: r.Text(3), EventType: r.Text(4), Source: r.Text(5)}}
		return err
	}
	if identities.len() > 0 {
		reads = append(reads, statement{sql: readHolders, args: identities.args(), row: takeHolder})
	}
	if unproven := a.unproven(); unproven.len() > 0 {
		reads = append(reads, statement{sql: readHoldersOfAnyType, args: unproven.args(),
			row: takeHolder})
	}
	reads = append(reads, statement{sql: readRequests, args: requests.args(), row: func(r row) error {
		a.stored[r.Int(0)] = r.Int(1)
		return nil
	}})
	return reads
}

// decide adds the rows of some items.
func (a *application) decide(from, to int) error {
	for n := from; n < to; n++ {
		if err := a.add(n); err != nil {
			return err
		}
	}
	return nil
}

// add adds the rows of an item, unless it is stored.
func (a *application) add(n int) error {
	it := &a.items[n]
	if it.Outcome != hookgate.StagePersisted {
		a.addRequest(n)
		return nil
	}
	h, taken := a.holders[int64(n)]
	if !taken {
		h, taken = a.first[batchIdentity(it)]
	}
	if !taken {
		a.addEvent(it)
		return nil
	}
	duplicate, err := a.outcome.Repeated(it, h)
	if duplicate {
		a.addRequest(n)
	}
	return err
}

// batchIdentity is what an item shares with its repetitions in the batch.
func batchIdentity(it *entry.Item) hookgate.Identity {
	if it.TypeUnproven {
		return anyType(it.Identity)
	}
	return it.Identity
}

// anyType stands for all identities that differ in their type alone. No event is without one.
func anyType(id hookgate.Identity) hookgate.Identity {
	id.EventType = ""
	return id
}

// place gives the entry the next id and makes it the log's last.
func (a *application) place(it *entry.Item) {
	a.log.anchor(a.persistedAt)
	id := a.log.nextID(a.log.lastID, a.persistedAt)
	if a.firstID == 0 {
		a.firstID = id
	}
	it.Place(id, a.firstID, a.persistedAt)
	it.Hash = a.log.sum.Entry(a.log.hash, &it.Entry)
	a.log.lastID, a.log.hash = id, it.Hash
	a.outcome.Of(it).ID = id
}

var (
	eventColumns   = entry.ColumnsOf(entry.Events)
	requestColumns = entry.ColumnsOf(entry.Requests)
)

func (a *application) addEvent(it *entry.Item) {
	a.place(it)
	eventColumns.Write(&a.events, it)
	a.addWhole(it.Record.Whole)
	h := entry.Holder{ID: it.ID, Request: it.RequestID, Identity: it.Identity}
	a.first[it.Identity] = h
	if _, found := a.first[anyType(it.Identity)]; !found {
		a.first[anyType(it.Identity)] = h
	}
	a.log.events++
	a.outcome.Stored++
}

// addRequest adds a duplicate or a dead letter, unless its request is stored.
func (a *application) addRequest(n int) {
	it := &a.items[n]
	result := a.outcome.Of(it)
	if it.Outcome == hookgate.StageDuplicate {
		result.DuplicateOf = it.FirstRequestID
	}
	id, found := a.stored[int64(n)]
	if !found {
		id, found = a.added[it.RequestID]
	}
	if found {
		result.ID = id
		return
	}
	a.place(it)
	a.added[it.RequestID] = it.ID
	requestColumns.Write(&a.requests, it)
	if it.Outcome == hookgate.StageDuplicate {
		a.log.duplicates++
		return
	}
	a.log.deadLetters++
	r := &a.letters
	r.Int(it.ID)
	r.Text(it.RequestID.String())
	r.Bytes(it.Body)
	r.Text(it.Reason)
	r.Int(a.persistedAt.UnixMicro())
	a.addWhole(it.Record.Whole)
}

// addWhole adds the request that an event is a part of. The chain covers it by the digest in the
// header that names the origin of the event.
func (a *application) addWhole(w *hookgate.Whole) {
	if w == nil || w == a.whole {
		return
	}
	a.whole = w
	r := &a.wholes
	r.Text(w.RequestID.String())
	r.Bytes(w.Body)
	r.Bytes(w.SHA256[:])
	r.Int(a.persistedAt.UnixMicro())
}

// inserts returns the statements that write the rows, one for each table.
func (a *application) inserts() (writes []statement) {
	for _, t := range []struct {
		rows           *rows
		table, columns string
	}{
		{&a.events, "webhook_events", eventColumns.Names("")},
		{&a.requests, "webhook_requests", requestColumns.Names("")},
		{&a.letters, "webhook_dead_letters", "id, request_id, payload, reason, dead_lettered_at"},
	} {
		if t.rows.len() > 0 {
			writes = append(writes, t.rows.insert(t.table, t.columns))
		}
	}
	if a.wholes.len() > 0 {
		// The request may have been stored with another of its events.
		whole := a.wholes.insert("webhook_request_bodies", "request_id, payload, sha256, stored_at")
		whole.sql += " ON CONFLICT (request_id) DO NOTHING"
		writes = append(writes, whole)
	}
	return writes
}

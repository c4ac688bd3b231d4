package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/store/batch"
)

// Apply implements hookgate.Store.
//
// Nearly always no event of a batch is stored yet, and to look for each costs a fifth of all that PostgreSQL does for it. So that is left
// to the unique index: if it objects, the batch is applied again with a look first, and so are some that follow.
func (s *Store) Apply(ctx context.Context, b *hookgate.Batch) (hookgate.Outcome, error) {
	look := s.looks.Load() > 0
	a, err := s.apply(ctx, b, look)
	switch {
	case look:
		s.looks.Add(-1)
	case isUniqueViolation(err):
		s.looks.Store(looksAfterConflict)
		a, err = s.apply(ctx, b, true)
	}
	if err != nil {
		return hookgate.Outcome{}, fmt.Errorf("store batch: %w", err)
	}
	return a.outcome, nil
}

// looksAfterConflict is how many batches are looked up after one that held something stored: such come in droves.
const looksAfterConflict = 100

func (s *Store) apply(ctx context.Context, b *hookgate.Batch, look bool) (*application, error) {
	parts, err := batch.Prepare(b)
	if err != nil {
		return nil, err
	}
	a := newApplication(b, parts)
	a.nextID = s.nextID
	a.outcome.Results = make([]hookgate.Result, len(b.Records))
	return a, s.tx(ctx, a.reads(look), a.writes)
}

// uniqueViolation is the SQLSTATE of an insert that a unique index refuses.
const uniqueViolation = "23505"

func isUniqueViolation(err error) bool {
	var refused *pgconn.PgError
	return errors.As(err, &refused) && refused.Code == uniqueViolation
}

// application is one call of Apply.
type application struct {
	batch   *hookgate.Batch
	nextID  func(last int64, now time.Time) int64
	parts   []batch.Part
	outcome hookgate.Outcome
	// persistedAt is when Apply decides what to write.
	persistedAt time.Time

	// What the first round trip reads. Items are numbered as they stand, part by part.
	heads   map[int]batch.Head
	holders map[int64]string // by item: the request that has stored its identity
	stored  map[int64]bool   // by item: its request stands in webhook_requests
	hash    hookgate.LinkHash

	// What this batch adds to it.
	first map[hookgate.Identity]hookgate.RequestID
	added map[hookgate.RequestID]bool // to webhook_requests

	// What the second round trip writes.
	events, requests, letters, wholes rows
	whole                             *hookgate.Whole // added last
	chain                             chain
}

func newApplication(b *hookgate.Batch, parts []batch.Part) *application {
	const most = 600 // bytes of an event without its body, about
	size := 0
	for _, p := range parts {
		for i := range p.Items {
			cleanItem(&p.Items[i])
			size += most + len(p.Items[i].Body)
		}
	}
	return &application{
		batch: b, parts: parts,
		heads: map[int]batch.Head{}, holders: map[int64]string{}, stored: map[int64]bool{},
		first: make(map[hookgate.Identity]hookgate.RequestID, len(b.Records)), added: map[hookgate.RequestID]bool{},
		events: newStream(19, size), requests: newRows(21), letters: newRows(5), wholes: newRows(4), chain: newChain(),
	}
}

const (
	// The rows are locked in the order of partitions, so that two batches never wait for each other.
	lockPartitions = `SELECT partition, epoch, sequence, hash FROM webhook_partitions WHERE partition = ANY ($1)
		ORDER BY partition FOR UPDATE`
	// The lock on this one row lasts until the commit; see the package comment and the schema.
	lockCounters = `SELECT events, requests, batches, purges FROM webhook_counters FOR UPDATE`
	// LATERAL and LIMIT leave the planner no choice but to look each row up by its index.
	readHolders = readHoldersOf + `AND e.event_type = i.event_type AND e.source = i.source ` + readHoldersEnd
	// readHoldersOfAnyType is for events whose type is not proved. Of several holders it takes the item's own request.
	readHoldersOfAnyType = readHoldersOf + `AND e.source = i.source ORDER BY e.request_id = i.request_id DESC ` + readHoldersEnd

	readHoldersOf = `SELECT i.n, e.request_id, r.found IS NOT NULL
		FROM unnest($1, $2, $3, $4, $5) AS i (n, message_id, event_type, source, request_id)
		CROSS JOIN LATERAL (SELECT e.request_id FROM webhook_events e WHERE e.message_id = i.message_id `
	readHoldersEnd = `LIMIT 1) e
		LEFT JOIN LATERAL (SELECT true AS found FROM webhook_requests r WHERE r.request_id = i.request_id LIMIT 1) r ON true`
	readRequests = `SELECT i.n FROM unnest($1, $2) AS i (n, request_id)
		CROSS JOIN LATERAL (SELECT FROM webhook_requests r WHERE r.request_id = i.request_id LIMIT 1) r`
)

// reads returns what the first round trip runs: the locks, and then what of the batch is stored already, as to its events only
// if look is set. Nobody can add to that until this transaction ends.
func (a *application) reads(look bool) []statement {
	partitions, identities, unproven, requests := newRows(1), newRows(5), newRows(5), newRows(2)
	seen := make(map[hookgate.Identity]bool, len(a.batch.Records))
	n := int64(0)
	for _, p := range a.parts {
		partitions.int(int64(p.Partition))
		for i := range p.Items {
			it := &p.Items[i]
			// The unique index cannot object where an event of another type has the message id.
			if (look || it.TypeUnproven) && it.Outcome == hookgate.StagePersisted {
				looked := &identities
				if it.TypeUnproven {
					looked = &unproven
				}
				looked.int(n)
				looked.text(it.MessageID)
				looked.text(it.EventType)
				looked.text(it.Source)
				looked.text(it.RequestID.String())
			}
			// The request of an event matters if that turns out to be a duplicate, of one before it here or,
			// which the first query finds, of one that is stored.
			if it.Outcome != hookgate.StagePersisted || seen[it.Claim()] {
				requests.int(n)
				requests.text(it.RequestID.String())
			} else {
				seen[it.Claim()] = true
			}
			n++
		}
	}
	if n == 0 {
		return nil
	}
	reads := []statement{
		{sql: lockPartitions, args: partitions.args(), row: readHead(a.heads)},
		{sql: lockCounters, row: a.chain.readCounters},
	}
	for _, look := range []struct {
		sql  string
		rows rows
	}{{readHolders, identities}, {readHoldersOfAnyType, unproven}} {
		if look.rows.len() == 0 {
			continue
		}
		reads = append(reads, statement{sql: look.sql, args: look.rows.args(), row: func(r row) error {
			a.holders[r.int(0)], a.stored[r.int(0)] = r.text(1), r.bool(2)
			return nil
		}})
	}
	if requests.len() > 0 {
		reads = append(reads, statement{sql: readRequests, args: requests.args(), row: func(r row) error {
			a.stored[r.int(0)] = true
			return nil
		}})
	}
	return reads
}

// writes decides what the batch adds and returns the statements that add it; none if all of it was stored before.
func (a *application) writes() ([]statement, error) {
	if len(a.parts) == 0 {
		return nil, nil
	}
	if err := a.chain.check(); err != nil {
		return nil, err
	}
	a.persistedAt = time.Now()
	links := make([]hookgate.Link, len(a.parts))
	for i, p := range a.parts {
		head, ok := a.heads[p.Partition]
		if !ok {
			return nil, fmt.Errorf("partition %d was never acquired", p.Partition)
		}
		var err error
		if links[i], err = head.Next(a.batch, p.Partition, a.persistedAt); err != nil {
			return nil, err
		}
		links[i].LastError, links[i].Worker = clean(links[i].LastError), clean(links[i].Worker)
	}
	n := int64(0)
	for i := range a.parts {
		if err := a.addPart(&a.parts[i], &links[i], n); err != nil {
			return nil, err
		}
		n += int64(len(a.parts[i].Items))
	}
	return a.statements(), nil
}

// addPart adds the rows of a partition and then the link that seals them. A partition of which everything was stored
// before gets no link. Its first item is the n-th.
func (a *application) addPart(p *batch.Part, link *hookgate.Link, n int64) error {
	a.hash.Begin(link)
	events, duplicates := int64(0), int64(0)
	var requests []*batch.LinkItem
	for i := range p.Items {
		it, number := &p.Items[i], n+int64(i)
		if it.Outcome == hookgate.StagePersisted {
			holder, taken, err := a.holder(it, number)
			switch {
			case err != nil:
				return err
			case !taken:
				a.first[it.Claim()] = it.RequestID
				a.addEvent(it)
				a.outcome.Results[it.Index].ID = a.chain.last.events
				a.addWhole(it.Record.Whole, link.PersistedAt)
				a.hash.Add(&it.LinkEntry)
				events++
				continue
			case holder == it.RequestID:
				continue // this record was stored before
			}
			a.outcome.Results[it.Index].DuplicateOf = holder
			it.MakeDuplicate(holder)
		}
		if a.stored[number] || a.added[it.RequestID] {
			continue
		}
		a.added[it.RequestID] = true
		a.addRequest(it)
		requests = append(requests, it)
		if it.Outcome == hookgate.StageDuplicate {
			duplicates++
		} else {
			a.addLetter(it, link.PersistedAt)
			a.addWhole(it.Record.Whole, link.PersistedAt)
		}
	}
	a.outcome.Stored += int(events)
	if events+int64(len(requests)) == 0 {
		return nil
	}
	for _, it := range requests {
		a.hash.Add(&it.LinkEntry)
	}
	a.seal(link, events, duplicates, int64(len(requests))-duplicates)
	return nil
}

// holder returns the request whose event has the identity of the item.
func (a *application) holder(it *batch.LinkItem, number int64) (id hookgate.RequestID, taken bool, err error) {
	if text, ok := a.holders[number]; ok {
		id, err = hookgate.ParseRequestID(text)
		return id, true, err
	}
	id, taken = a.first[it.Claim()]
	return id, taken, nil
}

const eventInsert = `id, message_id, event_type, source, ordering_key, sequence, payload, sha256, request_id, received_at,
	enqueued_at, spooled_at, replay_of, replayed_at, headers, remote_addr, partition, position, batch`

func (a *application) addEvent(it *batch.LinkItem) {
	a.chain.last.events = a.nextID(a.chain.last.events, a.persistedAt)
	r := &a.events
	r.int(a.chain.last.events)
	r.text(it.MessageID)
	r.text(it.EventType)
	r.text(it.Source)
	r.text(it.OrderingKey)
	r.int(it.Sequence)
	r.bytes(it.Body)
	r.bytes(it.BodySHA256[:])
	a.addCommon(r, it)
}

// addCommon adds the columns that end the rows of events and requests.
func (a *application) addCommon(r *rows, it *batch.LinkItem) {
	r.text(it.RequestID.String())
	r.int(it.ReceivedAt.UnixMicro())
	r.int(it.EnqueuedAt.UnixMicro())
	r.int(it.SpooledMicros())
	r.text(batch.RequestIDText(it.ReplayOf))
	r.int(it.ReplayedMicros())
	r.text(it.HeadersJSON)
	r.text(it.RemoteAddr)
	r.int(int64(it.Record.Partition))
	r.text(it.Position)
	r.int(a.chain.last.batches + 1)
}

const requestInsert = `id, outcome, first_request_id, reason, message_id, event_type, source, ordering_key, sequence, sha256,
	request_id, received_at, enqueued_at, spooled_at, replay_of, replayed_at, headers, remote_addr, partition, position, batch`

func (a *application) addRequest(it *batch.LinkItem) {
	a.chain.last.requests++
	r := &a.requests
	r.int(a.chain.last.requests)
	r.text(string(it.Outcome))
	r.text(batch.RequestIDText(it.FirstRequestID))
	r.text(it.Reason)
	r.text(it.MessageID)
	r.text(it.EventType)
	r.text(it.Source)
	r.text(it.OrderingKey)
	r.int(it.Sequence)
	r.bytes(it.BodySHA256[:])
	a.addCommon(r, it)
}

// addLetter adds the dead letter that belongs to the request added last.
func (a *application) addLetter(it *batch.LinkItem, at time.Time) {
	r := &a.letters
	r.int(a.chain.last.requests)
	r.text(it.RequestID.String())
	r.bytes(it.Body)
	r.text(it.Reason)
	r.int(at.UnixMicro())
}

// addWhole adds the request that an event is a part of. The chain covers it by the digest in the header
// that names the origin of the event.
func (a *application) addWhole(w *hookgate.Whole, at time.Time) {
	if w == nil || w == a.whole {
		return
	}
	a.whole = w
	r := &a.wholes
	r.text(w.RequestID.String())
	r.bytes(w.Body)
	r.bytes(w.SHA256[:])
	r.int(at.UnixMicro())
}

// seal adds the link and moves the head of the chain.
func (a *application) seal(link *hookgate.Link, events, duplicates, letters int64) {
	a.chain.seal(link, a.hash.Sum(), linkCounts{events: events, duplicates: duplicates, letters: letters})
}

// statements returns those of the second round trip, one for each table.
func (a *application) statements() (writes []statement) {
	if a.chain.empty() {
		return nil
	}
	for _, t := range []struct {
		rows           *rows
		table, columns string
	}{
		{&a.events, "webhook_events", eventInsert},
		{&a.requests, "webhook_requests", requestInsert},
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
	return append(writes, a.chain.statements()...)
}

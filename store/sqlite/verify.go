package sqlite

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/internal/sqlitedb"
)

// Audit is what Verify found.
type Audit struct {
	// Links, Events, Duplicates and DeadLetters count what was checked.
	Links, Events, Duplicates, DeadLetters int64
	// Head is the SHA-256 over the heads of all chains: two stores with one head hold the same.
	Head [32]byte
	// Break is the first place where the store differs from its chain, or nil.
	Break *Break
}

// Break says where and how the store differs from its audit chain.
type Break struct {
	Partition int
	// Sequence is the link's number in its partition, and Batch its id in webhook_batches; 0 if unknown.
	Sequence, Batch int64
	// What is different, with the event's ids where that is known.
	What string
}

// String describes the break.
func (b *Break) String() string {
	return fmt.Sprintf("partition %d, link %d (batch %d): %s", b.Partition, b.Sequence, b.Batch, b.What)
}

// Verify computes the audit chains of the store in the file at path anew and compares. It reads everything once, in one
// snapshot, and holds no more than one event; the gate may run meanwhile. An error means that it could
// not be done. progress, if not nil, is called now and then.
//
// It shows any change, removal or insertion of events, lineage or dead letters behind the gate's back,
// also at the end of a chain. It cannot show that someone has computed all chains anew.
func Verify(ctx context.Context, path string, progress func(Audit)) (Audit, error) {
	audit, err := verify(ctx, path, progress)
	var broken *Break
	if errors.As(err, &broken) {
		audit.Break, err = broken, nil
	}
	if err != nil {
		return audit, fmt.Errorf("verify store %s: %w", path, err)
	}
	return audit, nil
}

func verify(ctx context.Context, path string, progress func(Audit)) (audit Audit, err error) {
	pool, err := sqlitedb.OpenReaders(path, 1)
	if err != nil {
		return audit, err
	}
	defer pool.Close()
	conn, err := pool.Take(ctx)
	if err != nil {
		return audit, err
	}
	defer pool.Put(conn)
	endSnapshot := sqlitex.Transaction(conn)
	defer endSnapshot(&err)
	v, err := newVerifier(conn, progress)
	if err != nil {
		return audit, err
	}
	defer v.close()
	err = v.run()
	return v.audit, err
}

// Error makes a Break an error, inside this package.
func (b *Break) Error() string { return b.String() }

// head is where the chain of a partition has come to.
type head struct {
	sequence int64
	hash     [32]byte
}

// verifier walks the links in the order of their ids, with a cursor each on events and requests, which
// stand in the same order.
type verifier struct {
	audit    Audit
	progress func(Audit)
	heads    map[int]head
	hash     hookgate.LinkHash

	links, events, requests, deadLetters *sqlite.Stmt
	// moreEvents and moreRequests say that the cursor stands on a row not yet used.
	moreEvents, moreRequests bool
	headRows, letterCount    *sqlite.Stmt
}

func newVerifier(conn *sqlite.Conn, progress func(Audit)) (*verifier, error) {
	v := &verifier{progress: progress, heads: map[int]head{}}
	for _, p := range []struct {
		to   **sqlite.Stmt
		text string
	}{
		{&v.links, `SELECT id, partition, sequence, previous_hash, hash, events, requests, worker, processed_at, persisted_at,
			attempts, last_error FROM webhook_batches ORDER BY id`},
		{&v.events, `SELECT batch, id, message_id, event_type, source, ordering_key, sequence, sha256, request_id, received_at,
			enqueued_at, headers, remote_addr, partition, position, payload FROM webhook_events ORDER BY id`},
		{&v.requests, `SELECT batch, id, message_id, event_type, source, ordering_key, sequence, sha256, request_id, received_at,
			enqueued_at, headers, remote_addr, partition, position, outcome, first_request_id, reason FROM webhook_requests ORDER BY id`},
		{&v.deadLetters, `SELECT payload, request_id, reason, dead_lettered_at FROM webhook_dead_letters WHERE id = ?`},
		{&v.letterCount, `SELECT count(*) FROM webhook_dead_letters`},
		{&v.headRows, `SELECT partition, sequence, hash, events, duplicates, dead_letters FROM webhook_partitions ORDER BY partition`},
	} {
		var err error
		if *p.to, err = conn.Prepare(p.text); err != nil {
			return nil, err
		}
	}
	return v, nil
}

func (v *verifier) close() {
	for _, s := range []*sqlite.Stmt{v.links, v.events, v.requests, v.deadLetters, v.headRows, v.letterCount} {
		s.Reset()
	}
}

func (v *verifier) run() (err error) {
	if v.moreEvents, err = v.events.Step(); err != nil {
		return err
	}
	if v.moreRequests, err = v.requests.Step(); err != nil {
		return err
	}
	for {
		found, err := v.links.Step()
		if err != nil {
			return err
		}
		if !found {
			break
		}
		if err := v.link(); err != nil {
			return err
		}
		if v.audit.Links++; v.progress != nil && v.audit.Links%1000 == 0 {
			v.progress(v.audit)
		}
	}
	if v.moreEvents {
		return v.orphan(v.events, "event")
	}
	if v.moreRequests {
		return v.orphan(v.requests, "request")
	}
	return v.compareHeads()
}

func (v *verifier) orphan(row *sqlite.Stmt, what string) error {
	return &Break{Partition: row.ColumnInt(13), Batch: row.ColumnInt64(0),
		What: fmt.Sprintf("%s %d (message id %q) belongs to no link", what, row.ColumnInt64(1), row.ColumnText(2))}
}

// link checks the link under the cursor with its events and requests.
func (v *verifier) link() error {
	row := v.links
	batch := row.ColumnInt64(0)
	link := hookgate.Link{
		Partition:   row.ColumnInt(1),
		Sequence:    row.ColumnInt64(2),
		Worker:      row.ColumnText(7),
		ProcessedAt: micros(row.ColumnInt64(8)),
		PersistedAt: micros(row.ColumnInt64(9)),
		Attempts:    row.ColumnInt(10),
		LastError:   row.ColumnText(11),
	}
	broken := func(format string, args ...any) error {
		return &Break{link.Partition, link.Sequence, batch, fmt.Sprintf(format, args...)}
	}
	row.ColumnBytes(3, link.Previous[:])
	before := v.heads[link.Partition]
	switch {
	case link.Sequence != before.sequence+1:
		return broken("follows link %d: links are missing or out of order", before.sequence)
	case link.Previous != before.hash:
		return broken("does not carry the hash of the link before")
	}
	v.hash.Begin(&link)
	events, err := v.entries(v.events, &v.moreEvents, batch, link.Partition, broken, v.event)
	if err != nil {
		return err
	}
	if want := row.ColumnInt64(5); events != want {
		return broken("has %d events, and was sealed with %d", events, want)
	}
	requests, err := v.entries(v.requests, &v.moreRequests, batch, link.Partition, broken, v.request)
	if err != nil {
		return err
	}
	if want := row.ColumnInt64(6); requests != want {
		return broken("has %d duplicates and dead letters, and was sealed with %d", requests, want)
	}
	var hash [32]byte
	if row.ColumnBytes(4, hash[:]); hash != v.hash.Sum() {
		return broken("its hash does not fit what it holds: the link, an event's columns or a request was changed")
	}
	v.heads[link.Partition] = head{link.Sequence, hash}
	return nil
}

type breaker = func(format string, args ...any) error

// entries adds the rows of a cursor that belong to the batch to the hash and counts them.
func (v *verifier) entries(row *sqlite.Stmt, more *bool, batch int64, partition int, broken breaker,
	check func(*hookgate.LinkEntry, breaker) error) (n int64, err error) {
	for ; *more && row.ColumnInt64(0) <= batch; n++ {
		if row.ColumnInt64(0) < batch {
			return n, v.orphan(row, "row")
		}
		if row.ColumnInt(13) != partition {
			return n, broken("row %d (message id %q) stands in partition %d", row.ColumnInt64(1), row.ColumnText(2), row.ColumnInt(13))
		}
		e := &hookgate.LinkEntry{
			Delivery: &hookgate.Delivery{
				Identity:    hookgate.Identity{MessageID: row.ColumnText(2), EventType: row.ColumnText(3), Source: row.ColumnText(4)},
				OrderingKey: row.ColumnText(5),
				Sequence:    row.ColumnInt64(6),
				ReceivedAt:  micros(row.ColumnInt64(9)),
				RemoteAddr:  row.ColumnText(12),
			},
			EnqueuedAt:  micros(row.ColumnInt64(10)),
			HeadersJSON: row.ColumnText(11),
			Position:    row.ColumnText(14),
		}
		row.ColumnBytes(7, e.BodySHA256[:])
		if e.RequestID, err = hookgate.ParseRequestID(row.ColumnText(8)); err != nil {
			return n, broken("row %d (message id %q): %v", row.ColumnInt64(1), row.ColumnText(2), err)
		}
		if err := check(e, broken); err != nil {
			return n, err
		}
		v.hash.Add(e)
		if *more, err = row.Step(); err != nil {
			return n, err
		}
	}
	return n, nil
}

func (v *verifier) event(e *hookgate.LinkEntry, broken breaker) error {
	e.Outcome = hookgate.StagePersisted
	if sha256.Sum256(columnBytes(v.events, 15)) != e.BodySHA256 {
		return broken("the body of event %d (message id %q) is not the one that was stored", v.events.ColumnInt64(1), e.MessageID)
	}
	v.audit.Events++
	return nil
}

func (v *verifier) request(e *hookgate.LinkEntry, broken breaker) (err error) {
	e.Outcome = hookgate.Stage(v.requests.ColumnText(15))
	e.Reason = v.requests.ColumnText(17)
	if first := v.requests.ColumnText(16); first != "" {
		if e.FirstRequestID, err = hookgate.ParseRequestID(first); err != nil {
			return broken("request %s: %v", e.RequestID, err)
		}
	}
	if e.Outcome != hookgate.StageDeadLettered {
		v.audit.Duplicates++
		return nil
	}
	v.audit.DeadLetters++
	d := v.deadLetters
	defer d.Reset()
	d.BindInt64(1, v.requests.ColumnInt64(1))
	found, err := d.Step()
	switch {
	case err != nil:
		return err
	case !found:
		return broken("the dead letter of request %s is missing", e.RequestID)
	case sha256.Sum256(columnBytes(d, 0)) != e.BodySHA256 || d.ColumnText(1) != e.RequestID.String() || d.ColumnText(2) != e.Reason,
		d.ColumnInt64(3) != v.links.ColumnInt64(9):
		return broken("the dead letter of request %s is not the one that was stored", e.RequestID)
	}
	return nil
}

// compareHeads checks that each chain ends where its partition says it does, and sums up the heads.
func (v *verifier) compareHeads() error {
	sum := sha256.New()
	var total Audit
	for {
		found, err := v.headRows.Step()
		if err != nil {
			return err
		}
		if !found {
			break
		}
		partition := v.headRows.ColumnInt(0)
		var want head
		want.sequence = v.headRows.ColumnInt64(1)
		v.headRows.ColumnBytes(2, want.hash[:])
		if got := v.heads[partition]; got != want {
			return &Break{Partition: partition, Sequence: want.sequence,
				What: fmt.Sprintf("the chain ends with link %d, and the partition was left at link %d", got.sequence, want.sequence)}
		}
		delete(v.heads, partition)
		total.Events += v.headRows.ColumnInt64(3)
		total.Duplicates += v.headRows.ColumnInt64(4)
		total.DeadLetters += v.headRows.ColumnInt64(5)
		sum.Write(binary.BigEndian.AppendUint64(nil, uint64(partition)))
		sum.Write(want.hash[:])
	}
	for partition := range v.heads {
		return &Break{Partition: partition, What: "the partition has a chain and no head"}
	}
	if total.Events != v.audit.Events || total.Duplicates != v.audit.Duplicates || total.DeadLetters != v.audit.DeadLetters {
		return &Break{What: fmt.Sprintf("the partitions count %d events, %d duplicates and %d dead letters, stored are %d, %d and %d",
			total.Events, total.Duplicates, total.DeadLetters, v.audit.Events, v.audit.Duplicates, v.audit.DeadLetters)}
	}
	if _, err := v.letterCount.Step(); err != nil {
		return err
	}
	if n := v.letterCount.ColumnInt64(0); n != v.audit.DeadLetters {
		return &Break{What: fmt.Sprintf("%d dead letters are stored, and %d requests tell of one", n, v.audit.DeadLetters)}
	}
	sum.Sum(v.audit.Head[:0])
	return nil
}

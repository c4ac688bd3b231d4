package sqlite

import (
	"context"
	"fmt"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/audit"
	"github.com/hookgate/hookgate/internal/sqlitedb"
	"github.com/hookgate/hookgate/store/prune"
	"github.com/hookgate/hookgate/store/sqlstore"
)

// Audit is what Verify found.
type Audit = audit.Audit

// Break says where and how the store differs from its audit chain.
type Break = audit.Break

// Verify audits the store in the file at path (see audit.Run). It reads everything once, in one
// snapshot, and holds no more than one event; the gate may run meanwhile. An error means that it
// could not be done. progress, if not nil, is called now and then.
func Verify(ctx context.Context, path string, progress func(Audit)) (Audit, error) {
	found, err := verify(ctx, path, progress)
	if err != nil {
		return found, fmt.Errorf("verify store %s: %w", path, err)
	}
	return found, nil
}

func verify(ctx context.Context, path string, progress func(Audit)) (found Audit, err error) {
	pool, err := sqlitedb.OpenReaders(path, 1)
	if err != nil {
		return found, err
	}
	defer pool.Close()
	conn, err := pool.Take(ctx)
	if err != nil {
		return found, err
	}
	defer pool.Put(conn)
	endSnapshot := sqlitex.Transaction(conn)
	defer endSnapshot(&err)
	c, err := newCursors(conn)
	if err != nil {
		return found, err
	}
	defer c.close()
	if found, err = audit.Run(c, progress); err != nil || found.Break != nil {
		return found, err
	}
	found.Break, err = c.late.compare(conn)
	return found, err
}

// cursors is an audit.Source: a cursor each on links, events and requests.
type cursors struct {
	links, removedEvents, events, requests, purges, letters, letterCount, heads, actions, lastAction,
	removals, checkpoints,
	log, gaps, anchors *sqlite.Stmt
	// hasLog is false for a store that an earlier release wrote.
	hasLog bool

	// conn prepares wholes with the first request that carried several events: a store that an earlier
	// release wrote has no such table.
	conn   *sqlite.Conn
	wholes *sqlite.Stmt
	late   lateAudit

	// link, purge, event and request are the rows that were returned last.
	link                    audit.Link
	purge                   audit.Purge
	removed, event, request entry
	action                  audit.Action
	anchor                  audit.Anchor
}

// entry is a row with the delivery that it refers to.
type entry struct {
	audit.Row
	delivery hookgate.Request
}

func newCursors(conn *sqlite.Conn) (*cursors, error) {
	c := &cursors{conn: conn}
	if err := sqlitex.Execute(conn, "SELECT count(*) FROM sqlite_master WHERE name = 'webhook_log'",
		&sqlitex.ExecOptions{
			ResultFunc: func(r *sqlite.Stmt) error { c.hasLog = r.ColumnBool(0); return nil },
		}); err != nil {
		return nil, err
	}
	type prepared struct {
		to   **sqlite.Stmt
		text string
	}
	// An earlier release had not the columns of entries.
	entry, identity, hash := ", 0, 0, 0, '', 0, '', x''", ", x''", ", x''"
	var ofLog []prepared
	if c.hasLog {
		entry, identity, hash = ", keyed, processed_at, persisted_at, worker, attempts, last_error, hash",
			", identity", ", hash"
		ofLog = []prepared{
			{&c.log, `SELECT begins_after, last_id, hash, events, duplicates, dead_letters, purges, anchored, indexed FROM webhook_log`},
			{&c.gaps, `SELECT from_id, to_id, previous_hash, hash, events, duplicates, dead_letters, purges, anchors, anchored, persisted_at
				FROM webhook_gaps ORDER BY from_id`},
			{&c.anchors, `SELECT id, sequence, trail_hash, hash FROM webhook_anchors ORDER BY id`},
			{&c.late.identity, `SELECT event FROM webhook_identities WHERE identity = ?`},
			{&c.late.key, `SELECT 1 FROM webhook_keys WHERE ordering_key = ? AND event = ?`},
		}
	}
	for _, p := range append(ofLog, []prepared{
		{&c.links, `SELECT id, partition, sequence, previous_hash, hash, events, requests, worker, processed_at, persisted_at,
			attempts, last_error, purges, last_event, last_request FROM webhook_batches ORDER BY id`},
		{&c.removedEvents, `SELECT batch, id, message_id, event_type, source, ordering_key, sequence, sha256, request_id, received_at,
			enqueued_at, headers, remote_addr, partition, position, spooled_at, replay_of, replayed_at` + entry + ` FROM webhook_removed_events ORDER BY id`},
		{&c.events, `SELECT batch, id, message_id, event_type, source, ordering_key, sequence, sha256, request_id, received_at,
			enqueued_at, headers, remote_addr, partition, position, spooled_at, replay_of, replayed_at` + entry + identity + `, payload
			FROM webhook_events ORDER BY id`},
		{&c.requests, `SELECT batch, id, message_id, event_type, source, ordering_key, sequence, sha256, request_id, received_at,
			enqueued_at, headers, remote_addr, partition, position, spooled_at, replay_of, replayed_at` + entry + identity + `, outcome, first_request_id, reason,
			EXISTS (SELECT 1 FROM webhook_purges p WHERE p.request_id = webhook_requests.request_id) FROM webhook_requests ORDER BY id`},
		{&c.purges, `SELECT id, batch, request_id, purged_by, reason, purged_at` + hash +
			` FROM webhook_purges ORDER BY id`},
		{&c.letters, `SELECT payload, request_id, reason, dead_lettered_at FROM webhook_dead_letters WHERE id = ?`},
		{&c.letterCount, `SELECT count(*) FROM webhook_dead_letters`},
		{&c.heads, `SELECT partition, sequence, hash, events, duplicates, dead_letters FROM webhook_partitions ORDER BY partition`},
		{&c.removals, removalsQuery},
		{&c.checkpoints, `SELECT partition, from_sequence, to_sequence, previous_hash, hash, events, duplicates, dead_letters, purges,
			persisted_at FROM webhook_checkpoints ORDER BY partition, from_sequence`},
		{&c.actions, `SELECT ` + sqlstore.ActionColumns + ` FROM webhook_admin_actions ORDER BY sequence`},
		{&c.lastAction, `SELECT sequence, hash FROM webhook_admin_chain`},
	}...) {
		var err error
		if *p.to, err = conn.Prepare(p.text); err != nil {
			return nil, err
		}
	}
	return c, nil
}

func (c *cursors) close() {
	for _, s := range []*sqlite.Stmt{c.links, c.removedEvents, c.events, c.requests, c.purges,
		c.letters, c.letterCount, c.heads,
		c.actions, c.lastAction, c.removals, c.checkpoints, c.log, c.gaps, c.anchors, c.late.identity,
		c.late.key} {
		if s != nil {
			s.Reset()
		}
	}
}

// Link implements audit.Source.
func (c *cursors) Link() (*audit.Link, bool, error) {
	r := c.links
	if found, err := r.Step(); err != nil || !found {
		return nil, false, err
	}
	c.link = audit.Link{
		ID: r.ColumnInt64(0),
		ChainLink: audit.ChainLink{
			Partition:   r.ColumnInt(1),
			Sequence:    r.ColumnInt64(2),
			Worker:      r.ColumnText(7),
			ProcessedAt: micros(r.ColumnInt64(8)),
			PersistedAt: micros(r.ColumnInt64(9)),
			Attempts:    r.ColumnInt(10),
			LastError:   r.ColumnText(11),
		},
		Events:    r.ColumnInt64(5),
		Requests:  r.ColumnInt64(6),
		Purges:    r.ColumnInt64(12),
		LastEvent: r.ColumnInt64(13), LastRequest: r.ColumnInt64(14),
	}
	r.ColumnBytes(3, c.link.Previous[:])
	r.ColumnBytes(4, c.link.Hash[:])
	return &c.link, true, nil
}

// RemovedEvent implements audit.Source.
func (c *cursors) RemovedEvent() (*audit.Row, bool, error) {
	if found, err := c.removedEvents.Step(); err != nil || !found {
		return nil, false, err
	}
	c.removed.scan(c.removedEvents)
	c.removed.Removed = true
	return &c.removed.Row, true, nil
}

// Event implements audit.Source.
func (c *cursors) Event() (*audit.Row, bool, error) {
	if found, err := c.events.Step(); err != nil || !found {
		return nil, false, err
	}
	c.event.scan(c.events)
	c.event.scanKey(c.events)
	c.event.Body = row{c.events}.Bytes(26)
	return &c.event.Row, true, c.late.event(&c.event.Row)
}

// Request implements audit.Source.
func (c *cursors) Request() (*audit.Row, bool, error) {
	if found, err := c.requests.Step(); err != nil || !found {
		return nil, false, err
	}
	e := &c.request
	e.scan(c.requests)
	e.scanKey(c.requests)
	e.Outcome = hookgate.Stage(c.requests.ColumnText(26))
	e.FirstRequestID = c.requests.ColumnText(27)
	e.Reason = c.requests.ColumnText(28)
	e.Purged = c.requests.ColumnBool(29)
	if e.Outcome != hookgate.StageDeadLettered {
		return &e.Row, true, nil
	}
	d := c.letters
	defer d.Reset()
	d.BindInt64(1, e.ID)
	found, err := d.Step()
	if err != nil {
		return nil, false, err
	}
	if found {
		e.Letter = &audit.Letter{
			Body: row{d}.Bytes(0), RequestID: d.ColumnText(1), Reason: d.ColumnText(2),
			DeadLetteredAt: d.ColumnInt64(3),
		}
	}
	return &e.Row, true, nil
}

// Purge implements audit.Source.
func (c *cursors) Purge() (*audit.Purge, bool, error) {
	r := c.purges
	if found, err := r.Step(); err != nil || !found {
		return nil, false, err
	}
	c.purge = audit.Purge{
		ID: r.ColumnInt64(0), Batch: r.ColumnInt64(1), RequestID: r.ColumnText(2),
		By:     r.ColumnText(3),
		Reason: r.ColumnText(4), PurgedAt: r.ColumnInt64(5), Sealed: r.ColumnLen(6) > 0,
	}
	r.ColumnBytes(6, c.purge.Hash[:])
	return &c.purge, true, nil
}

// RequestBody implements audit.Source.
func (c *cursors) RequestBody(requestID string) (body []byte, ok bool, err error) {
	if c.wholes == nil {
		if c.wholes, err = c.conn.Prepare(sqlstore.RequestBodyQuery); err != nil {
			return nil, false, err
		}
	}
	defer c.wholes.Reset()
	c.wholes.BindText(1, requestID)
	if ok, err = c.wholes.Step(); err != nil || !ok {
		return nil, false, err
	}
	return row{c.wholes}.Bytes(0), true, nil
}

// scan reads the columns that events and requests share.
func (e *entry) scan(r *sqlite.Stmt) {
	e.delivery = hookgate.Request{
		Identity: hookgate.Identity{MessageID: r.ColumnText(2), EventType: r.ColumnText(3),
			Source: r.ColumnText(4)},
		OrderingKey: r.ColumnText(5),
		Sequence:    r.ColumnInt64(6),
		ReceivedAt:  micros(r.ColumnInt64(9)),
		RemoteAddr:  r.ColumnText(12),
	}
	e.delivery.SetSpooledMicros(r.ColumnInt64(15))
	e.delivery.SetRetriedMicros(r.ColumnInt64(17))
	e.delivery.Keyed = r.ColumnBool(18)
	e.Row = audit.Row{
		RequestID: r.ColumnText(8),
		RetryOf:   r.ColumnText(16),
		Sealed:    r.ColumnLen(24) > 0,
		Entry: audit.Entry{
			ID:          r.ColumnInt64(1),
			Batch:       r.ColumnInt64(0),
			Request:     &e.delivery,
			EnqueuedAt:  micros(r.ColumnInt64(10)),
			Partition:   r.ColumnInt(13),
			HeadersJSON: r.ColumnText(11),
			Position:    r.ColumnText(14),
			ProcessedAt: micros(r.ColumnInt64(19)),
			PersistedAt: micros(r.ColumnInt64(20)),
			Worker:      r.ColumnText(21),
			Attempts:    r.ColumnInt(22),
			LastError:   r.ColumnText(23),
		},
	}
	r.ColumnBytes(7, e.BodySHA256[:])
	r.ColumnBytes(24, e.Hash[:])
}

// scanKey reads the identity of a row that has one. In a store of an earlier release none has.
func (e *entry) scanKey(r *sqlite.Stmt) {
	if r.ColumnLen(25) > 0 || e.Sealed {
		e.Key = row{r}.Bytes(25)
	}
}

// Log implements audit.Source.
func (c *cursors) Log() (l audit.Log, ok bool, err error) {
	if !c.hasLog {
		return l, false, nil
	}
	r := c.log
	if found, err := r.Step(); err != nil || !found {
		return l, true, err // without a row the log must be empty
	}
	l = audit.Log{
		BeginsAfter: r.ColumnInt64(0), LastID: r.ColumnInt64(1), Begun: r.ColumnLen(2) > 0,
		Events:     r.ColumnInt64(3),
		Duplicates: r.ColumnInt64(4), DeadLetters: r.ColumnInt64(5), Purges: r.ColumnInt64(6),
		Anchored: r.ColumnInt64(7),
	}
	r.ColumnBytes(2, l.Hash[:])
	c.late.indexed, c.late.last = r.ColumnInt64(8), l.LastID
	return l, true, nil
}

// Gaps implements audit.Source.
func (c *cursors) Gaps() (all []prune.Gap, err error) {
	for r := c.gaps; ; {
		found, err := r.Step()
		if err != nil || !found {
			return all, err
		}
		g := prune.Gap{
			From: r.ColumnInt64(0), To: r.ColumnInt64(1), Events: r.ColumnInt64(4),
			Duplicates:  r.ColumnInt64(5),
			DeadLetters: r.ColumnInt64(6), Purges: r.ColumnInt64(7), Anchors: r.ColumnInt64(8),
			Anchored:    r.ColumnInt64(9),
			PersistedAt: micros(r.ColumnInt64(10)),
		}
		r.ColumnBytes(2, g.Previous[:])
		r.ColumnBytes(3, g.Hash[:])
		all = append(all, g)
	}
}

// Anchor implements audit.Source.
func (c *cursors) Anchor() (*audit.Anchor, bool, error) {
	if !c.hasLog {
		return nil, false, nil
	}
	r := c.anchors
	if found, err := r.Step(); err != nil || !found {
		return nil, false, err
	}
	c.anchor = audit.Anchor{ID: r.ColumnInt64(0), Sequence: r.ColumnInt64(1)}
	r.ColumnBytes(2, c.anchor.TrailHash[:])
	r.ColumnBytes(3, c.anchor.Hash[:])
	return &c.anchor, true, nil
}

// Removals implements audit.Source.
func (c *cursors) Removals() (prune.State, error) {
	found, err := c.removals.Step()
	if err == nil && !found {
		err = prune.ErrNoState
	}
	return scanRemovals(c.removals), err
}

// Checkpoints implements audit.Source.
func (c *cursors) Checkpoints() (all []prune.Checkpoint, err error) {
	for r := c.checkpoints; ; {
		found, err := r.Step()
		if err != nil || !found {
			return all, err
		}
		p := prune.Checkpoint{
			Partition: r.ColumnInt(0), From: r.ColumnInt64(1), To: r.ColumnInt64(2),
			Events:     r.ColumnInt64(5),
			Duplicates: r.ColumnInt64(6), DeadLetters: r.ColumnInt64(7), Purges: r.ColumnInt64(8),
			PersistedAt: micros(r.ColumnInt64(9)),
		}
		r.ColumnBytes(3, p.Previous[:])
		r.ColumnBytes(4, p.Hash[:])
		all = append(all, p)
	}
}

// Heads implements audit.Source.
func (c *cursors) Heads() (heads []audit.Head, err error) {
	for r := c.heads; ; {
		found, err := r.Step()
		if err != nil || !found {
			return heads, err
		}
		h := audit.Head{
			Partition: r.ColumnInt(0), Sequence: r.ColumnInt64(1),
			Events: r.ColumnInt64(3), Duplicates: r.ColumnInt64(4), DeadLetters: r.ColumnInt64(5),
		}
		r.ColumnBytes(2, h.Hash[:])
		heads = append(heads, h)
	}
}

// Letters implements audit.Source.
func (c *cursors) Letters() (int64, error) {
	_, err := c.letterCount.Step()
	return c.letterCount.ColumnInt64(0), err
}

// Action implements audit.Source.
func (c *cursors) Action() (*audit.Action, bool, error) {
	if found, err := c.actions.Step(); err != nil || !found {
		return nil, false, err
	}
	c.action = sqlstore.ScanAction(row{c.actions})
	return &c.action, true, nil
}

// LastAction implements audit.Source.
func (c *cursors) LastAction() (h audit.ActionHead, err error) {
	if found, err := c.lastAction.Step(); err != nil || !found {
		return h, err // without a row the trail must be empty
	}
	h.Sequence = c.lastAction.ColumnInt64(0)
	c.lastAction.ColumnBytes(1, h.Hash[:])
	return h, nil
}

package postgres

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/audit"
	"github.com/hookgate/hookgate/store/prune"
	"github.com/hookgate/hookgate/store/sqlstore"
)

// Audit is what Verify found.
type Audit = audit.Audit

// Break says where and how the store differs from its audit chain.
type Break = audit.Break

// Verify audits the store in a schema of the database at url (see audit.Run). It reads everything
// once, in one snapshot, and page by page; gates may run meanwhile. An error means that it could
// not be done. progress, if not nil, is called now and then.
func Verify(ctx context.Context, url, schema string, progress func(Audit)) (found Audit,
	err error) {
	config, err := parseURL(url)
	if err != nil {
		return found, fmt.Errorf("verify store: %w", err)
	}
	if found, err = verify(ctx, config, schema, progress); err != nil {
		return found, fmt.Errorf("verify store %s: %w", targetOf(config), err)
	}
	return found, nil
}

func verify(ctx context.Context, config *pgx.ConnConfig, schema string,
	progress func(Audit)) (found Audit, err error) {
	session, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return found, err
	}
	defer func() {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), rollbackTimeout)
		defer cancel()
		_ = session.Close(closing) // nothing was written
	}()
	in, err := find(ctx, session, schema)
	if err != nil {
		return found, err
	}
	conn := session.PgConn()
	// Each page is short, and however the database bounds statements and transactions, the snapshot
	// must last.
	if _, err := exchange(ctx, conn, []statement{
		{sql: "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"},
		{sql: `SELECT set_config('idle_in_transaction_session_timeout', '0', true), set_config('statement_timeout', $1, true),
			set_config('search_path', $2, true)`,
			args: []arg{argText(fmt.Sprint(auditTimeout.Milliseconds())), argText(searchPath(in.schema))}},
	}); err != nil {
		return found, err
	}
	_, hasLog := in.applied[logVersion]
	if found, err = audit.Run(newPages(ctx, conn, hasLog), progress); err != nil {
		return found, err
	}
	_, err = exchange(ctx, conn, []statement{{sql: "COMMIT"}})
	return found, err
}

// logVersion is the migration that made the log. A store of an earlier release has none.
const logVersion = 10

// pageBytes bounds the bodies that one page reads, unless a single one is larger.
const pageBytes = 1 << 20

// auditTimeout bounds the reading of one page, and the counting of dead letters.
const auditTimeout = 5 * time.Minute

// pages is an audit.Source on one transaction.
type pages struct {
	ctx      context.Context
	conn     *pgconn.PgConn
	links    cursor[audit.Link]
	removed  cursor[entry]
	events   cursor[entry]
	requests cursor[entry]
	purges   cursor[audit.Purge]
	anchors  cursor[audit.Anchor]
	actions  cursor[audit.Action]
	// hasLog is false for a store that an earlier release wrote.
	hasLog bool
}

// cursor reads the rows of a table page by page.
type cursor[T any] struct {
	// query reads the rows with ids above $1, of which scan takes one each, and returns its id. bound
	// is $2 if there is one.
	query string
	bound int64
	scan  func(row, *T) (id int64)

	rows  []T
	next  int
	after int64
	ended bool
}

// entry is a row with the delivery that it refers to.
type entry struct {
	audit.Row
	delivery hookgate.Request
}

const (
	linkPage = `SELECT id, partition, sequence, previous_hash, hash, events, requests, worker, processed_at, persisted_at,
		attempts, last_error, purges, last_event, last_request FROM webhook_batches WHERE id > $1 ORDER BY id LIMIT 500`
	entryColumns = `batch, id, message_id, event_type, source, ordering_key, sequence, sha256, request_id, received_at,
		enqueued_at, headers, remote_addr, partition, position, spooled_at, replay_of, replayed_at, `
	anchorPage = `SELECT id, sequence, trail_hash, hash FROM webhook_anchors WHERE id > $1 ORDER BY id LIMIT $2`
)

// auditPages are the queries for pages of rows that a store of an earlier release lacks columns of.
type auditPages struct{ removed, events, requests, purges string }

func newAuditPages(hasLog bool) auditPages {
	entry, identity, hash := "false, 0::bigint, 0::bigint, '', 0::bigint, '', ''::bytea", "''::bytea",
		"''::bytea"
	if hasLog {
		entry, identity, hash = "keyed, processed_at, persisted_at, worker, attempts, last_error, hash",
			"identity", "hash"
	}
	return auditPages{
		removed: `SELECT ` + entryColumns + entry +
			` FROM webhook_removed_events WHERE id > $1 ORDER BY id LIMIT 500`,
		// The windows stop a page when its bodies come to pageBytes, of which $2 is the number.
		events: `SELECT ` + entryColumns + entry + `, ` + identity + `, payload
			FROM (SELECT *, row_number() OVER (ORDER BY id) AS n, sum(octet_length(payload)) OVER (ORDER BY id) AS bytes
				FROM (SELECT * FROM webhook_events WHERE id > $1 ORDER BY id LIMIT 500) p) e
			WHERE n = 1 OR bytes <= $2 ORDER BY id`,
		requests: `SELECT ` + entryColumns + entry + `, ` + identity +
			`, outcome, first_request_id, reason, purged, letter, letter_request_id,
				letter_reason, dead_lettered_at
			FROM (SELECT *, row_number() OVER (ORDER BY id) AS n, sum(octet_length(letter)) OVER (ORDER BY id) AS bytes
				FROM (SELECT r.*, d.payload AS letter, d.request_id AS letter_request_id, d.reason AS letter_reason, d.dead_lettered_at,
						EXISTS (SELECT FROM webhook_purges p WHERE p.request_id = r.request_id) AS purged
					FROM webhook_requests r LEFT JOIN webhook_dead_letters d ON d.id = r.id
					WHERE r.id > $1 ORDER BY r.id LIMIT 500) p) e
			WHERE n = 1 OR coalesce(bytes, 0) <= $2 ORDER BY id`,
		purges: `SELECT id, batch, request_id, purged_by, reason, purged_at, ` + hash +
			` FROM webhook_purges WHERE id > $1 ORDER BY id LIMIT $2`,
	}
}

func newPages(ctx context.Context, conn *pgconn.PgConn, hasLog bool) *pages {
	q := newAuditPages(hasLog)
	// Ids begin at 1, and what someone else has put before that must show.
	return &pages{
		ctx: ctx, conn: conn, hasLog: hasLog,
		links:   cursor[audit.Link]{query: linkPage, scan: scanLink, after: math.MinInt64},
		removed: cursor[entry]{query: q.removed, scan: scanRemovedEvent, after: math.MinInt64},
		events: cursor[entry]{query: q.events, bound: pageBytes, scan: scanAuditEvent,
			after: math.MinInt64},
		requests: cursor[entry]{query: q.requests, bound: pageBytes, scan: scanRequest,
			after: math.MinInt64},
		purges: cursor[audit.Purge]{query: q.purges, bound: 500, scan: scanPurge, after: math.MinInt64},
		anchors: cursor[audit.Anchor]{query: anchorPage, bound: 500, scan: scanAnchor,
			after: math.MinInt64, ended: !hasLog},
		actions: cursor[audit.Action]{query: "SELECT " + sqlstore.ActionColumns +
			" FROM webhook_admin_actions WHERE sequence > $1 ORDER BY sequence LIMIT $2", bound: 500,
			scan:  scanAction,
			after: math.MinInt64},
	}
}

// step returns the next row, or nil behind the last.
func (c *cursor[T]) step(p *pages) (*T, error) {
	if c.ended {
		return nil, nil
	}
	if c.next == len(c.rows) {
		c.rows, c.next = c.rows[:0], 0
		args := []arg{argInt(c.after)}
		if c.bound > 0 {
			args = append(args, argInt(c.bound))
		}
		if _, err := exchange(p.ctx, p.conn,
			[]statement{{sql: c.query, args: args, row: func(r row) error {
				var t T
				c.after = c.scan(r, &t)
				c.rows = append(c.rows, t)
				return nil
			}}}); err != nil {
			return nil, err
		}
		if len(c.rows) == 0 {
			c.ended = true
			return nil, nil
		}
	}
	c.next++
	return &c.rows[c.next-1], nil
}

// Log implements audit.Source. Without a row the log must be empty.
func (p *pages) Log() (l audit.Log, ok bool, err error) {
	if !p.hasLog {
		return l, false, nil
	}
	_, err = exchange(p.ctx, p.conn, []statement{{
		sql: "SELECT begins_after, last_id, hash, events, duplicates, dead_letters, purges, anchored FROM webhook_log",
		row: func(r row) error {
			l = audit.Log{
				BeginsAfter: r.Int(0), LastID: r.Int(1), Begun: len(r[2]) > 0, Events: r.Int(3),
				Duplicates: r.Int(4), DeadLetters: r.Int(5), Purges: r.Int(6), Anchored: r.Int(7),
			}
			copy(l.Hash[:], r[2])
			return nil
		},
	}})
	return l, true, err
}

// Gaps implements audit.Source.
func (p *pages) Gaps() (all []prune.Gap, err error) {
	_, err = exchange(p.ctx, p.conn, []statement{{
		sql: `SELECT from_id, to_id, previous_hash, hash, events, duplicates, dead_letters, purges, anchors, anchored, persisted_at
			FROM webhook_gaps ORDER BY from_id`,
		row: func(r row) error {
			g := prune.Gap{
				From: r.Int(0), To: r.Int(1), Events: r.Int(4), Duplicates: r.Int(5), DeadLetters: r.Int(6),
				Purges: r.Int(7), Anchors: r.Int(8), Anchored: r.Int(9), PersistedAt: micros(r.Int(10)),
			}
			copy(g.Previous[:], r[2])
			copy(g.Hash[:], r[3])
			all = append(all, g)
			return nil
		},
	}})
	return all, err
}

// Anchor implements audit.Source.
func (p *pages) Anchor() (*audit.Anchor, bool, error) {
	a, err := p.anchors.step(p)
	return a, a != nil, err
}

func scanAnchor(r row, a *audit.Anchor) int64 {
	*a = audit.Anchor{ID: r.Int(0), Sequence: r.Int(1)}
	copy(a.TrailHash[:], r[2])
	copy(a.Hash[:], r[3])
	return a.ID
}

// Link implements audit.Source.
func (p *pages) Link() (*audit.Link, bool, error) {
	l, err := p.links.step(p)
	return l, l != nil, err
}

// RemovedEvent implements audit.Source.
func (p *pages) RemovedEvent() (*audit.Row, bool, error) { return p.entry(&p.removed) }

// Event implements audit.Source.
func (p *pages) Event() (*audit.Row, bool, error) { return p.entry(&p.events) }

// Request implements audit.Source.
func (p *pages) Request() (*audit.Row, bool, error) { return p.entry(&p.requests) }

// Purge implements audit.Source.
func (p *pages) Purge() (*audit.Purge, bool, error) {
	row, err := p.purges.step(p)
	return row, row != nil, err
}

func (p *pages) entry(c *cursor[entry]) (*audit.Row, bool, error) {
	e, err := c.step(p)
	if err != nil || e == nil {
		return nil, false, err
	}
	e.Request = &e.delivery // which has moved while the page grew
	return &e.Row, true, nil
}

func scanLink(r row, l *audit.Link) int64 {
	*l = audit.Link{
		ID: r.Int(0),
		ChainLink: audit.ChainLink{
			Partition:   int(r.Int(1)),
			Sequence:    r.Int(2),
			Worker:      r.Text(7),
			ProcessedAt: micros(r.Int(8)),
			PersistedAt: micros(r.Int(9)),
			Attempts:    int(r.Int(10)),
			LastError:   r.Text(11),
		},
		Events:   r.Int(5),
		Requests: r.Int(6),
		Purges:   r.Int(12),

		LastEvent: r.Int(13), LastRequest: r.Int(14),
	}
	copy(l.Previous[:], r[3])
	copy(l.Hash[:], r[4])
	return l.ID
}

// scanEntry reads the columns that events and requests share.
func scanEntry(r row, e *entry) int64 {
	e.delivery = hookgate.Request{
		Identity:    hookgate.Identity{MessageID: r.Text(2), EventType: r.Text(3), Source: r.Text(4)},
		OrderingKey: r.Text(5),
		Sequence:    r.Int(6),
		ReceivedAt:  micros(r.Int(9)),
		RemoteAddr:  r.Text(12),
	}
	e.delivery.SetSpooledMicros(r.Int(15))
	e.delivery.SetRetriedMicros(r.Int(17))
	e.delivery.Keyed = r.Bool(18)
	e.Row = audit.Row{
		RequestID: r.Text(8),
		RetryOf:   r.Text(16),
		Sealed:    len(r[24]) > 0,
		Entry: audit.Entry{
			Batch:       r.Int(0),
			ID:          r.Int(1),
			Partition:   int(r.Int(13)),
			EnqueuedAt:  micros(r.Int(10)),
			HeadersJSON: r.Text(11),
			Position:    r.Text(14),
			ProcessedAt: micros(r.Int(19)),
			PersistedAt: micros(r.Int(20)),
			Worker:      r.Text(21),
			Attempts:    int(r.Int(22)),
			LastError:   r.Text(23),
		},
	}
	copy(e.BodySHA256[:], r[7])
	copy(e.Hash[:], r[24])
	return e.ID
}

// scanKey reads the identity of a row that has one. In a store of an earlier release none has.
func scanKey(r row, e *entry) {
	if len(r[25]) > 0 || e.Sealed {
		e.Key = r.Bytes(25)
	}
}

func scanAuditEvent(r row, e *entry) int64 {
	id := scanEntry(r, e)
	scanKey(r, e)
	e.Body = r.Bytes(26)
	return id
}

func scanRemovedEvent(r row, e *entry) int64 {
	id := scanEntry(r, e)
	e.Removed = true
	return id
}

func scanRequest(r row, e *entry) int64 {
	id := scanEntry(r, e)
	scanKey(r, e)
	e.Outcome = hookgate.Stage(r.Text(26))
	e.FirstRequestID = r.Text(27)
	e.Reason = r.Text(28)
	e.Purged = r.Bool(29)
	if r[30] != nil {
		e.Letter = &audit.Letter{Body: r.Bytes(30), RequestID: r.Text(31), Reason: r.Text(32),
			DeadLetteredAt: r.Int(33)}
	}
	return id
}

func scanPurge(r row, p *audit.Purge) int64 {
	*p = audit.Purge{
		ID: r.Int(0), Batch: r.Int(1), RequestID: r.Text(2), By: r.Text(3), Reason: r.Text(4),
		PurgedAt: r.Int(5),
		Sealed:   len(r[6]) > 0,
	}
	copy(p.Hash[:], r[6])
	return p.ID
}

// RequestBody implements audit.Source.
func (p *pages) RequestBody(requestID string) (body []byte, ok bool, err error) {
	_, err = exchange(p.ctx, p.conn,
		[]statement{shared(sqlstore.Statement{
			SQL: sqlstore.RequestBodyQuery, Args: []any{requestID}, Row: func(r sqlstore.Row) error {
				body, ok = r.Bytes(0), true
				return nil
			}})})
	return body, ok, err
}

// Removals implements audit.Source.
func (p *pages) Removals() (state prune.State, err error) {
	err = prune.ErrNoState
	if _, failed := exchange(p.ctx, p.conn, []statement{{
		sql: readRemovals,
		row: func(r row) error {
			state, err = scanRemovals(r), nil
			return nil
		},
	}}); failed != nil {
		err = failed
	}
	return state, err
}

// Checkpoints implements audit.Source.
func (p *pages) Checkpoints() (all []prune.Checkpoint, err error) {
	_, err = exchange(p.ctx, p.conn, []statement{{
		sql: `SELECT partition, from_sequence, to_sequence, previous_hash, hash, events, duplicates, dead_letters, purges, persisted_at
			FROM webhook_checkpoints ORDER BY partition, from_sequence`,
		row: func(r row) error {
			c := prune.Checkpoint{
				Partition: int(r.Int(0)), From: r.Int(1), To: r.Int(2), Events: r.Int(5), Duplicates: r.Int(6),
				DeadLetters: r.Int(7), Purges: r.Int(8), PersistedAt: micros(r.Int(9)),
			}
			copy(c.Previous[:], r[3])
			copy(c.Hash[:], r[4])
			all = append(all, c)
			return nil
		},
	}})
	return all, err
}

// Heads implements audit.Source.
func (p *pages) Heads() (heads []audit.Head, err error) {
	_, err = exchange(p.ctx, p.conn, []statement{{
		sql: "SELECT partition, sequence, hash, events, duplicates, dead_letters FROM webhook_partitions ORDER BY partition",
		row: func(r row) error {
			h := audit.Head{Partition: int(r.Int(0)), Sequence: r.Int(1), Events: r.Int(3),
				Duplicates: r.Int(4), DeadLetters: r.Int(5)}
			copy(h.Hash[:], r[2])
			heads = append(heads, h)
			return nil
		},
	}})
	return heads, err
}

// Letters implements audit.Source.
func (p *pages) Letters() (n int64, err error) {
	_, err = exchange(p.ctx, p.conn, []statement{{
		sql: "SELECT count(*) FROM webhook_dead_letters",
		row: func(r row) error { n = r.Int(0); return nil },
	}})
	return n, err
}

// Action implements audit.Source.
func (p *pages) Action() (*audit.Action, bool, error) {
	a, err := p.actions.step(p)
	return a, a != nil, err
}

func scanAction(r row, a *audit.Action) int64 {
	*a = sqlstore.ScanAction(r)
	return a.Sequence
}

// LastAction implements audit.Source. Without a row the trail must be empty.
func (p *pages) LastAction() (h audit.ActionHead, err error) {
	_, err = exchange(p.ctx, p.conn, []statement{{
		sql: "SELECT sequence, hash FROM webhook_admin_chain",
		row: func(r row) error {
			h.Sequence = r.Int(0)
			copy(h.Hash[:], r[1])
			return nil
		},
	}})
	return h, err
}

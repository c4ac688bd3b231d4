package sqlstore

import (
	"math"

	"github.com/hookgate/hookgate/audit"
	"github.com/hookgate/hookgate/store/entry"
)

// AuditSource implements audit.Source. It reads one snapshot of a store, each table page by page in
// the order of ids.
type AuditSource struct {
	query func(Statement) error
	// hasLog is false if an earlier release wrote the store.
	hasLog bool

	links    cursor[audit.Link]
	removed  cursor[entry.Stored]
	events   cursor[entry.Stored]
	requests cursor[entry.Stored]
	purges   cursor[audit.Purge]
	anchors  cursor[audit.Anchor]
	actions  cursor[audit.Action]
}

// MaxPageBytes bounds the bodies in one page of an audit, unless a single body is larger.
const MaxPageBytes = 1 << 20

// NewAuditSource returns a source that reads with query. hasLog reports whether the store has the
// table webhook_log. Earlier releases had not, and lacked some columns; the source reads a constant
// instead of each. noBytes is the SQL for empty bytes.
func NewAuditSource(query func(Statement) error, hasLog bool, noBytes string) *AuditSource {
	names := func(columns entry.Columns) string {
		if hasLog {
			return columns.Names("")
		}
		return columns.OfEarlierRelease(noBytes)
	}
	hash := noBytes
	if hasLog {
		hash = "hash"
	}
	var (
		removed  = entry.ColumnsOf(entry.RemovedEvents)
		events   = entry.ColumnsOf(entry.Events)
		requests = entry.ColumnsOf(entry.Requests)
	)
	return &AuditSource{
		query: query, hasLog: hasLog,
		links: newCursor(`SELECT id, partition, sequence, previous_hash, hash, events, requests, worker,
			processed_at, persisted_at, attempts, last_error, purges, last_event, last_request
			FROM webhook_batches WHERE id > ?1 ORDER BY id LIMIT 500`, scanLink),
		removed: newCursor("SELECT "+names(removed)+
			" FROM webhook_removed_events WHERE id > ?1 ORDER BY id LIMIT 500",
			func(r Row, e *entry.Stored) int64 {
				removed.Scan(r, e)
				e.Removed = true
				return e.ID
			}),
		events: newCursor("SELECT "+names(events)+
			" FROM webhook_events WHERE id > ?1 AND id <= ?2 ORDER BY id",
			func(r Row, e *entry.Stored) int64 {
				events.Scan(r, e)
				return e.ID
			}).bounded(
			"SELECT id, octet_length(payload) FROM webhook_events WHERE id > ?1 ORDER BY id LIMIT 500"),
		// The bounds on d.id let the database find the dead letters by their index.
		requests: newCursor(`SELECT r.*, (SELECT count(*) FROM webhook_purges p
			WHERE p.request_id = r.request_id),
				d.payload, d.request_id, d.reason, d.dead_lettered_at
			FROM (SELECT `+names(requests)+` FROM webhook_requests WHERE id > ?1 AND id <= ?2) r
			LEFT JOIN webhook_dead_letters d ON d.id = r.id AND d.id > ?1 AND d.id <= ?2 ORDER BY r.id`,
			func(r Row, e *entry.Stored) int64 {
				requests.Scan(r, e)
				scanLetter(r, len(requests), e)
				return e.ID
			}).bounded(`SELECT id, coalesce((SELECT octet_length(d.payload) FROM webhook_dead_letters d
				WHERE d.id = r.id), 0)
				FROM webhook_requests r WHERE id > ?1 ORDER BY id LIMIT 500`),
		purges: newCursor("SELECT id, batch, request_id, purged_by, reason, purged_at, "+hash+
			" FROM webhook_purges WHERE id > ?1 ORDER BY id LIMIT 500", scanPurge),
		anchors: newCursor("SELECT id, sequence, trail_hash, hash FROM webhook_anchors"+
			" WHERE id > ?1 ORDER BY id LIMIT 500", scanAnchor),
		actions: newCursor("SELECT "+actionColumns+
			" FROM webhook_admin_actions WHERE sequence > ?1 ORDER BY sequence LIMIT 500",
			func(r Row, a *audit.Action) int64 {
				*a = scanAction(r)
				return a.Sequence
			}),
	}
}

// cursor reads the rows of a table page by page.
type cursor[T any] struct {
	// page selects the rows with ids above ?1. If sizes is set, ?2 is the highest id.
	page string
	// sizes selects the ids above ?1 with the sizes of their bodies, for at most one page.
	sizes string
	// scan reads a row and returns its id.
	scan func(Row, *T) int64

	rows  []T
	next  int
	after int64
	ended bool
}

// newCursor starts before the lowest possible id. The stores give out ids from 1, but an audit must
// also find rows that someone else inserted below that.
func newCursor[T any](page string, scan func(Row, *T) int64) cursor[T] {
	return cursor[T]{page: page, scan: scan, after: math.MinInt64}
}

// bounded makes the cursor end a page early if the bodies exceed MaxPageBytes.
func (c cursor[T]) bounded(sizes string) cursor[T] {
	c.sizes = sizes
	return c
}

// step returns the next row, which is valid until the next call. ok is false after the last row.
func (c *cursor[T]) step(query func(Statement) error) (row *T, ok bool, err error) {
	if c.next == len(c.rows) && !c.ended {
		if err := c.read(query); err != nil {
			return nil, false, err
		}
	}
	if c.ended {
		return nil, false, nil
	}
	c.next++
	return &c.rows[c.next-1], true, nil
}

// read reads the next page.
func (c *cursor[T]) read(query func(Statement) error) error {
	c.rows, c.next = c.rows[:0], 0
	args := []any{c.after}
	if c.sizes != "" {
		end, err := c.end(query)
		if err != nil {
			return err
		}
		args = append(args, end)
	}
	err := query(Statement{SQL: c.page, Args: args, Row: func(r Row) error {
		var zero T
		c.rows = append(c.rows, zero)
		c.after = c.scan(r, &c.rows[len(c.rows)-1])
		return nil
	}})
	c.ended = len(c.rows) == 0
	return err
}

// end returns the highest id of the next page.
func (c *cursor[T]) end(query func(Statement) error) (id int64, err error) {
	id = c.after
	total, full := int64(0), false
	err = query(Statement{SQL: c.sizes, Args: []any{c.after}, Row: func(r Row) error {
		total += r.Int(1)
		if full = full || id != c.after && total > MaxPageBytes; !full {
			id = r.Int(0)
		}
		return nil
	}})
	return id, err
}

// Link implements audit.Source.
func (s *AuditSource) Link() (*audit.Link, bool, error) { return s.links.step(s.query) }

// RemovedEvent implements audit.Source.
func (s *AuditSource) RemovedEvent() (*audit.Row, bool, error) { return s.entry(&s.removed) }

// Event implements audit.Source.
func (s *AuditSource) Event() (*audit.Row, bool, error) { return s.entry(&s.events) }

// Request implements audit.Source.
func (s *AuditSource) Request() (*audit.Row, bool, error) { return s.entry(&s.requests) }

// Purge implements audit.Source.
func (s *AuditSource) Purge() (*audit.Purge, bool, error) { return s.purges.step(s.query) }

// Action implements audit.Source.
func (s *AuditSource) Action() (*audit.Action, bool, error) { return s.actions.step(s.query) }

// Anchor implements audit.Source.
func (s *AuditSource) Anchor() (*audit.Anchor, bool, error) {
	if !s.hasLog {
		return nil, false, nil
	}
	return s.anchors.step(s.query)
}

func (s *AuditSource) entry(c *cursor[entry.Stored]) (*audit.Row, bool, error) {
	e, ok, err := c.step(s.query)
	if !ok {
		return nil, false, err
	}
	return e.Audited(), true, nil
}

// all returns all rows of a query.
func all[T any](s *AuditSource, sql string, scan func(Row) T) (rows []T, err error) {
	err = s.query(Statement{SQL: sql, Row: func(r Row) error {
		rows = append(rows, scan(r))
		return nil
	}})
	return rows, err
}

// first returns the first row of a query. ok is false if there is none.
func first[T any](s *AuditSource, sql string, scan func(Row) T) (row T, ok bool, err error) {
	rows, err := all(s, sql, scan)
	if len(rows) == 0 {
		return row, false, err
	}
	return rows[0], true, err
}

// RequestBody implements audit.Source.
func (s *AuditSource) RequestBody(requestID string) (body []byte, ok bool, err error) {
	err = s.query(Statement{SQL: requestBodyQuery, Args: []any{requestID}, Row: func(r Row) error {
		body, ok = r.Bytes(0), true
		return nil
	}})
	return body, ok, err
}

// Removals implements audit.Source.
func (s *AuditSource) Removals() (audit.Removals, error) {
	r, ok, err := first(s, RemovalsQuery, ScanRemovals)
	if err == nil && !ok {
		err = audit.ErrNoRemovals
	}
	return r, err
}

// Checkpoints implements audit.Source.
func (s *AuditSource) Checkpoints() ([]audit.Checkpoint, error) {
	return all(s, `SELECT partition, from_sequence, to_sequence, previous_hash, hash, events,
		duplicates,
		dead_letters, purges, persisted_at FROM webhook_checkpoints ORDER BY partition, from_sequence`,
		scanCheckpoint)
}

// Heads implements audit.Source.
func (s *AuditSource) Heads() ([]audit.Head, error) {
	return all(s, `SELECT partition, sequence, hash, events, duplicates, dead_letters
		FROM webhook_partitions ORDER BY partition`, scanHead)
}

// Log implements audit.Source.
func (s *AuditSource) Log() (l audit.Log, ok bool, err error) {
	if !s.hasLog {
		return l, false, nil
	}
	// If the row is missing, the audit expects an empty log.
	l, _, err = first(s, `SELECT begins_after, last_id, hash, events, duplicates, dead_letters, purges,
		anchored FROM webhook_log`, scanLog)
	return l, true, err
}

// Gaps implements audit.Source.
func (s *AuditSource) Gaps() ([]audit.Gap, error) {
	return all(s, `SELECT from_id, to_id, previous_hash, hash, events, duplicates, dead_letters,
		purges,
		anchors, anchored, persisted_at FROM webhook_gaps ORDER BY from_id`, scanGap)
}

// Letters implements audit.Source.
func (s *AuditSource) Letters() (int64, error) {
	n, _, err := first(s, "SELECT count(*) FROM webhook_dead_letters",
		func(r Row) int64 { return r.Int(0) })
	return n, err
}

// LastAction implements audit.Source. If the row is missing, the audit expects an empty trail.
func (s *AuditSource) LastAction() (audit.ActionHead, error) {
	h, _, err := first(s, "SELECT sequence, hash FROM webhook_admin_chain",
		func(r Row) (h audit.ActionHead) {
			h.Sequence = r.Int(0)
			r.Copy(1, h.Hash[:])
			return h
		})
	return h, err
}

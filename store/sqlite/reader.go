package sqlite

import (
	"context"
	"fmt"
	"iter"
	"time"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/store/batch"
	"github.com/hookgate/hookgate/store/encoding"
	"github.com/hookgate/hookgate/store/sqlstore"
)

const eventColumns = `id, message_id, event_type, source, ordering_key, sequence, length(payload), sha256, request_id,
	received_at, headers, remote_addr, partition, position, persisted_at`

// Events implements hookgate.Reader. A listing by message id uses the index of identities;
// any other reads the events in the order stored and passes over those that do not match.
func (s *Store) Events(ctx context.Context,
	f hookgate.EventFilter) iter.Seq2[hookgate.Event, error] {
	return sqlstore.Events(ctx, f, s.turns, newEventReader(s, f))
}

// eventReader implements sqlstore.EventReader.
type eventReader struct {
	*Store
	where string // the conditions of the filter
	args  []any
}

func newEventReader(s *Store, f hookgate.EventFilter) eventReader {
	where, args := conditions(f)
	return eventReader{s, where, args}
}

func (r eventReader) Between(ctx context.Context, after, until int64,
	limit int) (events []hookgate.Event, err error) {
	query, args := "SELECT "+eventColumns+" FROM webhook_events WHERE id > ?", []any{after}
	if until != 0 {
		query, args = query+" AND id <= ?", append(args, until)
	}
	args = append(append(args, r.args...), limit)
	err = r.query(ctx, query+r.where+" ORDER BY id LIMIT ?", args, func(row *sqlite.Stmt) error {
		e, err := scanEvent(row)
		events = append(events, e)
		return err
	})
	return events, err
}

func (r eventReader) Ahead(ctx context.Context, after int64, skip int) (id int64, err error) {
	const query = "SELECT id FROM webhook_events WHERE id > ? ORDER BY id LIMIT 1 OFFSET ?"
	err = r.query(ctx, query, []any{after, skip}, func(row *sqlite.Stmt) error {
		id = row.ColumnInt64(0)
		return nil
	})
	return id, err
}

// conditions turns a filter into the end of a WHERE clause.
func conditions(f hookgate.EventFilter) (where string, args []any) {
	add := func(condition string, values ...any) {
		where += " AND " + condition
		args = append(args, values...)
	}
	for _, c := range []struct{ column, value string }{
		{"source", f.Source}, {"event_type", f.EventType}, {"ordering_key", f.OrderingKey},
	} {
		if c.value != "" {
			// The + keeps the index of types out of it: with that, each page would sort all events of the
			// type.
			add("+"+c.column+" = ?", c.value)
		}
	}
	if f.ExceptSource != "" {
		add("+source <> ?", f.ExceptSource)
	}
	if f.MessageID != "" {
		low, high := encoding.MessageRange(f.MessageID)
		add("id IN ("+idsOfMessage+") AND +message_id = ?", low[:], high[:], low[:], high[:], f.MessageID)
	}
	if _, last, ok := f.RequestID.Parts(); ok {
		add("request_id >= ? AND request_id <= ?", f.RequestID.String(), last.String())
	} else if !f.RequestID.IsZero() {
		add("request_id = ?", f.RequestID.String())
	}
	if f.MessageIDPrefix != "" {
		condition, values := prefixCondition("+message_id", f.MessageIDPrefix)
		add(condition, values...)
	}
	if f.BodyContains != "" {
		add(bodyContains, []byte(f.BodyContains))
	}
	if !f.From.IsZero() {
		add("received_at >= ?", f.From.UnixMicro())
	}
	if !f.To.IsZero() {
		add("received_at < ?", f.To.UnixMicro())
	}
	return where, args
}

// idsOfMessage selects the events in a range of identities: those in the index, and those that it
// lacks.
const idsOfMessage = `SELECT event FROM webhook_identities WHERE identity >= ? AND identity <= ? UNION ALL
	SELECT t.id FROM webhook_events t NOT INDEXED WHERE t.id > (SELECT indexed FROM webhook_log) AND t.identity >= ? AND t.identity <= ?`

// bodyContains is the condition that a body contains bytes.
const bodyContains = "instr(payload, ?) > 0"

// prefixCondition is the condition that a column begins with p. Text compares by its bytes; the
// text behind may be no UTF-8, but it is never stored.
func prefixCondition(column, p string) (condition string, args []any) {
	if end := afterPrefix(p); end != "" {
		return column + " >= ? AND " + column + " < ?", []any{p, end}
	}
	return column + " >= ?", []any{p}
}

// afterPrefix returns the first text behind all that begin with p, or "" if there is none.
func afterPrefix(p string) string {
	b := []byte(p)
	for i := len(b) - 1; i >= 0; i-- {
		if b[i] < 0xff {
			b[i]++
			return string(b[:i+1])
		}
	}
	return ""
}

func scanEvent(row *sqlite.Stmt) (e hookgate.Event, err error) {
	e.ID = row.ColumnText(0)
	e.Identity = hookgate.Identity{MessageID: row.ColumnText(1), EventType: row.ColumnText(2),
		Source: row.ColumnText(3)}
	e.OrderingKey = row.ColumnText(4)
	e.Sequence = row.ColumnInt64(5)
	e.Size = row.ColumnInt64(6)
	row.ColumnBytes(7, e.SHA256[:])
	if e.RequestID, err = hookgate.ParseRequestID(row.ColumnText(8)); err != nil {
		return e, err
	}
	e.ReceivedAt = micros(row.ColumnInt64(9))
	if e.Headers, err = encoding.ParseHeaders(row.ColumnText(10)); err != nil {
		return e, err
	}
	e.RemoteAddr = row.ColumnText(11)
	e.Partition = row.ColumnInt(12)
	if e.Position = row.ColumnText(13); e.Position == "" {
		e.Position = batch.DirectPosition(e.ID)
	}
	e.PersistedAt = micros(row.ColumnInt64(14))
	return e, nil
}

func micros(n int64) time.Time { return time.UnixMicro(n).UTC() }

// Event implements hookgate.Reader.
func (s *Store) Event(ctx context.Context, id string) (e hookgate.Event, err error) {
	err = s.one(ctx, eventColumns, id, func(row *sqlite.Stmt) (err error) {
		e, err = scanEvent(row)
		return err
	})
	return e, err
}

// Body implements hookgate.Reader.
func (s *Store) Body(ctx context.Context, id string) (body []byte, err error) {
	err = s.one(ctx, "payload", id, func(row *sqlite.Stmt) error {
		body = columnBytes(row, 0)
		return nil
	})
	return body, err
}

func columnBytes(row *sqlite.Stmt, column int) []byte {
	b := make([]byte, row.ColumnLen(column))
	row.ColumnBytes(column, b)
	return b
}

// one reads columns of one event.
func (s *Store) one(ctx context.Context, columns, id string, scan func(*sqlite.Stmt) error) error {
	n, err := sqlstore.ParseID("event", id)
	if err != nil {
		return err
	}
	found := false
	err = s.read(ctx, func(conn *sqlite.Conn) error {
		return sqlitex.Execute(conn, "SELECT "+columns+" FROM webhook_events WHERE id = ?",
			&sqlitex.ExecOptions{
				Args: []any{n},
				ResultFunc: func(row *sqlite.Stmt) error {
					found = true
					return scan(row)
				},
			})
	})
	if err != nil {
		return fmt.Errorf("read event %s: %w", id, err)
	}
	if !found {
		return fmt.Errorf("event %s: %w", id, hookgate.ErrNotFound)
	}
	return nil
}

// traceRequests finds the requests of a page of a trace, and traceQuery the lineage of one of them.
const (
	traceRequests = `SELECT e.request_id FROM webhook_identities i CROSS JOIN webhook_events e ON e.id = i.event
			WHERE i.identity >= ?1 AND i.identity <= ?2 AND +e.message_id = ?3 AND +e.request_id > ?4
		UNION SELECT request_id FROM webhook_events t NOT INDEXED WHERE id > (SELECT indexed FROM webhook_log)
			AND identity >= ?1 AND identity <= ?2 AND message_id = ?3 AND request_id > ?4
		UNION SELECT request_id FROM webhook_removed_events WHERE message_id = ?3 AND +request_id > ?4
		UNION SELECT request_id FROM webhook_requests WHERE message_id = ?3 AND request_id > ?4
		ORDER BY request_id LIMIT ?5`
	traceQuery = `SELECT source, event_type, stage, metadata, timestamp, batch FROM webhook_audit_trail
		WHERE request_id = ? AND +message_id = ? ORDER BY batch, ordinal`
)

// Trace implements hookgate.Reader. Request ids sort by the time of receipt.
func (s *Store) Trace(ctx context.Context, messageID string, after hookgate.RequestID,
	limit int) ([]hookgate.RequestTrail, error) {
	var t sqlstore.Trace
	err := s.read(ctx, func(conn *sqlite.Conn) (err error) {
		defer sqlitex.Transaction(conn)(&err) // one snapshot
		low, high := encoding.MessageRange(messageID)
		var requests []hookgate.RequestID
		if err := sqlitex.Execute(conn, traceRequests, &sqlitex.ExecOptions{
			Args: []any{low[:], high[:], messageID, after.String(), limit},
			ResultFunc: func(row *sqlite.Stmt) error {
				request, err := hookgate.ParseRequestID(row.ColumnText(0))
				requests = append(requests, request)
				return err
			},
		}); err != nil {
			return err
		}
		for _, request := range requests {
			if err := sqlitex.Execute(conn, traceQuery, &sqlitex.ExecOptions{
				Args: []any{request.String(), messageID},
				ResultFunc: func(row *sqlite.Stmt) error {
					id := hookgate.Identity{Source: row.ColumnText(0), EventType: row.ColumnText(1),
						MessageID: messageID}
					t.Add(request, id, row.ColumnInt64(5), hookgate.TrailEntry{
						Stage: hookgate.Stage(row.ColumnText(2)), Metadata: []byte(row.ColumnText(3)),
						Timestamp: micros(row.ColumnInt64(4)),
					})
					return nil
				},
			}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read trace of %q: %w", messageID, err)
	}
	return t.Trails, nil
}

const requestQuery = `SELECT source, event_type, message_id, stage, metadata, timestamp, batch FROM webhook_audit_trail
	WHERE request_id = ? ORDER BY batch, ordinal`

// Request implements hookgate.Reader.
func (s *Store) Request(ctx context.Context, id hookgate.RequestID) (hookgate.RequestTrail, error) {
	var t sqlstore.Trace
	err := s.query(ctx, requestQuery, []any{id.String()}, func(row *sqlite.Stmt) error {
		identity := hookgate.Identity{Source: row.ColumnText(0), EventType: row.ColumnText(1),
			MessageID: row.ColumnText(2)}
		t.Add(id, identity, row.ColumnInt64(6), hookgate.TrailEntry{
			Stage: hookgate.Stage(row.ColumnText(3)), Metadata: []byte(row.ColumnText(4)),
			Timestamp: micros(row.ColumnInt64(5)),
		})
		return nil
	})
	if err != nil {
		return hookgate.RequestTrail{}, fmt.Errorf("read request %s: %w", id, err)
	}
	return t.Only(id)
}

const partsQuery = `SELECT source, event_type, message_id, stage, metadata, timestamp, batch, request_id FROM webhook_audit_trail
	WHERE request_id >= ? AND request_id <= ? ORDER BY request_id, batch, ordinal`

// Parts implements hookgate.Reader.
func (s *Store) Parts(ctx context.Context, id hookgate.RequestID, max int) ([]hookgate.RequestTrail,
	error) {
	var t sqlstore.Trace
	args := []any{id.Part(0).String(), id.Part(max - 1).String()}
	err := s.query(ctx, partsQuery, args, func(row *sqlite.Stmt) error {
		request, err := hookgate.ParseRequestID(row.ColumnText(7))
		if err != nil {
			return err
		}
		identity := hookgate.Identity{Source: row.ColumnText(0), EventType: row.ColumnText(1),
			MessageID: row.ColumnText(2)}
		t.Add(request, identity, row.ColumnInt64(6), hookgate.TrailEntry{
			Stage: hookgate.Stage(row.ColumnText(3)), Metadata: []byte(row.ColumnText(4)),
			Timestamp: micros(row.ColumnInt64(5)),
		})
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read events of request %s: %w", id, err)
	}
	return t.Trails, nil
}

// RequestBody implements hookgate.Reader.
func (s *Store) RequestBody(ctx context.Context, id hookgate.RequestID) (body []byte, err error) {
	found := false
	err = s.query(ctx, requestBodyQuery, []any{id.String()}, func(row *sqlite.Stmt) error {
		found, body = true, columnBytes(row, 0)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the body of request %s: %w", id, err)
	}
	if !found {
		return nil, fmt.Errorf("the body of request %s: %w", id, hookgate.ErrNotFound)
	}
	return body, nil
}

const requestBodyQuery = `SELECT payload FROM webhook_request_bodies WHERE request_id = ?`

// Counts implements hookgate.Reader from the totals that the log and the chains of earlier releases
// keep and from what retention has removed.
func (s *Store) Counts(ctx context.Context) (c hookgate.StoreCounts, err error) {
	const query = `SELECT coalesce(sum(p.events), 0) + l.events - r.events, coalesce(sum(p.duplicates), 0) + l.duplicates - r.duplicates,
		coalesce(sum(p.dead_letters), 0) + l.dead_letters - r.dead_letters
		FROM webhook_removals r JOIN webhook_log l LEFT JOIN webhook_partitions p`
	err = s.read(ctx, func(conn *sqlite.Conn) error {
		return sqlitex.Execute(conn, query,
			&sqlitex.ExecOptions{ResultFunc: func(row *sqlite.Stmt) error {
				c = hookgate.StoreCounts{Events: row.ColumnInt64(0), Duplicates: row.ColumnInt64(1),
					DeadLetters: row.ColumnInt64(2)}
				return nil
			}})
	})
	if err != nil {
		return c, fmt.Errorf("count what is stored: %w", err)
	}
	return c, nil
}

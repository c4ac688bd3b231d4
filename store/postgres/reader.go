package postgres

import (
	"context"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/store/batch"
	"github.com/hookgate/hookgate/store/encoding"
	"github.com/hookgate/hookgate/store/sqlstore"
)

const eventColumns = `id, message_id, event_type, source, ordering_key, sequence, octet_length(payload)::bigint, sha256, request_id,
	received_at, headers, remote_addr, partition, position, persisted_at`

// Events implements hookgate.Reader. A listing by message id or by its prefix uses the index of
// identities; any other reads the events in the order stored and passes over those that do not
// match, unless the planner knows that the index of types is better.
func (s *Store) Events(ctx context.Context,
	f hookgate.EventFilter) iter.Seq2[hookgate.Event, error] {
	return sqlstore.Events(ctx, f, s.turns, eventReader{s, f})
}

// eventReader implements sqlstore.EventReader.
type eventReader struct {
	*Store
	filter hookgate.EventFilter
}

func (r eventReader) Between(ctx context.Context, after, until int64,
	limit int) (events []hookgate.Event, err error) {
	query, possible := eventsQuery(r.filter, after, until, limit)
	if !possible {
		return nil, nil
	}
	query.row = func(row row) error {
		e, err := scanEvent(row)
		events = append(events, e)
		return err
	}
	err = r.read(ctx, query)
	return events, err
}

func (r eventReader) Ahead(ctx context.Context, after int64, skip int) (id int64, err error) {
	query := numbered("SELECT id FROM webhook_events WHERE id > ? ORDER BY id LIMIT 1 OFFSET ?",
		[]any{after, int64(skip)})
	query.row = func(row row) error {
		id = row.int(0)
		return nil
	}
	err = r.read(ctx, query)
	return id, err
}

// eventsQuery returns the query for one page of events, up to the id until unless that is 0.
// possible is false if nothing that is stored can match.
func eventsQuery(f hookgate.EventFilter, after, until int64, limit int) (query statement,
	possible bool) {
	if !possibleEvents(f) {
		return statement{}, false
	}
	where, args := "id > ?", []any{after}
	add := func(condition string, values ...any) {
		where += " AND " + condition
		args = append(args, values...)
	}
	if until != 0 {
		add("id <= ?", until)
	}
	for _, c := range []struct{ column, value string }{
		{"source", f.Source}, {"event_type", f.EventType}, {"ordering_key", f.OrderingKey},
	} {
		if c.value != "" {
			add(c.column+" = ?", c.value)
		}
	}
	if f.MessageID != "" {
		low, high := encoding.MessageRange(f.MessageID)
		add("identity >= ? AND identity <= ? AND message_id = ?", low[:], high[:], f.MessageID)
	}
	if f.ExceptSource != "" {
		add("source <> ?", f.ExceptSource)
	}
	if f.MessageIDPrefix != "" {
		condition, values := prefixCondition("message_id", f.MessageIDPrefix)
		add(condition, values...)
	}
	if _, last, ok := f.RequestID.Parts(); ok {
		add("request_id >= ? AND request_id <= ?", f.RequestID.String(), last.String())
	} else if !f.RequestID.IsZero() {
		add("request_id = ?", f.RequestID.String())
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
	args = append(args, int64(limit))
	return numbered("SELECT "+eventColumns+" FROM webhook_events WHERE "+where+" ORDER BY id LIMIT ?",
		args), true
}

// possibleEvents reports whether anything that is stored can match.
func possibleEvents(f hookgate.EventFilter) bool {
	for _, value := range []string{f.Source, f.EventType, f.OrderingKey, f.MessageID,
		validPrefix(f.MessageIDPrefix)} {
		if !storable(value) {
			return false
		}
	}
	return true
}

// bodyContains is the condition that a body contains bytes.
const bodyContains = "position(? in payload) > 0"

// prefixCondition is the condition that a column begins with p.
func prefixCondition(column, p string) (condition string, args []any) {
	valid := validPrefix(p)
	condition, args = column+" >= ?", []any{valid}
	if end := afterPrefix(valid); end != "" {
		condition += " AND " + column + " < ?"
		args = append(args, end)
	}
	if valid != p {
		// It ends in the middle of a character.
		condition += " AND " + bytesCondition(column, p)
		args = append(args, []byte(p))
	}
	return condition, args
}

// bytesCondition is the condition that the bytes of a column begin with those of p.
func bytesCondition(column, p string) string {
	return fmt.Sprintf("substring(convert_to(%s, 'UTF8') FOR %d) = ?", column, len(p))
}

// numbered returns the statement of a query that has a ? for each argument: an int64, a string or
// bytes.
func numbered(query string, values []any) statement {
	var sql strings.Builder
	var args []arg
	for i, part := range strings.Split(query, "?") {
		if i > 0 {
			switch v := values[i-1].(type) {
			case int64:
				args = append(args, argInt(v))
			case []byte:
				args = append(args, argBytes(v))
			default:
				args = append(args, argText(v.(string)))
			}
			fmt.Fprintf(&sql, "$%d", i)
		}
		sql.WriteString(part)
	}
	return statement{sql: sql.String(), args: args}
}

func scanEvent(r row) (e hookgate.Event, err error) {
	e.ID = strconv.FormatInt(r.int(0), 10)
	e.Identity = hookgate.Identity{MessageID: r.text(1), EventType: r.text(2), Source: r.text(3)}
	e.OrderingKey = r.text(4)
	e.Sequence = r.int(5)
	e.Size = r.int(6)
	copy(e.SHA256[:], r[7])
	if e.RequestID, err = hookgate.ParseRequestID(r.text(8)); err != nil {
		return e, err
	}
	e.ReceivedAt = micros(r.int(9))
	if e.Headers, err = encoding.ParseHeaders(r.text(10)); err != nil {
		return e, err
	}
	e.RemoteAddr = r.text(11)
	e.Partition = int(r.int(12))
	if e.Position = r.text(13); e.Position == "" {
		e.Position = batch.DirectPosition(e.ID)
	}
	e.PersistedAt = micros(r.int(14))
	return e, nil
}

func micros(n int64) time.Time { return time.UnixMicro(n).UTC() }

// Event implements hookgate.Reader.
func (s *Store) Event(ctx context.Context, id string) (e hookgate.Event, err error) {
	err = s.one(ctx, eventColumns, id, func(r row) (err error) {
		e, err = scanEvent(r)
		return err
	})
	return e, err
}

// Body implements hookgate.Reader.
func (s *Store) Body(ctx context.Context, id string) (body []byte, err error) {
	err = s.one(ctx, "payload", id, func(r row) error {
		body = r.bytes(0)
		return nil
	})
	return body, err
}

// one reads columns of one event.
func (s *Store) one(ctx context.Context, columns, id string, scan func(row) error) error {
	n, err := sqlstore.ParseID("event", id)
	if err != nil {
		return err
	}
	found := false
	err = s.read(ctx, statement{
		sql: "SELECT " + columns + " FROM webhook_events WHERE id = $1", args: []arg{argInt(n)},
		row: func(r row) error {
			found = true
			return scan(r)
		},
	})
	if err != nil {
		return fmt.Errorf("read event %s: %w", id, err)
	}
	if !found {
		return fmt.Errorf("event %s: %w", id, hookgate.ErrNotFound)
	}
	return nil
}

const (
	// traceRequests finds the requests of a page of a trace, and traceQuery their lineage.
	traceRequests = `SELECT request_id FROM webhook_events
			WHERE identity >= $1 AND identity <= $2 AND message_id = $3 AND request_id > $4
		UNION SELECT request_id FROM webhook_removed_events WHERE message_id = $3 AND request_id > $4
		UNION SELECT request_id FROM webhook_requests WHERE message_id = $3 AND request_id > $4
		ORDER BY request_id LIMIT $5`
	traceQuery = `SELECT source, event_type, request_id, stage, metadata::text, timestamp, batch FROM webhook_audit_trail
		WHERE request_id = ANY ($1) AND message_id = $2 ORDER BY request_id, batch, ordinal`
)

// Trace implements hookgate.Reader. Request ids sort by the time of receipt.
func (s *Store) Trace(ctx context.Context, messageID string, after hookgate.RequestID,
	limit int) ([]hookgate.RequestTrail, error) {
	if !storable(messageID) {
		return nil, nil
	}
	var t sqlstore.Trace
	low, high := encoding.MessageRange(messageID)
	requests := newRows(1)
	err := s.read(ctx, statement{
		sql: traceRequests,
		args: []arg{argBytes(low[:]), argBytes(high[:]), argText(messageID), argText(after.String()),
			argInt(int64(limit))},
		row: func(r row) error { requests.text(r.text(0)); return nil },
	})
	if err != nil || requests.len() == 0 {
		return nil, wrap(err, "read trace of %q", messageID)
	}
	err = s.read(ctx, statement{sql: traceQuery, args: append(requests.args(), argText(messageID)),
		row: func(r row) error {
			request, err := hookgate.ParseRequestID(r.text(2))
			if err != nil {
				return err
			}
			id := hookgate.Identity{Source: r.text(0), EventType: r.text(1), MessageID: messageID}
			t.Add(request, id, r.int(6), hookgate.TrailEntry{Stage: hookgate.Stage(r.text(3)),
				Metadata: r.bytes(4), Timestamp: micros(r.int(5))})
			return nil
		}})
	return t.Trails, wrap(err, "read trace of %q", messageID)
}

// wrap says what failed; nil stays nil.
func wrap(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf(format+": %w", append(args, err)...)
}

const requestQuery = `SELECT source, event_type, message_id, stage, metadata::text, timestamp, batch FROM webhook_audit_trail
	WHERE request_id = $1 ORDER BY batch, ordinal`

// Request implements hookgate.Reader.
func (s *Store) Request(ctx context.Context, id hookgate.RequestID) (hookgate.RequestTrail, error) {
	var t sqlstore.Trace
	err := s.read(ctx, statement{sql: requestQuery, args: []arg{argText(id.String())},
		row: func(r row) error {
			identity := hookgate.Identity{Source: r.text(0), EventType: r.text(1), MessageID: r.text(2)}
			t.Add(id, identity, r.int(6), hookgate.TrailEntry{Stage: hookgate.Stage(r.text(3)),
				Metadata: r.bytes(4), Timestamp: micros(r.int(5))})
			return nil
		}})
	if err != nil {
		return hookgate.RequestTrail{}, fmt.Errorf("read request %s: %w", id, err)
	}
	return t.Only(id)
}

const partsQuery = `SELECT source, event_type, message_id, stage, metadata::text, timestamp, batch, request_id FROM webhook_audit_trail
	WHERE request_id >= $1 AND request_id <= $2 ORDER BY request_id, batch, ordinal`

// Parts implements hookgate.Reader.
func (s *Store) Parts(ctx context.Context, id hookgate.RequestID, max int) ([]hookgate.RequestTrail,
	error) {
	var t sqlstore.Trace
	args := []arg{argText(id.Part(0).String()), argText(id.Part(max - 1).String())}
	err := s.read(ctx, statement{sql: partsQuery, args: args, row: func(r row) error {
		request, err := hookgate.ParseRequestID(r.text(7))
		if err != nil {
			return err
		}
		identity := hookgate.Identity{Source: r.text(0), EventType: r.text(1), MessageID: r.text(2)}
		t.Add(request, identity, r.int(6), hookgate.TrailEntry{
			Stage: hookgate.Stage(r.text(3)), Metadata: r.bytes(4), Timestamp: micros(r.int(5)),
		})
		return nil
	}})
	if err != nil {
		return nil, fmt.Errorf("read events of request %s: %w", id, err)
	}
	return t.Trails, nil
}

// RequestBody implements hookgate.Reader.
func (s *Store) RequestBody(ctx context.Context, id hookgate.RequestID) (body []byte, err error) {
	found := false
	err = s.read(ctx, statement{sql: requestBodyQuery, args: []arg{argText(id.String())},
		row: func(r row) error {
			found, body = true, r.bytes(0)
			return nil
		}})
	if err != nil {
		return nil, fmt.Errorf("read the body of request %s: %w", id, err)
	}
	if !found {
		return nil, fmt.Errorf("the body of request %s: %w", id, hookgate.ErrNotFound)
	}
	return body, nil
}

const requestBodyQuery = `SELECT payload FROM webhook_request_bodies WHERE request_id = $1`

// Counts implements hookgate.Reader from the totals that the log and the chains of earlier releases
// keep, and from what retention has removed.
func (s *Store) Counts(ctx context.Context) (c hookgate.StoreCounts, err error) {
	err = s.read(ctx, statement{
		sql: `SELECT p.events + l.events - r.events, p.duplicates + l.duplicates - r.duplicates, p.dead_letters + l.dead_letters - r.dead_letters
			FROM webhook_removals r, webhook_log l, (SELECT coalesce(sum(events), 0)::bigint AS events, coalesce(sum(duplicates), 0)::bigint AS duplicates,
				coalesce(sum(dead_letters), 0)::bigint AS dead_letters FROM webhook_partitions) p`,
		row: func(r row) error {
			c = hookgate.StoreCounts{Events: r.int(0), Duplicates: r.int(1), DeadLetters: r.int(2)}
			return nil
		},
	})
	if err != nil {
		return c, fmt.Errorf("count what is stored: %w", err)
	}
	return c, nil
}

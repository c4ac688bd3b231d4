package sqlite

import (
	"context"
	"fmt"
	"iter"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/store/batch"
	"github.com/hookgate/hookgate/store/encoding"
	"github.com/hookgate/hookgate/store/sqlstore"
)

const (
	// deadLetterState derives a hookgate.DeadLetterState. The events that are not indexed are read
	// once for all dead letters.
	deadLetterState = `CASE
		WHEN p.id IS NOT NULL THEN 'purged'
		WHEN EXISTS (SELECT 1 FROM webhook_identities i WHERE i.identity = r.identity)
			OR r.identity IN (SELECT identity FROM webhook_events t NOT INDEXED WHERE id > (SELECT indexed FROM webhook_log))
			OR EXISTS (SELECT 1 FROM webhook_removed_events e
			WHERE e.message_id = r.message_id AND e.event_type = r.event_type AND e.source = r.source) THEN 'stored'
		WHEN EXISTS (SELECT 1 FROM webhook_requests l
			WHERE l.replay_of = r.request_id AND l.replay_of <> '' AND l.outcome = 'dead_lettered') THEN 'superseded'
		ELSE 'open' END`
	// The index on dead letters is of few rows beside those of duplicates.
	deadLetterQuery = `SELECT r.id, r.message_id, r.event_type, r.source, r.ordering_key, r.sequence, r.request_id, r.headers,
		r.remote_addr, r.received_at, r.partition, r.position, coalesce(length(d.payload), 0), r.sha256, r.reason,
		r.persisted_at, r.attempts, r.last_error, r.replay_of, r.replayed_at, p.purged_at, p.purged_by, p.reason,
		` + deadLetterState + `
		FROM webhook_requests r LEFT JOIN webhook_dead_letters d ON d.id = r.id
		LEFT JOIN webhook_purges p ON p.request_id = r.request_id
		WHERE r.outcome = 'dead_lettered' AND `
	openDeadLetters = `SELECT count(*) FROM (SELECT 1 FROM webhook_requests r LEFT JOIN webhook_purges p ON p.request_id = r.request_id
		WHERE r.outcome = 'dead_lettered' AND (` + deadLetterState + `) = 'open' LIMIT ?)`
	deadLetterBody = `SELECT r.payload FROM webhook_dead_letters r WHERE `
)

// DeadLetters implements hookgate.Reader. A listing by message id uses the index of message ids;
// any other reads all dead letters in the order stored and passes over those that do not match.
func (s *Store) DeadLetters(ctx context.Context,
	f hookgate.DeadLetterFilter) iter.Seq2[hookgate.StoredDeadLetter, error] {
	where, args := deadLetterConditions(f)
	query := deadLetterQuery + "r.id > ?" + where + " ORDER BY r.id LIMIT ?"
	return sqlstore.DeadLetters(f, func(after int64, limit int) (letters []hookgate.StoredDeadLetter,
		err error) {
		err = s.query(ctx, query, append(append([]any{after}, args...),
			limit), func(row *sqlite.Stmt) error {
			d, err := scanDeadLetter(row)
			letters = append(letters, d)
			return err
		})
		return letters, err
	})
}

func deadLetterConditions(f hookgate.DeadLetterFilter) (where string, args []any) {
	add := func(condition string, values ...any) {
		where += " AND " + condition
		args = append(args, values...)
	}
	for _, c := range []struct{ condition, value string }{
		{"r.source = ?", f.Source}, {"r.event_type = ?", f.EventType}, {"r.ordering_key = ?",
			f.OrderingKey},
		{"r.message_id = ?", f.MessageID}, {"instr(r.reason, ?) > 0", f.ReasonContains},
		{"(" + deadLetterState + ") = ?", string(f.State)},
	} {
		if c.value != "" {
			add(c.condition, c.value)
		}
	}
	if f.MessageIDPrefix != "" {
		condition, values := prefixCondition("r.message_id", f.MessageIDPrefix)
		add(condition, values...)
	}
	if !f.From.IsZero() {
		add("r.persisted_at >= ?", f.From.UnixMicro())
	}
	if !f.To.IsZero() {
		add("r.persisted_at < ?", f.To.UnixMicro())
	}
	return where, args
}

// query runs a query that only reads.
func (s *Store) query(ctx context.Context, query string, args []any,
	scan func(*sqlite.Stmt) error) error {
	return s.read(ctx, func(conn *sqlite.Conn) error {
		return sqlitex.Execute(conn, query, &sqlitex.ExecOptions{Args: args, ResultFunc: scan})
	})
}

func scanDeadLetter(row *sqlite.Stmt) (d hookgate.StoredDeadLetter, err error) {
	d.ID = row.ColumnText(0)
	d.Identity = hookgate.Identity{MessageID: row.ColumnText(1), EventType: row.ColumnText(2),
		Source: row.ColumnText(3)}
	d.OrderingKey = row.ColumnText(4)
	d.Sequence = row.ColumnInt64(5)
	if d.RequestID, err = hookgate.ParseRequestID(row.ColumnText(6)); err != nil {
		return d, err
	}
	if d.Headers, err = encoding.ParseHeaders(row.ColumnText(7)); err != nil {
		return d, err
	}
	d.RemoteAddr = row.ColumnText(8)
	d.ReceivedAt = micros(row.ColumnInt64(9))
	d.Partition = row.ColumnInt(10)
	if d.Position = row.ColumnText(11); d.Position == "" {
		d.Position = batch.DirectPosition(d.ID)
	}
	d.Size = row.ColumnInt64(12)
	row.ColumnBytes(13, d.SHA256[:])
	d.Reason = row.ColumnText(14)
	d.DeadLetteredAt = micros(row.ColumnInt64(15))
	d.Attempts = row.ColumnInt(16)
	d.LastError = row.ColumnText(17)
	if d.RetryOf, err = encoding.ParseRequestIDText(row.ColumnText(18)); err != nil {
		return d, err
	}
	if n := row.ColumnInt64(19); n != 0 {
		d.RetriedAt = micros(n)
	}
	if d.State = hookgate.DeadLetterState(row.ColumnText(23)); d.State == hookgate.DeadLetterPurged {
		d.PurgedAt, d.PurgedBy, d.PurgeReason = micros(row.ColumnInt64(20)), row.ColumnText(21),
			row.ColumnText(22)
	}
	return d, nil
}

// DeadLetter implements hookgate.Reader.
func (s *Store) DeadLetter(ctx context.Context, id string) (d hookgate.StoredDeadLetter,
	err error) {
	err = s.deadLetter(ctx, deadLetterQuery, id, func(row *sqlite.Stmt) (err error) {
		d, err = scanDeadLetter(row)
		return err
	})
	return d, err
}

// DeadLetterBody implements hookgate.Reader.
func (s *Store) DeadLetterBody(ctx context.Context, id string) (body []byte, err error) {
	err = s.deadLetter(ctx, deadLetterBody, id, func(row *sqlite.Stmt) error {
		body = columnBytes(row, 0)
		return nil
	})
	return body, err
}

// OpenDeadLetters implements hookgate.Reader.
func (s *Store) OpenDeadLetters(ctx context.Context, most int64) (n int64, err error) {
	err = s.query(ctx, openDeadLetters, []any{most}, func(row *sqlite.Stmt) error {
		n = row.ColumnInt64(0)
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("count open dead letters: %w", err)
	}
	return n, nil
}

// deadLetter runs a query that lacks but the condition on the id, or the request id, of r.
func (s *Store) deadLetter(ctx context.Context, query, id string,
	scan func(*sqlite.Stmt) error) error {
	condition, key := "r.request_id = ?", any(id)
	if _, err := hookgate.ParseRequestID(id); err != nil {
		n, err := sqlstore.ParseID("dead letter", id)
		if err != nil {
			return err
		}
		condition, key = "r.id = ?", n
	}
	found := false
	err := s.query(ctx, query+condition, []any{key}, func(row *sqlite.Stmt) error {
		found = true
		return scan(row)
	})
	if err != nil {
		return fmt.Errorf("read dead letter %s: %w", id, err)
	}
	if !found {
		return fmt.Errorf("dead letter %s: %w", id, hookgate.ErrNotFound)
	}
	return nil
}

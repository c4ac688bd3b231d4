package postgres

import (
	"context"
	"fmt"
	"iter"
	"strconv"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/store/batch"
	"github.com/hookgate/hookgate/store/encoding"
	"github.com/hookgate/hookgate/store/sqlstore"
)

const (
	// deadLetterState derives a hookgate.DeadLetterState. With EXISTS the planner might read all
	// events into a hash table.
	deadLetterState = `CASE
		WHEN p.id IS NOT NULL THEN 'purged'
		WHEN (SELECT true FROM webhook_events e WHERE e.identity = r.identity LIMIT 1) OR (SELECT true FROM webhook_removed_events e
			WHERE e.message_id = r.message_id AND e.event_type = r.event_type AND e.source = r.source LIMIT 1) THEN 'stored'
		WHEN (SELECT true FROM webhook_requests l
			WHERE l.replay_of = r.request_id AND l.replay_of <> '' AND l.outcome = 'dead_lettered' LIMIT 1) THEN 'superseded'
		ELSE 'open' END`
	// The index on dead letters is of few rows beside those of duplicates.
	deadLetterQuery = `SELECT r.id, r.message_id, r.event_type, r.source, r.ordering_key, r.sequence, r.request_id, r.headers,
		r.remote_addr, r.received_at, r.partition, r.position, coalesce(octet_length(d.payload), 0)::bigint, r.sha256, r.reason,
		r.persisted_at, r.attempts, r.last_error, r.replay_of, r.replayed_at,
		coalesce(p.purged_at, 0), coalesce(p.purged_by, ''), coalesce(p.reason, ''),
		` + deadLetterState + `
		FROM webhook_requests r LEFT JOIN webhook_dead_letters d ON d.id = r.id
		LEFT JOIN webhook_purges p ON p.request_id = r.request_id
		WHERE r.outcome = 'dead_lettered' AND `
	openDeadLetters = `SELECT count(*) FROM (SELECT 1 FROM webhook_requests r LEFT JOIN webhook_purges p ON p.request_id = r.request_id
		WHERE r.outcome = 'dead_lettered' AND (` + deadLetterState + `) = 'open' LIMIT $1) o`
	deadLetterBody = `SELECT r.payload FROM webhook_dead_letters r WHERE `
)

// DeadLetters implements hookgate.Reader. A listing by message id uses the index of message ids;
// any other reads all dead letters in the order stored and passes over those that do not match.
func (s *Store) DeadLetters(ctx context.Context,
	f hookgate.DeadLetterFilter) iter.Seq2[hookgate.StoredDeadLetter, error] {
	return sqlstore.DeadLetters(f, func(after int64, limit int) (letters []hookgate.StoredDeadLetter,
		err error) {
		query, possible := deadLettersQuery(f, after, limit)
		if !possible {
			return nil, nil
		}
		query.row = func(r row) error {
			d, err := scanDeadLetter(r)
			letters = append(letters, d)
			return err
		}
		err = s.read(ctx, query)
		return letters, err
	})
}

// deadLettersQuery returns the query for one page of dead letters. possible is false if nothing
// that is stored can match.
func deadLettersQuery(f hookgate.DeadLetterFilter, after int64, limit int) (query statement,
	possible bool) {
	if !storable(validPrefix(f.MessageIDPrefix)) {
		return statement{}, false
	}
	where, args := "r.id > ?", []any{after}
	add := func(condition string, values ...any) {
		where += " AND " + condition
		args = append(args, values...)
	}
	for _, c := range []struct{ condition, value string }{
		{"r.source = ?", f.Source}, {"r.event_type = ?", f.EventType}, {"r.ordering_key = ?",
			f.OrderingKey},
		{"r.message_id = ?", f.MessageID}, {"strpos(r.reason, ?) > 0", f.ReasonContains},
		{"(" + deadLetterState + ") = ?", string(f.State)},
	} {
		if !storable(c.value) {
			return statement{}, false
		}
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
	args = append(args, int64(limit))
	return numbered(deadLetterQuery+where+" ORDER BY r.id LIMIT ?", args), true
}

func scanDeadLetter(r row) (d hookgate.StoredDeadLetter, err error) {
	d.ID = strconv.FormatInt(r.int(0), 10)
	d.Identity = hookgate.Identity{MessageID: r.text(1), EventType: r.text(2), Source: r.text(3)}
	d.OrderingKey = r.text(4)
	d.Sequence = r.int(5)
	if d.RequestID, err = hookgate.ParseRequestID(r.text(6)); err != nil {
		return d, err
	}
	if d.Headers, err = encoding.ParseHeaders(r.text(7)); err != nil {
		return d, err
	}
	d.RemoteAddr = r.text(8)
	d.ReceivedAt = micros(r.int(9))
	d.Partition = int(r.int(10))
	if d.Position = r.text(11); d.Position == "" {
		d.Position = batch.DirectPosition(d.ID)
	}
	d.Size = r.int(12)
	copy(d.SHA256[:], r[13])
	d.Reason = r.text(14)
	d.DeadLetteredAt = micros(r.int(15))
	d.Attempts = int(r.int(16))
	d.LastError = r.text(17)
	if d.RetryOf, err = encoding.ParseRequestIDText(r.text(18)); err != nil {
		return d, err
	}
	if n := r.int(19); n != 0 {
		d.RetriedAt = micros(n)
	}
	if d.State = hookgate.DeadLetterState(r.text(23)); d.State == hookgate.DeadLetterPurged {
		d.PurgedAt, d.PurgedBy, d.PurgeReason = micros(r.int(20)), r.text(21), r.text(22)
	}
	return d, nil
}

// DeadLetter implements hookgate.Reader.
func (s *Store) DeadLetter(ctx context.Context, id string) (d hookgate.StoredDeadLetter,
	err error) {
	err = s.deadLetter(ctx, deadLetterQuery, id, func(r row) (err error) {
		d, err = scanDeadLetter(r)
		return err
	})
	return d, err
}

// DeadLetterBody implements hookgate.Reader.
func (s *Store) DeadLetterBody(ctx context.Context, id string) (body []byte, err error) {
	err = s.deadLetter(ctx, deadLetterBody, id, func(r row) error {
		body = r.bytes(0)
		return nil
	})
	return body, err
}

// OpenDeadLetters implements hookgate.Reader.
func (s *Store) OpenDeadLetters(ctx context.Context, most int64) (n int64, err error) {
	err = s.read(ctx, statement{sql: openDeadLetters, args: []arg{argInt(most)},
		row: func(r row) error {
			n = r.int(0)
			return nil
		}})
	if err != nil {
		return 0, fmt.Errorf("count open dead letters: %w", err)
	}
	return n, nil
}

// deadLetter runs a query that lacks but the condition on the id, or the request id, of r.
func (s *Store) deadLetter(ctx context.Context, query, id string, scan func(row) error) error {
	condition, key := "r.request_id = $1", argText(id)
	if _, err := hookgate.ParseRequestID(id); err != nil {
		n, err := sqlstore.ParseID("dead letter", id)
		if err != nil {
			return err
		}
		condition, key = "r.id = $1", argInt(n)
	}
	found := false
	err := s.read(ctx, statement{sql: query + condition, args: []arg{key}, row: func(r row) error {
		found = true
		return scan(r)
	}})
	if err != nil {
		return fmt.Errorf("read dead letter %s: %w", id, err)
	}
	if !found {
		return fmt.Errorf("dead letter %s: %w", id, hookgate.ErrNotFound)
	}
	return nil
}

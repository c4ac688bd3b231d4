package sqlstore

import (
	"context"
	"fmt"
	"iter"
	"strconv"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/audit"
	"github.com/hookgate/hookgate/store/entry"
)

var letterColumns = entry.ColumnsOf(entry.Requests).Only("id", "message_id", "event_type", "source",
	"ordering_key", "sequence", "sha256", "request_id", "received_at", "replay_of", "replayed_at",
	"headers", "remote_addr", "partition", "position", "persisted_at", "attempts", "last_error",
	"reason")

// deadLetterState returns SQL that derives a hookgate.DeadLetterState from a row r of
// webhook_requests and its purge p. It uses subqueries with LIMIT 1, because with EXISTS PostgreSQL
// may read all events into a hash table.
func (t *Tables) deadLetterState() string {
	return `CASE
		WHEN p.id IS NOT NULL THEN 'purged'
		WHEN ` + t.EventStored + ` OR (SELECT true FROM webhook_removed_events e
			WHERE e.message_id = r.message_id AND e.event_type = r.event_type
				AND e.source = r.source LIMIT 1) THEN 'stored'
		WHEN (SELECT true FROM webhook_requests l
			WHERE l.replay_of = r.request_id AND l.replay_of <> ''
				AND l.outcome = 'dead_lettered' LIMIT 1) THEN 'superseded'
		ELSE 'open' END`
}

// deadLetterQuery returns a query for dead letters. The caller appends a condition on r. The index
// on dead letters is small compared with that on duplicates.
func (t *Tables) deadLetterQuery() string {
	return "SELECT " + letterColumns.Names("r.") + `, coalesce(octet_length(d.payload), 0),
		coalesce(p.purged_at, 0), coalesce(p.purged_by, ''), coalesce(p.reason, ''), ` +
		t.deadLetterState() + `
		FROM webhook_requests r LEFT JOIN webhook_dead_letters d ON d.id = r.id
		LEFT JOIN webhook_purges p ON p.request_id = r.request_id
		WHERE r.outcome = 'dead_lettered' AND `
}

// DeadLetters implements hookgate.DeadLetters. A listing by message id uses the index of message
// ids. Any other listing reads all dead letters in stored order and skips those that do not match.
func (t *Tables) DeadLetters(ctx context.Context,
	f hookgate.DeadLetterFilter) iter.Seq2[hookgate.StoredDeadLetter, error] {
	return pages("dead letter", f.After, f.Limit,
		func(d *hookgate.StoredDeadLetter) string { return d.ID },
		func(after int64, limit int) (letters []hookgate.StoredDeadLetter, err error) {
			if !t.storable(f.Source, f.EventType, f.OrderingKey, f.MessageID, f.ReasonContains,
				string(f.State)) || !t.canBegin(f.MessageIDPrefix) {
				return nil, nil
			}
			c := t.deadLetterConditions(&f, after)
			err = t.db.Query(ctx, Statement{
				SQL:  t.deadLetterQuery() + c.and() + " ORDER BY r.id LIMIT ?",
				Args: append(c.args, limit),
				Row: func(r Row) error {
					d, err := scanDeadLetter(r)
					letters = append(letters, d)
					return err
				},
			})
			return letters, err
		})
}

// deadLetterConditions turns a filter into conditions for deadLetterQuery.
func (t *Tables) deadLetterConditions(f *hookgate.DeadLetterFilter, after int64) *conditions {
	c := &conditions{}
	c.add("r.id > ?", after)
	c.equal("r.source", f.Source)
	c.equal("r.event_type", f.EventType)
	c.equal("r.ordering_key", f.OrderingKey)
	c.equal("r.message_id", f.MessageID)
	if f.ReasonContains != "" {
		c.add(t.Contains("r.reason"), f.ReasonContains)
	}
	if f.State != "" {
		c.equal("("+t.deadLetterState()+")", string(f.State))
	}
	t.addPrefix(c, "r.message_id", f.MessageIDPrefix)
	if !f.From.IsZero() {
		c.add("r.persisted_at >= ?", f.From.UnixMicro())
	}
	if !f.To.IsZero() {
		c.add("r.persisted_at < ?", f.To.UnixMicro())
	}
	return c
}

func scanDeadLetter(r Row) (d hookgate.StoredDeadLetter, err error) {
	var s entry.Stored
	letterColumns.Scan(r, &s)
	rest := len(letterColumns)
	d = hookgate.StoredDeadLetter{
		ID: strconv.FormatInt(s.ID, 10), Identity: s.Request.Identity,
		OrderingKey: s.Request.OrderingKey, Sequence: s.Request.Sequence, SHA256: s.BodySHA256,
		RemoteAddr: s.Request.RemoteAddr, ReceivedAt: s.Request.ReceivedAt, Partition: s.Partition,
		Position: s.ShownPosition(), Size: r.Int(rest), Reason: s.Reason,
		DeadLetteredAt: s.PersistedAt, Attempts: s.Attempts, LastError: s.LastError,
		RetriedAt: s.Request.RetriedAt, State: hookgate.DeadLetterState(r.Text(rest + 4)),
	}
	if d.State == hookgate.DeadLetterPurged {
		d.PurgedAt, d.PurgedBy, d.PurgeReason = micros(r.Int(rest+1)), r.Text(rest+2), r.Text(rest+3)
	}
	if d.RequestID, err = hookgate.ParseRequestID(s.RequestID); err != nil {
		return d, err
	}
	if d.RetryOf, err = audit.ParseRequestIDText(s.RetryOf); err != nil {
		return d, err
	}
	d.Headers, err = audit.ParseHeaders(s.HeadersJSON)
	return d, err
}

// DeadLetter implements hookgate.DeadLetters.
func (t *Tables) DeadLetter(ctx context.Context, id string) (d hookgate.StoredDeadLetter,
	err error) {
	err = t.deadLetter(ctx, t.deadLetterQuery(), id, func(r Row) (err error) {
		d, err = scanDeadLetter(r)
		return err
	})
	return d, err
}

// DeadLetterBody implements hookgate.DeadLetters.
func (t *Tables) DeadLetterBody(ctx context.Context, id string) (body []byte, err error) {
	err = t.deadLetter(ctx, "SELECT r.payload FROM webhook_dead_letters r WHERE ", id,
		func(r Row) error {
			body = r.Bytes(0)
			return nil
		})
	return body, err
}

// deadLetter completes the query with a condition on the id or the request id of r, and runs it.
func (t *Tables) deadLetter(ctx context.Context, query, id string, scan func(Row) error) error {
	condition, key := "r.request_id = ?", any(id)
	if _, err := hookgate.ParseRequestID(id); err != nil {
		n, err := ParseID("dead letter", id)
		if err != nil {
			return err
		}
		condition, key = "r.id = ?", n
	}
	found, err := t.one(ctx, query+condition, scan, key)
	if err != nil {
		return fmt.Errorf("read dead letter %s: %w", id, err)
	}
	if !found {
		return fmt.Errorf("dead letter %s: %w", id, hookgate.ErrNotFound)
	}
	return nil
}

// OpenDeadLetters implements hookgate.DeadLetters.
func (t *Tables) OpenDeadLetters(ctx context.Context, most int64) (n int64, err error) {
	_, err = t.one(ctx, `SELECT count(*) FROM (SELECT 1 FROM webhook_requests r
			LEFT JOIN webhook_purges p ON p.request_id = r.request_id
			WHERE r.outcome = 'dead_lettered' AND (`+t.deadLetterState()+`) = 'open' LIMIT ?) o`,
		func(r Row) error {
			n = r.Int(0)
			return nil
		}, most)
	if err != nil {
		return 0, fmt.Errorf("count open dead letters: %w", err)
	}
	return n, nil
}

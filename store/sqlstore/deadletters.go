package sqlstore

import (
	"context"
	"fmt"
	"iter"
	"strconv"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/store/batch"
	"github.com/hookgate/hookgate/store/encoding"
)

// deadLetterState derives a hookgate.DeadLetterState from a row r of webhook_requests and its purge
// p. With EXISTS PostgreSQL's planner might read all events into a hash table.
func (t *Tables) deadLetterState() string {
	return `CASE
		WHEN p.id IS NOT NULL THEN 'purged'
		WHEN ` + t.EventStored + ` OR (SELECT true FROM webhook_removed_events e
			WHERE e.message_id = r.message_id AND e.event_type = r.event_type AND e.source = r.source LIMIT 1) THEN 'stored'
		WHEN (SELECT true FROM webhook_requests l
			WHERE l.replay_of = r.request_id AND l.replay_of <> '' AND l.outcome = 'dead_lettered' LIMIT 1) THEN 'superseded'
		ELSE 'open' END`
}

// deadLetterQuery reads dead letters; a condition on r must follow. The index on dead letters has
// few rows beside those of duplicates.
func (t *Tables) deadLetterQuery() string {
	return `SELECT r.id, r.message_id, r.event_type, r.source, r.ordering_key, r.sequence, r.request_id, r.headers,
		r.remote_addr, r.received_at, r.partition, r.position, coalesce(octet_length(d.payload), 0), r.sha256, r.reason,
		r.persisted_at, r.attempts, r.last_error, r.replay_of, r.replayed_at,
		coalesce(p.purged_at, 0), coalesce(p.purged_by, ''), coalesce(p.reason, ''),
		` + t.deadLetterState() + `
		FROM webhook_requests r LEFT JOIN webhook_dead_letters d ON d.id = r.id
		LEFT JOIN webhook_purges p ON p.request_id = r.request_id
		WHERE r.outcome = 'dead_lettered' AND `
}

// DeadLetters implements hookgate.DeadLetters. A listing by message id uses the index of message ids;
// any other reads all dead letters in the order stored and passes over those that do not match.
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

// deadLetterConditions turns a filter into conditions on what deadLetterQuery reads.
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
	d.ID = strconv.FormatInt(r.Int(0), 10)
	d.Identity = hookgate.Identity{MessageID: r.Text(1), EventType: r.Text(2), Source: r.Text(3)}
	d.OrderingKey = r.Text(4)
	d.Sequence = r.Int(5)
	if d.RequestID, err = hookgate.ParseRequestID(r.Text(6)); err != nil {
		return d, err
	}
	if d.Headers, err = encoding.ParseHeaders(r.Text(7)); err != nil {
		return d, err
	}
	d.RemoteAddr = r.Text(8)
	d.ReceivedAt = micros(r.Int(9))
	d.Partition = int(r.Int(10))
	if d.Position = r.Text(11); d.Position == "" {
		d.Position = batch.DirectPosition(d.ID)
	}
	d.Size = r.Int(12)
	r.Copy(13, d.SHA256[:])
	d.Reason = r.Text(14)
	d.DeadLetteredAt = micros(r.Int(15))
	d.Attempts = int(r.Int(16))
	d.LastError = r.Text(17)
	if d.RetryOf, err = encoding.ParseRequestIDText(r.Text(18)); err != nil {
		return d, err
	}
	d.RetriedAt = hookgate.FromMicros(r.Int(19))
	if d.State = hookgate.DeadLetterState(r.Text(23)); d.State == hookgate.DeadLetterPurged {
		d.PurgedAt, d.PurgedBy, d.PurgeReason = micros(r.Int(20)), r.Text(21), r.Text(22)
	}
	return d, nil
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

// deadLetter runs a query that lacks but the condition on the id, or the request id, of r.
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

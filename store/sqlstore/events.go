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

// eventColumns are the columns of a listing. In eventNames the size of the body follows them.
var (
	eventColumns = entry.ColumnsOf(entry.Events).Only("id", "message_id", "event_type", "source",
		"ordering_key", "sequence", "sha256", "request_id", "received_at", "headers", "remote_addr",
		"partition", "position", "persisted_at")
	eventNames = eventColumns.Names("") + ", octet_length(payload)"
)

// Events implements hookgate.Events. A listing by message id uses the index of identities. Any
// other listing reads all events in stored order and skips those that do not match. PostgreSQL may
// use the index of types instead.
func (t *Tables) Events(ctx context.Context,
	f hookgate.EventFilter) iter.Seq2[hookgate.StoredEvent, error] {
	return listEvents(ctx, f, t.slots, eventReader{t, f})
}

// eventReader reads the events that match a filter.
type eventReader struct {
	*Tables
	filter hookgate.EventFilter
}

// between returns at most limit matching events in stored order. Their ids are greater than after
// and, unless until is 0, at most until.
func (r eventReader) between(ctx context.Context, after, until int64,
	limit int) (events []hookgate.StoredEvent, err error) {
	if !r.canMatch(&r.filter) {
		return nil, nil
	}
	c := r.conditions(&r.filter, after, until)
	return r.events(ctx, "FROM webhook_events"+c.where()+" ORDER BY id LIMIT ?", append(c.args, limit))
}

// ahead skips skip events after the id after and returns the id of the next one. It returns 0 if
// there are too few events.
func (r eventReader) ahead(ctx context.Context, after int64, skip int) (id int64, err error) {
	_, err = r.one(ctx, "SELECT id FROM webhook_events WHERE id > ? ORDER BY id LIMIT 1 OFFSET ?",
		func(r Row) error {
			id = r.Int(0)
			return nil
		}, after, skip)
	return id, err
}

// events runs a query for events. rest is the query without the list of columns: it begins with
// FROM.
func (t *Tables) events(ctx context.Context, rest string, args []any) (events []hookgate.StoredEvent,
	err error) {
	var s entry.Stored // one for all rows saves an allocation for each
	err = t.db.Query(ctx, Statement{SQL: "SELECT " + eventNames + " " + rest, Args: args,
		Row: func(r Row) error {
			e, err := scanEvent(r, &s)
			events = append(events, e)
			return err
		}})
	return events, err
}

// canMatch reports whether the filter can match anything. A text that the database cannot store
// matches nothing.
func (t *Tables) canMatch(f *hookgate.EventFilter) bool {
	return t.storable(f.Source, f.EventType, f.OrderingKey, f.MessageID) &&
		t.canBegin(f.MessageIDPrefix)
}

// canBegin reports whether a stored text can begin with prefix.
func (t *Tables) canBegin(prefix string) bool {
	from, _, _ := t.Prefix("", prefix)
	return t.storable(from)
}

// conditions turns a filter into conditions on webhook_events.
func (t *Tables) conditions(f *hookgate.EventFilter, after, until int64) *conditions {
	c := &conditions{}
	c.add("id > ?", after)
	if until != 0 {
		c.add("id <= ?", until)
	}
	// With its index of types SQLite would sort all events of the type for each page.
	c.equal(t.Unindexed+"source", f.Source)
	c.equal(t.Unindexed+"event_type", f.EventType)
	c.equal(t.Unindexed+"ordering_key", f.OrderingKey)
	if f.ExceptSource != "" {
		c.add(t.Unindexed+"source <> ?", f.ExceptSource)
	}
	if f.MessageID != "" {
		low, high := audit.MessageRange(f.MessageID)
		condition, args := t.OfMessage(low[:], high[:], f.MessageID)
		c.add(condition, args...)
	}
	if _, last, ok := f.RequestID.Parts(); ok {
		c.add("request_id >= ? AND request_id <= ?", f.RequestID.String(), last.String())
	} else if !f.RequestID.IsZero() {
		c.add("request_id = ?", f.RequestID.String())
	}
	t.addPrefix(c, t.Unindexed+"message_id", f.MessageIDPrefix)
	if f.BodyContains != "" {
		c.add(t.Contains("payload"), []byte(f.BodyContains))
	}
	if !f.From.IsZero() {
		c.add("received_at >= ?", f.From.UnixMicro())
	}
	if !f.To.IsZero() {
		c.add("received_at < ?", f.To.UnixMicro())
	}
	return c
}

// addPrefix adds the condition that the text of a column begins with p.
func (t *Tables) addPrefix(c *conditions, column, p string) {
	if p == "" {
		return
	}
	from, to, condition := t.Prefix(column, p)
	c.add(column+" >= ?", from)
	if to != "" {
		c.add(column+" < ?", to)
	}
	if condition != "" {
		c.add(condition, []byte(p))
	}
}

// scanEvent reads an event from a row of eventNames. It overwrites s.
func scanEvent(r Row, s *entry.Stored) (e hookgate.StoredEvent, err error) {
	eventColumns.Scan(r, s)
	e = hookgate.StoredEvent{
		ID: strconv.FormatInt(s.ID, 10), Identity: s.Request.Identity,
		OrderingKey: s.Request.OrderingKey, Sequence: s.Request.Sequence, SHA256: s.BodySHA256,
		ReceivedAt: s.Request.ReceivedAt, RemoteAddr: s.Request.RemoteAddr, Partition: s.Partition,
		Position: s.ShownPosition(), PersistedAt: s.PersistedAt, Size: r.Int(len(eventColumns)),
	}
	if e.RequestID, err = hookgate.ParseRequestID(s.RequestID); err != nil {
		return e, err
	}
	e.Headers, err = audit.ParseHeaders(s.HeadersJSON)
	return e, err
}

// Event implements hookgate.Events.
func (t *Tables) Event(ctx context.Context, id string) (e hookgate.StoredEvent, err error) {
	err = t.event(ctx, eventNames, id, func(r Row) (err error) {
		e, err = scanEvent(r, new(entry.Stored))
		return err
	})
	return e, err
}

// Body implements hookgate.Events.
func (t *Tables) Body(ctx context.Context, id string) (body []byte, err error) {
	err = t.event(ctx, "payload", id, func(r Row) error {
		body = r.Bytes(0)
		return nil
	})
	return body, err
}

// event reads columns of one event.
func (t *Tables) event(ctx context.Context, columns, id string, scan func(Row) error) error {
	n, err := ParseID("event", id)
	if err != nil {
		return err
	}
	found, err := t.one(ctx, "SELECT "+columns+" FROM webhook_events WHERE id = ?", scan, n)
	if err != nil {
		return fmt.Errorf("read event %s: %w", id, err)
	}
	if !found {
		return fmt.Errorf("event %s: %w", id, hookgate.ErrNotFound)
	}
	return nil
}

// Counts implements hookgate.Events. It adds up the counters of the log and of the partitions and
// subtracts the events that retention has removed.
func (t *Tables) Counts(ctx context.Context) (c hookgate.StoreCounts, err error) {
	_, err = t.one(ctx, `SELECT p.events + l.events - r.events,
		p.duplicates + l.duplicates - r.duplicates,
			p.dead_letters + l.dead_letters - r.dead_letters
		FROM webhook_removals r, webhook_log l, (SELECT CAST(coalesce(sum(events),
			0) AS bigint) AS events,
			CAST(coalesce(sum(duplicates), 0) AS bigint) AS duplicates,
			CAST(coalesce(sum(dead_letters), 0) AS bigint) AS dead_letters FROM webhook_partitions) p`,
		func(r Row) error {
			c = hookgate.StoreCounts{Events: r.Int(0), Duplicates: r.Int(1), DeadLetters: r.Int(2)}
			return nil
		})
	if err != nil {
		return c, fmt.Errorf("count what is stored: %w", err)
	}
	return c, nil
}

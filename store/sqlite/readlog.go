package sqlite

import (
	"context"
	"fmt"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/store/sqlstore"
)

var _ hookgate.Log = (*Store)(nil)

// ReadLog implements hookgate.Log. It first finds out which events fit into the page, without their
// bodies, and then reads these.
func (s *Store) ReadLog(ctx context.Context, q hookgate.LogQuery) (page hookgate.LogPage,
	err error) {
	var late lateKeys
	if q.OrderingKey != "" {
		late = s.lateKey(q.OrderingKey, q.After) // before the transaction, see lateKeys
	}
	err = s.read(ctx, func(conn *sqlite.Conn) (err error) {
		defer sqlitex.Transaction(conn)(&err)
		p := logReader{conn: conn, q: q, late: late}
		page, err = p.read()
		return err
	})
	if err != nil {
		return hookgate.LogPage{}, fmt.Errorf("read the log after %d: %w", q.After, err)
	}
	return page, nil
}

// ReadEvents implements hookgate.Log.
func (s *Store) ReadEvents(ctx context.Context, ids []int64) (events []hookgate.Event,
	err error) {
	err = s.read(ctx, func(conn *sqlite.Conn) (err error) {
		defer sqlitex.Transaction(conn)(&err)
		for _, id := range ids {
			if events, err = readEvent(conn, id, events); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read %d events: %w", len(ids), err)
	}
	return events, nil
}

// Grown implements hookgate.Log.
func (s *Store) Grown() <-chan struct{} { return s.growth.Next() }

// readEvent appends an event, if it is stored or kept.
func readEvent(conn *sqlite.Conn, id int64, to []hookgate.Event) ([]hookgate.Event, error) {
	before := len(to)
	for _, table := range [...]string{"webhook_events", "webhook_kept_events"} {
		err := run(conn, sqlstore.Statement{
			SQL:  "SELECT " + sqlstore.LogColumns + " FROM " + table + " WHERE id = ?1",
			Args: []any{id},
			Row: func(r sqlstore.Row) error {
				e, err := sqlstore.ScanLogEvent(r)
				to = append(to, e)
				return err
			}})
		if err != nil || len(to) > before {
			return to, err
		}
	}
	return to, nil
}

// logReader reads one page in a read transaction.
type logReader struct {
	conn *sqlite.Conn
	q    hookgate.LogQuery
	late lateKeys
	// ids are the events that fit into the page, and bytes is the size of their bodies.
	ids   []int64
	bytes int
	more  bool
}

func (p *logReader) read() (page hookgate.LogPage, err error) {
	end, indexed := int64(0), int64(0)
	err = run(p.conn, sqlstore.Statement{SQL: "SELECT last_id, indexed FROM webhook_log",
		Row: func(r sqlstore.Row) error { end, indexed = r.Int(0), r.Int(1); return nil }})
	if err != nil {
		return page, err
	}
	if p.q.Until > 0 {
		end = min(end, p.q.Until)
	}
	page.Next = max(p.q.After, end)
	if p.q.OrderingKey == "" {
		err = p.find(`SELECT id, length(payload) FROM webhook_events
			WHERE id > ?1 AND id <= ?2 ORDER BY id`, p.q.After, end)
	} else {
		err = p.findKey(end, indexed)
	}
	if err != nil || len(p.ids) == 0 {
		if p.more {
			page.Next, page.More = p.q.After, true
		}
		return page, err
	}
	page.Events = make([]hookgate.Event, 0, len(p.ids))
	if p.q.OrderingKey == "" {
		err = run(p.conn, sqlstore.Statement{
			SQL: "SELECT " + sqlstore.LogColumns + ` FROM webhook_events
				WHERE id > ?1 AND id <= ?2 ORDER BY id`,
			Args: []any{p.q.After, p.ids[len(p.ids)-1]},
			Row: func(r sqlstore.Row) error {
				e, err := sqlstore.ScanLogEvent(r)
				page.Events = append(page.Events, e)
				return err
			}})
	} else {
		for _, id := range p.ids {
			if page.Events, err = readEvent(p.conn, id, page.Events); err != nil {
				break
			}
		}
	}
	if page.More = p.more; page.More {
		page.Next = p.ids[len(p.ids)-1]
	}
	return page, err
}

// take adds an event to the page if it fits, and reports whether it did.
func (p *logReader) take(id int64, size int) bool {
	n := len(p.ids)
	if n >= p.q.Max || n > 0 && p.bytes+size > p.q.MaxBytes {
		p.more = true
		return false
	}
	p.ids, p.bytes = append(p.ids, id), p.bytes+size
	return true
}

// find takes the events of a query for ids and sizes until one does not fit.
func (p *logReader) find(query string, args ...any) (err error) {
	stmt, err := p.conn.Prepare(query)
	if err != nil {
		return err
	}
	defer func() {
		if failed := stmt.Reset(); err == nil {
			err = failed
		}
	}()
	for i, arg := range args {
		switch v := arg.(type) {
		case int64:
			stmt.BindInt64(i+1, v)
		case string:
			stmt.BindText(i+1, v)
		}
	}
	for {
		if found, err := stmt.Step(); err != nil || !found {
			return err
		}
		if !p.take(stmt.ColumnInt64(0), int(stmt.ColumnInt64(1))) {
			return nil
		}
	}
}

// findKey takes the keyed events of a key up to end. The parts follow one another:
//
//	webhook_kept_events │ webhook_keys          │ p.late       │ webhook_events
//	                    │         up to late.from│ up to late.to│ read one by one
func (p *logReader) findKey(end, indexed int64) error {
	key, after := p.q.OrderingKey, p.q.After
	from, to := indexed, indexed
	if p.late.known {
		from, to = p.late.from, p.late.to
	}
	// Retention removes from the oldest event on, so what it keeps comes before what is stored,
	// except for test traffic, which has no subscriptions that keep it.
	if err := p.find(`SELECT id, length(payload) FROM webhook_kept_events
		WHERE ordering_key = ?1 AND id > ?2 AND id <= ?3 AND keyed ORDER BY id`,
		key, after, end); err != nil || p.more {
		return err
	}
	if err := p.find(`SELECT e.id, length(e.payload) FROM webhook_keys k
		CROSS JOIN webhook_events e ON e.id = k.event
		WHERE k.ordering_key = ?1 AND k.event > ?2 AND k.event <= ?3 AND e.keyed ORDER BY k.event`,
		key, after, min(from, end)); err != nil || p.more {
		return err
	}
	for _, id := range p.late.ids {
		if id > end || p.more {
			break
		}
		if err := p.find(`SELECT id, length(payload) FROM webhook_events
			WHERE id = ?1 AND keyed`, id); err != nil {
			return err
		}
	}
	if p.more || to >= end {
		return nil
	}
	return p.find(`SELECT id, length(payload) FROM webhook_events NOT INDEXED
		WHERE ordering_key = ?1 AND id > ?2 AND id <= ?3 AND keyed ORDER BY id`,
		key, max(after, to), end)
}

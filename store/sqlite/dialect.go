package sqlite

import (
	"context"
	"time"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/hookgate/hookgate/store/sqlstore"
)

// dialect is the SQL of SQLite. SQLite has one writer and no statistics. Its index of identities
// lacks the latest events (see late.go), so these queries also read those events one by one.
var dialect = sqlstore.Dialect{
	Unindexed:  "+",
	ByIdentity: "webhook_found",
	Owned:      "s.owner <> ''",
	EventStored: `(EXISTS (SELECT 1 FROM webhook_identities i WHERE i.identity = r.identity)
		OR r.identity IN (SELECT identity FROM webhook_events t NOT INDEXED WHERE id > (SELECT indexed
			FROM webhook_log)))`,
	TraceRequests: `SELECT e.request_id FROM webhook_identities i CROSS
		JOIN webhook_events e ON e.id = i.event
			WHERE i.identity >= ?1 AND i.identity <= ?2 AND +e.message_id = ?3 AND +e.request_id > ?4
		UNION SELECT request_id FROM webhook_events t NOT INDEXED WHERE id > (SELECT indexed
			FROM webhook_log)
			AND identity >= ?1 AND identity <= ?2 AND message_id = ?3 AND request_id > ?4
		UNION SELECT request_id FROM webhook_removed_events WHERE message_id = ?3 AND +request_id > ?4
		UNION SELECT request_id FROM webhook_requests WHERE message_id = ?3 AND request_id > ?4
		ORDER BY request_id LIMIT ?5`,
	Clean:    func(text string) string { return text },
	Contains: func(column string) string { return "instr(" + column + ", ?) > 0" },
	OfMessage: func(low, high []byte, id string) (string, []any) {
		return `id IN (SELECT event FROM webhook_identities WHERE identity >= ? AND identity <= ?
			UNION ALL SELECT t.id FROM webhook_events t NOT INDEXED WHERE t.id > (SELECT indexed
				FROM webhook_log)
				AND t.identity >= ? AND t.identity <= ?) AND +message_id = ?`, []any{low, high, low, high, id}
	},
	Prefix: func(_, p string) (from, to, condition string) { return p, afterPrefix(p), "" },
}

// afterPrefix returns the first text that sorts after all texts with the prefix p, or "" if there
// is none. SQLite compares texts by their bytes. The result may not be valid UTF-8, but it is never
// stored.
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

// db implements sqlstore.DB.
type db struct{ *Store }

func (d db) Query(ctx context.Context, s sqlstore.Statement) error {
	return d.read(ctx, func(conn *sqlite.Conn) error { return run(conn, s) })
}

func (d db) Snapshot(ctx context.Context, f func(func(sqlstore.Statement) error) error) error {
	return d.read(ctx, func(conn *sqlite.Conn) (err error) {
		defer sqlitex.Transaction(conn)(&err)
		return f(func(s sqlstore.Statement) error { return run(conn, s) })
	})
}

func (d db) Change(_ context.Context, first []sqlstore.Statement,
	next func() ([]sqlstore.Statement, error)) error {
	return d.change(func() error {
		for _, s := range first {
			if err := run(d.conn, s); err != nil {
				return err
			}
		}
		rest, err := next()
		for _, s := range rest {
			if err == nil {
				err = run(d.conn, s)
			}
		}
		return err
	})
}

func run(conn *sqlite.Conn, s sqlstore.Statement) error {
	options := sqlitex.ExecOptions{Args: s.Args}
	if s.Row != nil {
		options.ResultFunc = func(stmt *sqlite.Stmt) error { return s.Row(row{stmt}) }
	}
	return sqlitex.Execute(conn, s.SQL, &options)
}

// row implements sqlstore.Row.
type row struct{ stmt *sqlite.Stmt }

func (r row) Int(column int) int64 { return r.stmt.ColumnInt64(column) }

func (r row) Bool(column int) bool { return r.stmt.ColumnBool(column) }

func (r row) Text(column int) string { return r.stmt.ColumnText(column) }

func (r row) Bytes(column int) []byte {
	b := make([]byte, r.stmt.ColumnLen(column))
	r.stmt.ColumnBytes(column, b)
	return b
}

func (r row) Copy(column int, dst []byte) { r.stmt.ColumnBytes(column, dst) }

func (r row) Len(column int) int { return r.stmt.ColumnLen(column) }

func (r row) IsNull(column int) bool { return r.stmt.ColumnIsNull(column) }

func micros(n int64) time.Time { return time.UnixMicro(n).UTC() }

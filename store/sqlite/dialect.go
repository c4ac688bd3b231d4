package sqlite

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/hookgate/hookgate/store/sqlstore"
)

// dialect is the SQL of SQLite. SQLite has one writer and no statistics. Its index of identities
// lacks the latest events (see late.go), so these queries also read those events one by one.
var dialect = sqlstore.Dialect{
	Unindexed:  "+",
	Now:        "CAST(unixepoch('subsec') * 1000000 AS INTEGER)",
	ByIdentity: "webhook_found",
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
		if err := runAll(d.conn, first); err != nil {
			return err
		}
		rest, err := next()
		if err != nil {
			return err
		}
		return runAll(d.conn, rest)
	})
}

// ChangeLocked implements sqlstore.DB. There is one writer, so each transaction has the lock.
// Appends of the same transaction can come before it. The row of webhook_log does not show these
// yet, so the log seems to end before them.
func (d db) ChangeLocked(ctx context.Context, first []sqlstore.Statement,
	next func() ([]sqlstore.Statement, error)) error {
	return d.Change(ctx, first, next)
}

func (d db) Queries(ctx context.Context, statements ...sqlstore.Statement) error {
	return d.read(ctx, func(conn *sqlite.Conn) (err error) {
		if len(statements) > 1 {
			defer sqlitex.Transaction(conn)(&err)
		}
		return runAll(conn, statements)
	})
}

func (d db) Save(ctx context.Context, size int, statements []sqlstore.Statement) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	until, _ := ctx.Deadline()
	return d.write(&write{save: true, rows: size, until: until, run: func() error {
		return runAll(d.conn, statements)
	}})
}

func runAll(conn *sqlite.Conn, statements []sqlstore.Statement) error {
	for _, s := range statements {
		if err := run(conn, s); err != nil {
			return err
		}
	}
	return nil
}

func run(conn *sqlite.Conn, s sqlstore.Statement) error {
	if s.Rows != nil {
		return runRows(conn, s)
	}
	found := s.Guard == nil
	options := sqlitex.ExecOptions{Args: s.Args}
	if s.Row != nil || !found {
		options.ResultFunc = func(stmt *sqlite.Stmt) error {
			found = true
			if s.Row == nil {
				return nil
			}
			return s.Row(row{stmt})
		}
	}
	if err := sqlitex.Execute(conn, s.SQL, &options); err != nil || found {
		return err
	}
	return s.Guard
}

// together is how many rows a statement has that can have many.
const together = 32

// runRows runs a statement for each of its rows, or for many at a time.
func runRows(conn *sqlite.Conn, s sqlstore.Statement) error {
	i := 0
	for _, size := range []int{together, 1} {
		if s.Rows.Len-i < size || size > 1 && !s.Rows.Together {
			continue
		}
		stmt, err := prepareRows(conn, &s, size)
		if err != nil {
			return err
		}
		for ; s.Rows.Len-i >= size; i += size {
			if err := runThese(stmt, &s, i, size); err != nil {
				return err
			}
		}
	}
	return nil
}

// prepareRows prepares a statement for n rows.
func prepareRows(conn *sqlite.Conn, s *sqlstore.Statement, n int) (*sqlite.Stmt, error) {
	text := append(make([]byte, 0, 4096), "WITH r ("...)
	text = append(text, strings.Join(s.Rows.Columns, ", ")...)
	text = append(text, ") AS (VALUES "...)
	columns := len(s.Rows.Columns)
	for i := range n * columns {
		switch {
		case i%columns > 0:
			text = append(text, ", "...)
		case i > 0:
			text = append(text, "), ("...)
		default:
			text = append(text, '(')
		}
		text = strconv.AppendInt(append(text, '?'), int64(len(s.Args)+1+i), 10)
	}
	return conn.Prepare(string(append(append(text, ")) "...), s.SQL...)))
}

// runThese runs a statement for n rows, the first of which is i.
func runThese(stmt *sqlite.Stmt, s *sqlstore.Statement, i, n int) (err error) {
	defer func() { err = errors.Join(err, stmt.Reset()) }()
	to := cells{stmt: stmt}
	for _, arg := range s.Args {
		switch v := arg.(type) {
		case int:
			to.Int(int64(v))
		case int64:
			to.Int(v)
		case bool:
			to.Bool(v)
		case string:
			to.Text(v)
		case []byte:
			to.Bytes(v)
		default:
			return fmt.Errorf("no type of SQLite for %T", arg)
		}
	}
	for j := range n {
		s.Rows.Write(i+j, &to)
	}
	for {
		found, err := stmt.Step()
		if err == nil && found && s.Row != nil {
			err = s.Row(row{stmt})
		}
		if err != nil || !found {
			return err
		}
	}
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

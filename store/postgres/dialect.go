package postgres

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/hookgate/hookgate/store/sqlstore"
)

// dialect is the SQL of PostgreSQL. Its planner has statistics, so it may use any index.
var dialect = sqlstore.Dialect{
	ForUpdate:     " FOR UPDATE",
	Leases:        true,
	Now:           databaseNow,
	LockApprovals: "LOCK TABLE webhook_approvals IN SHARE ROW EXCLUSIVE MODE",
	LockJobs:      "LOCK TABLE webhook_redelivery_jobs IN SHARE ROW EXCLUSIVE MODE",
	ByIdentity:    "webhook_events",
	EventStored:   "(SELECT true FROM webhook_events e WHERE e.identity = r.identity LIMIT 1)",
	TraceRequests: `SELECT request_id FROM webhook_events
			WHERE identity >= ?1 AND identity <= ?2 AND message_id = ?3 AND request_id > ?4
		UNION SELECT request_id FROM webhook_removed_events WHERE message_id = ?3 AND request_id > ?4
		UNION SELECT request_id FROM webhook_requests WHERE message_id = ?3 AND request_id > ?4
		ORDER BY request_id LIMIT ?5`,
	Clean:    clean,
	Contains: func(column string) string { return "position(? in " + column + ") > 0" },
	OfMessage: func(low, high []byte, id string) (string, []any) {
		return "identity >= ? AND identity <= ? AND message_id = ?", []any{low, high, id}
	},
	Prefix: prefix,
}

// prefix implements Dialect.Prefix. PostgreSQL accepts only whole characters as text.
func prefix(column, p string) (from, to, condition string) {
	from = validPrefix(p)
	if from != p {
		// The prefix ends in the middle of a character.
		condition = fmt.Sprintf("substring(convert_to(%s, 'UTF8') FOR %d) = ?", column, len(p))
	}
	return from, afterPrefix(from), condition
}

// db implements sqlstore.DB.
type db struct{ *Store }

func (d db) Query(ctx context.Context, s sqlstore.Statement) error {
	return d.read(ctx, shared(s))
}

// Snapshot implements sqlstore.DB. Each query sees the database as it is when the query begins.
func (d db) Snapshot(ctx context.Context, f func(func(sqlstore.Statement) error) error) error {
	return f(func(s sqlstore.Statement) error { return d.Query(ctx, s) })
}

func (d db) Change(ctx context.Context, first []sqlstore.Statement,
	next func() ([]sqlstore.Statement, error)) error {
	var rest []sqlstore.Statement
	err := d.tx(ctx, allShared(first), func() (_ []statement, err error) {
		rest, err = next()
		return allShared(rest), err
	})
	return guarded(err, first, rest)
}

func (d db) ChangeLocked(ctx context.Context, first []sqlstore.Statement,
	next func() ([]sqlstore.Statement, error)) error {
	leave, err := d.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	err = d.locked(ctx, func(ctx context.Context, t *transaction) error {
		lock := statement{sql: "SELECT FROM webhook_log FOR UPDATE"}
		return t.steps(ctx, append([]statement{lock}, allShared(first)...), func() ([]statement, error) {
			rest, err := next()
			return allShared(rest), err
		})
	})
	d.note(err)
	return err
}

func (d db) Queries(ctx context.Context, statements ...sqlstore.Statement) error {
	if len(statements) == 1 {
		return d.read(ctx, shared(statements[0]))
	}
	return d.snapshot(ctx, allShared(statements)...)
}

func (d db) Save(ctx context.Context, _ int, statements []sqlstore.Statement) error {
	err := d.tx(ctx, nil, func() ([]statement, error) { return allShared(statements), nil })
	return guarded(err, statements)
}

// guarded returns the error of the Guard if that is why the statements failed.
func guarded(err error, all ...[]sqlstore.Statement) error {
	if !hasState(err, divisionByZero) {
		return err
	}
	for _, statements := range all {
		for _, s := range statements {
			if s.Guard != nil {
				return s.Guard
			}
		}
	}
	return err
}

func allShared(all []sqlstore.Statement) []statement {
	statements := make([]statement, len(all))
	for i, s := range all {
		statements[i] = shared(s)
	}
	return statements
}

// shared converts a statement of package sqlstore.
func shared(s sqlstore.Statement) statement {
	own := statement{sql: numbered(s.SQL), args: make([]arg, len(s.Args))}
	if s.Guard != nil {
		// Without a row this divides by zero, which ends the transaction.
		own.sql = "WITH g (value) AS (" + own.sql + ") SELECT max(value), 1 / count(*) FROM g"
	}
	for i, value := range s.Args {
		switch v := value.(type) {
		case int64:
			own.args[i] = argInt(v)
		case int:
			own.args[i] = argInt(int64(v))
		case bool:
			own.args[i] = argBool(v)
		case []byte:
			own.args[i] = argBytes(v)
		case string:
			own.args[i] = argText(v)
		default:
			panic(fmt.Sprintf("no type of PostgreSQL for %T", value)) // only this program writes statements
		}
	}
	if s.Rows != nil {
		own.sql, own.args = withRows(own, s.Rows)
	}
	if s.Row != nil {
		var current row // one variable for all rows saves an allocation for each
		own.row = func(r row) error {
			current = r
			return s.Row(&current)
		}
	}
	return own
}

// withRows adds the table r to a statement. Its columns are arrays.
func withRows(s statement, r *sqlstore.Rows) (sql string, args []arg) {
	cells := newRows(len(r.Columns))
	for i := range r.Len {
		r.Write(i, &cells)
	}
	return "WITH r (" + strings.Join(r.Columns, ", ") + ") AS (SELECT * FROM " +
		cells.unnestFrom(len(s.args)+1) + ") " + s.sql, append(s.args, cells.args()...)
}

func micros(n int64) time.Time { return time.UnixMicro(n).UTC() }

// numbered replaces ?1 with $1, and each plain ? with the next number.
func numbered(query string) string {
	var b strings.Builder
	next := 0
	for i, part := range strings.Split(query, "?") {
		if i > 0 {
			b.WriteByte('$')
			if part == "" || part[0] < '0' || part[0] > '9' {
				next++
				b.WriteString(strconv.Itoa(next))
			}
		}
		b.WriteString(part)
	}
	return b.String()
}

// Package sqlstore is the code that the SQLite store and the PostgreSQL store share. It reads
// events, lineage and dead letters, and it reads and writes the small tables of the admin API. Each
// store provides a [DB] and a [Dialect] and embeds the [Tables] built from them.
//
// The writers of the log (Apply, Purge, Prune) are not here. They need different SQL in each
// database to be fast.
package sqlstore

import (
	"context"
	"errors"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/store/entry"
)

// Row is one row of a result.
type Row = entry.Row

// Statement is an SQL statement. It names its parameters ?1, ?2 and so on, or writes a plain ? for
// each one in the order of Args.
type Statement struct {
	SQL string
	// Args are int, int64, bool, string or []byte.
	Args []any
	// Row is called once for each row. If it is nil, the rows are ignored.
	Row func(Row) error
	// Rows, if not nil, is a table named r that the statement reads. The statement must be right both
	// for the whole table and for each of its rows in turn.
	Rows *Rows
	// Guard, if not nil, is the error of the transaction if the statement returns no row. Nothing has
	// changed then. The statement returns one column, an integer, which Row receives. At most one
	// statement of a transaction has a Guard.
	Guard error
}

// Rows are rows for a statement.
type Rows struct {
	Columns []string
	Len     int
	// Write writes the cells of a row.
	Write func(i int, cells entry.Cells)
	// Together permits one statement for many rows, because its plan still looks up each by its index.
	Together bool
}

// DB runs statements.
type DB interface {
	// Query runs a statement that only reads.
	Query(ctx context.Context, s Statement) error
	// Snapshot runs f. If it costs no extra round trip, all queries of f see the same state of the
	// database.
	Snapshot(ctx context.Context, f func(query func(Statement) error) error) error
	// Change runs a durable transaction: first the statements of first, then those that next
	// returns. If the database fails, the outcome is unknown. If next returns an error, nothing has
	// changed.
	Change(ctx context.Context, first []Statement, next func() ([]Statement, error)) error
	// ChangeLocked is Change with the lock of appends: nothing is added to the log between the first
	// statement and the end of the transaction.
	ChangeLocked(ctx context.Context, first []Statement, next func() ([]Statement, error)) error
	// Queries runs statements that only read, in one round trip. They see the same state of the
	// database.
	Queries(ctx context.Context, statements ...Statement) error
	// Save runs statements in a durable transaction, which other calls may share. size is about the
	// number of rows that they write. If the database fails, the outcome is unknown. It waits for a
	// lock of another process no longer than until the deadline of ctx.
	Save(ctx context.Context, size int, statements []Statement) error
}

// IsAnswer reports whether an error of a transaction is the answer to a call and does not mean that
// the store has failed.
func IsAnswer(err error) bool {
	for _, answer := range []error{hookgate.ErrFenced, hookgate.ErrRejected, hookgate.ErrNotFound,
		hookgate.ErrLeased, hookgate.ErrRevision, hookgate.ErrInUse, hookgate.ErrLeasesOut,
		hookgate.ErrNameTaken} {
		if errors.Is(err, answer) {
			return true
		}
	}
	var horizon *hookgate.HorizonError
	var ahead *hookgate.AheadError
	return errors.As(err, &horizon) || errors.As(err, &ahead)
}

// Dialect is the SQL that differs between the databases.
type Dialect struct {
	// Unindexed is a prefix for a column name. It keeps the database from using an index on the
	// column.
	Unindexed string
	// ForUpdate is appended to a SELECT that reads rows which the transaction then changes.
	ForUpdate string
	// Leases reports that several processes use the database.
	Leases bool
	// Now is the time of the database in microseconds since 1970.
	Now string
	// LockApprovals is a statement that makes concurrent requests for approval wait for one
	// another. It is empty if the database has only one writer.
	LockApprovals string
	// LockJobs is a statement that makes concurrent calls of Redeliver wait for one another. It is
	// empty if the database has only one writer.
	LockJobs string
	// Contains returns the condition that a column contains the parameter ?. Both are text, or both
	// are bytes.
	Contains func(column string) string
	// ByIdentity is the table or view that returns events ordered by identity.
	ByIdentity string
	// EventStored is the condition that an event with the identity of row r is stored.
	EventStored string
	// TraceRequests selects the requests that carried a message id. ?1 and ?2 are the lowest and
	// the highest identity of that message id, ?3 is the message id, ?4 is the request id to
	// continue after, and ?5 is the limit.
	TraceRequests string

	// Clean replaces everything in text that the database cannot store as text. If Clean changes a
	// text, no stored row can contain it.
	Clean func(text string) string
	// OfMessage returns the condition that an event has the message id. low and high are the lowest
	// and the highest identity of that message id.
	OfMessage func(low, high []byte, id string) (condition string, args []any)
	// Prefix describes the values of a column that begin with p. They are at least from, and less
	// than to unless to is empty. If condition is not empty, they also satisfy it; its one
	// parameter is p as bytes.
	Prefix func(column, p string) (from, to, condition string)
}

// Tables reads and writes the tables that both stores have. It implements hookgate.Reader except
// for Ping.
type Tables struct {
	db DB
	Dialect
	slots scanSlots
}

// New returns the tables of a database that has the given number of connections for reading.
func New(db DB, d Dialect, connections int) *Tables {
	return &Tables{db: db, Dialect: d, slots: newScanSlots(connections)}
}

// one runs a statement that returns at most one row, and reports whether there was one.
func (t *Tables) one(ctx context.Context, sql string, scan func(Row) error,
	args ...any) (found bool,
	err error) {
	err = t.db.Query(ctx, Statement{SQL: sql, Args: args, Row: func(r Row) error {
		found = true
		return scan(r)
	}})
	return found, err
}

// change runs statements in one durable transaction.
func (t *Tables) change(ctx context.Context, statements ...Statement) error {
	return t.db.Change(ctx, statements, func() ([]Statement, error) { return nil, nil })
}

// storable reports whether a stored row can contain each of the texts.
func (t *Tables) storable(texts ...string) bool {
	for _, text := range texts {
		if t.Clean(text) != text {
			return false
		}
	}
	return true
}

func micros(n int64) time.Time { return time.UnixMicro(n).UTC() }

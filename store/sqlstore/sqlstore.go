// Package sqlstore is what the SQLite and the PostgreSQL store have in common: everything that
// reads events, lineage and dead letters, and the small tables of the admin API. Each store brings
// a [DB] and a [Dialect], and embeds the [Tables] made of them.
//
// What writes the log (Apply, Purge, Prune) is not here: there the two databases want different
// things for speed.
package sqlstore

import (
	"context"
	"time"

	"github.com/hookgate/hookgate/store/entry"
)

// Row is one row of a result.
type Row = entry.Row

// Statement is an SQL statement. Its parameters are ?1, ?2 and so on, or each one ? if they stand in
// the order of Args.
type Statement struct {
	SQL string
	// Args are int, int64, bool, string or []byte.
	Args []any
	// Row is called with each row. nil: the rows do not matter.
	Row func(Row) error
}

// DB runs statements.
type DB interface {
	// Query runs a statement that only reads.
	Query(ctx context.Context, s Statement) error
	// Snapshot runs f, whose queries see one state of the database if that costs no round trip.
	Snapshot(ctx context.Context, f func(query func(Statement) error) error) error
	// Change runs a durable transaction: the statements of first, and then those that next returns.
	// After an error of the database the outcome is unknown; after one of next nothing was changed.
	Change(ctx context.Context, first []Statement, next func() ([]Statement, error)) error
}

// Dialect is what differs in the SQL of this package.
type Dialect struct {
	// Unindexed goes before the name of a column that no index should be used for.
	Unindexed string
	// ForUpdate ends a SELECT whose rows the transaction then changes.
	ForUpdate string
	// LockApprovals lets the transactions that request approvals follow one another. Empty: all do.
	LockApprovals string
	// Contains is the condition that a column contains ?, text in text or bytes in bytes.
	Contains func(column string) string
	// ByIdentity is the table or view that has the events in the order of their identities.
	ByIdentity string
	// EventStored is the condition that an event with the identity of r is stored.
	EventStored string
	// TraceRequests finds the requests that carried a message id: ?1 and ?2 are the lowest and the
	// highest identity that it can have, ?3 is the id, ?4 the request to continue behind, ?5 the limit.
	TraceRequests string

	// Clean returns text with what the database cannot hold as text replaced. If that is anything, no
	// row has the text.
	Clean func(text string) string
	// OfMessage is the condition that an event has a message id. low and high are the lowest and the
	// highest identity that it can have.
	OfMessage func(low, high []byte, id string) (condition string, args []any)
	// Prefix bounds the text of a column that begins with p: it is at least from, below to unless
	// that is empty, and fulfils a condition, unless that is empty, whose argument is p in bytes.
	Prefix func(column, p string) (from, to, condition string)
}

// Tables reads and changes what both stores hold in the same tables. It implements what
// hookgate.Reader has but Ping.
type Tables struct {
	db DB
	Dialect
	turns turns
}

// New returns the tables of a database that has so many connections for reading.
func New(db DB, d Dialect, connections int) *Tables {
	return &Tables{db: db, Dialect: d, turns: newTurns(connections)}
}

// one runs a statement that returns one row at most, and reports whether it did.
func (t *Tables) one(ctx context.Context, sql string, scan func(Row) error, args ...any) (found bool,
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

// storable reports whether rows can have the texts.
func (t *Tables) storable(texts ...string) bool {
	for _, text := range texts {
		if t.Clean(text) != text {
			return false
		}
	}
	return true
}

func micros(n int64) time.Time { return time.UnixMicro(n).UTC() }

package sqlite

import (
	"fmt"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/hookgate/hookgate/audit"
)

// lateAudit compares the late indexes with the events. Each event up to indexed must have its two
// rows, each event above it may, and no other row may exist. It reports only if the audit of the
// log found no difference, because that audit gives more detail.
type lateAudit struct {
	identity, key *sqlite.Stmt
	// indexed and last are values of webhook_log.
	indexed, last int64
	// identities and keys count the rows that belong to an event.
	identities, keys int64
	broken           *Break
}

// prepare prepares the lookups and reads how far the indexes must reach.
func (l *lateAudit) prepare(conn *sqlite.Conn) (err error) {
	if l.identity, err = conn.Prepare("SELECT event FROM webhook_identities WHERE identity" +
		" = ?"); err != nil {
		return err
	}
	if l.key, err = conn.Prepare("SELECT 1 FROM webhook_keys WHERE ordering_key = ? AND event" +
		" = ?"); err != nil {
		return err
	}
	return sqlitex.Execute(conn, "SELECT indexed, last_id FROM webhook_log", &sqlitex.ExecOptions{
		ResultFunc: func(r *sqlite.Stmt) error {
			l.indexed, l.last = r.ColumnInt64(0), r.ColumnInt64(1)
			return nil
		},
	})
}

func (l *lateAudit) close() {
	l.identity.Reset()
	l.key.Reset()
}

// event looks up the two rows of an event.
func (l *lateAudit) event(e *audit.Row) error {
	if l.identity == nil || l.broken != nil {
		return nil // an earlier release wrote the store
	}
	defer l.identity.Reset()
	l.identity.BindBytes(1, e.Key)
	found, err := l.identity.Step()
	if err != nil {
		return err
	}
	switch {
	case found && l.identity.ColumnInt64(0) == e.ID:
		l.identities++
	case found:
		l.breakAt(e.ID, "the index of identities has event %d in its place", l.identity.ColumnInt64(0))
	case e.ID <= l.indexed:
		l.breakAt(e.ID, "it is missing in the index of identities")
	}
	defer l.key.Reset()
	l.key.BindText(1, e.OrderingKey)
	l.key.BindInt64(2, e.ID)
	if found, err = l.key.Step(); err != nil {
		return err
	}
	switch {
	case found:
		l.keys++
	case e.ID <= l.indexed:
		l.breakAt(e.ID, "it is missing in the index of ordering keys")
	}
	return nil
}

func (l *lateAudit) breakAt(id int64, format string, args ...any) {
	if l.broken == nil {
		l.broken = &Break{Partition: audit.TheLog, Sequence: id, What: fmt.Sprintf(format, args...)}
	}
}

// compare returns the first difference, or nil.
func (l *lateAudit) compare(conn *sqlite.Conn) (*Break, error) {
	if l.identity == nil {
		return nil, nil
	}
	if l.indexed > l.last {
		l.breakAt(l.last, "the indexes are said to hold the events up to %d", l.indexed)
	}
	if l.broken != nil {
		return l.broken, nil
	}
	for table, want := range map[string]int64{"webhook_identities": l.identities,
		"webhook_keys": l.keys} {
		err := sqlitex.Execute(conn, "SELECT count(*) FROM "+table,
			&sqlitex.ExecOptions{ResultFunc: func(row *sqlite.Stmt) error {
				if have := row.ColumnInt64(0); have != want {
					l.breakAt(l.last, "%s has %d rows, and %d of them belong to an event", table, have, want)
				}
				return nil
			}})
		if err != nil {
			return nil, err
		}
	}
	return l.broken, nil
}

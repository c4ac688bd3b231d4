package txhandler

import (
	"context"
	"database/sql"
	"errors"

	"github.com/hookgate/hookgate/inbox"
)

// SQL returns a database of database/sql. It uses at most half of the connections that db may open,
// because functions may use db too. With SQLite, which has one writer, it uses one.
func SQL(db *sql.DB, dialect inbox.Dialect) Database[*sql.Tx] { return sqlDatabase{db, dialect} }

type sqlDatabase struct {
	db      *sql.DB
	dialect inbox.Dialect
}

func (db sqlDatabase) transactions() int {
	open := db.db.Stats().MaxOpenConnections
	switch {
	case db.dialect == inbox.SQLite:
		return 1
	case open == 0:
		return maxTransactions
	}
	return min(maxTransactions, max(1, open/2))
}

func (db sqlDatabase) inbox() inbox.DB { return inbox.SQL(db.db) }

func (db sqlDatabase) begin(ctx context.Context) (transaction[*sql.Tx], error) {
	// When its context ends, database/sql rolls back. So ctx counts only until the transaction has
	// begun.
	life, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, cancel)
	tx, err := db.db.BeginTx(life, nil)
	if err == nil && !stop() {
		err = errors.Join(ctx.Err(), tx.Rollback())
	}
	if err != nil {
		cancel()
		return nil, err
	}
	return &sqlTransaction{Tx: tx, cancel: cancel}, nil
}

type sqlTransaction struct {
	*sql.Tx
	// cancel rolls back if the transaction has not ended.
	cancel func()
	saved  bool
	closed bool
}

func (t *sqlTransaction) tx() *sql.Tx { return t.Tx }

func (t *sqlTransaction) inbox() inbox.DB { return inbox.SQL(t.Tx) }

func (t *sqlTransaction) save(ctx context.Context) error {
	t.saved = true
	return t.exec(ctx, "SAVEPOINT "+savepoint)
}

func (t *sqlTransaction) exec(ctx context.Context, statement string) error {
	_, err := t.Tx.ExecContext(ctx, statement)
	return err
}

// finish fails if the database rejects statements because an earlier one has failed.
func (t *sqlTransaction) finish(ctx context.Context) error {
	if !t.saved {
		return nil // commit fails then, or the next savepoint
	}
	return t.exec(ctx, "RELEASE SAVEPOINT "+savepoint)
}

func (t *sqlTransaction) undo(ctx context.Context) error {
	err := t.exec(ctx, "ROLLBACK TO SAVEPOINT "+savepoint)
	t.closed = isLost(err)
	return err
}

func (t *sqlTransaction) commit(context.Context) error {
	defer t.cancel()
	return t.Tx.Commit()
}

func (t *sqlTransaction) rollback(context.Context) error {
	defer t.cancel()
	err := t.Tx.Rollback()
	t.closed = t.closed || isLost(err)
	return err
}

func (t *sqlTransaction) lost() bool { return t.closed }

func (t *sqlTransaction) abort() { t.cancel() }

package txhandler

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/hookgate/hookgate/inbox"
)

// maxTransactions bounds the transactions of a consumer. More of them make groups smaller.
const maxTransactions = 4

// Pgx returns the database of a pool. It uses at most half of the pool's connections, because
// functions may use the pool too.
func Pgx(pool *pgxpool.Pool) Database[pgx.Tx] { return pgxDatabase{pool} }

type pgxDatabase struct{ pool *pgxpool.Pool }

func (db pgxDatabase) transactions() int {
	return min(maxTransactions, max(1, int(db.pool.Config().MaxConns)/2))
}

func (db pgxDatabase) inbox() inbox.DB { return inbox.Pgx(db.pool) }

func (db pgxDatabase) begin(ctx context.Context) (transaction[pgx.Tx], error) {
	tx, err := db.pool.Begin(ctx)
	if err != nil {
		return nil, err
	}
	return &pgxTransaction{Tx: tx, conn: tx.Conn(), net: tx.Conn().PgConn()}, nil
}

type pgxTransaction struct {
	pgx.Tx
	conn *pgx.Conn
	net  *pgconn.PgConn
	// before are statements that are sent along with the next one.
	before []string
	closed bool
}

func (t *pgxTransaction) tx() pgx.Tx { return FunctionTx{t.Tx} }

func (t *pgxTransaction) inbox() inbox.DB { return inbox.Pgx(t) }

// savepoint is the name of the savepoint before an event.
const savepoint = "hookgate_event"

func (t *pgxTransaction) save(context.Context) error {
	t.before = append(t.before, "SAVEPOINT "+savepoint)
	return nil
}

// Exec sends a statement in one round trip with those that must come before it.
func (t *pgxTransaction) Exec(ctx context.Context, statement string,
	args ...any) (tag pgconn.CommandTag, err error) {
	batch := &pgx.Batch{}
	for _, first := range t.before {
		batch.Queue(first)
	}
	batch.Queue(statement, args...)
	results := t.conn.SendBatch(ctx, batch)
	for range len(t.before) + 1 {
		if tag, err = results.Exec(); err != nil {
			break
		}
	}
	t.before = nil
	return tag, errors.Join(err, results.Close())
}

func (t *pgxTransaction) finish(context.Context) error {
	switch {
	case t.net.IsClosed():
		return errors.New("the connection was lost")
	case t.net.IsBusy():
		return errors.New("the handler returned before it closed the rows of a query")
	case t.net.TxStatus() == 'E':
		return errors.New("the handler returned nil although a statement of its transaction failed")
	case t.net.TxStatus() != 'T':
		return errors.New("the handler ended the transaction, which the gate does after it")
	}
	return nil
}

func (t *pgxTransaction) undo(ctx context.Context) error {
	t.closed = t.net.IsClosed()
	_, err := t.Tx.Exec(ctx, "ROLLBACK TO SAVEPOINT "+savepoint)
	return err
}

func (t *pgxTransaction) commit(ctx context.Context) error { return t.Tx.Commit(ctx) }

func (t *pgxTransaction) rollback(ctx context.Context) error {
	t.closed = t.closed || t.net.IsClosed()
	return t.Tx.Rollback(ctx)
}

func (t *pgxTransaction) lost() bool { return t.closed }

func (t *pgxTransaction) abort() { t.net.Conn().Close() }

// FunctionTx is the transaction that a function gets. Begin gives it a savepoint of its own. The
// function cannot end the transaction: other deliveries share it.
type FunctionTx struct{ pgx.Tx }

// errOwner is the error of ending the transaction.
var errOwner = errors.New("the gate commits the transaction after the handler has returned nil," +
	" and rolls back after any other result")

// Commit returns an error.
func (FunctionTx) Commit(context.Context) error { return errOwner }

// Rollback returns an error.
func (FunctionTx) Rollback(context.Context) error { return errOwner }

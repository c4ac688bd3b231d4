package gate

import (
	"context"
	"database/sql"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/deliver/handler"
	"github.com/hookgate/hookgate/deliver/txhandler"
	"github.com/hookgate/hookgate/inbox"
)

// Defaults of HandleTx and HandleSQL. The events that wait for a transaction share the next one.
const (
	inboxTable    = "hookgate_inbox"
	inboxKeep     = 30 * 24 * time.Hour
	txConcurrency = 128
)

// TxHandler handles one event in a transaction. See HandleTx.
type TxHandler = func(ctx context.Context, tx pgx.Tx, e *hookgate.Event) error

// SQLHandler handles one event in a transaction. See HandleSQL.
type SQLHandler = func(ctx context.Context, tx *sql.Tx, e *hookgate.Event) error

// HandleTx subscribes a function like Handle, and runs it in a transaction of your own PostgreSQL
// database. The transaction also records the delivery, in the table hookgate_inbox of that
// database. So the work of the function in tx happens exactly once for each delivery, also if
// a process is killed. A redelivery on purpose is a delivery of its own. An effect outside of the
// transaction, such as an email, can still happen twice.
//
// The gate commits after the function has returned nil, and rolls back after an error or a panic.
// The function cannot end the transaction; tx.Begin gives it a savepoint of its own. The events
// that wait for a transaction share the next one, each with a savepoint. So locks are kept until
// the others have run too, usually some milliseconds. An event that failed before runs alone.
//
// The gate uses at most half of the connections of the pool, and at most four. A database that is
// away counts as an outage: it uses up no attempt.
//
// HandleTx creates the table if it does not exist, and the gate removes its old rows. Options can
// change both:
//
//	g.HandleTx("ledger", pool, gate.Filter{}, book, func(s *gate.SubscriptionOptions) {
//		s.Handler.Inbox.Table = "billing.inbox"
//	})
func (g *Gate) HandleTx(name string, pool *pgxpool.Pool, f Filter, h TxHandler,
	options ...func(*SubscriptionOptions)) error {
	if h == nil {
		return g.addHandler(name, f, txDefaults(), nil, options)
	}
	return g.addHandler(name, f, txDefaults(), inTransaction(g, name, inbox.PostgreSQL,
		txhandler.Pgx(pool), h), options)
}

// HandleSQL is HandleTx for database/sql, and for PostgreSQL, MySQL and SQLite.
//
// A function that ends the transaction itself ends that of other events too; they run again. With
// SQLite open db with _txlock=immediate and a busy time-out, and keep the data of the gate in a
// file of its own: DataDir has it.
func (g *Gate) HandleSQL(name string, db *sql.DB, dialect inbox.Dialect, f Filter, h SQLHandler,
	options ...func(*SubscriptionOptions)) error {
	if h == nil {
		return g.addHandler(name, f, txDefaults(), nil, options)
	}
	return g.addHandler(name, f, txDefaults(), inTransaction(g, name, dialect,
		txhandler.SQL(db, dialect), h), options)
}

func txDefaults() HandlerOptions {
	return HandlerOptions{Timeout: handler.DefaultTimeout, Concurrency: txConcurrency,
		Inbox: &InboxOptions{Table: inboxTable, Keep: inboxKeep}}
}

// inTransaction returns the consumerOf of a function that runs in transactions.
func inTransaction[Tx any](g *Gate, name string, dialect inbox.Dialect, db txhandler.Database[Tx],
	h txhandler.Func[Tx]) consumerOf {
	return func(o HandlerOptions) (hookgate.Consumer, error) {
		table, err := inbox.General(dialect, o.Inbox.Table)
		if err != nil {
			return nil, err
		}
		c := txhandler.New(txhandler.Config[Tx]{Name: name, Func: h, Timeout: o.Timeout, Database: db,
			Inbox: table, Keep: o.Inbox.Keep, Logger: g.log})
		if err := c.Prepare(context.Background()); err != nil {
			return nil, err
		}
		g.run(c.Run)
		return c, nil
	}
}

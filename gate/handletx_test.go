package gate

import (
	"context"
	"database/sql"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	_ "modernc.org/sqlite"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/inbox"
	"github.com/hookgate/hookgate/internal/pgtest"
)

// pgPool returns a pool of connections to a new database.
func pgPool(t *testing.T) *pgxpool.Pool {
	t.Helper()
	cluster, err := pgtest.Shared()
	if err != nil {
		t.Fatal(err)
	}
	name, err := cluster.NewDatabase(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	pool, err := pgxpool.New(context.Background(), cluster.URL(name))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

// sqliteDB opens a database of the program.
func sqliteDB(t *testing.T) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(t.TempDir(), "app.db")+
		"?_txlock=immediate&_pragma=busy_timeout(60000)&_pragma=synchronous(off)")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

// TestHandleTx: the first attempt of each event fails after its work, which is rolled back. Each
// event has its effect once. After a redelivery of all events on purpose each has it twice.
func TestHandleTx(t *testing.T) {
	for _, driver := range []string{"pgx", "SQLite"} {
		t.Run(driver, func(t *testing.T) {
			var (
				effects func() (all []string)
				left    = make(chan struct{}, 100)
			)
			insert := "INSERT INTO effects VALUES ('" // and the message id
			result := func(ctx context.Context, err error) error {
				d, _ := DeliveryOf(ctx)
				if err == nil && d.Attempt == 1 {
					err = errors.New("the first attempt fails")
				}
				if err == nil {
					left <- struct{}{}
				}
				return err
			}
			g, err := Open(t.Context(), embedded(t))
			if err != nil {
				t.Fatal(err)
			}
			if driver == "pgx" {
				pool := pgPool(t)
				if _, err = pool.Exec(t.Context(), "CREATE TABLE effects (id text)"); err != nil {
					t.Fatal(err)
				}
				err = g.HandleTx("ledger", pool, Filter{},
					func(ctx context.Context, tx pgx.Tx, e *hookgate.Event) error {
						_, err := tx.Exec(ctx, insert+e.MessageID+"')")
						return result(ctx, err)
					}, quickly)
				effects = func() []string {
					rows, _ := pool.Query(t.Context(), "SELECT id FROM effects ORDER BY id")
					all, err := pgx.CollectRows(rows, pgx.RowTo[string])
					if err != nil {
						t.Error(err)
					}
					return all
				}
			} else {
				db := sqliteDB(t)
				if _, err = db.Exec("CREATE TABLE effects (id text)"); err != nil {
					t.Fatal(err)
				}
				err = g.HandleSQL("ledger", db, inbox.SQLite, Filter{},
					func(ctx context.Context, tx *sql.Tx, e *hookgate.Event) error {
						_, err := tx.ExecContext(ctx, insert+e.MessageID+"')")
						return result(ctx, err)
					}, quickly)
				effects = func() (all []string) {
					var text string
					err := db.QueryRow("SELECT group_concat(id ORDER BY id) FROM effects").Scan(&text)
					if err != nil {
						t.Error(err)
					}
					return strings.Split(text, ",")
				}
			}
			if err != nil {
				t.Fatal(err)
			}
			stop := run(t, g)
			ids := []string{"a", "b", "c", "d", "e"}
			sendIDs(t, g, ids...)
			for range ids {
				<-left
			}
			_, _, err = g.backends.subscriptions.Redeliver(t.Context(), "ledger",
				hookgate.RedeliveryJob{}, false, hookgate.Person{By: "test", Reason: "on purpose"})
			if err != nil {
				t.Fatal(err)
			}
			g.delivery.Wake()
			for range ids {
				<-left
			}
			stop()
			if got := effects(); !slices.Equal(got, slices.Sorted(slices.Values(append(ids, ids...)))) {
				t.Errorf("the effects are %v", got)
			}
		})
	}
}

// TestHandleTxMistakes: a handler without a function, a table that is no inbox, and rows that would
// go too early are errors of HandleTx and of Run.
func TestHandleTxMistakes(t *testing.T) {
	g, err := Open(t.Context(), embedded(t))
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	db := sqliteDB(t)
	if _, err := db.Exec("CREATE TABLE hookgate_inbox (id integer)"); err != nil {
		t.Fatal(err)
	}
	nothing := func(context.Context, *sql.Tx, *hookgate.Event) error { return nil }
	want := []string{"handlers.a", "has no function", "no such column: subscription",
		"cannot name a table", "handler.inbox.keep is 1h0m0s", "is there already"}
	err = errors.Join(
		g.HandleTx("a", nil, Filter{}, nil),
		g.HandleSQL("b", db, inbox.SQLite, Filter{}, nothing),
		g.HandleSQL("c", db, inbox.SQLite, Filter{}, nothing,
			func(s *SubscriptionOptions) { s.Handler.Inbox.Table = "a b" }),
		g.HandleSQL("d", db, inbox.SQLite, Filter{}, nothing,
			func(s *SubscriptionOptions) { s.Handler.Inbox.Keep = time.Hour }),
		g.HandleSQL("e", db, inbox.SQLite, Filter{}, nothing,
			func(s *SubscriptionOptions) { s.Handler.Inbox.Table = "other" }),
		g.HandleSQL("e", db, inbox.SQLite, Filter{}, nothing))
	ran := g.Run(t.Context())
	for _, text := range want {
		if !strings.Contains(err.Error(), text) || !strings.Contains(ran.Error(), text) {
			t.Errorf("no error says %q:\n%v\n%v", text, err, ran)
		}
	}
}

package inbox

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	_ "github.com/jackc/pgx/v5/stdlib"
	"go.uber.org/goleak"
	_ "modernc.org/sqlite"

	"github.com/hookgate/hookgate/internal/pgtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(pgtest.Run(m)) }

// transaction is a transaction of any driver.
type transaction struct {
	DB
	commit, rollback func() error
}

// database is a database of any driver.
type database struct {
	DB
	dialect Dialect
	begin   func(t *testing.T) transaction
}

func newSQL(t *testing.T, dialect Dialect, driver, address string) database {
	t.Helper()
	db, err := sql.Open(driver, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return database{SQL(db), dialect, func(t *testing.T) transaction {
		tx, err := db.BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		return transaction{SQL(tx), tx.Commit, tx.Rollback}
	}}
}

// onEach runs a test on each driver that can run here. There is no MySQL here.
func onEach(t *testing.T, test func(t *testing.T, db database)) {
	postgres := func(t *testing.T) string {
		cluster, err := pgtest.Shared()
		if err != nil {
			t.Fatal(err)
		}
		name, err := cluster.NewDatabase(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return cluster.URL(name)
	}
	t.Run("pgx", func(t *testing.T) {
		pool, err := pgxpool.New(t.Context(), postgres(t))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(pool.Close)
		test(t, database{Pgx(pool), PostgreSQL, func(t *testing.T) transaction {
			var tx pgx.Tx
			if tx, err = pool.Begin(t.Context()); err != nil {
				t.Fatal(err)
			}
			return transaction{Pgx(tx), func() error { return tx.Commit(t.Context()) },
				func() error { return tx.Rollback(t.Context()) }}
		}})
	})
	t.Run("PostgreSQL", func(t *testing.T) { test(t, newSQL(t, PostgreSQL, "pgx", postgres(t))) })
	t.Run("SQLite", func(t *testing.T) {
		file := "file:" + filepath.Join(t.TempDir(), "app.db") +
			"?_txlock=immediate&_pragma=busy_timeout(60000)&_pragma=synchronous(off)"
		test(t, newSQL(t, SQLite, "sqlite", file))
	})
}

// newInbox creates a table, twice.
func newInbox(t *testing.T, table *Table, err error, db DB) *Table {
	t.Helper()
	for range 2 {
		if err == nil {
			err = table.Create(t.Context(), db)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// done records a delivery in a transaction of its own.
func done(t *testing.T, db database, table *Table, d Delivery) bool {
	t.Helper()
	tx := db.begin(t)
	first, err := table.First(t.Context(), tx, d)
	if err = errors.Join(err, tx.commit()); err != nil {
		t.Fatal(err)
	}
	return first
}

// TestGeneral: a delivery is first once, and again after a rollback. Other redeliveries,
// subscriptions and webhook ids have rows of their own. Prune removes only old rows.
func TestGeneral(t *testing.T) {
	onEach(t, func(t *testing.T, db database) {
		table, err := General(db.dialect, "inbox")
		newInbox(t, table, err, db)
		d := Delivery{Subscription: "billing", WebhookID: "id-1"}
		tx := db.begin(t)
		if first, err := table.First(t.Context(), tx, d); !first || err != nil {
			t.Fatal(first, err)
		}
		if err := tx.rollback(); err != nil {
			t.Fatal(err)
		}
		again, redelivered, search, other := d, d, d, d
		redelivered.Redelivery, search.Subscription, other.WebhookID = 7, "search", "ID-1"
		for i, step := range []struct {
			Delivery
			first bool
		}{{d, true}, {again, false}, {redelivered, true}, {redelivered, false}, {search, true},
			{other, true}, {d, false}} {
			if first := done(t, db, table, step.Delivery); first != step.first {
				t.Errorf("step %d: first is %v", i, first)
			}
		}
		if n, err := table.Prune(t.Context(), db, time.Hour); n != 0 || err != nil {
			t.Errorf("Prune removed %d new rows: %v", n, err)
		}
		if n, err := table.Prune(t.Context(), db, -time.Hour); n != 4 || err != nil {
			t.Errorf("Prune removed %d of 4 old rows: %v", n, err)
		}
		if !done(t, db, table, d) {
			t.Error("the row is still there")
		}
	})
}

// TestWaitsForTheOther: while another transaction has recorded the delivery and is open, First
// waits. Then it reports what the other one did.
func TestWaitsForTheOther(t *testing.T) {
	onEach(t, func(t *testing.T, db database) {
		if db.dialect == SQLite {
			t.Skip("BEGIN IMMEDIATE waits, not First")
		}
		table, err := General(db.dialect, "inbox")
		newInbox(t, table, err, db)
		for _, committed := range []bool{true, false} {
			d := Delivery{Subscription: "billing", WebhookID: fmt.Sprint(committed)}
			one, two := db.begin(t), db.begin(t)
			if first, err := table.First(t.Context(), one, d); !first || err != nil {
				t.Fatal(first, err)
			}
			answer := make(chan bool)
			go func() {
				first, err := table.First(t.Context(), two, d)
				if err != nil {
					t.Error(err)
				}
				answer <- first
			}()
			waiting := "SELECT 1 FROM pg_locks WHERE NOT granted"
			for n := int64(0); n == 0; {
				if n, err = db.exec(t.Context(), waiting); err != nil {
					t.Fatal(err)
				}
			}
			end := one.rollback
			if committed {
				end = one.commit
			}
			if err := end(); err != nil {
				t.Fatal(err)
			}
			if first := <-answer; first == committed {
				t.Errorf("committed %v: first is %v", committed, first)
			}
			if err := two.commit(); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// TestShort: an event is first if it is later than the last one of its key. Prune removes the old
// rows of events without a key only.
func TestShort(t *testing.T) {
	onEach(t, func(t *testing.T, db database) {
		name := "inbox_keys"
		if db.dialect == PostgreSQL {
			name = "public.inbox_keys"
		}
		table, err := Short(db.dialect, name)
		newInbox(t, table, err, db)
		now := time.Now().UnixMicro()
		for i, step := range []struct {
			subscription, key string
			event             int64
			first             bool
		}{{"billing", "k:a", 10, true}, {"billing", "k:a", 10, false}, {"billing", "k:a", 12, true},
			{"billing", "k:a", 11, false}, {"billing", "k:b", 9, true}, {"search", "k:a", 10, true},
			{"billing", "e:20", 20, true}, {"billing", "e:1", now, true}} {
			d := Delivery{Subscription: step.subscription, Key: step.key, EventID: step.event}
			if first := done(t, db, table, d); first != step.first {
				t.Errorf("step %d: first is %v", i, first)
			}
		}
		if n, err := table.Prune(t.Context(), db, time.Hour); n != 1 || err != nil {
			t.Errorf("Prune removed %d rows, want that of event 20: %v", n, err)
		}
	})
}

// TestMistakes: unusable names, dialects, tables and deliveries are errors that say so.
func TestMistakes(t *testing.T) {
	for _, name := range []string{"", "a b", "a;b", `"a"`, "a.b.c", "1a", "{table}"} {
		if _, err := General(SQLite, name); err == nil {
			t.Errorf("%q names a table", name)
		}
	}
	if _, err := Short("Oracle", "inbox"); err == nil {
		t.Error("Oracle is a dialect")
	}
	onEach(t, func(t *testing.T, db database) {
		if _, err := db.exec(t.Context(), "CREATE TABLE inbox (id integer)"); err != nil {
			t.Fatal(err)
		}
		table, err := General(db.dialect, "inbox")
		if err != nil {
			t.Fatal(err)
		}
		err = table.Create(t.Context(), db)
		if err == nil || !strings.Contains(err.Error(), "subscription") {
			t.Errorf("another table is an inbox: %v", err)
		}
		if _, err := table.First(t.Context(), db, Delivery{Subscription: "billing"}); err == nil {
			t.Error("a delivery has no webhook id")
		}
		if _, err := table.Prune(t.Context(), db, time.Hour); err == nil {
			t.Error("Prune has no error")
		}
	})
}

func TestFromHeader(t *testing.T) {
	h := http.Header{}
	for name, value := range map[string]string{
		"webhook-id": "id-1", "hookgate-subscription": "billing", "hookgate-redelivery": "3",
		"hookgate-key": "k:gr%C3%B6n", "hookgate-event-id": "1764288000000000",
	} {
		h.Set(name, value)
	}
	want := Delivery{"billing", "id-1", 3, "k:gr%C3%B6n", 1764288000000000}
	if d, err := FromHeader(h); d != want || err != nil {
		t.Errorf("%+v, %v", d, err)
	}
	h.Del("webhook-id")
	h.Set("hookgate-redelivery", "-1")
	_, err := FromHeader(h)
	if err == nil || !strings.Contains(err.Error(), "webhook-id is missing") ||
		!strings.Contains(err.Error(), "hookgate-redelivery is not a number") {
		t.Errorf("error %v", err)
	}
}

// fakeMySQL answers as MySQL does: an INSERT of a row that exists is an error.
type fakeMySQL struct {
	err  error // of the INSERT
	row  bool
	away error // of the query
}

func (f fakeMySQL) exec(context.Context, string, ...any) (int64, error) { return 1, f.err }

func (f fakeMySQL) found(_ context.Context, query string, args ...any) (bool, error) {
	if strings.Count(query, "?") != len(args) || strings.Contains(query, "{") {
		return false, errors.New("syntax error")
	}
	return f.row && f.away == nil, f.away
}

// TestMySQLDuplicate: on MySQL the row, and not the text of the error, tells a duplicate entry from
// another error. On 2026-11-29 the statements were run by hand on MariaDB 10.11.
func TestMySQLDuplicate(t *testing.T) {
	table, err := General(MySQL, "inbox")
	if err != nil {
		t.Fatal(err)
	}
	failed := errors.New("Error 1062 or another")
	for _, test := range []struct {
		db    fakeMySQL
		first bool
		err   error
	}{
		{fakeMySQL{}, true, nil},
		{fakeMySQL{err: failed, row: true}, false, nil},
		{fakeMySQL{err: failed}, false, failed},
		{fakeMySQL{err: failed, row: true, away: sql.ErrConnDone}, false, failed},
	} {
		d := Delivery{Subscription: "billing", WebhookID: "id-1"}
		first, err := table.First(t.Context(), test.db, d)
		if first != test.first || !errors.Is(err, test.err) {
			t.Errorf("%+v: %v, %v", test.db, first, err)
		}
	}
}

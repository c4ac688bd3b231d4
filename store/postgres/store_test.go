package postgres

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/internal/modeltest"
	"github.com/hookgate/hookgate/internal/pgtest"
	"github.com/hookgate/hookgate/store/entry"
	"github.com/hookgate/hookgate/store/sqlstore"
	"github.com/hookgate/hookgate/store/storetest"
)

func TestMain(m *testing.M) {
	if url := os.Getenv(appenderURL); url != "" {
		if err := appender(url, os.Args); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	modeltest.Checks(6)
	goleak.VerifyTestMain(pgtest.Run(m))
}

// newDatabase returns the URL of a database with the tables of a store, which has nothing yet.
// Later tests reuse the database. Tests of the migrations need newEmptyDatabase.
func newDatabase(t storetest.TB) string {
	t.Helper()
	c, err := pgtest.Shared()
	if err != nil {
		t.Fatalf("%v", err)
	}
	name, err := c.NewPrepared(context.Background(), func(url string) error {
		return Migrate(context.Background(), url, "")
	})
	if err != nil {
		t.Fatalf("%v", err)
	}
	t.Cleanup(func() {
		if err := c.ResetPrepared(context.Background(), name); err != nil {
			t.Errorf("%v", err)
		}
	})
	return c.URL(name)
}

// newEmptyDatabase returns the URL of an empty database. Later tests reuse the database.
func newEmptyDatabase(t storetest.TB) string {
	t.Helper()
	c, err := pgtest.Shared()
	if err != nil {
		t.Fatalf("%v", err)
	}
	name, err := c.NewDatabase(context.Background())
	if err != nil {
		t.Fatalf("%v", err)
	}
	t.Cleanup(func() {
		if err := c.Recycle(context.Background(), name); err != nil {
			t.Errorf("%v", err)
		}
	})
	return c.URL(name)
}

// openStore opens the store at url. The returned function makes commits fail.
func openStore(t storetest.TB, url string) (*Store, func(done *bool)) {
	t.Helper()
	s, err := Open(context.Background(), Config{URL: url, MaxConns: 6})
	if err != nil {
		t.Fatalf("%v", err)
	}
	s.holdTime = 0 // the next process may remove at once
	var when atomic.Pointer[bool]
	s.failCommit = func(done bool) error {
		if w := when.Load(); w != nil && *w == done {
			return errors.New("injected write error")
		}
		return nil
	}
	return s, when.Store
}

// instance is an open store with its audit.
func instance(t storetest.TB, url string) storetest.Instance {
	t.Helper()
	s, failWrites := openStore(t, url)
	return storetest.Instance{Store: s, Reader: s, Purger: s, Pruner: s, Access: s, History: s,
		RefusedStore: s, FailWrites: failWrites, Verify: func() error { return verified(url) }}
}

// verified returns an error if the audit finds a break.
func verified(url string) error {
	audit, err := Verify(context.Background(), url, "", nil)
	if err == nil && audit.Break != nil {
		err = audit.Break
	}
	return err
}

// TestConformance runs the suite against databases whose default collation is that of a language.
func TestConformance(t *testing.T) {
	storetest.Run(t, storetest.Backend{
		FailsWrites: true,
		NewPlace:    func(t storetest.TB) string { return newDatabase(t) },
		Open:        func(t storetest.TB, place string) storetest.Instance { return instance(t, place) },
		Refuse: func(t storetest.TB, place, eventType string) {
			conn, err := pgx.Connect(context.Background(), pgtest.InSchema(place, DefaultSchema))
			if err == nil {
				defer conn.Close(context.Background())
				err = execute(conn, `CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
					BEGIN RAISE EXCEPTION 'refused' USING ERRCODE = '23514'; END $$;
					CREATE TRIGGER refuse BEFORE INSERT ON webhook_events FOR EACH ROW WHEN (NEW.event_type = '`+eventType+`') EXECUTE FUNCTION refuse()`)
			}
			if err != nil {
				t.Fatalf("%v", err)
			}
		},
		Rejected: func() hookgate.Record {
			// No index accepts such a long text, even compressed. The index on events contains the
			// type, and that on dead letters the message id.
			digits := rand.New(rand.NewPCG(1, 2))
			long := make([]byte, 20_000)
			for i := range long {
				long[i] = byte('!' + digits.IntN(90))
			}
			return hookgate.Record{Request: hookgate.Request{
				RequestID: hookgate.RequestID{1}, Identity: hookgate.Identity{Source: "default",
					EventType: string(long), MessageID: string(long)},
				OrderingKey: "t",
			}}
		},
	})
}

// TestSearchesLeaveRoom: long searches leave connections for everything else.
func TestSearchesLeaveRoom(t *testing.T) {
	s, _ := openStore(t, newDatabase(t))
	defer s.Close()
	storetest.SearchesLeaveRoom(t, s)
}

// TestColumns: the migrations and the list of columns agree. For webhook_events the types must be
// exact, because COPY converts nothing.
func TestColumns(t *testing.T) {
	s, _ := openStore(t, newDatabase(t))
	defer s.Close()
	storetest.Columns(t, func(table string) map[string]string {
		types := map[string]string{}
		if err := (db{s}).Query(t.Context(), sqlstore.Statement{
			SQL: `SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute
				WHERE attrelid = CAST(? AS regclass) AND attnum > 0 AND NOT attisdropped`, Args: []any{table},
			Row: func(r sqlstore.Row) error { types[r.Text(0)] = r.Text(1); return nil },
		}); err != nil {
			t.Fatal(err)
		}
		if table != "webhook_events" && types["partition"] == "integer" {
			types["partition"] = "bigint"
		}
		return types
	}, map[entry.Type]string{entry.Int: "bigint", entry.Text: "text", entry.Bytes: "bytea",
		entry.Bool: "boolean"})
}

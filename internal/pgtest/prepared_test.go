package pgtest

import (
	"context"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

// TestPrepared: a database that is reset has its first rows and sequences, no sessions, and is used
// again. One whose shape, settings or statistics were changed is not.
func TestPrepared(t *testing.T) {
	ctx := t.Context()
	c, err := Shared()
	if err != nil {
		t.Fatal(err)
	}
	prepare := func(url string) error {
		conn, err := pgx.Connect(ctx, url)
		if err != nil {
			return err
		}
		defer conn.Close(ctx)
		_, err = conn.PgConn().Exec(ctx, `CREATE TABLE a (id bigint GENERATED ALWAYS AS IDENTITY
				PRIMARY KEY, text text);
			CREATE TABLE b (id bigint REFERENCES a, number serial);
			INSERT INTO a (text) VALUES ('first'); INSERT INTO b VALUES (1);
			CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
				BEGIN RAISE EXCEPTION 'append-only'; END $$;
			CREATE TRIGGER refuse BEFORE DELETE ON a FOR EACH STATEMENT EXECUTE FUNCTION refuse()`).ReadAll()
		return err
	}
	take := func() string {
		t.Helper()
		name, err := c.NewPrepared(ctx, prepare)
		if err != nil {
			t.Fatal(err)
		}
		// The next values of the sequences are 2.
		err = c.Exec(ctx, name, `DO $$ BEGIN
			ASSERT (SELECT string_agg(id || text, ',') FROM a) = '1first';
			ASSERT (SELECT string_agg(id || '-' || number, ',') FROM b) = '1-1';
			INSERT INTO a (text) VALUES ('second');
			ASSERT (SELECT max(id) FROM a) = 2;
			INSERT INTO b VALUES (2);
			ASSERT (SELECT max(number) FROM b) = 2;
			END $$`)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		return name
	}
	reset := func(name string) {
		t.Helper()
		if err := c.ResetPrepared(ctx, name); err != nil {
			t.Fatal(err)
		}
	}
	first := take()
	for _, change := range []string{"UPDATE a SET text = 'other'", "TRUNCATE b",
		"INSERT INTO a (text) SELECT n::text FROM generate_series(1, 10000) n"} { // large
		session, err := pgx.Connect(ctx, c.URL(first))
		if err != nil {
			t.Fatal(err)
		}
		defer session.Close(context.Background())
		if _, err := session.Exec(ctx, change); err != nil {
			t.Fatal(err)
		}
		reset(first)
		if err := session.Ping(ctx); err == nil {
			t.Errorf("%s: the session has not ended", change)
		}
		if again := take(); again != first {
			t.Fatalf("%s: the next database is %s, want %s", change, again, first)
		}
	}
	for _, change := range []string{"ALTER TABLE a ADD COLUMN c int", "CREATE TABLE c ()",
		"CREATE INDEX ON a (text)", "ALTER TABLE a DISABLE TRIGGER refuse", "DROP TABLE b",
		"ALTER DATABASE DATABASE SET work_mem = '1MB'", "GRANT SELECT ON a TO PUBLIC", "ANALYZE a",
		"CREATE SCHEMA other", "ALTER TABLE a ALTER COLUMN text SET DEFAULT 'x'",
		"CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN END'"} {
		name := take()
		if err := c.Exec(ctx, name, strings.Replace(change, "DATABASE DATABASE", "DATABASE "+name,
			1)); err != nil {
			t.Fatal(err)
		}
		reset(name)
		if err := c.Exec(ctx, name, "SELECT"); err == nil {
			t.Errorf("%s: the database is still there", change)
		}
	}
}

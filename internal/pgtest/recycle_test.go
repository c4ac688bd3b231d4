package pgtest

import (
	"testing"

	"github.com/jackc/pgx/v5"
)

// TestRecycle checks that a recycled database is empty, has no sessions, and is used again.
func TestRecycle(t *testing.T) {
	ctx := t.Context()
	c, err := Shared()
	if err != nil {
		t.Fatal(err)
	}
	first, err := c.NewDatabase(ctx)
	if err != nil {
		t.Fatal(err)
	}
	session, err := pgx.Connect(ctx, c.URL(first))
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close(ctx)
	for _, statement := range []string{"CREATE SCHEMA other", "CREATE TABLE other.a ()",
		"CREATE TABLE public.b ()", "ALTER DATABASE " + first + " SET work_mem = '1MB'"} {
		if _, err := session.Exec(ctx, statement); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Recycle(ctx, first); err != nil {
		t.Fatal(err)
	}
	if err := session.Ping(ctx); err == nil {
		t.Error("the session has not ended")
	}
	second, err := c.NewDatabase(ctx)
	if err != nil || second != first {
		t.Fatalf("the next database is %s, %v; want %s", second, err, first)
	}
	// public is the only schema, and empty; the setting is gone.
	err = c.Exec(ctx, second, `DO $$ BEGIN
		ASSERT (SELECT count(*) FROM pg_namespace WHERE nspname !~ '^pg_') = 2;
		ASSERT (SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
			WHERE nspname = 'public') = 0;
		ASSERT current_setting('work_mem') = '4MB';
		ASSERT has_schema_privilege('public', 'public', 'USAGE');
		END $$`)
	if err != nil {
		t.Error(err)
	}
}

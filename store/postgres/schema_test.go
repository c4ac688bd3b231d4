package postgres

import (
	"context"
	"errors"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/internal/pgtest"
	"github.com/hookgate/hookgate/store/storetest"
)

// fillSchema opens the store in a schema, fills it and audits it.
func fillSchema(t *testing.T, url, schema string) {
	t.Helper()
	s, err := Open(t.Context(), Config{URL: url, Schema: schema, MaxConns: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	storetest.Fill(t, s)
	audit, err := Verify(t.Context(), url, schema, nil)
	if err != nil || audit.Break != nil || audit.Events == 0 {
		t.Errorf("audit of schema %q: %+v (error %v)", schema, audit, err)
	}
}

// text returns the single value of a query.
func text(t *testing.T, conn *pgx.Conn, query string) (value string) {
	t.Helper()
	if err := conn.QueryRow(t.Context(), query).Scan(&value); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return value
}

const tablesOf = `SELECT coalesce(string_agg(DISTINCT n.nspname, ' ' ORDER BY n.nspname), '')::text FROM pg_class c
	JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relname LIKE 'webhook%'`

// TestAnotherGoose: the store works in a database that another program migrates with goose,
// with any versions, and does not change that program's list.
func TestAnotherGoose(t *testing.T) {
	url := newEmptyDatabase(t)
	outsider := connect(t, url)
	if err := execute(outsider, `CREATE TABLE public.goose_db_version (id serial PRIMARY KEY, version_id bigint NOT NULL, is_applied boolean NOT NULL,
			tstamp timestamp NOT NULL DEFAULT now());
		INSERT INTO public.goose_db_version (version_id, is_applied) SELECT n, true FROM generate_series(0, 9) n;
		INSERT INTO public.goose_db_version (version_id, is_applied) VALUES (20260101000000, true)`); err != nil {
		t.Fatal(err)
	}
	fillSchema(t, url, "")
	if got := text(t, outsider, tablesOf); got != DefaultSchema {
		t.Errorf("the tables are in %q, want %q", got, DefaultSchema)
	}
	if got := text(t, outsider, "SELECT count(*)::text FROM public.goose_db_version"); got != "11" {
		t.Errorf("the other program's list has %s rows, want 11", got)
	}
	fillSchema(t, url, "public") // with a list of its own beside that one
}

// TestOldInstallation: tables that a release before database.schema created in public are migrated
// and used there, and other programs' migrations no longer matter. An older release sees that the
// tables are too new for it.
func TestOldInstallation(t *testing.T) {
	for _, applied := range []int{2, lastGooseVersion} { // that release may have stopped in between
		url := newEmptyDatabase(t)
		old := fstest.MapFS{}
		names, err := migrationNames()
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range names[:applied] {
			data, err := fs.ReadFile(schema(), m.Name)
			if err != nil {
				t.Fatal(err)
			}
			old[m.Name] = &fstest.MapFile{Data: data}
		}
		config, err := pgx.ParseConfig(url)
		if err != nil {
			t.Fatal(err)
		}
		db := stdlib.OpenDB(*config)
		defer db.Close()
		provider, err := goose.NewProvider(goose.DialectPostgres, db, old)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := provider.Up(t.Context()); err != nil {
			t.Fatal(err)
		}

		if _, err := Open(t.Context(), Config{URL: url, SkipMigrations: true}); err == nil ||
			!strings.Contains(err.Error(), "run the migrations") {
			t.Errorf("without migrations it got %v", err)
		}
		fillSchema(t, url, "")
		outsider := connect(t, url)
		if got := text(t, outsider, tablesOf); got != "public" {
			t.Errorf("the tables are in %q, want public", got)
		}
		if newest, err := provider.GetDBVersion(t.Context()); err != nil ||
			newest != names[len(names)-1].Version {
			t.Errorf("an older release sees version %d (error %v)", newest, err)
		}
		if err := execute(outsider, "INSERT INTO public.goose_db_version (version_id,"+
			" is_applied) VALUES (20260101000000, true)"); err != nil {
			t.Fatal(err)
		}
		s, err := Open(t.Context(), Config{URL: url, SkipMigrations: true})
		if err != nil {
			t.Fatalf("after another program's migration: %v", err)
		}
		s.Close()
		all, err := MigrationStatus(t.Context(), url, "")
		if err != nil || len(all) != len(names) || all[0].AppliedAt.IsZero() ||
			all[len(all)-1].AppliedAt.IsZero() {
			t.Errorf("status is %+v (error %v)", all, err)
		}
	}
}

// TestSchemas: gates with their own schemas, of any name, share a database and do not see each
// other's data. This also works behind a pooler.
func TestSchemas(t *testing.T) {
	url := newEmptyDatabase(t)
	config, err := pgx.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	c, err := pgtest.Shared()
	if err != nil {
		t.Fatal(err)
	}
	b, err := pgtest.StartBouncer(t.Context(), c, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	for _, name := range []string{DefaultSchema, "public", `Ünder "score" 'q', x; --`,
		strings.Repeat("x", maxSchemaBytes)} {
		fillSchema(t, b.URL(config.Database), name)
		i, err := Inspect(t.Context(), url, name)
		if err != nil || i.Schema != name {
			t.Errorf("inspection of %q finds %q (error %v)", name, i.Schema, err)
		}
		if want := map[bool]string{true: "", false: "public"}[name == "public" ||
			name == DefaultSchema]; i.Other != want {
			t.Errorf("beside %q there is %q, want %q", name, i.Other, want)
		}
	}
	for _, name := range []string{"pg_gate", "$user", "information_schema",
		strings.Repeat("x", maxSchemaBytes+1), "a\x00", "\xff", "a\nb"} {
		var misconfig *hookgate.MisconfiguredError
		if _, err := Open(t.Context(), Config{URL: url, Schema: name}); !errors.As(err, &misconfig) ||
			CheckSchema(name) == nil {
			t.Errorf("schema %q got %v", name, err)
		}
	}
}

// TestSchemaRights: a user who may not create the schema gets the statement that an administrator
// must run. After that the user needs no other privilege.
func TestSchemaRights(t *testing.T) {
	url := newEmptyDatabase(t)
	outsider := connect(t, url)
	role := "gate_" + text(t, outsider, "SELECT current_database()::text")
	if err := execute(outsider, "CREATE ROLE "+role+" LOGIN"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = execute(outsider, "DROP OWNED BY "+role+" CASCADE; DROP ROLE "+role) })
	url = strings.Replace(url, "tester@", role+"@", 1)
	var misconfig *hookgate.MisconfiguredError
	_, err := Open(t.Context(), Config{URL: url})
	if !errors.As(err, &misconfig) {
		t.Fatalf("without rights it got %v", err)
	}
	_, statement, found := strings.Cut(err.Error(), "run: ")
	if !found {
		t.Fatalf("the error shows no statement: %v", err)
	}
	if err := execute(outsider, statement); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
	fillSchema(t, url, "")
}

// TestTriggersInAnyPath: another search path does not bypass the triggers.
func TestTriggersInAnyPath(t *testing.T) {
	url := filled(t)
	outsider := connect(t, url)
	if err := execute(outsider, "CREATE TEMP TABLE webhook_retention (reason text);"+
		" INSERT INTO webhook_retention VALUES ('x'); SET search_path = pg_temp, public"); err != nil {
		t.Fatal(err)
	}
	for _, change := range []string{"DELETE FROM hookgate.webhook_events",
		"DELETE FROM hookgate.webhook_admin_actions", "TRUNCATE hookgate.webhook_approvals"} {
		if err := execute(outsider, change); err == nil ||
			!strings.Contains(err.Error(), "is append-only") {
			t.Errorf("%s got %v", change, err)
		}
	}
	if _, err := outsider.Exec(context.Background(),
		"SELECT FROM hookgate.webhook_audit_trail"); err != nil {
		t.Error(err)
	}
}

// TestSchemaVersions: an older schema is migrated without losing data. A newer schema is rejected,
// and so is any other version if migrations are disabled.
func TestSchemaVersions(t *testing.T) {
	url := newEmptyDatabase(t)
	open := func(skip bool) error {
		s, err := Open(t.Context(), Config{URL: url, SkipMigrations: skip})
		if err == nil {
			err = s.Close()
		}
		return err
	}
	names, err := fs.Glob(schema(), "*.sql")
	if err != nil {
		t.Fatal(err)
	}
	known := len(names)
	if err := open(true); err == nil || !strings.Contains(err.Error(), "run the migrations") {
		t.Errorf("a new database without migrations got %v", err)
	}
	if all, err := MigrationStatus(t.Context(), url, ""); err != nil || len(all) != known ||
		!all[0].AppliedAt.IsZero() {
		t.Errorf("status of a new database is %+v (error %v)", all, err)
	}
	for range 2 {
		if err := Migrate(t.Context(), url, ""); err != nil {
			t.Fatal(err)
		}
	}
	if all, err := MigrationStatus(t.Context(), url, ""); err != nil || len(all) != known ||
		all[known-1].AppliedAt.IsZero() || all[0].Version != 1 {
		t.Errorf("status after the migration is %+v (error %v)", all, err)
	}
	if err := open(true); err != nil {
		t.Errorf("a schema that is as it should be got %v", err)
	}

	original := schema
	defer func() { schema = original }()
	schema = func() fs.FS {
		files := fstest.MapFS{"99999_more.sql": {Data: []byte(
			"-- +goose Up\nCREATE TABLE more (n integer);\n")}}
		for _, name := range names {
			text, err := fs.ReadFile(original(), name)
			if err != nil {
				t.Fatal(err)
			}
			files[name] = &fstest.MapFile{Data: text}
		}
		return files
	}
	if err := open(true); err == nil {
		t.Error("an old schema was opened without migrations")
	}
	if err := open(false); err != nil {
		t.Fatal(err)
	}
	if all, err := MigrationStatus(t.Context(), url, ""); err != nil || len(all) != known+1 ||
		all[known].AppliedAt.IsZero() {
		t.Errorf("status after the second migration is %+v (error %v)", all, err)
	}
	schema = original
	for _, skip := range []bool{false, true} {
		if err := open(skip); err == nil || !strings.Contains(err.Error(), "newer") {
			t.Errorf("a newer schema got %v", err)
		}
	}
	if all, err := MigrationStatus(t.Context(), url, ""); err != nil || len(all) != known+1 ||
		all[known].Version != 99999 {
		t.Errorf("status of a newer schema is %+v (error %v)", all, err)
	}
}

// TestOpenFails: the error names the database and never shows the password.
func TestOpenFails(t *testing.T) {
	for _, url := range []string{
		"postgres://user:s3cret@127.0.0.1:1/name", "postgres://user:s3cret@127.0.0.1:port/name",
		"postgres://user:s3cret@/name?sslmode=x",
		strings.Replace(newEmptyDatabase(t), "tester@", "tester:s3cret@", 1) + "&dbname=missing",
	} {
		s, err := Open(t.Context(), Config{URL: url})
		if err == nil {
			s.Close()
			t.Errorf("%s was opened", url)
		} else if strings.Contains(err.Error(), "s3cret") {
			t.Errorf("the error shows the password: %v", err)
		}
	}
}

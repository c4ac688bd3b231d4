package sqlitedb

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"go.uber.org/goleak"
	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// schema returns migrations 1, 2, … with the given statements.
func schema(statements ...string) fs.FS {
	files := fstest.MapFS{}
	for i, s := range statements {
		files[string(rune('1'+i))+"_step.sql"] = &fstest.MapFile{Data: []byte("-- +goose Up\n" + s +
			";\n")}
	}
	return files
}

const first, second = "CREATE TABLE a (n INTEGER NOT NULL)",
	"ALTER TABLE a ADD COLUMN m INTEGER NOT NULL DEFAULT 7"

func openTest(t *testing.T, path string, migrations fs.FS) *sqlite.Conn {
	t.Helper()
	conn, err := OpenWriter(t.Context(), path, migrations)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func query(t *testing.T, conn *sqlite.Conn, q string) string {
	t.Helper()
	var result []string
	if err := sqlitex.ExecuteTransient(conn, q,
		&sqlitex.ExecOptions{ResultFunc: func(row *sqlite.Stmt) error {
			result = append(result, row.ColumnText(0))
			return nil
		}}); err != nil {
		t.Fatal(err)
	}
	return strings.Join(result, " ")
}

// TestDurable: a connection has the settings that a 202 relies on.
func TestDurable(t *testing.T) {
	conn := openTest(t, filepath.Join(t.TempDir(), "a.db"), schema(first))
	for pragma, want := range map[string]string{"journal_mode": "wal", "synchronous": "2",
		"page_size": "8192", "fullfsync": "1"} {
		if got := query(t, conn, "PRAGMA "+pragma); got != want {
			t.Errorf("%s is %s, want %s", pragma, got, want)
		}
	}
}

// TestMigrations: OpenWriter migrates a file of an older version without losing data, and rejects a
// file of a newer version.
func TestMigrations(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.db")
	conn := openTest(t, path, schema(first))
	if err := sqlitex.ExecuteTransient(conn, "INSERT INTO a VALUES (1)", nil); err != nil {
		t.Fatal(err)
	}
	conn.Close()
	for range 2 {
		conn = openTest(t, path, schema(first, second))
		if got := query(t, conn, "SELECT n || ',' || m FROM a"); got != "1,7" {
			t.Errorf("after the migration the row is %s, want 1,7", got)
		}
		conn.Close()
	}
	if conn, err := OpenWriter(t.Context(), path, schema(first)); err == nil {
		conn.Close()
		t.Error("a file of a newer version was opened")
	} else if !strings.Contains(err.Error(), "newer") {
		t.Errorf("the error for a newer file is %q and does not say so", err)
	}
}

// TestNotADatabase: OpenWriter does not change a file that is not a database, and its error names
// the file.
func TestNotADatabase(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.db")
	text := strings.Repeat("this is no database\n", 100)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if conn, err := OpenWriter(t.Context(), path, schema(first)); err == nil {
		conn.Close()
		t.Error("a text was opened")
	} else if !strings.Contains(err.Error(), path) {
		t.Errorf("the error %q does not name the file", err)
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != text {
		t.Errorf("the text was changed (error %v)", err)
	}
}

// TestReadersCannotWrite: connections for reading reject all statements that write.
func TestReadersCannotWrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.db")
	openTest(t, path, schema(first))
	pool, err := OpenReaders(path, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	conn, err := pool.Take(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Put(conn)
	if err := sqlitex.ExecuteTransient(conn, "INSERT INTO a VALUES (1)", nil); err == nil {
		t.Error("a reader has written")
	}
}

// TestTx: a transaction takes effect completely or not at all, and the connection can run the next
// one.
func TestTx(t *testing.T) {
	conn := openTest(t, filepath.Join(t.TempDir(), "a.db"), schema(first,
		"CREATE TABLE b (n INTEGER REFERENCES c (n) DEFERRABLE INITIALLY DEFERRED)",
		"CREATE TABLE c (n INTEGER PRIMARY KEY)"))
	run := func(statement string) error { return sqlitex.ExecuteTransient(conn, statement, nil) }
	if err := run("PRAGMA foreign_keys = ON"); err != nil {
		t.Fatal(err)
	}
	errStop := errors.New("stop")
	for name, test := range map[string]struct {
		f    func() error
		want string // part of the error; empty: none
	}{
		"fails in the middle": {func() error {
			return errors.Join(run("INSERT INTO a VALUES (1)"),
				errStop)
		}, "stop"},
		"fails at the commit": {func() error {
			return errors.Join(run("INSERT INTO a VALUES (2)"),
				run("INSERT INTO b VALUES (1)"))
		}, "commit"},
		"rolled back by SQLite": {func() error {
			_ = run("INSERT INTO a VALUES (3)")
			return run("INSERT OR ROLLBACK INTO a VALUES (NULL)")
		}, "NOT NULL"},
		"succeeds": {func() error { return run("INSERT INTO a VALUES (9)") }, ""},
	} {
		err := Tx(conn, test.f)
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %q", name, err, test.want)
		}
		if !conn.AutocommitEnabled() {
			t.Fatalf("%s: a transaction is still open", name)
		}
	}
	if got := query(t, conn, "SELECT n FROM a"); got != "9" {
		t.Errorf("the table holds %q, want what the one good transaction put there", got)
	}
}

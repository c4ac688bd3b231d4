// Package sqlitedb opens SQLite files for the embedded store and the spool. They use WAL mode and
// an fsync for each commit, and their schema is migrated when they are opened.
//
// Connections come from zombiezen.com/go/sqlite, because database/sql adds half as much again to
// the cost of each row. goose applies the migrations once, when a file is opened.
package sqlitedb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/pressly/goose/v3"
	_ "modernc.org/sqlite" // the driver that goose uses
	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"
)

const (
	// pageSize is in bytes. Compared with 4 KiB, pages of 8 KiB halve the number of rewrites of
	// random index pages.
	pageSize = 8192
	// cacheKiB is the memory for pages of a file in each writing connection, in KiB.
	cacheKiB = 16 << 10
	// checkpointPages is the length of the write-ahead log, in pages, at which SQLite copies it
	// into the file: 64 MiB. A page that was written many times in between is copied once.
	checkpointPages = 8192
	// BusyTimeout is how long a statement waits for a lock of another connection.
	BusyTimeout = 10 * time.Second
)

// OpenWriter opens the file at path, creates it if it does not exist, and applies missing
// migrations. Only one goroutine may use the connection. After a commit without an error, the
// transaction survives a power cut.
func OpenWriter(ctx context.Context, path string, migrations fs.FS) (*sqlite.Conn, error) {
	conn, err := openWriter(ctx, path, migrations)
	if err != nil {
		return nil, fmt.Errorf("open database %s: %w", path, err)
	}
	return conn, nil
}

func openWriter(ctx context.Context, path string, migrations fs.FS) (_ *sqlite.Conn, err error) {
	conn, err := sqlite.OpenConn(path, sqlite.OpenReadWrite, sqlite.OpenCreate)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			conn.Close()
		}
	}()
	conn.SetBusyTimeout(BusyTimeout)
	if err := setTempDir(conn, filepath.Dir(path)); err != nil {
		return nil, err
	}
	// The page size must be set before the first page is written.
	for _, pragma := range []string{
		fmt.Sprintf("page_size = %d", pageSize),
		"journal_mode = WAL",
		"synchronous = " + synchronous,
		"fullfsync = ON",
		"checkpoint_fullfsync = ON",
		fmt.Sprintf("cache_size = -%d", cacheKiB),
		"temp_store = MEMORY", // the journal of savepoints
		fmt.Sprintf("wal_autocheckpoint = %d", checkpointPages),
		// A long read makes the log grow. The next checkpoint then shrinks it again.
		fmt.Sprintf("journal_size_limit = %d", 2*checkpointPages*pageSize),
	} {
		if err := sqlitex.ExecuteTransient(conn, "PRAGMA "+pragma, nil); err != nil {
			return nil, fmt.Errorf("set %s: %w", pragma, err)
		}
	}
	if err := migrate(ctx, path, migrations); err != nil {
		return nil, err
	}
	return conn, syncDir(filepath.Dir(path))
}

var tempDir sync.Once

// setTempDir makes SQLite put its temporary files into the folder of the first file that is opened.
// That folder has room and is writable, but a container may have no /tmp. The setting applies to
// the whole process and must not change while connections are in use. If the folder disappears,
// SQLite uses another one.
func setTempDir(conn *sqlite.Conn, dir string) (err error) {
	tempDir.Do(func() {
		quoted := strings.ReplaceAll(dir, "'", "''")
		err = sqlitex.ExecuteTransient(conn, "PRAGMA temp_store_directory = '"+quoted+"'", nil)
	})
	if err != nil {
		return fmt.Errorf("set the folder for temporary files: %w", err)
	}
	return nil
}

// OpenReaders returns a pool of connections to a file that OpenWriter has opened. They cannot
// write.
func OpenReaders(path string, size int) (*sqlitex.Pool, error) {
	pool, err := sqlitex.NewPool(path, sqlitex.PoolOptions{
		Flags:    sqlite.OpenReadWrite, // a read-only connection could not share the write-ahead log
		PoolSize: size,
		PrepareConn: func(conn *sqlite.Conn) error {
			return sqlitex.ExecuteTransient(conn, "PRAGMA query_only = ON", nil)
		},
	})
	if err != nil {
		return nil, fmt.Errorf("open database %s for reading: %w", path, err)
	}
	return pool, nil
}

func migrate(ctx context.Context, path string, migrations fs.FS) error {
	// The connection of the caller keeps WAL mode, so this one need not set it. Its commits do not
	// wait for the disk: in WAL mode a power cut can undo the last migrations, which the next start
	// repeats, but it cannot damage the file. The first commit of the caller syncs them with its own
	// data.
	db, err := sql.Open("sqlite", path+"?_pragma=synchronous(normal)")
	if err != nil {
		return err
	}
	defer db.Close()
	provider, err := goose.NewProvider(goose.DialectSQLite3, db, migrations)
	if err != nil {
		return fmt.Errorf("read migrations: %w", err)
	}
	// goose would leave a newer schema unchanged, and this older program must not write to it.
	have, known, err := provider.GetVersions(ctx)
	if err != nil {
		return fmt.Errorf("read schema version: %w", err)
	}
	if have > known {
		return fmt.Errorf("its schema has version %d and this program knows %d:"+
			" it was made by a newer hookgate; start that one", have, known)
	}
	if _, err := provider.Up(ctx); err != nil {
		return fmt.Errorf("apply migrations: %w", err)
	}
	return nil
}

// Tx runs f in a write transaction. If f or the commit fails, Tx rolls back. After a failed commit
// the outcome is unknown, because the disk may have taken it before it failed.
func Tx(conn *sqlite.Conn, f func() error) error {
	if err := exec(conn, "BEGIN IMMEDIATE"); err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	err := f()
	if err == nil {
		if err = exec(conn, "COMMIT"); err == nil {
			return nil
		}
		err = fmt.Errorf("commit: %w", err)
	}
	if conn.AutocommitEnabled() {
		return err // SQLite has already rolled back
	}
	if back := exec(conn, "ROLLBACK"); back != nil {
		return errors.Join(err, fmt.Errorf("roll back: %w", back))
	}
	return err
}

func exec(conn *sqlite.Conn, statement string) error {
	s, err := conn.Prepare(statement) // cached by the connection
	if err != nil {
		return err
	}
	return Run(s)
}

// Run executes a statement that returns no rows, and resets it.
func Run(s *sqlite.Stmt) error {
	if _, err := s.Step(); err != nil {
		return err
	}
	return s.Reset()
}

// syncDir makes the names in a folder durable. SQLite does this only for its logs.
func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

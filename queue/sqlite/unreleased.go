package sqlite

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/hookgate/hookgate/internal/sqlitedb"
)

// Unreleased returns how many records the file of a queue holds that were not released, and on how
// many partitions they are. A file that does not exist, or that no queue has opened yet, holds none.
// Nothing is changed, and a queue may have the file open.
func Unreleased(ctx context.Context, path string) (records int64, partitions int, err error) {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return 0, 0, nil
	} else if err != nil {
		return 0, 0, fmt.Errorf("look into queue: %w", err)
	}
	pool, err := sqlitedb.OpenReaders(path, 1)
	if err != nil {
		return 0, 0, err
	}
	defer pool.Close()
	conn, err := pool.Take(ctx)
	if err != nil {
		return 0, 0, fmt.Errorf("look into queue %s: %w", path, err)
	}
	defer pool.Put(conn)
	number := func(query string) (n int64, err error) {
		err = sqlitex.ExecuteTransient(conn, query, &sqlitex.ExecOptions{
			ResultFunc: func(s *sqlite.Stmt) error { n = s.ColumnInt64(0); return nil },
		})
		return n, err
	}
	tables, err := number("SELECT count(*) FROM sqlite_schema WHERE name IN ('records', 'settings')")
	if err == nil && tables < 2 {
		return 0, 0, nil
	}
	var kept int64
	if err == nil {
		records, err = number("SELECT count(*) FROM records")
	}
	if err == nil {
		kept, err = number("SELECT coalesce(max(value), 0) FROM settings WHERE name = 'partitions'")
	}
	if err != nil {
		return 0, 0, fmt.Errorf("look into queue %s: %w", path, err)
	}
	return records, int(kept), nil
}

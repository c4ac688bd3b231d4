package spoolfile

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/hookgate/hookgate/control"
	"github.com/hookgate/hookgate/internal/sqlitedb"
)

// settings are those that the embedded queue of an earlier release kept in its file.
type settings struct {
	mode   control.Mode
	canary control.Canary
	kept   bool
}

// EarlierSettings returns the mode and the canary that the embedded queue of an earlier release
// kept in the file; false if there are none. A File never changes them.
func (q *File) EarlierSettings() (control.Mode, control.Canary, bool) {
	return q.settings.mode, q.settings.canary, q.settings.kept
}

func readSettings(conn *sqlite.Conn) (s settings, err error) {
	s.mode = control.ModeNormal
	err = sqlitex.Execute(conn, "SELECT name, value FROM settings WHERE name IN ('mode', 'canary')",
		&sqlitex.ExecOptions{
			ResultFunc: func(row *sqlite.Stmt) (err error) {
				s.kept = true
				if row.ColumnText(0) == "mode" {
					s.mode, err = control.ParseMode(row.ColumnText(1))
				} else {
					s.canary, err = control.ParseCanary(row.ColumnText(1))
				}
				return err
			},
		})
	return s, err
}

// Unreleased returns the number of records in the file at path: 0 if the file does not exist or was
// never opened as a spool or queue. It changes nothing. A File may have the file open meanwhile.
func Unreleased(ctx context.Context, path string) (records int64, err error) {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	} else if err != nil {
		return 0, fmt.Errorf("look into spool: %w", err)
	}
	pool, err := sqlitedb.OpenReaders(path, 1)
	if err != nil {
		return 0, err
	}
	defer pool.Close()
	conn, err := pool.Take(ctx)
	if err != nil {
		return 0, fmt.Errorf("look into spool %s: %w", path, err)
	}
	defer pool.Put(conn)
	number := func(query string) (n int64, err error) {
		err = sqlitex.ExecuteTransient(conn, query, &sqlitex.ExecOptions{
			ResultFunc: func(s *sqlite.Stmt) error { n = s.ColumnInt64(0); return nil },
		})
		return n, err
	}
	tables, err := number("SELECT count(*) FROM sqlite_schema WHERE name = 'records'")
	if err == nil && tables > 0 {
		records, err = number("SELECT count(*) FROM records")
	}
	if err != nil {
		return 0, fmt.Errorf("look into spool %s: %w", path, err)
	}
	return records, nil
}

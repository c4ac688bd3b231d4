package sqlite

import (
	"database/sql/driver"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	driversqlite "modernc.org/sqlite"
	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/audit"
)

// goose runs the migrations on connections of its own driver. A function must be registered before
// such a connection opens.
func init() {
	driversqlite.MustRegisterDeterministicScalarFunction("hookgate_identity", 3,
		func(_ *driversqlite.FunctionContext, args []driver.Value) (driver.Value, error) {
			var texts [3]string
			for i := range texts {
				text, ok := args[i].(string)
				if !ok {
					return nil, errors.New("hookgate_identity takes a source, an event type and a message id")
				}
				texts[i] = text
			}
			key := audit.IdentityKey(hookgate.Identity{Source: texts[0], EventType: texts[1], MessageID: texts[2]})
			return key[:], nil
		})
}

// checkRoom returns an error if migration 10 has yet to rebuild the store at path and its disk has
// too little room. The migration copies the events once, first into the write-ahead log and then
// into the file. A transaction that fills the disk would lose nothing, but it would fail only after
// a long time.
func checkRoom(path string, free func(dir string) (bytes int64, known bool)) error {
	if info, err := os.Stat(path); err != nil || info.Size() == 0 {
		return nil // the store is new, or cannot be opened
	}
	conn, err := sqlite.OpenConn(path, sqlite.OpenReadWrite)
	if err != nil {
		return nil // the caller opens it again and reports the error
	}
	defer conn.Close()
	var pending bool
	var size int64
	err = sqlitex.ExecuteTransient(conn, `SELECT count(*) FILTER (WHERE name = 'webhook_events') = 1
		AND count(*) FILTER (WHERE name = 'webhook_log') = 0,
		(SELECT page_count * page_size FROM pragma_page_count, pragma_page_size) FROM sqlite_master
			WHERE type = 'table'`,
		&sqlitex.ExecOptions{ResultFunc: func(row *sqlite.Stmt) error {
			pending, size = row.ColumnBool(0), row.ColumnInt64(1)
			return nil
		}})
	if err != nil || !pending {
		return nil
	}
	need := 5 * size / 2
	if have, known := free(filepath.Dir(path)); known && have < need {
		return fmt.Errorf("open store %s: this version rebuilds the table of events once,"+
			" which needs up to %d MB of disk space,"+
			" and %d MB are free; free some space and start again,"+
			" or let retention of the earlier version remove events first",
			path, need>>20, have>>20)
	}
	return nil
}

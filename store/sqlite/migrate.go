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

// The migrations run on connections of the driver that goose uses, which take up what is registered
// before they open.
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

// checkRoom returns an error if the store at path has yet to be rebuilt by migration 10 and its
// disk has too little room: the events are copied once, first into the write-ahead log and then
// into the file. A transaction that filled the disk would fail after a long time, and nothing would
// be lost.
func checkRoom(path string, free func(dir string) (bytes int64, known bool)) error {
	if info, err := os.Stat(path); err != nil || info.Size() == 0 {
		return nil // a new store, or one that cannot be opened
	}
	conn, err := sqlite.OpenConn(path, sqlite.OpenReadWrite)
	if err != nil {
		return nil // the caller opens it again and reports why that fails
	}
	defer conn.Close()
	var pending bool
	var size int64
	err = sqlitex.ExecuteTransient(conn, `SELECT count(*) FILTER (WHERE name = 'webhook_events') = 1
		AND count(*) FILTER (WHERE name = 'webhook_log') = 0,
		(SELECT page_count * page_size FROM pragma_page_count, pragma_page_size) FROM sqlite_master WHERE type = 'table'`,
		&sqlitex.ExecOptions{ResultFunc: func(row *sqlite.Stmt) error {
			pending, size = row.ColumnBool(0), row.ColumnInt64(1)
			return nil
		}})
	if err != nil || !pending {
		return nil
	}
	need := 5 * size / 2
	if have, known := free(filepath.Dir(path)); known && have < need {
		return fmt.Errorf("open store %s: this version rebuilds its table of events once, which takes up to %d MB on its disk,"+
			" and %d MB are free; make room and start again, or let retention of the earlier version remove events first",
			path, need>>20, have>>20)
	}
	return nil
}

package sqlite

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"zombiezen.com/go/sqlite"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/internal/modeltest"
	"github.com/hookgate/hookgate/internal/sqlitetest"
	"github.com/hookgate/hookgate/store/entry"
	"github.com/hookgate/hookgate/store/sqlstore"
	"github.com/hookgate/hookgate/store/storetest"
)

func TestMain(m *testing.M) {
	modeltest.Checks(10)
	goleak.VerifyTestMain(m)
}

// maxBlob is the longest body, in bytes, that a store of the suite takes. SQLite's own limit is a
// thousand times as high.
const maxBlob = 2 << 20

// openStore opens the store at path. The returned function makes commits fail.
func openStore(t storetest.TB, path string) (*Store, func(done *bool)) {
	t.Helper()
	return openBounded(t, path, defaultLate)
}

func openBounded(t storetest.TB, path string, late lateBounds) (*Store, func(done *bool)) {
	t.Helper()
	s, err := open(context.Background(), path, late)
	if err != nil {
		t.Fatalf("%v", err)
	}
	s.mu.Lock() // the store may be indexing
	defer s.mu.Unlock()
	s.conn.Limit(sqlite.LimitLength, maxBlob)
	var when atomic.Pointer[bool]
	s.failCommit = func(done bool) error {
		if w := when.Load(); w != nil && *w == done {
			return errors.New("injected write error")
		}
		return nil
	}
	return s, when.Store
}

// TestConformance runs the suite against stores in temporary folders. They index a few events at a
// time, in the background and, if that falls behind, in appends. The long form also tests stores
// with the bounds of a gate, which the suites of the queue and of the spool use anyway.
func TestConformance(t *testing.T) {
	conformance(t, lateBounds{set: 4, slice: 2, small: 1, most: 5, every: time.Millisecond})
	if modeltest.Soak() {
		conformance(t, defaultLate)
	}
}

// emptyStore is a store without events. The test of earlier releases runs the migrations.
var emptyStore = sqlitetest.Template{Create: func(path string) error {
	s, err := Open(context.Background(), path)
	if err != nil {
		return err
	}
	return s.Close()
}}

func conformance(t *testing.T, late lateBounds) {
	root := t.TempDir()
	storetest.Run(t, storetest.Backend{
		FailsWrites: true,
		NewPlace: func(t storetest.TB) string {
			dir, err := os.MkdirTemp(root, "")
			if err != nil {
				t.Fatalf("%v", err)
			}
			path := filepath.Join(dir, "store.db")
			if err := emptyStore.Copy(path); err != nil {
				t.Fatalf("%v", err)
			}
			return path
		},
		Open: func(t storetest.TB, place string) storetest.Instance {
			s, failWrites := openBounded(t, place, late)
			return storetest.Instance{Store: s, Reader: s, Purger: s, Pruner: s, Access: s, History: s,
				RefusedStore: s,
				FailWrites:   failWrites, Verify: func() error {
					audit, err := Verify(context.Background(), place, nil)
					if err == nil && audit.Break != nil {
						err = audit.Break
					}
					return err
				}}
		},
		Refuse: func(t storetest.TB, place, eventType string) {
			if err := execute(place, `CREATE TRIGGER refuse BEFORE INSERT ON webhook_events WHEN`+
				` NEW.event_type = '`+eventType+`'
				BEGIN SELECT raise(ABORT, 'refused'); END;`); err != nil {
				t.Fatalf("%v", err)
			}
		},
		Rejected: func() hookgate.Record {
			return hookgate.Record{Request: hookgate.Request{
				RequestID: hookgate.RequestID{1}, Identity: hookgate.Identity{Source: "default", EventType: "t",
					MessageID: "large"},
				OrderingKey: "t", Body: make([]byte, maxBlob+1),
			}}
		},
	})
}

// TestSearchesLeaveRoom: long searches leave connections for everything else.
func TestSearchesLeaveRoom(t *testing.T) {
	s, err := Open(t.Context(), filepath.Join(t.TempDir(), "store.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	storetest.SearchesLeaveRoom(t, s)
}

// TestColumns: the migrations and the list of columns agree.
func TestColumns(t *testing.T) {
	s, _ := openStore(t, filepath.Join(t.TempDir(), "store.db"))
	defer s.Close()
	storetest.Columns(t, func(table string) map[string]string {
		types := map[string]string{}
		if err := (db{s}).Query(t.Context(), sqlstore.Statement{
			SQL: "SELECT name, type FROM pragma_table_info(?)", Args: []any{table},
			Row: func(r sqlstore.Row) error { types[r.Text(0)] = r.Text(1); return nil },
		}); err != nil {
			t.Fatal(err)
		}
		return types
	}, map[entry.Type]string{entry.Int: "INTEGER", entry.Text: "TEXT", entry.Bytes: "BLOB",
		entry.Bool: "INTEGER"})
}

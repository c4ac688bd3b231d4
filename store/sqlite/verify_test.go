package sqlite

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/store/storetest"
)

// filled returns the path of a store that fill has filled, closed.
func filled(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "store.db")
	s, err := Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	storetest.Fill(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

// execute runs statements on the file as an outsider would.
func execute(path, script string) error {
	conn, err := sqlite.OpenConn(path, sqlite.OpenReadWrite)
	if err != nil {
		return err
	}
	defer conn.Close()
	return sqlitex.ExecuteScript(conn, script, nil)
}

// withoutTriggers is what someone does first who wants to change what is stored.
const withoutTriggers = `
	DROP TRIGGER webhook_events_no_update; DROP TRIGGER webhook_events_no_delete;
	DROP TRIGGER webhook_requests_no_update; DROP TRIGGER webhook_requests_no_delete;
	DROP TRIGGER webhook_batches_no_update; DROP TRIGGER webhook_batches_no_delete;
	DROP TRIGGER webhook_dead_letters_no_update; DROP TRIGGER webhook_dead_letters_no_delete;
	DROP TRIGGER webhook_admin_actions_no_update; DROP TRIGGER webhook_admin_actions_no_delete;`

// TestVerifyFindsChanges: whatever is changed behind the gate's back shows, and the first break is named. Each case changes
// one thing in a sound store.
func TestVerifyFindsChanges(t *testing.T) {
	template := filled(t)
	audit, err := Verify(t.Context(), template, nil)
	if err != nil || audit.Break != nil {
		t.Fatalf("a sound store has the break %v (error %v)", audit.Break, err)
	}
	if audit.Links != storetest.FilledLinks || audit.Events != storetest.FilledEvents || audit.Duplicates != storetest.FilledDuplicates ||
		audit.DeadLetters != storetest.FilledDeadLetters || audit.Actions != storetest.FilledActions || audit.Head == [32]byte{} {
		t.Fatalf("the audit found %+v", audit)
	}
	for _, c := range storetest.Tamperings(func(hex string) string { return "x'" + hex + "'" }) {
		t.Run(c.Name, func(t *testing.T) {
			path := copyStore(t, template)
			if err := execute(path, withoutTriggers+c.Script+";"); err != nil {
				t.Fatal(err)
			}
			audit, err := Verify(t.Context(), path, nil)
			if err != nil {
				t.Fatal(err)
			}
			if audit.Break == nil || !strings.Contains(audit.Break.String(), c.Want) {
				t.Errorf("the audit names %v, want %q", audit.Break, c.Want)
			}
		})
	}
}

// copyStore returns the path of a copy of a closed store, which has no write-ahead log.
func copyStore(t *testing.T, path string) string {
	t.Helper()
	copied := filepath.Join(t.TempDir(), "copy.db")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(copied, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return copied
}

// TestTriggers: rows are not changed, and are removed by retention alone.
func TestTriggers(t *testing.T) {
	path := filled(t)
	for _, table := range []string{"webhook_events", "webhook_requests", "webhook_batches", "webhook_dead_letters"} {
		for _, script := range []string{"UPDATE " + table + " SET id = id", "DELETE FROM " + table, "DELETE FROM " + table + " WHERE id = 2"} {
			if err := execute(path, script+";"); err == nil || !strings.Contains(err.Error(), table+" is append-only") {
				t.Errorf("%s: got %v, want a refusal", script, err)
			}
		}
		if err := execute(path, "INSERT INTO webhook_retention VALUES ('30 days'); UPDATE "+table+" SET id = id;"); err == nil {
			t.Errorf("%s can be updated in the name of retention", table)
		}
	}
	for _, script := range []string{"UPDATE webhook_admin_actions SET reason = ''", "INSERT INTO webhook_retention VALUES ('30 days'); DELETE FROM webhook_admin_actions"} {
		if err := execute(path, script+";"); err == nil || !strings.Contains(err.Error(), "webhook_admin_actions is append-only") {
			t.Errorf("%s: got %v, want a refusal", script, err)
		}
	}
	if err := execute(path, "INSERT INTO webhook_retention VALUES ('30 days'); DELETE FROM webhook_events WHERE id = 1; DELETE FROM webhook_retention;"); err != nil {
		t.Errorf("retention: %v", err)
	}
}

// TestVerifyWhileWriting: a check in the middle of the work sees one moment of it, and holds nothing up.
func TestVerifyWhileWriting(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	s, err := Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	epoch, err := s.Acquire(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	checked := make(chan error, 1)
	go func() {
		for range 20 {
			audit, err := Verify(t.Context(), path, nil)
			if err == nil && audit.Break != nil {
				err = audit.Break
			}
			if err != nil {
				checked <- err
				return
			}
		}
		checked <- nil
	}()
	for n := 0; ; n++ {
		b := &hookgate.Batch{Epochs: map[int]hookgate.Epoch{0: epoch}, Worker: "w", Attempts: 1, Records: []hookgate.Record{storetest.Sample(0, n)}}
		if _, err := s.Apply(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-checked:
			if err != nil {
				t.Error(err)
			}
			return
		default:
		}
	}
}

// TestVerifyUnreadable: what is no store is an error and no break.
func TestVerifyUnreadable(t *testing.T) {
	path := filepath.Join(t.TempDir(), "missing.db")
	if audit, err := Verify(t.Context(), path, nil); err == nil {
		t.Errorf("a missing file was verified: %+v", audit)
	}
}

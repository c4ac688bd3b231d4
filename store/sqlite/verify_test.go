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

// filled returns the path of a closed store filled by storetest.Fill.
func filled(t *testing.T) string {
	return filledBy(t, func(s *Store) { storetest.Fill(t, s) })
}

func filledBy(t *testing.T, fill func(*Store)) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "store.db")
	s, err := Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	s.nextID = storetest.NextID
	fill(s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

// execute runs statements on the file with a connection that is not the gate's.
func execute(path, script string) error {
	conn, err := sqlite.OpenConn(path, sqlite.OpenReadWrite)
	if err != nil {
		return err
	}
	defer conn.Close()
	return sqlitex.ExecuteScript(conn, script, nil)
}

// withoutTriggers drops the triggers, which is the first thing an attacker would do.
const withoutTriggers = `
	DROP TRIGGER webhook_events_no_update; DROP TRIGGER webhook_events_no_delete;
	DROP TRIGGER webhook_requests_no_update; DROP TRIGGER webhook_requests_no_delete;
	DROP TRIGGER webhook_batches_no_update; DROP TRIGGER webhook_batches_no_delete;
	DROP TRIGGER webhook_dead_letters_no_update; DROP TRIGGER webhook_dead_letters_no_delete;
	DROP TRIGGER webhook_request_bodies_no_update; DROP TRIGGER webhook_request_bodies_no_delete;
	DROP TRIGGER webhook_purges_no_update; DROP TRIGGER webhook_purges_no_delete;
	DROP TRIGGER webhook_removed_events_no_update; DROP TRIGGER webhook_removed_events_no_delete;
	DROP TRIGGER webhook_removals_no_insert; DROP TRIGGER webhook_removals_no_update; DROP TRIGGER webhook_removals_no_delete;
	DROP TRIGGER webhook_checkpoints_no_insert; DROP TRIGGER webhook_checkpoints_no_update; DROP TRIGGER webhook_checkpoints_no_delete;
	DROP TRIGGER webhook_log_no_insert; DROP TRIGGER webhook_log_no_delete;
	DROP TRIGGER webhook_identities_no_update; DROP TRIGGER webhook_identities_no_delete;
	DROP TRIGGER webhook_keys_no_update; DROP TRIGGER webhook_keys_no_delete;
	DROP TRIGGER webhook_anchors_no_update; DROP TRIGGER webhook_anchors_no_delete;
	DROP TRIGGER webhook_gaps_no_insert; DROP TRIGGER webhook_gaps_no_update; DROP TRIGGER webhook_gaps_no_delete;
	DROP TRIGGER webhook_admin_actions_no_update; DROP TRIGGER webhook_admin_actions_no_delete;`

// TestVerifyFindsChangesInTheLog: the same for a store of this version, where everything is an
// entry of the log.
func TestVerifyFindsChangesInTheLog(t *testing.T) {
	template := filled(t)
	audit, err := Verify(t.Context(), template, nil)
	if err != nil || audit.Break != nil {
		t.Fatalf("a sound store has the break %v (error %v)", audit.Break, err)
	}
	if audit.Links != 0 || audit.Entries != storetest.FilledEntries ||
		audit.Events != storetest.FilledEvents || audit.Duplicates != storetest.FilledDuplicates ||
		audit.DeadLetters != storetest.FilledDeadLetters || audit.Actions != storetest.FilledActions ||
		audit.Purged != storetest.FilledPurges || audit.Head == [32]byte{} {
		t.Fatalf("the audit found %+v", audit)
	}
	findsChanges(t, template, storetest.LogTamperings(literal))
}

// TestVerifyFindsChangesInGaps: the same for a store of this version from which retention has
// removed entries and bodies.
func TestVerifyFindsChangesInGaps(t *testing.T) {
	template := filledBy(t, func(s *Store) { storetest.FillPruned(t, s) })
	audit, err := Verify(t.Context(), template, nil)
	if err != nil || audit.Break != nil {
		t.Fatalf("a sound store has the break %v (error %v)", audit.Break, err)
	}
	if audit.Entries != 17 || audit.Events != 12 || audit.Bodies != 6 || audit.DeadLetters != 1 ||
		audit.Removed.Entries != 24 ||
		audit.Removed.Events != 18 || audit.Removed.Duplicates != 6 || audit.Removed.Until.IsZero() {
		t.Fatalf("the audit found %+v", audit)
	}
	findsChanges(t, template, storetest.GapTamperings(literal))
}

// TestVerifyFindsChanges: the audit finds every change that the gate did not make, and names the
// first one. Each case changes one thing in a sound store.
func TestVerifyFindsChanges(t *testing.T) {
	template := released(t, "filled")
	audit, err := Verify(t.Context(), template, nil)
	if err != nil || audit.Break != nil {
		t.Fatalf("a sound store has the break %v (error %v)", audit.Break, err)
	}
	if audit.Links != storetest.FilledLinks || audit.Events != storetest.FilledEvents ||
		audit.Duplicates != storetest.FilledDuplicates ||
		audit.DeadLetters != storetest.FilledDeadLetters || audit.Actions != storetest.FilledActions ||
		audit.Purged != storetest.FilledPurges || audit.Head == [32]byte{} {
		t.Fatalf("the audit found %+v", audit)
	}
	findsChanges(t, template, storetest.Tamperings(literal))
}

// TestVerifyFindsChangesAfterRetention: the same for a store from which retention has removed links
// and bodies. The audit counts what retention removed, and accepts no other missing rows.
func TestVerifyFindsChangesAfterRetention(t *testing.T) {
	template := released(t, "pruned")
	audit, err := Verify(t.Context(), template, nil)
	if err != nil || audit.Break != nil {
		t.Fatalf("a sound store has the break %v (error %v)", audit.Break, err)
	}
	if audit.Links != 5 || audit.Events != 15 || audit.Bodies != 9 || audit.DeadLetters != 1 ||
		audit.Removed.Links != 5 ||
		audit.Removed.Events != 15 || audit.Removed.Duplicates != 5 || audit.Removed.Until.IsZero() {
		t.Fatalf("the audit found %+v", audit)
	}
	findsChanges(t, template, storetest.PrunedTamperings(literal))
}

// TestVerifyFindsChangesAmongTests: the same for a store from which test traffic was removed. Only
// its rows may be among the removed ones out of order.
func TestVerifyFindsChangesAmongTests(t *testing.T) {
	template := released(t, "tests")
	audit, err := Verify(t.Context(), template, nil)
	if err != nil || audit.Break != nil || audit.Events != 9 || audit.Tests != 4 || audit.Bodies != 0 {
		t.Fatalf("a sound store has the audit %+v (error %v)", audit, err)
	}
	findsChanges(t, template, storetest.TestTamperings(literal))
}

func literal(hex string) string { return "x'" + hex + "'" }

func findsChanges(t *testing.T, template string, changes []storetest.Tampering) {
	for _, c := range changes {
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

// copyStore copies a closed store, which has no write-ahead log, and returns the path of the copy.
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

// TestVerifyWhileWriting: an audit during writes sees one moment of the store and delays nothing.
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
		b := &hookgate.Batch{Epochs: map[int]hookgate.Epoch{0: epoch}, Worker: "w", Attempts: 1,
			Records: []hookgate.Record{storetest.Sample(0, n)}}
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

// TestVerifyUnreadable: a file that is not a store is an error, not a break.
func TestVerifyUnreadable(t *testing.T) {
	path := filepath.Join(t.TempDir(), "missing.db")
	if audit, err := Verify(t.Context(), path, nil); err == nil {
		t.Errorf("a missing file was verified: %+v", audit)
	}
}

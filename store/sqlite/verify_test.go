package sqlite

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/store/storetest"
)

// filled returns the path of a store that fill has filled, closed.
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

// released returns the path of a store of an earlier release, which storetest of that release has
// filled, as this version migrates it.
func released(t *testing.T, name string) string {
	t.Helper()
	path := releasedAsItWas(t, name)
	s, err := Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

func releasedAsItWas(t *testing.T, name string) string {
	t.Helper()
	packed, err := os.Open(filepath.Join("testdata", "release-6deb59b-"+name+".db.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer packed.Close()
	r, err := gzip.NewReader(packed)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "store.db")
	if err := os.WriteFile(path, data, 0o600); err != nil {
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

// TestVerifyFindsChangesInTheLog: the same of a store of this version, in which all is an entry of
// the log.
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

// TestVerifyFindsChangesInGaps: the same of a store of this version from which retention has
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

// TestRelease: stores of an earlier release keep the head of their audit through the migration,
// take entries, purges and removals behind their chains, and hold afterwards. What such a store has
// shows as before.
func TestRelease(t *testing.T) {
	for _, name := range []string{"filled", "pruned", "tests"} {
		t.Run(name, func(t *testing.T) {
			path := releasedAsItWas(t, name)
			before, err := Verify(t.Context(), path, nil)
			if err != nil || before.Break != nil {
				t.Fatalf("before the migration: %v (error %v)", before.Break, err)
			}
			s, err := Open(t.Context(), path)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			check := func(when string) Audit {
				t.Helper()
				found, err := Verify(t.Context(), path, nil)
				if err != nil || found.Break != nil {
					t.Fatalf("%s: %v (error %v)", when, found.Break, err)
				}
				return found
			}
			if after := check("after the migration"); after != before {
				t.Errorf("the audit found %+v before the migration and %+v after it", before, after)
			}
			old := storetest.Sample(0, 40) // an event of the pruned store
			old.RequestID = hookgate.NewRequestID(old.ReceivedAt)
			b := &hookgate.Batch{Records: []hookgate.Record{storetest.Sample(0, 20), old,
				storetest.Sample(0, 900)}, Worker: "w", Attempts: 1,
				Dead: []hookgate.DeadLetter{{Record: storetest.Sample(1, 901), Reason: "at fault"}}}
			outcome, err := s.Apply(t.Context(), b)
			if err != nil {
				t.Fatal(err)
			}
			if name == "pruned" && outcome.Results[1].DuplicateOf.IsZero() {
				t.Errorf("an event that the earlier release stored is stored again: %+v", outcome)
			}
			check("after new entries")
			var ids []string
			for d, err := range s.DeadLetters(t.Context(), hookgate.DeadLetterFilter{}) {
				if err != nil {
					t.Fatal(err)
				}
				ids = append(ids, d.ID)
			}
			if _, err := s.Purge(t.Context(), hookgate.Purge{IDs: ids, By: "ops",
				Reason: "old"}); err != nil {
				t.Fatal(err)
			}
			check("after a purge")
			at := time.Now().Add(time.Second)
			for more := true; more; {
				p, err := s.Prune(t.Context(), hookgate.Cutoffs{Events: at, Trail: at}, 5)
				if err != nil {
					t.Fatal(err)
				}
				more = p.More
				check("between removals")
			}
			if found := check("at the end"); found.Events != 0 || found.Duplicates != 0 ||
				found.DeadLetters != 0 {
				t.Errorf("after all was removed, the audit found %+v", found)
			}
			if c, err := s.Counts(t.Context()); err != nil || c != (hookgate.StoreCounts{}) {
				t.Errorf("counts are %+v (error %v)", c, err)
			}
		})
	}
}

// TestNoRoom: a store is not migrated on a disk that is too full for it, and the error says how
// much it takes.
func TestNoRoom(t *testing.T) {
	path := releasedAsItWas(t, "filled")
	if err := checkRoom(path, func(string) (int64, bool) { return 1 << 10, true }); err == nil ||
		!strings.Contains(err.Error(), "make room") {
		t.Errorf("with 1 KiB free: %v", err)
	}
	for name, free := range map[string]func(string) (int64, bool){
		"enough": func(string) (int64, bool) { return 1 << 40, true }, "unknown": func(string) (int64,
			bool) {
			return 0, false
		},
	} {
		if err := checkRoom(path, free); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := checkRoom(released(t, "filled"), func(string) (int64, bool) {
		return 0,
			true
	}); err != nil {
		t.Errorf("after the migration: %v", err)
	}
}

// TestVerifyFindsChanges: whatever is changed behind the gate's back shows, and the first break is
// named. Each case changes one thing in a sound store.
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

// TestVerifyFindsChangesAfterRetention: the same of a store from which retention has removed links
// and bodies. What it has removed is counted, and no more than that may be missing.
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

// TestVerifyFindsChangesAmongTests: the same of a store from which test traffic was removed. Its
// rows may stand among the removed ones from anywhere, and those of no other source.
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

// TestApprovalTriggers: not even whoever writes the tables approves their own, changes what was
// asked for, decides or uses twice, or removes a row.
func TestApprovalTriggers(t *testing.T) {
	path := filled(t)
	insert := func(id int, state, decided, used string) string {
		return fmt.Sprintf("INSERT INTO webhook_approvals VALUES (%d, 'a', 't', 'admin', 'alice', 'admin', 'r', 1, 'x', 2, '%s', '%s', 0, '', '%s', 0)", id, state, decided, used)
	}
	for _, script := range []string{
		insert(1, "pending", "", ""), insert(2, "approved", "bob", ""), insert(3, "used", "bob", "r"),
		insert(4, "denied", "alice", ""),
		"UPDATE webhook_approvals SET state = 'approved', decided_by = 'bob' WHERE id = 1",
		"UPDATE webhook_approvals SET state = 'used', used_by = 'r' WHERE id = 2",
	} {
		if err := execute(path, script+";"); err != nil {
			t.Errorf("%s: %v", script, err)
		}
	}
	for _, script := range []string{
		insert(5, "approved", "alice", ""), insert(5, "used", "alice", "r"), insert(5, "approved", "",
			""), insert(5, "used", "bob", ""), insert(5, "expired", "bob", ""),
		"UPDATE webhook_approvals SET state = 'approved', decided_by = 'bob' WHERE id = 4",
		"UPDATE webhook_approvals SET state = 'approved', used_by = '' WHERE id = 3",
		"UPDATE webhook_approvals SET state = 'pending', decided_by = '' WHERE id = 1",
		"UPDATE webhook_approvals SET used_by = 'other' WHERE id = 3",
		"UPDATE webhook_approvals SET state = 'used', used_by = 'r', target = 'other' WHERE id = 1",
		"UPDATE webhook_approvals SET state = 'used', used_by = 'r', requested_by = 'carol' WHERE id = 1",
		"UPDATE webhook_approvals SET state = 'used', used_by = 'r', expires_at = 9 WHERE id = 1",
		"UPDATE webhook_approvals SET state = 'used', used_by = 'r', decided_by = 'alice' WHERE id = 1",
		"UPDATE webhook_approvals SET state = 'used', used_by = 'r', decided_by = 'carol' WHERE id = 1",
		"UPDATE webhook_approvals SET state = 'used', used_by = 'r', decision_reason = 'other' WHERE id = 1",
		"DELETE FROM webhook_approvals WHERE id = 1",
	} {
		if err := execute(path, script+";"); err == nil {
			t.Errorf("%s: done", script)
		}
	}
}

// TestTriggers: rows are not changed, and are removed by retention alone.
func TestTriggers(t *testing.T) {
	path := released(t, "filled")
	for script, want := range map[string]string{
		"DELETE FROM webhook_log": "keeps its row",
		"INSERT INTO webhook_log SELECT 2, 0, 0, hash, 0, 0, 0, 0, 0, 0 FROM webhook_log": "keeps its row",
		"UPDATE webhook_anchors SET sequence = 1":                                         "is append-only",
		"DELETE FROM webhook_anchors":                                                     "is append-only",
	} {
		if err := execute(filled(t), script+";"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want a refusal", script, err)
		}
	}
	for _, table := range []string{"webhook_events", "webhook_requests", "webhook_batches",
		"webhook_dead_letters"} {
		for _, script := range []string{"UPDATE " + table + " SET id = id", "DELETE FROM " + table,
			"DELETE FROM " + table + " WHERE id = 2"} {
			if err := execute(path, script+";"); err == nil || !strings.Contains(err.Error(), table+
				" is append-only") {
				t.Errorf("%s: got %v, want a refusal", script, err)
			}
		}
		if err := execute(path, "INSERT INTO webhook_retention VALUES ('30 days'); UPDATE "+table+
			" SET id = id;"); err == nil {
			t.Errorf("%s can be updated in the name of retention", table)
		}
	}
	for _, script := range []string{"UPDATE webhook_admin_actions SET reason = ''",
		"INSERT INTO webhook_retention VALUES ('30 days'); DELETE FROM webhook_admin_actions"} {
		if err := execute(path, script+";"); err == nil ||
			!strings.Contains(err.Error(), "webhook_admin_actions is append-only") {
			t.Errorf("%s: got %v, want a refusal", script, err)
		}
	}
	if err := execute(path, "INSERT INTO webhook_retention VALUES ('30 days'); DELETE FROM webhook_events WHERE id = 1; DELETE FROM webhook_retention;"); err != nil {
		t.Errorf("retention: %v", err)
	}
}

// TestTriggersOfRetention: what retention has written down is written by nothing else, and a step
// of it that was rolled back leaves the latch closed.
func TestTriggersOfRetention(t *testing.T) {
	path := filledBy(t, func(s *Store) {
		storetest.FillPruned(t, s)
		s.failCommit = func(bool) error { return errors.New("injected") }
		if _, err := s.Prune(t.Context(), hookgate.Cutoffs{Events: time.Now()}, 1); err == nil {
			t.Error("a step whose commit failed got no error")
		}
	})
	for script, want := range storetest.PrunedRefusals() {
		if err := execute(path, script+";"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want a refusal", script, err)
		}
	}
}

// TestVerifyWhileWriting: a check in the middle of the work sees one moment of it, and holds
// nothing up.
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

// TestVerifyUnreadable: what is no store is an error and no break.
func TestVerifyUnreadable(t *testing.T) {
	path := filepath.Join(t.TempDir(), "missing.db")
	if audit, err := Verify(t.Context(), path, nil); err == nil {
		t.Errorf("a missing file was verified: %+v", audit)
	}
}

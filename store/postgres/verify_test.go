package postgres

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/audit"
	"github.com/hookgate/hookgate/internal/pgtest"
	"github.com/hookgate/hookgate/store/sqlstore"
	"github.com/hookgate/hookgate/store/storetest"
)

// connect opens a session of an outsider, with all rights.
func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), pgtest.InSchema(url, DefaultSchema))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

// execute runs statements one after the other.
func execute(conn *pgx.Conn, script string) error {
	_, err := conn.PgConn().Exec(context.Background(), script).ReadAll()
	return err
}

// filled returns the URL of a store that storetest.Fill has filled.
func filled(t *testing.T) string {
	t.Helper()
	return filledBy(t, func(s *Store) { storetest.Fill(t, s) })
}

func filledBy(t *testing.T, fill func(*Store)) string {
	t.Helper()
	url := newDatabase(t)
	s, _ := openStore(t, url)
	defer s.Close()
	s.nextID = storetest.NextID
	fill(s)
	return url
}

// sound returns the audit of a store that must be sound.
func sound(t *testing.T, url string) Audit {
	t.Helper()
	found, err := Verify(t.Context(), url, "", nil)
	if err != nil || found.Break != nil {
		t.Fatalf("a sound store has the break %v (error %v)", found.Break, err)
	}
	return found
}

// TestVerifyFindsChanges: whatever is changed behind the gate's back shows, and the first break is
// named. Each case changes one thing in a sound store, in a transaction that the audit is a part of
// and that is rolled back. The store is of an earlier release, with a chain for each partition.
func TestVerifyFindsChanges(t *testing.T) {
	url := released(t, "filled")
	if a := sound(t, url); a.Links != storetest.FilledLinks || a.Events != storetest.FilledEvents ||
		a.Duplicates != storetest.FilledDuplicates ||
		a.DeadLetters != storetest.FilledDeadLetters || a.Actions != storetest.FilledActions ||
		a.Purged != storetest.FilledPurges || a.Head == [32]byte{} {
		t.Fatalf("the audit found %+v", a)
	}
	conn := connect(t, url)
	findsChanges(t, conn, storetest.Tamperings(literal))
	if err := execute(conn, "SET session_replication_role = replica; UPDATE webhook_events SET sequence = 7 WHERE id = 1"); err != nil {
		t.Fatal(err)
	}
	if found, err := Verify(t.Context(), url, "", nil); err != nil || found.Break == nil {
		t.Errorf("a committed change has the break %v (error %v)", found.Break, err)
	}
}

// TestVerifyFindsChangesInTheLog: the same of a store of this version, in which all is an entry of
// the log.
func TestVerifyFindsChangesInTheLog(t *testing.T) {
	url := filled(t)
	if a := sound(t, url); a.Links != 0 || a.Entries != storetest.FilledEntries ||
		a.Events != storetest.FilledEvents ||
		a.Duplicates != storetest.FilledDuplicates || a.DeadLetters != storetest.FilledDeadLetters ||
		a.Actions != storetest.FilledActions ||
		a.Purged != storetest.FilledPurges || a.Head == [32]byte{} {
		t.Fatalf("the audit found %+v", a)
	}
	findsChanges(t, connect(t, url), storetest.LogTamperings(literal))
}

// TestVerifyFindsChangesInGaps: the same of a store of this version from which retention has
// removed entries and bodies.
func TestVerifyFindsChangesInGaps(t *testing.T) {
	url := filledBy(t, func(s *Store) { storetest.FillPruned(t, s) })
	if a := sound(t, url); a.Entries != 17 || a.Events != 12 || a.Bodies != 6 || a.DeadLetters != 1 ||
		a.Removed.Entries != 24 ||
		a.Removed.Events != 18 || a.Removed.Duplicates != 6 || a.Removed.Until.IsZero() {
		t.Fatalf("the audit found %+v", a)
	}
	findsChanges(t, connect(t, url), storetest.GapTamperings(literal))
}

// TestVerifyFindsChangesAfterRetention: the same of a store from which retention has removed links
// and bodies. What it has removed is counted, and no more than that may be missing.
func TestVerifyFindsChangesAfterRetention(t *testing.T) {
	url := released(t, "pruned")
	if a := sound(t, url); a.Links != 5 || a.Events != 15 || a.Bodies != 9 || a.DeadLetters != 1 ||
		a.Removed.Links != 5 ||
		a.Removed.Events != 15 || a.Removed.Duplicates != 5 || a.Removed.Until.IsZero() {
		t.Fatalf("the audit found %+v", a)
	}
	findsChanges(t, connect(t, url), storetest.PrunedTamperings(literal))
}

// TestVerifyFindsChangesAmongTests: the same of a store from which test traffic was removed. Its
// rows may stand among the removed ones from anywhere, and those of no other source.
func TestVerifyFindsChangesAmongTests(t *testing.T) {
	url := released(t, "tests")
	if a := sound(t, url); a.Events != 9 || a.Tests != 4 || a.Bodies != 0 {
		t.Fatalf("a sound store has the audit %+v", a)
	}
	findsChanges(t, connect(t, url), storetest.TestTamperings(literal))
}

func literal(hex string) string { return "decode('" + hex + "', 'hex')" }

func findsChanges(t *testing.T, conn *pgx.Conn, changes []storetest.Tampering) {
	for _, c := range changes {
		t.Run(c.Name, func(t *testing.T) {
			// Who is replica fires no triggers.
			if err := execute(conn, "BEGIN; SET LOCAL session_replication_role = replica; "+
				c.Script); err != nil {
				t.Fatal(err)
			}
			found, err := audit.Run(newAuditSource(t.Context(), conn.PgConn(), true), nil)
			if err != nil {
				t.Fatal(err)
			}
			if found.Break == nil || !strings.Contains(found.Break.String(), c.Want) {
				t.Errorf("the audit names %v, want %q", found.Break, c.Want)
			}
			if err := execute(conn, "ROLLBACK"); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// TestVerifyLarge: an audit of more than a page of everything, and of bodies that each fill one,
// reads it all.
func TestVerifyLarge(t *testing.T) {
	url := newDatabase(t)
	s, _ := openStore(t, url)
	defer s.Close()
	epoch, err := s.Acquire(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	apply := func(records []hookgate.Record, dead []hookgate.DeadLetter) {
		t.Helper()
		b := &hookgate.Batch{Epochs: map[int]hookgate.Epoch{0: epoch}, Worker: "w", Attempts: 1,
			Records: records, Dead: dead}
		if _, err := s.Apply(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
	const many, large = 1201, 5
	var records []hookgate.Record
	var dead []hookgate.DeadLetter
	for n := range many {
		records = append(records, storetest.Sample(0, n))
		dead = append(dead, hookgate.DeadLetter{Record: storetest.Sample(0, n), Reason: fmt.Sprint(n)})
	}
	apply(records, dead)
	for n := range large {
		r, d := storetest.Sample(0, many+n), storetest.Sample(0, many+n)
		r.Body = bytes.Repeat([]byte{byte(n)}, sqlstore.MaxPageBytes-3+n)
		d.Body = r.Body
		apply([]hookgate.Record{r}, []hookgate.DeadLetter{{Record: d, Reason: "large"}})
	}
	found, err := Verify(t.Context(), url, "", nil)
	if err != nil || found.Break != nil || found.Events != many+large || found.DeadLetters != many+
		large || found.Entries != 2*(many+large) {
		t.Errorf("the audit found %+v (error %v)", found, err)
	}
	n := 0
	for d, err := range s.DeadLetters(t.Context(), hookgate.DeadLetterFilter{}) {
		if err != nil {
			t.Fatal(err)
		}
		if want := sqlstore.MaxPageBytes - 3 + n - many; n >= many && d.Size != int64(want) {
			t.Errorf("dead letter %d has %d bytes, want %d", n, d.Size, want)
		}
		n++
	}
	if n != many+large {
		t.Errorf("%d dead letters were listed, want %d", n, many+large)
	}
}

// TestApprovalTriggers: not even whoever writes the tables approves their own, changes what was
// asked for, decides or uses twice, or removes a row.
func TestApprovalTriggers(t *testing.T) {
	conn := connect(t, filled(t))
	insert := func(id int, state, decided, used string) string {
		return fmt.Sprintf("INSERT INTO webhook_approvals VALUES (%d, 'a', 't', 'admin', 'alice', 'admin', 'r', 1, 'x', 2, '%s', '%s', 0, '', '%s', 0)", id, state, decided, used)
	}
	for _, script := range []string{
		insert(1, "pending", "", ""), insert(2, "approved", "bob", ""), insert(3, "used", "bob", "r"),
		insert(4, "denied", "alice", ""),
		"UPDATE webhook_approvals SET state = 'approved', decided_by = 'bob' WHERE id = 1",
		"UPDATE webhook_approvals SET state = 'used', used_by = 'r' WHERE id = 2",
	} {
		if err := execute(conn, script); err != nil {
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
		"TRUNCATE webhook_approvals", "DELETE FROM webhook_approvals WHERE id = 1",
	} {
		if err := execute(conn, script); err == nil {
			t.Errorf("%s: done", script)
		}
	}
}

// TestTriggers: rows are not changed, and are removed by retention alone.
func TestTriggers(t *testing.T) {
	conn := connect(t, filled(t))
	for _, table := range []string{"webhook_events", "webhook_requests", "webhook_batches",
		"webhook_dead_letters", "webhook_purges"} {
		for _, script := range []string{"UPDATE " + table + " SET id = id", "DELETE FROM " + table,
			"DELETE FROM " + table + " WHERE id = 2", "TRUNCATE " + table} {
			if err := execute(conn, script); err == nil || !strings.Contains(err.Error(), table+
				" is append-only") {
				t.Errorf("%s: got %v, want a refusal", script, err)
			}
		}
		for _, change := range []string{"UPDATE " + table + " SET id = id", "TRUNCATE " + table} {
			if err := execute(conn, "BEGIN; INSERT INTO webhook_retention VALUES ('30 days'); "+
				change); err == nil {
				t.Errorf("%s goes through in the name of retention", change)
			}
			if err := execute(conn, "ROLLBACK"); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, change := range []string{"UPDATE webhook_admin_actions SET reason = ''",
		"DELETE FROM webhook_admin_actions", "TRUNCATE webhook_admin_actions"} {
		if err := execute(conn, "BEGIN; INSERT INTO webhook_retention VALUES ('30 days'); "+
			change); err == nil || !strings.Contains(err.Error(), "webhook_admin_actions is append-only") {
			t.Errorf("%s: got %v, want a refusal", change, err)
		}
		if err := execute(conn, "ROLLBACK"); err != nil {
			t.Fatal(err)
		}
	}
	if err := execute(conn, "BEGIN; INSERT INTO webhook_retention VALUES ('30 days'); DELETE FROM webhook_events WHERE id = 1; DELETE FROM webhook_retention; COMMIT"); err != nil {
		t.Errorf("retention: %v", err)
	}
}

// TestTriggersOfRetention: what retention has written down is written by nothing else, and a step
// of it that was rolled back leaves the latch closed.
func TestTriggersOfRetention(t *testing.T) {
	url := newDatabase(t)
	s, failWrites := openStore(t, url)
	defer s.Close()
	storetest.FillPruned(t, s)
	done := false
	failWrites(&done)
	if _, err := s.Prune(t.Context(), hookgate.Cutoffs{Events: time.Now()}, 1); err == nil {
		t.Error("a step whose commit failed got no error")
	}
	conn := connect(t, url)
	for script, want := range storetest.PrunedRefusals() {
		if err := execute(conn, script); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want a refusal", script, err)
		}
	}
}

// TestVerifyUnreachable: what cannot be read is an error and no break.
func TestVerifyUnreachable(t *testing.T) {
	for name, url := range map[string]string{"no such database": strings.Replace(newDatabase(t),
		"/test", "/missing", 1), "no store": newDatabase(t), "no URL": "postgres://:x:x"} {
		if found, err := Verify(t.Context(), url, "", nil); err == nil {
			t.Errorf("%s was verified: %+v", name, found)
		}
	}
}

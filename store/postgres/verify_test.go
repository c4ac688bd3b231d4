package postgres

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/audit"
	"github.com/hookgate/hookgate/internal/pgtest"
	"github.com/hookgate/hookgate/store/sqlstore"
	"github.com/hookgate/hookgate/store/storetest"
)

// connect opens a superuser's session that is not the gate's.
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

// filled returns the URL of a store filled by storetest.Fill.
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

// sound returns the audit of a store and fails the test if it has a break.
func sound(t *testing.T, url string) Audit {
	t.Helper()
	found, err := Verify(t.Context(), url, "", nil)
	if err != nil || found.Break != nil {
		t.Fatalf("a sound store has the break %v (error %v)", found.Break, err)
	}
	return found
}

// TestVerifyFindsChanges: the audit finds every change that the gate did not make, and names the
// first one. Each case changes one thing in a sound store, in a transaction that the audit shares
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
	if err := execute(conn, "SET session_replication_role = replica;"+
		" UPDATE webhook_events SET sequence = 7 WHERE id = 1"); err != nil {
		t.Fatal(err)
	}
	if found, err := Verify(t.Context(), url, "", nil); err != nil || found.Break == nil {
		t.Errorf("a committed change has the break %v (error %v)", found.Break, err)
	}
}

// TestVerifyFindsChangesInTheLog: the same for a store of this version, where everything is an
// entry of the log.
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

// TestVerifyFindsChangesInGaps: the same for a store of this version from which retention has
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

// TestVerifyFindsChangesAfterRetention: the same for a store from which retention has removed links
// and bodies. The audit counts what retention removed, and accepts no other missing rows.
func TestVerifyFindsChangesAfterRetention(t *testing.T) {
	url := released(t, "pruned")
	if a := sound(t, url); a.Links != 5 || a.Events != 15 || a.Bodies != 9 || a.DeadLetters != 1 ||
		a.Removed.Links != 5 ||
		a.Removed.Events != 15 || a.Removed.Duplicates != 5 || a.Removed.Until.IsZero() {
		t.Fatalf("the audit found %+v", a)
	}
	findsChanges(t, connect(t, url), storetest.PrunedTamperings(literal))
}

// TestVerifyFindsChangesAmongTests: the same for a store from which test traffic was removed. Only
// its rows may be among the removed ones out of order.
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
			// With the role replica triggers do not fire.
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

// TestVerifyLarge: an audit reads all rows of tables longer than a page, including bodies that each
// fill a page.
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

// TestVerifyUnreachable: a store that cannot be read is an error, not a break.
func TestVerifyUnreachable(t *testing.T) {
	for name, url := range map[string]string{"no such database": strings.Replace(newDatabase(t),
		"/test", "/missing", 1), "no store": newEmptyDatabase(t), "no URL": "postgres://:x:x"} {
		if found, err := Verify(t.Context(), url, "", nil); err == nil {
			t.Errorf("%s was verified: %+v", name, found)
		}
	}
}

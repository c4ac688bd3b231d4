package postgres

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/store/audit"
	"github.com/hookgate/hookgate/store/storetest"
)

// connect opens a session of an outsider, with all rights.
func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
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
	url := newDatabase(t)
	s, _ := openStore(t, url)
	defer s.Close()
	storetest.Fill(t, s)
	return url
}

// TestVerifyFindsChanges: whatever is changed behind the gate's back shows, and the first break is named. Each case changes
// one thing in a sound store, in a transaction that the audit is a part of and that is rolled back.
func TestVerifyFindsChanges(t *testing.T) {
	url := filled(t)
	sound, err := Verify(t.Context(), url, nil)
	if err != nil || sound.Break != nil {
		t.Fatalf("a sound store has the break %v (error %v)", sound.Break, err)
	}
	if sound.Links != storetest.FilledLinks || sound.Events != storetest.FilledEvents || sound.Duplicates != storetest.FilledDuplicates ||
		sound.DeadLetters != storetest.FilledDeadLetters || sound.Actions != storetest.FilledActions || sound.Head == [32]byte{} {
		t.Fatalf("the audit found %+v", sound)
	}
	conn := connect(t, url)
	for _, c := range storetest.Tamperings(func(hex string) string { return "decode('" + hex + "', 'hex')" }) {
		t.Run(c.Name, func(t *testing.T) {
			// Who is replica fires no triggers.
			if err := execute(conn, "BEGIN; SET LOCAL session_replication_role = replica; "+c.Script); err != nil {
				t.Fatal(err)
			}
			found, err := audit.Run(newPages(t.Context(), conn.PgConn()), nil)
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
	if err := execute(conn, "SET session_replication_role = replica; UPDATE webhook_events SET sequence = 7 WHERE id = 1"); err != nil {
		t.Fatal(err)
	}
	if found, err := Verify(t.Context(), url, nil); err != nil || found.Break == nil {
		t.Errorf("a committed change has the break %v (error %v)", found.Break, err)
	}
}

// TestVerifyLarge: an audit of more than a page of everything, and of bodies that each fill one, reads it all.
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
		b := &hookgate.Batch{Epochs: map[int]hookgate.Epoch{0: epoch}, Worker: "w", Attempts: 1, Records: records, Dead: dead}
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
		r.Body = bytes.Repeat([]byte{byte(n)}, pageBytes-3+n)
		d.Body = r.Body
		apply([]hookgate.Record{r}, []hookgate.DeadLetter{{Record: d, Reason: "large"}})
	}
	found, err := Verify(t.Context(), url, nil)
	if err != nil || found.Break != nil || found.Events != many+large || found.DeadLetters != many+large || found.Links != 1+large {
		t.Errorf("the audit found %+v (error %v)", found, err)
	}
	n := 0
	for d, err := range s.DeadLetters(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if want := pageBytes - 3 + n - many; n >= many && len(d.Body) != want {
			t.Errorf("dead letter %d has %d bytes, want %d", n, len(d.Body), want)
		}
		n++
	}
	if n != many+large {
		t.Errorf("%d dead letters were listed, want %d", n, many+large)
	}
}

// TestTriggers: rows are not changed, and are removed by retention alone.
func TestTriggers(t *testing.T) {
	conn := connect(t, filled(t))
	for _, table := range []string{"webhook_events", "webhook_requests", "webhook_batches", "webhook_dead_letters"} {
		for _, script := range []string{"UPDATE " + table + " SET id = id", "DELETE FROM " + table, "DELETE FROM " + table + " WHERE id = 2", "TRUNCATE " + table} {
			if err := execute(conn, script); err == nil || !strings.Contains(err.Error(), table+" is append-only") {
				t.Errorf("%s: got %v, want a refusal", script, err)
			}
		}
		for _, change := range []string{"UPDATE " + table + " SET id = id", "TRUNCATE " + table} {
			if err := execute(conn, "BEGIN; INSERT INTO webhook_retention VALUES ('30 days'); "+change); err == nil {
				t.Errorf("%s goes through in the name of retention", change)
			}
			if err := execute(conn, "ROLLBACK"); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, change := range []string{"UPDATE webhook_admin_actions SET reason = ''", "DELETE FROM webhook_admin_actions", "TRUNCATE webhook_admin_actions"} {
		if err := execute(conn, "BEGIN; INSERT INTO webhook_retention VALUES ('30 days'); "+change); err == nil || !strings.Contains(err.Error(), "webhook_admin_actions is append-only") {
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

// TestVerifyUnreachable: what cannot be read is an error and no break.
func TestVerifyUnreachable(t *testing.T) {
	for name, url := range map[string]string{"no such database": strings.Replace(newDatabase(t), "/test", "/missing", 1), "no store": newDatabase(t), "no URL": "postgres://:x:x"} {
		if found, err := Verify(t.Context(), url, nil); err == nil {
			t.Errorf("%s was verified: %+v", name, found)
		}
	}
}

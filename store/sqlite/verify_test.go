package sqlite

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/hookgate/hookgate"
)

// testRecord returns the n-th record of a partition.
func testRecord(partition, n int) hookgate.Record {
	at := time.UnixMicro(1_700_000_000_000_000 + int64(n)).UTC()
	return hookgate.Record{
		Delivery: hookgate.Delivery{
			RequestID:   hookgate.NewRequestID(at),
			Identity:    hookgate.Identity{Source: "default", EventType: fmt.Sprint("type", n%3), MessageID: fmt.Sprintf("%d-%d", partition, n)},
			OrderingKey: fmt.Sprint("key", partition),
			Sequence:    int64(n),
			Body:        fmt.Appendf(nil, `{"n":%d}`, n),
			Headers:     []hookgate.Header{{Name: "X-A", Value: "b"}},
			RemoteAddr:  "192.0.2.1:1",
			ReceivedAt:  at,
		},
		Partition:  partition,
		Position:   hookgate.Position{Minor: uint64(n)},
		EnqueuedAt: at.Add(time.Millisecond),
	}
}

// fill stores 3 batches of 2 partitions, each with events, a duplicate and a dead letter. The links are numbered 1
// to 3 in both partitions, and the batches 1 to 6.
func fill(t *testing.T, s *Store) {
	t.Helper()
	epochs := map[int]hookgate.Epoch{}
	for p := range 2 {
		epoch, err := s.Acquire(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		epochs[p] = epoch
	}
	for round := range 3 {
		b := &hookgate.Batch{Epochs: epochs, Worker: "w", ProcessedAt: time.UnixMicro(1), Attempts: 1}
		for p := range 2 {
			for n := range 3 {
				b.Records = append(b.Records, testRecord(p, round*10+n))
			}
			duplicate := testRecord(p, round*10)
			duplicate.DuplicateOf = hookgate.RequestID{1}
			duplicate.Body = nil
			b.Records = append(b.Records, duplicate)
			b.Dead = append(b.Dead, hookgate.DeadLetter{Record: testRecord(p, round*10+5), Reason: "at fault"})
		}
		if _, err := s.Apply(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
}

// filled returns the path of a store that fill has filled, closed.
func filled(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "store.db")
	s, err := Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	fill(t, s)
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
	DROP TRIGGER webhook_dead_letters_no_update; DROP TRIGGER webhook_dead_letters_no_delete;`

// TestVerifyFindsChanges: whatever is changed behind the gate's back shows, and the first break is named. Each case changes
// one thing in a sound store: every column in turn, and then rows and chains as a whole.
func TestVerifyFindsChanges(t *testing.T) {
	template := filled(t)
	audit, err := Verify(t.Context(), template, nil)
	if err != nil || audit.Break != nil {
		t.Fatalf("a sound store has the break %v (error %v)", audit.Break, err)
	}
	if audit.Links != 6 || audit.Events != 18 || audit.Duplicates != 6 || audit.DeadLetters != 6 || audit.Head == [32]byte{} {
		t.Fatalf("the audit found %+v", audit)
	}
	type change struct{ name, script, want string }
	cases := []change{
		{"event removed", "DELETE FROM webhook_events WHERE id = 8", "partition 0, link 2 (batch 3): has 2 events, and was sealed with 3"},
		{"event added", `INSERT INTO webhook_events SELECT 99, 'new', event_type, source, ordering_key, sequence, payload, sha256, request_id, received_at,
			enqueued_at, headers, remote_addr, partition, position, batch FROM webhook_events WHERE id = 18`, "partition 1, link 3 (batch 6): has 4 events"},
		{"event of no batch", `INSERT INTO webhook_events SELECT 99, 'new', event_type, source, ordering_key, sequence, payload, sha256, request_id, received_at,
			enqueued_at, headers, remote_addr, partition, position, 7 FROM webhook_events WHERE id = 18`, `event 99 (message id "new") belongs to no link`},
		{"events swapped", "UPDATE webhook_events SET id = -1 WHERE id = 1; UPDATE webhook_events SET id = 1 WHERE id = 2; UPDATE webhook_events SET id = 2 WHERE id = -1",
			"partition 0, link 1 (batch 1): its hash does not fit"},
		{"event moved to another batch", "UPDATE webhook_events SET batch = 2 WHERE id = 3", "partition 0, link 1 (batch 1): has 2 events"},
		{"body and digest changed", "UPDATE webhook_events SET payload = x'61', sha256 = x'ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb' WHERE id = 1",
			"partition 0, link 1 (batch 1): its hash does not fit"},
		{"request removed", "DELETE FROM webhook_requests WHERE id = 1", "partition 0, link 1 (batch 1): has 1 duplicates and dead letters, and was sealed with 2"},
		{"dead letter removed", "DELETE FROM webhook_dead_letters WHERE id = 2", "partition 0, link 1 (batch 1)"},
		{"dead letter added", "INSERT INTO webhook_dead_letters VALUES (99, 'x', x'', 'r', 1)", "7 dead letters are stored, and 6 requests tell of one"},
		{"link removed", "DELETE FROM webhook_batches WHERE id = 3", "row"},
		{"link and events removed", "DELETE FROM webhook_batches WHERE id = 3; DELETE FROM webhook_events WHERE batch = 3; DELETE FROM webhook_requests WHERE batch = 3",
			"partition 0, link 3 (batch 5): follows link 1"},
		{"end cut off", `DELETE FROM webhook_batches WHERE id = 6; DELETE FROM webhook_events WHERE batch = 6;
			DELETE FROM webhook_dead_letters WHERE id IN (SELECT id FROM webhook_requests WHERE batch = 6); DELETE FROM webhook_requests WHERE batch = 6`,
			"partition 1, link 3 (batch 0): the chain ends with link 2"},
		{"head set back with the end cut off", `DELETE FROM webhook_batches WHERE id = 6; DELETE FROM webhook_events WHERE batch = 6;
			DELETE FROM webhook_dead_letters WHERE id IN (SELECT id FROM webhook_requests WHERE batch = 6); DELETE FROM webhook_requests WHERE batch = 6;
			UPDATE webhook_partitions SET sequence = 2, hash = (SELECT hash FROM webhook_batches WHERE id = 4) WHERE partition = 1`,
			"the partitions count 18 events"},
		{"head removed", "DELETE FROM webhook_partitions WHERE partition = 1", "partition 1"},
		{"count changed", "UPDATE webhook_partitions SET events = events + 1 WHERE partition = 1", "the partitions count 19 events"},
	}
	for table, columns := range map[string][]string{
		"webhook_events": {"message_id", "event_type", "source", "ordering_key", "sequence", "payload", "sha256", "request_id", "received_at",
			"enqueued_at", "headers", "remote_addr", "partition", "position"},
		"webhook_requests": {"request_id", "outcome", "first_request_id", "reason", "message_id", "event_type", "source", "ordering_key", "sequence",
			"sha256", "received_at", "enqueued_at", "headers", "remote_addr", "partition", "position"},
		"webhook_batches": {"partition", "sequence", "previous_hash", "hash", "events", "requests", "worker", "processed_at", "persisted_at",
			"attempts", "last_error"},
		"webhook_dead_letters": {"request_id", "payload", "reason", "dead_lettered_at"},
	} {
		for _, column := range columns {
			// Events 1 to 3 and requests 1 and 2, the second a dead letter, are of batch 1. The first batch with one before it is 3.
			id, want := 2, "(batch 1)"
			if table == "webhook_batches" {
				id, want = 3, "(batch 3)"
			}
			script := fmt.Sprintf(`UPDATE %s SET %s = CASE typeof(%[2]s) WHEN 'integer' THEN %[2]s + 1 WHEN 'blob' THEN zeroblob(length(%[2]s))
				WHEN 'text' THEN CASE WHEN length(%[2]s) = 36 THEN '00000000-0000-7000-8000-000000000000' ELSE %[2]s || 'x' END END
				WHERE id = %d`, table, column, id)
			cases = append(cases, change{table + "." + column, script, want})
		}
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			path := copyStore(t, template)
			if err := execute(path, withoutTriggers+c.script+";"); err != nil {
				t.Fatal(err)
			}
			audit, err := Verify(t.Context(), path, nil)
			if err != nil {
				t.Fatal(err)
			}
			if audit.Break == nil || !strings.Contains(audit.Break.String(), c.want) {
				t.Errorf("the audit names %v, want %q", audit.Break, c.want)
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
		b := &hookgate.Batch{Epochs: map[int]hookgate.Epoch{0: epoch}, Worker: "w", Attempts: 1, Records: []hookgate.Record{testRecord(0, n)}}
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

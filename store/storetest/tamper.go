package storetest

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hookgate/hookgate"
)

// Sample returns record n of a partition, for tests and benchmarks of a backend.
func Sample(partition, n int) hookgate.Record {
	at := time.UnixMicro(1_700_000_000_000_000 + int64(n)).UTC()
	return hookgate.Record{
		Request: hookgate.Request{
			RequestID: hookgate.NewRequestID(at),
			Identity: hookgate.Identity{Source: "default", EventType: fmt.Sprint("type", n%3),
				MessageID: fmt.Sprintf("%d-%d", partition, n)},
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

// Filler has the methods that Fill needs.
type Filler interface {
	hookgate.Store
	hookgate.Reader
	hookgate.Purger
	Access
}

// Fill stores 3 batches of 2 partitions, each with events, a duplicate and a dead letter. It then
// purges the dead letter of the third batch of partition 0. The admin trail has 3 rows.
func Fill(t TB, s Filler) {
	t.Helper()
	epochs := map[int]hookgate.Epoch{}
	for p := range 2 {
		epoch, err := s.Acquire(context.Background(), p)
		if err != nil {
			t.Fatalf("acquire partition %d: %v", p, err)
		}
		epochs[p] = epoch
	}
	for round := range 3 {
		b := &hookgate.Batch{Epochs: epochs, Worker: "w", ProcessedAt: time.UnixMicro(1), Attempts: 1}
		for p := range 2 {
			for n := range 3 {
				r := Sample(p, round*10+n)
				if n == 2 {
					r.RetryOf, r.RetriedAt = hookgate.RequestID{2}, r.ReceivedAt.Add(time.Hour)
				}
				if n == 1 && round == 0 {
					r.Whole = &hookgate.Whole{RequestID: r.RequestID.WithoutPart(), Body: r.Body,
						SHA256: sha256.Sum256(r.Body)}
					origin := hookgate.Origin{RequestID: r.Whole.RequestID, Part: 1, Parts: 2,
						SHA256: r.Whole.SHA256}
					r.Headers = append(r.Headers, origin.Header())
				}
				b.Records = append(b.Records, r)
			}
			duplicate := Sample(p, round*10)
			duplicate.DuplicateOf = hookgate.RequestID{1}
			duplicate.Body = nil
			b.Records = append(b.Records, duplicate)
			b.Dead = append(b.Dead, hookgate.DeadLetter{Record: Sample(p, round*10+5), Reason: "at fault"})
		}
		mustApply(t, s, b)
		if err := s.RecordAction(context.Background(), action(round)); err != nil {
			t.Fatalf("%v", err)
		}
	}
	mustPurge(t, s, deadLetters(t, s, hookgate.DeadLetterFilter{})[4].ID)
}

// The counts that an audit of a store filled by Fill must return.
const FilledLinks, FilledEvents, FilledDuplicates, FilledDeadLetters, FilledPurges,
	FilledActions = 7, 18, 6, 6, 1, 3

// Tampering is one change that the gate did not make.
type Tampering struct {
	Name string
	// Script makes the change. The triggers of the store are disabled.
	Script string
	// Want is part of the message that the audit must return.
	Want string
}

// Tamperings returns changes to each column, and to rows and chains, of a store that Fill of an
// earlier release has filled. In that store request 10 is the purged dead letter. The links have
// the numbers 1 to 3 in both partitions and the batches 1 to 6. The purge is link 4 of partition 0,
// in batch 7. literal returns bytes, given in hexadecimal, as an SQL literal.
func Tamperings(literal func(hex string) string) []Tampering {
	const copied = `event_type, source, ordering_key, sequence, payload, sha256, request_id, received_at,
		enqueued_at, spooled_at, replay_of, replayed_at, headers, remote_addr, partition, position, keyed, processed_at, persisted_at, worker, attempts,
		last_error, hash`
	insert := "INSERT INTO webhook_events (id, message_id, identity, " + copied + ", batch) "
	anyKey := literal(strings.Repeat("00", 24))
	const purge = "INSERT INTO webhook_purges (id, request_id, purged_by, reason, purged_at," +
		" batch, hash) "
	const cutOff = `DELETE FROM webhook_batches WHERE id = 6; DELETE FROM webhook_events WHERE batch = 6;
		DELETE FROM webhook_dead_letters WHERE id IN (SELECT id FROM webhook_requests WHERE batch = 6); DELETE FROM webhook_requests WHERE batch = 6`
	all := []Tampering{
		{"event removed", "DELETE FROM webhook_events WHERE id = 8",
			"partition 0, link 2 (batch 3): has 2 events, and was sealed with 3"},
		{"event added", insert + "SELECT 99, 'new', " + anyKey + ", " + copied +
			", batch FROM webhook_events WHERE id = 18",
			"partition 1, link 3 (batch 6): row 99"},
		{"event of no batch", insert + "SELECT 99, 'new', " + anyKey + ", " + copied +
			", 8 FROM webhook_events WHERE id = 18",
			`event 99 (message id "new") belongs to no link`},
		{"event before the first", insert + "SELECT -5, 'new', " + anyKey + ", " + copied +
			", batch FROM webhook_events WHERE id = 1",
			"partition 0, link 1 (batch 1): event -5"},
		{"events swapped", "UPDATE webhook_events SET id = -1 WHERE id = 1;" +
			" UPDATE webhook_events SET id = 1 WHERE id = 2; UPDATE webhook_events SET id = 2 WHERE id = -1",
			"partition 0, link 1 (batch 1): its hash does not fit"},
		{"event moved to another batch", "UPDATE webhook_events SET batch = 2 WHERE id = 3",
			"partition 0, link 1 (batch 1): has 2 events"},
		{"body and digest changed", "UPDATE webhook_events SET payload = " + literal("61") +
			", sha256 = " +
			literal("ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb") + " WHERE id = 1",
			"partition 0, link 1 (batch 1): its hash does not fit"},
		{"request removed", "DELETE FROM webhook_requests WHERE id = 1",
			"partition 0, link 1 (batch 1): has 1 duplicates and dead letters, and was sealed with 2"},
		{"dead letter removed", "DELETE FROM webhook_dead_letters WHERE id = 2",
			"partition 0, link 1 (batch 1)"},
		{"dead letter added", "INSERT INTO webhook_dead_letters VALUES (99, 'x', " + literal("") +
			", 'r', 1)", "6 dead letters are stored, and 6 requests tell of one, 1 of them purged"},
		{"request body removed", "DELETE FROM webhook_request_bodies",
			"partition 0, link 1 (batch 1): the body of request"},
		{"request body changed", "UPDATE webhook_request_bodies SET payload = " + literal("61"),
			"partition 0, link 1 (batch 1): the body of request"},
		{"purge removed", "DELETE FROM webhook_purges",
			"partition 0, link 3 (batch 5): the dead letter of request"},
		{"purge forged", "DELETE FROM webhook_dead_letters WHERE id = 2; " +
			purge + "SELECT 2, request_id, 'ops', 'forged', 1, 7, " + literal("") +
			" FROM webhook_requests WHERE id = 2", "partition 0, link 4 (batch 7)"},
		{"purge forged well", "DELETE FROM webhook_dead_letters WHERE id = 2; " +
			purge + "SELECT 2, r.request_id, 'ops', 'forged', p.purged_at, 7, " + literal("") +
			" FROM webhook_requests r, webhook_purges p WHERE r.id = 2",
			"partition 0, link 4 (batch 7): has 2 purges, and was sealed with 1"},
		{"purge of no link", "DELETE FROM webhook_dead_letters WHERE id = 2; " +
			purge + "SELECT 2, request_id, 'ops', 'forged', 1, 8, " + literal("") +
			" FROM webhook_requests WHERE id = 2", "belongs to no link"},
		{"purge of no dead letter", "UPDATE webhook_purges SET request_id = (SELECT request_id FROM" +
			" webhook_requests WHERE id = 1); " +
			"INSERT INTO webhook_dead_letters SELECT id, request_id, " + literal("") +
			", reason, 1 FROM webhook_requests WHERE id = 10", "(batch 5)"},
		{"purged dead letter put back", "INSERT INTO webhook_dead_letters SELECT id, request_id, " +
			literal("") + ", reason, 1 FROM webhook_requests WHERE id = 10",
			"was purged, and is there"},
		{"link removed", "DELETE FROM webhook_batches WHERE id = 3", "row"},
		{"link and events removed", "DELETE FROM webhook_batches WHERE id = 3;" +
			" DELETE FROM webhook_events WHERE batch = 3; DELETE FROM webhook_requests WHERE batch = 3",
			"partition 0, link 3 (batch 5): follows link 1"},
		{"end cut off", cutOff, "partition 1, link 3 (batch 0): the chain ends with link 2"},
		{"head set back with the end cut off",
			cutOff + "; UPDATE webhook_partitions SET sequence = 2," +
				" hash = (SELECT hash FROM webhook_batches WHERE id = 4) WHERE partition = 1",
			"the partitions count 18 events"},
		{"head removed", "DELETE FROM webhook_partitions WHERE partition = 1", "partition 1"},
		{"count changed", "UPDATE webhook_partitions SET events = events + 1 WHERE partition = 1",
			"the partitions count 19 events"},
	}
	all = append(all, []Tampering{
		{"action removed", "DELETE FROM webhook_admin_actions WHERE sequence = 2",
			"admin trail, row 3: follows row 1"},
		{"first action removed", "DELETE FROM webhook_admin_actions WHERE sequence = 1",
			"admin trail, row 2: follows row 0"},
		{"last action removed", "DELETE FROM webhook_admin_actions WHERE sequence = 3",
			"admin trail, row 3: the trail ends with row 2"},
		{"action added", "INSERT INTO webhook_admin_actions SELECT 4, hash, hash, at, request_id," +
			" actor, role, remote_addr, action, target, reason, result " +
			"FROM webhook_admin_actions WHERE sequence = 3", "admin trail, row 4: its hash does not fit"},
		{"actions swapped", "UPDATE webhook_admin_actions SET sequence = -1 WHERE sequence = 1;" +
			" UPDATE webhook_admin_actions SET sequence = 1 WHERE sequence = 2; " +
			"UPDATE webhook_admin_actions SET sequence = 2 WHERE sequence = -1", "admin trail, row 1"},
		{"head of the admin trail removed", "DELETE FROM webhook_admin_chain",
			"admin trail, row 0: the trail ends with row 3"},
		{"admin trail emptied", "DELETE FROM webhook_admin_actions",
			"admin trail, row 3: the trail ends with row 0"},
	}...)
	numbers := []string{"sequence", "at", "received_at", "enqueued_at", "spooled_at", "replayed_at",
		"partition", "events", "requests", "purges",
		"last_event", "last_request", "processed_at", "persisted_at", "attempts", "dead_lettered_at",
		"purged_at"}
	bytes := []string{"payload", "sha256", "previous_hash", "hash"}
	for table, columns := range map[string][]string{
		"webhook_events": {"message_id", "event_type", "source", "ordering_key", "sequence", "payload",
			"sha256", "request_id", "received_at",
			"enqueued_at", "spooled_at", "replay_of", "replayed_at", "headers", "remote_addr", "partition",
			"position"},
		"webhook_requests": {"request_id", "outcome", "first_request_id", "reason", "message_id",
			"event_type", "source", "ordering_key", "sequence",
			"sha256", "received_at", "enqueued_at", "spooled_at", "replay_of", "replayed_at", "headers",
			"remote_addr", "partition", "position"},
		"webhook_batches": {"partition", "sequence", "previous_hash", "hash", "events", "requests",
			"purges", "last_event", "last_request", "worker", "processed_at", "persisted_at",
			"attempts", "last_error"},
		"webhook_dead_letters": {"request_id", "payload", "reason", "dead_lettered_at"},
		"webhook_purges":       {"purged_by", "reason", "purged_at"},
		"webhook_admin_actions": {"previous_hash", "hash", "at", "request_id", "actor", "role",
			"remote_addr", "action", "target", "reason", "result"},
	} {
		for _, column := range columns {
			// Events 1 to 3 and requests 1 and 2 belong to batch 1; request 2 is a dead letter.
			// Batch 3 is the first one with a predecessor.
			key, id, want := "id", 2, "(batch 1)"
			switch table {
			case "webhook_batches":
				id, want = 3, "(batch 3)"
			case "webhook_purges":
				id, want = 1, "(batch 7)"
			case "webhook_admin_actions":
				key, want = "sequence", "admin trail, row 2"
			}
			value := fmt.Sprintf("CASE WHEN length(%s) = 36 THEN '00000000-0000-7000-8000-000000000000'"+
				" ELSE %[1]s || 'x' END", column)
			switch {
			case slices.Contains(numbers, column):
				value = column + " + 1"
			case slices.Contains(bytes, column):
				value = literal(strings.Repeat("00", 32))
			}
			all = append(all, Tampering{table + "." + column,
				fmt.Sprintf("UPDATE %s SET %s = %s WHERE %s = %d", table, column, value, key, id), want})
		}
	}
	return all
}

// NextID returns ids from 1 without gaps. Fill, FillPruned and the tamperings need a store that
// uses it.
func NextID(last int64, _ time.Time) int64 { return last + 1 }

package storetest

import (
	"fmt"
	"slices"
	"strings"
)

// FilledEntries is how many entries of the log Fill adds: the stored requests, two anchors before
// the later batches, and one anchor before the purge.
//
//	1-12   batch: of partitions 0 and 1 in turn 3 events and a duplicate, and then 2 dead letters (9, 10)
//	11     anchor of row 1; then the second batch, with its dead letters 20 and 21
//	22     anchor of row 2; then the third, with its dead letters 31 and 32
//	33     anchor of row 3; 34 purge of dead letter 31
const FilledEntries = FilledEvents + FilledDuplicates + FilledDeadLetters + FilledPurges +
	FilledActions

// LogTamperings returns changes to each column of the log, and to rows, tables and the head of the
// log. The store must have been filled by Fill, without a chain of an earlier release; see
// Tamperings.
func LogTamperings(literal func(hex string) string) []Tampering {
	const cutOff = `DELETE FROM webhook_purges; DELETE FROM webhook_anchors WHERE id = 33;
		INSERT INTO webhook_dead_letters SELECT id, request_id, PAYLOAD, reason, persisted_at FROM webhook_requests WHERE id = 31`
	moved := strings.ReplaceAll(removedLineage, "id, message_id", "message_id")
	all := []Tampering{
		{"event removed", "DELETE FROM webhook_events WHERE id = 2", "log, entry 3: its hash"},
		{"last event removed", "DELETE FROM webhook_events WHERE id = 29", "log, entry 30: its hash"},
		{"duplicate removed", "DELETE FROM webhook_requests WHERE id = 4", "log, entry 5: its hash"},
		{"event added", "INSERT INTO webhook_events (id, " + moved + ", payload, identity) SELECT 99, " +
			moved + ", payload, " + literal("00") +
			" FROM webhook_events WHERE id = 3", "log, entry 99"},
		{"events swapped", "UPDATE webhook_events SET id = -1 WHERE id = 1;" +
			" UPDATE webhook_events SET id = 1 WHERE id = 2; " +
			"UPDATE webhook_events SET id = 2 WHERE id = -1", "log, entry 1: its hash"},
		{"event moved to the removed", "INSERT INTO webhook_removed_events (" + removedLineage +
			", removed_at) SELECT " + removedLineage +
			", 1 FROM webhook_events WHERE id = 2; DELETE FROM webhook_events WHERE id = 2",
			"log, entry 2: event 2"},
		{"body and digest changed", "UPDATE webhook_events SET payload = " + literal("61") +
			", sha256 = " +
			literal("ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb") + " WHERE id = 1",
			"log, entry 1: its hash"},
		{"dead letter removed", "DELETE FROM webhook_dead_letters WHERE id = 9",
			"log, entry 9: the dead letter"},
		{"dead letter added", "INSERT INTO webhook_dead_letters VALUES (99, 'x', " + literal("") +
			", 'r', 1)", "6 dead letters are stored"},
		{"request body removed", "DELETE FROM webhook_request_bodies", "the body of request"},
		{"request body changed", "UPDATE webhook_request_bodies SET payload = " + literal("61"),
			"the body of request"},
		{"purge removed", "DELETE FROM webhook_purges", "log, entry 31: the dead letter"},
		{"purge of another", "UPDATE webhook_purges SET request_id = (SELECT request_id FROM" +
			" webhook_requests WHERE id = 4); " +
			"INSERT INTO webhook_dead_letters SELECT id, request_id, " + literal("") +
			", reason, persisted_at FROM webhook_requests WHERE id = 31", "log, entry 31"},
		{"anchor removed", "DELETE FROM webhook_anchors WHERE id = 22", "log, entry 23: its hash"},
		{"anchor added", "INSERT INTO webhook_anchors SELECT 99, sequence, trail_hash," +
			" hash FROM webhook_anchors WHERE id = 33", "log, entry 99: its hash"},
		{"end cut off", strings.ReplaceAll(cutOff, "PAYLOAD", literal("")), "log, entry 31"},
		{"last entry cut off and the head set back",
			"DELETE FROM webhook_purges; UPDATE webhook_log SET last_id = 33," +
				" hash = (SELECT hash FROM webhook_anchors WHERE id = 33)",
			"log, entry 31: the dead letter"},
		{"gap written over a removal",
			"INSERT INTO webhook_gaps SELECT 2, 2, a.hash, e.hash, 1, 0, 0, 0, 0, 0, 1," +
				" 1 FROM webhook_events a, webhook_events e " +
				"WHERE a.id = 1 AND e.id = 2; DELETE FROM webhook_events WHERE id = 2",
			"retention counts 0 events"},
		{"gap over what is there", "INSERT INTO webhook_gaps SELECT 2, 2, a.hash, e.hash, 0, 0, 0, 0," +
			" 0, 0, 1, 1 FROM webhook_events a, webhook_events e " +
			"WHERE a.id = 1 AND e.id = 2", "log, entry 2"},
		{"head removed", "DELETE FROM webhook_log", "log, entry 0: the log ends"},
		{"rows of the admin trail removed from the end",
			"DELETE FROM webhook_admin_actions WHERE sequence = 3;" +
				" UPDATE webhook_admin_chain SET sequence = 2, " +
				"hash = (SELECT hash FROM webhook_admin_actions WHERE sequence = 2)",
			"admin trail, row 3: entry 33 of the log anchors"},
		{"entry without its hash", "UPDATE webhook_events SET hash = " + literal("") + " WHERE id = 2",
			`event 2 (message id "0-1") belongs to no link`},
		{"duplicate without its hash", "UPDATE webhook_requests SET hash = " + literal("") +
			" WHERE id = 4", "belongs to no link"},
		{"purge without its hash", "UPDATE webhook_purges SET hash = " + literal(""),
			"belongs to no link"},
	}
	shared := []string{"message_id", "event_type", "source", "ordering_key", "sequence", "sha256",
		"request_id", "received_at", "enqueued_at",
		"spooled_at", "replay_of", "replayed_at", "headers", "remote_addr", "partition", "position",
		"batch", "processed_at", "persisted_at",
		"worker", "attempts", "last_error", "identity", "hash"}
	numbers := []string{"sequence", "received_at", "enqueued_at", "spooled_at", "replayed_at",
		"partition", "batch", "processed_at", "persisted_at",
		"attempts", "purged_at", "dead_lettered_at", "last_id", "events", "duplicates", "dead_letters",
		"purges", "anchored", "begins_after"}
	bytes := []string{"payload", "sha256", "identity", "hash", "trail_hash"}
	for table, t := range map[string]struct {
		id      int
		columns []string
	}{
		"webhook_events":       {2, append([]string{"payload"}, shared...)},
		"webhook_requests":     {9, append([]string{"outcome", "first_request_id", "reason"}, shared...)},
		"webhook_dead_letters": {9, []string{"request_id", "payload", "reason", "dead_lettered_at"}},
		"webhook_purges": {34, []string{"request_id", "purged_by", "reason", "purged_at", "batch",
			"hash"}},
		"webhook_anchors": {22, []string{"sequence", "trail_hash", "hash"}},
		"webhook_log": {1, []string{"last_id", "hash", "events", "duplicates", "dead_letters",
			"purges", "anchored", "begins_after"}},
	} {
		for _, column := range t.columns {
			where := fmt.Sprintf(" WHERE id = %d", t.id)
			want := fmt.Sprintf("log, entry %d", t.id)
			switch {
			case table == "webhook_log":
				where, want = "", "log, entry"
			case table == "webhook_purges" && column == "request_id":
				want = "log, entry 31"
			}
			value := fmt.Sprintf("CASE WHEN length(%s) = 36 THEN '00000000-0000-7000-8000-000000000000'"+
				" ELSE %[1]s || 'x' END", column)
			switch {
			case slices.Contains(numbers, column):
				value = column + " + 1"
			case slices.Contains(bytes, column):
				value = literal(strings.Repeat("00", 32))
			}
			all = append(all, Tampering{table + "." + column, "UPDATE " + table + " SET " + column + " = " +
				value + where, want})
		}
		if table == "webhook_events" || table == "webhook_requests" {
			all = append(all, Tampering{table + ".keyed",
				fmt.Sprintf("UPDATE %s SET keyed = CAST(1 AS boolean) WHERE id = %d", table, t.id),
				fmt.Sprintf("log, entry %d", t.id)})
		}
	}
	return all
}

// GapTamperings returns changes to a store that FillPruned has filled, without a chain of an
// earlier release. Entries 1 to 24 are removed except for dead letter 17, and the next 8 have no
// bodies.
func GapTamperings(literal func(hex string) string) []Tampering {
	all := []Tampering{
		{"gap removed", "DELETE FROM webhook_gaps WHERE from_id = 1", "log, entry 17: its hash"},
		{"second gap removed", "DELETE FROM webhook_gaps WHERE from_id = 18", "log, entry 26: its hash"},
		{"entry removed at the end of a gap", "DELETE FROM webhook_removed_events WHERE id = 26",
			"log, entry 27: its hash"},
		{"entry removed with a longer gap",
			"DELETE FROM webhook_removed_events WHERE id = 26; UPDATE webhook_gaps SET to_id = 26 WHERE" +
				" from_id = 18", "log, entry 27: its hash"},
		{"entry removed with a longer gap that counts it",
			"UPDATE webhook_gaps SET to_id = 26, events = events + 1, " +
				"hash = (SELECT hash FROM webhook_removed_events WHERE id = 26) WHERE from_id = 18;" +
				" DELETE FROM webhook_removed_events WHERE id = 26; " +
				"UPDATE webhook_removals SET duplicates = duplicates + 1", "retention counts"},
		{"dead letter removed", "DELETE FROM webhook_requests WHERE id = 17;" +
			" DELETE FROM webhook_dead_letters", "log, entry 18: the checkpoint"},
		{"gap behind the end", "INSERT INTO webhook_gaps SELECT 99, 100, hash, hash, 0, 0, 0, 0, 0," +
			" 0, 1, 1 FROM webhook_log", "the log ends with entry 100"},
	}
	for column, value := range map[string]string{"from_id": "from_id - 1", "to_id": "to_id + 2",
		"previous_hash": literal("ff"), "hash": literal("ff"),
		"events": "events + 1", "duplicates": "duplicates + 1", "dead_letters": "dead_letters + 1",
		"purges": "purges + 1", "anchored": "anchored + 1"} {
		all = append(all, Tampering{"webhook_gaps." + column, "UPDATE webhook_gaps SET " + column +
			" = " + value + " WHERE from_id = 18", ""})
	}
	return all
}

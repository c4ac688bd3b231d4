package storetest

import (
	"context"
	"strings"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/store/entry"
)

// FillPruned stores 5 rounds of 2 partitions, each with 3 events and a duplicate; the second round
// has a dead letter in partition 0. Then it removes the trail of the first 3 rounds, except for the
// dead letter, and the bodies of the fourth.
func FillPruned(t TB, s interface {
	hookgate.Store
	Pruner
}) {
	t.Helper()
	epochs := map[int]hookgate.Epoch{}
	for p := range 2 {
		epoch, err := s.Acquire(context.Background(), p)
		if err != nil {
			t.Fatalf("acquire partition %d: %v", p, err)
		}
		epochs[p] = epoch
	}
	var trail, events time.Time
	for round := range 5 {
		b := &hookgate.Batch{Epochs: epochs, Worker: "w", ProcessedAt: time.UnixMicro(1), Attempts: 1}
		for p := range 2 {
			for n := range 3 {
				b.Records = append(b.Records, Sample(p, round*10+n))
			}
			duplicate := Sample(p, round*10)
			duplicate.DuplicateOf, duplicate.Body = hookgate.RequestID{1}, nil
			b.Records = append(b.Records, duplicate)
		}
		if round == 1 {
			b.Dead = append(b.Dead, hookgate.DeadLetter{Record: Sample(0, round*10+5), Reason: "at fault"})
		}
		mustApply(t, s, b)
		switch round {
		case 2:
			trail = cut()
		case 3:
			events = cut()
		}
	}
	mustPrune(t, s, hookgate.Cutoffs{Events: events, Trail: trail}, 7)
}

// removedLineage are the columns that an event keeps without its body.
var removedLineage = entry.ColumnsOf(entry.RemovedEvents).Names("")

// PrunedTamperings returns changes to a store that FillPruned of an earlier release has filled; see
// Tamperings. The store has batch 3 (link 2 of partition 0) because of its dead letter, batches 7
// and 8 without bodies, and batches 9 and 10.
func PrunedTamperings(literal func(hex string) string) []Tampering {
	lineage := removedLineage
	const linkGone = "DELETE FROM webhook_batches WHERE id = 7; DELETE FROM webhook_removed_events" +
		" WHERE batch = 7; DELETE FROM webhook_requests WHERE batch = 7"
	const longer = "; UPDATE webhook_checkpoints SET to_sequence = 4," +
		" hash = (SELECT previous_hash FROM webhook_batches WHERE id = 9)"
	all := []Tampering{
		{"body removed", "INSERT INTO webhook_removed_events (" + lineage + ", removed_at) SELECT " +
			lineage + ", 1 FROM webhook_events WHERE id = 25; DELETE FROM webhook_events WHERE id = 25",
			`(batch 9): event 25 (message id "0-40"): retention has removed the bodies up to event 24,` +
				` and this one is missing`},
		{"body put back", "INSERT INTO webhook_events (" + lineage + ", payload, identity) SELECT " +
			lineage + ", " + literal("61") + ", " + literal("00") +
			" FROM webhook_removed_events WHERE id = 24; DELETE FROM webhook_removed_events WHERE id = 24",
			"(batch 8): event 24"},
		{"event removed", "DELETE FROM webhook_events WHERE id = 26", "(batch 9): has 2 events"},
		{"lineage removed", "DELETE FROM webhook_removed_events WHERE id = 20",
			"(batch 7): has 2 events"},
		{"link removed", linkGone, "partition 0, link 5 (batch 9): follows link 3"},
		{"link removed with a longer checkpoint", linkGone + longer +
			" WHERE partition = 0 AND from_sequence = 3", "the partitions count 30 events"},
		{"link removed with a longer checkpoint that counts it", linkGone + longer +
			", events = events + 3, duplicates = duplicates + 1 WHERE partition = 0 AND from_sequence = 3",
			"retention counts 24 events, 5 duplicates"},
		{"dead letter removed with its link",
			`DELETE FROM webhook_batches WHERE id = 3; DELETE FROM webhook_removed_events WHERE batch = 3;
			DELETE FROM webhook_requests WHERE batch = 3; DELETE FROM webhook_dead_letters`, "partition 0, link 4 (batch 7): follows link 1"},
		{"checkpoint removed", "DELETE FROM webhook_checkpoints WHERE partition = 0 AND from_sequence" +
			" = 1", "partition 0, link 2 (batch 3): follows link 0"},
		{"checkpoint of links that are there",
			"INSERT INTO webhook_checkpoints SELECT partition, 4, 4, hash, hash, 0, 0, 0, 0, 1," +
				" 1 FROM webhook_checkpoints WHERE partition = 0 AND from_sequence = 3",
			"partition 0, link 4 (batch 7): follows link 4"},
		{"checkpoint behind the end",
			"INSERT INTO webhook_checkpoints SELECT partition, 6, 7, hash, hash, 0, 0, 0, 0, 1," +
				" 1 FROM webhook_partitions WHERE partition = 0",
			"partition 0, link 5 (batch 0): the chain ends with link 7"},
		{"checkpoint of no partition",
			"INSERT INTO webhook_checkpoints SELECT 9, 1, 1, hash, hash, 0, 0, 0, 0, 1," +
				" 1 FROM webhook_partitions WHERE partition = 0",
			"a checkpoint says that links 1 to 1 were removed"},
		{"totals removed", "DELETE FROM webhook_removals", ""},
	}
	for column, value := range map[string]string{"events": "events + 1",
		"duplicates": "duplicates + 1", "dead_letters": "dead_letters + 1",
		"last_event": "last_event + 1", "last_event ": "last_event - 1"} {
		all = append(all, Tampering{"webhook_removals." + value, "UPDATE webhook_removals SET " + column +
			" = " + value, ""})
	}
	zero := literal(strings.Repeat("00", 32))
	for column, value := range map[string]string{"partition": "1", "from_sequence": "2",
		"to_sequence": "4", "previous_hash": literal("ff") + "", "hash": zero,
		"events": "events + 1", "duplicates": "duplicates + 1", "dead_letters": "dead_letters + 1",
		"purges": "purges + 1"} {
		all = append(all, Tampering{"webhook_checkpoints." + column,
			"UPDATE webhook_checkpoints SET " + column + " = " + value +
				" WHERE partition = 0 AND from_sequence = 3", ""})
	}
	for column, value := range map[string]string{"message_id": "'x'", "event_type": "'x'",
		"source": "'x'", "ordering_key": "'x'", "sequence": "99", "sha256": zero,
		"request_id": "'00000000-0000-7000-8000-000000000000'", "received_at": "1", "enqueued_at": "1",
		"spooled_at": "1",
		"replay_of":  "'00000000-0000-7000-8000-000000000000'", "replayed_at": "1", "headers": "'[]'",
		"remote_addr": "'x'", "partition": "1",
		"position": "'x'"} {
		all = append(all, Tampering{"webhook_removed_events." + column,
			"UPDATE webhook_removed_events SET " + column + " = " + value + " WHERE id = 20", "(batch 7)"})
	}
	return all
}

// PrunedRefusals returns statements that the triggers of such a store must reject, each with part
// of the error.
func PrunedRefusals() map[string]string {
	const alone, appended = "is written by retention alone", "is append-only"
	return map[string]string{
		"UPDATE webhook_removed_events SET sequence = 1": appended,
		"DELETE FROM webhook_removed_events":             appended,
		"INSERT INTO webhook_checkpoints SELECT partition, 9, 9, hash, hash, 0, 0, 0, 0, 1," +
			" 1 FROM webhook_partitions": alone,
		"UPDATE webhook_gaps SET events = 1": alone,
		"DELETE FROM webhook_gaps":           alone,
		"INSERT INTO webhook_gaps SELECT 99, 99, hash, hash, 0, 0, 0, 0, 0, 0, 1," +
			" 1 FROM webhook_log": alone,
		"UPDATE webhook_removals SET last_event = 1": alone,
		"DELETE FROM webhook_removals":               alone,
		"DELETE FROM webhook_events":                 appended,
	}
}

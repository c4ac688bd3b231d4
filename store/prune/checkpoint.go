package prune

import (
	"strings"

	"github.com/hookgate/hookgate/audit"
)

// checkpoint records the removal of link l: in the checkpoint that ends before it, or in a new one.
func (s *Step) checkpoint(l *Link) {
	i, ok := s.open[l.Partition]
	if !ok || s.Checkpoints[i].To != l.Sequence-1 {
		i = len(s.Checkpoints)
		s.open[l.Partition] = i
		s.Checkpoints = append(s.Checkpoints, audit.Checkpoint{Partition: l.Partition, From: l.Sequence,
			Previous: l.Previous})
	}
	c := &s.Checkpoints[i]
	c.To, c.Hash = l.Sequence, l.Hash
	c.Events += l.Events
	c.Duplicates += l.Duplicates
	c.DeadLetters += l.Requests - l.Duplicates
	c.Purges += l.Purges
	if l.PersistedAt.After(c.PersistedAt) {
		c.PersistedAt = l.PersistedAt
	}
}

// checkpointStatements write one checkpoint. Parameters: ?1 partition, ?2 from, ?3 to, ?4 previous,
// ?5 hash, ?6 events, ?7 duplicates, ?8 dead letters, ?9 purges, ?10 persisted at, ?11 now. The
// first statement extends the checkpoint that ends just before; the second inserts a row if there
// is none. The last two merge the result with the checkpoint that begins just after. All of them
// use an index.
var checkpointStatements = []string{
	`UPDATE webhook_checkpoints SET to_sequence = ?3, hash = ?5, events = events + ?6,
		duplicates = duplicates + ?7,
		dead_letters = dead_letters + ?8, purges = purges + ?9, persisted_at = CASE
			WHEN persisted_at > ?10 THEN persisted_at ELSE ?10 END, removed_at = ?11
		WHERE partition = ?1 AND to_sequence = ?2 - 1 AND hash = ?4`,
	`INSERT INTO webhook_checkpoints (partition, from_sequence, to_sequence, previous_hash, hash,
		events, duplicates, dead_letters,
		purges, persisted_at, removed_at)
		SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11
		WHERE NOT EXISTS (SELECT 1 FROM webhook_checkpoints WHERE partition = ?1 AND to_sequence = ?3)`,
	`UPDATE webhook_checkpoints AS c SET to_sequence = n.to_sequence, hash = n.hash,
		events = c.events + n.events,
		duplicates = c.duplicates + n.duplicates, dead_letters = c.dead_letters + n.dead_letters,
			purges = c.purges + n.purges,
		persisted_at = CASE WHEN c.persisted_at > n.persisted_at THEN c.persisted_at
			ELSE n.persisted_at END
		FROM webhook_checkpoints AS n
		WHERE c.partition = ?1 AND c.to_sequence = ?3 AND n.partition = ?1 AND n.from_sequence = ?3 + 1
			AND n.previous_hash = c.hash`,
	`DELETE FROM webhook_checkpoints WHERE partition = ?1 AND from_sequence = ?3 + 1
		AND EXISTS (SELECT 1 FROM webhook_checkpoints c WHERE c.partition = ?1 AND c.from_sequence <= ?3
			AND c.to_sequence > ?3)`,
}

// CheckpointArgs returns the parameters of the statements that write c, from ?1 on. Each is an
// int64 or a []byte.
func CheckpointArgs(c *audit.Checkpoint, now int64) []any {
	return []any{int64(c.Partition), c.From, c.To, c.Previous[:], c.Hash[:], c.Events, c.Duplicates,
		c.DeadLetters, c.Purges,
		c.PersistedAt.UnixMicro(), now}
}

// CheckpointStatements returns the statements that write a checkpoint, with mark in place of the
// question mark.
func CheckpointStatements(mark string) []string {
	var all []string
	for _, s := range checkpointStatements {
		all = append(all, strings.ReplaceAll(s, "?", mark))
	}
	return all
}

package prune

import (
	"strings"
	"time"
)

// Gap is a row of webhook_gaps: the entries of the log with ids From to To were removed. The audit
// chain goes on across it from Previous, the hash before the first of them, to Hash, that of the last.
type Gap struct {
	From, To                        int64
	Previous, Hash                  [32]byte
	Events, Duplicates, DeadLetters int64
	Purges, Anchors                 int64
	// Anchored is the highest sequence of the anchors; 0 if there are none.
	Anchored int64
	// PersistedAt is that of the last entry.
	PersistedAt time.Time
}

// gapStatements write one gap: ?1 from, ?2 to, ?3 previous, ?4 hash, ?5 events, ?6 duplicates, ?7 dead
// letters, ?8 purges, ?9 anchors, ?10 anchored, ?11 persisted at, ?12 now. The first lengthens the gap
// that ends before it, which the hash tells; the second is for want of such; the others join it with
// the one that begins behind it.
var gapStatements = []string{
	`UPDATE webhook_gaps SET to_id = ?2, hash = ?4, events = events + ?5, duplicates = duplicates + ?6,
		dead_letters = dead_letters + ?7, purges = purges + ?8, anchors = anchors + ?9,
		anchored = CASE WHEN ?10 > anchored THEN ?10 ELSE anchored END, persisted_at = ?11, removed_at = ?12
		WHERE to_id = (SELECT max(to_id) FROM webhook_gaps WHERE to_id < ?1) AND hash = ?3`,
	`INSERT INTO webhook_gaps (from_id, to_id, previous_hash, hash, events, duplicates, dead_letters, purges, anchors, anchored,
		persisted_at, removed_at)
		SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12
		WHERE NOT EXISTS (SELECT 1 FROM webhook_gaps WHERE to_id = ?2)`,
	`UPDATE webhook_gaps AS g SET to_id = n.to_id, hash = n.hash, events = g.events + n.events,
		duplicates = g.duplicates + n.duplicates, dead_letters = g.dead_letters + n.dead_letters, purges = g.purges + n.purges,
		anchors = g.anchors + n.anchors, anchored = CASE WHEN n.anchored > g.anchored THEN n.anchored ELSE g.anchored END,
		persisted_at = n.persisted_at
		FROM webhook_gaps AS n
		WHERE g.to_id = ?2 AND n.from_id = (SELECT min(from_id) FROM webhook_gaps WHERE from_id > ?2) AND n.previous_hash = g.hash`,
	`DELETE FROM webhook_gaps WHERE from_id = (SELECT min(from_id) FROM webhook_gaps WHERE from_id > ?2)
		AND EXISTS (SELECT 1 FROM webhook_gaps g WHERE g.from_id <= ?2 AND g.to_id > ?2)`,
}

// Args are the parameters of the statements that write g: int64 or []byte, from the first on.
func (g *Gap) Args(now int64) []any {
	return []any{g.From, g.To, g.Previous[:], g.Hash[:], g.Events, g.Duplicates, g.DeadLetters, g.Purges, g.Anchors, g.Anchored,
		g.PersistedAt.UnixMicro(), now}
}

// GapStatements returns them with the database's mark of a parameter in place of the question mark.
func GapStatements(mark string) []string {
	var all []string
	for _, s := range gapStatements {
		all = append(all, strings.ReplaceAll(s, "?", mark))
	}
	return all
}

package prune

import (
	"strings"
	"time"

	"github.com/hookgate/hookgate/audit"
	"github.com/hookgate/hookgate/store/entry"
)

// gapStatements write one gap: ?1 from, ?2 to, ?3 previous, ?4 hash, ?5 events, ?6 duplicates, ?7
// dead letters, ?8 purges, ?9 anchors, ?10 anchored, ?11 persisted at, ?12 now. The first lengthens
// the gap that ends before it, which the hash tells; the second is for want of such; the others
// join it with the one that begins behind it. For a moment two rows have one to_id, so no index may
// make it unique.
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

// GapArgs are the parameters of the statements that write g: int64 or []byte, from the first on.
func GapArgs(g *audit.Gap, now int64) []any {
	return []any{g.From, g.To, g.Previous[:], g.Hash[:], g.Events, g.Duplicates, g.DeadLetters,
		g.Purges, g.Anchors, g.Anchored,
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

// Kind is that of an entry of the log.
type Kind int

// The kinds. A KindGap stands for entries that were removed before.
const (
	KindEvent Kind = 1 + iota
	KindDuplicate
	KindDeadLetter
	KindPurge
	KindAnchor
	KindGap
)

// Entry is an entry of the log, as far as its removal goes, or a gap.
type Entry struct {
	ID   int64
	Kind Kind
	Hash [32]byte
	// PersistedAt is when it was stored; of an anchor, about that.
	PersistedAt time.Time
	// Sequence is that of an anchor.
	Sequence int64
	// Kept says that the entry must stay: a dead letter that is there, the event by which one counts
	// as stored, or a purge whose request is there.
	Kept bool
}

// EntriesQuery is the query for the entries of the log with ids above a parameter, which is marked
// by ? each time, in the order of ids. Its columns are the fields of an Entry. Events that the same
// step moves still stand in webhook_events.
const EntriesQuery = `SELECT id, 1 AS kind, hash, persisted_at, 0 AS sequence, ` + keptEvent +
	` AS kept FROM webhook_removed_events e WHERE id > ?
	UNION ALL SELECT id, 1, hash, persisted_at, 0, ` + keptEvent + ` FROM webhook_events e WHERE id > ?
	UNION ALL SELECT id, CASE WHEN outcome = 'duplicate' THEN 2 ELSE 3 END, hash, persisted_at, 0,
		(SELECT count(*) FROM webhook_dead_letters d WHERE d.id = r.id) FROM webhook_requests r WHERE id > ?
	UNION ALL SELECT id, 4, hash, purged_at, 0,
		(SELECT count(*) FROM webhook_requests r WHERE r.request_id = p.request_id) FROM webhook_purges p WHERE id > ?
	UNION ALL SELECT id, 5, hash, id, sequence, 0 FROM webhook_anchors WHERE id > ?
	UNION ALL SELECT from_id, 6, hash, persisted_at, 0, 0 FROM webhook_gaps WHERE from_id > ?
	ORDER BY 1`

// ScanEntry reads a row of EntriesQuery.
func ScanEntry(r entry.Row) Entry {
	e := Entry{ID: r.Int(0), Kind: Kind(r.Int(1)), PersistedAt: time.UnixMicro(r.Int(3)).UTC(),
		Sequence: r.Int(4), Kept: r.Int(5) > 0}
	r.Copy(2, e.Hash[:])
	return e
}

// EntryBeforeQuery reads the hash of the entry with the id ?1, or of the gap it has become part of.
const EntryBeforeQuery = `SELECT hash FROM (SELECT to_id, hash FROM webhook_gaps WHERE from_id <= ?1 ORDER BY from_id DESC LIMIT 1) g WHERE to_id >= ?1
	UNION ALL SELECT hash FROM webhook_removed_events WHERE id = ?1 UNION ALL SELECT hash FROM webhook_requests WHERE id = ?1
	UNION ALL SELECT hash FROM webhook_purges WHERE id = ?1 UNION ALL SELECT hash FROM webhook_anchors WHERE id = ?1`

// keptEvent counts the dead letters by which an event e must stay. Most stores have none.
const keptEvent = `CASE WHEN (SELECT coalesce(min(id), 0) FROM webhook_dead_letters) = 0 THEN 0 ELSE
		(SELECT count(*) FROM webhook_requests r
			WHERE r.message_id = e.message_id AND r.event_type = e.event_type AND r.source = e.source AND r.outcome = 'dead_lettered'
				AND (SELECT count(*) FROM webhook_dead_letters d WHERE d.id = r.id) > 0) END`

// stepEntries bounds the entries that one step looks at, of which it may have to pass over many.
const stepEntries = 8192

// WantsEntries reports whether the step has come to the entries of the log. The hash is that of the
// entry at EntryCursor, or the one that the first entry follows.
func (s *Step) WantsEntries() bool { return s.ended && !s.More }

// BeginEntries says what hash the first entry that is offered follows.
func (s *Step) BeginEntries(previous [32]byte) { s.previous, s.looked = previous, 0 }

// Entry offers the next entry. It returns false if the step ends before it.
func (s *Step) Entry(e *Entry) bool {
	if e.Kind == KindGap {
		s.previous, s.run, s.EntryCursor = e.Hash, false, e.ID
		return true
	}
	if !e.PersistedAt.Before(s.cutoffs.Trail) || e.ID >= s.next {
		s.EntryCursor = 0
		return false
	}
	if s.looked == stepEntries || !e.Kept && s.rows > 0 && s.Events+s.rows >= s.limit {
		s.More = true
		return false
	}
	s.looked++
	s.EntryCursor = e.ID
	if e.Kept {
		s.previous, s.run = e.Hash, false
		return true
	}
	s.rows++
	s.Entries++
	if !s.run {
		s.Gaps, s.run = append(s.Gaps, audit.Gap{From: e.ID, Previous: s.previous}), true
	}
	s.removeEntry(&s.Gaps[len(s.Gaps)-1], e)
	return true
}

// removeEntry notes that an entry goes, at the end of a gap.
func (s *Step) removeEntry(g *audit.Gap, e *Entry) {
	g.To, g.Hash = e.ID, e.Hash
	if e.PersistedAt.After(g.PersistedAt) {
		g.PersistedAt = e.PersistedAt
	}
	switch e.Kind {
	case KindEvent:
		g.Events++
		s.Requests++
		s.State.LastEvent = max(s.State.LastEvent, e.ID) // the last ones may be test traffic
	case KindDuplicate:
		g.Duplicates++
		s.Requests++
		s.State.Duplicates++
		s.State.LastRequest = e.ID
	case KindDeadLetter:
		g.DeadLetters++
		s.Requests++
		s.State.DeadLetters++
		s.State.LastRequest = e.ID
	case KindPurge:
		g.Purges++
		s.State.LastPurge = e.ID
	case KindAnchor:
		g.Anchors++
		g.Anchored = e.Sequence
	}
}

// NoMoreEntries says that the last entry that was offered is the last there is.
func (s *Step) NoMoreEntries() { s.EntryCursor = 0 }

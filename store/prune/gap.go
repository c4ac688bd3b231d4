package prune

import (
	"strings"
	"time"

	"github.com/hookgate/hookgate/audit"
	"github.com/hookgate/hookgate/store/entry"
)

// gapStatements write one gap. Parameters: ?1 from, ?2 to, ?3 previous, ?4 hash, ?5 events, ?6
// duplicates, ?7 dead letters, ?8 purges, ?9 anchors, ?10 anchored, ?11 persisted at, ?12 now. The
// first statement extends the gap that ends just before, which it recognises by its hash; the
// second inserts a row if there is none. The last two merge the result with the gap that begins
// just after. In between two rows have the same to_id, so no index may make it unique.
var gapStatements = []string{
	`UPDATE webhook_gaps SET to_id = ?2, hash = ?4, events = events + ?5, duplicates = duplicates + ?6,
		dead_letters = dead_letters + ?7, purges = purges + ?8, anchors = anchors + ?9,
		anchored = CASE WHEN ?10 > anchored THEN ?10 ELSE anchored END, persisted_at = ?11,
			removed_at = ?12
		WHERE to_id = (SELECT max(to_id) FROM webhook_gaps WHERE to_id < ?1) AND hash = ?3`,
	`INSERT INTO webhook_gaps (from_id, to_id, previous_hash, hash, events, duplicates, dead_letters,
		purges, anchors, anchored,
		persisted_at, removed_at)
		SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12
		WHERE NOT EXISTS (SELECT 1 FROM webhook_gaps WHERE to_id = ?2)`,
	`UPDATE webhook_gaps AS g SET to_id = n.to_id, hash = n.hash, events = g.events + n.events,
		duplicates = g.duplicates + n.duplicates, dead_letters = g.dead_letters + n.dead_letters,
			purges = g.purges + n.purges,
		anchors = g.anchors + n.anchors, anchored = CASE WHEN n.anchored > g.anchored THEN n.anchored
			ELSE g.anchored END,
		persisted_at = n.persisted_at
		FROM webhook_gaps AS n
		WHERE g.to_id = ?2 AND n.from_id = (SELECT min(from_id) FROM webhook_gaps WHERE from_id > ?2)
			AND n.previous_hash = g.hash`,
	`DELETE FROM webhook_gaps WHERE from_id = (SELECT min(from_id) FROM webhook_gaps
		WHERE from_id > ?2)
		AND EXISTS (SELECT 1 FROM webhook_gaps g WHERE g.from_id <= ?2 AND g.to_id > ?2)`,
}

// GapArgs returns the parameters of the statements that write g, from ?1 on. Each is an int64 or a
// []byte.
func GapArgs(g *audit.Gap, now int64) []any {
	return []any{g.From, g.To, g.Previous[:], g.Hash[:], g.Events, g.Duplicates, g.DeadLetters,
		g.Purges, g.Anchors, g.Anchored,
		g.PersistedAt.UnixMicro(), now}
}

// GapStatements returns the statements that write a gap, with mark in place of the question mark.
func GapStatements(mark string) []string {
	var all []string
	for _, s := range gapStatements {
		all = append(all, strings.ReplaceAll(s, "?", mark))
	}
	return all
}

// Kind is the kind of an entry of the log.
type Kind int

// The kinds. KindGap stands for entries that were removed earlier, and KindWithBody for an event
// that is still in webhook_events.
const (
	KindEvent Kind = 1 + iota
	KindDuplicate
	KindDeadLetter
	KindPurge
	KindAnchor
	KindGap
	KindWithBody
)

// Entry is an entry of the log or a gap, with the fields that its removal needs.
type Entry struct {
	ID   int64
	Kind Kind
	Hash [32]byte
	// PersistedAt is when the entry was stored. For an anchor it is approximate.
	PersistedAt time.Time
	// Sequence is the sequence of an anchor.
	Sequence int64
	// Kept reports that the entry must stay. It is a dead letter whose body is stored, an event
	// that makes such a dead letter count as stored, or a purge whose request is stored.
	Kept bool
}

// EntriesQuery selects the entries of the log with ids above a parameter, in the order of ids. Each
// ? is that same parameter. The columns are the fields of an Entry. Events that the same step moves
// are still in webhook_events.
const EntriesQuery = `SELECT id, 1 AS kind, hash, persisted_at, 0 AS sequence, ` + keptEvent +
	` AS kept FROM webhook_removed_events e WHERE id > ?
	UNION ALL SELECT id, 7, hash, persisted_at, 0, ` + keptEvent + ` FROM webhook_events e WHERE id > ?
	UNION ALL SELECT id, CASE WHEN outcome = 'duplicate' THEN 2 ELSE 3 END, hash, persisted_at, 0,
		(SELECT count(*) FROM webhook_dead_letters d WHERE d.id = r.id) FROM webhook_requests r
			WHERE id > ?
	UNION ALL SELECT id, 4, hash, purged_at, 0,
		(SELECT count(*) FROM webhook_requests r WHERE r.request_id = p.request_id)
			FROM webhook_purges p WHERE id > ?
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

// EntryBeforeQuery selects the hash of the entry with the id ?1, or of the gap that contains it.
const EntryBeforeQuery = `SELECT hash FROM (SELECT to_id, hash FROM webhook_gaps
	WHERE from_id <= ?1 ORDER BY from_id DESC LIMIT 1) g WHERE to_id >= ?1
	UNION ALL SELECT hash FROM webhook_removed_events WHERE id = ?1 UNION ALL SELECT hash
		FROM webhook_requests WHERE id = ?1
	UNION ALL SELECT hash FROM webhook_purges WHERE id = ?1 UNION ALL SELECT hash
		FROM webhook_anchors WHERE id = ?1`

// keptEvent counts the dead letters that keep an event e. Most stores have no dead letters.
const keptEvent = `CASE WHEN (SELECT coalesce(min(id), 0) FROM webhook_dead_letters) = 0 THEN 0 ELSE
		(SELECT count(*) FROM webhook_requests r
			WHERE r.message_id = e.message_id AND r.event_type = e.event_type AND r.source = e.source
				AND r.outcome = 'dead_lettered'
				AND (SELECT count(*) FROM webhook_dead_letters d WHERE d.id = r.id) > 0) END`

// stepEntries bounds the entries that one step examines. It may have to skip many of them.
const stepEntries = 8192

// WantsEntries reports whether the step has reached the entries of the log.
func (s *Step) WantsEntries() bool { return s.ended && !s.More }

// BeginEntries sets the hash of the entry before the first one offered: the entry at EntryCursor,
// or the hash at which the log begins.
func (s *Step) BeginEntries(previous [32]byte) { s.previous, s.looked = previous, 0 }

// Entry offers the next entry. It returns false if the step ends before that entry.
func (s *Step) Entry(e *Entry) bool {
	if e.Kind == KindGap {
		s.previous, s.run, s.EntryCursor = e.Hash, false, e.ID
		return true
	}
	// An event can be stored between the reads of the events and of the entries. The step does not
	// move its body, so its entry stays.
	young := e.Kind == KindWithBody && e.ID > s.State.LastEvent
	if !e.PersistedAt.Before(s.cutoffs.Trail) || e.ID >= s.next || young {
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

// removeEntry adds an entry to the end of a gap.
func (s *Step) removeEntry(g *audit.Gap, e *Entry) {
	g.To, g.Hash = e.ID, e.Hash
	if e.PersistedAt.After(g.PersistedAt) {
		g.PersistedAt = e.PersistedAt
	}
	switch e.Kind {
	case KindEvent, KindWithBody:
		g.Events++
		s.Requests++
		s.State.LastEvent = max(s.State.LastEvent, e.ID) // the last events can be test traffic
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

// NoMoreEntries reports that no entry follows the last one offered.
func (s *Step) NoMoreEntries() { s.EntryCursor = 0 }

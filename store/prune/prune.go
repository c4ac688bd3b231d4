// Package prune decides what one step of retention removes from a store, whatever the database.
//
// Both stores keep what they hold in the order stored, and removal takes it from the front:
//
//	webhook_events          ...............▒▒▒▒▒████████████   ▒ older than Cutoffs.Events: moved
//	webhook_removed_events  ....▒▒▒▒▒██████                    without its body
//	webhook_batches         ....▒▒▒▒▒███████████████████████   ▒ older than Cutoffs.Trail: removed, link by link;
//	webhook_requests        ....▒▒▒▒▒███████████████████████     what holds a dead letter stays in between
//	webhook_checkpoints     says which links are missing, and the hashes at both ends
//	entries of the log      ....▒▒▒▒▒███████████████████████   the same, entry by entry in the order of ids
//	webhook_gaps            says which entries are missing
//
// Test traffic alone may be moved to webhook_removed_events from anywhere (see Tests).
package prune

import (
	"math"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/audit"
)

const (
	// stepBytes bounds the bodies that one step removes, unless a single one is larger.
	stepBytes = 4 << 20
	// stepLinks bounds the links that one step looks at, of which it may have to pass over many.
	stepLinks = 1024
)

// Link is a row of webhook_batches, as far as its removal goes.
type Link struct {
	ID        int64
	Partition int
	Sequence  int64
	// Previous is the hash of the link before.
	Previous, Hash           [32]byte
	Events, Requests, Purges int64
	// LastEvent and LastRequest are the highest ids that were given out when the link was sealed: its
	// own rows end there.
	LastEvent, LastRequest int64
	// Duplicates are those of Requests that are duplicates.
	Duplicates int64
	// LastPurge is the highest id of its purges; 0 if it has none.
	LastPurge   int64
	PersistedAt time.Time
	// Kept says that the link holds something that must stay (see KeptCondition).
	Kept bool
}

// Step plans one step. The events are offered to it first, from the first behind State.LastEvent,
// and then, if WantsLinks, the links from the first behind the cursor. It is for one goroutine.
type Step struct {
	hookgate.Pruned
	// State is what the store's was, and then what it becomes.
	State audit.Removals
	// Links go, with their rows, and Checkpoints say so.
	Links       []Link
	Checkpoints []audit.Checkpoint
	// Gaps are runs of entries that go.
	Gaps []audit.Gap
	// EntryCursor is the entry behind which the next step goes on; 0 for the first of all.
	EntryCursor int64
	// Cursor is the link behind which the next step goes on; 0 for the first of all.
	Cursor int64

	cutoffs hookgate.Cutoffs
	limit   int64
	looked  int
	rows    int64
	// next is the first event that keeps its body; math.MaxInt64 if there is none.
	next int64
	// lastEventAt is when the last event that goes was stored.
	lastEventAt time.Time
	// ended says that the links ended at one that is too young, or at the last.
	ended bool
	// previous is the hash of the entry before, and run says that this goes.
	previous [32]byte
	run      bool
	// open is the index in Checkpoints of the last one of each partition.
	open map[int]int
}

// NewStep begins a step that removes about limit rows.
func NewStep(c hookgate.Cutoffs, limit int, state audit.Removals, cursor int64) *Step {
	return &Step{State: state, Cursor: cursor, cutoffs: c, limit: int64(max(1, limit)),
		next: math.MaxInt64,
		open: map[int]int{}}
}

// Event offers the next event. It returns false if that stays, and with it all that follow.
func (s *Step) Event(id, bytes int64, persistedAt time.Time) bool {
	old := persistedAt.Before(s.cutoffs.Events)
	full := s.Events == s.limit || s.Events > 0 && s.Bytes+bytes > stepBytes
	if !old || full {
		s.More, s.OldestEvent, s.next = old, persistedAt, id
		return false
	}
	s.Events++
	s.Bytes += bytes
	s.lastEventAt = persistedAt
	s.State.Events++
	s.State.LastEvent = id
	return true
}

// WantsLinks reports whether the step has come to the links.
func (s *Step) WantsLinks() bool { return !s.More && !s.cutoffs.Trail.IsZero() }

// Link offers the next link. It returns false if the step ends before it.
func (s *Step) Link(l Link) bool {
	if !l.PersistedAt.Before(s.cutoffs.Trail) || l.LastEvent >= s.next {
		// what follows is too young: the next step begins anew, for what need not be kept any more
		s.Cursor, s.ended = 0, true
		return false
	}
	rows := 1 + l.Events + l.Requests + l.Purges
	if s.looked == stepLinks || !l.Kept && s.rows > 0 && s.Events+s.rows+rows > s.limit {
		s.More = true
		return false
	}
	s.looked++
	s.Cursor = l.ID
	if l.Kept {
		return true
	}
	s.rows += rows
	s.Pruned.Links++
	s.Requests += l.Events + l.Requests
	s.Links = append(s.Links, l)
	s.State.Duplicates += l.Duplicates
	s.State.DeadLetters += l.Requests - l.Duplicates
	s.State.LastEvent = max(s.State.LastEvent, l.LastEvent) // the last ones may be test traffic
	s.State.LastRequest = max(s.State.LastRequest, l.LastRequest)
	s.State.LastBatch = max(s.State.LastBatch, l.ID)
	s.State.LastPurge = max(s.State.LastPurge, l.LastPurge)
	s.checkpoint(&l)
	return true
}

// NoMoreLinks says that the last link that was offered is the last there is.
func (s *Step) NoMoreLinks() { s.Cursor, s.ended = 0, true }

// RequestBodiesBefore is the time before which requests must have been stored whose bodies go with
// those of their events, in microseconds since 1970: nearly all of them have no events left, so
// that a step does not look at those of the next ones.
func (s *Step) RequestBodiesBefore() int64 { return s.lastEventAt.UnixMicro() + 1 }

// Idle reports whether there is nothing to remove.
func (s *Step) Idle() bool { return s.Events == 0 && len(s.Links) == 0 && len(s.Gaps) == 0 }

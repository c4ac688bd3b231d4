// Package prune plans what one step of retention removes from a store. It works with any database:
// a store offers its rows in order, and the step decides which of them go.
//
// Both stores keep their rows in stored order. Retention removes them from the oldest end:
//
//	webhook_events          ...............▒▒▒▒▒████████████   ▒ older than Cutoffs.Events: moved
//	webhook_removed_events  ....▒▒▒▒▒██████                    without its body
//	webhook_batches         ....▒▒▒▒▒███████████████████████   ▒ older than Cutoffs.Trail: removed, link by link;
//	webhook_requests        ....▒▒▒▒▒███████████████████████     what holds a dead letter stays in between
//	webhook_checkpoints     says which links are missing, and the hashes at both ends
//	entries of the log      ....▒▒▒▒▒███████████████████████   the same, entry by entry in the order of ids
//	webhook_gaps            says which entries are missing
//
// Only test traffic can be moved to webhook_removed_events from any place (see Tests).
// Subscriptions hold retention up at the lowest of their cursors (see Hold), and it keeps the
// bodies of events below that they have not settled (see Keep).
package prune

import (
	"math"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/audit"
)

const (
	// stepBytes bounds the bodies that one step removes, unless a single body is larger.
	stepBytes = 4 << 20
	// stepLinks bounds the links that one step examines. It may have to skip many of them.
	stepLinks = 1024
)

// Link is a row of webhook_batches, with the fields that its removal needs.
type Link struct {
	ID        int64
	Partition int
	Sequence  int64
	// Previous is the hash of the link before.
	Previous, Hash           [32]byte
	Events, Requests, Purges int64
	// LastEvent and LastRequest are the highest ids when the link was sealed. Its own rows end
	// there.
	LastEvent, LastRequest int64
	// Duplicates counts the duplicates among Requests.
	Duplicates int64
	// LastPurge is the highest id of its purges, or 0 if it has none.
	LastPurge   int64
	PersistedAt time.Time
	// Kept reports that the link contains something that must stay (see keptCondition).
	Kept bool
}

// Step plans one step. Offer it the events first, starting with the first one after
// State.LastEvent. If WantsLinks is true, then offer it the links after Cursor. If WantsEntries is
// true, then offer it the entries after EntryCursor. Only one goroutine may use it.
type Step struct {
	hookgate.Pruned
	// State is the store's row of webhook_removals, as the step changes it.
	State audit.Removals
	// Links are the links to remove with their rows, and Checkpoints record that.
	Links       []Link
	Checkpoints []audit.Checkpoint
	// Gaps are the runs of entries to remove.
	Gaps []audit.Gap
	// Kept is the part of webhook_kept_events from which the step removes what nothing needs.
	Kept Kept
	// EntryCursor is the entry after which the next step continues; 0 means the first entry.
	EntryCursor int64
	// Cursor is the link after which the next step continues; 0 means the first link.
	Cursor int64

	cutoffs hookgate.Cutoffs
	limit   int64
	looked  int
	rows    int64
	// next is the first event that keeps its body; math.MaxInt64 if there is none.
	next int64
	// lastEventAt is when the last event to remove was stored.
	lastEventAt time.Time
	// held is the lowest cursor of a subscription, and holder its name; math.MaxInt64 if there is
	// none.
	held   int64
	holder string
	// subscribed reports that the store has or had subscriptions.
	subscribed bool
	// ended reports that the step came to a link that is too young, or to the last link.
	ended bool
	// previous is the hash of the previous entry. run reports that the previous entry is removed.
	previous [32]byte
	run      bool
	// open is, by partition, the index of its last checkpoint in Checkpoints.
	open map[int]int
}

// NewStep returns a step that removes about limit rows.
func NewStep(c hookgate.Cutoffs, limit int, state audit.Removals, cursor int64) *Step {
	return &Step{State: state, Cursor: cursor, cutoffs: c, limit: int64(max(1, limit)),
		next: math.MaxInt64, held: math.MaxInt64,
		open: map[int]int{}}
}

// Event offers the next event. It returns false if the event stays; then all that follow stay too.
func (s *Step) Event(id, bytes int64, persistedAt time.Time) bool {
	old, held := persistedAt.Before(s.cutoffs.Events), id > s.held
	full := s.Events == s.limit || s.Events > 0 && s.Bytes+bytes > stepBytes
	if !old || held || full {
		s.More, s.OldestEvent, s.next = old && !held, persistedAt, id
		if old && held {
			s.HeldUpBy = s.holder
		}
		return false
	}
	s.Events++
	s.Bytes += bytes
	s.lastEventAt = persistedAt
	s.State.Events++
	s.State.LastEvent = id
	return true
}

// WantsLinks reports whether the step has reached the links.
func (s *Step) WantsLinks() bool { return !s.More && !s.cutoffs.Trail.IsZero() }

// Link offers the next link. It returns false if the step ends before that link.
func (s *Step) Link(l Link) bool {
	if !l.PersistedAt.Before(s.cutoffs.Trail) || l.LastEvent >= s.next {
		// The links that follow are too young. The next step starts again from the first link,
		// because a link that had to stay may be removable by then.
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
	s.State.LastEvent = max(s.State.LastEvent, l.LastEvent) // the last events can be test traffic
	s.State.LastRequest = max(s.State.LastRequest, l.LastRequest)
	s.State.LastBatch = max(s.State.LastBatch, l.ID)
	s.State.LastPurge = max(s.State.LastPurge, l.LastPurge)
	s.checkpoint(&l)
	return true
}

// NoMoreLinks reports that no link follows the last one offered.
func (s *Step) NoMoreLinks() { s.Cursor, s.ended = 0, true }

// RequestBodiesBefore returns a time in microseconds since 1970. The step removes only bodies of
// requests that were stored before it. Nearly all of those requests have no events left, so the
// step does not have to check the requests of younger events.
func (s *Step) RequestBodiesBefore() int64 { return s.lastEventAt.UnixMicro() + 1 }

// Idle reports whether there is nothing to remove.
func (s *Step) Idle() bool {
	return s.Events == 0 && len(s.Links) == 0 && len(s.Gaps) == 0 && s.Kept.Unneeded == 0
}

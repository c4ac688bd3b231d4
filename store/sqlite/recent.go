package sqlite

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
)

// recentEvent is an event above webhook_log.indexed.
type recentEvent struct {
	identity    [24]byte
	orderingKey string
	id          int64
	// next is the place of the previous event with the same message part, or -1.
	next int32
}

// recentSet finds events by their identities.
type recentSet struct {
	events []recentEvent
	// heads has, by message part, the place of the latest event.
	heads map[uint64]int32
}

// messagePart is the part of an identity that all events with one message id share.
func messagePart(identity *[24]byte) uint64 { return binary.BigEndian.Uint64(identity[:8]) }

func (r *recentSet) add(identity [24]byte, id int64, orderingKey string) {
	if r.heads == nil {
		r.heads = map[uint64]int32{}
	}
	part, next := messagePart(&identity), int32(-1)
	if head, ok := r.heads[part]; ok {
		next = head
	}
	r.heads[part] = int32(len(r.events))
	// The key can be a substring of the request, which must not stay in memory for it.
	r.events = append(r.events, recentEvent{identity, strings.Clone(orderingKey), id, next})
}

// truncate forgets the latest events until n are left.
func (r *recentSet) truncate(n int) {
	for i := len(r.events) - 1; i >= n; i-- {
		e := &r.events[i]
		if e.next >= 0 {
			r.heads[messagePart(&e.identity)] = e.next
		} else {
			delete(r.heads, messagePart(&e.identity))
		}
	}
	r.events = r.events[:n]
}

// of yields the events with a message part.
func (r *recentSet) of(part uint64, yield func(*recentEvent) bool) (more bool) {
	head, ok := r.heads[part]
	if !ok {
		return true
	}
	for i := head; i >= 0; i = r.events[i].next {
		if !yield(&r.events[i]) {
			return false
		}
	}
	return true
}

// recent holds the events above webhook_log.indexed in the writer's memory. s.mu guards it.
//
// INVARIANT: while valid is true, recent holds exactly the events that a reader of the file would
// have found above indexed right after the commit that left webhook_log with last and indexed.
//
// A transaction may use recent only if it reads the same two values there. The same values mean the
// same events, for three reasons: the transaction holds the write lock from before it reads them
// until its end, every added event raises last_id, and no event above indexed is removed without
// raising indexed.
//
// In every other case the transaction loads recent again from webhook_events. Another process may
// have written, someone may have restored the file, a transaction may have been rolled back, or a
// commit that failed may have taken effect. An event missing in recent would be stored twice.
type recent struct {
	valid         bool
	last, indexed int64

	// set are the events that are being indexed. They stay here until webhook_log records them as
	// indexed.
	set recentSet
	// byIdentity and byKey order the set for the two indexes. set.events is in the order of ids.
	byIdentity, byKey []int32
	// done is how many of each are already in their tables.
	done int
	// fresh are the events that arrived since.
	fresh recentSet
}

// waiting returns the number of events that are not indexed.
func (r *recent) waiting() int { return len(r.set.events) - r.done + len(r.fresh.events) }

// find returns the id of the event with the identity, or 0.
func (r *recent) find(identity *[24]byte) (id int64) {
	r.of(messagePart(identity), func(e *recentEvent) bool {
		if e.identity == *identity {
			id = e.id
		}
		return id == 0
	})
	return id
}

// of yields the events with a message part.
func (r *recent) of(part uint64, yield func(*recentEvent) bool) {
	if r.fresh.of(part, yield) {
		r.set.of(part, yield)
	}
}

// begin makes the fresh events the set to index, unless a set is being indexed.
func (r *recent) begin() {
	if len(r.set.events) > 0 {
		return
	}
	r.set, r.fresh, r.done = r.fresh, recentSet{}, 0
	events := r.set.events
	r.byIdentity, r.byKey = make([]int32, len(events)), make([]int32, len(events))
	for i := range events {
		r.byIdentity[i], r.byKey[i] = int32(i), int32(i)
	}
	slices.SortFunc(r.byIdentity, func(a, b int32) int {
		return bytes.Compare(events[a].identity[:],
			events[b].identity[:])
	})
	slices.SortFunc(r.byKey, func(a, b int32) int {
		return cmp.Or(cmp.Compare(events[a].orderingKey, events[b].orderingKey), cmp.Compare(a, b))
	})
}

// end forgets the set once the tables contain it.
func (r *recent) end() { r.set, r.byIdentity, r.byKey, r.done = recentSet{}, nil, nil, 0 }

// recentIsCurrent reports whether the current transaction may use recent; see the invariant.
func (s *Store) recentIsCurrent() bool {
	r, l := &s.recent, &s.log
	return r.valid && r.last == l.lastID && r.indexed == l.indexed
}

// loadRecent loads recent from webhook_events, which makes it current.
func (s *Store) loadRecent() error {
	r, l := &s.recent, &s.log
	*r = recent{}
	err := s.unindexed(1<<63-1, func(identity [24]byte, id int64, orderingKey string) {
		r.fresh.add(identity, id, orderingKey)
	})
	if err != nil {
		return fmt.Errorf("load the events that are not indexed: %w", err)
	}
	r.valid, r.last, r.indexed = true, l.lastID, l.indexed
	return nil
}

// unindexed reads the events above webhook_log.indexed, up to last.
func (s *Store) unindexed(last int64, yield func(identity [24]byte, id int64,
	orderingKey string)) error {
	rows := s.stmts.unindexed
	defer rows.Reset()
	rows.BindInt64(1, s.log.indexed)
	rows.BindInt64(2, last)
	for {
		found, err := rows.Step()
		if err != nil || !found {
			return err
		}
		var identity [24]byte
		rows.ColumnBytes(1, identity[:])
		yield(identity, rows.ColumnInt64(0), rows.ColumnText(2))
	}
}

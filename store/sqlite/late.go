package sqlite

import (
	"errors"
	"fmt"
	"time"

	"github.com/hookgate/hookgate/internal/sqlitedb"
)

// The two late indexes are tables. webhook_identities finds the event of an identity, and
// webhook_keys finds the events of an ordering key. A new row has a random place in them. If each
// transaction wrote its own rows, each event would add a page to the write-ahead log. So the store
// adds the rows later, many at a time and sorted:
//
//	webhook_events   ──────────────────────────────┬──────────────┬────────────
//	                  rows in both late indexes    │ set: sorted, │ fresh
//	                                               │ in slices    │
//	                                 webhook_log.indexed       recent.last
//
// The writer keeps the identities above indexed in memory (recent). Readers scan the rows of
// webhook_events above indexed (the view webhook_found).

// lateBounds decide when the late indexes are filled.
type lateBounds struct {
	// set is the number of events to sort at once while many arrive. slice is how many of them one
	// transaction indexes.
	set, slice int
	// small replaces slice while few events arrive. It delays appends by a few milliseconds at
	// most.
	small int
	// most is the largest number of events that may wait. An append that finds as many indexes them
	// itself.
	most int
	// every is how often the store indexes the waiting events, even if they are few. 0 means never.
	every time.Duration
}

var defaultLate = lateBounds{set: 8192, slice: 1024, small: 256, most: 32768, every: time.Second}

// committed updates recent after a commit. current reports whether recent was valid in the
// transaction.
func (s *Store) committed(fit bool) {
	r := &s.recent
	if !fit || !r.valid {
		s.keyIndex.update(nil)
		return
	}
	r.last, r.indexed = s.log.lastID, s.log.indexed
	if len(r.set.events) > 0 && r.done == len(r.set.events) {
		r.end()
	}
	s.keyIndex.update(r)
	s.indexer.wakeUp(r.waiting(), int(s.log.events), s.late.set)
}

// errTwice is returned if a late index has another event in the place of one.
var errTwice = errors.New("the index of identities has another event in this place;" +
	" run `hookgate audit verify`")

// indexSlice indexes at most n more events. The indexes may already contain some of them, because a
// set that was interrupted is loaded and indexed again. So webhook_log.indexed moves only with the
// last event of a set.
func (s *Store) indexSlice(n int) error {
	r := &s.recent
	r.begin()
	events := r.set.events
	if len(events) == 0 {
		return nil
	}
	end := min(r.done+n, len(events))
	if err := s.indexSet(r, r.done, end); err != nil {
		return err
	}
	if r.done = end; end == len(events) {
		s.log.index(events[len(events)-1].id)
	}
	return nil
}

// indexSet adds rows to both late indexes: the part of the set between two places, in the order of
// each index.
func (s *Store) indexSet(r *recent, from, to int) error {
	events := r.set.events
	for _, i := range r.byIdentity[from:to] {
		if err := s.indexIdentity(&events[i].identity, events[i].id); err != nil {
			return err
		}
	}
	for _, i := range r.byKey[from:to] {
		if err := s.indexKey(events[i].orderingKey, events[i].id); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) indexIdentity(identity *[24]byte, id int64) error {
	insert := s.stmts.indexIdentity
	insert.BindBytes(1, identity[:])
	insert.BindInt64(2, id)
	if err := sqlitedb.Run(insert); err != nil {
		return fmt.Errorf("index the identity of event %d: %w", id, err)
	}
	if s.conn.Changes() == 1 {
		return nil
	}
	if have, err := s.indexed(identity); err != nil {
		return err
	} else if have != id {
		return fmt.Errorf("index the identity of event %d, where event %d is: %w", id, have, errTwice)
	}
	return nil
}

func (s *Store) indexKey(orderingKey string, id int64) error {
	insert := s.stmts.indexKey
	insert.BindText(1, orderingKey)
	insert.BindInt64(2, id)
	if err := sqlitedb.Run(insert); err != nil {
		return fmt.Errorf("index the ordering key of event %d: %w", id, err)
	}
	return nil
}

// indexed returns the event of an identity in webhook_identities, or 0.
func (s *Store) indexed(identity *[24]byte) (id int64, err error) {
	row := s.stmts.indexed
	defer row.Reset()
	row.BindBytes(1, identity[:])
	if found, err := row.Step(); err != nil || !found {
		return 0, err
	}
	return row.ColumnInt64(0), nil
}

// indexThrough indexes the events up to last before they are removed. Otherwise another process
// could not see in webhook_log that its recent events have changed.
func (s *Store) indexThrough(last int64) error {
	if last <= s.log.indexed {
		return nil
	}
	s.recent.valid = false
	var all recent
	if err := s.unindexed(last, all.fresh.add); err != nil {
		return err
	}
	all.begin()
	if err := s.indexSet(&all, 0, len(all.set.events)); err != nil {
		return err
	}
	s.log.index(last)
	return nil
}

// removeIndexed removes the index rows of the n events that a condition on webhook_events selects.
func (s *Store) removeIndexed(n int64, where string, args ...any) error {
	if err := s.mustChange(n, removeIdentities+where+")", args...); err != nil {
		return err
	}
	return s.mustChange(n, removeKeys+where+")", args...)
}

const (
	removeIdentities = `DELETE FROM webhook_identities WHERE identity IN (SELECT identity`
	removeKeys       = `DELETE FROM webhook_keys WHERE (ordering_key, event) IN (SELECT ordering_key,
		id`
)

// indexStep indexes one slice, in its own transaction or together with waiting appends. more
// reports that the set has more events, and left is how many events wait.
func (s *Store) indexStep(n int) (more bool, left int, err error) {
	err = s.write(&write{late: true, run: func() error {
		if err := s.indexSlice(n); err != nil {
			return err
		}
		more, left = s.recent.done < len(s.recent.set.events), s.recent.waiting()
		return nil
	}})
	return more, left, err
}

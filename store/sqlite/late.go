package sqlite

import (
	"errors"
	"fmt"
	"time"

	"github.com/hookgate/hookgate/internal/sqlitedb"
)

// The two late indexes are tables. webhook_identities finds the event of an identity, and
// webhook_keys the events of an ordering key. New rows have random places there, so each would cost
// a page of the write-ahead log in the transaction that stores its event. They come later instead,
// many at a time and sorted:
//
//	webhook_events   ──────────────────────────────┬──────────────┬────────────
//	                  rows in both late indexes    │ set: sorted, │ fresh
//	                                               │ in slices    │
//	                                 webhook_log.indexed       recent.last
//
// The writer keeps the identities above indexed in memory (recent). Readers look through those rows
// of webhook_events (the view webhook_found).

// lateBounds say when the late indexes are filled.
type lateBounds struct {
	// set is how many events are sorted at a time while many come, and slice how many of them are
	// indexed in one transaction.
	set, slice int
	// small is the same as slice while few come: appends then wait for a few milliseconds at most.
	small int
	// most is how many may wait. An append that finds as many indexes them itself.
	most int
	// every is how often the store looks for events that wait, however few. 0: never by itself.
	every time.Duration
}

var defaultLate = lateBounds{set: 8192, slice: 1024, small: 256, most: 32768, every: time.Second}

// committed notes that the transaction, for which recent was fit or not, is committed.
func (s *Store) committed(fit bool) {
	r := &s.recent
	if !fit || !r.valid {
		return
	}
	r.last, r.indexed = s.log.lastID, s.log.indexed
	if len(r.set.events) > 0 && r.done == len(r.set.events) {
		r.end()
	}
	s.indexer.wakeUp(r.waiting(), int(s.log.events), s.late.set)
}

// errTwice is for a late index that has another event at the place of one.
var errTwice = errors.New("the index of identities has another event; `hookgate audit verify` tells more")

// indexSlice indexes at most n more events. The indexes may hold some of them: a set that was left
// in the middle is loaded and indexed again. So webhook_log.indexed moves with the last of a set.
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

// indexSet adds rows to both late indexes: from one place of the set to another, in the order of
// each.
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

// indexed returns the event that webhook_identities has for an identity, or 0.
func (s *Store) indexed(identity *[24]byte) (id int64, err error) {
	row := s.stmts.indexed
	defer row.Reset()
	row.BindBytes(1, identity[:])
	if found, err := row.Step(); err != nil || !found {
		return 0, err
	}
	return row.ColumnInt64(0), nil
}

// indexThrough indexes the events up to last, which are to be removed: without that, another
// process could not see from webhook_log that its recent events are others.
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

// removeIndexed removes the rows of n events, which a condition on webhook_events selects.
func (s *Store) removeIndexed(n int64, where string, args ...any) error {
	if err := s.mustChange(n, removeIdentities+where+")", args...); err != nil {
		return err
	}
	return s.mustChange(n, removeKeys+where+")", args...)
}

const (
	removeIdentities = `DELETE FROM webhook_identities WHERE identity IN (SELECT identity`
	removeKeys       = `DELETE FROM webhook_keys WHERE (ordering_key, event) IN (SELECT ordering_key, id`
)

// indexStep indexes a slice in a transaction of its own, or in one with appends that wait. more
// says that the set goes on, and left how many events wait.
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

package sqlite

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
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

// recentEvent is an event above webhook_log.indexed.
type recentEvent struct {
	identity    [24]byte
	orderingKey string
	id          int64
	// next is the place of the one before it with the same message part, or -1.
	next int32
}

// recentSet finds events by their identities.
type recentSet struct {
	events []recentEvent
	// heads has, by the message part of the identity, the place of the event that came last.
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
	// The key may be a part of the request, which is not to be kept.
	r.events = append(r.events, recentEvent{identity, strings.Clone(orderingKey), id, next})
}

// truncate forgets the events that came last, down to n.
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

// recent are the events above webhook_log.indexed, as the writer remembers them. s.mu guards it.
//
// INVARIANT: while valid is true, recent holds exactly the events that a reader of the file would
// have found above indexed right after the commit that left webhook_log with last and indexed. A
// transaction may use it only if it reads the same two values there. It holds the write lock from
// before it reads them until its end, every event that is added raises last_id, and no event above
// indexed is removed without raising indexed; so the same values mean the same events. In every
// other case the transaction loads recent anew from webhook_events: another process has written,
// the file was restored, a transaction was rolled back, or a commit failed and may have been done.
// An event that recent lacked would be stored twice.
type recent struct {
	valid         bool
	last, indexed int64

	// set are the events that are being indexed, if there are any. They are found here until
	// webhook_log says that they are indexed.
	set recentSet
	// byIdentity and byKey are the set in the orders of the two indexes; set.events has that of ids.
	byIdentity, byKey []int32
	// done is how many of both are in their tables.
	done int
	// fresh are the events that came since.
	fresh recentSet
}

// waiting is how many events are not indexed.
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

// begin makes the fresh events the set that is being indexed, unless there is one.
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

// end forgets the set, which is in the tables.
func (r *recent) end() { r.set, r.byIdentity, r.byKey, r.done = recentSet{}, nil, nil, 0 }

// recentHolds reports whether recent is fit for the transaction that runs: see the invariant.
func (s *Store) recentHolds() bool {
	r, l := &s.recent, &s.log
	return r.valid && r.last == l.lastID && r.indexed == l.indexed
}

// loadRecent makes it so.
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

// indexer fills the late indexes beside the calls of a store.
type indexer struct {
	wake        chan struct{}
	stop, ended chan struct{}
	stopOnce    sync.Once
	// added counts the events that were stored, and waiting those that are not indexed.
	added, waiting atomic.Int64
}

// startIndexer starts it, if it has work to do by itself.
func (s *Store) startIndexer() {
	x := &s.indexer
	x.wake, x.stop, x.ended = make(chan struct{}, 1), make(chan struct{}), make(chan struct{})
	if s.late.every == 0 {
		close(x.ended)
		return
	}
	go s.indexLate()
}

// end ends it.
func (x *indexer) end() {
	x.stopOnce.Do(func() { close(x.stop) })
	<-x.ended
}

// wakeUp is called after each commit.
func (x *indexer) wakeUp(waiting, added, set int) {
	x.added.Add(int64(added))
	x.waiting.Store(int64(waiting))
	if waiting < set {
		return
	}
	select {
	case x.wake <- struct{}{}:
	default:
	}
}

// indexLate fills the late indexes until the store closes. While many events come it waits for a
// large set: the larger that is, the more rows a page takes. When few come it indexes all that
// wait, in slices that hold appends up but little.
func (s *Store) indexLate() {
	x := &s.indexer
	defer close(x.ended)
	ticks := time.NewTicker(s.late.every)
	defer ticks.Stop()
	before := int64(0)
	for {
		size := s.late.slice
		select {
		case <-x.stop:
			return
		case <-x.wake:
		case <-ticks.C:
			added := x.added.Load()
			few := added-before <= int64(s.late.set/4)
			before, size = added, s.late.small
			if !few || x.waiting.Load() == 0 {
				continue
			}
		}
		for more, left := true, 0; more || left >= s.late.set; {
			select {
			case <-x.stop:
				return
			default:
			}
			var err error
			if more, left, err = s.indexStep(size); err != nil {
				break // a later tick tries again, and Ping says why
			}
		}
	}
}

// indexAtClose indexes the rest if that is quick. If not, the next start loads it.
func (s *Store) indexAtClose() {
	if n := s.indexer.waiting.Load(); n == 0 || n > int64(s.late.slice) || s.lastErr.Load() != nil {
		return
	}
	s.mu.Lock()
	if !s.closed {
		s.conn.SetBusyTimeout(100 * time.Millisecond)
	}
	s.mu.Unlock()
	for more, left, err := true, 1, error(nil); err == nil && (more || left > 0); {
		more, left, err = s.indexStep(s.late.slice)
	}
}

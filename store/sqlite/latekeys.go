package sqlite

import (
	"slices"
	"sync"
)

// keyIndex finds the events of an ordering key that webhook_keys lacks (see late.go), for readers.
// Otherwise each read of a key would read up to lateBounds.most events. It takes memory only once
// a key has been read. The writer brings it up to date after each commit.
type keyIndex struct {
	mu sync.Mutex // guards all below
	// on reports that the fields below are right.
	on bool
	// The index has the events with ids above from up to to. webhook_keys has those up to from.
	from, to int64
	events   map[string][]int64
}

// lateKeys is what the index has of one key. A reader gets it before its transaction begins. Then
// its transaction sees all these events, and webhook_keys has all events up to from. Events above
// to can be missing: the writer may have committed them since.
type lateKeys struct {
	known    bool
	from, to int64
	ids      []int64
}

// lateKey returns the events of a key above after that the index has.
func (s *Store) lateKey(orderingKey string, after int64) lateKeys {
	x := &s.keyIndex
	x.mu.Lock()
	on := x.on
	x.mu.Unlock()
	if !on {
		s.startKeyIndex()
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.on {
		return lateKeys{}
	}
	ids := x.events[orderingKey]
	n, _ := slices.BinarySearch(ids, after+1)
	return lateKeys{known: true, from: x.from, to: x.to, ids: slices.Clone(ids[n:])}
}

// startKeyIndex fills the index from the writer's memory, if that is right.
func (s *Store) startKeyIndex() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := &s.recent; r.valid {
		s.keyIndex.fill(r)
	}
}

// fill makes the index that of the events in r.
func (x *keyIndex) fill(r *recent) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.on, x.from, x.to, x.events = true, r.indexed, r.last, map[string][]int64{}
	x.add(r.set.events)
	x.add(r.fresh.events)
}

func (x *keyIndex) add(events []recentEvent) {
	for i := range events {
		e := &events[i]
		x.events[e.orderingKey] = append(x.events[e.orderingKey], e.id)
	}
}

// update brings the index up to date after a commit. The caller holds the writer's lock. r is nil
// if the writer does not know which events are above webhook_log.indexed.
func (x *keyIndex) update(r *recent) {
	x.mu.Lock()
	on, from, to := x.on, x.from, x.to
	if r == nil {
		x.on, x.events = false, nil
	}
	x.mu.Unlock()
	if !on || r == nil {
		return
	}
	if r.indexed != from {
		x.fill(r)
		return
	}
	// The new events are the last ones of fresh, unless fresh has just become the set.
	fresh := r.fresh.events
	n := len(fresh)
	for n > 0 && fresh[n-1].id > to {
		n--
	}
	if n == 0 && len(r.set.events) > 0 && r.set.events[len(r.set.events)-1].id > to {
		x.fill(r)
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.add(fresh[n:])
	x.to = r.last
}

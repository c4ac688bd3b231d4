// Package changes collects what one Save or Commit of a subscription stores.
package changes

import (
	"maps"
	"slices"
	"time"

	"github.com/hookgate/hookgate"
)

// Set is a set of changes.
type Set struct {
	Attempts []hookgate.Attempt
	// Created and Updated are exceptions. See hookgate.Results.
	Created, Updated map[hookgate.EventRedelivery]hookgate.Exception
	// Jobs is the progress of redelivery jobs, by id.
	Jobs  map[int64]hookgate.JobProgress
	holds map[string]hookgate.Hold
	freed map[string]bool
}

// New returns an empty Set.
func New() *Set {
	return &Set{Created: map[hookgate.EventRedelivery]hookgate.Exception{},
		Updated: map[hookgate.EventRedelivery]hookgate.Exception{},
		Jobs:    map[int64]hookgate.JobProgress{}, holds: map[string]hookgate.Hold{},
		freed: map[string]bool{}}
}

// Empty reports whether there is nothing to store.
func (s *Set) Empty() bool {
	return len(s.Attempts) == 0 && len(s.Created) == 0 && len(s.Updated) == 0 && len(s.holds) == 0 &&
		len(s.freed) == 0 && len(s.Jobs) == 0
}

// Hold stores the hold of a key. Its After only grows, and the last LeaseMax counts.
func (s *Set) Hold(key string, after int64, leaseMax int) {
	delete(s.freed, key)
	s.holds[key] = hookgate.Hold{OrderingKey: key, After: max(s.holds[key].After, after),
		LeaseMax: leaseMax}
}

// Free removes a key's hold.
func (s *Set) Free(key string) {
	delete(s.holds, key)
	s.freed[key] = true
}

// IsFreed reports whether the set removes a key's hold.
func (s *Set) IsFreed(key string) bool { return s.freed[key] }

// Settle drops the exception of a delivery that is settled. The caller adds the attempt that
// settles it.
func (s *Set) Settle(id hookgate.EventRedelivery) {
	delete(s.Created, id)
	delete(s.Updated, id)
}

// Except stores an exception. stored reports whether the store may have it.
func (s *Set) Except(e hookgate.Exception, stored bool) {
	id := hookgate.EventRedelivery{Event: e.Event, Redelivery: e.Redelivery}
	if stored {
		s.Updated[id] = e
		return
	}
	s.Created[id] = e
}

// NextDue returns the earliest time at which an exception is due, given that of the exceptions in
// the store that are not attempted now.
func (s *Set) NextDue(stored time.Time) time.Time {
	next := stored
	for _, exceptions := range []map[hookgate.EventRedelivery]hookgate.Exception{s.Created,
		s.Updated} {
		for _, e := range exceptions {
			if e.State == hookgate.ExceptionWaiting && (next.IsZero() || e.Due.Before(next)) {
				next = e.Due
			}
		}
	}
	return next
}

// Results returns what the Save or Commit stores.
func (s *Set) Results(cursor int64, clock time.Duration) *hookgate.Results {
	return &hookgate.Results{Cursor: cursor, Clock: clock, Attempts: s.Attempts,
		Created: slices.Collect(maps.Values(s.Created)),
		Updated: slices.Collect(maps.Values(s.Updated)),
		Holds:   slices.Collect(maps.Values(s.holds)), Freed: slices.Collect(maps.Keys(s.freed)),
		Jobs: slices.Collect(maps.Values(s.Jobs))}
}

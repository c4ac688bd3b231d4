// Package arrivals tracks the headers and bodies that are still arriving. When memory runs short it
// ends the slowest, so a sender that stalls does not keep memory from senders that proceed.
package arrivals

import (
	"sync"
	"sync/atomic"
	"time"
)

const (
	// slowAfter is how long a header or body may arrive before it counts as slow.
	slowAfter = time.Second
	// candidates is how many slow arrivals Cut compares.
	candidates = 8
)

// Slowest holds the arrivals that were not complete with their first bytes. The zero value is
// ready. All methods may be called concurrently.
type Slowest struct {
	mu  sync.Mutex // guards all
	all map[*Arrival]struct{}
}

// Arrival is a header or body that is arriving.
type Arrival struct {
	Began time.Time
	Bytes atomic.Int64
	// Stop ends the arrival. Cut calls it without a lock.
	Stop func()
}

// Add adds an arrival.
func (s *Slowest) Add(a *Arrival) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all == nil {
		s.all = map[*Arrival]struct{}{}
	}
	s.all[a] = struct{}{}
}

// Remove removes an arrival. It does nothing if a is nil or not there.
func (s *Slowest) Remove(a *Arrival) {
	if a == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.all, a)
}

// Len returns how many arrivals there are.
func (s *Slowest) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.all)
}

// Age makes all arrivals older. It is for tests.
func (s *Slowest) Age(by time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for a := range s.all {
		a.Began = a.Began.Add(-by)
	}
}

// Cut ends the slowest of a few arrivals and reports whether there was one. It relies on the order
// of a map as a random choice, because comparing all would cost more the harder the gate is
// pressed.
func (s *Slowest) Cut() bool {
	s.mu.Lock()
	var worst *Arrival
	var least float64
	now, compared := time.Now(), 0
	for a := range s.all {
		if compared++; compared > 4*candidates {
			break
		}
		took := now.Sub(a.Began)
		if took < slowAfter {
			continue
		}
		if rate := float64(a.Bytes.Load()) / took.Seconds(); worst == nil || rate < least {
			worst, least = a, rate
		}
	}
	delete(s.all, worst)
	s.mu.Unlock()
	if worst == nil {
		return false
	}
	worst.Stop()
	return true
}

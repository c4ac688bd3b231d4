package sqlite

import (
	"sync"
	"sync/atomic"
	"time"
)

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

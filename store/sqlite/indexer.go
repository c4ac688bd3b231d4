package sqlite

import (
	"sync"
	"sync/atomic"
	"time"
)

// indexer is the goroutine that fills the late indexes.
type indexer struct {
	wake        chan struct{}
	stop, ended chan struct{}
	stopOnce    sync.Once
	// added counts the events that were stored, and waiting the events that are not yet indexed.
	added, waiting atomic.Int64
}

// startIndexer starts the goroutine, unless only appends and tests fill the indexes.
func (s *Store) startIndexer() {
	x := &s.indexer
	x.wake, x.stop, x.ended = make(chan struct{}, 1), make(chan struct{}), make(chan struct{})
	if s.late.every == 0 {
		close(x.ended)
		return
	}
	go s.indexLate()
}

// end stops the goroutine and waits for it.
func (x *indexer) end() {
	x.stopOnce.Do(func() { close(x.stop) })
	<-x.ended
}

// wakeUp wakes the goroutine if enough events wait. The writer calls it after each commit.
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

// indexLate fills the late indexes until the store closes. While many events arrive, it waits for a
// large set, because more rows then share a page. While few arrive, it indexes all of them in small
// slices, which delay appends very little.
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
				break // the next tick tries again; Ping reports the error
			}
		}
	}
}

// indexAtClose indexes the remaining events if there are few. Otherwise the next start loads them.
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

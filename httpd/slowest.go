package httpd

import (
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// patience is how long a header or body may arrive before it counts as slow.
	patience = time.Second
	// candidates is how many of those that are slow are compared.
	candidates = 8
)

// slowest knows the headers or bodies that are still arriving after their first bytes. When memory
// runs short the slowest make room: a sender that holds memory and sends nothing loses it to those
// that send.
type slowest struct {
	mu  sync.Mutex // guards all
	all map[*pending]struct{}
}

// pending is a header or body that is arriving.
type pending struct {
	began time.Time
	bytes atomic.Int64
	// cut ends its arrival. The caller of slowest.cut calls it without a lock.
	cut func()
}

func (s *slowest) add(p *pending) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all == nil {
		s.all = map[*pending]struct{}{}
	}
	s.all[p] = struct{}{}
}

// remove forgets one; nil is none.
func (s *slowest) remove(p *pending) {
	if p == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.all, p)
}

// cut ends the slowest of a few and reports whether there was one. The order of a map is as good as
// a random choice, and comparing all would cost the more the harder the gate is pressed.
func (s *slowest) cut() bool {
	s.mu.Lock()
	var worst *pending
	var least float64
	now, looked := time.Now(), 0
	for p := range s.all {
		if looked++; looked > 4*candidates {
			break
		}
		took := now.Sub(p.began)
		if took < patience {
			continue
		}
		if rate := float64(p.bytes.Load()) / took.Seconds(); worst == nil || rate < least {
			worst, least = p, rate
		}
	}
	delete(s.all, worst)
	s.mu.Unlock()
	if worst == nil {
		return false
	}
	worst.cut()
	return true
}

// arrival is the arrival of a stranger's body that is longer than its first buffer. A nil arrival
// is one of no interest.
type arrival struct {
	pending
	all    *slowest
	writer http.ResponseWriter

	mu         sync.Mutex // guards what follows
	over, shut bool
}

func newArrival(all *slowest, w http.ResponseWriter) *arrival {
	a := &arrival{all: all, writer: w}
	a.began = time.Now()
	a.pending.cut = a.stop
	all.add(&a.pending)
	return a
}

// stop lets the body's Read fail, unless the body is over: then the connection may have the next
// request.
func (a *arrival) stop() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.over {
		a.shut = http.NewResponseController(a.writer).SetReadDeadline(time.Unix(1, 0)) == nil
	}
}

func (a *arrival) has(n int) {
	if a != nil {
		a.bytes.Store(int64(n))
	}
}

func (a *arrival) wasCut() bool {
	if a == nil {
		return false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.shut
}

func (a *arrival) end() {
	if a == nil {
		return
	}
	a.all.remove(&a.pending)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.over = true
}

package consume

import (
	"strconv"
	"sync"
	"time"
)

// position is where a forwarder is in the log. If the gate forgets its subscription, the next one
// begins there. That the highest ids are acknowledged does not mean much: the gate leases events
// behind one that failed later, and the answer to a pull may have been lost.
type position struct {
	mu sync.Mutex // guards all below
	// floor is the id up to which every event is acknowledged.
	floor int64
	// seen is the highest id of an event that was leased.
	seen int64
	// open are the events that were leased and are not acknowledged. true: the application has taken
	// the event.
	open map[int64]bool
	// done are the acknowledged events after floor.
	done map[int64]bool
	// unclear is when a pull last ended without an answer: events may be leased for nobody.
	unclear time.Time
}

func newPosition(cursor int64) *position {
	return &position{floor: cursor, seen: cursor, open: map[int64]bool{}, done: map[int64]bool{}}
}

// leased notes that an event is leased.
func (p *position) leased(id int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen = max(p.seen, id)
	if _, again := p.open[id]; !again && !p.done[id] {
		p.open[id] = false
	}
}

// unanswered notes that a pull had no answer.
func (p *position) unanswered(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.unclear = now
}

// mark returns the id before the first open event. The caller asks for it before a pull, and hands
// it to drained.
func (p *position) mark() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	mark := p.seen
	for id := range p.open {
		mark = min(mark, id-1)
	}
	return mark
}

// drained notes that a pull got nothing. So an event that is not acknowledged was open before it,
// or stands behind one that was. Otherwise a lease of which nobody knows has it; such a lease has
// run out if the last pull without an answer is long ago.
func (p *position) drained(now time.Time, mark int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if mark <= p.floor || now.Sub(p.unclear) <= forwardLease+callLimit+pollWait {
		return
	}
	p.floor = mark
	for id := range p.done {
		if id <= mark {
			delete(p.done, id)
		}
	}
}

// isTaken reports whether the application has taken an event before, and only its acknowledgement
// is missing.
func (p *position) isTaken(id int64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.open[id] || p.done[id]
}

// taken notes that the application has taken an event.
func (p *position) taken(id int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open[id] = true
}

// acked notes that an event is acknowledged.
func (p *position) acked(id int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.open, id)
	p.done[id] = true
}

// next returns the id after which the next subscription begins.
func (p *position) next() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strconv.FormatInt(p.floor, 10)
}

// unacked returns the number of events that were leased and are not acknowledged.
func (p *position) unacked() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.open)
}

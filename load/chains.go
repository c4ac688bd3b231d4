package load

import (
	"sync"
	"sync/atomic"
)

// chains keeps the events of one ordering key in order: one of them is on its way, or several that
// are to be sent together, and the rest wait behind, however long that takes. Other keys pass.
type chains struct {
	// ready holds what may be sent now. It has room for every event there can be, so that sending
	// on it never blocks. It is closed when the last event of the input is done.
	ready chan *event
	// idle is the number of senders that wait for an event.
	idle atomic.Int64

	mu   sync.Mutex       // guards all below, and every turn
	last map[string]*turn // the last in line of each key that is not idle
	left int              // events added and not done
	over bool             // no more will be added
}

// turn is what has a key at one time: an event, and those that are sent together with it.
type turn struct {
	events []*event // until it has come
	come   bool
	open   int // events not done
	next   *turn
}

func newChains(capacity int) *chains {
	return &chains{ready: make(chan *event, capacity), last: map[string]*turn{}}
}

// add puts ev behind what is left of its key, or beside the last of it.
func (c *chains) add(ev *event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.left++
	before := c.last[ev.orderingKey]
	if before != nil && ev.together {
		ev.turn = before
		before.open++
		if before.come {
			c.release(ev)
		} else {
			ev.held = true
			before.events = append(before.events, ev)
		}
		return
	}
	t := &turn{open: 1}
	ev.turn = t
	c.last[ev.orderingKey] = t
	if before == nil {
		t.come = true
		c.release(ev)
		return
	}
	ev.held = true
	t.events = append(t.events, ev)
	before.next = t
}

// release makes ev ready.
func (c *chains) release(ev *event) {
	ev.waited = c.idle.Load() <= int64(len(c.ready))
	c.ready <- ev
}

// again makes ev ready once more after its back-off. Its key stays occupied.
func (c *chains) again(ev *event) { c.ready <- ev }

// done gives the key to the next in line after ev, and all that were sent with it, have their final
// answers.
func (c *chains) done(ev *event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.left--
	t := ev.turn
	ev.turn = nil
	if t.open--; t.open == 0 {
		if next := t.next; next != nil {
			next.come = true
			for _, ev := range next.events {
				c.release(ev)
			}
			next.events = nil
		} else {
			delete(c.last, ev.orderingKey)
		}
	}
	c.closeWhenDone()
}

// end says that the input has ended.
func (c *chains) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.over = true
	c.closeWhenDone()
}

func (c *chains) closeWhenDone() {
	if c.over && c.left == 0 {
		close(c.ready)
	}
}

// unfinished is the number of events that were due and have no final answer.
func (c *chains) unfinished() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.left
}

package load

import (
	"sync"
	"sync/atomic"
)

// chains keeps the events of each ordering key in order. One event of a key is in flight, or
// several that are sent together; the others of the key wait. Other keys are not affected.
type chains struct {
	// ready has the events that may be sent now. Its capacity is the greatest number of events, so
	// a send never blocks. It is closed when the last event of the input is done.
	ready chan *event
	// idle is the number of senders that wait for an event.
	idle atomic.Int64

	mu   sync.Mutex       // guards all below, and every turn
	last map[string]*turn // the last turn of each key that is not idle
	left int              // events that were added and are not done
	over bool             // no more will be added
}

// turn is the event that is in flight for a key, with those that are sent together with it.
type turn struct {
	events []*event // while it waits
	begun  bool
	open   int // events that are not done
	next   *turn
}

func newChains(capacity int) *chains {
	return &chains{ready: make(chan *event, capacity), last: map[string]*turn{}}
}

// add queues ev behind the other events of its key, or joins it to the last of them.
func (c *chains) add(ev *event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.left++
	before := c.last[ev.orderingKey]
	if before != nil && ev.together {
		ev.turn = before
		before.open++
		if before.begun {
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
		t.begun = true
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

// again makes ev ready once more after its back-off. Its key stays busy.
func (c *chains) again(ev *event) { c.ready <- ev }

// done hands the key to the next event, when ev and all events that were sent with it have their
// final answers.
func (c *chains) done(ev *event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.left--
	t := ev.turn
	ev.turn = nil
	if t.open--; t.open == 0 {
		if next := t.next; next != nil {
			next.begun = true
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

// end is called when the input has ended.
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

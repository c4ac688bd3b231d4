package load

import "sync"

// chains keeps the events of one ordering key in order: one of them is on its way, the rest wait
// behind it, however long that takes, and other keys pass.
type chains struct {
	// ready holds what may be sent now. It has room for every event there can be, so that sending
	// on it never blocks. It is closed when the last event of the input is done.
	ready chan *event

	mu   sync.Mutex        // guards all below, and event.next
	last map[string]*event // the last in line of each key that is not idle
	left int               // events added and not done
	over bool              // no more will be added
}

func newChains(capacity int) *chains {
	return &chains{ready: make(chan *event, capacity), last: map[string]*event{}}
}

// add puts ev behind what is left of its key.
func (c *chains) add(ev *event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.left++
	if before := c.last[ev.orderingKey]; before != nil {
		ev.held = true
		before.next = ev
	} else {
		c.ready <- ev
	}
	c.last[ev.orderingKey] = ev
}

// again makes ev ready once more after its back-off. Its key stays occupied.
func (c *chains) again(ev *event) { c.ready <- ev }

// done gives the key to the next in line after ev has its final answer.
func (c *chains) done(ev *event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.left--
	if ev.next != nil {
		c.ready <- ev.next
		ev.next = nil
	} else {
		delete(c.last, ev.orderingKey)
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

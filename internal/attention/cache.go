package attention

import (
	"context"
	"sync"
	"time"
)

const (
	// readEvery is the least time between two reads. After a slow read it is readShare times the
	// duration of the read.
	readEvery = 5 * time.Second
	readShare = 20
	// readTimeout bounds one read.
	readTimeout = time.Second
	// lostAfter is how long after the last answer of a failing store the items that came from it say
	// that they are old.
	lostAfter = time.Minute
)

// cache keeps a value of the store, so that frequent and simultaneous calls cost the store little.
type cache[T any] struct {
	read func(context.Context) (T, error)

	mu    sync.Mutex // guards the fields below; not held during a read
	busy  bool       // a read is in progress
	next  time.Time  // of the next read
	value T          // the last one that could be read
	known bool       // the last read did not fail
	lost  bool       // the last read failed
	at    time.Time  // when value was read; zero if never
}

// get returns the last value that could be read, which can be some seconds old. known is false if
// the last read failed, or if there was none.
func (c *cache[T]) get(ctx context.Context) (value T, known bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.busy || time.Now().Before(c.next) {
		return c.value, c.known
	}
	c.busy = true
	c.mu.Unlock()
	// A caller that goes away does not end the read. Otherwise impatient callers, and anyone may ask
	// for the health, would keep the value old and start one read after another.
	reading, cancel := context.WithTimeout(context.WithoutCancel(ctx), readTimeout)
	began := time.Now()
	read, err := c.read(reading)
	took := time.Since(began)
	cancel()
	c.mu.Lock()
	c.busy = false
	c.next = time.Now().Add(max(readEvery, readShare*took))
	if c.known, c.lost = err == nil, err != nil; c.known {
		c.value, c.at = read, time.Now()
	}
	return c.value, c.known
}

// last returns the last value that could be read. unknown has an item if that is too old or if
// there is none, because the store fails; subject says what cannot be read.
func (c *cache[T]) last(ctx context.Context, subject string) (value T, unknown []Item) {
	value, _ = c.get(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lost && time.Since(c.at) > lostAfter {
		unknown = []Item{{Name: "unknown", What: subject, Count: 1, Since: sinceOf(c.at),
			Text: "The state of " + subject + " cannot be read: the store fails or is too slow"}}
	}
	return value, unknown
}

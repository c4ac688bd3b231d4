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
)

// cache keeps a value of the store, so that frequent and simultaneous calls cost the store little.
type cache[T any] struct {
	read func(context.Context) (T, error)

	mu    sync.Mutex // guards the fields below; not held during a read
	busy  bool       // a read is in progress
	next  time.Time  // of the next read
	value T
	known bool
}

// get returns the value, which can be some seconds old. known is false if the last read failed.
func (c *cache[T]) get(ctx context.Context) (value T, known bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.busy || time.Now().Before(c.next) {
		return c.value, c.known
	}
	c.busy = true
	c.mu.Unlock()
	reading, cancel := context.WithTimeout(ctx, readTimeout)
	began := time.Now()
	value, err := c.read(reading)
	took := time.Since(began)
	cancel()
	c.mu.Lock()
	c.busy = false
	if err != nil && ctx.Err() != nil {
		return c.value, c.known // the caller gave up, which says nothing about the store
	}
	c.next = time.Now().Add(max(readEvery, readShare*took))
	c.value, c.known = value, err == nil
	return c.value, c.known
}

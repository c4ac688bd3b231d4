package attention

import (
	"context"
	"fmt"
	"sync"
	"time"
)

const (
	// clockEvery is the least time between two queries of the last id, clockTimeout bounds a query.
	clockEvery, clockTimeout = 5 * time.Second, time.Second
	// clockTolerance is the permitted difference between the clocks of several machines.
	clockTolerance = time.Second
)

// Clock compares this machine's clock with the last event id of the store. An id is the time in
// microseconds since 1970, or the previous id plus one if the clock is behind that. A clock that
// stays behind is wrong now, or was wrong before.
type Clock struct {
	lastID func(context.Context) (int64, error)

	mu     sync.Mutex // guards the fields below; not held during a query
	busy   bool       // a query is in progress
	next   time.Time  // of the next query
	behind time.Duration
	known  bool
}

// NewClock returns a Clock over a function that returns the last id of the store.
func NewClock(lastID func(context.Context) (int64, error)) *Clock { return &Clock{lastID: lastID} }

// Behind returns how far the clock is behind the last id; 0 if it is not. The result can be some
// seconds old. known is false if the last query failed.
func (c *Clock) Behind(ctx context.Context) (behind time.Duration, known bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.busy || time.Now().Before(c.next) {
		return c.behind, c.known
	}
	c.busy = true
	c.mu.Unlock()
	asking, cancel := context.WithTimeout(ctx, clockTimeout)
	last, err := c.lastID(asking)
	now := time.Now()
	cancel()
	c.mu.Lock()
	c.busy = false
	if err != nil && ctx.Err() != nil {
		return c.behind, c.known // the caller gave up, which says nothing about the store
	}
	c.next, c.known = now.Add(clockEvery), err == nil
	c.behind = max(0, time.UnixMicro(last).Sub(now))
	return c.behind, c.known
}

// Items is a Source: one item while the clock is behind.
func (c *Clock) Items(ctx context.Context) []Item {
	behind, known := c.Behind(ctx)
	if !known || behind < clockTolerance {
		return nil
	}
	return []Item{{
		Name: "clock_behind", Count: 1,
		Text: fmt.Sprintf("The clock is %v behind the last event of the store: correct it; until then"+
			" ids of new"+
			" events do not show their time",
			behind.Round(time.Second)),
	}}
}

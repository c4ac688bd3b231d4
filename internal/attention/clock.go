package attention

import (
	"context"
	"fmt"
	"sync"
	"time"
)

const (
	// clockEvery is how often the store is asked for its last id at most, and clockTimeout bounds
	// that.
	clockEvery, clockTimeout = 5 * time.Second, time.Second
	// clockTolerance is how far clocks of several machines may be apart without an alarm.
	clockTolerance = time.Second
)

// Clock compares this machine's clock with the last id of the store. Ids are microseconds since
// 1970, or one more than the id before while the clock is behind that: then they no longer tell the
// time, and a clock that stays behind is set wrong, or was.
type Clock struct {
	lastID func(context.Context) (int64, error)

	mu     sync.Mutex // guards all below; not held while the store answers
	busy   bool       // someone asks the store now
	next   time.Time  // when it may be asked again
	behind time.Duration
	known  bool
}

// NewClock returns a Clock over a function that returns the last id of the store.
func NewClock(lastID func(context.Context) (int64, error)) *Clock { return &Clock{lastID: lastID} }

// Behind returns how far the clock is behind the last id, some seconds ago; 0 if it is not. known
// is false if the store did not answer the last time it was asked.
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
		return c.behind, c.known // the caller has gone away, which says nothing of the store
	}
	c.next, c.known = now.Add(clockEvery), err == nil
	c.behind = max(0, time.UnixMicro(last).Sub(now))
	return c.behind, c.known
}

// Items is a Source.
func (c *Clock) Items(ctx context.Context) []Item {
	behind, known := c.Behind(ctx)
	if !known || behind < clockTolerance {
		return nil
	}
	return []Item{{
		Name: "clock_behind", Count: 1,
		Text: fmt.Sprintf("The clock is %v behind the last event of the store: set it right; new events are counted on from that one",
			behind.Round(time.Second)),
	}}
}

package attention

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// MaxDeadLetters bounds how far open dead letters are counted.
const MaxDeadLetters = 10_000

const (
	// countEvery is how often the store counts open dead letters at most. A count that takes long
	// makes that countShare times as long as it took.
	countEvery = 5 * time.Second
	countShare = 20
	// countTimeout bounds one count.
	countTimeout = time.Second
)

// DeadLetters counts open dead letters, for the health and for metrics. It remembers the count for
// a while, so that those who ask often, or all at once, cost the store little.
type DeadLetters struct {
	count func(ctx context.Context, most int64) (int64, error)

	mu    sync.Mutex // guards all below; not held while the store counts
	busy  bool       // someone has the store count now
	next  time.Time  // when it may count again
	open  int64
	known bool
}

// NewDeadLetters returns a counter over a function that counts open dead letters in the store, to
// most at the most.
func NewDeadLetters(count func(ctx context.Context, most int64) (int64, error)) *DeadLetters {
	return &DeadLetters{count: count}
}

// Open returns the number of open dead letters, MaxDeadLetters if there are that many or more. It
// may be some seconds old. known is false if the store did not answer the last time it was asked.
func (d *DeadLetters) Open(ctx context.Context) (open int64, known bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.busy || time.Now().Before(d.next) {
		return d.open, d.known
	}
	d.busy = true
	d.mu.Unlock()
	asking, cancel := context.WithTimeout(ctx, countTimeout)
	began := time.Now()
	n, err := d.count(asking, MaxDeadLetters)
	took := time.Since(began)
	cancel()
	d.mu.Lock()
	d.busy = false
	if err != nil && ctx.Err() != nil {
		return d.open, d.known // the caller has gone away, which says nothing of the store
	}
	d.next = time.Now().Add(max(countEvery, countShare*took))
	d.open, d.known = n, err == nil
	return d.open, d.known
}

// Items is a Source.
func (d *DeadLetters) Items(ctx context.Context) []Item {
	n, known := d.Open(ctx)
	if !known || n == 0 {
		return nil
	}
	text := fmt.Sprintf("%d %s open: %s until you replay or purge %s", n, many(n, "dead letter is",
		"dead letters are"),
		many(n, "its event is not stored", "their events are not stored"), many(n, "it", "them"))
	if n >= MaxDeadLetters {
		text = fmt.Sprintf("At least %s", text)
	}
	return []Item{{Name: "dead_letters", Count: n, Text: text, Link: "/ui/dead-letters?state=open"}}
}

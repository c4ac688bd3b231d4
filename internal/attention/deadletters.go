package attention

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// MaxDeadLetters is the largest number of open dead letters that is counted.
const MaxDeadLetters = 10_000

const (
	// countEvery is the least time between two counts. After a slow count it is countShare times the
	// duration of the count.
	countEvery = 5 * time.Second
	countShare = 20
	// countTimeout bounds one count.
	countTimeout = time.Second
)

// DeadLetters counts open dead letters for the health and the metrics. It caches the count, so that
// frequent and simultaneous calls cost the store little.
type DeadLetters struct {
	count func(ctx context.Context, most int64) (int64, error)

	mu    sync.Mutex // guards the fields below; not held during a count
	busy  bool       // a count is in progress
	next  time.Time  // of the next count
	open  int64
	known bool
}

// NewDeadLetters returns a counter over a function that counts open dead letters up to most.
func NewDeadLetters(count func(ctx context.Context, most int64) (int64, error)) *DeadLetters {
	return &DeadLetters{count: count}
}

// Open returns the number of open dead letters, at most MaxDeadLetters. It can be some seconds old.
// known is false if the last count failed.
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
		return d.open, d.known // the caller gave up, which says nothing about the store
	}
	d.next = time.Now().Add(max(countEvery, countShare*took))
	d.open, d.known = n, err == nil
	return d.open, d.known
}

// Items is a Source: one item while dead letters are open.
func (d *DeadLetters) Items(ctx context.Context) []Item {
	n, known := d.Open(ctx)
	if !known || n == 0 {
		return nil
	}
	text := fmt.Sprintf("%d %s open: %s until you retry or purge %s", n, many(n, "dead letter is",
		"dead letters are"),
		many(n, "its event is not stored", "their events are not stored"), many(n, "it", "them"))
	if n >= MaxDeadLetters {
		text = fmt.Sprintf("At least %s", text)
	}
	return []Item{{Name: "dead_letters", Count: n, Text: text, Link: "/ui/dead-letters?state=open"}}
}

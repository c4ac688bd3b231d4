package attention

import (
	"context"
	"fmt"
)

// MaxDeadLetters is the largest number of open dead letters that is counted.
const MaxDeadLetters = 10_000

// DeadLetters counts open dead letters for the health and the metrics. It caches the count.
type DeadLetters struct{ open cache[int64] }

// NewDeadLetters returns a counter over a function that counts open dead letters up to most.
func NewDeadLetters(count func(ctx context.Context, most int64) (int64, error)) *DeadLetters {
	return &DeadLetters{cache[int64]{read: func(ctx context.Context) (int64, error) {
		return count(ctx, MaxDeadLetters)
	}}}
}

// Open returns the number of open dead letters, at most MaxDeadLetters. It can be some seconds old.
// known is false if the last count failed.
func (d *DeadLetters) Open(ctx context.Context) (open int64, known bool) { return d.open.get(ctx) }

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

package attention

import (
	"context"
	"fmt"
	"time"
)

// MaxDeadLetters is the largest number of open dead letters that is counted.
const MaxDeadLetters = 10_000

// DeadLetters counts open dead letters for the health and the metrics. It caches the count.
type DeadLetters struct{ open cache[openLetters] }

type openLetters struct {
	n     int64
	since time.Time
}

// NewDeadLetters returns a counter over a function that counts open dead letters up to most, and
// one that returns when the oldest of them failed, which may be nil.
func NewDeadLetters(count func(ctx context.Context, most int64) (int64, error),
	oldest func(context.Context) (time.Time, error)) *DeadLetters {
	return &DeadLetters{cache[openLetters]{read: func(ctx context.Context) (o openLetters, err error) {
		o.n, err = count(ctx, MaxDeadLetters)
		if err == nil && o.n > 0 && oldest != nil {
			if since, err := oldest(ctx); err == nil { // the count is worth more than the time
				o.since = since
			}
		}
		return o, err
	}}}
}

// Open returns the number of open dead letters, at most MaxDeadLetters. It can be some seconds old.
// known is false if the last count failed.
func (d *DeadLetters) Open(ctx context.Context) (open int64, known bool) {
	all, known := d.open.get(ctx)
	return all.n, known
}

// Items is a Source: one item while dead letters are open, and one if their number is unknown. A
// failed count keeps the last one.
func (d *DeadLetters) Items(ctx context.Context) []Item {
	all, unknown := d.open.last(ctx, "dead letters")
	n := all.n
	if n == 0 {
		return unknown
	}
	text := fmt.Sprintf("%d %s open: %s until you retry or purge %s", n, many(n, "dead letter is",
		"dead letters are"),
		many(n, "its event is not stored", "their events are not stored"), many(n, "it", "them"))
	if n >= MaxDeadLetters {
		text = fmt.Sprintf("At least %s", text)
	}
	return append([]Item{{Name: "dead_letters", Count: n, Text: text,
		Link: "/ui/dead-letters?state=open", Since: sinceOf(all.since)}}, unknown...)
}

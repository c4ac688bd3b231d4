// Package paging lists what is stored page by page, in the same way for every store whose ids are numbers in the order
// stored.
package paging

import (
	"context"
	"fmt"
	"iter"
	"strconv"

	"github.com/hookgate/hookgate"
)

// Size is how many rows are read at a time. Between two pages nothing is held, so that a slow reader is in nobody's way.
const Size = 500

// Events yields the events that match f. read returns those that follow the id after, at most limit of them, and fewer only
// if there are no more. It has a turn if it looks at events one by one.
func Events(ctx context.Context, f hookgate.EventFilter, turns Turns, read func(after int64, limit int) ([]hookgate.Event, error)) iter.Seq2[hookgate.Event, error] {
	if looksAtEach(&f) {
		inTurn := read
		read = func(after int64, limit int) ([]hookgate.Event, error) {
			if err := turns.take(ctx); err != nil {
				return nil, err
			}
			defer turns.give()
			return inTurn(after, limit)
		}
	}
	return pages("event", f.After, f.Limit, func(e *hookgate.Event) string { return e.ID }, read)
}

// DeadLetters yields the dead letters that match f, as Events does events.
func DeadLetters(f hookgate.DeadLetterFilter,
	read func(after int64, limit int) ([]hookgate.StoredDeadLetter, error)) iter.Seq2[hookgate.StoredDeadLetter, error] {
	return pages("dead letter", f.After, f.Limit, func(d *hookgate.StoredDeadLetter) string { return d.ID }, read)
}

func pages[T any](what, behind string, left int, id func(*T) string, read func(after int64, limit int) ([]T, error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		after, left, bounded := int64(0), left, left > 0
		if behind != "" {
			var err error
			if after, err = ParseID(what, behind); err != nil {
				yield(none, err)
				return
			}
		}
		for {
			want := Size
			if bounded {
				want = min(Size, left)
			}
			rows, err := read(after, want)
			if err != nil {
				yield(none, fmt.Errorf("read %ss: %w", what, err))
				return
			}
			for i := range rows {
				if !yield(rows[i], nil) {
					return
				}
			}
			left -= len(rows)
			if len(rows) < want || bounded && left == 0 {
				return
			}
			if after, err = ParseID(what, id(&rows[len(rows)-1])); err != nil {
				yield(none, fmt.Errorf("read %ss: %w", what, err))
				return
			}
		}
	}
}

// ParseID reads an id as the stores write it, or returns ErrNotFound. what says what it is the id of.
func ParseID(what, id string) (int64, error) {
	n, err := strconv.ParseInt(id, 10, 64)
	if err != nil || n < 0 || strconv.FormatInt(n, 10) != id {
		return 0, fmt.Errorf("%s %.40q: %w", what, id, hookgate.ErrNotFound)
	}
	return n, nil
}

// ParseIDs reads those of ids that the stores can have written.
func ParseIDs(ids []string) (numbers []int64) {
	for _, id := range ids {
		if n, err := ParseID("", id); err == nil {
			numbers = append(numbers, n)
		}
	}
	return numbers
}

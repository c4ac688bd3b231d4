// Package paging lists events page by page, in the same way for every store whose ids are numbers in the order stored.
package paging

import (
	"fmt"
	"iter"
	"strconv"

	"github.com/hookgate/hookgate"
)

// Size is how many events are read at a time. Between two pages nothing is held, so that a slow reader is in nobody's way.
const Size = 500

// Events yields the events that match f. read returns those that follow the id after, at most limit of them, and fewer only
// if there are no more.
func Events(f hookgate.EventFilter, read func(after int64, limit int) ([]hookgate.Event, error)) iter.Seq2[hookgate.Event, error] {
	return func(yield func(hookgate.Event, error) bool) {
		after, left := int64(0), f.Limit
		if f.After != "" {
			var err error
			if after, err = ParseID(f.After); err != nil {
				yield(hookgate.Event{}, err)
				return
			}
		}
		for {
			want := Size
			if f.Limit > 0 {
				want = min(Size, left)
			}
			events, err := read(after, want)
			if err != nil {
				yield(hookgate.Event{}, fmt.Errorf("read events: %w", err))
				return
			}
			for _, e := range events {
				if !yield(e, nil) {
					return
				}
			}
			left -= len(events)
			if len(events) < want || f.Limit > 0 && left == 0 {
				return
			}
			if after, err = ParseID(events[len(events)-1].ID); err != nil {
				yield(hookgate.Event{}, fmt.Errorf("read events: %w", err))
				return
			}
		}
	}
}

// ParseID reads an event's id as the stores write it, or returns ErrNotFound.
func ParseID(id string) (int64, error) {
	n, err := strconv.ParseInt(id, 10, 64)
	if err != nil || n < 0 || strconv.FormatInt(n, 10) != id {
		return 0, fmt.Errorf("event %.40q: %w", id, hookgate.ErrNotFound)
	}
	return n, nil
}

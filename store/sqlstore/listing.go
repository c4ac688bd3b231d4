// Package sqlstore lists what is stored page by page, in the same way for every store whose ids are
// numbers in the order stored.
package sqlstore

import (
	"context"
	"fmt"
	"iter"
	"strconv"
	"time"

	"github.com/hookgate/hookgate"
)

// Size is how many rows are read at a time. Between two pages nothing is held, so that a slow
// reader is in nobody's way.
const Size = 500

// EventReader is what a listing of events needs of a store.
type EventReader interface {
	// Between returns the events that match, oldest stored first: those with an id above after and,
	// unless until is 0, up to until. It returns at most limit of them.
	Between(ctx context.Context, after, until int64, limit int) ([]hookgate.Event, error)
	// Ahead returns the id of the event that stands skip places behind the first one with an id
	// above after, or 0 if there are not that many.
	Ahead(ctx context.Context, after int64, skip int) (int64, error)
}

// Events yields the events that match f.
//
// If no index serves the filter, Events reads the log in windows: it looks up the id that stands so
// many events further, and reads what matches up to there. Each read is short, however rare the
// matches are, so a listing never keeps a snapshot of the database open for long.
func Events(ctx context.Context, f hookgate.EventFilter, turns Turns,
	store EventReader) iter.Seq2[hookgate.Event, error] {
	if !looksAtEach(&f) {
		return pages("event", f.After, f.Limit, func(e *hookgate.Event) string { return e.ID },
			func(after int64, limit int) ([]hookgate.Event, error) {
				return store.Between(ctx, after, 0, limit)
			})
	}
	return func(yield func(hookgate.Event, error) bool) {
		start, err := parseAfter("event", f.After)
		if err != nil {
			yield(hookgate.Event{}, err)
			return
		}
		after, left, w := start, f.Limit, window(firstWindow)
		for {
			want := Size
			if f.Limit > 0 {
				want = min(Size, left)
			}
			rows, until, err := w.read(ctx, turns, store, after, want)
			if err == nil && len(rows) == want {
				until, err = ParseID("event", rows[want-1].ID)
			}
			if err != nil {
				err = fmt.Errorf("read events: %w", err)
				if ctx.Err() != nil && after > start {
					err = &hookgate.PartialError{After: strconv.FormatInt(after, 10), Err: err}
				}
				yield(hookgate.Event{}, err)
				return
			}
			for i := range rows {
				if !yield(rows[i], nil) {
					return
				}
			}
			left -= len(rows)
			if until == 0 || f.Limit > 0 && left == 0 {
				return
			}
			after = until
		}
	}
}

// window is how many events a read looks at.
type window int

// read reads at most want events that match among the next ones behind after. until is the id of
// the last event that it looked at, or 0 if it looked at all.
func (w *window) read(ctx context.Context, turns Turns, store EventReader, after int64,
	want int) (rows []hookgate.Event, until int64, err error) {
	if err := ctx.Err(); err != nil {
		return nil, 0, err
	}
	if err := turns.take(ctx); err != nil {
		return nil, 0, err
	}
	defer turns.give()
	if until, err = store.Ahead(ctx, after, int(*w)-1); err != nil {
		return nil, 0, err
	}
	started := time.Now()
	rows, err = store.Between(ctx, after, until, want)
	w.adapt(time.Since(started))
	return rows, until, err
}

// adapt sets the window so that the next read takes about wantedRead.
func (w *window) adapt(took time.Duration) {
	switch {
	case took < wantedRead/2:
		*w = min(2**w, maxWindow)
	case took > 2*wantedRead:
		*w = max(*w/4, 1)
	}
}

// DeadLetters yields the dead letters that match f, as Events does events.
func DeadLetters(f hookgate.DeadLetterFilter,
	read func(after int64, limit int) ([]hookgate.StoredDeadLetter,
		error)) iter.Seq2[hookgate.StoredDeadLetter, error] {
	return pages("dead letter", f.After, f.Limit,
		func(d *hookgate.StoredDeadLetter) string { return d.ID }, read)
}

func pages[T any](what, behind string, left int, id func(*T) string, read func(after int64,
	limit int) ([]T, error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		left, bounded := left, left > 0
		after, err := parseAfter(what, behind)
		if err != nil {
			yield(none, err)
			return
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

// parseAfter reads the id behind which a listing continues; it is 0 if there is none.
func parseAfter(what, behind string) (int64, error) {
	if behind == "" {
		return 0, nil
	}
	return ParseID(what, behind)
}

// ParseID reads an id as the stores write it, or returns ErrNotFound. what says what it is the id
// of.
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

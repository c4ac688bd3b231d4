package sqlstore

import (
	"context"
	"fmt"
	"iter"
	"strconv"
	"time"

	"github.com/hookgate/hookgate"
)

// pageSize is how many rows are read at a time. Between two pages nothing is held, so that a slow
// reader is in nobody's way.
const pageSize = 500

// listEvents yields the events that match f.
//
// If no index serves the filter, listEvents reads the log in windows: it looks up the id that stands so
// many events further, and reads what matches up to there. Each read is short, however rare the
// matches are, so a listing never keeps a snapshot of the database open for long.
func listEvents(ctx context.Context, f hookgate.EventFilter, turns turns,
	store eventReader) iter.Seq2[hookgate.Event, error] {
	if !looksAtEach(&f) {
		return pages("event", f.After, f.Limit, func(e *hookgate.Event) string { return e.ID },
			func(after int64, limit int) ([]hookgate.Event, error) {
				return store.between(ctx, after, 0, limit)
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
			want := pageSize
			if f.Limit > 0 {
				want = min(pageSize, left)
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
func (w *window) read(ctx context.Context, turns turns, store eventReader, after int64,
	want int) (rows []hookgate.Event, until int64, err error) {
	if err := ctx.Err(); err != nil {
		return nil, 0, err
	}
	if err := turns.take(ctx); err != nil {
		return nil, 0, err
	}
	defer turns.give()
	if until, err = store.ahead(ctx, after, int(*w)-1); err != nil {
		return nil, 0, err
	}
	started := time.Now()
	rows, err = store.between(ctx, after, until, want)
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

// pages yields the rows that read returns, page by page: at most left of them unless that is 0,
// from the one behind an id on.
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
			want := pageSize
			if bounded {
				want = min(pageSize, left)
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

package sqlstore

import (
	"context"
	"fmt"
	"iter"
	"strconv"
	"time"

	"github.com/hookgate/hookgate"
)

// pageSize is the number of rows in one read. Nothing stays open between two pages, so a slow
// reader holds up nobody.
const pageSize = 500

// listEvents yields the events that match f.
//
// If no index serves the filter, listEvents reads the log in windows: it looks up the id at which
// the next window ends, then reads the matching events up to that id. Each read is short even if
// few events match, so a listing never keeps a snapshot of the database open for long.
func listEvents(ctx context.Context, f hookgate.EventFilter, slots scanSlots,
	store eventReader) iter.Seq2[hookgate.StoredEvent, error] {
	if !readsEach(&f) {
		return pages("event", f.After, f.Limit, func(e *hookgate.StoredEvent) string { return e.ID },
			func(after int64, limit int) ([]hookgate.StoredEvent, error) {
				return store.between(ctx, after, 0, limit)
			})
	}
	return func(yield func(hookgate.StoredEvent, error) bool) {
		start, err := parseAfter("event", f.After)
		if err != nil {
			yield(hookgate.StoredEvent{}, err)
			return
		}
		after, left, w := start, f.Limit, window(firstWindow)
		for {
			want := pageSize
			if f.Limit > 0 {
				want = min(pageSize, left)
			}
			rows, until, err := w.read(ctx, slots, store, after, want)
			if err == nil && len(rows) == want {
				until, err = ParseID("event", rows[want-1].ID)
			}
			if err != nil {
				err = fmt.Errorf("read events: %w", err)
				if ctx.Err() != nil && after > start {
					err = &hookgate.PartialError{After: strconv.FormatInt(after, 10), Err: err}
				}
				yield(hookgate.StoredEvent{}, err)
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

// window is the number of events that one read examines.
type window int

// read returns at most want matching events from the next window after an id. until is the id of
// the last event that it examined, or 0 if it reached the end.
func (w *window) read(ctx context.Context, slots scanSlots, store eventReader, after int64,
	want int) (rows []hookgate.StoredEvent, until int64, err error) {
	if err := ctx.Err(); err != nil {
		return nil, 0, err
	}
	if err := slots.acquire(ctx); err != nil {
		return nil, 0, err
	}
	defer slots.release()
	if until, err = store.ahead(ctx, after, int(*w)-1); err != nil {
		return nil, 0, err
	}
	started := time.Now()
	rows, err = store.between(ctx, after, until, want)
	w.adapt(time.Since(started))
	return rows, until, err
}

// adapt changes the window so that the next read takes about wantedRead.
func (w *window) adapt(took time.Duration) {
	switch {
	case took < wantedRead/2:
		*w = min(2**w, maxWindow)
	case took > 2*wantedRead:
		*w = max(*w/4, 1)
	}
}

// pages yields the rows that read returns, one page at a time. It starts after the given id and
// yields at most left rows; 0 means no limit.
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

// parseAfter parses the id to continue after. An empty text is 0.
func parseAfter(what, behind string) (int64, error) {
	if behind == "" {
		return 0, nil
	}
	return ParseID(what, behind)
}

// ParseID parses an id as the stores write it. Any other text is ErrNotFound. what names the kind
// of id in the error.
func ParseID(what, id string) (int64, error) {
	n, err := strconv.ParseInt(id, 10, 64)
	if err != nil || n < 0 || strconv.FormatInt(n, 10) != id {
		return 0, fmt.Errorf("%s %.40q: %w", what, id, hookgate.ErrNotFound)
	}
	return n, nil
}

// ParseIDs parses ids and drops those that no store can have written.
func ParseIDs(ids []string) (numbers []int64) {
	for _, id := range ids {
		if n, err := ParseID("", id); err == nil {
			numbers = append(numbers, n)
		}
	}
	return numbers
}

package deliver

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/internal/backoff"
)

const (
	// windowBytes bounds the bodies in the window of the tail, and windowEvents the events.
	windowBytes  = 16 << 20
	windowEvents = 16 << 10
	// pageEvents and pageBytes bound one read of the log.
	pageEvents = 512
	pageBytes  = 2 << 20
	// passEvery is how often a reader learns that the log has grown although no event matches.
	passEvery = 10 * time.Second
)

// tail reads the end of the log once for all readers of a process. It keeps the latest events in a
// window. A reader that is further behind reads its own pages. While no reader waits at the end,
// the tail does not read.
type tail struct {
	log    hookgate.Log
	logger *slog.Logger
	want   chan struct{} // has room for one: a reader waits

	mu sync.Mutex // guards all below
	// begun reports that there is a window. events are the events with ids in (low, high].
	begun     bool
	events    []hookgate.Event
	low, high int64
	bytes     int
	// waiting are the readers that wait at high.
	waiting []*reader
}

// reader is a place in the log from which a runner reads.
type reader struct {
	tail   *tail
	filter *hookgate.Filter
	// arrived has room for one. It receives a value when an event matches or passEvery has gone by.
	arrived chan struct{}

	position int64 // guarded by tail.mu while the reader waits
	waits    bool  // guarded by tail.mu
	noticed  time.Time
}

func newTail(log hookgate.Log, logger *slog.Logger) *tail {
	return &tail{log: log, logger: logger, want: make(chan struct{}, 1)}
}

// reader returns a reader that begins after an id.
func (t *tail) reader(after int64, filter *hookgate.Filter) *reader {
	return &reader{tail: t, filter: filter, position: after, arrived: make(chan struct{}, 1)}
}

// next returns the events that follow the reader's position without reading the store, and moves
// the position. known is false if they are not in the window: then the caller reads a page. If
// there are none, the reader waits: arrived receives a value later.
func (r *reader) next(max int) (events []hookgate.Event, known bool) {
	t := r.tail
	t.mu.Lock()
	defer t.mu.Unlock()
	r.leave()
	if !t.begun || r.position < t.low || r.position > t.high {
		return nil, false
	}
	if r.position == t.high {
		r.waits, r.noticed = true, time.Now()
		t.waiting = append(t.waiting, r)
		select {
		case t.want <- struct{}{}:
		default:
		}
		return nil, true
	}
	i, _ := slices.BinarySearchFunc(t.events, r.position+1,
		func(e hookgate.Event, id int64) int { return cmp.Compare(e.ID, id) })
	n := min(max, len(t.events)-i)
	events = slices.Clone(t.events[i : i+n])
	if i+n == len(t.events) {
		r.position = t.high
	} else {
		r.position = events[n-1].ID
	}
	return events, true
}

// isWaiting reports whether the reader waits at the end of the log.
func (r *reader) isWaiting() bool {
	r.tail.mu.Lock()
	defer r.tail.mu.Unlock()
	return r.waits
}

// place returns the position. It moves while the reader waits and nothing matches.
func (r *reader) place() int64 {
	r.tail.mu.Lock()
	defer r.tail.mu.Unlock()
	return r.position
}

// read returns a page of the store after an id, up to the end of the window if that is ahead. The
// caller calls took with it.
func (r *reader) read(ctx context.Context, after int64) (hookgate.LogPage, error) {
	q := hookgate.LogQuery{After: after, Max: pageEvents, MaxBytes: pageBytes}
	if high, _ := r.tail.end(); high > after {
		q.Until = high
	}
	return r.tail.log.ReadLog(ctx, q)
}

// took moves the position to the end of a page that the reader has read. If the page has reached
// the end of the log, the window begins there.
func (r *reader) took(page *hookgate.LogPage) {
	t := r.tail
	t.mu.Lock()
	defer t.mu.Unlock()
	r.position = page.Next
	if !page.More && (!t.begun || page.Next > t.high) {
		t.restart(page.Next)
	}
}

// restart empties the window and makes it begin after an id. Waiting readers read the gap
// themselves.
func (t *tail) restart(at int64) {
	t.events, t.bytes, t.low, t.high, t.begun = nil, 0, at, at, true
	for _, r := range t.waiting {
		r.waits = false
		r.signal()
	}
	t.waiting = nil
}

// close ends the waiting of a reader.
func (r *reader) close() {
	r.tail.mu.Lock()
	defer r.tail.mu.Unlock()
	r.leave()
}

func (r *reader) leave() {
	if r.waits {
		r.waits = false
		r.tail.waiting = slices.DeleteFunc(r.tail.waiting, func(o *reader) bool { return o == r })
	}
}

func (r *reader) signal() {
	select {
	case r.arrived <- struct{}{}:
	default:
	}
}

// run follows the end of the log while a reader waits there, until ctx ends.
func (t *tail) run(ctx context.Context) {
	for failures := 0; ; {
		grown := t.log.Grown()
		after, wanted := t.end()
		if !wanted {
			select {
			case <-ctx.Done():
				return
			case <-t.want:
			}
			continue
		}
		page, err := t.log.ReadLog(ctx, hookgate.LogQuery{After: after, Max: pageEvents,
			MaxBytes: pageBytes})
		if err != nil {
			if ctx.Err() != nil {
				return
			}
			failures++
			t.logger.Warn("cannot read the log of events", "error", err)
			if backoff.Sleep(ctx, storeRetry.Pause(failures)) != nil {
				return
			}
			continue
		}
		failures = 0
		t.add(after, &page)
		if page.More || page.Next > after {
			continue
		}
		select {
		case <-ctx.Done():
			return
		case <-grown:
		}
	}
}

// end returns the end of the window, and whether a reader waits there.
func (t *tail) end() (high int64, wanted bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.high, len(t.waiting) > 0
}

// add appends a page that follows the id after to the window.
func (t *tail) add(after int64, page *hookgate.LogPage) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.high != after {
		return // the window started again meanwhile
	}
	t.high = page.Next
	t.events = append(t.events, page.Events...)
	for i := range page.Events {
		t.bytes += len(page.Events[i].Body)
	}
	drop := 0
	for drop < len(t.events) && (t.bytes > windowBytes || len(t.events)-drop > windowEvents) {
		t.bytes -= len(t.events[drop].Body)
		t.low = t.events[drop].ID
		drop++
	}
	clear(t.events[:drop]) // append moves the rest to a new array only later
	t.events = t.events[drop:]
	now := time.Now()
	t.waiting = slices.DeleteFunc(t.waiting, func(r *reader) bool {
		matches := slices.ContainsFunc(page.Events, func(e hookgate.Event) bool {
			return r.filter.Match(e.Source, e.EventType)
		})
		if !matches {
			r.position = t.high
			if page.Next == after || now.Sub(r.noticed) < passEvery {
				return false
			}
		}
		r.waits = false
		r.signal()
		return true
	})
}

package deliver

import (
	"context"
	"slices"
	"time"

	"github.com/hookgate/hookgate"
)

// fill takes the next events of the log, as long as there is room for them.
func (r *runner) fill(ctx context.Context, now time.Time) {
	for !r.reading && r.wantsEvents(now) {
		if len(r.page) > 0 {
			r.take(&r.page[0])
			r.page = r.page[1:]
			continue
		}
		if r.paged {
			r.paged, r.position = false, max(r.position, r.pageEnd)
		}
		events, known := r.reader.next(pageEvents)
		switch {
		case !known:
			r.readPage(ctx)
			return
		case len(events) == 0 && r.reader.isWaiting():
			return
		default:
			r.page, r.pageEnd, r.paged = events, r.reader.place(), true
		}
	}
	// Make room: the oldest event has been attempted for long, and thousands behind it are settled.
	if r.ring.len() >= maxDistance && !r.idle() && !r.breaker.open {
		r.except(r.ring.oldest())
	}
}

// wantsEvents reports whether there is room for more events.
func (r *runner) wantsEvents(now time.Time) bool {
	if r.idle() || r.blocked || r.count >= maxExceptions || r.ring.len() >= maxDistance ||
		now.Before(r.readAgain) {
		return false
	}
	r.readAgain = time.Time{}
	if r.breaker.open {
		// For the next probe: an event that fails alone must not keep others from being probed.
		return r.openCount < maxActive && !slices.ContainsFunc(r.ready, fresh)
	}
	return r.openCount < max(maxOpen, 4*r.concurrency) && r.openBytes < maxOpenBytes
}

// readPage reads a page of the store, because the tail does not have it.
func (r *runner) readPage(ctx context.Context) {
	r.reading = true
	after, reader := r.position, r.reader
	r.call(ctx, func(ctx context.Context) func() {
		page, err := reader.read(ctx, after)
		return func() {
			r.reading = false
			if reader != r.reader {
				return // block has moved the position back
			}
			if err != nil {
				r.failures++
				r.readAgain = time.Now().Add(storeRetry.Pause(r.failures))
				r.d.config.Logger.Warn("cannot read the log of events", "subscription", r.name, "error", err)
				return
			}
			r.failures = 0
			r.reader.took(&page)
			r.page, r.pageEnd, r.paged = page.Events, page.Next, true
		}
	})
}

// take passes the next event of the log, and makes an item of it unless it does not match, is
// settled, has an exception, or stands behind a hold.
func (r *runner) take(e *hookgate.Event) {
	r.position = e.ID
	if !r.sub.Definition.Filter.Match(e.Source, e.EventType) {
		return
	}
	if r.settled[e.ID] || r.excepted[e.ID] {
		delete(r.settled, e.ID)
		delete(r.excepted, e.ID)
		r.ring.push(e.ID, nil)
		return
	}
	event := *e // the page is not kept for the sake of one event
	it := &item{event: &event, redelivery: r.numberOf(e.ID), path: true}
	var k *key
	if r.isKeyed(e) {
		k = r.keyNamed(e.OrderingKey)
		if k.held {
			r.ring.push(e.ID, nil)
			if e.ID > k.after {
				k.lastSeen = e.ID
				r.proceed(k)
			}
			return
		}
		it.key = k
	}
	it.number = r.ring.push(e.ID, it)
	it.counted = true
	r.openCount++
	r.openBytes += len(e.Body)
	switch {
	case k == nil:
		r.ready = append(r.ready, it)
	case k.current == nil:
		k.current = it
		r.ready = append(r.ready, it)
	default:
		k.queue = append(k.queue, it)
		if len(k.queue) > maxQueue {
			r.spill(k)
		}
	}
}

// except lets the cursor pass an item that is not settled: its key gets a hold, or it becomes an
// exception that is due now. An attempt in flight goes on.
func (r *runner) except(it *item) {
	if it == nil || r.order == hookgate.OrderAll {
		return
	}
	if it.key != nil {
		r.spill(it.key)
		return
	}
	now := time.Now()
	it.exception = hookgate.Exception{Event: it.event.ID, Redelivery: it.redelivery,
		State: hookgate.ExceptionWaiting, Due: now, Since: r.clock, Changed: now,
		Reason: "the first attempt has not ended"}
	it.excepted, it.createdIn = true, r.pending.batch
	r.pending.Except(it.exception, false)
	r.active[it.id()] = inFlight
	r.count++
	r.cover(it)
}

package deliver

import (
	"context"
	"time"

	"github.com/hookgate/hookgate"
)

// key is an ordering key of which something is attempted or waits. At most one attempt of a key is
// in flight.
//
//	free ──(an event)──► busy ──(queue too long, or a failure)──► held ──(nothing left)──► free
//
// While a key is held, the reader passes its events, and the store has its hold. The events are
// read from the store once the first of them is settled.
type key struct {
	name string
	// current is the item that has the slot of the key: it is ready or in flight. nil: the slot is
	// free.
	current *item
	// queue are the later events of a key that is not held.
	queue []*item

	held bool
	// after is Hold.After. lastSeen is the last event of the key that the reader has passed, and
	// readTo how far the key has been read into buffer.
	after, lastSeen, readTo int64
	buffer                  []hookgate.Event
	// excepted reports that an event of the key is waiting or parked.
	excepted bool
	// changedIn is the Save with the last change of the hold.
	changedIn uint64
	reading   bool
	queued    bool // in runner.wantRead
}

// isKeyed reports whether an event waits for earlier events of its ordering key.
func (r *runner) isKeyed(e *hookgate.Event) bool {
	return r.order == hookgate.OrderKey && e.Keyed
}

// keyNamed returns a key, which is free if it was not known.
func (r *runner) keyNamed(name string) *key {
	k := r.keys[name]
	if k == nil {
		k = &key{name: name}
		r.keys[name] = k
	}
	return k
}

// hold holds a key, or raises its After.
func (r *runner) hold(k *key, after int64) {
	if !k.held {
		k.held, k.after, k.readTo, k.lastSeen = true, after, after, after
		if n := len(k.queue); n > 0 {
			k.lastSeen = k.queue[n-1].event.ID
		}
		if k.current != nil && k.current.path {
			k.lastSeen = max(k.lastSeen, k.current.event.ID)
		}
		for _, it := range k.queue {
			r.cover(it)
		}
		k.queue = nil
	}
	k.after = max(k.after, after)
	k.changedIn = r.pending.batch
	r.pending.Hold(k.name, k.after, 0)
	r.setExcepted(k, k.excepted)
}

// setExcepted records whether an event of a held key is waiting or parked. The other held keys
// drain.
func (r *runner) setExcepted(k *key, excepted bool) {
	k.excepted = excepted
	if excepted {
		// Its events are read again. Otherwise thousands of keys that fail would keep theirs in memory.
		k.buffer, k.readTo = nil, k.after
		delete(r.draining, k.name)
	} else {
		r.draining[k.name] = true
	}
}

// cover removes an item from the ring, because an exception or a hold covers it.
func (r *runner) cover(it *item) {
	if it.number >= 0 {
		r.ring.done(it.number)
		it.number = -1
	}
	r.forget(it)
}

// forget stops to count an item among the open events.
func (r *runner) forget(it *item) {
	if it.counted {
		it.counted = false
		r.openCount--
		r.openBytes -= len(it.event.Body)
	}
}

// spill holds a key whose first event is not settled, so that the cursor can move on.
func (r *runner) spill(k *key) {
	switch {
	case k.current != nil && k.current.path && !k.current.excepted:
		first := k.current
		r.hold(k, first.event.ID-1)
		if first.number >= 0 {
			r.ring.done(first.number)
			first.number = -1
		}
	case len(k.queue) > 0:
		r.hold(k, k.queue[0].event.ID-1)
	}
}

// vacate frees the slot that an item has, and goes on with its key.
func (r *runner) vacate(it *item) {
	if it.drained {
		it.drained = false
		r.drained--
	}
	if k := it.key; k != nil && k.current == it {
		k.current = nil
		r.proceed(k)
	}
}

// proceed gives a free slot to the next event of the key. If there is none, the key is free.
func (r *runner) proceed(k *key) {
	if k.current != nil {
		return
	}
	if !k.held {
		if len(k.queue) == 0 {
			delete(r.keys, k.name)
			return
		}
		k.current, k.queue = k.queue[0], k.queue[1:]
		r.ready = append(r.ready, k.current)
		return
	}
	if k.excepted {
		return // until the exception is due, or a person settles it
	}
	for len(k.buffer) > 0 && k.buffer[0].ID <= k.after {
		k.buffer = k.buffer[1:]
	}
	if len(k.buffer) > 0 {
		e := k.buffer[0]
		k.buffer = k.buffer[1:]
		k.current = &item{event: &e, redelivery: r.numberOf(e.ID), key: k, number: -1, path: true,
			drained: true}
		r.drained++
		r.ready = append(r.ready, k.current)
		return
	}
	if k.lastSeen > max(k.after, k.readTo) {
		if !k.queued && !k.reading {
			k.queued = true
			r.wantRead = append(r.wantRead, k)
		}
		return
	}
	if !k.reading {
		// Every event of the key that the reader has passed is settled. The removal of the hold is in
		// this Save or before any later result of the key.
		r.pending.Free(k.name)
		delete(r.keys, k.name)
		delete(r.draining, k.name)
	}
}

// numberOf returns the redelivery number of an event on the way of the cursor.
func (r *runner) numberOf(event int64) int64 {
	if event <= r.redeliverUntil {
		return r.redelivery
	}
	return 0
}

// readKeys reads the next events of keys that are held and whose slot is free.
func (r *runner) readKeys(ctx context.Context) {
	for len(r.wantRead) > 0 && r.keyReads < keyReads && r.drained < 2*r.concurrency && !r.closing {
		k := r.wantRead[0]
		r.wantRead = r.wantRead[1:]
		k.queued, k.reading = false, true
		r.keyReads++
		q := hookgate.LogQuery{After: max(k.after, k.readTo), Until: r.position, OrderingKey: k.name,
			Max: keyPage, MaxBytes: keyBytes}
		r.call(ctx, func(ctx context.Context) func() {
			page, err := r.d.log.ReadLog(ctx, q)
			return func() { r.hasReadKey(k, &page, err) }
		})
	}
}

// hasReadKey takes a page of a key's events.
func (r *runner) hasReadKey(k *key, page *hookgate.LogPage, err error) {
	k.reading = false
	r.keyReads--
	if err != nil {
		r.failures++
		r.d.config.Logger.Warn("cannot read the events of a key", "subscription", r.name, "error", err)
		if r.closing {
			return
		}
		pause := storeRetry.Pause(r.failures)
		r.keyReads++ // the place of this read, until it is tried again
		k.reading = true
		time.AfterFunc(pause, func() {
			r.post(func() {
				r.keyReads--
				k.reading = false
				r.proceed(k)
			})
		})
		return
	}
	r.failures = 0
	if k.excepted {
		return
	}
	k.readTo = max(k.readTo, page.Next)
	for _, e := range page.Events {
		if r.sub.Definition.Filter.Match(e.Source, e.EventType) {
			k.buffer = append(k.buffer, e)
		}
	}
	r.proceed(k)
}

// freeKey notices that the store has a hold without an exception: a person has settled it.
func (r *runner) freeKey(h *hookgate.Hold) {
	k := r.keys[h.OrderingKey]
	switch {
	case k == nil && !r.pending.IsFreed(h.OrderingKey):
		k = &key{name: h.OrderingKey, held: true, after: h.After, readTo: h.After, lastSeen: r.position}
		r.keys[k.name] = k
		r.setExcepted(k, false)
	case k != nil && k.held && k.excepted && k.changedIn > r.savedBatch:
		r.reload = true // the answer may be older than the change: ask again after the next Save
		return
	case k != nil && k.held && k.excepted:
		k.after = max(k.after, h.After)
		r.setExcepted(k, false)
	default:
		return
	}
	r.proceed(k)
}

package pull

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/hookgate/hookgate"
)

const (
	// maxExceptions is how many exceptions a subscription can have before it stops to pass new
	// events, as with push. maxLeased bounds the open events of all leases.
	maxExceptions, maxLeased = 100_000, 100_000
	// maxScan bounds the events that one round reads.
	maxScan = 2000
	// pageEvents and pageBytes bound one read of the log, and maxDue the exceptions in memory that
	// are due.
	pageEvents, pageBytes = 512, 2 << 20
	leastBytes            = 64 << 10 // of a page of the log, most of which may match nothing
	maxDue, duePage       = 1000, 64
	// inOrderWait is how long a pull waits for events in the order of the log, if the next peekEvents
	// are of keys that other leases have, before it looks further.
	inOrderWait, peekEvents = 100 * time.Millisecond, 64
	// namedEvents bounds one read of events by their ids, because the sizes of their bodies are not
	// known before.
	namedEvents = 16
)

// dueException is an exception that is due.
type dueException struct {
	hookgate.Exception
	// slot is the key whose slot it needs; empty if that is not known, or if there is none.
	slot string
}

// taker makes leases in one round. Its pages are shared by the leases of the round.
type taker struct {
	line *line
	st   *state
	now  time.Time
	// scanned counts the events that were read.
	scanned int
	// page are events after state.position that were read and not passed. next and more are those of
	// the page; more is also true before the first read.
	page []hookgate.Event
	next int64
	more bool
	// err is the error of a read. The leases made before it are good.
	err error

	// The lease that is being made.
	lease    *hookgate.Lease
	events   []Event
	max      int
	maxBytes int
	bytes    int
	// full reports that an event did not fit. It stays for the next lease.
	full bool
	// behind reports that new events may follow the exception that the lease begins with, although
	// the order is OrderAll.
	behind bool
	// skipped reports that the lease was too large for the LeaseMax of an event.
	skipped bool
	// patient reports that the client may wait a little, and stalled that it does. See stalls.
	patient, stalled bool
}

// room returns how many events the lease may still take.
func (t *taker) room() int {
	if t.full || t.err != nil || t.scanned >= maxScan {
		return 0
	}
	return t.max - len(t.lease.Events)
}

// budget is the size of the bodies that the lease may still take.
func (t *taker) budget() int { return max(1, min(pageBytes, t.maxBytes-t.bytes)) }

// fits reports whether an event fits into the lease.
func (t *taker) fits(e *hookgate.Event) bool {
	if t.room() > 0 && (len(t.events) == 0 || t.bytes+len(e.Body) <= t.maxBytes) {
		return true
	}
	t.full = true
	return false
}

// bound bounds the lease by the LeaseMax of its next event. It reports false if the lease is too
// large already.
func (t *taker) bound(leaseMax int) bool {
	if leaseMax == 0 {
		return true
	}
	if len(t.lease.Events) >= leaseMax {
		t.skipped = true
		return false
	}
	t.max = min(t.max, leaseMax)
	return true
}

// add adds an event to the lease.
func (t *taker) add(event *hookgate.Event, e hookgate.LeasedEvent) {
	e.Event = event.ID
	if e.OrderingKey == "" {
		e.OrderingKey = t.st.slotOf(event)
	}
	t.lease.Events = append(t.lease.Events, e)
	t.st.occupy(t.lease, &e)
	shared := *event // the page is not kept for the sake of one event
	t.events = append(t.events, Event{Event: &shared, Attempt: e.Attempts + 1,
		Redelivery: e.Redelivery})
	t.bytes += len(event.Body)
}

// take makes a lease for a client. It returns nil if there is nothing to lease now.
func (t *taker) take(ctx context.Context, id string, r *Request) (*hookgate.Lease, []Event) {
	t.lease = &hookgate.Lease{ID: id, Began: t.now, Until: t.now.Add(r.Lease)}
	t.events, t.bytes, t.max, t.maxBytes = nil, 0, r.Max, r.MaxBytes
	t.full, t.behind = false, false
	t.skipped, t.stalled = false, false
	sources := []func(context.Context){t.due, t.held, t.job, t.fresh}
	asked := 0
	for asked < len(sources) && t.room() > 0 && !t.busy() {
		sources[(t.line.first+asked)%len(sources)](ctx)
		asked++
	}
	// If some sources can fill all leases, the next lease begins with another one.
	if t.line.first++; asked == len(sources) && !t.skipped {
		t.line.first = 0
	}
	if len(t.lease.Events) == 0 {
		return nil, nil
	}
	byID := func(a, b hookgate.LeasedEvent) int { return cmp.Compare(a.Event, b.Event) }
	slices.SortFunc(t.lease.Events, byID)
	slices.SortFunc(t.events, func(a, b Event) int { return cmp.Compare(a.ID, b.ID) })
	t.st.leases[id], t.st.changed[id], t.st.hard = t.lease, t.lease, true
	return t.lease, t.events
}

// busy reports whether another lease keeps this one from having events.
func (t *taker) busy() bool {
	return len(t.st.leased) >= maxLeased || t.st.ordersAll() && len(t.st.leases) > 0
}

// due takes exceptions that are due.
func (t *taker) due(ctx context.Context) {
	st := t.st
	t.askDue(ctx)
	for from := 0; from < len(st.due) && t.room() > 0; {
		// st.due[:from] stay for a later lease.
		var ids []int64
		to := from
		for ; to < len(st.due) && len(ids) < namedEvents; to++ {
			if x := &st.due[to]; !t.blocked(x) {
				ids = append(ids, x.Event)
			}
		}
		ids = slices.Compact(slices.Sorted(slices.Values(ids)))
		events, err := t.line.s.log.ReadEvents(ctx, ids)
		if err != nil {
			t.err = err
			return
		}
		t.scanned += len(events)
		for n := to - from; n > 0; n-- {
			x := &st.due[from]
			i, found := slices.BinarySearchFunc(events, x.Event,
				func(e hookgate.Event, id int64) int { return cmp.Compare(e.ID, id) })
			_, asked := slices.BinarySearch(ids, x.Event)
			if !asked || found && !t.takeDue(&events[i], x) {
				from++
				continue
			}
			if !found {
				t.park(x)
			}
			st.due = slices.Delete(st.due, from, from+1)
		}
	}
}

// blocked reports that an exception cannot be leased now, as far as is known without its event.
func (t *taker) blocked(x *dueException) bool {
	k := t.st.keys[x.slot]
	return t.st.isLeased(x.Event) ||
		// Several exceptions of one key that hold nobody can be in one lease.
		k != nil && k.leased > 0 && (k.lease != t.lease.ID || k.path || x.OrderingKey != "") ||
		x.LeaseMax > 0 && len(t.lease.Events) >= x.LeaseMax ||
		t.st.ordersAll() && len(t.lease.Events) > 0
}

// takeDue takes one exception. It reports whether it could.
func (t *taker) takeDue(event *hookgate.Event, x *dueException) bool {
	st := t.st
	x.slot = st.slotOf(event)
	if t.room() <= 0 || t.blocked(x) {
		return false
	}
	e := hookgate.LeasedEvent{Redelivery: x.Redelivery, OrderingKey: x.slot, Attempts: x.Attempts,
		Excepted: true, Path: x.OrderingKey != ""}
	if st.ordersAll() {
		e.Path = st.excepted[event.ID] && x.Redelivery == st.numberOf(event.ID)
	}
	if !t.bound(x.LeaseMax) || !t.fits(event) {
		return false
	}
	if st.ordersAll() {
		if t.behind = e.Path && x.Attempts == 0; !t.behind {
			t.max = 1
		}
	}
	st.rows[hookgate.EventRedelivery{Event: event.ID, Redelivery: x.Redelivery}] = x.Exception
	t.add(event, e)
	return true
}

// askDue asks the store for exceptions that are due.
func (t *taker) askDue(ctx context.Context) {
	st := t.st
	if st.nextDue.IsZero() || t.now.Before(st.nextDue) || len(st.due) >= maxDue {
		return
	}
	q := hookgate.DueQuery{Now: t.now, Max: duePage + t.max, MaxHolds: -1}
	for _, x := range st.due {
		q.NotEvents = append(q.NotEvents, hookgate.EventRedelivery{Event: x.Event,
			Redelivery: x.Redelivery})
	}
	for _, l := range st.leases {
		for _, e := range l.Events {
			if e.Excepted && e.State == hookgate.LeasedOpen {
				q.NotEvents = append(q.NotEvents, hookgate.EventRedelivery{Event: e.Event,
					Redelivery: e.Redelivery})
			}
		}
	}
	for id := range st.pending.Updated {
		q.NotEvents = append(q.NotEvents, id)
	}
	for _, a := range st.pending.Attempts {
		q.NotEvents = append(q.NotEvents, hookgate.EventRedelivery{Event: a.Event,
			Redelivery: a.Redelivery})
	}
	due, err := t.line.s.store.Due(ctx, t.line.name, q)
	switch {
	case err != nil:
		t.err = err
	case due.Version != st.Version:
		t.err = hookgate.ErrFenced // a person has changed something
	default:
		st.nextDue = st.pending.NextDue(due.Next)
		for _, x := range due.Exceptions {
			st.due = append(st.due, dueException{x, x.OrderingKey})
		}
	}
}

// park parks an exception whose event the store has lost: only a person can help.
func (t *taker) park(x *dueException) {
	x.State, x.Due, x.Changed = hookgate.ExceptionParked, time.Time{}, t.now
	x.Reason = "the event is not in the store any more"
	t.st.pending.Except(x.Exception, true)
	t.st.hard = true
}

// held takes the next events of keys that are free again.
func (t *taker) held(ctx context.Context) {
	st := t.st
	var later []*key // their LeaseMax is too small for this lease
	defer func() { st.free = append(later, st.free...) }()
	for len(st.free) > 0 && t.room() > 0 {
		k := st.free[0]
		switch {
		case st.keys[k.name] != k || !k.held || k.excepted || k.leased > 0:
			st.free, k.queued = st.free[1:], false
		case !t.bound(k.leaseMax):
			st.free, later = st.free[1:], append(later, k)
		case !t.takeKey(ctx, k):
			return
		default:
			st.free, k.queued = st.free[1:], false
			st.vacated(k)
		}
	}
}

// takeKey takes the next events of a key. It reports whether it is done with the key for now.
func (t *taker) takeKey(ctx context.Context, k *key) bool {
	st := t.st
	for after := k.after; t.room() > 0; {
		page, err := t.line.s.log.ReadLog(ctx, hookgate.LogQuery{After: after, Until: st.position,
			OrderingKey: k.name, Max: min(t.room(), pageEvents), MaxBytes: t.budget()})
		if err != nil {
			t.err = err
			return false
		}
		t.scanned += 1 + len(page.Events)
		for i := range page.Events {
			e := &page.Events[i]
			if !st.Definition.Filter.Match(e.Source, e.EventType) {
				continue
			}
			if st.isLeased(e.ID) || !t.fits(e) {
				return k.leased > 0
			}
			t.add(e, hookgate.LeasedEvent{Redelivery: st.numberOf(e.ID), Path: true})
		}
		if after = page.Next; !page.More {
			k.lastSeen = k.after
			if n := len(t.lease.Events); k.leased > 0 {
				k.lastSeen = t.lease.Events[n-1].Event
			}
			return true
		}
		if k.leased == 0 { // none of them matches; the next round goes on from here
			st.hold(k, after, k.leaseMax)
		}
	}
	return k.leased > 0
}

package pull

import (
	"cmp"
	"slices"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/deliver"
)

// openEvents returns the number of events of a lease that are open.
func openEvents(l *hookgate.Lease) (n int) {
	for i := range l.Events {
		if l.Events[i].State == hookgate.LeasedOpen {
			n++
		}
	}
	return n
}

// group names the events of a lease that wait for each other; alone: e waits for nobody.
func (st *state) group(e *hookgate.LeasedEvent) (name string, alone bool) {
	return e.OrderingKey, e.OrderingKey == "" && !st.ordersAll()
}

// choose returns the indices of the open events of a lease that a call names. Events that the lease
// has given back are an error for an ack, and those that were acknowledged for a nack. The reverse
// is a repeated call.
func (st *state) choose(l *hookgate.Lease, ids []int64, upTo int64, ack bool) ([]int, error) {
	chosen := make([]bool, len(l.Events))
	for i := range l.Events {
		e := &l.Events[i]
		chosen[i] = len(ids) == 0 && e.Event <= upTo && e.State == hookgate.LeasedOpen
	}
	for _, id := range ids {
		i, found := slices.BinarySearchFunc(l.Events, id, func(e hookgate.LeasedEvent, id int64) int {
			return cmp.Compare(e.Event, id)
		})
		if !found {
			return nil, &AckError{Event: id}
		}
		switch state := l.Events[i].State; {
		case state == hookgate.LeasedOpen:
			chosen[i] = true
		case ack != (state == hookgate.LeasedAcked):
			return nil, ErrEnded
		}
	}
	var all []int
	before := map[string]int64{} // the first open event of each group that is not chosen
	for i := range l.Events {
		e := &l.Events[i]
		name, alone := st.group(e)
		switch first, waits := before[name]; {
		case e.State != hookgate.LeasedOpen:
		case chosen[i] && waits && !alone:
			return nil, &AckError{Event: e.Event, Before: first}
		case chosen[i]:
			all = append(all, i)
		case !waits && !alone:
			before[name] = e.Event
		}
	}
	return all, nil
}

// ack settles events of a lease.
func (st *state) ack(l *hookgate.Lease, ids []int64, upTo int64, now time.Time) error {
	chosen, err := st.choose(l, ids, upTo, true)
	for _, i := range chosen {
		e := &l.Events[i]
		st.record(l, e, hookgate.Attempt{Number: e.Attempts + 1, Outcome: hookgate.AttemptDelivered},
			"2xx", now)
		st.settle(l, e, hookgate.LeasedAcked)
		if e.Job != 0 {
			st.jobProgress(e.Job, func(j *hookgate.RedeliveryJob) { j.Delivered++ })
		}
	}
	st.drop(l)
	return err
}

// nack fails events of a lease. Later events of their keys are given back with them.
func (st *state) nack(l *hookgate.Lease, ids []int64, n Nack, now time.Time) error {
	chosen, err := st.choose(l, ids, 0, false)
	answer := hookgate.Answer{Verdict: hookgate.VerdictFailed, Delay: n.Delay, Reason: n.Reason}
	if n.Dead {
		answer.Verdict = hookgate.VerdictDead
	}
	for _, i := range chosen {
		if l.Events[i].State == hookgate.LeasedOpen { // else an earlier one of its key has failed
			st.fail(l, i, &answer, 0, now)
		}
	}
	st.drop(l)
	return err
}

// extend makes a lease end later, or earlier.
func (st *state) extend(l *hookgate.Lease, d time.Duration, now time.Time) {
	l.Until = now.Add(d)
	st.changed[l.ID], st.hard = l, true
}

// expire ends a lease that has run out. The client may be dead, or too slow for so many events. So
// nobody is charged unless the lease had one event.
func (st *state) expire(l *hookgate.Lease, now time.Time) {
	if len(l.Events) == 1 {
		answer := hookgate.Answer{Verdict: hookgate.VerdictFailed,
			Reason: "the lease ended without an acknowledgement"}
		st.fail(l, 0, &answer, 1, now)
		st.end(l)
		return
	}
	st.revoke(l, max(1, openEvents(l)/2), now)
}

// revoke ends a lease and gives its events back. The next lease of each has at most leaseMax
// events, if that is not 0.
func (st *state) revoke(l *hookgate.Lease, leaseMax int, now time.Time) {
	st.giveBack(l, l.Events, leaseMax, now)
	st.end(l)
}

// end removes a lease.
func (st *state) end(l *hookgate.Lease) {
	delete(st.leases, l.ID)
	delete(st.changed, l.ID)
	st.expired, st.hard = append(st.expired, l.ID), true
}

// drop forgets a lease without open events. The store keeps it for repeated calls.
func (st *state) drop(l *hookgate.Lease) {
	if openEvents(l) == 0 {
		delete(st.leases, l.ID)
	}
}

// record adds an attempt to the history.
func (st *state) record(l *hookgate.Lease, e *hookgate.LeasedEvent, a hookgate.Attempt,
	class string, now time.Time) {
	a.Event, a.Redelivery, a.At, a.Took = e.Event, e.Redelivery, now, now.Sub(l.Began)
	st.pending.Attempts = append(st.pending.Attempts, a)
	o := observation{class: class, took: a.Took}
	if a.Outcome != hookgate.AttemptFailed {
		// An id is the time at which the event was stored, a few milliseconds after its receipt.
		o.outcome, o.latency = string(a.Outcome), max(0, now.Sub(time.UnixMicro(e.Event)))
	}
	st.results = append(st.results, o)
}

// settle takes an event whose delivery has ended. The caller has recorded the attempt.
func (st *state) settle(l *hookgate.Lease, e *hookgate.LeasedEvent, to hookgate.LeasedState) {
	id := hookgate.EventRedelivery{Event: e.Event, Redelivery: e.Redelivery}
	st.pending.Settle(id)
	if e.Excepted {
		st.Exceptions--
		delete(st.rows, id)
	} else if e.Job != 0 {
		// If the subscription has pushed, an event that the job has again can have an exception.
		st.due = slices.DeleteFunc(st.due, func(x dueException) bool {
			return x.Event == id.Event && x.Redelivery == id.Redelivery
		})
	}
	if e.Redelivery == st.numberOf(e.Event) {
		delete(st.excepted, e.Event)
		if e.Event > st.position {
			st.settled[e.Event] = true
		}
	}
	if k := st.keys[e.OrderingKey]; k != nil && e.Path && k.held && e.Event > k.after {
		k.excepted = false
		st.hold(k, e.Event, 0)
	} // else the key is not held, or a person was faster
	st.release(l, e, to)
}

// fail takes a failed attempt of the event at an index. leaseMax bounds its next lease; 0: no
// bound.
func (st *state) fail(l *hookgate.Lease, i int, answer *hookgate.Answer, leaseMax int,
	now time.Time) {
	e := &l.Events[i]
	before, gone := st.row(e)
	if gone {
		st.release(l, e, hookgate.LeasedGivenBack) // a person has settled it
		return
	}
	x := st.policy.Retry.Failed(before, answer, now, st.clock())
	if x.State == hookgate.ExceptionParked && st.policy.DeadLetter {
		x.State = hookgate.ExceptionDead
	}
	x.Event, x.Redelivery, x.LeaseMax = e.Event, e.Redelivery, leaseMax
	if e.Path && !e.Excepted {
		x.OrderingKey = e.OrderingKey
	} // else it stays: a person may have retried a dead letter, which holds nobody
	a := hookgate.Attempt{Number: x.Attempts, Outcome: hookgate.AttemptFailed, Reason: answer.Reason}
	switch x.State {
	case hookgate.ExceptionDead:
		a.Outcome, x.OrderingKey = hookgate.AttemptDeadLettered, ""
	case hookgate.ExceptionParked:
		a.Outcome = hookgate.AttemptParked
	}
	st.record(l, e, a, "error", now)
	if e.Job != 0 {
		defer st.jobProgress(e.Job, func(j *hookgate.RedeliveryJob) { j.Failed++ })
	}
	if x.State == hookgate.ExceptionDead {
		st.settle(l, e, hookgate.LeasedGivenBack)
		st.pending.Except(x, e.Excepted)
		return
	}
	st.except(x, e.Excepted)
	if e.Path && st.ordersAll() {
		st.position = e.Event - 1
		st.excepted[e.Event] = true
	}
	if k := st.keys[e.OrderingKey]; k != nil && e.Path && (!k.held || e.Event > k.after) &&
		x.OrderingKey != "" {
		st.hold(k, e.Event-1, 0)
		k.excepted = true
	}
	st.release(l, e, hookgate.LeasedGivenBack)
	st.follow(l, i, now)
}

// follow gives back the events of a lease that wait for a failed one.
func (st *state) follow(l *hookgate.Lease, failed int, now time.Time) {
	name, alone := st.group(&l.Events[failed])
	for i := failed + 1; i < len(l.Events) && !alone; i++ {
		e := &l.Events[i]
		if other, _ := st.group(e); e.State != hookgate.LeasedOpen || other != name {
			continue
		}
		if e.Path {
			st.release(l, e, hookgate.LeasedGivenBack) // the failed event holds it
		} else {
			st.giveBack(l, l.Events[i:i+1], 0, now)
		}
	}
}

// giveBack gives back the open events among some of a lease.
func (st *state) giveBack(l *hookgate.Lease, events []hookgate.LeasedEvent, leaseMax int,
	now time.Time) {
	created, holds := deliver.GiveBack(&hookgate.Lease{Events: events}, st.Definition.Order, leaseMax,
		now, st.clock())
	for _, x := range created {
		st.except(x, false)
		if st.ordersAll() && x.Event > st.Cursor && x.Redelivery == st.numberOf(x.Event) {
			st.excepted[x.Event] = true
		}
	}
	for _, h := range holds {
		st.hold(st.keys[h.OrderingKey], h.After, leaseMax)
	}
	first := true
	for i := range events {
		e := &events[i]
		if e.State != hookgate.LeasedOpen {
			continue
		}
		if first && e.Path && st.ordersAll() {
			st.position = e.Event - 1
			first = false
		}
		if x, gone := st.row(e); e.Excepted && !gone {
			st.dueAt(now)
			if leaseMax > 0 {
				x.LeaseMax = leaseMax
				st.except(x, true)
			}
		}
		st.release(l, e, hookgate.LeasedGivenBack)
		if e.Job != 0 {
			st.jobProgress(e.Job, func(j *hookgate.RedeliveryJob) { j.Failed++ })
		}
	}
}

// row returns the exception of a leased event, or the zero value if it has none. gone reports that
// a person has settled it. The line has read the rows.
func (st *state) row(e *hookgate.LeasedEvent) (x hookgate.Exception, gone bool) {
	if !e.Excepted {
		return hookgate.Exception{}, false
	}
	x = st.rows[hookgate.EventRedelivery{Event: e.Event, Redelivery: e.Redelivery}]
	return x, x.State == "" || x.State == hookgate.ExceptionDead
}

// missingRows returns the open events of a lease whose exception is not known.
func (st *state) missingRows(l *hookgate.Lease) (ids []int64) {
	for i := range l.Events {
		e := &l.Events[i]
		id := hookgate.EventRedelivery{Event: e.Event, Redelivery: e.Redelivery}
		if _, known := st.rows[id]; e.Excepted && e.State == hookgate.LeasedOpen && !known {
			ids = append(ids, e.Event)
		}
	}
	return ids
}

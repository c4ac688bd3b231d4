package pull

import (
	"context"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/deliver"
)

// fresh takes new events of the log.
func (t *taker) fresh(ctx context.Context) {
	st := t.st
	if st.Exceptions >= maxExceptions || st.ordersAll() && !t.mayFollow() {
		return
	}
	for size := max(16, t.room()); t.room() > 0; size = min(2*size, pageEvents) {
		ask := size
		if t.patient && len(st.leased) > 0 && len(t.lease.Events) == 0 && size > peekEvents {
			ask, size = peekEvents, (size-peekEvents)/2 // the rest with the next page
		}
		if len(t.page) == 0 && !t.readPage(ctx, ask) {
			return
		}
		if t.stalls() {
			t.stalled = true
			return
		}
		for len(t.page) > 0 {
			if !t.pass(&t.page[0]) {
				return
			}
			t.page = t.page[1:]
		}
		st.position = max(st.position, t.next)
	}
}

// stalls reports that the next events are all of keys that other leases have. To pass them would
// leave a hold on each key, and reading events by key costs much more than reading them in the
// order of the log. The client waits a little: the leases may end.
func (t *taker) stalls() bool {
	if !t.patient || len(t.lease.Events) > 0 || len(t.page) < peekEvents {
		return false
	}
	for i := range t.page {
		if k := t.st.keys[t.st.slotOf(&t.page[i])]; k == nil || k.leased == 0 {
			return false
		}
	}
	return true
}

// mayFollow reports whether new events may join the lease with OrderAll: nothing is waiting or
// parked but the exception that the lease begins with.
func (t *taker) mayFollow() bool {
	if len(t.lease.Events) > 0 {
		return t.behind && len(t.st.excepted) <= 1
	}
	return len(t.st.excepted) == 0
}

// readPage reads the next page of the log. It reports whether there may be an event in it or after
// it.
func (t *taker) readPage(ctx context.Context, size int) bool {
	if !t.more {
		return false
	}
	page, err := t.line.s.log.ReadLog(ctx, hookgate.LogQuery{After: t.st.position,
		Max: min(size, pageEvents), MaxBytes: max(t.budget(), leastBytes)})
	if err != nil {
		t.err = err
		return false
	}
	t.page, t.next, t.more = page.Events, page.Next, page.More
	return true
}

// pass passes the next event of the log: the lease takes it, unless it does not match, is settled,
// has an exception, or stands behind a hold. It reports false if the lease is full.
func (t *taker) pass(e *hookgate.Event) bool {
	st := t.st
	number := st.numberOf(e.ID)
	redelivery, leased := st.leased[e.ID]
	switch k := st.keys[st.slotOf(e)]; {
	case t.scanned >= maxScan:
		return false
	case !st.Definition.Filter.Match(e.Source, e.EventType) || st.settled[e.ID] ||
		st.excepted[e.ID] || leased && redelivery == number:
	case k != nil && (k.held || k.lease != t.lease.ID || !k.path):
		st.passBehind(k, e.ID)
	case leased:
		// A client works on another redelivery of it.
		st.except(hookgate.Exception{Event: e.ID, Redelivery: number, State: hookgate.ExceptionWaiting,
			Due: t.now, Since: st.clock(), Changed: t.now,
			Reason: "another redelivery of the event is leased"}, false)
	case !t.fits(e):
		return false
	default:
		t.add(e, hookgate.LeasedEvent{Redelivery: number, Path: true})
	}
	t.scanned++
	st.position = max(st.position, e.ID)
	return true
}

// job takes events of the oldest redelivery job.
func (t *taker) job(ctx context.Context) {
	st := t.st
	for t.room() > 0 && len(st.Jobs) > 0 {
		j := st.Jobs[0]
		if st.ordersAll() && (len(st.excepted) > 0 || len(t.lease.Events) > 0) ||
			st.jobEnded[j.ID] || t.now.Before(t.line.jobWait[j.ID]) {
			return
		}
		most := min(t.room(), pageEvents)
		if len(j.Events) > 0 {
			most = min(most, namedEvents)
		}
		if j.Rate > 0 {
			most = min(most, j.Rate)
		}
		after := max(j.Position, j.After)
		events, next, ended, err := deliver.ReadJob(ctx, t.line.s.log, &j, &st.Definition.Filter, after,
			most, t.budget())
		if err != nil {
			t.err = err
			return
		}
		t.scanned += 1 + len(events)
		if len(events) == 0 && !ended {
			t.scanned += most // all of them were left out
		}
		taken := 0
		for i := range events {
			if !t.takeJob(&events[i], &j) {
				next, ended = events[i].ID-1, false
				break
			}
			taken++
		}
		if j.Rate > 0 {
			t.line.jobWait[j.ID] = t.now.Add(time.Duration(taken) * time.Second / time.Duration(j.Rate))
		}
		st.jobEnded[j.ID] = ended
		if next <= after && (!ended || st.jobLeased[j.ID] > 0) {
			return // the next event is in another lease, or the last ones are leased
		}
		st.jobProgress(j.ID, func(j *hookgate.RedeliveryJob) { j.Position = max(j.Position, next) })
		st.hard = true
	}
}

// takeJob takes an event of a job. It reports whether it could.
func (t *taker) takeJob(e *hookgate.Event, j *hookgate.RedeliveryJob) bool {
	k := t.st.keys[t.st.slotOf(e)]
	if t.st.isLeased(e.ID) || k != nil && k.leased > 0 && (k.lease != t.lease.ID || k.path) ||
		!t.fits(e) {
		return false
	}
	t.add(e, hookgate.LeasedEvent{Redelivery: j.Redelivery, Job: j.ID})
	return true
}

package pull

import (
	"slices"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/deliver/internal/changes"
)

// maxIdle bounds how much time between two commits counts against the time to retry.
const maxIdle = 2 * time.Minute

// state is the state of a subscription, with the changes that are not committed. Only the goroutine
// of its line uses it. If a commit fails, the line drops the state and reads it again.
//
// Each event that the subscription has passed and that is not settled is in one of these places:
//
//	lease ──(ack)──► settled
//	  │  └─(nack, or the end of a lease with one event)──► exception ──(due)──► lease
//	  └────(the lease ends)──► behind the hold of its key, or an exception that is due ──► lease
type state struct {
	hookgate.PullState
	policy Policy
	// stopped reports that delivery waits, for all subscriptions.
	stopped bool
	// idle is the time between the last commit and the reading of the state, by the store's clock.
	// readAt is when that was, and at when the round began, by the clock of this process.
	idle       time.Duration
	readAt, at time.Time
	// position is the id up to which events have been passed. With OrderAll the cursor is before it
	// while events are leased.
	position int64

	leases map[string]*hookgate.Lease
	leased map[int64]int64 // open events, with their redelivery
	keys   map[string]*key
	// free are the held keys without a lease and without an exception, in the order in which they
	// became free. Some may have changed since.
	free []*key
	// settled and excepted are events above the cursor.
	settled, excepted map[int64]bool
	// rows are exceptions of leased events. The zero value means that the store has none.
	rows map[hookgate.EventRedelivery]hookgate.Exception
	// due are exceptions that are due and not leased yet. nextDue is when Due may return another one;
	// zero: never.
	due     []dueException
	nextDue time.Time
	// jobLeased counts the open events of each redelivery job. jobEnded are the jobs of which all
	// events have been leased.
	jobLeased map[int64]int
	jobEnded  map[int64]bool

	// The changes that are not committed. changed are leases, and hard reports that somebody waits
	// for the commit.
	pending *changes.Set
	changed map[string]*hookgate.Lease
	expired []string
	hard    bool
	results []observation
}

// key is an ordering key that is held or leased.
type key struct {
	name string
	// held reports that the key has a hold. after and leaseMax are of the hold. excepted reports that
	// an event of the key is waiting or parked.
	held, excepted bool
	after          int64
	leaseMax       int
	// lastSeen is the last event of the key that was passed, or a higher id if that is not known.
	lastSeen int64
	// lease is the lease that has the slot of the key, and leased the number of its open events of
	// the key. path reports that they are on the way of the cursor.
	lease  string
	leased int
	path   bool
	queued bool // in state.free
}

// observation is what the Observer learns after the commit.
type observation struct {
	class   string
	took    time.Duration
	outcome string // empty: not settled
	latency time.Duration
}

// newState returns the state that a store has returned.
func newState(p *hookgate.PullState, policy Policy) *state {
	st := &state{PullState: *p, policy: policy, position: p.Cursor,
		leases: map[string]*hookgate.Lease{}, leased: map[int64]int64{}, keys: map[string]*key{},
		settled: map[int64]bool{}, excepted: map[int64]bool{},
		rows:      map[hookgate.EventRedelivery]hookgate.Exception{},
		jobLeased: map[int64]int{}, jobEnded: map[int64]bool{},
		pending: changes.New(), changed: map[string]*hookgate.Lease{}}
	for _, id := range p.Settled {
		st.settled[id] = true
	}
	for _, id := range p.Excepted {
		st.excepted[id] = true
	}
	for _, h := range p.Holds {
		k := st.keyNamed(h.OrderingKey)
		k.held, k.excepted, k.after, k.leaseMax = true, h.Excepted, h.After, h.LeaseMax
		k.lastSeen = p.Cursor
	}
	for i := range p.Leases {
		l := &p.Leases[i]
		st.leases[l.ID] = l
		for j := range l.Events {
			if l.Events[j].State == hookgate.LeasedOpen {
				st.occupy(l, &l.Events[j])
			}
		}
	}
	for _, h := range p.Holds {
		st.vacated(st.keys[h.OrderingKey])
	}
	if p.Exceptions > 0 {
		st.nextDue = p.Now
	}
	// The maps have these now.
	st.PullState.Settled, st.PullState.Excepted, st.Holds, st.Leases = nil, nil, nil, nil
	return st
}

func (st *state) ordersAll() bool { return st.Definition.Order == hookgate.OrderAll }

// slotOf returns the ordering key whose slot an event needs; empty: none.
func (st *state) slotOf(e *hookgate.Event) string {
	if st.Definition.Order == hookgate.OrderKey && e.Keyed {
		return e.OrderingKey
	}
	return ""
}

// numberOf returns the redelivery number of an event on the way of the cursor.
func (st *state) numberOf(event int64) int64 {
	if event <= st.RedeliverUntil {
		return st.Redelivery
	}
	return 0
}

// isLeased reports whether an event is open in a lease, with any redelivery.
func (st *state) isLeased(event int64) bool {
	_, is := st.leased[event]
	return is
}

// keyNamed returns a key, which is free if it was not known.
func (st *state) keyNamed(name string) *key {
	k := st.keys[name]
	if k == nil {
		k = &key{name: name}
		st.keys[name] = k
	}
	return k
}

// occupy notes that an event of a lease is open.
func (st *state) occupy(l *hookgate.Lease, e *hookgate.LeasedEvent) {
	st.leased[e.Event] = e.Redelivery
	if e.Job != 0 {
		st.jobLeased[e.Job]++
	}
	if e.OrderingKey != "" {
		k := st.keyNamed(e.OrderingKey)
		k.lease, k.path = l.ID, e.Path
		k.leased++
		if e.Path {
			k.lastSeen = max(k.lastSeen, e.Event)
		}
	}
	if e.Path && st.ordersAll() {
		st.position = max(st.position, e.Event)
	}
}

// release notes that an event of a lease is not open any more. The hold of its key is up to date.
func (st *state) release(l *hookgate.Lease, e *hookgate.LeasedEvent, to hookgate.LeasedState) {
	e.State = to
	st.changed[l.ID], st.hard = l, true
	delete(st.leased, e.Event)
	if e.Job != 0 {
		st.jobLeased[e.Job]--
	}
	if e.OrderingKey != "" {
		k := st.keys[e.OrderingKey]
		k.leased--
		st.vacated(k)
	}
}

// vacated goes on with a key if no event of it is leased.
func (st *state) vacated(k *key) {
	if k.leased > 0 {
		return
	}
	k.lease = ""
	switch {
	case !k.held:
		delete(st.keys, k.name)
	case k.excepted: // until the exception is due, or a person settles it
	case k.after >= k.lastSeen:
		// Every event of the key that was passed is settled.
		st.pending.Free(k.name)
		delete(st.keys, k.name)
	case !k.queued:
		k.queued = true
		st.free = append(st.free, k)
	}
}

// hold holds a key, or raises the After of its hold.
func (st *state) hold(k *key, after int64, leaseMax int) {
	k.held, k.after, k.leaseMax = true, max(k.after, after), leaseMax
	st.pending.Hold(k.name, k.after, leaseMax)
}

// passBehind passes an event whose key is held or leased. It stands behind the hold of the key.
func (st *state) passBehind(k *key, event int64) {
	if !k.held {
		after := event - 1
		if k.path {
			// The lease can run out, and a hold's After never falls: it must be before the first event
			// that is not settled.
			l := st.leases[k.lease]
			i := slices.IndexFunc(l.Events, func(e hookgate.LeasedEvent) bool {
				return e.OrderingKey == k.name && e.State == hookgate.LeasedOpen
			})
			after = l.Events[i].Event - 1
		}
		st.hold(k, after, 0)
	}
	k.lastSeen = max(k.lastSeen, event)
	st.vacated(k)
}

// except stores an exception that is new or has changed.
func (st *state) except(e hookgate.Exception, stored bool) {
	st.pending.Except(e, stored)
	st.hard = true
	if !stored {
		st.Exceptions++
	}
	if e.State == hookgate.ExceptionWaiting {
		st.dueAt(e.Due)
	}
}

// dueAt notes that an exception is due at a time.
func (st *state) dueAt(t time.Time) {
	if st.nextDue.IsZero() || t.Before(st.nextDue) {
		st.nextDue = t
	}
}

// jobProgress changes a redelivery job that has not ended.
func (st *state) jobProgress(id int64, change func(*hookgate.RedeliveryJob)) {
	for i := range st.Jobs {
		j := &st.Jobs[i]
		if j.ID != id {
			continue
		}
		change(j)
		done := st.jobEnded[id] && st.jobLeased[id] == 0
		st.pending.Jobs[id] = hookgate.JobProgress{ID: id, Position: j.Position, Delivered: j.Delivered,
			Failed: j.Failed, Done: done}
		if done {
			st.Jobs = slices.Delete(st.Jobs, i, i+1)
		}
		return
	}
}

// clock returns the reading of the subscription's clock. It runs only while clients call.
//
// It counts what the store's clock says of the time before the state was read, and what the clock
// of this process says of the time since. The difference of the two clocks is known only roughly,
// and counting it with each commit would let this clock run too fast.
func (st *state) clock() time.Duration {
	if st.Paused || st.stopped || st.PulledAt.IsZero() {
		return st.Clock
	}
	return st.Clock + min(max(0, st.idle)+st.at.Sub(st.readAt), maxIdle)
}

// cursor returns the cursor to commit.
func (st *state) cursor() int64 {
	cursor := st.position
	if st.ordersAll() {
		for _, l := range st.leases {
			for _, e := range l.Events {
				if e.Path && e.State == hookgate.LeasedOpen {
					cursor = min(cursor, e.Event-1)
				}
			}
		}
	}
	return max(cursor, st.Cursor)
}

// commit returns the changes.
func (st *state) commit() *hookgate.Results {
	r := st.pending.Results(st.cursor(), st.clock())
	for _, l := range st.changed {
		stored := *l
		stored.Events = slices.Clone(l.Events)
		r.Leases = append(r.Leases, stored)
	}
	r.Expired = st.expired
	return r
}

// committed notes that the changes are stored.
func (st *state) committed(r *hookgate.Results, epoch hookgate.Epoch, at time.Time) {
	st.Epoch, st.PulledAt, st.Cursor, st.Clock = epoch, at, r.Cursor, r.Clock
	st.idle, st.readAt = 0, st.at
	st.pending, st.changed = changes.New(), map[string]*hookgate.Lease{}
	st.expired, st.hard, st.results = nil, false, nil
	for _, above := range []map[int64]bool{st.settled, st.excepted} {
		for id := range above {
			if id <= st.Cursor {
				delete(above, id)
			}
		}
	}
}

package memory

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"github.com/hookgate/hookgate"
)

// subscription is one subscription with all its state.
type subscription struct {
	hookgate.SubscriptionDefinition
	revision, version int64
	cursor            int64
	epoch             hookgate.Epoch
	owner             string
	leaseUntil        time.Time
	clock             time.Duration

	pausedAt              time.Time
	pausedBy, pauseReason string
	brokenSince           time.Time
	createdAt, removedAt  time.Time
	deliveredAt, pulledAt time.Time
	idle                  time.Duration // of a temporary subscription

	// Events up to redeliverUntil have the number redelivery. highest is the highest number that was
	// ever used.
	redelivery, redeliverUntil, highest int64

	exceptions map[hookgate.EventRedelivery]*hookgate.Exception
	holds      map[string]hookgate.Hold // by ordering key, without Excepted
	attempts   map[hookgate.EventRedelivery][]hookgate.Attempt
	jobs       []*hookgate.StoredJob // in the order of ids
	leases     map[string]*hookgate.Lease
}

// path returns the number with which an event is delivered in the normal course.
func (sub *subscription) path(event int64) hookgate.EventRedelivery {
	id := hookgate.EventRedelivery{Event: event}
	if event <= sub.redeliverUntil {
		id.Redelivery = sub.redelivery
	}
	return id
}

// settled reports whether a delivery was settled.
func (sub *subscription) settled(id hookgate.EventRedelivery) bool {
	return slices.ContainsFunc(sub.attempts[id], func(a hookgate.Attempt) bool {
		return a.Outcome.Settles()
	})
}

// tried reports whether the history has an attempt.
func (sub *subscription) tried(id hookgate.EventRedelivery, number int) bool {
	return slices.ContainsFunc(sub.attempts[id], func(a hookgate.Attempt) bool {
		return a.Number == number
	})
}

// add adds an attempt to the history unless it is there.
func (sub *subscription) add(a hookgate.Attempt) {
	id := hookgate.EventRedelivery{Event: a.Event, Redelivery: a.Redelivery}
	if sub.tried(id, a.Number) {
		return
	}
	sub.attempts[id] = append(sub.attempts[id], a)
}

// unsettled reports whether an exception is waiting or parked.
func unsettled(e *hookgate.Exception) bool { return e.State != hookgate.ExceptionDead }

// count returns the number of exceptions that are waiting or parked.
func (sub *subscription) count() (n int) {
	for _, e := range sub.exceptions {
		if unsettled(e) {
			n++
		}
	}
	return n
}

// held returns all holds by key.
func (sub *subscription) held() (holds []hookgate.Hold) {
	excepted := map[string]bool{}
	for _, e := range sub.exceptions {
		if unsettled(e) {
			excepted[e.OrderingKey] = true
		}
	}
	for _, key := range slices.Sorted(maps.Keys(sub.holds)) {
		h := sub.holds[key]
		h.Excepted = excepted[key]
		holds = append(holds, h)
	}
	return holds
}

// runningOwner returns the owner whose lease is running, or "".
func (sub *subscription) runningOwner() string {
	if time.Now().Before(sub.leaseUntil) {
		return sub.owner
	}
	return ""
}

// Define implements hookgate.Subscriptions.
func (s *Store) Define(ctx context.Context, defs []hookgate.SubscriptionDefinition, complete bool) (
	revisions []int64, err error) {
	err = s.do(ctx, "Define", "", func() error {
		for _, def := range defs {
			sub := s.subscriptions[def.Name]
			if sub == nil || sub.Order == def.Order {
				continue
			}
			n, leases := sub.count(), len(sub.openLeases())
			if n > 0 || leases > 0 || len(sub.holds) > 0 {
				return &hookgate.OrderError{Subscription: def.Name, Exceptions: n, Leases: leases}
			}
		}
		named := map[string]bool{}
		for _, def := range defs {
			named[def.Name] = true
			sub := s.subscriptions[def.Name]
			if sub == nil {
				sub = s.create(def)
			} else if sub.Definition != def.Definition {
				sub.revision++
				sub.version++
				sub.SubscriptionDefinition = stored(def)
			}
			sub.removedAt, sub.idle = time.Time{}, 0
			revisions = append(revisions, sub.revision)
		}
		for name, sub := range s.subscriptions {
			if complete && !named[name] && sub.removedAt.IsZero() {
				sub.removedAt = s.now()
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return revisions, nil
}

// create creates a subscription.
func (s *Store) create(def hookgate.SubscriptionDefinition) *subscription {
	s.epoch++
	sub := &subscription{SubscriptionDefinition: stored(def), revision: 1, epoch: s.epoch,
		cursor:    s.place(def.Start),
		createdAt: s.now(), exceptions: map[hookgate.EventRedelivery]*hookgate.Exception{},
		holds: map[string]hookgate.Hold{}, leases: map[string]*hookgate.Lease{},
		attempts: map[hookgate.EventRedelivery][]hookgate.Attempt{}}
	s.subscriptions[def.Name] = sub
	return sub
}

// stored returns the part of a definition that is stored.
func stored(def hookgate.SubscriptionDefinition) hookgate.SubscriptionDefinition {
	def.Start = hookgate.Start{}
	def.Filter = hookgate.Filter{Sources: slices.Clone(def.Filter.Sources),
		Types: slices.Clone(def.Filter.Types)}
	return def
}

// place returns the cursor for a start.
func (s *Store) place(start hookgate.Start) int64 {
	switch start.At {
	case hookgate.StartBeginning:
		return s.horizon
	case hookgate.StartAfter:
		return min(start.After, s.last)
	case hookgate.StartTime:
		for i, e := range s.events {
			if e.kept || e.StoredAt.Before(start.Time) {
				continue
			}
			if i > 0 {
				return max(s.horizon, s.events[i-1].ID)
			}
			return s.horizon
		}
	}
	return s.last
}

// Renew implements hookgate.Subscriptions. A lease that has run out is extended too, unless another
// process has taken the subscription.
func (s *Store) Renew(ctx context.Context, owner string, ttl time.Duration) (r hookgate.Roster,
	err error) {
	err = s.do(ctx, "Renew", "", func() error {
		now := time.Now()
		s.seen[owner] = now.Add(ttl)
		for _, until := range s.seen {
			if now.Before(until) {
				r.Processes++
			}
		}
		for _, name := range slices.Sorted(maps.Keys(s.subscriptions)) {
			sub := s.subscriptions[name]
			if sub.owner == owner {
				sub.leaseUntil = now.Add(ttl)
			}
			r.Subscriptions = append(r.Subscriptions, hookgate.RosterEntry{Name: name,
				Owner: sub.runningOwner(), Epoch: sub.epoch, Revision: sub.revision, Version: sub.version})
		}
		return nil
	})
	if err != nil {
		return hookgate.Roster{}, err
	}
	return r, nil
}

// Acquire implements hookgate.Subscriptions.
func (s *Store) Acquire(ctx context.Context, name, owner string, ttl time.Duration,
	revision int64) (state *hookgate.SubscriptionState, err error) {
	err = s.do(ctx, "Acquire", name, func() error {
		sub := s.subscriptions[name]
		if sub == nil {
			return hookgate.ErrNotFound
		}
		if revision < sub.revision {
			return hookgate.ErrRevision
		}
		if other := sub.runningOwner(); other != "" && other != owner {
			return hookgate.ErrLeased
		}
		s.epoch++
		sub.epoch, sub.owner, sub.leaseUntil = s.epoch, owner, time.Now().Add(ttl)
		state = sub.state()
		return nil
	})
	if err != nil {
		return nil, err
	}
	return state, nil
}

// state returns the state for a new owner.
func (sub *subscription) state() *hookgate.SubscriptionState {
	state := &hookgate.SubscriptionState{Epoch: sub.epoch, Version: sub.version, Cursor: sub.cursor,
		Holds: sub.held(), Exceptions: sub.count(), Clock: sub.clock, Paused: !sub.pausedAt.IsZero(),
		Redelivery: sub.redelivery, RedeliverUntil: sub.redeliverUntil}
	for id := range sub.attempts {
		if id.Event > sub.cursor && id == sub.path(id.Event) && sub.settled(id) {
			state.Settled = append(state.Settled, id.Event)
		}
	}
	for id, e := range sub.exceptions {
		if id.Event > sub.cursor && id == sub.path(id.Event) && unsettled(e) {
			state.Excepted = append(state.Excepted, id.Event)
		}
	}
	slices.Sort(state.Settled)
	slices.Sort(state.Excepted)
	state.Jobs, state.Leases = sub.running(), sub.openLeases()
	return state
}

// running returns the redelivery jobs that have not ended.
func (sub *subscription) running() (jobs []hookgate.RedeliveryJob) {
	for _, job := range sub.jobs {
		if job.EndedAt.IsZero() {
			jobs = append(jobs, cloneJob(job.RedeliveryJob))
		}
	}
	return jobs
}

// Release implements hookgate.Subscriptions.
func (s *Store) Release(ctx context.Context, name string, epoch hookgate.Epoch) error {
	return s.do(ctx, "Release", name, func() error {
		if sub := s.subscriptions[name]; sub != nil && sub.epoch == epoch {
			sub.owner, sub.leaseUntil = "", time.Time{}
		}
		return nil
	})
}

// Due implements hookgate.Subscriptions.
func (s *Store) Due(ctx context.Context, name string, q hookgate.DueQuery) (due hookgate.Due,
	err error) {
	err = s.do(ctx, "Due", name, func() error {
		sub := s.subscriptions[name]
		if sub == nil {
			return hookgate.ErrNotFound
		}
		due.Count, due.Held = sub.count(), len(sub.holds)
		due.Version, due.Paused, due.Jobs = sub.version, !sub.pausedAt.IsZero(), sub.running()
		var waiting []hookgate.Exception
		for id, e := range sub.exceptions {
			if e.State == hookgate.ExceptionWaiting && !slices.Contains(q.NotEvents, id) {
				waiting = append(waiting, *e)
			}
		}
		slices.SortFunc(waiting, func(a, b hookgate.Exception) int {
			return cmp.Or(a.Due.Compare(b.Due), cmp.Compare(a.Event, b.Event),
				cmp.Compare(a.Redelivery, b.Redelivery))
		})
		for _, e := range waiting {
			if e.Due.After(q.Now) || len(due.Exceptions) == q.Max {
				due.Next = e.Due
				break
			}
			due.Exceptions = append(due.Exceptions, e)
		}
		for _, h := range sub.held() {
			if !h.Excepted && !slices.Contains(q.NotKeys, h.OrderingKey) &&
				len(due.Holds) < cmp.Or(q.MaxHolds, q.Max) {
				due.Holds = append(due.Holds, h)
			}
		}
		return nil
	})
	if err != nil {
		return hookgate.Due{}, err
	}
	return due, nil
}

// Save implements hookgate.Subscriptions.
func (s *Store) Save(ctx context.Context, name string, epoch hookgate.Epoch, r *hookgate.Results) (
	version int64, err error) {
	err = s.do(ctx, "Save", name, func() error {
		sub := s.subscriptions[name]
		if sub == nil || sub.epoch != epoch {
			return hookgate.ErrFenced
		}
		version = sub.version
		s.store(sub, r)
		return nil
	})
	if err != nil {
		return 0, err
	}
	return version, nil
}

// store stores results.
func (s *Store) store(sub *subscription, r *hookgate.Results) {
	sub.saveExceptions(r)
	for _, a := range r.Attempts {
		sub.add(a)
		if a.Outcome == hookgate.AttemptDelivered && a.At.After(sub.deliveredAt) {
			sub.deliveredAt = a.At
		}
		if a.Outcome.Settles() && a.Outcome != hookgate.AttemptDeadLettered {
			delete(sub.exceptions, hookgate.EventRedelivery{Event: a.Event, Redelivery: a.Redelivery})
		}
	}
	for _, h := range r.Holds {
		h.After = max(h.After, sub.holds[h.OrderingKey].After)
		sub.holds[h.OrderingKey] = h
	}
	for _, key := range r.Freed {
		delete(sub.holds, key)
	}
	for i := range r.Leases {
		sub.saveLease(&r.Leases[i])
	}
	for _, id := range r.Expired {
		delete(sub.leases, id)
	}
	sub.cursor, sub.clock = max(sub.cursor, r.Cursor), max(sub.clock, r.Clock)
	for _, p := range r.Jobs {
		s.saveProgress(sub, p)
	}
	if r.Pause != "" && sub.pausedAt.IsZero() {
		sub.pausedAt, sub.pausedBy, sub.pauseReason = s.now(), "", r.Pause
	}
	if r.BrokenSince != nil {
		sub.brokenSince = *r.BrokenSince
	}
}

// saveExceptions stores new and updated exceptions. It comes before the attempts of the same
// results, because a dead exception comes together with the attempt that settles it.
func (sub *subscription) saveExceptions(r *hookgate.Results) {
	for _, e := range r.Created {
		id := hookgate.EventRedelivery{Event: e.Event, Redelivery: e.Redelivery}
		if sub.exceptions[id] == nil && !sub.settled(id) {
			sub.exceptions[id] = &e
		}
	}
	for _, e := range r.Updated {
		id := hookgate.EventRedelivery{Event: e.Event, Redelivery: e.Redelivery}
		before := sub.exceptions[id]
		if before == nil || !unsettled(before) {
			continue // a person has settled it
		}
		// If the history has the attempt, these results are saved again. Meanwhile a person may have
		// retried the event, so its exception stays as it is.
		again := slices.ContainsFunc(r.Attempts, func(a hookgate.Attempt) bool {
			return a.Event == e.Event && a.Redelivery == e.Redelivery && sub.tried(id, a.Number)
		})
		if !again {
			sub.exceptions[id] = &e
		}
	}
}

func (s *Store) saveProgress(sub *subscription, p hookgate.JobProgress) {
	for _, job := range sub.jobs {
		if job.ID != p.ID || !job.EndedAt.IsZero() {
			continue
		}
		job.Position, job.Delivered, job.Failed = p.Position, p.Delivered, p.Failed
		if p.Done {
			job.EndedAt = s.now()
		}
	}
}

func cloneJob(job hookgate.RedeliveryJob) hookgate.RedeliveryJob {
	job.Events = slices.Clone(job.Events)
	job.Filter.Sources, job.Filter.Types = slices.Clone(job.Filter.Sources),
		slices.Clone(job.Filter.Types)
	return job
}

package pull

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"time"

	"github.com/hookgate/hookgate"
)

const (
	// heartbeat is how often a line commits although nothing has changed, so that the store knows
	// that clients call. passEvery is how often it commits that the cursor has passed events that
	// nobody gets.
	heartbeat, passEvery = time.Minute, 10 * time.Second
	// storeTimeout bounds one call of the store.
	storeTimeout = time.Minute
	// maxTries bounds how often a call is carried out when the outcome of its commit is unknown.
	maxTries = 3
	// quiet is how long no event is leased after a Revoke, unless Wake ends it.
	quiet = 2 * time.Second
	// grace is how long a pull that does not wait may take to pass what nobody can get now.
	grace = time.Second
)

// errStale means that the state is not that of the store any more.
var errStale = errors.New("the state has changed")

// round applies the calls and pulls that wait, and commits once for all of them.
type round struct {
	line  *line
	calls []*call
	pulls []*waiter
	now   time.Time
	// again reports that the next round can begin at once. busy reports that no event can be leased
	// before a lease ends.
	again, busy bool
	committed   bool
	// stalledUntil is when the oldest pull looks further. See taker.stalls.
	stalledUntil time.Time
	// recheck reports that another process may have changed the state.
	recheck bool
	// away reports that the state could not be read.
	away bool
}

// call calls the store for at most storeTimeout.
func (r *round) call(f func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), storeTimeout)
	defer cancel()
	return f(ctx)
}

func (r *round) run() {
	l := r.line
	l.fresh = false
	r.recheck = l.s.config.Recheck > 0 && !time.Now().Before(l.recheckAt())
	err := r.apply()
	switch {
	case err == nil:
		if l.fences = 0; !time.Now().Before(l.retryAt) {
			l.failures = 0
		}
	case errors.Is(err, hookgate.ErrNotFound) || errors.Is(err, ErrNotPull):
		l.st = nil
		r.fail(err, 0)
	case errors.Is(err, hookgate.ErrFenced) || errors.Is(err, errStale):
		l.st = nil
		r.fenced()
	default:
		l.st = nil
		l.failures++
		pause := storeRetry.Pause(l.failures)
		l.retryAt = time.Now().Add(pause)
		if l.failures == 1 {
			problem := "the store does not answer for a pull subscription; pulls wait"
			if errors.Is(err, hookgate.ErrLeased) {
				problem = "a process pushes the events of this subscription; pulls wait"
			}
			l.s.config.Logger.Warn(problem, "subscription", l.name, "error", err, "retry_in", pause)
		}
		tries := maxTries
		if r.away {
			tries = 1
		}
		r.fail(err, tries)
	}
	r.expirePulls(err)
}

// apply runs the round. After an error the state is not that of the store.
func (r *round) apply() error {
	l := r.line
	if err := r.load(); err != nil {
		r.away = true
		return err
	}
	st := l.st
	st.at = time.Now()
	r.now = st.at.Add(l.offset)
	st.stopped = l.s.config.Paused()
	if err := r.resolve(); err != nil {
		return err
	}
	for _, lease := range expired(st, r.now) {
		if err := r.readRows(lease); err != nil {
			return err
		}
		st.expire(lease, r.now)
	}
	for _, c := range r.calls {
		if err := r.applyCall(c); err != nil {
			return err
		}
	}
	l.starved = nil
	taken := r.take()
	if errors.Is(taken, hookgate.ErrFenced) {
		return taken
	}
	if err := r.commit(); err != nil {
		return err
	}
	r.answer()
	return taken // the leases that were made before the error are stored
}

// load reads the state unless it is known. If nobody has changed it, what has been passed and is
// not stored stays known.
func (r *round) load() error {
	l := r.line
	if l.st != nil && !r.recheck {
		return nil
	}
	var p *hookgate.PullState
	began := time.Now()
	err := r.call(func(ctx context.Context) (err error) {
		p, err = l.s.store.PullState(ctx, l.name)
		return err
	})
	if err != nil {
		return err
	}
	l.readAt = time.Now()
	l.read = l.readAt.Sub(began)
	// The store read its clock at some time between. So its clock is that of this process if that is
	// possible, as it is for a store in this process.
	l.offset = max(min(0, p.Now.Sub(began)), p.Now.Sub(l.readAt))
	l.fresh = true
	if l.st != nil && l.st.Epoch == p.Epoch && l.st.Version == p.Version {
		return nil
	}
	if l.definition != p.Definition.Definition || l.definition == "" {
		policy, err := l.s.config.Policy(p.Definition.Definition)
		if err != nil {
			l.definition = ""
			return err
		}
		l.definition, l.policy = p.Definition.Definition, policy
	}
	l.st = newState(p, l.policy)
	l.st.idle, l.st.readAt = p.Now.Sub(p.PulledAt), l.readAt
	return nil
}

// expired returns the leases that have run out, the oldest first.
func expired(st *state, now time.Time) (all []*hookgate.Lease) {
	for _, l := range st.leases {
		if !now.Before(l.Until) {
			all = append(all, l)
		}
	}
	slices.SortFunc(all, func(a, b *hookgate.Lease) int {
		return cmp.Or(a.Began.Compare(b.Began), cmp.Compare(a.ID, b.ID))
	})
	return all
}

// readRows reads the exceptions of the events of a lease.
func (r *round) readRows(lease *hookgate.Lease) error {
	l := r.line
	ids := l.st.missingRows(lease)
	if len(ids) == 0 {
		return nil
	}
	return r.call(func(ctx context.Context) error {
		rows, err := l.s.store.Exceptions(ctx, hookgate.ExceptionFilter{Subscription: l.name,
			Events: ids, Limit: 100 * len(ids)})
		for _, e := range lease.Events {
			if id := (hookgate.EventRedelivery{Event: e.Event, Redelivery: e.Redelivery}); err == nil &&
				e.Excepted && slices.Contains(ids, e.Event) {
				l.st.rows[id] = hookgate.Exception{} // unless the store has it
			}
		}
		for _, x := range rows {
			l.st.rows[hookgate.EventRedelivery{Event: x.Event, Redelivery: x.Redelivery}] = x.Exception
		}
		return err
	})
}

// applyCall applies a call to the state. Its own error is in call.err.
func (r *round) applyCall(c *call) error {
	l := r.line
	lease := l.st.leases[c.lease]
	if c.rows {
		for _, o := range l.st.leases {
			if c.lease != "" && o != lease {
				continue
			}
			if err := r.readRows(o); err != nil {
				return err
			}
		}
	}
	if c.quiet {
		l.quietUntil = time.Now().Add(quiet)
	}
	if c.err = nil; c.lease == "" || lease != nil {
		c.err = c.apply(l.st, lease, r.now)
	} else if err := r.ended(c); err != nil {
		return err
	}
	if c.err != nil && !l.fresh && l.s.config.Recheck > 0 {
		return errStale // another process may know better
	}
	return nil
}

// ended answers a call for a lease that has no open events, or does not exist.
func (r *round) ended(c *call) error {
	l := r.line
	c.err = ErrEnded
	if c.ended == nil || !l.fresh && l.s.config.Recheck > 0 {
		return nil
	}
	if changed := l.st.changed[c.lease]; changed != nil { // in this round
		c.err = c.ended(changed)
		return nil
	}
	return r.call(func(ctx context.Context) error {
		lease, err := l.s.store.EndedLease(ctx, l.name, c.lease)
		switch {
		case errors.Is(err, hookgate.ErrNotFound):
			return nil
		case err != nil:
			return err
		}
		c.err = c.ended(lease)
		return nil
	})
}

// take makes leases for the pulls that wait, the oldest first.
func (r *round) take() error {
	l := r.line
	if !l.mayTake() || time.Now().Before(l.pullsFrom()) {
		return nil
	}
	t := &taker{line: l, st: l.st, now: r.now, more: true}
	ctx, cancel := context.WithTimeout(context.Background(), storeTimeout)
	defer cancel()
	for _, w := range r.pulls {
		if l.isGone(w) {
			continue
		}
		reserved := min(int64(w.request.MaxBytes), l.s.config.Memory)
		given := l.s.memory.given()
		if !l.s.memory.take(reserved, l.held.Load()) {
			l.starved = given
			break
		}
		t.patient = w.request.Wait > inOrderWait && time.Since(w.began) < inOrderWait
		lease, events := t.take(ctx, rand.Text(), &w.request)
		l.s.memory.give(reserved - int64(t.bytes))
		l.held.Add(int64(t.bytes))
		if lease == nil {
			if t.stalled {
				r.stalledUntil = w.began.Add(inOrderWait)
			}
			break
		}
		size := int64(t.bytes)
		w.made = &Batch{Lease: lease.ID, Until: lease.Until, Events: events,
			free: func() {
				l.held.Add(-size)
				l.s.memory.give(size)
			},
			back: func() { l.giveBack(lease.ID) }}
	}
	r.busy = t.busy()
	r.again = t.err == nil && t.scanned >= maxScan
	return t.err
}

// commit stores the changes, if there are any that cannot wait.
func (r *round) commit() error {
	st, l := r.line.st, r.line
	since := r.now.Sub(st.PulledAt)
	passed := st.position > st.Cursor || !st.pending.Empty()
	if !st.hard && since < heartbeat && !(passed && since >= passEvery) {
		return nil
	}
	results := st.commit()
	return r.call(func(ctx context.Context) error {
		epoch, at, err := l.s.store.Commit(ctx, l.name, st.Epoch, st.Version, results)
		if err != nil {
			return err
		}
		if o := l.s.config.Observer; o != nil {
			for _, x := range st.results {
				o.Attempted(l.name, x.class, x.took)
				if x.outcome != "" {
					o.Settled(l.name, x.outcome, x.latency)
				}
			}
		}
		st.committed(results, epoch, at)
		r.committed = true
		l.readAt = time.Now()
		return nil
	})
}

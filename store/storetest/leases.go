package storetest

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/hookgate/hookgate"
)

// puller is a process that serves the clients of a pull subscription.
type puller struct {
	*subject
	pull *hookgate.PullState
}

// pullFrom defines a subscription from now on, with the order key, and reads its state.
func (d *deliveryTest) pullFrom(name string) *puller {
	d.Helper()
	def := definition(d.prefix+"-"+name, hookgate.OrderKey, hookgate.Filter{Types: []string{"*"}})
	p := &puller{subject: &subject{deliveryTest: d, SubscriptionDefinition: def,
		revision: d.mustDefine(false, def)[0]}}
	p.read()
	return p
}

// read reads the state again.
func (p *puller) read() *hookgate.PullState {
	p.Helper()
	state, err := p.Pull.PullState(p.Context(), p.Name)
	if err != nil {
		p.Fatalf("read the state of %s: %v", p.Name, err)
	}
	for i := range state.Leases {
		state.Leases[i] = leaseInUTC(state.Leases[i])
	}
	p.pull = state
	return state
}

func (p *puller) tryCommit(r *hookgate.Results) error { return p.commitTo(p.Pull, r) }

// commitTo commits results to one of several open stores.
func (p *puller) commitTo(s hookgate.Leases, r *hookgate.Results) error {
	epoch, at, err := s.Commit(p.Context(), p.Name, p.pull.Epoch, p.pull.Version, r)
	if err == nil {
		p.pull.Epoch, p.pull.PulledAt = epoch, at
	}
	return err
}

// commit commits results and does not read the state again.
func (p *puller) commit(r *hookgate.Results) {
	p.Helper()
	before := p.pull.Epoch
	if err := p.tryCommit(r); err != nil {
		p.Fatalf("commit: %v", err)
	}
	if p.pull.Epoch <= before {
		p.Errorf("a commit gave epoch %d after %d", p.pull.Epoch, before)
	}
}

// fenced commits results that must be refused, and checks that nothing has changed.
func (p *puller) fenced(why string, r *hookgate.Results) {
	p.Helper()
	isError(p, why, p.tryCommit(r), hookgate.ErrFenced)
	for _, a := range r.Attempts {
		if n := len(p.attempts(a.Event)); n != 0 {
			p.Errorf("%s: it has stored %d attempts", why, n)
		}
	}
}

func (p *puller) seek(to hookgate.Start, dryRun bool) error {
	_, err := p.Control.Seek(p.Context(), p.Name, to, dryRun, person)
	return err
}

// ended returns a lease that has ended.
func (p *puller) ended(id string) hookgate.Lease {
	p.Helper()
	l, err := p.Pull.EndedLease(p.Context(), p.Name, id)
	if err != nil {
		p.Fatalf("ended lease %s: %v", id, err)
	}
	return leaseInUTC(*l)
}

func (p *puller) notEnded(why, id string) {
	p.Helper()
	_, err := p.Pull.EndedLease(p.Context(), p.Name, id)
	isError(p, why, err, hookgate.ErrNotFound)
}

func leaseInUTC(l hookgate.Lease) hookgate.Lease {
	l.Began, l.Until = l.Began.UTC(), l.Until.UTC()
	return l
}

// lease returns a lease of the events, one for each key. Its id has the name of the test.
func (d *deliveryTest) lease(id string, ids []int64, keys ...string) hookgate.Lease {
	now := time.Now().UTC().Truncate(time.Microsecond)
	l := hookgate.Lease{ID: d.prefix + id, Began: now, Until: now.Add(time.Minute)}
	for i, key := range keys {
		l.Events = append(l.Events, hookgate.LeasedEvent{Event: ids[i], OrderingKey: key, Path: true})
	}
	return l
}

// inState returns a copy of a lease whose events, from the first one on, are in these states.
func inState(l hookgate.Lease, states ...hookgate.LeasedState) hookgate.Lease {
	l.Events = slices.Clone(l.Events)
	for i, state := range states {
		l.Events[i].State = state
	}
	return l
}

const (
	acked     = hookgate.LeasedAcked
	givenBack = hookgate.LeasedGivenBack
)

// testLease takes leases from their beginning to each end.
func testLease(d *deliveryTest) {
	p, other := d.pullFrom("a"), d.pullFrom("b")
	if !p.pull.PulledAt.IsZero() || time.Since(p.pull.Now).Abs() > time.Hour {
		d.Errorf("at first it is %v, and the last pull was at %v", p.pull.Now, p.pull.PulledAt)
	}
	same(d, "stored definition", p.pull.Definition, hookgate.SubscriptionDefinition{Name: p.Name,
		Order: p.Order, Filter: p.Filter, Definition: p.Definition})
	ids := d.append("k", "", "l", "m", "n")
	first := p.lease("1", ids, "k", "", "l\"\x01ü")
	first.Events[0].Excepted = true
	first.Events[1] = hookgate.LeasedEvent{Event: ids[1], Redelivery: 3, Attempts: 300, Job: 1 << 40}
	second := p.lease("2", ids[3:], "m", "n")
	second.Began = first.Began.Add(time.Microsecond)
	p.commit(&hookgate.Results{Cursor: ids[4], Clock: time.Minute, Leases: []hookgate.Lease{second,
		first}, Created: []hookgate.Exception{waiting(ids[0], "k", day)}})
	at := p.pull.PulledAt
	p.read()
	same(d, "leases, oldest first", p.pull.Leases, []hookgate.Lease{first, second})
	if !p.pull.PulledAt.Equal(at) || time.Since(at).Abs() > time.Hour || p.pull.Cursor != ids[4] ||
		p.pull.Clock != time.Minute || p.pull.Exceptions != 1 {
		d.Errorf("after a commit at %v the state is %+v", at, *p.pull)
	}
	if info := p.info(); info.Leases != 2 || info.Leased != 5 || !info.PulledAt.Equal(at) ||
		info.Idle != 0 || info.Cursor != ids[4] {
		d.Errorf("the reader shows %+v", info)
	}
	if len(other.read().Leases) != 0 || other.info().Leases != 0 {
		d.Errorf("another subscription has leases too: %+v", other.pull.Leases)
	}
	p.notEnded("an open lease", first.ID)
	second = inState(second, acked)
	second.Until = second.Until.Add(time.Hour)
	p.commit(&hookgate.Results{Leases: []hookgate.Lease{second}, Attempts: []hookgate.Attempt{
		tried(ids[3], 1, hookgate.AttemptDelivered)}})
	same(d, "leases after an acknowledgement", p.read().Leases, []hookgate.Lease{first, second})
	if info := p.info(); info.Leases != 2 || info.Leased != 4 {
		d.Errorf("after an acknowledgement the reader shows %+v", info)
	}
	first, second = inState(first, acked, givenBack, givenBack), inState(second, acked, acked)
	p.commit(&hookgate.Results{Leases: []hookgate.Lease{first, second}})
	if p.read(); len(p.pull.Leases) != 0 || p.info().Leases != 0 || p.info().Leased != 0 {
		d.Errorf("ended leases are open: %+v", p.pull.Leases)
	}
	same(d, "a lease that gave something back", p.ended(first.ID), first)
	second.Events = nil
	same(d, "a lease that was acknowledged", p.ended(second.ID), second)
	other.notEnded("a lease of another subscription", second.ID)
	p.notEnded("no lease", "none")
	_, err := d.Pull.EndedLease(d.Context(), "nobody", second.ID)
	isError(d, "an ended lease of no subscription", err, hookgate.ErrNotFound)
	_, err = d.Pull.PullState(d.Context(), "nobody")
	isError(d, "the state of no subscription", err, hookgate.ErrNotFound)
}

// testLeaseEnds removes leases that have run out, and forgets ended ones ten minutes after that.
func testLeaseEnds(d *deliveryTest) {
	p := d.pullFrom("a")
	ids := d.append("k", "l", "m")
	out := p.lease("out", ids, "k")
	late, gone := p.lease("late", ids[1:], "l"), p.lease("gone", ids[2:], "m")
	late.Until, gone.Until = late.Began.Add(-9*time.Minute), gone.Began.Add(-11*time.Minute)
	p.commit(&hookgate.Results{Cursor: ids[2], Leases: []hookgate.Lease{out, late, gone}})
	late, gone = inState(late, givenBack), inState(gone, givenBack)
	p.commit(&hookgate.Results{Leases: []hookgate.Lease{late, gone}, Expired: []string{out.ID, "no"}})
	for range 2 { // the next commit may remove the row
		if p.read(); len(p.pull.Leases) != 0 {
			d.Errorf("leases that have ended are open: %+v", p.pull.Leases)
		}
		p.notEnded("a lease that ran out", out.ID)
		p.notEnded("a lease that ended long ago", gone.ID)
		same(d, "a lease that ended some minutes ago", p.ended(late.ID), late)
		p.commit(&hookgate.Results{})
	}
}

// testLeaseMax stores the bounds of the next leases.
func testLeaseMax(d *deliveryTest) {
	p := d.pullFrom("a")
	ids := d.append("k", "l", "")
	e := waiting(ids[2], "", day)
	e.LeaseMax = 5
	holds := []hookgate.Hold{{OrderingKey: "k", After: ids[0] - 1, LeaseMax: 7},
		{OrderingKey: "l", After: ids[1] - 1}}
	check := func() {
		d.Helper()
		same(d, "holds", p.read().Holds, holds)
		same(d, "exceptions", p.exceptions(), []hookgate.Exception{e})
		due, err := d.Owner.Due(d.Context(), p.Name, hookgate.DueQuery{Now: time.Now(), Max: 10})
		if err != nil || len(due.Exceptions) != 1 || due.Exceptions[0].LeaseMax != e.LeaseMax {
			d.Errorf("due are %+v, error %v", due, err)
		}
		same(d, "due holds", due.Holds, holds)
	}
	p.commit(&hookgate.Results{Cursor: ids[2], Created: []hookgate.Exception{e}, Holds: holds})
	check()
	e.LeaseMax, holds[0].LeaseMax, holds[1].LeaseMax = 2, 3, 1
	lower := holds[0]
	lower.After--
	p.commit(&hookgate.Results{Updated: []hookgate.Exception{e},
		Holds: []hookgate.Hold{lower, holds[1]}})
	check()
	e.LeaseMax, holds[0].LeaseMax, holds[1] = 0, 0, hookgate.Hold{OrderingKey: "l", After: ids[1]}
	p.commit(&hookgate.Results{Updated: []hookgate.Exception{e}, Holds: holds})
	check()
}

// testCommitFenced commits after somebody else has changed the subscription. Nothing is stored.
func testCommitFenced(d *deliveryTest) {
	p := d.pullFrom("a")
	ids := d.append("k", "l")
	r := &hookgate.Results{Cursor: ids[1], Attempts: []hookgate.Attempt{tried(ids[1], 1,
		hookgate.AttemptDelivered)}, Leases: []hookgate.Lease{p.lease("x", ids[1:], "l")},
		Holds: []hookgate.Hold{{OrderingKey: "l", After: 1}}, Pause: "gone"}
	p.commit(&hookgate.Results{Cursor: ids[0],
		Created: []hookgate.Exception{waiting(ids[0], "k", day)}})
	for _, change := range []struct {
		name string
		do   func() error
	}{
		{"another commit", func() error {
			return (&puller{subject: p.subject, pull: p.again()}).tryCommit(&hookgate.Results{})
		}},
		{"a pause", func() error {
			_, err := d.Control.SetPaused(d.Context(), p.Name, true, person)
			return err
		}},
		{"a retry", func() error { p.resolve(hookgate.ResolveRetry, ids[0]); return nil }},
		{"a seek", func() error {
			return p.seek(hookgate.Start{At: hookgate.StartAfter, After: ids[0]}, false)
		}},
		{"a job", func() error { p.redeliver(hookgate.RedeliveryJob{Events: ids}); return nil }},
		{"another definition", func() error {
			p.SubscriptionDefinition = definition(p.Name, p.Order,
				hookgate.Filter{Sources: []string{"x"}})
			p.revision = d.mustDefine(false, p.SubscriptionDefinition)[0]
			return nil
		}},
	} {
		p.read()
		if err := change.do(); err != nil {
			d.Fatalf("%s: %v", change.name, err)
		}
		p.fenced("a commit after "+change.name, r)
		if info, state := p.info(), p.read(); info.Cursor != ids[0] || len(state.Leases) > 0 ||
			len(state.Holds) > 0 {
			d.Errorf("a commit after %s changed something: %+v, %+v", change.name, info, *state)
		}
	}
	same(d, "the new filter", p.pull.Definition.Filter, hookgate.Filter{Sources: []string{"x"}})
	p.commit(&hookgate.Results{Cursor: ids[1]})
	_, _, err := d.Pull.Commit(d.Context(), "nobody", 1, 1, r)
	isError(d, "a commit for no subscription", err, hookgate.ErrFenced)
}

// again returns a fresh copy of the state.
func (p *puller) again() *hookgate.PullState {
	copied := *p.pull
	return &copied
}

// testCommitOwner: a process that pushes keeps clients away until it releases the subscription. A
// commit fences the owner before it.
func testCommitOwner(d *deliveryTest) {
	p := d.pullFrom("a")
	ids := d.append("k")
	lease := p.lease("1", ids, "k")
	p.commit(&hookgate.Results{Cursor: ids[0], Leases: []hookgate.Lease{lease}})
	state := p.acquire()
	for i := range state.Leases {
		state.Leases[i] = leaseInUTC(state.Leases[i])
	}
	same(d, "leases that the owner finds", state.Leases, []hookgate.Lease{lease})
	_, err := d.Pull.PullState(d.Context(), p.Name)
	isError(d, "the state while a process pushes", err, hookgate.ErrLeased)
	stored := p.pull
	for _, epoch := range []hookgate.Epoch{stored.Epoch, p.Epoch} {
		stored.Epoch = epoch
		p.fenced("a commit while a process pushes", &hookgate.Results{Cursor: ids[0]})
	}
	hold := []hookgate.Hold{{OrderingKey: "k", After: ids[0] - 1, LeaseMax: 1}}
	for range 2 { // saving again is harmless
		p.save(&hookgate.Results{Holds: hold, Expired: []string{lease.ID}})
	}
	if err := d.Owner.Release(d.Context(), p.Name, p.Epoch); err != nil {
		d.Fatal(err)
	}
	old := p.Epoch
	if p.read(); len(p.pull.Leases) != 0 || p.pull.Epoch != old {
		d.Errorf("after the release the state is %+v", *p.pull)
	}
	same(d, "holds", p.pull.Holds, hold)
	p.commit(&hookgate.Results{})
	_, err = d.Owner.Save(d.Context(), p.Name, old, &hookgate.Results{Cursor: ids[0] + 1})
	isError(d, "a save of the owner before", err, hookgate.ErrFenced)
	d.roster("owner") // extends no lease of the owner before
	if e := p.entry(); e.Owner != "" || e.Epoch != p.pull.Epoch {
		d.Errorf("after a commit the roster has %+v", e)
	}
	p.read()
}

// testCommitTogether commits from several processes, if the store permits them, or goroutines. All
// read the same state. One of them wins, the others read again and go on, and nothing is lost or
// stored twice.
func testCommitTogether(d *deliveryTest) {
	const pullers, each = 4, 3
	p := d.pullFrom("a")
	ids := d.append(slices.Repeat([]string{"k"}, pullers*each)...)
	var all sync.WaitGroup
	start := make(chan struct{})
	failed := make(chan error, pullers)
	stores := []hookgate.Leases{d.Pull, d.Pull}
	if d.leases {
		other := d.open()
		defer other.Close()
		stores[1] = other.Pull
	}
	for n := range pullers {
		own, store := ids[n*each:][:each], stores[n%2]
		all.Go(func() {
			mine := &puller{subject: p.subject, pull: p.again()}
			<-start
			for len(own) > 0 {
				err := mine.commitTo(store, &hookgate.Results{Clock: mine.pull.Clock + time.Second,
					Attempts: []hookgate.Attempt{tried(own[0], 1, hookgate.AttemptDelivered)},
					Leases:   []hookgate.Lease{mine.lease(fmt.Sprint(own[0]), own, "k")}})
				if err == nil {
					own = own[1:]
				} else if !errors.Is(err, hookgate.ErrFenced) {
					failed <- err
					return
				}
				if mine.pull, err = store.PullState(d.Context(), p.Name); err != nil {
					failed <- err
					return
				}
			}
		})
	}
	close(start)
	all.Wait()
	close(failed)
	for err := range failed {
		d.Errorf("a puller got %v", err)
	}
	// The clock counts the commits. If two had won from the same state, it would be behind.
	if p.read(); p.pull.Clock != pullers*each*time.Second || len(p.pull.Leases) != pullers*each {
		d.Errorf("after %d commits the clock is at %v, with %d leases", pullers*each, p.pull.Clock,
			len(p.pull.Leases))
	}
	for _, id := range ids {
		same(d, "attempts", len(d.attempts(id)), 1)
	}
}

// testLeasesOut: while clients have leases, the cursor and the order stay, and the subscription can
// be forgotten.
func testLeasesOut(d *deliveryTest) {
	p := d.pullFrom("a")
	ids := d.append("k", "l")
	lease := p.lease("1", ids, "k", "l")
	p.commit(&hookgate.Results{Cursor: ids[1], Leases: []hookgate.Lease{lease}})
	var order *hookgate.OrderError
	def := definition(p.Name, hookgate.OrderAll, hookgate.Filter{})
	_, err := d.Owner.Define(d.Context(), []hookgate.SubscriptionDefinition{def}, false)
	if !errors.As(err, &order) || *order != (hookgate.OrderError{Subscription: p.Name, Leases: 1}) {
		d.Errorf("changing the order returned %v", err)
	}
	back := hookgate.Start{At: hookgate.StartAfter, After: ids[0]}
	for _, to := range []hookgate.Start{back, {At: hookgate.StartNow}} {
		isError(d, "a seek", p.seek(to, false), hookgate.ErrLeasesOut)
		if err := p.seek(to, true); err != nil {
			d.Errorf("a dry run of a seek returned %v", err)
		}
	}
	ahead := hookgate.Start{At: hookgate.StartAfter, After: ids[1] + 1000_000_000_000}
	if err := p.seek(ahead, false); !errors.As(err, new(*hookgate.AheadError)) {
		d.Errorf("a seek after the end of the log returned %v", err)
	}
	p.commit(&hookgate.Results{Leases: []hookgate.Lease{inState(lease, acked, acked)}})
	if err := p.seek(back, false); err != nil {
		d.Errorf("a seek after all leases have ended returned %v", err)
	}
	lease.Events[0].Redelivery, lease.ID = 1, lease.ID+"again"
	p.read()
	p.commit(&hookgate.Results{Leases: []hookgate.Lease{lease}})
	p.pause(true)
	if err := d.Control.Forget(d.Context(), p.Name, person); err != nil {
		d.Fatalf("forget: %v", err)
	}
	before := *p.pull
	p.fenced("a commit for a forgotten subscription", &hookgate.Results{})
	p.revision = d.mustDefine(false, p.SubscriptionDefinition)[0]
	if p.read(); len(p.pull.Leases) != 0 || !p.pull.PulledAt.IsZero() {
		d.Errorf("created again, the subscription is %+v", *p.pull)
	}
	now := *p.pull
	for _, version := range []int64{before.Version, now.Version} {
		p.pull.Epoch, p.pull.Version = before.Epoch, version
		p.fenced("a commit from before", &hookgate.Results{Cursor: ids[1]})
	}
}

// testTemporary creates temporary subscriptions, which are forgotten when no client calls.
func testTemporary(d *deliveryTest) {
	ids := d.append("k", "l")
	def := definition(d.prefix+"-a", hookgate.OrderKey, hookgate.Filter{})
	def.Start = hookgate.Start{At: hookgate.StartAfter, After: ids[0]}
	create := func(name string, idle time.Duration) *puller {
		d.Helper()
		def.Name = d.prefix + "-" + name
		if err := d.Pull.CreateTemporary(d.Context(), def, idle, person); err != nil {
			d.Fatalf("create: %v", err)
		}
		return &puller{subject: &subject{deliveryTest: d, SubscriptionDefinition: def, revision: 1}}
	}
	p := create("a", time.Hour)
	isError(d, "creating it again", d.Pull.CreateTemporary(d.Context(), def, time.Hour, person),
		hookgate.ErrNameTaken)
	if info := p.info(); info.Idle != time.Hour || info.RemovedAt.IsZero() || info.Cursor != ids[0] ||
		!info.RemovedAt.Equal(info.CreatedAt) || info.Revision != 1 ||
		p.entry().Revision != 1 {
		d.Errorf("the reader shows %+v", info)
	}
	p.read()
	p.commit(&hookgate.Results{Cursor: ids[1], Leases: []hookgate.Lease{p.lease("1", ids[1:], "l")}})
	create("b", time.Microsecond)
	create("c", time.Microsecond)
	forget := func() []string {
		d.Helper()
		names, err := d.Pull.ForgetIdle(d.Context())
		if err != nil {
			d.Fatal(err)
		}
		return names
	}
	var idle []string
	for len(idle) < 2 { // the clock of a store may count milliseconds
		idle = append(idle, forget()...)
	}
	slices.Sort(idle)
	same(d, "forgotten", append(idle, forget()...), []string{d.prefix + "-b", d.prefix + "-c"})
	if _, found := d.find(d.prefix + "-b"); found {
		d.Errorf("the reader shows a forgotten subscription")
	}
	// A configured one takes the row over, with its cursor and its leases.
	p.revision = d.mustDefine(false, p.SubscriptionDefinition)[0]
	if info := p.info(); info.Idle != 0 || !info.RemovedAt.IsZero() || info.Cursor != ids[1] ||
		info.Leases != 1 {
		d.Errorf("taken over, it is %+v", info)
	}
	if err := d.Control.Forget(d.Context(), p.Name, person); !errors.Is(err, hookgate.ErrInUse) {
		d.Errorf("forgetting a configured one returned %v", err)
	}
	isError(d, "creating a configured one", d.Pull.CreateTemporary(d.Context(),
		p.SubscriptionDefinition, time.Hour, person), hookgate.ErrNameTaken)
	again := create("b", time.Hour)
	again.read()
	if err := d.Control.Forget(d.Context(), again.Name, person); err != nil {
		d.Errorf("forgetting a temporary one returned %v", err)
	}
}

// testCommitFails makes a commit fail, before or after it takes effect. The caller reads the state
// again: either it commits the same results with success, or it finds them.
func testCommitFails(d *deliveryTest) {
	for _, done := range []bool{false, true} {
		p := d.pullFrom(fmt.Sprint(done))
		ids := d.append("k", "l")
		lease := p.lease(fmt.Sprint(done), ids, "k", "l")
		for _, r := range []*hookgate.Results{
			{Cursor: ids[1], Clock: time.Second, Leases: []hookgate.Lease{lease}},
			{Attempts: []hookgate.Attempt{tried(ids[0], 1, hookgate.AttemptDelivered)},
				Leases: []hookgate.Lease{inState(lease, acked)}},
			{Expired: []string{lease.ID}},
		} {
			before := p.read()
			d.FailWrites(&done)
			err := p.tryCommit(r)
			d.FailWrites(nil)
			if err == nil || errors.Is(err, hookgate.ErrFenced) {
				d.Errorf("a commit that fails returned %v", err)
			}
			if after := p.again(); done {
				p.fenced("the same commit again", &hookgate.Results{Clock: time.Hour})
			} else if p.read(); p.pull.Epoch != before.Epoch {
				d.Errorf("a commit that did nothing left epoch %d after %d", after.Epoch, before.Epoch)
			} else {
				p.commit(r)
			}
			p.read()
			want := len(r.Leases)
			if p.pull.Cursor != ids[1] || p.pull.Clock != time.Second || len(p.pull.Leases) != want {
				d.Errorf("after a commit the state is %+v", *p.pull)
			}
		}
		same(d, "attempts", len(d.attempts(ids[0])), 1)
	}
}

// testLeasedKept: retention keeps the body of a leased event, and a temporary subscription keeps
// none.
func testLeasedKept(d *deliveryTest) {
	if d.Remove == nil {
		d.Skip("the store has no retention in this suite")
	}
	p := d.pullFrom("a")
	d.mustDefine(true, p.SubscriptionDefinition) // only this one holds retention up
	temporary := definition(d.prefix+"-t", hookgate.OrderKey, hookgate.Filter{})
	if err := d.Pull.CreateTemporary(d.Context(), temporary, time.Hour, person); err != nil {
		d.Fatal(err)
	}
	ids := d.append("a", "b", "c", "d", "e")
	lease := p.lease("1", ids[1:], "b", "c", "d")
	lease.Events[0].Excepted = true
	p.commit(&hookgate.Results{Cursor: ids[4], Leases: []hookgate.Lease{lease},
		Created: []hookgate.Exception{waiting(ids[1], "", day)}})
	t := &puller{subject: &subject{deliveryTest: d, SubscriptionDefinition: temporary, revision: 1}}
	t.read()
	t.commit(&hookgate.Results{Cursor: ids[4], Leases: []hookgate.Lease{t.lease("t", ids, "a", "b")}})
	for _, step := range []struct {
		states    []hookgate.LeasedState
		log, kept []int64
	}{
		{nil, ids[2:], ids[1:]},
		{[]hookgate.LeasedState{acked, acked}, ids[3:], []int64{ids[1], ids[3], ids[4]}},
		{[]hookgate.LeasedState{acked, acked, givenBack}, nil, ids[1:2]},
	} {
		p.commit(&hookgate.Results{Leases: []hookgate.Lease{inState(lease, step.states...)}})
		d.Remove(d, ids[4])
		same(d, "the log", d.read(ids[0]-1), step.log)
		events, err := d.Events.ReadEvents(d.Context(), ids)
		if err != nil {
			d.Fatal(err)
		}
		same(d, "events with bodies", logIDs(events), step.kept)
	}
}

package storetest

import (
	"errors"
	"slices"
	"time"

	"github.com/hookgate/hookgate"
)

// testAcquire acquires a subscription again and again, with good and bad arguments.
func testAcquire(d *deliveryTest) {
	_, err := d.Owner.Acquire(d.Context(), "nobody", "owner", time.Hour, 1)
	isError(d, "acquiring no subscription", err, hookgate.ErrNotFound)
	s := d.subscribe("a")
	first := *s.SubscriptionState
	same(d, "state", first, hookgate.SubscriptionState{Epoch: first.Epoch, Version: first.Version,
		Cursor: s.info().Cursor})
	if first.Epoch == 0 {
		d.Errorf("the first epoch is 0")
	}
	if again := s.acquire(); again.Epoch <= first.Epoch {
		d.Errorf("epoch %d came after %d", again.Epoch, first.Epoch)
	}
	before := s.revision
	changed := definition(s.Name, hookgate.OrderKey, hookgate.Filter{Types: []string{"x"}})
	s.revision = d.mustDefine(false, changed)[0]
	_, err = d.Owner.Acquire(d.Context(), s.Name, "owner", time.Hour, before)
	isError(d, "acquiring with an old revision", err, hookgate.ErrRevision)
	s.save(&hookgate.Results{}) // ErrRevision has changed nothing, so the epoch holds
	s.acquire()
}

// testDeliveryFence saves with the epoch of an owner that was replaced. Nothing is stored.
func testDeliveryFence(d *deliveryTest) {
	s := d.subscribe("a")
	ids := d.append("k")
	old := *s
	s.acquire()
	_, err := d.Owner.Save(d.Context(), s.Name, old.Epoch, &hookgate.Results{Cursor: ids[0],
		Attempts: []hookgate.Attempt{tried(ids[0], 1, hookgate.AttemptFailed)},
		Created:  []hookgate.Exception{waiting(ids[0], "k", day)},
		Holds:    []hookgate.Hold{{OrderingKey: "k", After: 1}}, Pause: "gone"})
	isError(d, "a save of an old owner", err, hookgate.ErrFenced)
	info := s.info()
	if info.Cursor != s.Cursor || info.Waiting != 0 || info.Held != 0 || !info.PausedAt.IsZero() ||
		len(d.attempts(ids[0])) != 0 {
		d.Errorf("a save of an old owner changed something: %+v", info)
	}
	s.save(&hookgate.Results{Cursor: ids[0]})
	_, err = d.Owner.Save(d.Context(), "nobody", s.Epoch, &hookgate.Results{Cursor: 1})
	isError(d, "a save for no subscription", err, hookgate.ErrFenced)
	if err := d.Owner.Release(d.Context(), "nobody", s.Epoch); err != nil {
		d.Errorf("releasing no subscription: %v", err)
	}
}

// testRoster compares the roster with everything else that says the same.
func testRoster(d *deliveryTest) {
	b, a := d.subscribe("b"), d.subscribe("a")
	for _, s := range []*subject{a, b} {
		same(d, "entry", s.entry(), hookgate.RosterEntry{Name: s.Name, Owner: "owner", Epoch: s.Epoch,
			Revision: s.revision, Version: s.Version})
	}
	var names []string
	for _, e := range d.roster("owner").Subscriptions {
		names = append(names, e.Name)
	}
	if !slices.IsSorted(names) || len(slices.Compact(names)) != len(names) {
		d.Errorf("the roster has %v", names)
	}
	if err := d.Owner.Release(d.Context(), a.Name, a.Epoch); err != nil {
		d.Fatal(err)
	}
	if e := a.entry(); e.Owner != "" {
		d.Errorf("after its release the subscription has the owner %q", e.Owner)
	}
}

// testOwners lets another process acquire a subscription. Only a store for several processes keeps
// it away, until the owner releases the subscription.
func testOwners(d *deliveryTest) {
	s := d.subscribe("a")
	acquire := func(owner string) (*hookgate.SubscriptionState, error) {
		return d.Owner.Acquire(d.Context(), s.Name, owner, time.Hour, s.revision)
	}
	if !d.leases {
		state, err := acquire("other")
		if err != nil || state.Epoch <= s.Epoch {
			d.Errorf("an embedded store kept another owner away: %v", err)
		}
		return
	}
	_, err := acquire("other")
	isError(d, "acquiring a leased subscription", err, hookgate.ErrLeased)
	s.save(&hookgate.Results{})
	first := s.Epoch
	s.acquire()
	if err := d.Owner.Release(d.Context(), s.Name, first); err != nil {
		d.Errorf("releasing an old epoch: %v", err)
	}
	_, err = acquire("other")
	isError(d, "acquiring after the release of an old epoch", err, hookgate.ErrLeased)
	if err := d.Owner.Release(d.Context(), s.Name, s.Epoch); err != nil {
		d.Errorf("release: %v", err)
	}
	s.save(&hookgate.Results{}) // Save checks the epoch and not the lease
	state, err := acquire("other")
	if err != nil || state.Epoch <= s.Epoch {
		d.Fatalf("acquiring a released subscription: %v", err)
	}
	_, err = d.Owner.Save(d.Context(), s.Name, s.Epoch, &hookgate.Results{})
	isError(d, "a save of the old owner", err, hookgate.ErrFenced)
	if err := d.Owner.Release(d.Context(), s.Name, s.Epoch); err != nil {
		d.Errorf("release of the old owner: %v", err)
	}
	if e := s.entry(); e.Owner != "other" || e.Epoch != state.Epoch {
		d.Errorf("the new owner is not in the roster: %+v", e)
	}
	if n := d.roster("other").Processes; n < 2 { // the onlooker too
		d.Errorf("%d processes deliver", n)
	}
}

// short is a lease that runs out during a test. No test depends on how fast it does.
const short = 20 * time.Millisecond

// steal acquires a subscription when the lease of its owner has run out.
func (s *subject) steal(thief string) *hookgate.SubscriptionState {
	s.Helper()
	for {
		state, err := s.Owner.Acquire(s.Context(), s.Name, thief, time.Hour, s.revision)
		if err == nil {
			return state
		}
		if !errors.Is(err, hookgate.ErrLeased) {
			s.Fatalf("acquire: %v", err)
		}
	}
}

// testLeaseRunsOut lets a lease run out. Its owner may save until another one acquires.
func testLeaseRunsOut(d *deliveryTest) {
	if !d.leases {
		d.Skip("an embedded store has no leases")
	}
	s := d.subscribe("a")
	state, err := d.Owner.Acquire(d.Context(), s.Name, "owner", short, s.revision)
	if err != nil {
		d.Fatal(err)
	}
	s.SubscriptionState = state
	for s.entry().Owner != "" {
	}
	s.save(&hookgate.Results{Clock: time.Second})
	if next := s.steal("thief"); next.Epoch <= s.Epoch || next.Clock != time.Second {
		d.Errorf("the next owner finds %+v", next)
	}
	_, err = d.Owner.Save(d.Context(), s.Name, s.Epoch, &hookgate.Results{})
	isError(d, "a save of the old owner", err, hookgate.ErrFenced)
	for _, e := range d.roster("owner").Subscriptions { // it must not take the lease back
		if e.Name == s.Name && e.Owner != "thief" {
			d.Errorf("after a renewal of the old owner the owner is %q", e.Owner)
		}
	}
}

// testLeaseRenewed renews two short leases, one of them only after it has run out. A third one
// shows when the first time is over.
func testLeaseRenewed(d *deliveryTest) {
	if !d.leases {
		d.Skip("an embedded store has no leases")
	}
	a, b := d.subscribe("a"), d.subscribe("b")
	acquire := func(s *subject, owner string) {
		d.Helper()
		if err := d.Owner.Release(d.Context(), s.Name, s.Epoch); err != nil {
			d.Fatal(err)
		}
		if _, err := d.Owner.Acquire(d.Context(), s.Name, owner, short, s.revision); err != nil {
			d.Fatal(err)
		}
	}
	acquire(a, "early")
	d.roster("early")
	acquire(b, "late")
	for b.entry().Owner != "" {
	}
	_, err := d.Owner.Acquire(d.Context(), a.Name, "other", time.Hour, a.revision)
	isError(d, "acquiring what was renewed in time", err, hookgate.ErrLeased)
	d.roster("late")
	_, err = d.Owner.Acquire(d.Context(), b.Name, "other", time.Hour, b.revision)
	isError(d, "acquiring what was renewed late", err, hookgate.ErrLeased)
}

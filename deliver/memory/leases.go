package memory

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"github.com/hookgate/hookgate"
)

// endedFor is how long a lease without an open event is kept after its Until.
const endedFor = 10 * time.Minute

// PullState implements hookgate.Leases.
func (s *Store) PullState(ctx context.Context, name string) (state *hookgate.PullState, err error) {
	err = s.control(ctx, "PullState", name, func(sub *subscription) error {
		if sub.runningOwner() != "" {
			return hookgate.ErrLeased
		}
		state = &hookgate.PullState{SubscriptionState: *sub.state(),
			Definition: sub.SubscriptionDefinition, Now: s.now(), PulledAt: sub.pulledAt}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return state, nil
}

// Commit implements hookgate.Leases.
func (s *Store) Commit(ctx context.Context, name string, epoch hookgate.Epoch, version int64,
	r *hookgate.Results) (next hookgate.Epoch, at time.Time, err error) {
	err = s.do(ctx, "Commit", name, func() error {
		sub := s.subscriptions[name]
		if sub == nil || sub.epoch != epoch || sub.version != version || sub.runningOwner() != "" {
			return hookgate.ErrFenced
		}
		s.store(sub, r)
		s.epoch++
		sub.epoch, sub.owner, sub.pulledAt = s.epoch, "", s.now()
		maps.DeleteFunc(sub.leases, func(_ string, l *hookgate.Lease) bool {
			return open(l) == 0 && l.Until.Add(endedFor).Before(sub.pulledAt)
		})
		next, at = sub.epoch, sub.pulledAt
		return nil
	})
	if err != nil {
		return 0, time.Time{}, err
	}
	return next, at, nil
}

// EndedLease implements hookgate.Leases.
func (s *Store) EndedLease(ctx context.Context, name, id string) (lease *hookgate.Lease,
	err error) {
	err = s.control(ctx, "EndedLease", name, func(sub *subscription) error {
		l := sub.leases[id]
		if l == nil || open(l) > 0 || l.Until.Add(endedFor).Before(s.now()) {
			return hookgate.ErrNotFound
		}
		lease = cloneLease(l)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return lease, nil
}

// CreateTemporary implements hookgate.Leases.
func (s *Store) CreateTemporary(ctx context.Context, def hookgate.SubscriptionDefinition,
	idle time.Duration, _ hookgate.Person) error {
	return s.do(ctx, "CreateTemporary", def.Name, func() error {
		if s.subscriptions[def.Name] != nil {
			return hookgate.ErrNameTaken
		}
		sub := s.create(def)
		sub.idle, sub.removedAt = idle, sub.createdAt
		return nil
	})
}

// ForgetIdle implements hookgate.Leases.
func (s *Store) ForgetIdle(ctx context.Context) (names []string, err error) {
	err = s.do(ctx, "ForgetIdle", "", func() error {
		for _, name := range slices.Sorted(maps.Keys(s.subscriptions)) {
			sub := s.subscriptions[name]
			called := sub.createdAt
			if sub.pulledAt.After(called) {
				called = sub.pulledAt
			}
			if sub.idle > 0 && !called.Add(sub.idle).After(s.now()) {
				s.forget(sub)
				names = append(names, name)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return names, nil
}

// open returns the number of events of a lease that are open.
func open(l *hookgate.Lease) (n int) {
	for i := range l.Events {
		if l.Events[i].State == hookgate.LeasedOpen {
			n++
		}
	}
	return n
}

// openLeases returns copies of the leases with open events, oldest first.
func (sub *subscription) openLeases() (leases []hookgate.Lease) {
	for _, l := range sub.leases {
		if open(l) > 0 {
			leases = append(leases, *cloneLease(l))
		}
	}
	slices.SortFunc(leases, func(a, b hookgate.Lease) int {
		return cmp.Or(a.Began.Compare(b.Began), cmp.Compare(a.ID, b.ID))
	})
	return leases
}

// saveLease stores a copy of a lease. If all its events were acknowledged, nobody needs them any
// more.
func (sub *subscription) saveLease(l *hookgate.Lease) {
	l = cloneLease(l)
	if !slices.ContainsFunc(l.Events, func(e hookgate.LeasedEvent) bool {
		return e.State != hookgate.LeasedAcked
	}) {
		l.Events = nil
	}
	sub.leases[l.ID] = l
}

// firstLeased returns the lowest open event of a lease that no exception keeps, or 0.
func (sub *subscription) firstLeased() (first int64) {
	for _, l := range sub.leases {
		for _, e := range l.Events {
			if e.State == hookgate.LeasedOpen && !e.Excepted && (first == 0 || e.Event < first) {
				first = e.Event
			}
		}
	}
	return first
}

func cloneLease(l *hookgate.Lease) *hookgate.Lease {
	clone := *l
	clone.Events = slices.Clone(l.Events)
	return &clone
}

package memory

import (
	"cmp"
	"context"
	"maps"
	"slices"

	"github.com/hookgate/hookgate"
)

// Subscriptions implements hookgate.SubscriptionReader.
func (s *Store) Subscriptions(ctx context.Context) (all []hookgate.SubscriptionInfo, err error) {
	err = s.do(ctx, "Subscriptions", "", func() error {
		for _, name := range slices.Sorted(maps.Keys(s.subscriptions)) {
			all = append(all, s.info(s.subscriptions[name]))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}

// State returns the state of a subscription as a new owner would find it. It is empty if the
// subscription does not exist.
func (s *Store) State(name string) hookgate.SubscriptionState {
	s.mu.Lock()
	defer s.mu.Unlock()
	sub := s.subscriptions[name]
	if sub == nil {
		return hookgate.SubscriptionState{}
	}
	return *sub.state()
}

func (s *Store) info(sub *subscription) hookgate.SubscriptionInfo {
	info := hookgate.SubscriptionInfo{SubscriptionDefinition: sub.SubscriptionDefinition,
		Revision: sub.revision, Cursor: sub.cursor, End: s.last, Held: int64(len(sub.holds)),
		Owner: sub.runningOwner(), PausedAt: sub.pausedAt, PausedBy: sub.pausedBy,
		PauseReason: sub.pauseReason, BrokenSince: sub.brokenSince, CreatedAt: sub.createdAt,
		RemovedAt: sub.removedAt, LastDeliveredAt: sub.deliveredAt,
		PulledAt: sub.pulledAt, Idle: sub.idle, Backlog: int64(s.between(sub.cursor, s.last))}
	if i := s.after(max(sub.cursor, s.horizon)); i < len(s.events) {
		info.OldestStoredAt = s.events[i].StoredAt
	}
	for _, e := range sub.exceptions {
		switch e.State {
		case hookgate.ExceptionWaiting:
			info.Waiting++
		case hookgate.ExceptionParked:
			info.Parked++
		case hookgate.ExceptionDead:
			info.Dead++
		}
	}
	for _, l := range sub.openLeases() {
		info.Leases++
		info.Leased += int64(open(&l))
	}
	return info
}

// between counts the events after one id and up to another one, up to MaxBacklog.
func (s *Store) between(after, until int64) int {
	return min(hookgate.MaxBacklog, max(0, s.after(until)-s.after(max(after, s.horizon))))
}

// Exceptions implements hookgate.SubscriptionReader.
func (s *Store) Exceptions(ctx context.Context, f hookgate.ExceptionFilter) (
	page []hookgate.StoredException, err error) {
	err = s.do(ctx, "Exceptions", f.Subscription, func() error {
		sub := s.subscriptions[f.Subscription]
		if sub == nil {
			return hookgate.ErrNotFound
		}
		if f.Limit <= 0 {
			f.Limit = 100
		}
		for _, e := range sub.matching(f) {
			stored := hookgate.StoredException{Exception: *e}
			if event := s.event(e.Event); event != nil {
				stored.Identity, stored.RequestID = event.Identity, event.RequestID
				stored.ReceivedAt, stored.Size = event.ReceivedAt, int64(len(event.Body))
			}
			page = append(page, stored)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return page, nil
}

// matching returns the exceptions that match, by event and redelivery. A limit of 0 is none.
func (sub *subscription) matching(f hookgate.ExceptionFilter) (all []*hookgate.Exception) {
	for id, e := range sub.exceptions {
		if f.State != "" && f.State != e.State ||
			f.OrderingKey != "" && f.OrderingKey != e.OrderingKey ||
			f.Held && (e.OrderingKey == "" || !unsettled(e)) ||
			len(f.Events) > 0 && !slices.Contains(f.Events, e.Event) || compare(id, f.After) <= 0 {
			continue
		}
		all = append(all, e)
	}
	slices.SortFunc(all, func(a, b *hookgate.Exception) int {
		return compare(hookgate.EventRedelivery{Event: a.Event, Redelivery: a.Redelivery},
			hookgate.EventRedelivery{Event: b.Event, Redelivery: b.Redelivery})
	})
	if f.Limit > 0 && len(all) > f.Limit {
		all = all[:f.Limit]
	}
	return all
}

func compare(a, b hookgate.EventRedelivery) int {
	return cmp.Or(cmp.Compare(a.Event, b.Event), cmp.Compare(a.Redelivery, b.Redelivery))
}

// Attempts implements hookgate.SubscriptionReader.
func (s *Store) Attempts(ctx context.Context, event int64) (all []hookgate.StoredAttempt,
	err error) {
	err = s.do(ctx, "Attempts", "", func() error {
		for _, sub := range slices.AppendSeq(slices.Clone(s.forgotten), maps.Values(s.subscriptions)) {
			for id, attempts := range sub.attempts {
				for _, a := range attempts {
					if id.Event == event {
						all = append(all, hookgate.StoredAttempt{Subscription: sub.Name, Attempt: a})
					}
				}
			}
		}
		slices.SortFunc(all, func(a, b hookgate.StoredAttempt) int {
			return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.Subscription, b.Subscription),
				cmp.Compare(a.Redelivery, b.Redelivery), cmp.Compare(a.Number, b.Number))
		})
		return nil
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}

// RecentAttempts implements hookgate.SubscriptionReader.
func (s *Store) RecentAttempts(ctx context.Context, f hookgate.AttemptFilter) (
	page hookgate.AttemptPage, err error) {
	var all []hookgate.RecentAttempt
	err = s.do(ctx, "RecentAttempts", f.Subscription, func() error {
		sub := s.subscriptions[f.Subscription]
		if sub == nil {
			return hookgate.ErrNotFound
		}
		for _, attempts := range sub.attempts {
			for _, a := range attempts {
				recent := hookgate.RecentAttempt{Attempt: a}
				if event := s.event(a.Event); event != nil {
					recent.Identity, recent.OrderingKey = event.Identity, event.OrderingKey
				}
				if selects(&f, &recent) {
					all = append(all, recent)
				}
			}
		}
		return nil
	})
	slices.SortFunc(all, func(a, b hookgate.RecentAttempt) int {
		return b.Place().Compare(a.Place())
	})
	if f.Limit <= 0 {
		f.Limit = 100
	}
	if len(all) > f.Limit {
		all = all[:f.Limit]
		page.Next = all[f.Limit-1].Place()
	}
	page.Attempts = all
	return page, err
}

// selects reports whether a filter selects an attempt.
func selects(f *hookgate.AttemptFilter, a *hookgate.RecentAttempt) bool {
	return (len(f.Outcomes) == 0 || slices.Contains(f.Outcomes, a.Outcome)) &&
		(f.Status == nil || f.Status.From <= a.Status && a.Status <= f.Status.To) &&
		(f.OrderingKey == "" || f.OrderingKey == a.OrderingKey) &&
		!a.At.Before(f.From) && (f.To.IsZero() || a.At.Before(f.To)) &&
		(f.After == hookgate.AttemptPlace{} || a.Place().Compare(f.After) < 0)
}

// RedeliveryJobs implements hookgate.SubscriptionReader.
func (s *Store) RedeliveryJobs(ctx context.Context, name string, limit int) (
	jobs []hookgate.StoredJob, err error) {
	err = s.do(ctx, "RedeliveryJobs", name, func() error {
		sub := s.subscriptions[name]
		if sub == nil {
			return hookgate.ErrNotFound
		}
		for _, job := range slices.Backward(sub.jobs) {
			if len(jobs) == limit {
				break
			}
			clone := *job
			clone.RedeliveryJob = cloneJob(job.RedeliveryJob)
			jobs = append(jobs, clone)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return jobs, nil
}

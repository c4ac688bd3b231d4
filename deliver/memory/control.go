package memory

import (
	"context"
	"slices"
	"time"

	"github.com/hookgate/hookgate"
)

// control runs one call about an existing subscription.
func (s *Store) control(ctx context.Context, op, name string,
	call func(*subscription) error) error {
	return s.do(ctx, op, name, func() error {
		sub := s.subscriptions[name]
		if sub == nil {
			return hookgate.ErrNotFound
		}
		return call(sub)
	})
}

// SetPaused implements hookgate.SubscriptionControl.
func (s *Store) SetPaused(ctx context.Context, name string, paused bool, p hookgate.Person) (
	changed bool, err error) {
	err = s.control(ctx, "SetPaused", name, func(sub *subscription) error {
		changed = paused == sub.pausedAt.IsZero()
		if !changed {
			return nil
		}
		sub.version++
		sub.pausedAt, sub.pausedBy, sub.pauseReason = time.Time{}, "", ""
		if paused {
			sub.pausedAt, sub.pausedBy, sub.pauseReason = s.now(), p.By, p.Reason
		}
		return nil
	})
	return changed && err == nil, err
}

// Seek implements hookgate.SubscriptionControl.
func (s *Store) Seek(ctx context.Context, name string, to hookgate.Start, dryRun bool,
	p hookgate.Person) (r hookgate.SeekResult, err error) {
	err = s.control(ctx, "Seek", name, func(sub *subscription) error {
		if to.At == hookgate.StartAfter && to.After < s.horizon {
			return &hookgate.HorizonError{Horizon: s.horizon}
		}
		if to.At == hookgate.StartAfter && to.After > s.last {
			return &hookgate.AheadError{End: s.last}
		}
		if !dryRun && len(sub.openLeases()) > 0 {
			return hookgate.ErrLeasesOut
		}
		r.From, r.To = sub.cursor, s.place(to)
		back := r.To < r.From
		r.Events = s.between(min(r.From, r.To), max(r.From, r.To))
		if back {
			r.Redelivery = sub.highest + 1
		}
		for id, e := range sub.exceptions {
			switch {
			case back && id.Event > r.To:
				r.Deleted++
				if !dryRun {
					delete(sub.exceptions, id)
				}
			case !back && id.Event <= r.To && unsettled(e):
				r.Skipped++
				if !dryRun {
					settle(sub, e, hookgate.AttemptSkipped, s.now(), p)
					delete(sub.exceptions, id)
				}
			}
		}
		if dryRun {
			return nil
		}
		for _, h := range sub.held() {
			if back && h.After >= r.To || !back && h.After < r.To && !h.Excepted {
				delete(sub.holds, h.OrderingKey)
			}
		}
		if back {
			sub.highest = r.Redelivery
			sub.redelivery, sub.redeliverUntil = r.Redelivery, s.last
		}
		s.epoch++
		sub.cursor, sub.epoch = r.To, s.epoch
		sub.version++
		return nil
	})
	if err != nil {
		return hookgate.SeekResult{}, err
	}
	return r, nil
}

// settle records that a person settled an exception.
func settle(sub *subscription, e *hookgate.Exception, o hookgate.AttemptOutcome, now time.Time,
	p hookgate.Person) {
	sub.add(hookgate.Attempt{Event: e.Event, Redelivery: e.Redelivery, Number: e.Attempts + 1,
		Outcome: o, At: now, Reason: p.Reason, By: p.By})
}

// Resolve implements hookgate.SubscriptionControl.
func (s *Store) Resolve(ctx context.Context, f hookgate.ExceptionFilter, a hookgate.Resolution,
	dryRun bool, p hookgate.Person) (changed int, err error) {
	err = s.control(ctx, "Resolve", f.Subscription, func(sub *subscription) error {
		now := s.now()
		for _, e := range sub.matching(f) {
			if a == hookgate.ResolveDeadLetter && !unsettled(e) {
				continue
			}
			changed++
			if !dryRun {
				resolve(sub, e, a, now, p)
			}
		}
		if changed > 0 && !dryRun {
			sub.version++
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	return changed, nil
}

func resolve(sub *subscription, e *hookgate.Exception, a hookgate.Resolution, now time.Time,
	p hookgate.Person) {
	h, held := sub.holds[e.OrderingKey]
	if held && unsettled(e) && a != hookgate.ResolveRetry {
		h.After = max(h.After, e.Event) // the key goes on after the event
		sub.holds[e.OrderingKey] = h
	}
	switch a {
	case hookgate.ResolveSkip:
		settle(sub, e, hookgate.AttemptSkipped, now, p)
		delete(sub.exceptions, hookgate.EventRedelivery{Event: e.Event, Redelivery: e.Redelivery})
	case hookgate.ResolveDeadLetter:
		settle(sub, e, hookgate.AttemptDeadLettered, now, p)
		e.State, e.Due, e.Wait, e.Changed = hookgate.ExceptionDead, time.Time{}, 0, now
		e.Attempts++
	case hookgate.ResolveRetry:
		if !unsettled(e) {
			e.OrderingKey = "" // later events of its key have passed it
		}
		e.State, e.Due, e.Wait, e.Changed = hookgate.ExceptionWaiting, now, 0, now
		e.Since = sub.clock
	}
}

// Redeliver implements hookgate.SubscriptionControl.
func (s *Store) Redeliver(ctx context.Context, name string, job hookgate.RedeliveryJob, dryRun bool,
	p hookgate.Person) (stored hookgate.StoredJob, events int, err error) {
	err = s.control(ctx, "Redeliver", name, func(sub *subscription) error {
		job = cloneJob(job)
		slices.Sort(job.Events)
		job.Events = slices.Compact(job.Events)
		if len(job.Events) == 0 && (job.Until == 0 || job.Until > s.last) {
			job.Until = s.last
		}
		job.ID, job.Redelivery, job.Position, job.Delivered, job.Failed = 0, sub.highest+1, job.After,
			0, 0
		events = s.covered(sub, &job)
		stored = hookgate.StoredJob{RedeliveryJob: job, Subscription: name, By: p.By, Reason: p.Reason,
			CreatedAt: s.now()}
		if dryRun {
			return nil
		}
		s.job++
		stored.ID = s.job
		sub.highest++
		sub.version++
		kept := stored
		kept.RedeliveryJob = cloneJob(kept.RedeliveryJob)
		sub.jobs = append(sub.jobs, &kept)
		return nil
	})
	if err != nil {
		return hookgate.StoredJob{}, 0, err
	}
	return stored, events, nil
}

// covered counts the events of a job.
func (s *Store) covered(sub *subscription, job *hookgate.RedeliveryJob) (n int) {
	if len(job.Events) > 0 {
		for _, id := range job.Events {
			if s.event(id) != nil {
				n++
			}
		}
		return n
	}
	for _, e := range s.events[s.after(job.After):s.after(max(job.After, job.Until))] {
		if !e.kept && n < hookgate.MaxBacklog && sub.Filter.Match(e.Source, e.EventType) &&
			job.Filter.Match(e.Source, e.EventType) &&
			(job.OrderingKey == "" || e.Keyed && e.OrderingKey == job.OrderingKey) {
			n++
		}
	}
	return n
}

// CancelJob implements hookgate.SubscriptionControl.
func (s *Store) CancelJob(ctx context.Context, name string, id int64, _ hookgate.Person) (
	cancelled bool, err error) {
	err = s.control(ctx, "CancelJob", name, func(sub *subscription) error {
		for _, job := range sub.jobs {
			if job.ID == id && job.EndedAt.IsZero() {
				job.EndedAt, job.Cancelled, cancelled = s.now(), true, true
				sub.version++
			}
		}
		return nil
	})
	return cancelled && err == nil, err
}

// Forget implements hookgate.SubscriptionControl.
func (s *Store) Forget(ctx context.Context, name string, _ hookgate.Person) error {
	return s.control(ctx, "Forget", name, func(sub *subscription) error {
		if sub.pausedAt.IsZero() && sub.removedAt.IsZero() {
			return hookgate.ErrInUse
		}
		s.forget(sub)
		return nil
	})
}

// forget removes a subscription and keeps its attempts.
func (s *Store) forget(sub *subscription) {
	delete(s.subscriptions, sub.Name)
	s.forgotten = append(s.forgotten, sub)
}

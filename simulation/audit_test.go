package simulation

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hookgate/hookgate"
)

// owned notes the new owner of a subscription.
func (w *world) owned(name string, p *process, epoch hookgate.Epoch) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.subs[name]
	s.owner, s.epoch, s.storm = p, epoch, nil
}

// saved checks results that are stored now.
func (w *world) saved(name string, epoch hookgate.Epoch, r *hookgate.Results) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.subs[name]
	if epoch < s.epoch {
		w.violateLocked("old owners are fenced", "results of epoch %d of %s are stored after epoch %d"+
			" has begun", epoch, name, s.epoch)
	}
	for _, a := range r.Attempts {
		s.outcome(&a)
		if a.Redelivery > 0 {
			continue // it changes nothing on the way of the cursor
		}
		e := w.senders.byID[a.Event]
		if o := s.firstOpen(s.slot(e), e.id, nil); s.pulls && s.slot(e) != "" && o != nil &&
			a.Outcome.Settles() {
			w.violateLocked("events are delivered in order", "%s of key %s is settled in %s before %s",
				e.MessageID, e.key, s.name, o.MessageID)
		}
		if a.Outcome.Settles() {
			s.settled[a.Event] = true
		}
	}
	s.audit()
}

// outcome checks one attempt.
func (s *subscription) outcome(a *hookgate.Attempt) {
	w, name := s.w, s.w.nameLocked(a.Event)
	after := time.Since(s.tried[a.Event])
	outOfTime := after >= s.retry.For-time.Second
	switch a.Outcome {
	case hookgate.AttemptDelivered:
		if !s.accepted[a.Event] {
			w.violateLocked("nothing is skipped without a person", "%s is recorded as delivered to %s, and"+
				" the consumer has refused it", name, s.name)
		}
	case hookgate.AttemptDeadLettered:
		if !s.mayDie[a.Event] && !(s.deadLetter && outOfTime) {
			w.violateLocked("nothing is skipped without a person", "%s is a dead letter of %s", name,
				s.name)
		}
	case hookgate.AttemptParked:
		if !s.mayDie[a.Event] && !outOfTime {
			w.violateLocked("nothing is skipped without a person", "%s is parked by %s after %v", name,
				s.name, after)
		}
	case hookgate.AttemptSkipped:
		w.violateLocked("nothing is skipped without a person", "%s skips %s", s.name, name)
	}
}

// audit checks the stored state: each event up to the cursor is settled, or visible as unsettled.
func (s *subscription) audit() {
	w := s.w
	state := w.store.State(s.name)
	covered, holds := map[int64]bool{}, map[string]int64{}
	for _, h := range state.Holds {
		holds[h.OrderingKey] = h.After
	}
	leased := map[int64]bool{}
	slots := map[string]string{} // the lease of each slot
	for i := range state.Leases {
		l := &state.Leases[i]
		for _, x := range l.Events {
			if x.State != hookgate.LeasedOpen {
				continue
			}
			e := w.senders.byID[x.Event]
			if leased[x.Event] {
				w.violateLocked("an event has one lease", "two leases of %s have %s", s.name, e.MessageID)
			}
			leased[x.Event] = true
			covered[x.Event] = covered[x.Event] || x.Redelivery == 0
			if slot := s.slot(e); slot != "" {
				if other := slots[slot]; other != "" && other != l.ID {
					w.violateLocked("one attempt of a key at a time", "two leases of %s have key %s", s.name,
						slot)
				}
				slots[slot] = l.ID
			}
		}
	}
	exceptions, _ := w.store.Exceptions(context.Background(),
		hookgate.ExceptionFilter{Subscription: s.name, Limit: 1 << 20})
	for _, x := range exceptions {
		if x.State == hookgate.ExceptionDead {
			continue
		}
		covered[x.Event] = covered[x.Event] || x.Redelivery == 0
		if after, held := holds[x.OrderingKey]; x.OrderingKey != "" && (!held || after >= x.Event) {
			w.violateLocked("events are delivered in order", "%s is %s in %s, and does not hold its key",
				w.nameLocked(x.Event), x.State, s.name)
		}
	}
	for _, e := range w.senders.stored {
		if e.id > state.Cursor {
			break
		}
		if !s.selects(e) || s.settled[e.id] || covered[e.id] {
			continue
		}
		if after, held := holds[e.key]; !held || s.slot(e) != e.key || after >= e.id {
			w.violateLocked("the cursor leaves nothing behind", "the cursor of %s has passed %s of key %s, which is"+
				" neither settled nor waiting; its key is held: %v", s.name, e.MessageID, e.key, held)
			return
		}
	}
}

// leasesOf returns the ids of the leases with open events.
func (w *world) leasesOf(name string) map[string]bool {
	all := map[string]bool{}
	for _, l := range w.store.State(name).Leases {
		all[l.ID] = true
	}
	return all
}

// leased checks the leases that a commit has begun.
func (w *world) leased(name string, before map[string]bool, r *hookgate.Results) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.subs[name]
	for i := range r.Leases {
		l := &r.Leases[i]
		if before[l.ID] {
			continue
		}
		here := map[int64]bool{} // those of the lease, and those that are settled with it
		for _, a := range r.Attempts {
			here[a.Event] = here[a.Event] || a.Outcome.Settles()
		}
		for _, x := range l.Events {
			here[x.Event] = true
		}
		for _, x := range l.Events {
			e := w.senders.byID[x.Event]
			if x.Redelivery > 0 {
				continue
			}
			if s.settled[x.Event] && !s.retried[x.Event] {
				w.violateLocked("an event has one lease", "%s leases %s, which is settled", name, e.MessageID)
			}
			if slot := s.slot(e); slot != "" && x.State == hookgate.LeasedOpen {
				if o := s.firstOpen(slot, e.id, here); o != nil {
					w.violateLocked("events are delivered in order", "%s leases %s of key %s before %s is"+
						" settled", name, e.MessageID, slot, o.MessageID)
				}
			}
			if s.tried[x.Event].IsZero() {
				s.tried[x.Event] = time.Now()
			}
		}
	}
}

// describe describes results for the trace, in an order that repeats.
func (w *world) describe(r *hookgate.Results) string {
	var parts []string
	for _, h := range r.Holds {
		parts = append(parts, "holds "+h.OrderingKey)
	}
	for _, key := range r.Freed {
		parts = append(parts, "frees "+key)
	}
	for _, l := range r.Leases {
		text := "lease of"
		for _, e := range l.Events {
			text += " " + w.name(e.Event) + string(e.State)
		}
		parts = append(parts, text)
	}
	slices.Sort(parts)
	for _, a := range r.Attempts {
		parts = append(parts, w.name(a.Event)+" "+string(a.Outcome))
	}
	if r.Cursor > 0 {
		parts = append(parts, "cursor "+w.name(r.Cursor))
	}
	if n := len(r.Expired); n > 0 {
		parts = append(parts, fmt.Sprint(n, " leases end"))
	}
	return strings.Join(parts, ", ")
}

// settledBut reports whether all events are settled in all subscriptions but those of a key.
func (w *world) settledBut(key func(s *subscription) string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.senders.working > 0 {
		return false
	}
	for _, e := range w.senders.events {
		if e.acked && e.id == 0 && !e.dead {
			return false
		}
	}
	for _, s := range w.subs {
		for _, e := range w.senders.stored {
			if s.selects(e) && !s.settled[e.id] && e.key != key(s) {
				return false
			}
		}
	}
	return true
}

// unsettled describes the first event that is not settled.
func (w *world) unsettled(key func(s *subscription) string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.senders.working > 0 {
		return fmt.Sprint(w.senders.working, " senders have no answer")
	}
	for _, e := range w.senders.events {
		if e.acked && e.id == 0 && !e.dead {
			return e.MessageID + " is acknowledged and not stored"
		}
	}
	for _, name := range w.subscribed {
		s := w.subs[name]
		for _, e := range w.senders.stored {
			if s.selects(e) && !s.settled[e.id] && e.key != key(s) {
				return fmt.Sprintf("%s is not settled in %s", e.MessageID, name)
			}
		}
	}
	return ""
}

// tidy reports whether nothing is left to do. Cursors pass last what nobody gets.
func (w *world) tidy() bool {
	if w.buffer != nil && w.buffer.stats().Depth > 0 {
		return false
	}
	end := int64(0)
	if n := len(w.senders.stored); n > 0 {
		end = w.senders.stored[n-1].id
	}
	for _, name := range w.subscribed {
		state := w.store.State(name)
		if state.Cursor < end || state.Exceptions+len(state.Jobs) > 0 ||
			len(state.Holds)+len(state.Leases) > 0 {
			return false
		}
	}
	return true
}

// leftovers checks the end: nothing waits anywhere, and every request has its trail.
func (w *world) leftovers() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.buffer != nil && w.buffer.stats().Depth > 0 {
		w.violateLocked("everything arrives", "%d records are left in the queue", w.buffer.stats().Depth)
	}
	for _, e := range w.senders.events {
		for id, r := range e.requests {
			if _, found := w.store.entryOf(id); r.acked && !found {
				w.violateLocked("every request has its lineage", "a request of %s was acknowledged and has"+
					" left no trail", e.MessageID)
			}
		}
	}
	page, _ := w.store.ReadLog(ctx, hookgate.LogQuery{Max: 1 << 20, MaxBytes: 1 << 30})
	seen := map[hookgate.Identity]bool{}
	for _, e := range page.Events {
		if seen[e.Identity] {
			w.violateLocked("acknowledged events are stored once", "%s is stored twice", e.MessageID)
		}
		seen[e.Identity] = true
	}
	for _, s := range w.subs {
		state := w.store.State(s.name)
		end := int64(0)
		if n := len(page.Events); n > 0 {
			end = page.Events[n-1].ID
		}
		if state.Cursor < end || state.Exceptions+len(state.Jobs) > 0 ||
			len(state.Holds)+len(state.Leases) > 0 {
			w.violateLocked("everything arrives", "at the end %s has %d exceptions, %d holds, %d leases,"+
				" %d redelivery jobs, and its cursor is %v before the end", s.name, state.Exceptions,
				len(state.Holds), len(state.Leases), len(state.Jobs),
				time.Duration(end-state.Cursor)*time.Microsecond)
		}
	}
}

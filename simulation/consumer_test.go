package simulation

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/deliver"
)

// subscription is a subscription with its consumer, and what is known of its deliveries. world.mu
// guards all that changes.
type subscription struct {
	w           *world
	name        string
	definition  hookgate.SubscriptionDefinition
	pulls       bool
	concurrency int
	retry       deliver.Retry
	deadLetter  bool
	// steady reports that the consumer never fails, and flaky is how often it does.
	steady bool
	flaky  int
	// failing is a key whose events the consumer always refuses.
	failing string

	away time.Time // no event reaches the consumer until then
	// accepted are the events that the consumer has done. answered are those whose process knows it.
	accepted, answered map[int64]bool
	// settled are those with a stored outcome, and mayDie those that may become dead letters or be
	// parked at once.
	settled, mayDie map[int64]bool
	flying          []*attempt
	// retried are those that a person wants to be attempted again, also if they are dead letters.
	retried map[int64]bool
	tried   map[int64]time.Time // the first attempt of each event
	epoch   hookgate.Epoch
	owner   *process
	storm   *storm
}

// attempt is an attempt that a process waits for.
type attempt struct {
	p    *process
	slot string
	e    *event
}

// storm watches the attempts after an outage.
type storm struct {
	epoch hookgate.Epoch
	first time.Time // of the attempts that succeeded; zero before
	count [8]int    // attempts in each second
}

// slot names the events that wait for each other; empty: the event waits for nobody.
func (s *subscription) slot(e *event) string {
	switch {
	case s.definition.Order == hookgate.OrderAll:
		return "all"
	case s.definition.Order == hookgate.OrderKey && e.keyed:
		return e.key
	}
	return ""
}

func (s *subscription) selects(e *event) bool {
	return s.definition.Filter.Match(e.Source, e.EventType)
}

// consumer is a push consumer as a process calls it.
type consumer struct {
	p *process
	s *subscription
}

// Deliver implements hookgate.Consumer.
func (c consumer) Deliver(ctx context.Context, d *hookgate.Delivery) hookgate.Answer {
	s, w := c.s, c.s.w
	a := s.begin(c.p, d)
	if a == nil {
		return hookgate.Answer{Verdict: hookgate.VerdictInterrupted}
	}
	defer s.end(a)
	timer := time.NewTimer(s.takes(d))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
	var answer hookgate.Answer
	call := &call{p: c.p, what: fmt.Sprintf("delivers %s to %s, attempt %d", a.e.MessageID, s.name,
		d.Attempt), writes: true, sure: true}
	if d.Redelivery > 0 {
		call.what += fmt.Sprint(" of redelivery ", d.Redelivery)
	}
	call.run = func() (string, error) {
		got, accepted, remark := s.decide(a.e)
		w.mu.Lock()
		defer w.mu.Unlock()
		s.accepted[a.e.id] = s.accepted[a.e.id] || accepted
		if !call.lately {
			answer = got
			s.answered[a.e.id] = s.answered[a.e.id] || d.Redelivery == 0 && s.settles(a.e, &got)
			if st := s.storm; st != nil && accepted && st.first.IsZero() {
				st.first = time.Now()
			}
		}
		return remark, nil
	}
	if err := w.wait(ctx, call); err != nil {
		return hookgate.Answer{Verdict: hookgate.VerdictInterrupted}
	}
	return answer
}

// settles reports whether an answer settles an event, or may do so because its time is over.
func (s *subscription) settles(e *event, a *hookgate.Answer) bool {
	switch a.Verdict {
	case hookgate.VerdictDelivered, hookgate.VerdictDead:
		return true
	case hookgate.VerdictFinal:
		return s.deadLetter
	}
	return s.deadLetter && time.Since(s.tried[e.id]) >= s.retry.For-time.Second
}

// takes returns how long an attempt takes.
func (s *subscription) takes(d *hookgate.Delivery) time.Duration {
	n := s.w.random(1000, s.name, d.Event.ID, d.Attempt)
	if n < 10 && !s.w.calm.Load() {
		return time.Duration(n) * 3 * time.Second
	}
	return time.Duration(n) * 40 * time.Microsecond
}

// decide chooses the answer of the consumer, and whether the consumer has done its work.
func (s *subscription) decide(e *event) (a hookgate.Answer, accepted bool, remark string) {
	w := s.w
	chaos := 100
	if !w.calm.Load() && !s.steady && w.rng.IntN(s.flaky) == 0 {
		chaos = w.rng.IntN(16)
	}
	asks := time.Duration(0)
	switch {
	case time.Now().Before(s.away):
		return hookgate.Answer{Verdict: hookgate.VerdictOutage, Reason: "away"}, false, "away"
	case e.key == s.failing || chaos < 5:
		return hookgate.Answer{Verdict: hookgate.VerdictFailed, Status: 500}, false, "500"
	case chaos < 8:
		return hookgate.Answer{Verdict: hookgate.VerdictOutage}, chaos == 5, "no answer"
	case chaos < 10:
		asks = 20 * time.Second
		return hookgate.Answer{Verdict: hookgate.VerdictOutage, Status: 503, RetryAfter: asks}, false,
			"503, retry after 20 s"
	case chaos == 10:
		return hookgate.Answer{Verdict: hookgate.VerdictOwn, Reason: "no route"}, false, "no route"
	case chaos == 11:
		w.mu.Lock()
		defer w.mu.Unlock()
		s.mayDie[e.id] = true
		return hookgate.Answer{Verdict: hookgate.VerdictDead, Reason: "dead"}, false, "dead"
	case chaos == 12:
		w.mu.Lock()
		defer w.mu.Unlock()
		s.mayDie[e.id] = true
		return hookgate.Answer{Verdict: hookgate.VerdictFinal, Status: 422}, false, "422, final"
	case chaos < 16:
		return hookgate.Answer{Verdict: hookgate.VerdictFailed, Status: 500}, true, "500, but done"
	}
	return hookgate.Answer{Status: 200}, true, "200"
}

// begin notes that an attempt begins, and checks it. It returns nil if the process is gone.
func (s *subscription) begin(p *process, d *hookgate.Delivery) *attempt {
	w := s.w
	w.mu.Lock()
	defer w.mu.Unlock()
	e := w.senders.byID[d.Event.ID]
	if p.gone || w.over || e == nil {
		return nil
	}
	a := &attempt{p, s.slot(e), e}
	if req := e.requests[d.Event.RequestID]; req == nil || req.body != string(d.Event.Body) {
		w.violateLocked("the bytes are kept", "%s delivers %s with the body %q", s.name, e.MessageID,
			d.Event.Body)
	}
	if st := s.storm; st != nil && !st.first.IsZero() {
		n := int(time.Since(st.first) / time.Second)
		if n >= len(st.count) || st.epoch != s.epoch {
			s.storm = nil
		} else if st.count[n]++; st.count[n] > 4<<n {
			w.violateLocked("slow start", "%d attempts in second %d after an outage of %s", st.count[n], n,
				s.name)
		}
	}
	if a.slot != "" {
		for _, o := range s.flying {
			if o.slot == a.slot {
				w.violateLocked("one attempt of a key at a time", "%s attempts %s of key %s while %s is"+
					" attempted", p.name, e.MessageID, a.slot, o.e.MessageID)
			}
		}
		if o := s.firstOpen(a.slot, e.id, nil); o != nil && d.Redelivery == 0 {
			w.violateLocked("events are delivered in order", "%s attempts %s of key %s before %s is settled",
				p.name, e.MessageID, a.slot, o.MessageID)
		}
	}
	if s.tried[e.id].IsZero() {
		s.tried[e.id] = time.Now()
	}
	s.flying = append(s.flying, a)
	return a
}

// firstOpen returns the first event of a slot before an id that is not settled; nil: none. Events
// that also selects count as settled.
func (s *subscription) firstOpen(slot string, id int64, also map[int64]bool) *event {
	for _, e := range s.w.senders.stored {
		if e.id >= id {
			break
		}
		if s.selects(e) && s.slot(e) == slot && !s.answered[e.id] && !s.settled[e.id] && !also[e.id] {
			return e
		}
	}
	return nil
}

func (s *subscription) end(a *attempt) {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	s.flying = slices.DeleteFunc(s.flying, func(o *attempt) bool { return o == a })
}

// interrupt ends the attempts of a process that is killed.
func (s *subscription) interrupt(p *process) {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	s.flying = slices.DeleteFunc(s.flying, func(a *attempt) bool { return a.p == p })
}

// outage makes the consumer unreachable for a time.
func (s *subscription) outage(d time.Duration) {
	s.w.mu.Lock()
	s.away, s.storm = time.Now().Add(d), nil
	s.w.mu.Unlock()
	s.w.note("the consumer of %s is away for %v", s.name, d)
}

// watch begins to watch the attempts when an outage ends, if the breaker is open then.
func (s *subscription) watch() {
	if s.away.IsZero() || time.Now().Before(s.away) {
		return
	}
	s.away = time.Time{}
	s.w.note("the consumer of %s is back", s.name)
	if s.owner == nil || s.owner.gone || s.owner.dispatcher == nil {
		return
	}
	for _, status := range s.owner.dispatcher.Status() {
		if status.Name == s.name && status.Breaker != "closed" {
			s.w.mu.Lock()
			s.storm = &storm{epoch: s.epoch}
			s.w.mu.Unlock()
		}
	}
}

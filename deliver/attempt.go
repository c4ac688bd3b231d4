package deliver

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hookgate/hookgate"
)

const (
	// maxReason bounds the text that is kept of a failed attempt, in bytes.
	maxReason = 4 << 10
	// unsavedPerAttempt times the concurrency bounds the attempts whose result is not saved yet. If
	// the process is killed, as many events are delivered again. A smaller bound would make fast
	// consumers wait for the disk.
	unsavedPerAttempt = 4
)

// dispatch begins attempts as long as it may. It returns how long to wait until the next one may
// begin; 0: until something else happens.
func (r *runner) dispatch(now time.Time) (wait time.Duration) {
	for {
		limit := r.slow.limit(r.concurrency)
		if r.idle() || r.again != nil || r.flying >= limit || r.lapsed(now) ||
			r.flying+len(r.suspects)+r.unsaved >= unsavedPerAttempt*r.concurrency {
			return 0
		}
		if now.Before(r.ownUntil) {
			return r.ownUntil.Sub(now)
		}
		if r.breaker.open && (r.flying > 0 || len(r.ready)+len(r.extra) == 0) {
			return 0
		}
		if r.breaker.open && now.Before(r.breaker.nextProbe) {
			return r.breaker.nextProbe.Sub(now)
		}
		extra := r.takeable(limit, now)
		// Leave out events of which a redelivery is in flight.
		for n := len(r.ready); n > 0 && r.inAir(r.ready[0]); n-- {
			r.ready = append(r.ready[1:], r.ready[0])
		}
		if extra < 0 && (len(r.ready) == 0 || r.inAir(r.ready[0])) {
			return r.askedWait(now, r.jobWait(now))
		}
		if extra < 0 && r.waits(r.ready[0], now) {
			return r.askedWait(now, 0)
		}
		if wait := r.pace.take(r.slow.rate(r.sub.Rate), now); wait > 0 {
			return wait
		}
		if extra >= 0 {
			it := r.extra[extra]
			r.extra = slices.Delete(r.extra, extra, extra+1)
			r.giveSlot(it)
			r.extras++
			r.begin(it, true)
			continue
		}
		it := r.ready[0]
		r.ready[0] = nil
		r.ready = r.ready[1:]
		r.begin(it, false)
	}
}

// fresh reports whether an item has not failed as a probe.
func fresh(it *item) bool { return !it.probed }

// due returns when the wait is over for which the consumer asked; zero if it did not.
func (a *answered) due() time.Time {
	if a == nil {
		return time.Time{}
	}
	return a.at.Add(min(a.answer.RetryAfter, maxRetryAfter))
}

// waits reports whether an item must not be a probe yet, because the consumer has asked for a wait.
func (r *runner) waits(it *item, now time.Time) bool {
	return r.breaker.open && now.Before(it.asked.due())
}

// askedWait returns the time until the first item may be a probe for which the consumer has asked
// for a wait, or wait if that is shorter and not 0.
func (r *runner) askedWait(now time.Time, wait time.Duration) time.Duration {
	if !r.breaker.open {
		return wait
	}
	for _, items := range [][]*item{r.ready, r.extra} {
		for _, it := range items {
			if left := it.asked.due().Sub(now); left > 0 && (wait == 0 || left < wait) {
				wait = left
			}
		}
	}
	return wait
}

// takeable returns the index of an item of extra that can begin, or -1. While new events are ready,
// extra has at most half of the attempts. New events that have not failed as a probe are the first
// probes; takeable moves one of them to the front. Then probes alternate between ready and extra,
// except for items for which the consumer has asked for a wait.
func (r *runner) takeable(limit int, now time.Time) int {
	waiting := false // all of ready
	if r.breaker.open && r.order != hookgate.OrderAll {
		i := slices.IndexFunc(r.ready, func(it *item) bool { return fresh(it) && !r.inAir(it) })
		isFresh := i >= 0
		if i < 0 {
			i = slices.IndexFunc(r.ready, func(it *item) bool { return !r.waits(it, now) })
		}
		if i > 0 {
			it := r.ready[i]
			r.ready = slices.Insert(slices.Delete(r.ready, i, i+1), 0, it)
		}
		if isFresh || i >= 0 && r.extraLast {
			return -1
		}
		waiting = i < 0
	}
	if len(r.ready) > 0 && !waiting && r.extras >= max(1, limit/2) {
		return -1
	}
	for i, it := range r.extra {
		if it.job != nil && now.Before(it.job.wait) || r.waits(it, now) {
			continue
		}
		if !r.isKeyed(it.event) {
			if !r.inAir(it) {
				return i
			}
		} else if k := r.keys[it.event.OrderingKey]; k == nil || k.current == nil {
			return i
		}
	}
	return -1
}

// inAir reports whether an item without a key must wait, because an attempt of the same event is in
// flight: another redelivery of it.
func (r *runner) inAir(it *item) bool { return it.key == nil && r.air[it.event.ID] }

// giveSlot gives an item of extra the slot of its key.
func (r *runner) giveSlot(it *item) {
	if r.isKeyed(it.event) {
		it.key = r.keyNamed(it.event.OrderingKey)
		it.key.current = it
	}
}

// begin begins an attempt.
func (r *runner) begin(it *item, extra bool) {
	r.flying++
	r.extraLast = extra
	r.slow.begun++
	if it.job != nil {
		it.job.begun(time.Now())
	}
	if it.key == nil {
		r.air[it.event.ID] = true
	}
	r.breaker.attempted(r.keyOf(it), time.Now())
	probe := r.breaker.open
	d := &hookgate.Delivery{Subscription: r.name, Event: it.event, Attempt: it.exception.Attempts + 1,
		Redelivery: it.redelivery}
	go func() {
		start := time.Now()
		answer := hookgate.Answer{Verdict: hookgate.VerdictFailed,
			Reason: "the consumer ended its goroutine (runtime.Goexit)"}
		defer func() {
			now := time.Now()
			r.answers <- answered{it, extra, probe, answer, now.Sub(start), now}
		}()
		answer = deliver(r.attempts, r.sub.Consumer, d)
	}()
}

// deliver calls a consumer. A panic is a failed attempt.
func deliver(ctx context.Context, c hookgate.Consumer, d *hookgate.Delivery) (a hookgate.Answer) {
	defer func() {
		if p := recover(); p != nil {
			a = hookgate.Answer{Verdict: hookgate.VerdictFailed,
				Reason: fmt.Sprintf("panic: %v\n%s", p, debug.Stack())}
		}
	}()
	return c.Deliver(ctx, d)
}

// keyOf names the key that the breaker counts.
func (r *runner) keyOf(it *item) string {
	if r.order == hookgate.OrderAll {
		return ""
	}
	return it.event.Key()
}

// answered takes the answer of an attempt.
func (r *runner) answered(a answered) {
	r.flying--
	r.runClock(time.Now())
	if a.extra {
		r.extras--
		a.extra = false
	}
	it := a.it
	if it.key == nil {
		delete(r.air, it.event.ID)
	}
	if len(a.answer.Reason) > maxReason {
		a.answer.Reason = strings.ToValidUTF8(a.answer.Reason[:maxReason], "")
	}
	if a.answer.Verdict != hookgate.VerdictInterrupted {
		r.d.config.Observer.Attempted(r.name, class(&a.answer), a.took)
	}
	switch a.answer.Verdict {
	case hookgate.VerdictOutage:
		r.outage(a)
		return
	case hookgate.VerdictOwn:
		r.ownFails++
		r.ownUntil = a.at.Add(storeRetry.Pause(r.ownFails))
		r.problem = a.answer.Reason
		r.d.config.Logger.Warn("cannot deliver, and not because of the consumer", "subscription", r.name,
			"error", a.answer.Reason)
		r.requeue(it)
		return
	case hookgate.VerdictInterrupted:
		r.requeue(it)
		return
	}
	// The consumer has answered.
	r.ownFails, r.problem = 0, ""
	// An attempt that began before the breaker opened is no probe.
	if (a.probe || !r.breaker.open) && r.breaker.succeeded(a.at) {
		r.d.config.Logger.Info("the consumer is back; delivery starts slowly", "subscription", r.name)
		r.slow.begin(a.at)
		r.pending.broken = &time.Time{}
		r.failAsked(a.at)
	}
	suspects := r.suspects
	r.suspects = nil
	for _, s := range suspects {
		r.fail(s)
	}
	switch a.answer.Verdict {
	case hookgate.VerdictDelivered:
		r.settle(it, hookgate.AttemptDelivered, &a)
	case hookgate.VerdictGone:
		r.paused = true
		r.pending.pause = cmp.Or(a.answer.Reason, "the consumer asked for it")
		if a.answer.Status == http.StatusGone {
			r.pending.pause = "the consumer answered 410: " + a.answer.Reason
		}
		r.d.config.Logger.Warn("the consumer asked for a pause; the subscription is paused until a person"+
			" resumes it", "subscription", r.name, "reason", r.pending.pause)
		r.requeue(it)
	default:
		r.fail(a)
	}
}

// class is the class of an answer for metrics.
func class(a *hookgate.Answer) string {
	switch {
	case a.Verdict == hookgate.VerdictOwn:
		return "own"
	case a.Status >= 200 && a.Status < 600:
		return strconv.Itoa(a.Status/100) + "xx"
	case a.Verdict == hookgate.VerdictDelivered:
		return "2xx"
	}
	return "error"
}

// outage takes an answer that may mean that the whole consumer is away. If the breaker opens, it
// was an outage: no attempt of it counts. Otherwise the event is a suspect until the next answer or
// for suspectTime.
func (r *runner) outage(a answered) {
	again := a.it.probed || a.it.exception.Attempts > 0
	a.it.probed = true
	if r.breaker.open {
		if again && r.breaker.good > 0 {
			r.fail(a) // others are delivered, and this one fails again
			return
		}
		// Attempts that began before the breaker opened are no probes.
		if a.probe {
			r.breaker.failure(r.keyOf(a.it), a.at)
			r.problem = a.answer.Reason
		}
		r.probeAgain(a)
		return
	}
	r.suspects = append(r.suspects, a)
	if !r.breaker.failure(r.keyOf(a.it), a.at) {
		return
	}
	r.d.config.Logger.Warn("the consumer does not answer; only probes are sent until it is back",
		"subscription", r.name, "error", a.answer.Reason)
	r.slow, r.problem = slowStart{}, a.answer.Reason
	since := a.at
	r.pending.broken = &since
	r.reach = reach{at: a.at.Add(firstProbe)}
	for _, s := range r.suspects {
		r.probeAgain(s)
	}
	r.suspects = nil
}

// probeAgain makes an item ready again after an attempt that does not count.
func (r *runner) probeAgain(a answered) {
	a.it.asked = nil
	if a.answer.RetryAfter > 0 {
		a.it.asked = &a
	}
	r.requeue(a.it)
}

// failAsked counts the attempts whose answers asked for waits that are not over when an outage
// ends: the events become exceptions, so that each holds nothing but its key.
func (r *runner) failAsked(now time.Time) {
	var asked []answered
	take := func(it *item) bool {
		if it.asked == nil {
			return false
		}
		a := *it.asked
		it.asked = nil
		if now.Before(a.due()) {
			asked = append(asked, a)
			return true
		}
		return false
	}
	r.ready, r.extra = slices.DeleteFunc(r.ready, take), slices.DeleteFunc(r.extra, take)
	for _, a := range asked {
		r.fail(a)
	}
}

// expireSuspects counts the attempts of suspects whose time is up.
func (r *runner) expireSuspects(now time.Time) {
	for len(r.suspects) > 0 && now.Sub(r.suspects[0].at) >= suspectTime {
		s := r.suspects[0]
		r.suspects = r.suspects[1:]
		r.fail(s)
	}
}

// requeue makes an item ready again whose attempt does not count. It keeps the slot of its key.
// Items of other keys come first, so that probes rotate over keys.
func (r *runner) requeue(it *item) {
	switch {
	case !(it.path && !it.excepted || it.key != nil):
		r.extra = append(r.extra, it)
	case r.order == hookgate.OrderAll:
		r.ready = append([]*item{it}, r.ready...)
	default:
		r.ready = append(r.ready, it)
	}
}

// fail takes a failed attempt.
func (r *runner) fail(a answered) {
	it := a.it
	it.exception = r.sub.Retry.Failed(it.exception, &a.answer, a.at, r.clock)
	r.apply(it, &a)
}

// apply stores the exception of an item after a failed attempt.
func (r *runner) apply(it *item, a *answered) {
	parked := it.exception.State == hookgate.ExceptionParked
	if parked && r.sub.DeadLetter {
		it.exception.State = hookgate.ExceptionDead
	}
	if it.exception.State == hookgate.ExceptionDead {
		r.settle(it, hookgate.AttemptDeadLettered, a)
		return
	}
	e := &it.exception
	e.Event, e.Redelivery = it.event.ID, it.redelivery
	outcome := hookgate.AttemptFailed
	if parked {
		outcome = hookgate.AttemptParked
		r.d.config.Observer.Settled(r.name, string(outcome), a.at.Sub(it.event.ReceivedAt))
		r.d.config.Logger.Warn("an event is parked: it could not be delivered in time", "subscription",
			r.name, "event", it.event.ID, "error", e.Reason)
	}
	r.record(it, outcome, a)
	if it.path && it.key != nil {
		e.OrderingKey = it.key.name
	}
	r.pending.Except(*e, it.excepted && it.createdIn != r.pending.batch)
	if !it.excepted {
		it.excepted, it.createdIn = true, r.pending.batch
		r.count++
	}
	r.active[it.id()] = r.pending.batch
	if !parked && (r.nextDue.IsZero() || e.Due.Before(r.nextDue)) {
		r.nextDue = e.Due
	}
	if it.job != nil {
		r.jobProgress(it, false)
	}
	if r.order == hookgate.OrderAll && it.path && it.redelivery == r.numberOf(it.event.ID) {
		r.block(it)
		return
	}
	if k := it.key; k != nil && it.path && (!k.held || it.event.ID > k.after) {
		r.hold(k, it.event.ID-1)
		r.setExcepted(k, true)
	}
	r.cover(it)
	r.vacate(it)
}

// block stops a subscription with OrderAll behind an event that is waiting or parked. The cursor
// stays before it.
func (r *runner) block(it *item) {
	for _, other := range r.ready {
		r.forget(other)
	}
	r.forget(it)
	r.blocked, r.ready, r.page, r.paged, r.ring = true, nil, nil, false, ring{}
	r.position = it.event.ID - 1
	r.reader.close()
	r.reader = r.d.tail.reader(r.position, &r.sub.Definition.Filter)
}

// record adds an attempt to the history.
func (r *runner) record(it *item, outcome hookgate.AttemptOutcome, a *answered) {
	number := max(1, it.exception.Attempts)
	if outcome == hookgate.AttemptDelivered {
		number = it.exception.Attempts + 1
	}
	reason := ""
	if outcome != hookgate.AttemptDelivered {
		reason = a.answer.Reason
	}
	r.pending.Attempts = append(r.pending.Attempts, hookgate.Attempt{Event: it.event.ID,
		Redelivery: it.redelivery, Number: number, Outcome: outcome, Status: a.answer.Status, At: a.at,
		Took: a.took, Reason: reason})
	r.pending.weight++
	r.unsaved++
}

// settle takes the end of a delivery.
func (r *runner) settle(it *item, outcome hookgate.AttemptOutcome, a *answered) {
	r.record(it, outcome, a)
	r.d.config.Observer.Settled(r.name, string(outcome), a.at.Sub(it.event.ReceivedAt))
	id := it.id()
	r.pending.Settle(id)
	if outcome == hookgate.AttemptDeadLettered {
		e := it.exception
		e.Event, e.Redelivery, e.OrderingKey = id.Event, id.Redelivery, ""
		r.pending.Except(e, it.excepted && it.createdIn != r.pending.batch)
		r.d.config.Logger.Warn("an event is a dead letter: it could not be delivered in time",
			"subscription", r.name, "event", id.Event, "error", e.Reason)
	}
	r.active[id] = r.pending.batch
	if it.excepted {
		r.count--
	}
	if it.job != nil {
		r.jobProgress(it, true)
	}
	if id.Event > r.position && it.redelivery == r.numberOf(id.Event) {
		r.settled[id.Event] = true // the reader comes to it later
		r.blocked = false
	}
	if k := it.key; k != nil && it.path && k.held && id.Event > k.after { // else a person was faster
		r.setExcepted(k, false)
		r.hold(k, id.Event)
	}
	r.cover(it)
	r.vacate(it)
}

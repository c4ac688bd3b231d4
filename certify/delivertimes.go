package certify

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/certify/consumer"
)

// spoilt checks the key that always failed, and the event that was refused.
func (d *deliveryCheck) spoilt() {
	failing := d.byKey[d.run.FailingKey]
	d.untried = len(failing) == 0
	d.unanswered = d.listed.Error != ""
	isListed := func(messageID string, states ...hookgate.ExceptionState) bool {
		for _, e := range d.listed.Exceptions {
			if e.MessageID == messageID && slices.Contains(states, e.State) {
				return true
			}
		}
		return false
	}
	var first *taken // the event that failed
	for _, t := range failing {
		if len(t.attempts) > 0 && t.attempts[0].Did == consumer.Failed && (first == nil ||
			t.attempts[0].At.Before(first.attempts[0].At)) && d.failedUntilHealed(t) {
			first = t
		}
	}
	if first != nil && !d.unanswered && !isListed(first.messageID, hookgate.ExceptionWaiting,
		hookgate.ExceptionParked) {
		d.Parked.add("%s failed until %s, and the API showed it neither as waiting nor as parked",
			first.messageID, d.run.Healed.Format(clock))
	}
	d.delivered(failing, &d.Parked)
	r := d.run.Refused
	if r == nil {
		return
	}
	state := hookgate.ExceptionParked
	if d.run.Then == "dead_letter" {
		state = hookgate.ExceptionDead
	}
	if !d.unanswered && !isListed(r.MessageID, state) {
		d.Policy.add("%s was refused with %d, and the API did not show it as %s", r.MessageID, r.Status,
			state)
	}
	if r.Key != d.run.FailingKey {
		d.delivered(d.byKey[r.Key], &d.Policy)
	}
	if i, ok := d.byID[r.MessageID]; ok {
		n := 0
		for _, a := range d.events[i].attempts {
			if a.Did == consumer.Refused {
				if n++; n > 1 {
					d.Policy.add("%s was tried again at %s, after it had been refused", r.MessageID,
						a.At.Format(clock))
				}
			}
		}
	}
}

// failedUntilHealed reports whether no attempt of the event was taken before the key was healed.
func (d *deliveryCheck) failedUntilHealed(t *taken) bool {
	at, ok := t.settled()
	return !ok || at.After(d.run.Healed)
}

// delivered looks for events that were not delivered after the consumer was healed.
func (d *deliveryCheck) delivered(all []*taken, v *violations) {
	for _, t := range all {
		if _, ok := t.settled(); !ok && !t.acked.IsZero() {
			v.add("%s of key %s was not delivered after the consumer was healed", t.messageID, t.key)
		}
	}
}

// leastOthers is the number of events from which a P95 says something.
const leastOthers = 20

// times computes latencies, the time to recover and the storm.
func (d *deliveryCheck) times() {
	outage, recovery := d.run.stage(stageOutage), d.run.stage(stageRecovery)
	ready := d.run.stage(stageReady)
	trouble := d.run.stage(stageTrouble)
	var calm, before, during, answeredBefore, answeredDuring []float64
	for i := range d.events {
		t := &d.events[i]
		if !t.acked.IsZero() && len(t.attempts) > 0 && t.acked.Before(trouble) {
			sent := time.UnixMicro(d.account.begun(t.event))
			calm = append(calm, millis(t.attempts[0].At.Sub(sent)))
		}
		at, ok := t.settled()
		if !ok || t.acked.IsZero() || d.isSpoilt(t) {
			continue
		}
		if t.acked.Before(recovery) && at.After(recovery) {
			d.heldUp++
			d.RecoverSeconds = max(d.RecoverSeconds, round(at.Sub(recovery).Seconds()))
		}
		if t.acked.Before(ready) && at.After(ready) {
			if !outage.IsZero() && at.After(outage) {
				at = outage // the stage waited for all that the other subscription had
			}
			d.ReadySeconds = max(d.ReadySeconds, round(at.Sub(ready).Seconds()))
		}
	}
	for _, a := range d.others {
		i, ok := d.byID[a.MessageID]
		if !ok || d.events[i].acked.IsZero() || !a.Took() {
			continue
		}
		acked := d.events[i].acked
		answered := millis(acked.Sub(time.UnixMicro(d.account.begun(d.events[i].event))))
		switch late := millis(a.At.Sub(acked)); {
		case a.At.Before(trouble): // events under way then belong to neither
			before, answeredBefore = append(before, late), append(answeredBefore, answered)
		case acked.Before(trouble):
		case acked.Before(recovery):
			during, answeredDuring = append(during, late), append(answeredDuring, answered)
		}
	}
	d.P50, d.P95 = quantile(calm, 0.5), quantile(calm, 0.95)
	d.Calm, d.Trouble = quantile(before, 0.95), quantile(during, 0.95)
	d.AnsweredCalm, d.AnsweredTrouble = quantile(answeredBefore, 0.95), quantile(answeredDuring, 0.95)
	d.fewCalm = len(calm) < leastOthers
	d.fewOthers = len(before) < leastOthers || len(during) < leastOthers
	d.Storm = max(d.storm(trouble, ready, outage), d.storm(trouble, recovery, time.Time{}))
	d.probes(d.run.stage(stageUnready), ready)
}

// probes counts the attempts while the consumer answered 503 to everything.
func (d *deliveryCheck) probes(from, to time.Time) {
	const burst = time.Second // the attempts under way when it began
	late := 0
	for _, a := range d.attempts {
		if a.Did != consumer.Unready {
			continue
		}
		d.Unready++
		if a.RetryAfter > 0 && !a.Cut {
			d.Asked++
		}
		if a.At.After(from.Add(burst)) {
			late++
		}
	}
	if rest := to.Sub(from) - burst; !from.IsZero() && rest > 0 {
		d.Probes = round(float64(late) / rest.Seconds())
	}
}

// storm returns by which factor the attempts from up on exceeded those of a rate that begins at one
// per second, after a few probes, and doubles each second. It ends at the rate before, or at a time.
func (d *deliveryCheck) storm(trouble, up, until time.Time) float64 {
	if up.IsZero() || len(d.attempts) == 0 {
		return 0
	}
	const probes = 4
	before := 0
	for _, a := range d.attempts {
		if a.At.Before(trouble) {
			before++
		}
	}
	rate := max(float64(before)/max(trouble.Sub(d.attempts[0].At).Seconds(), 0.001), 1)
	worst, n := 0.0, 0
	var first time.Time
	for _, a := range d.attempts {
		if a.At.Before(up) {
			continue
		}
		if !until.IsZero() && a.At.After(until) {
			break
		}
		if n++; n == 1 {
			first = a.At
		}
		elapsed := a.At.Sub(first).Seconds()
		if math.Pow(2, elapsed) > rate {
			break
		}
		worst = max(worst, float64(n)/(probes+math.Pow(2, elapsed+1)))
	}
	return round(worst)
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// quantile returns the quantile of values, which it sorts; 0 of none.
func quantile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return 0
	}
	slices.Sort(values)
	return round(values[min(int(q*float64(len(values))), len(values)-1)])
}

// delivery judges the consumer's side of the phase deliver.
func (j *judging) delivery(d *deliveryCheck) {
	l, first := j.limits.Consumer, len(j.criteria)
	lag := j.add("consumer_lag", "greatest delay of the consumer itself", "<=", l.LagMS, d.LagMS, "ms",
		statesFile)
	lagging := lag.Status != Pass
	if lagging {
		lag.invalidate("the consumer itself was late, so its times say nothing about the target; " +
			"run it on a machine with more free CPU time")
	}
	timed := func(c *Criterion) *Criterion {
		if lagging {
			c.invalidate("the consumer itself was late")
		}
		return c
	}
	paced := func(c *Criterion) { // milliseconds, which the sender's delay hides too
		if timed(c); j.lagging {
			c.invalidate("the client was late: see client_lag")
		}
	}
	none := func(id, text string, v violations, unit string) *Criterion {
		return j.none(id, text, v, unit, deliveredReport)
	}
	none("delivered", "acknowledged events that were never delivered", d.Undelivered, "events")
	none("retried", "events that were not delivered again after a failed attempt", d.Abandoned,
		"events")
	none("once", "events delivered again after the consumer had taken them", d.Repeated, "events")
	none("key_order", "events delivered before an earlier one of their key was settled", d.Disordered,
		"events")
	together := none("in_flight", "attempts of a key while another of that key was under way",
		d.Together, "attempts")
	if together.Status == Fail && d.LagMS > d.run.TimeoutSeconds*250 {
		together.invalidate("the consumer itself was late, by more than a quarter of the time-out")
	}
	none("bytes", "attempts with other bytes than were sent", d.Bytes, "attempts")
	none("sender_headers", "attempts without the sender's content type, content encoding and "+
		"signature", d.Sender,
		"attempts")
	if d.run.Push {
		signature := none("signature", "attempts that are not signed with the time of the attempt",
			d.Signature, "attempts")
		if !d.run.Signed {
			signature.invalidate("the subscription has no secret: give it signing")
		}
		timed(signature)
	}
	none("webhook_id", "attempts whose webhook-id is not that of the event's first request",
		d.WebhookID, "attempts")
	none("attempt_numbers", "attempts whose number does not follow from those before", d.Numbers,
		"attempts")
	timed(none("headers", "attempts with wrong hookgate headers", d.Headers, "attempts"))
	d.judgeSpoilt(j)
	prompt := j.add("prompt", "P95 of the time from sending to the consumer, before it failed",
		"<=", l.PromptMS, d.P95, "ms", attemptsFile)
	paced(prompt)
	if d.fewCalm {
		prompt.invalidate("the consumer got too few events before it failed")
	}
	if l.UnreadySeconds > 0 {
		d.judgeUnready(j, timed)
	}
	limit := l.PullRecoverSeconds
	if d.run.Push {
		limit = l.RecoverSeconds
	}
	recovered := timed(j.add("recovered", "time from the end of the outage until everything from "+
		"before it was delivered", "<=", limit, d.RecoverSeconds, "s", attemptsFile))
	if recovered.Status == Pass && d.run.stage(stageRecovery).IsZero() {
		recovered.invalidate("there was no outage")
	} else if d.heldUp == 0 {
		recovered.invalidate("the outage held up no event: send more events, or at a lower rate")
	}
	if d.run.Push {
		timed(j.add("no_storm", "attempts after an outage, as a multiple of a rate that begins at one "+
			"and doubles each second", "<=", l.StormFactor, d.Storm, "times", attemptsFile))
	}
	drained := j.add("lag_drained", "time until the subscription reported that nothing is left, "+
		"after the consumer was healed", "<=", l.HealedSeconds, d.run.DrainSeconds, "s", statesFile)
	if !d.run.Drained {
		drained.Status, drained.Note = Fail, "it did not report that in time"
	}
	if d.Undelivered.Count+d.Abandoned.Count+d.Parked.Count+d.Policy.Count > 0 && !d.run.Drained {
		drained.invalidate("events are missing, so there was no time at which it could be drained")
	}
	// A machine that became slower meanwhile shows in the 202s too.
	grown := d.Trouble - d.Calm - max(0, d.AnsweredTrouble-d.AnsweredCalm)
	others := j.add("others", "growth of the P95 of another subscription while this one failed, "+
		"beyond that of the 202", "<=", l.OthersMS, round(max(0, grown)), "ms", witnessFile)
	paced(others)
	others.Note = orElse(others.Note, fmt.Sprintf("from %.1f ms to %.1f ms, the 202 from %.1f ms to "+
		"%.1f ms", d.Calm, d.Trouble, d.AnsweredCalm, d.AnsweredTrouble))
	if d.fewOthers {
		others.invalidate("the other subscription got too few events to compare")
	}
	d.invalidate(j.criteria[first:])
}

// judgeUnready judges the time in which the consumer answered 503 to everything.
func (d *deliveryCheck) judgeUnready(j *judging, timed func(*Criterion) *Criterion) {
	l := j.limits.Consumer
	asked := j.none("retry_after", "attempts of a key before the wait was over for which the "+
		"consumer had asked", d.Impatient, "attempts", deliveredReport)
	asked.Note = fmt.Sprintf("%d of %d answers asked for %d s", d.Asked, d.Unready,
		l.RetryAfterSeconds)
	if d.Asked == 0 {
		asked.invalidate("no answer asked for a wait")
	}
	if d.run.Push { // a consumer that pulls asks for its attempts
		timed(j.add("probes", "attempts per second while the consumer answered 503 to everything, after "+
			"the first second", "<=", l.ProbesPerSecond, d.Probes, "/s", attemptsFile))
	}
	ready := timed(j.add("ready_again", "time from the last 503 until everything from before it was "+
		"delivered", "<=", l.ReadySeconds, d.ReadySeconds, "s", attemptsFile))
	if ready.Status == Pass && d.run.stage(stageReady).IsZero() {
		ready.invalidate("there was no such time")
	}
}

// judgeSpoilt judges what was made to fail until the end.
func (d *deliveryCheck) judgeSpoilt(j *judging) {
	parked := j.none("parked", "events of the key that always failed which the target did not list, "+
		"or did not deliver after the key was healed", d.Parked, "events", deliveredReport)
	switch {
	case d.untried:
		parked.invalidate("no key was tried while it failed")
	case d.unanswered:
		parked.invalidate("the exceptions could not be read: %s", d.listed.Error)
	case d.run.Unretried != "" && parked.Status == Fail:
		parked.invalidate("certify could not retry them: %s", d.run.Unretried)
	}
	if d.run.Refused == nil {
		return
	}
	policy := j.none("dead_letter", "events with a final status that were retried, not shown as "+
		"dead or parked, or not delivered when a person retried them", d.Policy, "events",
		deliveredReport)
	switch {
	case d.unanswered:
		policy.invalidate("the exceptions could not be read: %s", d.listed.Error)
	case d.run.Unretried != "" && policy.Status == Fail:
		policy.invalidate("certify could not retry them: %s", d.run.Unretried)
	}
}

// invalidate marks the criteria that a run cannot judge because it did not reach its end.
// Violations that it found before count.
func (d *deliveryCheck) invalidate(criteria []Criterion) {
	if d.run.Stopped == "" {
		return
	}
	found := []string{"once", "key_order", "in_flight", "bytes", "sender_headers", "signature",
		"webhook_id", "attempt_numbers", "headers", "retry_after"}
	if d.run.Stopped == killed { // the ledger of the sender may lack the last requests
		found = []string{"once", "key_order", "in_flight", "sender_headers", "signature",
			"retry_after"}
	}
	for i := range criteria {
		c := &criteria[i]
		if c.Status == Fail && slices.ContainsFunc(found, func(id string) bool {
			return c.ID == Deliver+"/"+id
		}) {
			continue
		}
		c.invalidate("the phase did not run to its end: %s", d.run.Stopped)
	}
}

package certify

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/api"
	"github.com/hookgate/hookgate/certify/consumer"
)

// Shares of the events after which a stage ends, in percent. They count what was delivered, so that
// a slow target has its events in every stage.
const calmUntil, troubleUntil, readyUntil = 20, 40, 50

// leastFailed is how often the key that fails must be tried, so that its retries can be judged.
const leastFailed = 3

// play goes through the stages.
func (d *delivery) play(ctx context.Context, final int) error {
	total := d.limits.count()
	taken := func(percent int) func() bool {
		return func() bool { return d.core.Taken() >= total*percent/100 }
	}
	d.begin(stageCalm)
	calm := taken(calmUntil)
	d.until(ctx, func() bool { return calm() && d.witness.Taken() >= leastOthers })
	d.begin(stageTrouble)
	d.spoil(final)
	for i := range d.limits.Consumer.Restarts {
		d.until(ctx, taken(calmUntil+(i+1)*(troubleUntil-calmUntil)/(d.limits.Consumer.Restarts+1)))
		if err := d.leave(ctx, restartPause, true); err != nil {
			return err
		}
	}
	enough := taken(troubleUntil)
	d.until(ctx, func() bool { return enough() && d.core.FailedKey() >= leastFailed })
	d.core.SetFaults(consumer.Faults{})
	d.beUnready(ctx)
	d.until(ctx, taken(readyUntil))
	d.begin(stageOutage)
	if err := d.leave(ctx, seconds(d.limits.Consumer.OutageSeconds), false); err != nil {
		return err
	}
	d.begin(stageRecovery)
	d.until(ctx, func() bool { return d.have(d.core, d.spoilt) })
	if err := d.listExceptions(ctx); err != nil {
		return err
	}
	d.begin(stageHealed)
	d.heal(ctx)
	d.until(ctx, func() bool { return d.have(d.core, nobodys) })
	d.untilQuiet(ctx, d.run.Witness, func() bool { return d.have(d.witness, nobodys) })
	d.run.Drained = d.wait(ctx, seconds(d.limits.DrainSeconds), func() bool { return d.drained(ctx) })
	d.run.DrainSeconds = round(time.Since(d.run.Healed).Seconds())
	d.begin(stageEnd)
	if ctx.Err() != nil {
		d.run.Stopped = "interrupted"
	}
	return nil
}

func (d *delivery) begin(stage string) {
	d.run.Stages = append(d.run.Stages, stageBegun{stage, time.Now().UTC()})
	d.c.say("%s: %s, %d events taken", Deliver, stage, d.core.Taken())
	if stage == stageRecovery || stage == stageHealed {
		d.c.doing(Deliver, map[string]string{stageRecovery: "waiting for what the outage held up",
			stageHealed: "waiting for the key that failed"}[stage])
	}
}

// spoil lets a share of the attempts fail, and one key always. It refuses one event, if the
// subscription has an answer for that.
func (d *delivery) spoil(final int) {
	d.core.SetFaults(d.limits.Consumer.faults())
	d.core.FailNextKey(func(key string) {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.run.FailingKey = key
	})
	if !d.run.Push {
		final = 500 // a nack with dead
	}
	if final == 0 {
		return
	}
	d.core.RefuseNext(final, func(a consumer.Attempt) {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.run.Refused = &refusal{a.MessageID, a.EventID, a.Key, final}
	})
}

// beUnready answers 503 to everything for a time, as a proxy does while all of a consumer's
// processes start. It then waits until the consumer has what the other subscription got meanwhile.
func (d *delivery) beUnready(ctx context.Context) {
	span := seconds(d.limits.Consumer.UnreadySeconds)
	if span == 0 {
		return
	}
	d.begin(stageUnready)
	d.core.SetUnready(seconds(float64(d.limits.Consumer.RetryAfterSeconds)))
	until := time.Now().Add(span)
	d.until(ctx, func() bool { return time.Now().After(until) && d.core.Unready() > 1 })
	d.core.SetReady()
	d.begin(stageReady)
	missing := d.witness.TakenKeys()
	d.until(ctx, func() bool {
		maps.DeleteFunc(missing, func(messageID, key string) bool {
			return d.spoilt(key) || d.core.HasTaken(messageID)
		})
		return len(missing) == 0
	})
}

// leave lets the consumer go away for a time.
func (d *delivery) leave(ctx context.Context, away time.Duration, restart bool) error {
	if ctx.Err() != nil {
		return nil
	}
	d.run.Outages = append(d.run.Outages, outage{Down: time.Now().UTC(), Restart: restart})
	d.main.Leave()
	select {
	case <-time.After(away):
	case <-ctx.Done():
	}
	d.run.Outages[len(d.run.Outages)-1].Up = time.Now().UTC()
	return d.main.Return()
}

// spoilt reports whether an event waits for the consumer to heal: its key fails or is parked.
func (d *delivery) spoilt(key string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return key == d.run.FailingKey || d.run.Refused != nil && key == d.run.Refused.Key
}

func nobodys(string) bool { return false }

// have reports whether a consumer has taken everything that was acknowledged, except the events of
// some keys.
func (d *delivery) have(c *consumer.Consumer, except func(key string) bool) bool {
	select {
	case <-d.sent:
	default:
		return false
	}
	for _, id := range d.accepted {
		if !c.HasTaken(id) && !except(d.keyOf[id]) {
			return false
		}
	}
	return true
}

// wait waits until done returns true, for at most limit after everything was sent.
func (d *delivery) wait(ctx context.Context, limit time.Duration, done func() bool) bool {
	began := time.Now()
	for !done() {
		select {
		case <-ctx.Done():
			return false
		case <-time.After(50 * time.Millisecond):
		}
		select {
		case <-d.sent:
			if time.Since(began) > limit {
				return false
			}
		default:
			began = time.Now()
		}
	}
	return true
}

// until is untilQuiet for the subscription that is judged.
func (d *delivery) until(ctx context.Context, done func() bool) {
	d.untilQuiet(ctx, d.run.Subscription, done)
}

// untilQuiet waits until done returns true, or until the target says that nothing more of a
// subscription will come.
func (d *delivery) untilQuiet(ctx context.Context, subscription string, done func() bool) {
	quiet, asked := 0, time.Time{}
	limit := seconds(d.limits.DrainSeconds + d.limits.Consumer.RecoverSeconds)
	d.wait(ctx, limit, func() bool {
		if done() {
			return true
		}
		select {
		case <-d.sent:
		default:
			return false
		}
		if time.Since(asked) > stateEvery/2 {
			asked = time.Now()
			if quiet++; !d.quiet(ctx, subscription) {
				quiet = 0
			}
		}
		return quiet > 2
	})
}

// state asks for a subscription.
func (d *delivery) state(ctx context.Context, subscription string) (api.Subscription, error) {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	return d.client.Subscription(ctx, subscription)
}

// quiet reports whether the target has passed everything that was sent, and works on nothing but
// the keys that fail.
func (d *delivery) quiet(ctx context.Context, subscription string) bool {
	s, err := d.state(ctx, subscription)
	if err != nil || d.end == 0 || number(s.Cursor) < d.end || s.Leased > 0 ||
		s.Live != nil && s.Live.InFlight > 0 {
		return false
	}
	all, err := d.exceptions(ctx, subscription)
	return err == nil && !slices.ContainsFunc(all, func(e api.Exception) bool {
		return e.State == hookgate.ExceptionWaiting && !d.spoilt("k:"+e.Key)
	})
}

// drained reports whether the target says that nothing of the subscription is left.
func (d *delivery) drained(ctx context.Context) bool {
	s, err := d.state(ctx, d.run.Subscription)
	return err == nil && s.Waiting == 0 && s.Parked == 0 && s.Dead == 0 && s.Held == 0 &&
		s.Leased == 0 && (s.Backlog == 0 || number(s.Cursor) >= d.end && d.end > 0)
}

func (d *delivery) exceptions(ctx context.Context, subscription string) (all []api.Exception,
	err error) {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	for e, err := range d.client.AllExceptions(ctx, subscription, api.ExceptionQuery{}) {
		if err != nil {
			return nil, err
		}
		all = append(all, e)
	}
	return all, nil
}

// listExceptions writes the exceptions before the key is healed.
func (d *delivery) listExceptions(ctx context.Context) error {
	listed := listedExceptions{At: time.Now().UTC(), Exceptions: []api.Exception{}}
	all, err := d.exceptions(ctx, d.run.Subscription)
	if err != nil {
		listed.Error = err.Error()
	}
	listed.Exceptions = append(listed.Exceptions, all...)
	return writeJSON(d.c.file(Deliver, exceptionsFile), listed)
}

// heal ends all faults and asks the target to retry, as a person would.
func (d *delivery) heal(ctx context.Context) {
	d.core.Heal()
	d.run.Healed = time.Now().UTC()
	all, err := d.exceptions(ctx, d.run.Subscription)
	var ids []string
	for _, e := range all {
		if d.spoilt("k:"+e.Key) || d.run.Refused != nil && e.Event == d.run.Refused.EventID {
			ids = append(ids, e.Event)
		}
	}
	if err == nil && len(ids) > 0 {
		ctx, cancel := context.WithTimeout(ctx, apiTimeout)
		defer cancel()
		_, err = d.client.ResolveExceptions(ctx, d.run.Subscription, hookgate.ResolveRetry,
			api.ExceptionSelection{IDs: ids}, api.WithReason(reason))
	}
	if err != nil {
		d.run.Unretried = err.Error()
		d.c.say("%s: retry: %v", Deliver, err)
	}
}

// watch writes subscription.ndjson until ctx ends.
func (d *delivery) watch(ctx context.Context) error {
	out, err := createLines(d.c.file(Deliver, statesFile))
	if err != nil {
		return err
	}
	lags := newLagMeter()
	defer lags.stop()
	for ctx.Err() == nil {
		sample := stateSample{At: time.Now().UTC()}
		if s, err := d.state(ctx, d.run.Subscription); err != nil {
			sample.Error = err.Error()
		} else {
			s.Definition = nil
			sample.State = &s
		}
		sample.LagMS = round(float64(lags.take().Microseconds()) / 1000)
		if err := out.write(&sample); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
		case <-time.After(stateEvery):
		}
	}
	return out.close()
}

func number(id string) int64 {
	n, _ := strconv.ParseInt(id, 10, 64) // 0 is before every event
	return n
}

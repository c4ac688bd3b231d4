package deliver_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/deliver"
)

// TestLateDue: events fail while Due is under way, and while their exceptions are not stored yet.
// All are attempted again when they are due, although nothing else happens.
func TestLateDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, deliver.Subscription{})
		w.lag = map[string]time.Duration{"Due": 20 * time.Millisecond}
		w.setBehave(func(d *hookgate.Delivery) (hookgate.Answer, time.Duration) {
			if d.Attempt < 3 {
				return broken(d)
			}
			return ok(d)
		})
		p := w.start("a", 0)
		for range 300 {
			w.append("a", "b", "c", "")
			time.Sleep(7 * time.Second)
			w.append("a", "", "d")
			time.Sleep(time.Minute)
			if n := len(w.missing()); n > 0 {
				t.Errorf("%d events are missing after a minute; %+v", n, w.info())
				break
			}
		}
		p.end()
		w.mustSettle()
	})
}

// TestRetriesBesideJob: a slow redelivery job runs for long. An event that fails meanwhile is
// retried as if there was no job.
func TestRetriesBesideJob(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, deliver.Subscription{})
		for i := range 600 {
			w.append(fmt.Sprint("k", i%40))
		}
		p := w.start("a", 0)
		time.Sleep(time.Minute)
		job := hookgate.RedeliveryJob{Until: w.info().End, Rate: 1}
		if _, _, err := w.store.Redeliver(t.Context(), "billing", job, false, by); err != nil {
			t.Fatal(err)
		}
		p.d.Wake()
		time.Sleep(10 * time.Second)
		w.setBehave(func(d *hookgate.Delivery) (hookgate.Answer, time.Duration) {
			if d.Attempt == 1 && d.Redelivery == 0 {
				return broken(d)
			}
			return ok(d)
		})
		w.append("late", "late", "")
		time.Sleep(20 * time.Second)
		if n := len(w.missing()); n > 0 {
			t.Errorf("%d events wait for the job", n)
		}
		time.Sleep(20 * time.Minute)
		p.end()
		w.mustSettle()
	})
}

// TestQuietOutage: the only event of a quiet subscription times out at every attempt, so the
// breaker is open. Events of other keys that come later are delivered all the same.
func TestQuietOutage(t *testing.T) {
	for _, key := range []string{"poison", ""} {
		t.Run(key, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, deliver.Subscription{})
				poison := w.append(key)[0]
				w.setBehave(func(d *hookgate.Delivery) (hookgate.Answer, time.Duration) {
					if d.Event.ID == poison {
						return hookgate.Answer{Verdict: hookgate.VerdictOutage, Reason: "time-out"},
							30 * time.Second
					}
					return ok(d)
				})
				p := w.start("a", 0)
				time.Sleep(10 * time.Minute)
				for i := range 100 {
					w.append(fmt.Sprint("good", i))
					time.Sleep(2 * time.Minute)
					if n := len(w.missing()); n > 1 {
						t.Errorf("%d events are missing; %+v %+v", n-1, w.info(), p.d.Status())
						break
					}
				}
				w.setBehave(ok)
				time.Sleep(time.Hour)
				p.end()
				w.mustSettle()
			})
		})
	}
}

// TestBlocksWhileReading: with OrderAll an event fails while the next page of the log is read. No
// event of that page is delivered before the failed one and those after it.
func TestBlocksWhileReading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, deliver.Subscription{
			Definition: hookgate.SubscriptionDefinition{Order: hookgate.OrderAll}})
		w.lag = map[string]time.Duration{"ReadLog": 10 * time.Millisecond}
		var ids []int64
		for range 3000 {
			ids = append(ids, w.append("a")...)
		}
		w.setBehave(func(d *hookgate.Delivery) (hookgate.Answer, time.Duration) {
			if d.Attempt == 1 && (d.Event.ID-ids[0])%7 == 0 {
				return broken(d)
			}
			return ok(d)
		})
		p := w.start("a", 0)
		time.Sleep(time.Hour)
		p.end()
		w.mustSettle()
	})
}

// TestDrainsBesideBacklog: the first event of a key fails once. The others of the key do not wait
// until a long backlog is delivered.
func TestDrainsBesideBacklog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, deliver.Subscription{Concurrency: 4})
		w.append("slow", "slow", "slow")
		for i := range 20_000 {
			w.append(fmt.Sprint("k", i%1000))
		}
		w.setBehave(func(d *hookgate.Delivery) (hookgate.Answer, time.Duration) {
			if d.Event.OrderingKey == "slow" && d.Attempt == 1 && d.Event.ID == w.events[0].ID {
				return broken(d)
			}
			return hookgate.Answer{Status: 200}, 50 * time.Millisecond
		})
		p := w.start("a", 0)
		time.Sleep(time.Minute)
		w.mu.Lock()
		if !w.settled[w.events[2].ID] {
			t.Error("the key waits for the backlog")
		}
		w.mu.Unlock()
		time.Sleep(time.Hour)
		p.end()
		w.mustSettle()
	})
}

// TestFinalAfterRetryAfter: a final status parks the event at once, although the consumer has asked
// for a wait before that lasted longer than the clock ran.
func TestFinalAfterRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, deliver.Subscription{})
		w.append("a")
		w.setBehave(func(d *hookgate.Delivery) (hookgate.Answer, time.Duration) {
			if d.Attempt == 1 {
				return hookgate.Answer{Verdict: hookgate.VerdictFailed, Status: 500,
					RetryAfter: time.Hour}, time.Millisecond
			}
			return hookgate.Answer{Verdict: hookgate.VerdictFinal, Status: 422}, time.Millisecond
		})
		p := w.start("a", 0)
		time.Sleep(time.Second)
		for _, paused := range []bool{true, false} {
			if _, err := w.store.SetPaused(t.Context(), "billing", paused, by); err != nil {
				t.Fatal(err)
			}
			p.d.Wake()
			time.Sleep(2 * time.Hour)
		}
		p.end()
		if i := w.info(); i.Parked != 1 || len(w.starts) != 2 {
			t.Errorf("%d attempts; %+v", len(w.starts), i)
		}
	})
}

// TestStartsAhead: a subscription begins after an id that the log has not reached. It delivers
// nothing before that, and others are not disturbed.
func TestStartsAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, deliver.Subscription{})
		w.append("a")
		ahead := hookgate.SubscriptionDefinition{Name: "ahead", Order: hookgate.OrderKey,
			Definition: "{}", Start: hookgate.Start{At: hookgate.StartAfter, After: 1 << 52}}
		defs := []hookgate.SubscriptionDefinition{ahead}
		if _, err := w.store.Define(t.Context(), defs, false); err != nil {
			t.Fatal(err)
		}
		all, err := w.store.Subscriptions(t.Context())
		if err != nil || all[0].Cursor > all[0].End {
			t.Errorf("%+v (error %v)", all, err)
		}
	})
}

// TestStopsCalmly: a process stops while the store hangs, and an attempt does not end although it
// is cut off. It waits without using the processor: in the bubble of this test the clock would
// stand still.
func TestStopsCalmly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, deliver.Subscription{})
		hangs := make(chan struct{})
		w.sub.Consumer = consumer(func(context.Context, *hookgate.Delivery) hookgate.Answer {
			<-hangs
			return hookgate.Answer{Verdict: hookgate.VerdictInterrupted}
		})
		w.append("a")
		d := deliver.New(deliver.Config{Owner: "a", Subscriptions: []deliver.Subscription{w.sub}},
			w.store, w.store)
		if err := d.Define(t.Context()); err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { d.Run(ctx) })
		time.Sleep(time.Minute)
		stop()
		time.Sleep(time.Hour)
		close(hangs)
		running.Wait()
	})
}

// TestManyFreed: the first events of thousands of keys are parked, and a person skips all of them.
// The later events of all keys are delivered.
func TestManyFreed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, deliver.Subscription{Concurrency: 32})
		var poison = map[int64]bool{}
		for i := range 2500 {
			poison[w.append(fmt.Sprint("k", i))[0]] = true
		}
		for i := range 2500 {
			w.append(fmt.Sprint("k", i))
		}
		w.setBehave(func(d *hookgate.Delivery) (hookgate.Answer, time.Duration) {
			if poison[d.Event.ID] {
				return hookgate.Answer{Verdict: hookgate.VerdictFinal, Status: 422}, time.Millisecond
			}
			return ok(d)
		})
		p := w.start("a", 0)
		time.Sleep(time.Minute)
		if i := w.info(); i.Parked != 2500 || i.Held != 2500 || len(w.missing()) != 5000 {
			t.Errorf("%+v", i)
		}
		for range 3 {
			w.person(hookgate.ResolveSkip)
			p.d.Wake()
		}
		time.Sleep(time.Minute)
		p.end()
		w.mustSettle()
	})
}

package deliver_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/deliver"
)

// TestDelivers: the events of a log are delivered, before and after the start, and the cursor
// follows.
func TestDelivers(t *testing.T) {
	for _, order := range []hookgate.Order{hookgate.OrderKey, hookgate.OrderAll, hookgate.OrderNone} {
		t.Run(string(order), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, deliver.Subscription{
					Definition: hookgate.SubscriptionDefinition{Order: order}})
				rng := rand.New(rand.NewPCG(1, 2))
				w.append(some(rng, 3000, 40)...)
				p := w.start("a", 0)
				time.Sleep(10 * time.Second)
				for range 50 {
					w.append(some(rng, 10, 5)...)
					time.Sleep(100 * time.Millisecond)
				}
				time.Sleep(time.Minute)
				p.end()
				w.mustSettle()
				if w.most > 8 {
					t.Errorf("%d attempts at a time, want at most 8", w.most)
				}
			})
		})
	}
}

// TestRetries: failures are retried; only the key of the failed event waits, and its events come in
// order afterwards.
func TestRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, deliver.Subscription{})
		rng := rand.New(rand.NewPCG(1, 2))
		var mu = rand.New(rand.NewPCG(3, 4))
		w.setBehave(func(d *hookgate.Delivery) (hookgate.Answer, time.Duration) {
			if d.Event.OrderingKey == "k1" && d.Attempt < 4 || mu.IntN(10) == 0 {
				return broken(d)
			}
			return ok(d)
		})
		p := w.start("a", 0)
		for range 200 {
			w.append(some(rng, 10, 20)...)
			time.Sleep(50 * time.Millisecond)
		}
		time.Sleep(2 * time.Hour)
		p.end()
		w.mustSettle()
	})
}

// TestOutage: the consumer is away for ten minutes while events arrive. No attempt counts, no rows
// are made, and the rate at most doubles each second afterwards. The first delivery comes within
// 5 s if no connection could be opened, and otherwise with the next probe.
func TestOutage(t *testing.T) {
	t.Run("refuses connections", func(t *testing.T) { outage(t, true, 5) })
	t.Run("answers 503", func(t *testing.T) { outage(t, false, 60) })
}

func outage(t *testing.T, away bool, within int) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, deliver.Subscription{Concurrency: 32})
		rng := rand.New(rand.NewPCG(1, 2))
		p := w.start("a", 0)
		feed := func(d time.Duration) {
			for range int(d / (50 * time.Millisecond)) {
				w.append(some(rng, 1, 50)...)
				time.Sleep(50 * time.Millisecond)
			}
		}
		feed(5 * time.Second)
		w.setBehave(refused)
		w.setAway(away)
		feed(4 * time.Minute)
		if n := w.info(); n.Waiting > 2 || n.BrokenSince.IsZero() {
			t.Errorf("in the outage: %+v", n)
		}
		if s := p.d.Status(); len(s) != 1 || s[0].Problem == "" {
			t.Errorf("in the outage the status has no error: %+v", s)
		}
		back := time.Now()
		w.setBehave(ok)
		w.setAway(false)
		feed(2 * time.Minute)
		time.Sleep(10 * time.Minute)
		if s := p.d.Status(); len(s) != 1 || s[0].Problem != "" {
			t.Errorf("after the outage the status is %+v", s)
		}
		p.end()
		w.mustSettle()
		perSecond := map[int]int{}
		for _, s := range w.starts {
			if s.attempt > 2 {
				t.Errorf("attempt %d of event %d", s.attempt, s.Event)
			}
			if s.at.After(back) {
				perSecond[int(s.at.Sub(back)/time.Second)]++
			}
		}
		first := 0
		for perSecond[first] == 0 {
			first++
		}
		if first > within {
			t.Errorf("the first delivery came after %d s", first)
		}
		for s, limit := first, 4; s < first+8; s, limit = s+1, 2*limit {
			if perSecond[s] > limit {
				t.Errorf("%d attempts in second %d after the outage, want at most %d", perSecond[s], s-first,
					limit)
			}
		}
		if !w.info().BrokenSince.IsZero() {
			t.Error("the breaker is still shown as open")
		}
	})
}

// TestShortOutage: many attempts are in flight when the consumer goes away for a moment. Their
// failures are no probes, so the first probe comes after 5 s, not later.
func TestShortOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, deliver.Subscription{Concurrency: 32})
		back := time.Now().Add(2 * time.Second)
		w.setBehave(func(d *hookgate.Delivery) (hookgate.Answer, time.Duration) {
			if a, took := refused(d); time.Now().Before(back) {
				return a, took + 100*time.Millisecond
			}
			return ok(d)
		})
		p := w.start("a", 0)
		w.append(some(rand.New(rand.NewPCG(1, 2)), 32, 32)...)
		time.Sleep(7 * time.Second)
		if all := w.began(); len(all) < 10 || all[len(all)-1].at.Before(back) {
			t.Errorf("of %d attempts none came 5 s after the outage began", len(all))
		}
		time.Sleep(time.Hour)
		p.end()
		w.mustSettle()
	})
}

// TestAskedOutage: during an outage the consumer asks for waits that are longer than the pauses
// between probes. The runner probes other keys meanwhile, and keeps each wait, also after the
// outage.
func TestAskedOutage(t *testing.T) {
	orders := []hookgate.Order{hookgate.OrderKey, hookgate.OrderNone, hookgate.OrderAll}
	for _, order := range orders {
		t.Run(string(order), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const wait = 45 * time.Second
				w := newWorld(t, deliver.Subscription{Concurrency: 8,
					Definition: hookgate.SubscriptionDefinition{Order: order}})
				back := time.Now().Add(32 * time.Second)
				asked := map[int64]time.Time{}
				var mu sync.Mutex
				w.setBehave(func(d *hookgate.Delivery) (hookgate.Answer, time.Duration) {
					mu.Lock()
					defer mu.Unlock()
					if early := wait - time.Since(asked[d.Event.ID]); early > 0 {
						t.Errorf("event %d comes %v too early", d.Event.ID, early)
					}
					if a, took := refused(d); time.Now().Before(back) {
						a.Status, a.RetryAfter = 503, wait
						asked[d.Event.ID] = time.Now().Add(took)
						return a, took
					}
					return ok(d)
				})
				p := w.start("a", 0)
				w.append(some(rand.New(rand.NewPCG(1, 2)), 100, 20)...)
				time.Sleep(2 * time.Minute)
				if n := len(w.began()); n < 100 {
					t.Errorf("%d attempts in 2 minutes", n)
				}
				time.Sleep(time.Hour)
				p.end()
				w.mustSettle()
			})
		})
	}
}

// TestLateAnswers: attempts that began before the breaker opened are answered well while it is
// open. They are no probes, so the breaker stays open.
func TestLateAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, deliver.Subscription{Concurrency: 32})
		w.setBehave(func(d *hookgate.Delivery) (hookgate.Answer, time.Duration) {
			if a, took := ok(d); d.Event.ID%2 == 0 {
				return a, took + time.Second
			}
			return refused(d)
		})
		for i := range 32 {
			w.append(fmt.Sprint("k", i))
		}
		p := w.start("a", 0)
		time.Sleep(4 * time.Second)
		if n := len(w.began()); n != 32 || w.info().BrokenSince.IsZero() {
			t.Errorf("%d attempts before the first probe; %+v", n, w.info())
		}
		w.setBehave(ok)
		time.Sleep(time.Hour)
		p.end()
		w.mustSettle()
	})
}

// TestParks: an event that fails for too long is parked and holds its key; others go on. A person
// retries, skips or dead-letters it, and then its key goes on in order.
func TestParks(t *testing.T) {
	for _, a := range []hookgate.Resolution{hookgate.ResolveRetry, hookgate.ResolveSkip,
		hookgate.ResolveDeadLetter} {
		for _, order := range []hookgate.Order{hookgate.OrderKey, hookgate.OrderAll, hookgate.OrderNone} {
			t.Run(fmt.Sprint(a, " ", order), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t, deliver.Subscription{
						Definition: hookgate.SubscriptionDefinition{Order: order}})
					ids := w.append("poison", "poison", "good", "poison", "", "good")
					w.setBehave(func(d *hookgate.Delivery) (hookgate.Answer, time.Duration) {
						if d.Event.ID == ids[0] {
							return broken(d)
						}
						return ok(d)
					})
					p := w.start("a", 0)
					time.Sleep(3 * time.Hour)
					held := map[hookgate.Order]int{hookgate.OrderKey: 3, hookgate.OrderAll: 6,
						hookgate.OrderNone: 1}[order]
					if n := w.info(); n.Parked != 1 || len(w.missing()) != held {
						t.Errorf("%+v, %d are missing, want %d", n, len(w.missing()), held)
					}
					n, err := w.store.Resolve(t.Context(), hookgate.ExceptionFilter{Subscription: "billing"}, a,
						false, by)
					if n != 1 || err != nil {
						t.Fatal(n, err)
					}
					w.mu.Lock()
					w.behave = ok
					if a != hookgate.ResolveRetry {
						w.settled[ids[0]] = true
					}
					w.mu.Unlock()
					p.d.Wake()
					time.Sleep(time.Minute)
					p.end()
					w.mustSettle()
					if got := w.delivered[hookgate.EventRedelivery{Event: ids[0]}]; (got == 1) !=
						(a == hookgate.ResolveRetry) {
						t.Errorf("the event was delivered %d times", got)
					}
				})
			})
		}
	}
}

// TestHangs: one event hangs for long while thousands behind it are delivered. After a kill only
// what was in flight is delivered again.
func TestHangs(t *testing.T) {
	for _, key := range []string{"", "hangs"} {
		t.Run(key, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, deliver.Subscription{})
				hangs := w.append(key)[0]
				w.setBehave(func(d *hookgate.Delivery) (hookgate.Answer, time.Duration) {
					if d.Event.ID == hangs {
						return hookgate.Answer{Status: 200}, time.Hour
					}
					return ok(d)
				})
				rng := rand.New(rand.NewPCG(1, 2))
				w.append(some(rng, 20_000, 100)...)
				w.append(key, key)
				p := w.start("a", 0)
				time.Sleep(time.Minute)
				if n := len(w.missing()); n != map[string]int{"": 1, "hangs": 3}[key] {
					t.Errorf("%d events are missing", n)
				}
				p.kill()
				p = w.start("a", 0)
				time.Sleep(2 * time.Hour)
				p.end()
				w.mustSettle()
				twice := 0
				for _, n := range w.delivered {
					twice += n - 1
				}
				if twice > 16 {
					t.Errorf("%d events were delivered again", twice)
				}
			})
		})
	}
}

// TestRedelivers: a redelivery job delivers events again with a number of their own, at its rate,
// and goes on after a kill.
func TestRedelivers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, deliver.Subscription{})
		w.append(some(rand.New(rand.NewPCG(1, 2)), 300, 20)...)
		p := w.start("a", 0)
		time.Sleep(time.Minute)
		want := hookgate.RedeliveryJob{Until: w.info().End, Rate: 10}
		job, n, err := w.store.Redeliver(t.Context(), "billing", want, false, by)
		if n != 300 || err != nil {
			t.Fatal(n, err)
		}
		p.d.Wake()
		time.Sleep(10 * time.Second)
		p.kill()
		p = w.start("a", 0)
		time.Sleep(time.Minute)
		p.end()
		w.mustSettle()
		again, twice := 0, 0
		for id, n := range w.delivered {
			if id.Redelivery == job.Redelivery {
				again++
				twice += n - 1
			}
		}
		if again != 300 || twice > 16 {
			t.Errorf("%d events were delivered again, %d of them twice", again, twice)
		}
		jobs, err := w.store.RedeliveryJobs(t.Context(), "billing", 10)
		if err != nil || len(jobs) != 1 || jobs[0].EndedAt.IsZero() || jobs[0].Delivered < 300 {
			t.Errorf("%+v (error %v)", jobs, err)
		}
	})
}

// TestRandom drives a subscription through random failures of consumer and store, kills, stops,
// pauses, seeks and changes by people, with one or two processes. In the end every event is
// settled, and the order held throughout. It is repeated for many seeds; one that fails is named.
func TestRandom(t *testing.T) {
	for seed := range uint64(*seeds) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { random(t, seed) })
		})
	}
}

// TestIdle: a subscription without events calls the store for nothing but its lease. If events come
// that do not match, its cursor follows at most once in 10 s.
func TestIdle(t *testing.T) {
	for _, lease := range []time.Duration{0, 15 * time.Second} {
		t.Run(lease.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, deliver.Subscription{Definition: hookgate.SubscriptionDefinition{
					Filter: hookgate.Filter{Sources: []string{"s"}}}})
				w.append("a", "b")
				p := w.start("a", lease)
				time.Sleep(time.Minute)
				var mu sync.Mutex
				calls := map[string]int{}
				w.store.SetFail(func(_ context.Context, op, _ string) (bool, error) {
					mu.Lock()
					defer mu.Unlock()
					calls[op]++
					return false, nil
				})
				time.Sleep(10 * time.Minute)
				renewals := 0
				if lease > 0 {
					renewals = int(10 * time.Minute / (lease / 3))
				}
				mu.Lock()
				if n := calls["Renew"]; n < renewals-1 || n > renewals+1 || len(calls) > 1 {
					t.Errorf("ten idle minutes make the calls %v", calls)
				}
				clear(calls)
				mu.Unlock()
				for range 600 {
					w.store.Append(hookgate.Event{Identity: hookgate.Identity{Source: "other",
						EventType: "t"}})
					time.Sleep(time.Second)
				}
				mu.Lock()
				if n := calls["Save"]; n > 61 || n < 50 { // both ends of the time count
					t.Errorf("ten minutes of events that do not match make %d saves", n)
				}
				mu.Unlock()
				if i := w.info(); i.End-i.Cursor > (15 * time.Second).Microseconds() {
					t.Errorf("the cursor is %d µs behind", i.End-i.Cursor)
				}
				p.end()
			})
		})
	}
}

// TestIsolation: one subscription hangs, one is refused; a third gets everything as if it were
// alone.
func TestIsolation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, deliver.Subscription{})
		hangs, refuses := w.sub, w.sub
		hangs.Definition.Name, refuses.Definition.Name = "hangs", "refuses"
		hangs.Consumer = consumer(func(ctx context.Context, _ *hookgate.Delivery) hookgate.Answer {
			<-ctx.Done()
			return hookgate.Answer{Verdict: hookgate.VerdictInterrupted}
		})
		refuses.Consumer = consumer(func(context.Context, *hookgate.Delivery) hookgate.Answer {
			return hookgate.Answer{Verdict: hookgate.VerdictOutage}
		})
		p := &process{Log: w.store, Subscriptions: w.store, w: w, gone: make(chan struct{})}
		well := w.sub
		well.Consumer = p
		d := deliver.New(deliver.Config{Owner: "a", Subscriptions: []deliver.Subscription{hangs, refuses,
			well}, StopTimeout: time.Second}, w.store, w.store)
		if err := d.Define(t.Context()); err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { d.Run(ctx) })
		rng := rand.New(rand.NewPCG(1, 2))
		for range 100 {
			w.append(some(rng, 100, 30)...)
			time.Sleep(100 * time.Millisecond)
			if n := len(w.missing()); n > 0 {
				t.Fatalf("%d events are missing after 100 ms", n)
			}
		}
		stop()
		running.Wait()
		w.check()
	})
}

// consumer is a function that is a hookgate.Consumer.
type consumer func(context.Context, *hookgate.Delivery) hookgate.Answer

func (c consumer) Deliver(ctx context.Context, d *hookgate.Delivery) hookgate.Answer {
	return c(ctx, d)
}

// TestRetryAfter: a wait for which the consumer asks lengthens the wait and does not count as time
// to retry; 410 pauses, and the event is delivered once a person resumes.
func TestRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, deliver.Subscription{Retry: deliver.Retry{First: time.Second, Max: time.Second,
			For: time.Minute}})
		w.setBehave(func(d *hookgate.Delivery) (hookgate.Answer, time.Duration) {
			if d.Attempt < 8 {
				return hookgate.Answer{Verdict: hookgate.VerdictFailed, Status: 503,
					RetryAfter: 30 * time.Second}, time.Millisecond
			}
			return hookgate.Answer{Verdict: hookgate.VerdictGone, Status: 410}, time.Millisecond
		})
		w.append("a", "a")
		p := w.start("a", 0)
		time.Sleep(time.Hour)
		starts := w.began()
		for i := 1; i < len(starts); i++ {
			if wait := starts[i].at.Sub(starts[i-1].at); wait < 30*time.Second {
				t.Errorf("attempt %d comes %v after the one before", i+1, wait)
			}
		}
		if i := w.info(); i.PausedAt.IsZero() || i.Parked > 0 || len(starts) != 8 {
			t.Errorf("%d attempts; %+v", len(starts), i)
		}
		w.setBehave(ok)
		if _, err := w.store.SetPaused(t.Context(), "billing", false, by); err != nil {
			t.Fatal(err)
		}
		p.d.Wake()
		time.Sleep(time.Minute)
		p.end()
		w.mustSettle()
	})
}

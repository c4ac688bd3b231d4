package deliver_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/deliver"
)

// TestDelivers: the events of a log are delivered, before and after the start, and the cursor follows.
func TestDelivers(t *testing.T) {
	for _, order := range []hookgate.Order{hookgate.OrderKey, hookgate.OrderAll, hookgate.OrderNone} {
		t.Run(string(order), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, deliver.Subscription{Definition: hookgate.SubscriptionDefinition{Order: order}})
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

// TestOutage: the consumer is away for ten minutes while events arrive. No attempt counts, no rows are
// made, the first delivery comes within one pause of probes, and the rate at most doubles each second.
func TestOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, deliver.Subscription{Concurrency: 32})
		rng := rand.New(rand.NewPCG(1, 2))
		p := w.start("a", 0)
		feed := func(d time.Duration) {
			for range int(d / (20 * time.Millisecond)) {
				w.append(some(rng, 2, 50)...)
				time.Sleep(20 * time.Millisecond)
			}
		}
		feed(5 * time.Second)
		w.setBehave(refused)
		feed(10 * time.Minute)
		if n := w.info(); n.Waiting > 2 || n.BrokenSince.IsZero() {
			t.Errorf("in the outage: %+v", n)
		}
		back := time.Now()
		w.setBehave(ok)
		feed(3 * time.Minute)
		time.Sleep(10 * time.Minute)
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
		if first > 60 {
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

// TestHangs: one event hangs for long while thousands behind it are delivered. After a kill only what
// was in flight is delivered again.
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

// TestRedelivers: a redelivery job delivers events again with a number of their own, at its rate, and
// goes on after a kill.
func TestRedelivers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, deliver.Subscription{})
		w.append(some(rand.New(rand.NewPCG(1, 2)), 300, 20)...)
		p := w.start("a", 0)
		time.Sleep(time.Minute)
		job, n, err := w.store.Redeliver(t.Context(), "billing", hookgate.RedeliveryJob{Until: w.info().End,
			Rate: 10}, false, by)
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

// TestRandom drives a subscription through random failures of consumer and store, kills, stops, pauses,
// seeks and changes by people, with one or two processes. In the end every event is settled, and the
// order held throughout. It is repeated for many seeds; one that fails is named.
func TestRandom(t *testing.T) {
	for seed := range uint64(*seeds) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { random(t, seed) })
		})
	}
}

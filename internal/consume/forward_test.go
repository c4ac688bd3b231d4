package consume

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/api"
	"github.com/hookgate/hookgate/internal/modeltest"
)

// refused is what comes of an application that does not run.
var refused = hookgate.Answer{Verdict: hookgate.VerdictOutage, Reason: "connection refused"}

var broken = hookgate.Answer{Verdict: hookgate.VerdictFailed, Status: 500, Reason: "500 broken"}

// forwarding runs a Forwarder until during returns.
func forwarding(t *testing.T, w *world, during func(f *Forwarder)) Forwarded {
	t.Helper()
	f := &Forwarder{Gate: w.gate(), App: w, To: "the app", Timeout: 30 * time.Second, Concurrency: 4,
		Print: func(*api.PulledEvent, hookgate.Answer, time.Duration) {}}
	if _, err := f.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan Forwarded)
	go func() {
		did, err := f.Run(ctx)
		if err != nil {
			t.Error(err)
		}
		ended <- did
	}()
	during(f)
	cancel()
	did := <-ended
	if w.name != "" {
		t.Errorf("subscription %s is not deleted", w.name)
	}
	return did
}

// check checks that the application took each event once, and those of a key in order.
func (w *world) check() {
	w.t.Helper()
	first, last := map[string]bool{}, map[string]int{}
	for _, id := range w.taken {
		e := w.log[number(id)-1]
		if first[id] {
			w.t.Errorf("event %s was taken twice", id)
		} else if number(id) < last[e.Key] {
			w.t.Errorf("event %s of %s came after %d", id, e.Key, last[e.Key])
		}
		first[id], last[e.Key] = true, max(last[e.Key], number(id))
	}
	if len(first) != len(w.log) {
		w.t.Errorf("%d of %d events were taken", len(first), len(w.log))
	}
}

// TestForward: the application is away at first, then it rejects an event twice. Each event is
// taken once, in order per key, at most four at a time.
func TestForward(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 100, 7)
		w.answer = func(string, int) hookgate.Answer { return refused }
		did := forwarding(t, w, func(*Forwarder) {
			time.Sleep(10 * time.Minute)
			w.set(func() {
				if w.leases != 1 {
					t.Errorf("%d leases while the application was away, want one that is extended", w.leases)
				}
				w.answer = func(id string, attempt int) hookgate.Answer {
					if id == "3" && attempt < 3 {
						return broken
					}
					return hookgate.Answer{Status: 200}
				}
			})
			w.await("all events are settled", w.settled)
		})
		w.check()
		if did != (Forwarded{Delivered: 100, Failed: 2}) || w.most != 4 {
			t.Errorf("did %+v, %d at a time", did, w.most)
		}
		if want := []string{"the app does not answer: connection refused; events wait until it does",
			"the app answers again"}; !slices.Equal(w.notes, want) {
			t.Errorf("notes %q", w.notes)
		}
		if n := slices.Index(w.calls, "nack 3 500 broken"); n < 0 {
			t.Errorf("calls %q", w.calls)
		}
	})
}

// TestForwardSlowApplication: an answer that takes five minutes holds up no other key, and the
// event does not come again.
func TestForwardSlowApplication(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 20, 20)
		w.takes = 5 * time.Minute
		forwarding(t, w, func(f *Forwarder) {
			f.Timeout = time.Hour
			w.await("the first ones are in work", func() bool { return w.now == 4 })
			w.set(func() { w.takes = 0 })
			w.await("all events are settled", w.settled)
		})
		w.check()
	})
}

// TestForwardNoAnswerInTime: an attempt without an answer in time counts, and the event comes
// again.
func TestForwardNoAnswerInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 1)
		w.takes = 30 * time.Second
		w.answer = func(_ string, attempt int) hookgate.Answer {
			if attempt < 2 {
				return hookgate.Answer{Verdict: hookgate.VerdictOutage, Reason: "no answer within 30s"}
			}
			return hookgate.Answer{Status: 200}
		}
		did := forwarding(t, w, func(*Forwarder) { w.await("the event is settled", w.settled) })
		if w.check(); did.Failed != 1 || len(w.notes) != 0 {
			t.Errorf("did %+v, notes %q", did, w.notes)
		}
	})
}

// TestForwardSleep: the machine sleeps for an hour with events in work and a pull that never
// returns. The lease has run out meanwhile, and what it had comes again.
func TestForwardSleep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 40, 2)
		w.takes = 3 * time.Second
		forwarding(t, w, func(*Forwarder) {
			w.await("some are taken", func() bool { return len(w.taken) > 3 })
			w.set(func() {
				w.asleep = time.Hour
				for lease := range w.until {
					w.end(lease)
				}
				w.takes = 0
			})
			w.await("all events are settled", w.settled)
		})
		w.check()
	})
}

// TestForwardForgotten: the gate forgets the subscription while one event waits for its next
// attempt. The next subscription begins there, and what was taken does not come twice.
func TestForwardForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 50, 5)
		w.answer = func(id string, _ int) hookgate.Answer {
			if id == "8" {
				return hookgate.Answer{Verdict: hookgate.VerdictFailed, Status: 503,
					RetryAfter: time.Hour}
			}
			return hookgate.Answer{Status: 200}
		}
		forwarding(t, w, func(*Forwarder) {
			w.await("the others are taken", func() bool { return len(w.taken) == 41 })
			time.Sleep(5 * time.Minute)
			w.set(func() {
				w.forget()
				w.answer = func(string, int) hookgate.Answer { return hookgate.Answer{Status: 200} }
				w.add("k:1")
			})
			w.await("all events are settled", w.settled)
		})
		w.check()
		if !slices.Contains(w.calls, "create after 7") || !strings.Contains(strings.Join(w.notes, "\n"),
			"the gate has forgotten forward-1; continuing after event 7 with forward-2") {
			t.Errorf("calls %q, notes %q", w.calls, w.notes)
		}
	})
}

// TestForwardLostAnswer: the gate leases events, and its answer is lost. The next pull gets events
// of other keys, and then the gate forgets the subscription. The next one begins before the lost
// ones.
func TestForwardLostAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 0, 1)
		forwarding(t, w, func(*Forwarder) {
			w.set(func() {
				w.add("k:a")
				w.lost = 1
			})
			w.await("the gate has leased the first event", func() bool { return w.log[0].lease != "" })
			w.set(func() {
				w.lost = 0
				w.add("k:b")
			})
			w.await("the second one is taken", func() bool { return len(w.taken) > 0 })
			time.Sleep(pollWait + 5*time.Second) // a pull gets nothing, while the lost lease still runs
			w.set(w.forget)
			w.await("all events are settled", w.settled)
		})
		if w.check(); w.taken[0] != "2" {
			t.Errorf("taken %v", w.taken)
		}
	})
}

// TestForwardEndsWithoutGate: if the gate is away at the end, the command ends all the same and
// says what is left behind.
func TestForwardEndsWithoutGate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 1)
		did := forwarding(t, w, func(*Forwarder) {
			w.await("the event is settled", w.settled)
			w.set(func() { w.down, w.name = true, "" })
		})
		if did.Delivered != 1 || !strings.Contains(strings.Join(w.notes, "\n"),
			"forward-1 could not be deleted") {
			t.Errorf("did %+v, notes %q", did, w.notes)
		}
	})
}

// TestForwardRandom: gate, application and machine fail at random, answers are lost after the gate
// has done what they say, and the gate forgets the subscription. No event is lost, none of a key
// overtakes an earlier one, and none is taken twice.
func TestForwardRandom(t *testing.T) {
	seeds := 6
	if modeltest.Soak() {
		seeds = 500
	}
	for seed := range uint64(seeds) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 10, 3)
				w.random = rand.New(rand.NewPCG(seed, 2))
				r := rand.New(rand.NewPCG(seed, 3))
				forwarding(t, w, func(*Forwarder) {
					for range 60 {
						w.set(func() { w.upset(r) })
						time.Sleep(time.Duration(r.Int64N(int64(20 * time.Second))))
					}
					w.set(func() { w.down, w.lost, w.takes = false, 0, 0 })
					w.set(func() {
						w.answer = func(string, int) hookgate.Answer { return hookgate.Answer{Status: 200} }
					})
					w.await("all events are settled", w.settled)
				})
				w.check()
			})
		})
	}
}

// upset changes something at random, and adds events.
func (w *world) upset(r *rand.Rand) {
	for range r.IntN(10) {
		w.add(fmt.Sprint("k:", r.IntN(6)))
	}
	switch r.IntN(8) {
	case 0:
		w.down = !w.down
	case 1:
		w.lost = r.Float64() / 2
	case 2:
		w.takes = time.Duration(r.Int64N(int64(time.Minute)))
	case 3:
		w.asleep += time.Hour
		for lease := range w.until {
			w.end(lease)
		}
	case 4:
		w.forget()
	case 5:
		w.answer = func(string, int) hookgate.Answer { return refused }
	case 6:
		w.answer = func(id string, attempt int) hookgate.Answer {
			if number(id)%3 == 0 && attempt < 3 {
				return broken
			}
			return hookgate.Answer{Status: 200}
		}
	default:
		w.down, w.takes = false, 10*time.Millisecond
	}
}

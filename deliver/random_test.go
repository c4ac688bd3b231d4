package deliver_test

import (
	"context"
	"errors"
	"flag"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/deliver"
	"github.com/hookgate/hookgate/internal/modeltest"
)

var seeds = flag.Int("seeds", modeltest.Pick(3, 1000), "number of random schedules")

// random runs one random schedule.
func random(t *testing.T, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 1))
	order := []hookgate.Order{hookgate.OrderKey, hookgate.OrderKey, hookgate.OrderAll,
		hookgate.OrderNone}[rng.IntN(4)]
	w := newWorld(t, deliver.Subscription{Definition: hookgate.SubscriptionDefinition{Order: order},
		Concurrency: 1 + rng.IntN(12),
		Retry:       deliver.Retry{First: time.Second, Max: 30 * time.Second, For: time.Minute},
		DeadLetter:  rng.IntN(3) == 0})
	if rng.IntN(2) == 0 {
		w.sub.Definition.Filter.Types = []string{"t"}
	}
	if rng.IntN(4) > 0 {
		w.lag = map[string]time.Duration{}
		for _, call := range []string{"ReadLog", "Due", "Save"} {
			w.lag[call] = time.Duration(rng.IntN(50)) * time.Millisecond
		}
	}
	keys := 1 + rng.IntN(20)
	var mu sync.Mutex // guards the random numbers of the callbacks
	calls := rand.New(rand.NewPCG(seed, 2))
	chance := func(n int) bool {
		mu.Lock()
		defer mu.Unlock()
		return calls.IntN(n) == 0
	}
	calm := false
	bad := 3 + rng.IntN(20)
	w.behave = func(d *hookgate.Delivery) (hookgate.Answer, time.Duration) {
		mu.Lock()
		good := calm
		took, kind := time.Duration(calls.IntN(100))*time.Millisecond, calls.IntN(bad)
		if calls.IntN(200) == 0 {
			took = time.Duration(calls.IntN(60)) * time.Second
		}
		mu.Unlock()
		switch {
		case good:
			return ok(d)
		case kind == 0:
			return hookgate.Answer{Verdict: hookgate.VerdictFailed, Status: 500}, took
		case kind == 1:
			return hookgate.Answer{Verdict: hookgate.VerdictOutage}, took
		case kind == 2 && chance(5):
			return hookgate.Answer{Verdict: hookgate.VerdictOwn}, took
		}
		return hookgate.Answer{Status: 200}, took
	}
	failed := errors.New("the store is away")
	lease := time.Duration(0)
	processes := []*process{nil}
	if rng.IntN(2) == 0 {
		lease, processes = 10*time.Second, []*process{nil, nil}
	}
	names := []string{"a", "b"}
	start := func(i int) {
		w.store.SetFail(nil)
		processes[i] = w.start(names[i], lease)
	}
	fail := func(context.Context, string, string) (bool, error) {
		mu.Lock()
		defer mu.Unlock()
		if calm || calls.IntN(10) > 0 {
			return false, nil
		}
		return calls.IntN(2) == 0, failed
	}
	for i := range processes {
		start(i)
	}
	var last hookgate.SeekResult // the last seek
	until := int64(0)
	for range 60 {
		w.store.SetFail(fail)
		n := rng.IntN(60)
		if rng.IntN(30) == 0 {
			n = 2000 // more than a page
		}
		w.append(some(rng, n, keys)...)
		i := rng.IntN(len(processes))
		switch rng.IntN(12) {
		case 0:
			processes[i].kill()
			start(i)
		case 1:
			processes[i].end()
			start(i)
		case 2:
			w.store.SetFail(nil)
			if _, err := w.store.SetPaused(t.Context(), "billing", rng.IntN(2) == 0, by); err != nil {
				t.Fatal(err)
			}
			processes[i].d.Wake()
		case 3:
			w.store.SetFail(nil)
			w.person([]hookgate.Resolution{hookgate.ResolveRetry, hookgate.ResolveSkip,
				hookgate.ResolveDeadLetter}[rng.IntN(3)])
			if rng.IntN(2) == 0 {
				processes[i].d.Wake()
			}
		case 4:
			w.store.SetFail(nil)
			job := hookgate.RedeliveryJob{Until: w.info().End, Rate: 100 * rng.IntN(4)}
			if _, _, err := w.store.Redeliver(t.Context(), "billing", job, false, by); err != nil {
				t.Fatal(err)
			}
		}
		if rng.IntN(20) == 0 && len(w.events) > 0 {
			w.store.SetFail(nil)
			last = w.seek(w.events[rng.IntN(len(w.events))].ID)
			until = w.info().End
		}
		time.Sleep(time.Duration(rng.IntN(5000)) * time.Millisecond)
	}
	mu.Lock()
	calm = true
	mu.Unlock()
	w.store.SetFail(nil)
	if _, err := w.store.SetPaused(t.Context(), "billing", false, by); err != nil {
		t.Fatal(err)
	}
	for _, p := range processes {
		p.d.Wake()
	}
	time.Sleep(30 * time.Minute)
	if i := w.info(); i.Waiting > 0 {
		t.Errorf("half an hour after the last failure: %+v", i)
	}
	for range 3 { // parked and dead ones
		filter := hookgate.ExceptionFilter{Subscription: "billing", Limit: 100_000}
		if _, err := w.store.Resolve(t.Context(), filter, hookgate.ResolveRetry, false, by); err != nil {
			t.Fatal(err)
		}
		for _, p := range processes {
			p.d.Wake()
		}
		time.Sleep(30 * time.Minute)
	}
	for _, p := range processes {
		p.end()
	}
	w.mustSettle()
	if last.Redelivery > 0 {
		for _, e := range w.events {
			id := hookgate.EventRedelivery{Event: e.ID, Redelivery: last.Redelivery}
			if e.ID > last.To && e.ID <= until && w.delivered[id] == 0 && !w.skipped(id) {
				t.Errorf("event %d was not delivered again after the seek to %d", e.ID, last.To)
				break
			}
		}
	}
	jobs, err := w.store.RedeliveryJobs(t.Context(), "billing", 1000)
	for _, j := range jobs {
		if j.EndedAt.IsZero() || err != nil {
			t.Errorf("job %+v has not ended (error %v)", j, err)
		}
	}
}

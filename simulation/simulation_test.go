package simulation

import (
	"context"
	"flag"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"testing/cryptotest"
	"testing/synctest"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/internal/modeltest"
)

var (
	first = flag.Uint64("first", 1, "the first seed")
	seeds = flag.Int("seeds", modeltest.Pick(300, 40_000), "number of schedules") // a mutant needs 104

	repeats = flag.Int("repeats", 10, "number of seeds that are repeated")
	choices = flag.Bool("choices", false, "show what the scheduler can choose from in each step")

	ctx = context.Background()
	by  = hookgate.Person{By: "ann", Reason: "test"}
)

func TestMain(m *testing.M) {
	runtime.GOMAXPROCS(1) // goroutines take turns in an order that repeats
	modeltest.Checks(10)
	m.Run()
}

// TestSchedules runs many schedules. The package comment says what they check.
func TestSchedules(t *testing.T) {
	began := time.Now()
	for i := range *seeds {
		seed := *first + uint64(i)
		w := simulate(t, seed)
		if w.broken == nil {
			continue
		}
		t.Logf("the schedule of seed %d: %s\n%s", seed, w.text, w)
		t.Fatalf("seed %d, after %d schedules: %s: %s\nrepeat it with: go test ./simulation -run"+
			" TestSchedules -first %d -seeds 1", seed, i+1, w.broken.guarantee, w.broken.text, seed)
	}
	took := time.Since(began)
	t.Logf("%d schedules in %v, %.0f per minute", *seeds, took.Round(time.Millisecond),
		float64(*seeds)/took.Minutes())
}

// simulate runs the schedule of a seed.
func simulate(t *testing.T, seed uint64) (w *world) {
	synctest.Test(t, func(t *testing.T) {
		cryptotest.SetGlobalRandom(t, seed)
		w = newWorld(seed)
		defer w.repeatable()()
		w.play()
		w.stopAll()
	})
	return w
}

// play runs a schedule: a time of faults, then one in which only failing keys fail, and then one
// without any.
func (w *world) play() {
	w.populate()
	storm := time.Now().Add(time.Duration(20+w.rng.IntN(60)) * time.Second)
	never := func() bool { w.tend(); return time.Now().After(storm) }
	w.run(never, 10*time.Minute)
	if w.violated() {
		return
	}
	w.calmDown()
	refused := func(s *subscription) string { return s.failing }
	w.retryUntil(func() bool { return w.settledBut(refused) })
	w.checkDurable()
	if text := w.unsettled(refused); text != "" {
		w.violate("a failing key delays no other", "half an hour after the last fault %s", text)
		return
	}
	for _, name := range w.subscribed {
		w.subs[name].failing = ""
	}
	w.note("the failing keys are well")
	none := func(*subscription) string { return "" }
	w.retryUntil(func() bool { return w.settledBut(none) })
	if text := w.unsettled(none); text != "" {
		w.violate("everything arrives", "an hour after the last fault %s", text)
		return
	}
	w.retryUntil(w.tidy)
	for _, host := range w.hosts {
		p := w.processes[host]
		w.note("%s is asked to stop", host)
		p.stopping = true
		p.stop()
	}
	ended := func() bool {
		for _, host := range w.hosts {
			select {
			case <-w.processes[host].ended:
			default:
				return false
			}
		}
		return true
	}
	if !w.run(ended, 5*time.Minute) && !w.violated() {
		w.violate("everything arrives", "a process does not end")
		return
	}
	w.leftovers()
}

// retryUntil lets the world go on until a condition is met. Every ten minutes a person retries what
// is parked, for half an hour.
func (w *world) retryUntil(met func() bool) {
	tended := func() bool { w.tend(); return met() }
	for range 3 {
		if w.run(tended, 10*time.Minute) || w.violated() {
			return
		}
		for _, name := range w.subscribed {
			w.person(hookgate.ResolveRetry, w.subs[name])
		}
	}
}

// stopAll ends what runs, so that the bubble can end.
func (w *world) stopAll() {
	w.mu.Lock()
	w.over = true
	pending := w.pending
	w.pending = nil
	w.mu.Unlock()
	for _, c := range append(pending, w.carried...) {
		if c.err = errKilled; !c.gone {
			close(c.done)
		}
	}
	for _, p := range w.processes {
		p.stop()
	}
	time.Sleep(5 * time.Minute)
}

// TestRepeats: a seed gives the same schedule each time.
func TestRepeats(t *testing.T) {
	for i := range modeltest.Pick(*repeats, 1000) {
		seed := *first + uint64(i)
		a, b := simulate(t, seed), simulate(t, seed)
		if a.String() == b.String() {
			continue
		}
		one, two := strings.Split(a.String(), "\n"), strings.Split(b.String(), "\n")
		for n := range one {
			if n >= len(two) || one[n] != two[n] {
				from := max(0, n-30)
				fmt.Fprintln(os.Stderr, strings.Join(one[from:n+1], "\n"))
				if n < len(two) {
					t.Fatalf("seed %d: step %d is once\n%s\nand once\n%s", seed, n, one[n], two[n])
				}
				break
			}
		}
		t.Fatalf("seed %d: %d steps and %d steps", seed, len(one), len(two))
	}
}

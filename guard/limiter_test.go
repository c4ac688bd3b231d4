package guard

import (
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestInFlightIsBounded lets many goroutines enter and leave. There are never more than the limit,
// every place becomes free again, and none is rejected while there is room.
func TestInFlightIsBounded(t *testing.T) {
	const bound, goroutines = 7, 32
	g := New(Config{InFlight: InFlight{Min: 1, Max: bound, Latency: time.Hour}})
	var inside, most, refused atomic.Int64
	var all sync.WaitGroup
	for range goroutines {
		all.Go(func() {
			for range 2000 {
				if g.Busy() || !g.Enter() {
					refused.Add(1)
					continue
				}
				n := inside.Add(1)
				for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
				}
				inside.Add(-1)
				g.Leave()
			}
		})
	}
	all.Wait()
	if most.Load() > bound {
		t.Errorf("%d were in flight, the bound is %d", most.Load(), bound)
	}
	s := g.Status()
	if s.InFlight != 0 || s.InFlightRejected != refused.Load() {
		t.Errorf("%d are still in flight; %d refusals counted of %d", s.InFlight, s.InFlightRejected,
			refused.Load())
	}
	for range bound {
		if g.Busy() || !g.Enter() {
			t.Fatal("refused while there is room")
		}
	}
	if !g.Busy() || g.Enter() {
		t.Error("not refused although there is no room")
	}
}

// TestAdapts checks that slow webhooks lower the limit to what the machine can do in time, but not
// below Min, and that quick webhooks or none raise it again.
func TestAdapts(t *testing.T) {
	var l limiter
	l.InFlight = InFlight{Min: 10, Max: 1000, Latency: 100 * time.Millisecond}
	l.limit.Store(1000)
	slow := slotSummary{n: 50, p95: 300 * time.Millisecond, inFlight: 400}
	l.adjust(slow)
	if n := l.limit.Load(); n != 300 {
		t.Errorf("the bound is %d, want three quarters of the 400 in flight", n)
	}
	for range 100 {
		l.adjust(slow)
	}
	if n := l.limit.Load(); n != 10 {
		t.Errorf("the bound is %d, want the least", n)
	}
	l.adjust(slotSummary{n: fewestInSlot - 1, p95: time.Hour, inFlight: 1})
	if n := l.limit.Load(); n != 30 {
		t.Errorf("the bound is %d: a few slow ones have stopped its growth", n)
	}
	for range growths {
		l.adjust(slotSummary{})
	}
	if n := l.limit.Load(); n != 1000 {
		t.Errorf("after a quiet time the bound is %d", n)
	}
}

// TestConverges models 5000 senders and a machine that handles 2000 webhooks a second, with any
// number in flight. Within ten seconds the admitted ones take less than twice the target latency,
// and the machine is not idle.
func TestConverges(t *testing.T) {
	const capacity = 2000.0
	var l limiter
	l.InFlight = InFlight{Min: 10, Max: 5000, Latency: 100 * time.Millisecond}
	l.limit.Store(5000)
	var worst time.Duration
	var busiest int64
	least := int64(5000)
	for slot := range 400 {
		inFlight := min(l.limit.Load(), 5000)
		took := time.Duration(float64(inFlight) / capacity * float64(time.Second))
		if slot > 40 {
			worst, busiest, least = max(worst, took), max(busiest, inFlight), min(least, inFlight)
		}
		l.adjust(slotSummary{n: int(capacity * slotTime.Seconds()), p95: took,
			inFlight: float64(inFlight)})
	}
	if worst > 2*l.Latency || least < int64(capacity*0.05) {
		t.Errorf("after ten seconds from %d to %d are in flight and take up to %v", least, busiest, worst)
	}
}

// TestQuantile compares the window with sorted times. The result is never below the true quantile
// and at most an eighth above it.
func TestQuantile(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var w window
		var times []time.Duration
		for range rapid.IntRange(1, 300).Draw(t, "n") {
			d := time.Duration(rapid.Int64Range(0, int64(time.Minute)).Draw(t, "time"))
			if rapid.Bool().Draw(t, "short") {
				d /= 100_000
			}
			times = append(times, d)
			w.observe(d)
			if rand.IntN(20) == 0 {
				w.advance()
			}
		}
		slices.Sort(times)
		q := rapid.SampledFrom([]float64{0.5, 0.95, 0.99, 1}).Draw(t, "q")
		n, got := w.quantile(q)
		want := times[int(q*float64(len(times)-1))]
		if n > len(times) || n == len(times) && (got < want || got > want+want/8+2*time.Microsecond) {
			t.Fatalf("of %d times the quantile %v is %v, told is %v of %d", len(times), q, want, got, n)
		}
	})
}

// TestWindowForgets checks that times older than the window are gone and younger ones are not.
func TestWindowForgets(t *testing.T) {
	var w window
	w.observe(time.Second)
	for range slots - 1 {
		w.advance()
	}
	if n, _ := w.quantile(0.95); n != 1 {
		t.Errorf("within the window %d times are known, want 1", n)
	}
	w.advance()
	if n, p := w.quantile(0.95); n != 0 || p != 0 {
		t.Errorf("behind the window %d times are known: %v", n, p)
	}
	w.observe(10 * time.Millisecond)
	w.observe(10 * time.Millisecond)
	w.advance()
	ended := w.ended()
	if s := summarise(&ended); s.n != 2 || s.p95 < 10*time.Millisecond ||
		s.p95 > 12*time.Millisecond || s.inFlight < 0.08 || s.inFlight > 0.1 {
		t.Errorf("the slot is summed up as %+v", s)
	}
}

// TestBudget checks that large reservations leave a quarter to small ones, and that released
// memory can be reserved again.
func TestBudget(t *testing.T) {
	b := Budget{limit: 1000}
	if !b.Reserve(750, true) || b.Reserve(1, true) || !b.Reserve(250, false) || b.Reserve(1, false) {
		t.Errorf("the budget is not what it should be: %d used", b.used.Load())
	}
	b.Release(250)
	b.Release(750)
	if !b.Reserve(1000, false) || b.used.Load() != 1000 {
		t.Errorf("%d used", b.used.Load())
	}
}

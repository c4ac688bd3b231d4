package deliver

import (
	"fmt"
	"testing"
	"time"
)

// TestBreakerOpens: failures of as many keys in a row as are needed open the breaker, each counted
// once; an answer begins the row again; so do half of enough attempts.
func TestBreakerOpens(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	fails := func(b *breaker, key string) bool {
		now = now.Add(time.Millisecond)
		b.attempted(key, now)
		return b.failure(key, now)
	}
	works := func(b *breaker, key string) {
		now = now.Add(time.Millisecond)
		b.attempted(key, now)
		b.succeeded(now)
	}
	var one breaker
	if !fails(&one, "a") {
		t.Error("the only active key has failed, and the breaker is closed")
	}
	var three breaker
	for _, key := range []string{"a", "b", "c", "d"} {
		works(&three, key)
	}
	for range 10 {
		if fails(&three, "a") {
			t.Error("one of four keys opens the breaker")
		}
	}
	fails(&three, "b")
	works(&three, "d")
	fails(&three, "b")
	if fails(&three, "c") {
		t.Error("two keys in a row open the breaker")
	}
	if !fails(&three, "a") {
		t.Error("three keys in a row do not open the breaker")
	}
	var half breaker
	for i := range halfOf {
		works(&half, fmt.Sprint(i))
		now = now.Add(window + time.Second) // too old to count
	}
	opened := 0
	for i := range halfOf {
		works(&half, fmt.Sprint(i))
		if fails(&half, "bad") {
			opened = i
			break
		}
	}
	if opened != halfOf/2-1 {
		t.Errorf("opened after %d bad attempts, want %d", opened+1, halfOf/2)
	}
}

// TestBreakerProbes: the pauses between probes double up to a minute; three good probes close the
// breaker, and a bad one starts again.
func TestBreakerProbes(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	var b breaker
	b.attempted("a", now)
	b.failure("a", now)
	for _, want := range []int{5, 10, 20, 40, 60, 60} {
		if got := b.nextProbe.Sub(now); got != time.Duration(want)*time.Second {
			t.Errorf("the probe comes after %v, want %d s", got, want)
		}
		now = b.nextProbe
		b.failure("a", now)
	}
	for _, bad := range []int{1, 2, 3} {
		for i := 1; i <= 3; i++ {
			if i == bad {
				b.failure("a", now)
				break
			}
			if b.succeeded(now) {
				t.Errorf("closed after %d good probes", i)
			}
			if !b.nextProbe.Equal(now) {
				t.Error("the probe after a good one waits")
			}
		}
	}
	b.succeeded(now)
	b.succeeded(now)
	if b.state() != "half_open" || !b.succeeded(now) || b.state() != "closed" {
		t.Errorf("after three good probes: %s", b.state())
	}
}

// TestSlowStart: the bounds begin at 1, double once a second, and go once they have no effect.
func TestSlowStart(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	var s slowStart
	if s.limit(32) != 32 || s.rate(0) != 0 || s.rate(7) != 7 {
		t.Error("a slow start that is off bounds")
	}
	s.begin(now)
	for _, want := range []int{1, 2, 4, 8, 16, 32, 32} {
		if s.limit(32) != want {
			t.Errorf("the limit is %d, want %d", s.limit(32), want)
		}
		s.begun = 1000
		s.step(now.Add(900*time.Millisecond), 32)
		now = now.Add(time.Second)
		s.step(now, 32)
	}
	if !s.on || s.rate(0) != 128 || s.rate(50) != 50 {
		t.Errorf("%+v", s)
	}
	s.begun = 3
	s.step(now.Add(time.Second), 32)
	if s.on {
		t.Error("the slow start goes on without effect")
	}
}

// TestPace: attempts are spaced out; the burst is bounded.
func TestPace(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	var p pace
	if p.take(0, now) != 0 {
		t.Error("a rate of 0 makes one wait")
	}
	for _, rate := range []float64{0.5, 1, 10, 1000} {
		p = pace{}
		begun, end := 0, now.Add(10*time.Second)
		for now.Before(end) {
			if wait := p.take(rate, now); wait > 0 {
				now = now.Add(wait)
			} else {
				begun++
			}
		}
		if want := rate * 10; float64(begun) < want*0.95 || float64(begun) > want+max(1, rate/50)+1 {
			t.Errorf("%d attempts in 10 s at a rate of %v", begun, rate)
		}
	}
}

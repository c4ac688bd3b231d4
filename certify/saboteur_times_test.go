package certify

import (
	"slices"
	"testing"
	"time"
)

// Goal: a time that cannot be true fails times, and the clock of a machine that is some seconds
// wrong does not. Method: gates that change times of their trails and listings.
func TestSaboteursOfTimes(t *testing.T) {
	type clock = func(n int, what string, at time.Time) time.Time
	// only changes the named times of an event, or of all events if n is -1.
	only := func(n int, to func(time.Time) time.Time, names ...string) faults {
		return faults{clock: func(of int, what string, at time.Time) time.Time {
			if n == of || n < 0 && of >= 0 {
				if slices.Contains(names, what) {
					return to(at)
				}
			}
			return at
		}}
	}
	stages := []string{"received", "enqueued", "processed", "persisted", "duplicate"}
	all := append(slices.Clone(stages), "receivedAt", "persistedAt")
	const never = -1 // all events
	to := func(at time.Time) func(time.Time) time.Time {
		return func(time.Time) time.Time { return at }
	}
	by := func(d time.Duration) func(time.Time) time.Time {
		return func(at time.Time) time.Time { return at.Add(d) }
	}
	everywhere := func(d time.Duration, date bool) clock {
		return func(n int, what string, at time.Time) time.Time {
			if n < 0 && !date {
				return at
			}
			return at.Add(d)
		}
	}
	last := events - 1 // nothing of its key follows
	certifyAll(t, []saboteur{
		{name: "has trails of 1970", faults: only(never, to(time.Unix(0, 0)), stages...),
			fail: []string{"times"}},
		{name: "lives in 1970", faults: only(never, to(time.Unix(0, 0)), all...),
			fail: []string{"times"}},
		{name: "persists in 2001", faults: only(never, to(time.Unix(1e9, 0)), "persistedAt"),
			fail: []string{"times"}},
		{name: "persists one before it receives it", faults: only(middle, by(-time.Minute),
			"persistedAt"), fail: []string{"times"}},
		{name: "receives one before it is sent", faults: only(middle, by(-time.Minute), "received",
			"receivedAt"), fail: []string{"times"}},
		{name: "lists one with another time", faults: only(middle, by(time.Millisecond), "receivedAt"),
			fail: []string{"times"}},
		{name: "lists no times", faults: only(never, to(time.Time{}), "receivedAt", "persistedAt"),
			fail: []string{"times"}},
		{name: "persists one tomorrow", faults: only(last, by(24*time.Hour), "persisted",
			"persistedAt"), fail: []string{"times"}},
		{name: "says that all was an hour later", faults: faults{clock: everywhere(time.Hour, false)},
			fail: []string{"times"}},
		{name: "has a clock that is 5 s ahead", faults: faults{clock: everywhere(5*time.Second, true)},
			status: Pass},
		{name: "has a clock that is 5 s behind its proxy",
			faults: faults{clock: everywhere(-5*time.Second, false)}, status: Pass},
		{name: "has a clock that is 10 minutes ahead",
			faults: faults{clock: everywhere(10*time.Minute, true)}, status: Invalid,
			fail: []string{"times"}},
	})
}

// Goal: events of a key that were stored in another order than that in which they were sent fail
// order, with any listing. Method: gates that sort the listing again.
func TestSaboteursOfOrder(t *testing.T) {
	// swapped stores the event in the middle behind the next one of its key, and lets hide change
	// both.
	swapped := func(hide func(g *gate, early, late *gateEvent)) faults {
		return faults{store: func(g *gate, n int, e *gateEvent) {
			if n == middle {
				g.held = e
				return
			}
			g.put(e)
			if h := g.held; h != nil && h.key == e.key {
				g.put(h)
				g.held, h.persisted = nil, e.persisted.Add(50*time.Microsecond)
				hide(g, h, e)
			}
		}}
	}
	sorted := func(g *gate, early, late *gateEvent) {
		i, j := early.id-1, late.id-1
		g.stored[i], g.stored[j] = late, early
		early.id, late.id = late.id, early.id
	}
	certifyAll(t, []saboteur{
		{name: "sorts the listing", faults: swapped(sorted), fail: []string{"order"}},
		{name: "sorts the times only", faults: swapped(func(_ *gate, early, late *gateEvent) {
			early.persisted, late.persisted = late.persisted, early.persisted
		}), fail: []string{"order"}},
		{name: "sorts listing and times, not positions",
			faults: swapped(func(g *gate, early, late *gateEvent) {
				sorted(g, early, late)
				early.persisted, late.persisted = late.persisted, early.persisted
				early.place, late.place = late.place, early.place
			}), fail: []string{"order"}},
		{name: "lists one at another position", faults: faults{list: func(_ *gate, _ int, e *gateEvent) {
			if e.n == middle {
				e.place = "0:1000-0"
			}
		}}, fail: []string{"order"}},
		{name: "lists one without a position", faults: faults{list: func(_ *gate, _ int, e *gateEvent) {
			if e.n == middle {
				e.place = ""
			}
		}}, fail: []string{"content"}},
	})
}

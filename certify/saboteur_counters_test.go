package certify

import (
	"sync/atomic"
	"testing"
)

// Goal: each counter of the target is compared on its own: a request that one counter has too many
// and another too few fails counters. Method: gates with an event more or less in a counter.
func TestSaboteursOfCounters(t *testing.T) {
	// moved adds to counters once there is something to count.
	moved := func(by map[string]float64) faults {
		return faults{counted: func(status string, n float64) float64 {
			if n > 10 || status == "dead_lettered" {
				n += by[status]
			}
			return n
		}}
	}
	deadLetters := 0.0
	certifyAll(t, []saboteur{
		{name: "counts a duplicate as accepted", fail: []string{"counters"},
			faults: moved(map[string]float64{"accepted": 1, "duplicate": -1})},
		{name: "counts all duplicates as accepted",
			faults: faults{counted: func(status string, n float64) float64 {
				switch status {
				case "accepted":
					return n * 1.1
				case "duplicate":
					return 0
				}
				return n
			}}, fail: []string{"counters"}},
		{name: "counts an event less", faults: moved(map[string]float64{"persisted": -1}),
			fail: []string{"counters"}},
		{name: "has dead letters that do not exist",
			faults: faults{counted: func(status string, n float64) float64 {
				if status == "dead_lettered" {
					deadLetters++
					return deadLetters
				}
				return n
			}}, fail: []string{"counters", "settled"}},
		{name: "counts an answer less", faults: moved(map[string]float64{"202": -1}),
			fail: []string{"counters"}},
		{name: "counts answers that nobody got", faults: faults{
			counted: func(status string, n float64) float64 {
				if status == "401" && n > 0 {
					n--
				}
				return n
			}, status: func(request int) int {
				if request == 20 {
					return 401
				}
				return 0
			}}, profile: func(p *Phase) {
			p.Duplicates, p.AcceptancePercent, p.ErrorPercent = 0, 50, 50
		}, fail: []string{"counters"}},
	})
}

// Goal: a counter that moves after the last request, when all counters have been compared, fails
// settled. Method: gates that wait for the second reading.
func TestSaboteursOfCountersThatWait(t *testing.T) {
	// counts adds to a counter from the second reading on.
	counts := func(which string, by float64) faults {
		late := new(atomic.Bool)
		return faults{later: func(*gate) { late.Store(true) },
			counted: func(status string, n float64) float64 {
				if status == which && late.Load() {
					n += by
				}
				return n
			}}
	}
	certifyAll(t, []saboteur{
		{name: "counts a duplicate later", faults: counts("duplicate", 1), fail: []string{"settled"}},
		{name: "counts an event later", faults: counts("persisted", 1), fail: []string{"settled"}},
		{name: "takes an event back", faults: counts("persisted", -1), fail: []string{"settled"}},
		{name: "counts an answer later", faults: counts("202", 1), fail: []string{"settled"}},
	})
}

// Goal: an audit chain that holds, but does not cover what was stored, fails audit_chain.
func TestSaboteursOfTheAuditChain(t *testing.T) {
	chain := func(change func(a *gateAudit)) faults { return faults{chain: change} }
	certifyAll(t, []saboteur{
		{name: "covers nothing", faults: chain(func(a *gateAudit) { *a = gateAudit{OK: true} }),
			fail: []string{"audit_chain"}},
		{name: "covers always the same", faults: chain(func(a *gateAudit) {
			a.Events, a.Duplicates, a.Entries = 5000, 5000, 10_000
		}), fail: []string{"audit_chain"}},
		{name: "leaves out an event", faults: chain(func(a *gateAudit) { a.Events = max(0, a.Events-1) }),
			fail: []string{"audit_chain"}},
		{name: "leaves out the duplicates", faults: chain(func(a *gateAudit) {
			a.Entries -= a.Duplicates
			a.Duplicates = 0
		}), fail: []string{"audit_chain"}},
		{name: "has one head", faults: chain(func(a *gateAudit) { a.Head = "00" }),
			fail: []string{"audit_chain"}},
		{name: "has no head", faults: chain(func(a *gateAudit) { a.Head = "" }),
			fail: []string{"audit_chain"}},
	})
}

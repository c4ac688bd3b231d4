package certify

import (
	"sync/atomic"
	"testing"
	"time"
)

// Goal: a gate that changes something after it was read back fails unchanged, whether it is the
// listing, a trail, or an event more, which it also counts. Method: gates that wait for the second
// reading.
func TestSaboteursThatWait(t *testing.T) {
	var gone, edited atomic.Bool
	certifyAll(t, []saboteur{
		{name: "stores a copy later", faults: faults{later: func(g *gate) {
			again := *g.stored[middle]
			g.put(&again)
		}}, fail: []string{"settled", "unchanged"}},
		{name: "stores one of its own later", faults: faults{later: func(g *gate) {
			made := *g.stored[middle]
			made.messageID += "-made-up"
			g.put(&made)
		}}, fail: []string{"settled", "unchanged"}},
		{name: "stores another sender's later", faults: faults{later: func(g *gate) {
			made := *g.stored[middle]
			made.messageID = "from nowhere"
			g.put(&made)
		}}, fail: []string{"settled", "unchanged"}},
		{name: "lists one twice later", faults: faults{later: func(g *gate) {
			g.stored = append(g.stored, g.stored[middle])
		}}, fail: []string{"settled", "unchanged"}},
		{name: "sorts the listing later", faults: faults{later: func(g *gate) {
			g.stored[middle], g.stored[middle+1] = g.stored[middle+1], g.stored[middle]
		}}, fail: []string{"unchanged"}},
		{name: "forgets a trail later", faults: faults{
			later: func(*gate) { gone.Store(true) },
			trail: func(n int, stages []string) []string {
				if n == middle && gone.Load() {
					return nil
				}
				return stages
			}}, fail: []string{"unchanged"}},
		{name: "edits a trail later", faults: faults{
			later: func(*gate) { edited.Store(true) },
			clock: func(n int, what string, at time.Time) time.Time {
				if n == middle && what == "processed" && edited.Load() {
					return at.Add(-time.Microsecond)
				}
				return at
			}}, fail: []string{"unchanged"}},
	})
}

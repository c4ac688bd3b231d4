package collector

import (
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"testing"
)

// TestGrowthFor: a small heap is collected seldom, a larger one when it has reached the budget, and
// one beyond that goes on as Go would.
func TestGrowthFor(t *testing.T) {
	for live, want := range map[uint64]int{
		0: laziest, 1 << 20: laziest, heapBudget / 5: laziest, heapBudget / 4: 300, heapBudget / 2: 100,
		heapBudget * 3 / 4: keenest, heapBudget: keenest, 1 << 40: keenest,
	} {
		if got := growthFor(live); got != want {
			t.Errorf("with %d bytes alive GOGC is %d, want %d", live, got, want)
		}
	}
}

// insideCollector is set in the process of TestPaceCollector.
const insideCollector = "HOOKGATE_TEST_COLLECTOR"

// TestPaceCollector: GOGC follows the heap up and down, in a process of its own, because it is the
// whole process's.
func TestPaceCollector(t *testing.T) {
	t.Parallel()
	if os.Getenv(insideCollector) == "" {
		cmd := exec.Command(os.Args[0], "-test.run", "^TestPaceCollector$", "-test.count=1")
		cmd.Env = append(os.Environ(), insideCollector+"=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	paceCollector(&collected{})
	current := func() int {
		gogc := debug.SetGCPercent(keenest)
		debug.SetGCPercent(gogc)
		return gogc
	}
	reach := func(want func(gogc int) bool, what string) {
		for range 1000 {
			runtime.GC() // after which the finalizer runs
			if want(current()) {
				return
			}
		}
		t.Fatalf("GOGC stays at %d with %s", current(), what)
	}
	held := make([]byte, 2*heapBudget)
	reach(func(gogc int) bool { return gogc == keenest }, "a heap beyond the budget")
	runtime.KeepAlive(held)
	reach(func(gogc int) bool { return gogc > keenest }, "a small heap")
}

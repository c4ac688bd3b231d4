package main

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

// tuneRuntime fits Go's scheduler and collector to a process that waits for disks and has a small
// heap. What the environment sets (GOMAXPROCS, GOGC, GOMEMLIMIT) stays. The gains are in
// docs/decisions/0004-runtime.md.
func tuneRuntime() {
	if os.Getenv("GOMAXPROCS") == "" {
		// A goroutine in an fsync holds its processor until the scheduler notices.
		runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + 1)
	}
	if os.Getenv("GOGC") == "" && os.Getenv("GOMEMLIMIT") == "" {
		paceCollector(&collected{})
	}
}

const (
	// heapBudget is what the heap may grow to, in bytes, before it is collected, unless what lives
	// needs more.
	heapBudget = 40 << 20
	// laziest and keenest bound GOGC: the growth of the heap between two collections, in percent of
	// what lives.
	laziest, keenest = 400, 50
)

// collected becomes garbage at once, so that its finalizer runs after each collection.
type collected struct{ _ [16]byte }

// paceCollector sets GOGC now and after each collection.
func paceCollector(c *collected) {
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(live)
	debug.SetGCPercent(growthFor(live[0].Value.Uint64()))
	runtime.SetFinalizer(c, paceCollector)
}

// growthFor returns the GOGC with which a heap of which so many bytes live is collected at the
// budget. A memory limit would do the same up to the budget; beyond, it would collect without end,
// where this goes on at the keenest.
func growthFor(live uint64) int {
	if live >= heapBudget {
		return keenest
	}
	if live == 0 {
		return laziest
	}
	return int(min(laziest, max(keenest, 100*(heapBudget-live)/live)))
}

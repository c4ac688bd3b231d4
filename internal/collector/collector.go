// Package collector fits Go's scheduler and garbage collector to a process that waits for disks and
// has a small heap. docs/decisions/0004-runtime.md has the gains.
package collector

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

// Tune adapts the whole process. It does not change what the environment sets (GOMAXPROCS, GOGC,
// GOMEMLIMIT).
func Tune() {
	if os.Getenv("GOMAXPROCS") == "" {
		// A goroutine in an fsync holds its processor until the scheduler notices.
		runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + 1)
	}
	if os.Getenv("GOGC") == "" && os.Getenv("GOMEMLIMIT") == "" {
		paceCollector(&collected{})
	}
}

const (
	// heapBudget is the size of the heap at which a collection starts, in bytes, unless the live
	// heap needs more.
	heapBudget = 40 << 20
	// laziest and keenest bound GOGC: the growth of the heap between two collections, in percent of
	// the live heap.
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

// growthFor returns the GOGC with which a heap with so many live bytes is collected at the budget.
// A memory limit would do the same up to the budget. Beyond the budget it would collect all the
// time, where growthFor returns keenest.
func growthFor(live uint64) int {
	if live >= heapBudget {
		return keenest
	}
	if live == 0 {
		return laziest
	}
	return int(min(laziest, max(keenest, 100*(heapBudget-live)/live)))
}

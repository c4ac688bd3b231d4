package guard

import (
	"math/bits"
	"sync/atomic"
	"time"
)

const (
	// The window has 40 slots of 250 ms each: ten seconds.
	slotTime = 250 * time.Millisecond
	slots    = 40
	// Each power of two of microseconds is divided into 1<<subBits buckets, so a quantile is at most
	// an eighth too high. The buckets reach to two minutes; the last one has everything longer.
	subBits = 3
	buckets = (27-subBits)<<subBits + 1<<subBits
)

// window is a histogram of the times of the last ten seconds. To record a time is one atomic
// addition.
type window struct {
	slots   [slots]slot
	current atomic.Uint32 // the index of the slot being filled
}

// slot is one part of the window.
type slot struct {
	// used is set with the first time recorded, so that empty slots need not be read.
	used   atomic.Bool
	counts [buckets]atomic.Uint32
}

func (w *window) observe(d time.Duration) {
	s := &w.slots[w.current.Load()]
	if !s.used.Load() {
		s.used.Store(true)
	}
	s.counts[bucketOf(d)].Add(1)
}

// addTo adds the counts of the slot to counts.
func (s *slot) addTo(counts *[buckets]uint32) {
	if !s.used.Load() {
		return
	}
	for i := range counts {
		counts[i] += s.counts[i].Load()
	}
}

// advance clears the oldest slot and makes it the one being filled. One goroutine may call it.
func (w *window) advance() {
	next := (w.current.Load() + 1) % slots
	if s := &w.slots[next]; s.used.Load() {
		s.used.Store(false)
		for i := range s.counts {
			s.counts[i].Store(0)
		}
	}
	w.current.Store(next)
}

// quantile returns the number of times in the window and their quantile, which is at most an eighth
// too high.
func (w *window) quantile(q float64) (n int, value time.Duration) {
	counts := w.counts()
	return quantile(&counts, q)
}

// counts returns the sum of all slots.
func (w *window) counts() (counts [buckets]uint32) {
	for i := range w.slots {
		w.slots[i].addTo(&counts)
	}
	return counts
}

// ended returns the counts of the slot that was filled last.
func (w *window) ended() (counts [buckets]uint32) {
	w.slots[(w.current.Load()+slots-1)%slots].addTo(&counts)
	return counts
}

// slotSummary is what the limiter adapts to.
type slotSummary struct {
	n   int
	p95 time.Duration
	// inFlight is the average number in flight, by Little's law.
	inFlight float64
}

// summarise sums up the counts of a slot.
func summarise(counts *[buckets]uint32) (s slotSummary) {
	var sum time.Duration
	for i := range counts {
		sum += time.Duration(counts[i]) * bound(i)
	}
	s.n, s.p95 = quantile(counts, 0.95)
	s.inFlight = float64(sum) / float64(slotTime)
	return s
}

func quantile(counts *[buckets]uint32, q float64) (n int, value time.Duration) {
	for _, c := range counts {
		n += int(c)
	}
	rank := int(q*float64(n-1)) + 1
	for i, c := range counts {
		if rank -= int(c); rank <= 0 && n > 0 {
			return n, bound(i)
		}
	}
	return n, 0
}

// bucketOf returns the bucket of a time. Below 8 µs each microsecond has a bucket; above, each
// power of two has eight.
func bucketOf(d time.Duration) int {
	us := uint64(max(0, d.Microseconds()))
	if us < 1<<subBits {
		return int(us)
	}
	exponent := bits.Len64(us) - 1
	i := (exponent-subBits)<<subBits + int(us>>(exponent-subBits))
	return min(i, buckets-1)
}

// bound returns the upper end of bucket i.
func bound(i int) time.Duration {
	us := uint64(i) + 1
	if shift := i>>subBits - 1; shift > 0 {
		us = uint64(i&(1<<subBits-1)+1<<subBits+1) << shift
	}
	return time.Duration(us) * time.Microsecond
}

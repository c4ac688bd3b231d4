package persist

import "time"

const (
	// leastBatch is the size below which batches do not shrink.
	leastBatch = 16
	// growth is the share of a full batch by which a batch grows.
	growth = 1.0 / 32
)

// sizer adapts the size of a batch to the store. Like the congestion window of TCP it grows by a
// constant and shrinks by half (AIMD; Chiu and Jain, 1989). It is for one goroutine.
type sizer struct {
	max    int
	target time.Duration
	size   int
}

func newSizer(max int, target time.Duration) *sizer {
	return &sizer{max: max, target: target, size: max}
}

// records returns the largest number of records for the next batch.
func (s *sizer) records() int { return s.size }

// applied adapts the size after the store took so long for a batch of n records.
func (s *sizer) applied(n int, took time.Duration) {
	switch {
	case took > s.target:
		s.size = max(min(leastBatch, s.max), min(n, s.size)/2)
	case n >= s.size:
		s.size = min(s.max, s.size+1+int(growth*float64(s.max)))
	}
}

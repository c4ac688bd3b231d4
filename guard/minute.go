package guard

import (
	"sync"
	"time"
)

const (
	// partSlots is the number of slots of the window in a part of the minute, parts the number of
	// parts.
	partSlots = int(5 * time.Second / slotTime)
	parts     = 12
)

// minute records what became of the webhooks of the last minute. At a low rate the ten seconds of
// the window hold too few webhooks to judge a release by. The slots of the window are added to the
// minute when they end, so a webhook costs nothing extra.
type minute struct {
	mu    sync.Mutex // guards the fields below: one goroutine adds, another reads
	parts [parts]struct {
		took   [buckets]uint32 // the times of the accepted webhooks
		failed uint64
	}
	current, filled int // the index of the part being filled, and its number of slots
}

// Minute is what became of the webhooks of the last minute.
type Minute struct {
	// Accepted were made durable. Failed were answered 5xx for another reason than the mode.
	Accepted, Failed int
	// P95 of the accepted ones, from a webhook's last byte to its 202.
	P95 time.Duration
}

// add adds a slot of the window that has ended.
func (m *minute) add(took *[buckets]uint32, failed uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.filled == partSlots {
		m.current, m.filled = (m.current+1)%parts, 0
		clear(m.parts[m.current].took[:])
		m.parts[m.current].failed = 0
	}
	m.filled++
	part := &m.parts[m.current]
	part.failed += failed
	for i, n := range took {
		part.took[i] += n
	}
}

// read returns the sum over the minute.
func (m *minute) read() (s Minute) {
	var counts [buckets]uint32
	m.mu.Lock()
	for i := range m.parts {
		s.Failed += int(m.parts[i].failed)
		for j, n := range m.parts[i].took {
			counts[j] += n
		}
	}
	m.mu.Unlock()
	s.Accepted, s.P95 = interpolated(&counts, 0.95)
	return s
}

// interpolated returns the number of times and their quantile. It assumes that the times of a
// bucket are spread evenly over it. The function quantile returns the upper end of the bucket
// instead, so a trigger with a limit of 120 ms would fire at 115 ms.
func interpolated(counts *[buckets]uint32, q float64) (n int, value time.Duration) {
	for _, c := range counts {
		n += int(c)
	}
	rank := q * float64(n)
	for i, c := range counts {
		if rank > float64(c) || c == 0 {
			rank -= float64(c)
			continue
		}
		lower := time.Duration(0)
		if i > 0 {
			lower = bound(i - 1)
		}
		return n, lower + time.Duration(rank/float64(c)*float64(bound(i)-lower))
	}
	return n, 0
}

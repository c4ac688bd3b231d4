package persist

import (
	"context"
	"sync"
	"time"

	"github.com/hookgate/hookgate"
)

const (
	// scaleEvery is how often the scaler decides on the number of workers.
	scaleEvery = time.Second
	// lag is the age of the oldest record above which the scaler adds a worker.
	lag = time.Second
	// calmDecisions is how many decisions in a row must find too little work before the scaler removes
	// a worker: moving partitions costs more than an idle worker.
	calmDecisions = 30
)

// scaler decides how many workers there should be. It is for one goroutine.
type scaler struct {
	min, max int
	batch    int // records in a full batch
	active   int
	calm     int // decisions in a row that found too little work
}

// decide returns the number of workers. It changes by at most one at a time.
func (s *scaler) decide(stats hookgate.QueueStats, now time.Time) int {
	late := !stats.OldestEnqueuedAt.IsZero() && now.Sub(stats.OldestEnqueuedAt) > lag
	switch {
	case stats.Depth > int64(s.active*s.batch) || late:
		s.calm = 0
		s.active = min(s.max, s.active+1)
	case s.active > s.min && stats.Depth <= int64((s.active-1)*s.batch/2):
		if s.calm++; s.calm >= calmDecisions {
			s.calm = 0
			s.active--
		}
	default:
		s.calm = 0
	}
	return s.active
}

// crew runs as many workers as the scaler decides.
type crew struct {
	start   func(context.Context, int)
	metrics Metrics
	ends    []context.CancelFunc
	all     sync.WaitGroup
}

// resize starts or ends workers until there are n. A worker that ends still stores its batch.
func (c *crew) resize(ctx context.Context, n int) {
	for len(c.ends) < n {
		working, end := context.WithCancel(ctx)
		number := len(c.ends) + 1
		c.all.Go(func() { c.start(working, number) })
		c.ends = append(c.ends, end)
	}
	for len(c.ends) > n {
		last := len(c.ends) - 1
		c.ends[last]()
		c.ends = c.ends[:last]
	}
	c.metrics.Workers(n)
}

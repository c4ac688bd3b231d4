package persist

import (
	"context"
	"sync"
	"time"

	"github.com/hookgate/hookgate"
)

const (
	// lookEvery is how often the number of workers is thought over.
	lookEvery = time.Second
	// lag is the age of the oldest record beyond which another worker is wanted.
	lag = time.Second
	// calmLooks is how many looks in a row must find too little to do before a worker is sent home:
	// moving partitions costs more than an idle worker.
	calmLooks = 30
)

// scaler decides how many workers there should be. It is for one goroutine.
type scaler struct {
	min, max int
	batch    int // records in a full batch
	active   int
	calm     int // looks in a row that found too little to do
}

// look returns how many workers there should be, one more or less than before at most.
func (s *scaler) look(stats hookgate.QueueStats, now time.Time) int {
	late := !stats.OldestEnqueuedAt.IsZero() && now.Sub(stats.OldestEnqueuedAt) > lag
	switch {
	case stats.Depth > int64(s.active*s.batch) || late:
		s.calm = 0
		s.active = min(s.max, s.active+1)
	case s.active > s.min && stats.Depth <= int64((s.active-1)*s.batch/2):
		if s.calm++; s.calm >= calmLooks {
			s.calm = 0
			s.active--
		}
	default:
		s.calm = 0
	}
	return s.active
}

// crew runs as many workers as the scaler wants.
type crew struct {
	start   func(context.Context, int)
	metrics Metrics
	ends    []context.CancelFunc
	all     sync.WaitGroup
}

// resize starts or ends workers until there are n. One that is ended sees its batch through.
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

// Package worker carries records from the queue to the store: next, apply, commit.
//
// Each worker holds some partitions. It reads across them, stores what it has read in one
// transaction and only then releases it. A store that is away is waited for; a worker that has been
// replaced starts afresh.
//
//	  ┌──────────────────────── released ◄── Commit ◄──┐
//	  ▼                                                │ stored
//	Next ─► linger ─► Acquire (new lease) ─► Apply ────┤
//	  ▲                                       │        │
//	  └── Consume anew ◄── fenced ◄───────────┘        └ anything else: back off, the same again
package persist

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/failsafe-go/failsafe-go"
	"github.com/failsafe-go/failsafe-go/retrypolicy"
	"golang.org/x/time/rate"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/internal/tally"
)

// Config of the workers. Zero fields take their defaults.
type Config struct {
	// Workers is the most there are at a time, MinWorkers the least; default 1. In between their
	// number follows the depth and the lag of the queue.
	Workers, MinWorkers int
	// MaxRecords and MaxBytes bound a batch; default 2,000 and 8 MiB of bodies. A single record may
	// be larger.
	MaxRecords int
	MaxBytes   int
	// Linger is how long a worker waits for more records when it has some, but no full batch; default
	// 100 ms. Without it, each few records would cost a transaction of the store, and Redis is asked
	// all the time; the sender has its answer already.
	Linger time.Duration
	// ApplyTarget is the time that a transaction of the store should take at most: batches shrink when
	// it takes longer and grow again when it does not. Default 250 ms.
	ApplyTarget time.Duration
	// ApplyTimeout bounds one attempt to store a batch; default 30 s.
	ApplyTimeout time.Duration
	// BackoffMin and BackoffMax bound the pauses between attempts, which double and vary at random
	// by half; default 50 ms and 15 s.
	BackoffMin, BackoffMax time.Duration
	// MaxRate bounds the records that all workers together store a second; 0 means no bound. A batch
	// then holds what a second may have at most.
	MaxRate int
	// Paused reports whether workers must leave the store alone for now. It is asked before each call
	// of the store and may be called concurrently; nil: they never must.
	Paused func() bool
	// Name tells the workers of one process from those of another in the lineage; default "worker".
	Name   string
	Logger *slog.Logger
}

func (c Config) withDefaults() Config {
	fill(&c.Workers, 1)
	fill(&c.MinWorkers, 1)
	fill(&c.MaxRecords, 2000)
	fill(&c.MaxBytes, 8<<20)
	fill(&c.Linger, 100*time.Millisecond)
	fill(&c.ApplyTarget, 250*time.Millisecond)
	fill(&c.ApplyTimeout, 30*time.Second)
	fill(&c.BackoffMin, 50*time.Millisecond)
	fill(&c.BackoffMax, 15*time.Second)
	fill(&c.Name, "worker")
	if c.Paused == nil {
		c.Paused = func() bool { return false }
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

func fill[T comparable](to *T, value T) {
	var zero T
	if *to == zero {
		*to = value
	}
}

// Metrics is told what became of each record. Its methods are called concurrently.
type Metrics interface {
	// Metrics counts records and transactions; ApplyFailed also an attempt that failed at becoming the
	// owner of a partition.
	tally.Metrics
	// Fenced counts one batch that was refused because its partition has another owner.
	Fenced()
	// Workers tells how many workers there are now.
	Workers(active int)
	// Storing adds to the number of calls of the store that are under way.
	Storing(calls int)
}

// Run runs the workers until ctx ends. A transaction of the store that is under way then is seen
// through; one that would have to be tried again is left to the next start, as its records are
// still queued.
func Run(ctx context.Context, c Config, q hookgate.BufferedQueue, s hookgate.Store, m Metrics) {
	c = c.withDefaults()
	var pace *rate.Limiter
	if c.MaxRate > 0 {
		c.MaxRecords = min(c.MaxRecords, c.MaxRate)
		pace = rate.NewLimiter(rate.Limit(c.MaxRate), c.MaxRecords)
	}
	crew := crew{metrics: m, start: func(ctx context.Context, number int) {
		w := &worker{Config: c, queue: q, store: s, metrics: m, size: newSizer(c.MaxRecords,
			c.ApplyTarget), pace: pace}
		w.Name = fmt.Sprintf("%s-%d", c.Name, number)
		w.Logger = c.Logger.With("worker", w.Name)
		w.tally = tally.New(m, w.Logger)
		w.run(ctx)
	}}
	defer crew.all.Wait()
	defer crew.resize(ctx, 0)
	scaler := scaler{min: min(c.MinWorkers, c.Workers), max: c.Workers, batch: c.MaxRecords}
	scaler.active = scaler.min
	crew.resize(ctx, scaler.active)
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(lookEvery):
		}
		// While workers pause, more of them would not help.
		if c.Paused() {
			continue
		}
		// A queue that cannot be asked has enough to do; the number stays.
		if stats, err := q.Stats(ctx); err == nil {
			crew.resize(ctx, scaler.look(stats, time.Now()))
		}
	}
}

type worker struct {
	Config
	queue   hookgate.BufferedQueue
	store   hookgate.Store
	metrics Metrics
	size    *sizer
	// pace is shared by all workers of the process; nil if there is no bound.
	pace  *rate.Limiter
	tally *tally.Counter
	// owned holds what Acquire answered for each partition held.
	owned map[int]ownership
}

type ownership struct {
	lease uint64
	epoch hookgate.Epoch
}

// run consumes until ctx ends or the queue is closed.
func (w *worker) run(ctx context.Context) {
	for {
		err := w.consume(ctx)
		if ctx.Err() != nil || errors.Is(err, hookgate.ErrClosed) {
			return
		}
		w.Logger.Warn("the reader is opened again", "error", err)
		// Whoever has taken over may be as short-lived as this reader was.
		select {
		case <-ctx.Done():
		case <-time.After(w.BackoffMin):
		}
	}
}

// consume takes batches from the queue to the store until something is in the way that only a new
// reader can overcome.
func (w *worker) consume(ctx context.Context) error {
	var c hookgate.PartitionReader
	err := w.persist(ctx, "consume", func(int, error) (err error) {
		c, err = w.queue.OpenReader(ctx)
		return err
	}, hookgate.ErrClosed)
	if err != nil {
		return fmt.Errorf("open reader: %w", err)
	}
	defer c.Close()
	w.owned = map[int]ownership{}
	for {
		if err := w.round(ctx, c); err != nil {
			return err
		}
	}
}

// pausePoll is how often a worker that pauses looks whether it may go on.
const pausePoll = 50 * time.Millisecond

// enterStore waits until the store may be called and counts the call, or returns the error of ctx.
// leaveStore must follow a call. The call is counted before the pause is looked at, so that from
// the moment at which Paused reports true, a count of 0 means that nothing is written any more.
func (w *worker) enterStore(ctx context.Context) error {
	for {
		w.metrics.Storing(1)
		if !w.Paused() {
			return nil
		}
		w.metrics.Storing(-1)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pausePoll):
		}
	}
}

func (w *worker) leaveStore() { w.metrics.Storing(-1) }

// round takes one batch from the queue to the store.
func (w *worker) round(ctx context.Context, c hookgate.PartitionReader) error {
	records, err := w.gather(ctx, c)
	if err != nil {
		return err
	}
	if err := w.acquire(ctx, records); err != nil {
		return err
	}
	if err := w.keep(ctx, records); err != nil {
		return err
	}
	// The release must not be cut off by the end of ctx: it would only make work for the next start.
	if err := c.Commit(context.WithoutCancel(ctx), hookgate.LastOffsets(records)); err != nil {
		return fmt.Errorf("release %d stored records: %w", len(records), err)
	}
	return nil
}

// lingerLooks is how often the queue is asked for more in a linger, at most.
const lingerLooks = 5

// gather waits for a record and then, as long as the linger lasts, for a full batch.
func (w *worker) gather(ctx context.Context, c hookgate.PartitionReader) ([]hookgate.Record, error) {
	max, maxBytes := w.size.records(), w.MaxBytes
	var records []hookgate.Record
	err := w.persist(ctx, "read queue", func(int, error) (err error) {
		records, err = c.Next(ctx, max, maxBytes)
		return err
	}, hookgate.ErrClosed)
	if err != nil {
		return nil, fmt.Errorf("read queue: %w", err)
	}
	lingering, cancel := context.WithTimeout(ctx, w.Linger)
	defer cancel()
	for unseen := records; ; {
		for _, r := range unseen {
			maxBytes -= len(r.Body)
		}
		if len(records) >= max || maxBytes <= 0 {
			return records, nil
		}
		// Without a pause the queue would be asked after each record that comes, or each group of them.
		select {
		case <-time.After(w.Linger / lingerLooks):
		case <-lingering.Done():
			return records, nil
		}
		more, err := c.Next(lingering, max-len(records), maxBytes)
		if err != nil {
			return records, nil // mostly the end of the linger; any other error will come again
		}
		records, unseen = append(records, more...), more
	}
}

// acquire makes this worker the owner of the partitions that have come to it under a new lease.
func (w *worker) acquire(ctx context.Context, records []hookgate.Record) error {
	for i := range records {
		p, lease := records[i].Partition, records[i].Lease
		if o, ok := w.owned[p]; ok && o.lease == lease {
			continue
		}
		err := w.persist(ctx, "acquire partition", func(int, error) error {
			if err := w.enterStore(ctx); err != nil {
				return err
			}
			defer w.leaveStore()
			ctx, cancel := context.WithTimeout(ctx, w.ApplyTimeout)
			defer cancel()
			epoch, err := w.store.Acquire(ctx, p)
			if err != nil {
				w.metrics.ApplyFailed()
			}
			w.owned[p] = ownership{lease, epoch}
			return err
		})
		if err != nil {
			return fmt.Errorf("acquire partition %d: %w", p, err)
		}
	}
	return nil
}

// persist calls f until it succeeds, with pauses that grow, for as long as it takes. It gives up
// only when ctx ends or the error is one of final. f is told the number of the attempt and the
// error before it.
func (w *worker) persist(ctx context.Context, what string, f func(attempt int, last error) error,
	final ...error) error {
	policy := retrypolicy.NewBuilder[any]().
		WithMaxRetries(-1).
		WithBackoff(w.BackoffMin, w.BackoffMax).
		WithJitterFactor(0.5).
		AbortOnErrors(final...).
		AbortIf(func(any, error) bool { return ctx.Err() != nil }).
		OnRetryScheduled(func(e failsafe.ExecutionScheduledEvent[any]) {
			level := slog.LevelWarn
			if errors.Is(e.LastError(), hookgate.ErrRejected) {
				level = slog.LevelError // the store is well, and this does not pass by itself
			}
			w.Logger.Log(ctx, level, what+" failed; will try again", "attempt", e.Attempts(), "pause",
				e.Delay, "error", e.LastError())
		}).
		Build()
	return failsafe.With(policy).WithContext(ctx).
		RunWithExecution(func(e failsafe.Execution[any]) error {
			return f(e.Attempts(), e.LastError())
		})
}

// Package persist stores the records of a queue: it reads them, stores them in batches and then
// releases them from the queue. Redis is such a queue; a queue over the store needs no workers.
//
// Each worker holds some of the queue's partitions. One round of a worker:
//
//	  ┌──────────────── nothing is released ◄── a crash, or the end of the process
//	  ▼
//	fetchBatch ──► acquire ──► storeAll ──► Commit: the queue releases the batch
//	  ▲   ▲         an epoch     │  │
//	  │   │         for each     │  └─ ErrFenced: close the reader, open a new one ──┐
//	  │   │         new lease    └──── any other error: back off, the same batch     │
//	  │   └──────────────────────────────────────────────────────────────────────────┘
//	  └─ the next round
//
// Each failure and what the worker does:
//
//	the store is away          The worker retries the batch until it is stored, without a limit.
//	the store rejects it       The store writes a dead letter in its place, in the same transaction;
//	                           the rest of the batch is stored.
//	the store rejects that too The worker retries the batch and logs an error, because a person must
//	                           help. Later records of its partitions wait.
//	it cannot be decoded       It becomes a dead letter with the raw entry as its body.
//	the outcome is unknown     The worker stores the batch again. The store recognises what it has.
//	the worker is fenced       Another worker has its partition and reads the record again.
//	Commit fails               The record comes again, and the store recognises it.
//	the process is killed      The record was not released, so another worker reads it.
//
// So a record leaves the queue only after a commit has stored it, and records of one ordering key
// are stored in their order.
package persist

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"golang.org/x/time/rate"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/internal/tally"
)

// Config of the workers. Zero fields take their defaults.
type Config struct {
	// Workers is the largest number of workers, MinWorkers the smallest; default 1. Between them the
	// number follows the depth and the lag of the queue.
	Workers, MinWorkers int
	// MaxRecords and MaxBytes bound a batch; default 2,000 records and 8 MiB of bodies. A single
	// record may be larger.
	MaxRecords int
	MaxBytes   int
	// Linger is how long a worker that has some records waits for a full batch; default 100 ms. A
	// transaction for every few records costs the store and Redis more, and no sender waits for it.
	Linger time.Duration
	// ApplyTarget is the longest time that a transaction of the store should take; default 250 ms.
	// Batches shrink when it takes longer and grow again when it does not.
	ApplyTarget time.Duration
	// ApplyTimeout bounds one attempt to store a batch; default 30 s.
	ApplyTimeout time.Duration
	// BackoffMin and BackoffMax bound the pauses between attempts; default 50 ms and 5 s. See
	// backoff.Policy.
	BackoffMin, BackoffMax time.Duration
	// MaxRate bounds the records that all workers together store per second; 0 means no bound. A batch
	// then holds at most the records of one second.
	MaxRate int
	// Paused reports whether workers must not call the store now. Workers ask before each call of the
	// store, concurrently; nil: workers never pause.
	Paused func() bool
	// Name distinguishes the workers of this process from those of others in the lineage; default
	// "worker".
	Name   string
	Logger *slog.Logger
}

func (c Config) withDefaults() Config {
	setDefault(&c.Workers, 1)
	setDefault(&c.MinWorkers, 1)
	setDefault(&c.MaxRecords, 2000)
	setDefault(&c.MaxBytes, 8<<20)
	setDefault(&c.Linger, 100*time.Millisecond)
	setDefault(&c.ApplyTarget, 250*time.Millisecond)
	setDefault(&c.ApplyTimeout, 30*time.Second)
	setDefault(&c.BackoffMin, 50*time.Millisecond)
	setDefault(&c.BackoffMax, 5*time.Second)
	setDefault(&c.Name, "worker")
	if c.Paused == nil {
		c.Paused = func() bool { return false }
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Metrics counts what the workers do. Workers call its methods concurrently.
type Metrics interface {
	// Metrics counts records and transactions. ApplyFailed also counts failed attempts to acquire a
	// partition.
	tally.Metrics
	// Fenced counts one batch that the store rejected because its partition has another owner.
	Fenced()
	// Workers sets the current number of workers.
	Workers(active int)
	// Storing adds to the number of calls of the store in flight.
	Storing(calls int)
}

// Run runs the workers until ctx ends. Then a transaction in flight still ends, but is not retried
// if it fails: its records are still queued, and the next start stores them.
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
		case <-time.After(scaleEvery):
		}
		// While workers pause, more of them would not help.
		if c.Paused() {
			continue
		}
		// A queue that does not answer is busy enough; the number stays.
		if stats, err := q.Stats(ctx); err == nil {
			crew.resize(ctx, scaler.decide(stats, time.Now()))
		}
	}
}

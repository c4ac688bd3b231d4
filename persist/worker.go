package persist

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"golang.org/x/time/rate"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/internal/backoff"
	"github.com/hookgate/hookgate/internal/tally"
)

const (
	// pausePoll is how often a paused worker asks whether it may go on.
	pausePoll = 50 * time.Millisecond
	// lingerReads is the largest number of reads in one linger. Without a pause between them the
	// worker would read after every few records.
	lingerReads = 5
)

// worker stores the records of the partitions that its reader holds. It is one goroutine.
type worker struct {
	Config
	queue   hookgate.BufferedQueue
	store   hookgate.Store
	metrics Metrics
	size    *sizer
	// pace is shared by all workers of the process; nil if there is no bound.
	pace  *rate.Limiter
	tally *tally.Counter
	// owned has, for each partition that the reader holds, the epoch that Acquire returned under a
	// lease.
	owned map[int]ownership
}

type ownership struct {
	lease uint64
	epoch hookgate.Epoch
}

// run works until ctx ends or the queue is closed. After an error that only a new reader can
// overcome, it opens one.
func (w *worker) run(ctx context.Context) {
	for {
		err := w.work(ctx)
		if ctx.Err() != nil || errors.Is(err, hookgate.ErrClosed) {
			return
		}
		w.Logger.Warn("the worker lost its partitions; it opens a new reader", "error", err)
		// Without a pause two workers could take the partitions from each other all the time.
		_ = backoff.Sleep(ctx, w.BackoffMin)
	}
}

// work opens a reader and stores its records until a batch fails for good: the worker was fenced,
// or ctx ended.
func (w *worker) work(ctx context.Context) error {
	var reader hookgate.PartitionReader
	err := w.retryForever(ctx, "open reader", func(backoff.Attempt) (err error) {
		reader, err = w.queue.OpenReader(ctx)
		return err
	}, hookgate.ErrClosed)
	if err != nil {
		return fmt.Errorf("open reader: %w", err)
	}
	defer reader.Close()
	w.owned = map[int]ownership{}
	for {
		if err := w.round(ctx, reader); err != nil {
			return err
		}
	}
}

// round stores one batch and releases it.
func (w *worker) round(ctx context.Context, reader hookgate.PartitionReader) error {
	records, err := w.fetchBatch(ctx, reader)
	if err != nil {
		return err
	}
	if err := w.acquire(ctx, records); err != nil {
		return err
	}
	if err := w.storeAll(ctx, records); err != nil {
		return err
	}
	// A crash here costs nothing: the records come again, and the store recognises them. The end of
	// ctx does not cut the release off, because that would only make work for the next start.
	err = reader.Commit(context.WithoutCancel(ctx), hookgate.LastOffsets(records))
	if err != nil {
		return fmt.Errorf("release %d stored records: %w", len(records), err)
	}
	return nil
}

// fetchBatch waits for a record and then, for as long as the linger lasts, for a full batch.
func (w *worker) fetchBatch(ctx context.Context,
	reader hookgate.PartitionReader) ([]hookgate.Record, error) {
	max, maxBytes := w.size.records(), w.MaxBytes
	var records []hookgate.Record
	err := w.retryForever(ctx, "read queue", func(backoff.Attempt) (err error) {
		records, err = reader.Next(ctx, max, maxBytes)
		return err
	}, hookgate.ErrClosed)
	if err != nil {
		return nil, fmt.Errorf("read queue: %w", err)
	}
	lingering, cancel := context.WithTimeout(ctx, w.Linger)
	defer cancel()
	for uncounted := records; ; {
		for _, r := range uncounted {
			maxBytes -= len(r.Body)
		}
		if len(records) >= max || maxBytes <= 0 {
			return records, nil
		}
		if err := backoff.Sleep(lingering, w.Linger/lingerReads); err != nil {
			return records, nil
		}
		more, err := reader.Next(lingering, max-len(records), maxBytes)
		if err != nil {
			return records, nil // mostly the end of the linger; any other error will come again
		}
		records, uncounted = append(records, more...), more
	}
}

// acquire makes this worker the owner of those partitions that have come to it under a new lease.
// From then on the store fences the owner before.
func (w *worker) acquire(ctx context.Context, records []hookgate.Record) error {
	for i := range records {
		p, lease := records[i].Partition, records[i].Lease
		if o, ok := w.owned[p]; ok && o.lease == lease {
			continue
		}
		err := w.retryForever(ctx, "acquire partition", func(backoff.Attempt) error {
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

// enterStore waits until the store may be called, and counts the call; leaveStore must follow. The
// error is that of ctx.
//
// The call is counted before Paused is asked. So once Paused reports true, a count of 0 means that
// no worker writes to the store any more.
func (w *worker) enterStore(ctx context.Context) error {
	for {
		w.metrics.Storing(1)
		if !w.Paused() {
			return nil
		}
		w.metrics.Storing(-1)
		if err := backoff.Sleep(ctx, pausePoll); err != nil {
			return err
		}
	}
}

func (w *worker) leaveStore() { w.metrics.Storing(-1) }

// retryForever calls f until it succeeds, with growing pauses and without a limit. It gives up only
// when ctx ends or the error is one of final.
func (w *worker) retryForever(ctx context.Context, what string, f func(backoff.Attempt) error,
	final ...error) error {
	return backoff.Policy{
		Min: w.BackoffMin, Max: w.BackoffMax,
		Stop: func(err error) bool {
			return slices.ContainsFunc(final, func(f error) bool { return errors.Is(err, f) })
		},
		Failed: func(a backoff.Attempt, pause time.Duration) {
			level := slog.LevelWarn
			if errors.Is(a.Err, hookgate.ErrRejected) {
				level = slog.LevelError // the store works, so this does not pass by itself
			}
			w.Logger.Log(ctx, level, what+" failed; the worker retries", "attempt", a.Number, "pause",
				pause.String(), "error", a.Err)
		},
	}.Retry(ctx, f)
}

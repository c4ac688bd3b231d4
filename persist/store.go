package persist

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/internal/backoff"
)

// storeAll stores every record, retrying until ctx is done.
//
// It splits a request that carries several events into these. They may need several transactions;
// the request is released only after all of them. An error means that ctx has ended or that this
// worker was fenced; some of the records may then be stored.
func (w *worker) storeAll(ctx context.Context, records []hookgate.Record) error {
	begun := time.Now()
	b := w.newBatch(begun)
	for i := range records {
		r := &records[i]
		if r.Corrupt != nil {
			deadLetter(b, r, r.Corrupt)
			continue
		}
		if len(r.Parts) == 0 {
			b.Records = append(b.Records, *r)
			continue
		}
		events, err := r.Split()
		if err != nil {
			deadLetter(b, r, err)
			continue
		}
		for _, e := range events {
			if len(b.Records) >= w.MaxRecords {
				if err := w.apply(ctx, b); err != nil {
					return err
				}
				b = w.newBatch(begun)
			}
			b.Records = append(b.Records, e)
		}
	}
	return w.apply(ctx, b)
}

func (w *worker) newBatch(begun time.Time) *hookgate.Batch {
	return &hookgate.Batch{Worker: w.Name, ProcessedAt: begun}
}

// deadLetter adds a record to the batch that can never be stored as an event.
func deadLetter(b *hookgate.Batch, r *hookgate.Record, reason error) {
	b.Dead = append(b.Dead, hookgate.DeadLetter{Record: *r, Reason: reason.Error()})
}

// apply stores a batch, retrying until ctx is done or the worker is fenced. The store itself makes
// dead letters of the records that it rejects. If it rejects even those, apply retries until a
// person has repaired the store.
func (w *worker) apply(ctx context.Context, b *hookgate.Batch) error {
	b.Epochs = map[int]hookgate.Epoch{}
	for _, r := range b.Records {
		b.Epochs[r.Partition] = w.owned[r.Partition].epoch
	}
	for _, d := range b.Dead {
		b.Epochs[d.Partition] = w.owned[d.Partition].epoch
	}
	if err := w.waitForPace(ctx, len(b.Records)+len(b.Dead)); err != nil {
		return err
	}
	var outcome hookgate.Outcome
	var took time.Duration
	err := w.retryForever(ctx, "store batch", func(a backoff.Attempt) error {
		if err := w.enterStore(ctx); err != nil {
			return err
		}
		defer w.leaveStore()
		if b.Attempts = a.Number; a.Err != nil {
			b.LastError = a.Err.Error()
		}
		// The end of ctx does not cut an attempt off: it would only make the outcome unknown.
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), w.ApplyTimeout)
		defer cancel()
		begun := time.Now()
		var err error
		outcome, err = w.store.Apply(bounded, b)
		if took = time.Since(begun); err != nil {
			w.metrics.ApplyFailed()
		}
		if errors.Is(err, hookgate.ErrFenced) {
			w.metrics.Fenced()
		}
		return err
	}, hookgate.ErrFenced)
	if err != nil {
		return fmt.Errorf("store %d records and %d dead letters: %w", len(b.Records), len(b.Dead), err)
	}
	w.size.applied(len(b.Records), took)
	w.tally.Count(b, &outcome, took)
	return nil
}

// waitForPace waits until Config.MaxRate permits n more records. An error means that ctx has ended;
// the records are still queued.
func (w *worker) waitForPace(ctx context.Context, n int) error {
	if w.pace == nil {
		return nil
	}
	for ; n > 0; n -= w.pace.Burst() {
		if err := w.pace.WaitN(ctx, min(n, w.pace.Burst())); err != nil {
			return fmt.Errorf("wait for the rate of %d records per second: %w", w.MaxRate, err)
		}
	}
	return nil
}

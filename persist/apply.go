package persist

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hookgate/hookgate"
)

// keep stores records, all of them, whatever it takes. A request of several events is divided into
// them here, and they may take several transactions: its record is released only after all of them.
// An error means that ctx has ended or that this worker was replaced; then a part may have been
// stored.
func (w *worker) keep(ctx context.Context, records []hookgate.Record) error {
	began := time.Now()
	b := &hookgate.Batch{Worker: w.Name, ProcessedAt: began}
	for i := range records {
		r := &records[i]
		corrupt := r.Corrupt
		if corrupt == nil && len(r.Parts) > 0 {
			var events []hookgate.Record
			if events, corrupt = r.Split(); corrupt == nil {
				for _, e := range events {
					if len(b.Records) >= w.MaxRecords {
						if err := w.apply(ctx, b); err != nil {
							return err
						}
						b = &hookgate.Batch{Worker: w.Name, ProcessedAt: began}
					}
					b.Records = append(b.Records, e)
				}
				continue
			}
		}
		if corrupt != nil {
			b.Dead = append(b.Dead, hookgate.DeadLetter{Record: *r, Reason: corrupt.Error()})
		} else {
			b.Records = append(b.Records, *r)
		}
	}
	return w.apply(ctx, b)
}

// apply hands b to the store until it is stored or fenced out. The store makes dead letters of the
// records that it rejects. If it rejects even those, the batch is tried again until someone has
// looked at the log and helped the store.
func (w *worker) apply(ctx context.Context, b *hookgate.Batch) error {
	b.Epochs = map[int]hookgate.Epoch{}
	for _, r := range b.Records {
		b.Epochs[r.Partition] = w.owned[r.Partition].epoch
	}
	for _, d := range b.Dead {
		b.Epochs[d.Partition] = w.owned[d.Partition].epoch
	}
	if err := w.keepPace(ctx, len(b.Records)+len(b.Dead)); err != nil {
		return err
	}
	var outcome hookgate.Outcome
	var took time.Duration
	err := w.persist(ctx, "store batch", func(attempt int, last error) error {
		if err := w.enterStore(ctx); err != nil {
			return err
		}
		defer w.leaveStore()
		b.Attempts = attempt
		if last != nil {
			b.LastError = last.Error()
		}
		// The end of ctx does not cut an attempt off: it would only make its outcome unknown.
		applying, cancel := context.WithTimeout(context.WithoutCancel(ctx), w.ApplyTimeout)
		defer cancel()
		start := time.Now()
		var err error
		outcome, err = w.store.Apply(applying, b)
		if took = time.Since(start); err != nil {
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

// keepPace waits until n records may be stored, or until ctx ends: they are still queued then.
func (w *worker) keepPace(ctx context.Context, n int) error {
	if w.pace == nil {
		return nil
	}
	for ; n > 0; n -= w.pace.Burst() {
		if err := w.pace.WaitN(ctx, min(n, w.pace.Burst())); err != nil {
			return fmt.Errorf("keep to %d records a second: %w", w.MaxRate, err)
		}
	}
	return nil
}

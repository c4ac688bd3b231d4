package failover

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/failsafe-go/failsafe-go"
	"github.com/failsafe-go/failsafe-go/retrypolicy"
	"golang.org/x/sync/errgroup"

	"github.com/hookgate/hookgate"
)

const (
	// drainRecords and drainBytes bound what is taken from the spool at a time.
	drainRecords, drainBytes = 1000, 8 << 20
	// caughtUp is the size of a batch below which appends can be made to wait for the rest to be moved.
	caughtUp = 200
	// patience is how many time-outs the spool may take to be caught up with. Then appends are made to wait for one
	// time-out anyway, so that the spool shrinks even if it is filled as fast as it can be drained.
	patience = 5
	// moment is how long to wait for something in the spool.
	moment = 10 * time.Millisecond
)

// run drains the spool whenever it is in use, until ctx ends.
func (q *Queue) run(ctx context.Context) {
	defer close(q.ended)
	for q.await(ctx, func() bool { return q.state == spooling }) {
		err := q.drain(ctx)
		if ctx.Err() != nil {
			return
		}
		if err == nil { // a leftover is empty, and nobody has its consumer
			if q.Emptied != nil {
				q.Emptied()
			}
			return
		}
		// The spool failed, or a batch was cut off because appends waited for it: its consumer is opened anew.
		q.Logger.Warn("draining the spool broke off", "error", err)
		select {
		case <-ctx.Done():
		case <-time.After(q.RetryMin):
		}
	}
}

// await waits for a condition on the fields that mu guards; false if ctx ends first.
func (q *Queue) await(ctx context.Context, condition func() bool) bool {
	for {
		q.mu.Lock()
		met, changed := condition(), q.changed
		q.mu.Unlock()
		if met {
			return true
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return false
		}
	}
}

// drain moves the spool to the primary, again and again, until ctx ends or the spool fails. Of a
// leftover it returns nil when all has been moved.
func (q *Queue) drain(ctx context.Context) error {
	c, err := q.spool.Consume(ctx)
	if err != nil {
		return fmt.Errorf("consume the spool: %w", err)
	}
	defer c.Close()
	for tried := time.Now(); ; {
		moved, err := q.moveBatch(ctx, c)
		if err != nil {
			return err
		}
		if moved >= caughtUp && time.Since(tried) < patience*q.Timeout {
			continue
		}
		if err := q.goBack(ctx, c); err != nil {
			return err
		}
		if q.Leftover != "" && q.is(direct) {
			return nil
		}
		tried = time.Now()
		if !q.await(ctx, func() bool { return q.state == spooling }) {
			return ctx.Err()
		}
	}
}

func (q *Queue) is(s state) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.state == s
}

// moveBatch moves what the spool has, up to the bounds of a batch; 0 if there was nothing for a moment.
func (q *Queue) moveBatch(ctx context.Context, c hookgate.Consumer) (moved int, err error) {
	waiting, cancel := context.WithTimeout(ctx, moment)
	defer cancel()
	records, err := c.Next(waiting, drainRecords, drainBytes)
	switch {
	case err != nil && ctx.Err() != nil:
		return 0, ctx.Err()
	case err != nil && waiting.Err() != nil:
		return 0, nil
	case err != nil:
		return 0, fmt.Errorf("read the spool: %w", err)
	}
	return len(records), q.move(ctx, c, records)
}

// move appends records to the primary, the ordering keys side by side and each in order, for as long as it takes, and
// releases them. If it is cut off it releases what has gone over, so that a batch larger than the time there is for it
// brings the spool forward all the same.
func (q *Queue) move(ctx context.Context, c hookgate.Consumer, records []hookgate.Record) error {
	lanes := map[string][]int{}
	for i := range records {
		key := records[i].OrderingKey
		lanes[key] = append(lanes[key], i)
	}
	moved := make([]bool, len(records)) // each is written by the goroutine of its key
	moving, moveCtx := errgroup.WithContext(ctx)
	for _, lane := range lanes {
		moving.Go(func() error {
			for _, i := range lane {
				if err := q.moveOne(moveCtx, &records[i]); err != nil {
					return err
				}
				moved[i] = true
			}
			return nil
		})
	}
	err := moving.Wait()
	over := unbroken(records, moved)
	if released := c.Commit(context.WithoutCancel(ctx), hookgate.LastOffsets(over)); released != nil {
		err = errors.Join(err, fmt.Errorf("release %d drained deliveries: %w", len(over), released))
	}
	return err
}

// unbroken returns the records of each partition that stand before the first one that was not moved: a release is cumulative.
func unbroken(records []hookgate.Record, moved []bool) []hookgate.Record {
	if !slices.Contains(moved, false) {
		return records
	}
	var over []hookgate.Record
	broken := map[int]bool{}
	for i := range records {
		p := records[i].Partition
		if broken[p] = broken[p] || !moved[i]; !broken[p] {
			over = append(over, records[i])
		}
	}
	return over
}

// moveOne appends one record to the primary until that has it. An error means that ctx has ended or that a record
// that cannot be decoded could not be put aside.
func (q *Queue) moveOne(ctx context.Context, r *hookgate.Record) error {
	if r.Corrupt != nil {
		q.Logger.Error("a spooled delivery cannot be decoded and is put aside", "position", r.Position, "error", r.Corrupt)
		return q.Quarantine(*r)
	}
	if r.SpooledAt.IsZero() { // it was the record of a queue; until now this file has kept it
		r.SpooledAt = r.EnqueuedAt
	}
	return q.retry(ctx, "draining the spool", func() error {
		_, err := appendTo(ctx, q.primary, &r.Delivery, r.DuplicateOf)
		return err
	})
}

// retry calls f until it succeeds, with pauses that grow, or until ctx ends.
func (q *Queue) retry(ctx context.Context, what string, f func() error) error {
	policy := retrypolicy.NewBuilder[any]().
		WithMaxRetries(-1).
		WithBackoff(q.RetryMin, q.RetryMax).
		WithJitterFactor(0.5).
		AbortIf(func(any, error) bool { return ctx.Err() != nil }).
		OnRetryScheduled(func(e failsafe.ExecutionScheduledEvent[any]) {
			q.Logger.Debug(what+" failed; will try again", "attempt", e.Attempts(), "pause", e.Delay, "error", e.LastError())
		}).
		Build()
	return failsafe.With(policy).WithContext(ctx).Run(f)
}

// goBack lets appends go to the primary again: it waits until the primary answers, makes appends wait, moves what has
// come to the spool meanwhile, and only then opens the way. If the primary fails in between, spooling goes on.
func (q *Queue) goBack(ctx context.Context, c hookgate.Consumer) error {
	err := q.retry(ctx, "asking the queue", func() error { return q.probe(ctx) })
	if err != nil {
		return err
	}
	q.mu.Lock()
	q.set(switching)
	q.mu.Unlock()
	back := false
	defer func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		if !back {
			q.set(spooling)
			return
		}
		q.Logger.Info(cmp.Or(q.emptied(), "queue is back and the spool is empty"), "away", time.Since(q.since).Round(time.Millisecond).String())
		q.set(direct)
	}()
	if !q.await(ctx, func() bool { return q.inSpool == 0 }) {
		return ctx.Err()
	}
	// Appends wait: what is left must go over within one time-out, or they are let to the spool again.
	hurry, cancel := context.WithTimeout(ctx, q.Timeout)
	defer cancel()
	for hurry.Err() == nil {
		stats, err := q.spool.Stats(ctx)
		if err != nil {
			return fmt.Errorf("look into the spool: %w", err)
		}
		if stats.Depth == 0 {
			back = true
			return nil
		}
		if _, err := q.moveBatch(hurry, c); err != nil {
			return err
		}
	}
	return nil
}

// emptied says in the log that a leftover is empty; nothing of a spool.
func (q *Queue) emptied() string {
	if q.Leftover == "" {
		return ""
	}
	return "all webhooks that an earlier configuration left in " + q.Leftover + " are in the queue"
}

// probe asks the primary whether it would take deliveries.
func (q *Queue) probe(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, q.Timeout)
	defer cancel()
	stats, err := q.primary.Stats(ctx)
	if err == nil {
		err = stats.Err
	}
	return err
}

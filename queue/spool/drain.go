package spool

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/internal/backoff"
)

const (
	// drainRecords and drainBytes bound what is taken from the spool at a time.
	drainRecords, drainBytes = 1024, 8 << 20
	// caughtUp is the size of a batch below which appends can be made to wait for the rest to be
	// moved.
	caughtUp = 200
	// patience is how many time-outs the spool may take to be caught up with. Then appends are made to
	// wait for one time-out anyway, so that the spool shrinks even if it is filled as fast as it can
	// be drained.
	patience = 5
	// moment is how long to wait for something in the spool.
	moment = 10 * time.Millisecond
	// progressEvery is how often Drain logs how much is left.
	progressEvery = 5 * time.Second
)

// Drain moves everything that spool holds to the queue to, each key in order, and returns when the
// spool is empty. While to fails it retries. If ctx or the process ends on the way, the next call
// goes on with the rest; what had been moved and not yet released is recognised by its request id.
func Drain(ctx context.Context, to hookgate.Queue, spool hookgate.BufferedQueue, o Options) error {
	m := newMover(o.withDefaults(), to)
	c, err := spool.OpenReader(ctx)
	if err != nil {
		return fmt.Errorf("read the spool: %w", err)
	}
	defer c.Close()
	for told := time.Now(); ; {
		stats, err := spool.Stats(ctx)
		if err == nil {
			err = stats.Err
		}
		if err != nil {
			return fmt.Errorf("look into the spool: %w", err)
		}
		if stats.Depth == 0 {
			return nil
		}
		if time.Since(told) >= progressEvery {
			told = time.Now()
			m.Logger.Info("spooled deliveries are moved", "left", stats.Depth)
		}
		if _, err := m.moveBatch(ctx, c); err != nil {
			return err
		}
	}
}

// run drains the spool whenever it is in use, until ctx ends.
func (q *Queue) run(ctx context.Context) {
	defer close(q.ended)
	for q.await(ctx, func() bool { return q.state == spooling }) {
		err := q.drain(ctx)
		if ctx.Err() != nil {
			return
		}
		if err == nil { // a leftover is empty, and nobody has its reader
			if q.Emptied != nil {
				q.Emptied()
			}
			return
		}
		// The spool failed, or a batch was cut off because appends waited for it: its reader is opened
		// anew.
		q.Logger.Warn("draining the spool broke off", "error", err)
		_ = backoff.Sleep(ctx, q.RetryMin)
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
	c, err := q.spool.OpenReader(ctx)
	if err != nil {
		return fmt.Errorf("read the spool: %w", err)
	}
	defer c.Close()
	for tried := time.Now(); ; {
		if err := q.resumed(ctx); err != nil {
			return err
		}
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
		if q.Leftover != "" && q.is(toPrimary) {
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

// goBack lets appends go to the primary again: it waits until the primary answers, makes appends
// wait, moves what has come to the spool meanwhile, and only then opens the way. If the primary
// fails in between, spooling goes on.
func (q *Queue) goBack(ctx context.Context, c hookgate.PartitionReader) error {
	err := q.retry(ctx, "asking the queue", func() error {
		if err := q.resumed(ctx); err != nil {
			return err
		}
		return q.probe(ctx)
	})
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
		q.Logger.Info(cmp.Or(q.emptied(), "queue is back and the spool is empty"), "away",
			time.Since(q.since).Round(time.Millisecond).String())
		q.set(toPrimary)
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
	if _, ok := q.primary.(bulkTaker); ok && errors.Is(err, hookgate.ErrFull) {
		return nil // the spool can be emptied, and appends shall get that answer
	}
	return err
}

package spool

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/internal/backoff"
)

const (
	// drainRecords and drainBytes bound one read of the file.
	drainRecords, drainBytes = 1024, 8 << 20
	// nearlyEmpty is the size of a batch below which the drainer lets appends wait for the rest.
	nearlyEmpty = 200
	// catchUpTimeouts is how many Options.Timeout the drainer tries to catch up with the appends. Then
	// it lets them wait for one Timeout anyway, so that the file shrinks even if appends fill it as
	// fast as it can be drained.
	catchUpTimeouts = 5
	// emptyWait is how long one read waits for a record.
	emptyWait = 10 * time.Millisecond
	// progressEvery is how often Drain logs how much is left.
	progressEvery = 5 * time.Second
)

// Drain moves everything that file holds to the queue to, each key in order, and returns when the
// file is empty. It retries while to fails. If ctx or the process ends early, the next call moves
// the rest; the queue recognises moved records that were not released, by their request ids.
func Drain(ctx context.Context, to Appender, file hookgate.BufferedQueue, o Options) error {
	m := newMover(o.withDefaults(), to)
	reader, err := file.OpenReader(ctx)
	if err != nil {
		return fmt.Errorf("read the spool: %w", err)
	}
	defer reader.Close()
	for logged := time.Now(); ; {
		stats, err := file.Stats(ctx)
		if err == nil {
			err = stats.Err
		}
		if err != nil {
			return fmt.Errorf("count the records of the spool: %w", err)
		}
		if stats.Depth == 0 {
			return nil
		}
		if time.Since(logged) >= progressEvery {
			logged = time.Now()
			m.Logger.Info("moving spooled requests to the queue", "left", stats.Depth)
		}
		if _, err := m.moveBatch(ctx, reader); err != nil {
			return err
		}
	}
}

// run drains the file whenever the queue spools, until ctx ends.
func (q *Queue) run(ctx context.Context) {
	defer close(q.ended)
	for q.await(ctx, func() bool { return q.phase == phaseSpooling }) {
		err := q.drain(ctx)
		if ctx.Err() != nil {
			return
		}
		if err == nil { // a leftover file is empty, and its reader is closed
			if q.Emptied != nil {
				q.Emptied()
			}
			return
		}
		// The file failed, or a batch was cut off because appends waited for it. A new reader starts at
		// the first record that is not released.
		q.Logger.Warn("draining the spool was interrupted; it goes on", "error", err)
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

// drain moves records to the primary, each time the queue spools, until ctx ends or the file fails.
// For a leftover file it returns nil when the file is empty.
func (q *Queue) drain(ctx context.Context) error {
	reader, err := q.file.OpenReader(ctx)
	if err != nil {
		return fmt.Errorf("read the spool: %w", err)
	}
	defer reader.Close()
	for tried := time.Now(); ; {
		if err := q.waitWhilePaused(ctx); err != nil {
			return err
		}
		moved, err := q.moveBatch(ctx, reader)
		if err != nil {
			return err
		}
		if moved >= nearlyEmpty && time.Since(tried) < catchUpTimeouts*q.Timeout {
			continue
		}
		if err := q.switchBack(ctx, reader); err != nil {
			return err
		}
		if q.Leftover != "" && q.inPhase(phasePrimary) {
			return nil
		}
		tried = time.Now()
		if !q.await(ctx, func() bool { return q.phase == phaseSpooling }) {
			return ctx.Err()
		}
	}
}

func (q *Queue) inPhase(p phase) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.phase == p
}

// switchBack lets appends go to the primary again. It waits until the primary answers, makes
// appends wait, moves the records that have come to the file meanwhile, and then changes the phase.
// If the primary fails in between, spooling goes on.
func (q *Queue) switchBack(ctx context.Context, reader hookgate.PartitionReader) error {
	err := q.retry(ctx, "probing the queue", func() error {
		if err := q.waitWhilePaused(ctx); err != nil {
			return err
		}
		return q.probe(ctx)
	})
	if err != nil {
		return err
	}
	q.mu.Lock()
	q.setPhase(phaseSwitching)
	q.mu.Unlock()
	next := phaseSpooling
	defer func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		if q.closed {
			return // appends that wait for the change end with ErrClosed
		}
		if next == phasePrimary {
			q.logBack()
		}
		q.setPhase(next)
	}()
	if !q.await(ctx, func() bool { return q.inFile == 0 }) {
		return ctx.Err()
	}
	// Appends wait now. The rest must be moved within one Timeout, or appends go to the file again.
	bounded, cancel := context.WithTimeout(ctx, q.Timeout)
	defer cancel()
	for bounded.Err() == nil {
		stats, err := q.file.Stats(ctx)
		if err != nil {
			return fmt.Errorf("count the records of the spool: %w", err)
		}
		if stats.Depth == 0 {
			next = phasePrimary
			return nil
		}
		if _, err := q.moveBatch(bounded, reader); err != nil {
			return err
		}
	}
	return nil
}

// logBack logs that appends go to the primary again. The caller holds mu.
func (q *Queue) logBack() {
	text := "queue is back and the spool is empty"
	if q.Leftover != "" {
		text = "all webhooks that an earlier configuration left in " + q.Leftover + " are in the queue"
	}
	q.Logger.Info(text, "away", time.Since(q.since).Round(time.Millisecond).String())
}

// probe asks the primary whether it accepts requests.
func (q *Queue) probe(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, q.Timeout)
	defer cancel()
	stats, err := q.primary.Stats(ctx)
	if err == nil {
		err = stats.Err
	}
	if _, ok := q.primary.(BulkAppender); ok && errors.Is(err, hookgate.ErrFull) {
		return nil // the file can be emptied, and then appends get ErrFull from the primary
	}
	return err
}

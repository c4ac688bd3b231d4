package spool

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/internal/backoff"
)

// maxBulk is the largest number of records in one call of a BulkAppender.
const maxBulk = 512

// BulkAppender is a queue that appends many records in one step. A primary may implement it; to any
// other the records are moved one by one.
type BulkAppender interface {
	// AppendAll appends records in their order, even while Append returns ErrFull. After an error the
	// outcome of each record is unknown, and the same call again is harmless. An error that wraps
	// hookgate.ErrRejected says that one of the records can never be appended.
	AppendAll(ctx context.Context, records []hookgate.Record) error
}

// mover moves records from a file to a queue. It is for one goroutine.
type mover struct {
	Options
	primary Appender
	// bulk is the number of records in the next call of a BulkAppender. It halves after each failure,
	// because a slow store may have time for a few records only, and doubles after each success.
	bulk int
}

func newMover(o Options, primary Appender) *mover { return &mover{o, primary, maxBulk} }

// moveBatch reads one batch and moves it. It returns 0 if the file was empty.
func (m *mover) moveBatch(ctx context.Context,
	reader hookgate.PartitionReader) (moved int, err error) {
	waiting, cancel := context.WithTimeout(ctx, emptyWait)
	defer cancel()
	records, err := reader.Next(waiting, drainRecords, drainBytes)
	switch {
	case err != nil && ctx.Err() != nil:
		return 0, ctx.Err()
	case err != nil && waiting.Err() != nil:
		return 0, nil
	case err != nil:
		return 0, fmt.Errorf("read the spool: %w", err)
	}
	return len(records), m.move(ctx, reader, records)
}

// move appends records to the queue, each key in order, retrying until ctx ends, and then releases
// them. If ctx ends early, it still releases the records that it has moved: the file then shrinks
// even if a whole batch takes longer than there is time.
func (m *mover) move(ctx context.Context, reader hookgate.PartitionReader,
	records []hookgate.Record) error {
	moved := make([]bool, len(records))
	err := m.prepare(records, moved)
	if to, ok := m.primary.(BulkAppender); ok && err == nil {
		err = m.moveInBulk(ctx, to, records, moved)
	} else if err == nil {
		err = m.moveKeys(ctx, records, moved)
	}
	done := releasable(records, moved)
	released := reader.Commit(context.WithoutCancel(ctx), hookgate.LastOffsets(done))
	if released != nil {
		err = errors.Join(err, fmt.Errorf("release %d drained requests: %w", len(done), released))
	}
	return err
}

// prepare quarantines the records that cannot be decoded and marks them as moved.
func (m *mover) prepare(records []hookgate.Record, moved []bool) error {
	for i := range records {
		r := &records[i]
		if r.Corrupt != nil {
			m.Logger.Error("a spooled request cannot be decoded; it is put into a file of its own",
				"position", r.Position, "error", r.Corrupt)
			if err := m.Quarantine(*r); err != nil {
				return err
			}
			moved[i] = true
		} else if r.SpooledAt.IsZero() { // a queue appended it here; from now on the file is a spool
			r.SpooledAt = r.EnqueuedAt
		}
	}
	return nil
}

// moveInBulk appends the records that are not moved yet in their order, many in one step. An error
// means that ctx has ended.
func (m *mover) moveInBulk(ctx context.Context, to BulkAppender, records []hookgate.Record,
	moved []bool) error {
	for from := 0; ; {
		for from < len(records) && moved[from] {
			from++
		}
		if from == len(records) {
			return nil
		}
		err := m.retry(ctx, "draining the spool", func() error {
			for {
				if err := m.waitWhilePaused(ctx); err != nil {
					return err
				}
				n := 1
				for n < m.bulk && from+n < len(records) && !moved[from+n] {
					n++
				}
				err := to.AppendAll(ctx, records[from:from+n])
				if err == nil {
					m.bulk = min(2*m.bulk, maxBulk)
					for i := range n {
						moved[from+i] = true
					}
					return nil
				}
				m.bulk = max(1, n/2)
				if n > 1 && errors.Is(err, hookgate.ErrRejected) {
					continue // bisect, until the rejected record stands alone
				}
				m.logRejected(&records[from], err)
				return err
			}
		})
		if err != nil {
			return err
		}
	}
}

// moveKeys appends the records that are not moved yet one by one: the ordering keys in parallel,
// each key in order. An error means that ctx has ended.
func (m *mover) moveKeys(ctx context.Context, records []hookgate.Record, moved []bool) error {
	keys := map[string][]int{} // the indexes of each key's records
	for i := range records {
		if key := records[i].OrderingKey; !moved[i] {
			keys[key] = append(keys[key], i)
		}
	}
	moving, ctx := errgroup.WithContext(ctx)
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		indexes := keys[key]
		moving.Go(func() error {
			for _, i := range indexes {
				r := &records[i]
				err := m.retry(ctx, "draining the spool", func() error {
					if err := m.waitWhilePaused(ctx); err != nil {
						return err
					}
					_, err := m.primary.AppendDuplicate(ctx, &r.Request, r.DuplicateOf)
					m.logRejected(r, err)
					return err
				})
				if err != nil {
					return err
				}
				moved[i] = true // only the goroutine of its key writes it
			}
			return nil
		})
	}
	return moving.Wait()
}

// logRejected logs that the queue rejects a record and would reject it again. The record was
// acknowledged, so the mover retries it until a person has repaired the store. Later records wait.
func (m *mover) logRejected(r *hookgate.Record, err error) {
	if errors.Is(err, hookgate.ErrRejected) {
		m.Logger.Error("the store rejects a spooled request; it is retried, and later requests wait",
			"request_id", r.RequestID.String(), "event", r.Identity.String(), "error", err)
	}
}

// releasable returns the records of each partition before the first one that was not moved: a
// release is cumulative.
func releasable(records []hookgate.Record, moved []bool) []hookgate.Record {
	if !slices.Contains(moved, false) {
		return records
	}
	var before []hookgate.Record
	stopped := map[int]bool{}
	for i := range records {
		p := records[i].Partition
		if stopped[p] = stopped[p] || !moved[i]; !stopped[p] {
			before = append(before, records[i])
		}
	}
	return before
}

// retry calls f until it succeeds, with growing pauses, or until ctx ends.
func (m *mover) retry(ctx context.Context, what string, f func() error) error {
	return backoff.Policy{
		Min: m.RetryMin, Max: m.RetryMax,
		Failed: func(a backoff.Attempt, pause time.Duration) {
			m.Logger.Debug(what+" failed; retrying", "attempt", a.Number, "pause", pause.String(), "error",
				a.Err)
		},
	}.Retry(ctx, func(backoff.Attempt) error { return f() })
}

// waitWhilePaused waits until the primary may be used, or returns the error of ctx.
func (m *mover) waitWhilePaused(ctx context.Context) error {
	for m.Paused() {
		if err := backoff.Sleep(ctx, pausePoll); err != nil {
			return err
		}
	}
	return ctx.Err()
}

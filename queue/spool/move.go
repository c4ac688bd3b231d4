package spool

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/internal/backoff"
)

// mostAtOnce is the most records that a bulkTaker gets in one call.
const mostAtOnce = 512

// bulkTaker is a queue that appends many records in one step.
type bulkTaker interface {
	// AppendAll appends records in their order, even while Append answers ErrFull. After an error the
	// outcome of each is unknown, and the same call again is harmless. An error that wraps
	// hookgate.ErrRejected: one of them can never be appended.
	AppendAll(ctx context.Context, records []hookgate.Record) error
}

// mover moves records from a spool to its primary. Its methods are for one goroutine.
type mover struct {
	Options
	primary hookgate.Queue
	// atOnce is how many records a bulkTaker gets in one call: half as many after each failure,
	// because a slow store may have time for a few only, and twice as many after each success.
	atOnce int
}

func newMover(o Options, primary hookgate.Queue) *mover { return &mover{o, primary, mostAtOnce} }

// moveBatch moves what the spool has, up to the bounds of a batch; 0 if there was nothing for a
// moment.
func (m *mover) moveBatch(ctx context.Context, c hookgate.PartitionReader) (moved int, err error) {
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
	return len(records), m.move(ctx, c, records)
}

// move appends records to the queue, each key in order, for as long as it takes, and releases them.
// If it is cut off it releases what has gone over, so that a batch larger than the time there is
// for it brings the spool forward all the same.
func (m *mover) move(ctx context.Context, c hookgate.PartitionReader, records []hookgate.Record) error {
	moved := make([]bool, len(records))
	var err error
	for i := range records {
		r := &records[i]
		if r.Corrupt != nil {
			m.Logger.Error("a spooled delivery cannot be decoded and is put aside", "position", r.Position,
				"error", r.Corrupt)
			if err = m.Quarantine(*r); err != nil {
				break
			}
			moved[i] = true
		} else if r.SpooledAt.IsZero() { // it was the record of a queue; until now this file has kept it
			r.SpooledAt = r.EnqueuedAt
		}
	}
	if to, ok := m.primary.(bulkTaker); ok && err == nil {
		err = m.moveInBulk(ctx, to, records, moved)
	} else if err == nil {
		err = m.moveKeys(ctx, records, moved)
	}
	over := unbroken(records, moved)
	if released := c.Commit(context.WithoutCancel(ctx), hookgate.LastOffsets(over)); released != nil {
		err = errors.Join(err, fmt.Errorf("release %d drained deliveries: %w", len(over), released))
	}
	return err
}

// moveInBulk appends the records that are not moved yet in their order, many in one step. An error
// means that ctx has ended.
func (m *mover) moveInBulk(ctx context.Context, to bulkTaker, records []hookgate.Record,
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
				if err := m.resumed(ctx); err != nil {
					return err
				}
				n := 1
				for n < m.atOnce && from+n < len(records) && !moved[from+n] {
					n++
				}
				err := to.AppendAll(ctx, records[from:from+n])
				if err == nil {
					m.atOnce = min(2*m.atOnce, mostAtOnce)
					for i := range n {
						moved[from+i] = true
					}
					return nil
				}
				m.atOnce = max(1, n/2)
				if n > 1 && errors.Is(err, hookgate.ErrRejected) {
					continue // until the record at fault stands alone
				}
				m.stuck(&records[from], err)
				return err
			}
		})
		if err != nil {
			return err
		}
	}
}

// moveKeys appends the records that are not moved yet one by one, the ordering keys side by side
// and each in order. An error means that ctx has ended.
func (m *mover) moveKeys(ctx context.Context, records []hookgate.Record, moved []bool) error {
	lanes := map[string][]int{}
	for i := range records {
		if key := records[i].OrderingKey; !moved[i] {
			lanes[key] = append(lanes[key], i)
		}
	}
	moving, ctx := errgroup.WithContext(ctx)
	for _, lane := range lanes {
		moving.Go(func() error {
			for _, i := range lane {
				r := &records[i]
				err := m.retry(ctx, "draining the spool", func() error {
					if err := m.resumed(ctx); err != nil {
						return err
					}
					_, err := appendTo(ctx, m.primary, &r.Request, r.DuplicateOf)
					m.stuck(r, err)
					return err
				})
				if err != nil {
					return err
				}
				moved[i] = true // each is written by the goroutine of its key
			}
			return nil
		})
	}
	return moving.Wait()
}

// stuck logs that the queue refuses a record and would refuse it again. It is acknowledged, so it
// is tried until somebody has helped the store; all that came later waits behind it.
func (m *mover) stuck(r *hookgate.Record, err error) {
	if errors.Is(err, hookgate.ErrRejected) {
		m.Logger.Error("a spooled delivery is rejected and holds up the spool; it is tried again",
			"request_id", r.RequestID.String(), "event", r.Identity.String(), "error", err)
	}
}

// unbroken returns the records of each partition that stand before the first one that was not
// moved: a release is cumulative.
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

// resumed waits until the queue may be used, or returns the error of ctx.
func (m *mover) resumed(ctx context.Context) error {
	for m.Paused() {
		if err := backoff.Sleep(ctx, pausePoll); err != nil {
			return err
		}
	}
	return ctx.Err()
}

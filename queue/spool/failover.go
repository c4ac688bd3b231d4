// Package failover is a Queue that goes on taking deliveries while its primary is away: it spools
// them locally and moves them to the primary, in order, when that is back.
//
//	        ┌──────────── an append fails: its outcome is unknown ────────────┐
//	        │                                                                 ▼
//	   to primary                                                         spooling
//	Append ─► primary                                  Append ─► spool ─► drain, in order ─► primary
//	        ▲                                                                 │
//	        └── spool empty ── switching: appends wait a moment ◄── spool nearly empty
//
// While the spool holds anything, everything goes through it, so that what was acknowledged earlier
// reaches the primary earlier. A delivery whose append to the primary failed is spooled too; should
// the primary have taken it after all, it recognises it by its request id.
//
// Order holds within one process. A sender whose deliveries reach two processes, of which one has
// lost the primary, may find the spooled ones behind the others.
package spool

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/hookgate/hookgate"
)

// Options of a failover queue. Zero fields take their defaults.
type Options struct {
	// Timeout bounds one operation of the primary, appends apart, which it must bound itself; default
	// 1 s.
	Timeout time.Duration
	// RetryMin and RetryMax bound the pauses between attempts to drain, which double and vary at
	// random by half; default 100 ms and 2 s.
	RetryMin, RetryMax time.Duration
	// Paused reports whether the primary must be left alone for now: appends go to the spool, and
	// what is there stays. It is asked before each call of the primary and may be called
	// concurrently; nil: it never must.
	Paused func() bool
	// Leftover, if not empty, is the name of the spool's file, which an earlier configuration has left
	// behind. Then the spool is only emptied: once it is, appends go to the primary alone, whatever it
	// answers, and Emptied is called.
	Leftover string
	// Refuse makes appends fail until a leftover is empty. Without it they go to its end.
	Refuse bool
	// Emptied is called, at most once, when a leftover is empty and used no more; default none.
	Emptied func()
	// Quarantine keeps a record of the spool that cannot be decoded, durably. It must be set.
	Quarantine func(hookgate.Record) error
	// Logger is told of each change of state; default none.
	Logger *slog.Logger
}

func (o Options) withDefaults() Options {
	if o.Timeout == 0 {
		o.Timeout = time.Second
	}
	if o.RetryMin == 0 {
		o.RetryMin = 100 * time.Millisecond
	}
	if o.RetryMax == 0 {
		o.RetryMax = 2 * time.Second
	}
	if o.Paused == nil {
		o.Paused = func() bool { return false }
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

// errPaused is the cause of spooling while the primary is paused.
var errPaused = errors.New("mode is buffer")

// pausePoll is how often the drainer looks whether the pause is over.
const pausePoll = 50 * time.Millisecond

type state int

const (
	toPrimary state = iota // appends go to the primary
	spooling               // appends go to the spool, which is being drained
	switching              // appends wait until the spool is empty
)

// Queue is a hookgate.Queue over a primary and a local spool.
type Queue struct {
	*mover // to the primary; the drainer's, its options apart
	spool  hookgate.BufferedQueue

	end   context.CancelFunc
	ended chan struct{} // closed when the drainer has ended

	// highWater is that of the spool.
	highWater int64

	mu    sync.Mutex // guards all below; never held over I/O
	state state
	// changed is closed and replaced at each change of state, and when the last append has left the
	// spool during switching.
	changed chan struct{}
	// inSpool is the number of appends to the spool that are under way.
	inSpool int
	// cause is why the primary was left.
	cause error
	since time.Time
}

var _ hookgate.Queue = (*Queue)(nil)

// New returns a queue over primary that spools to spool. The primary must end each append in about
// Options.Timeout and not refer to the delivery afterwards: it goes to the spool then, and its body
// is soon another's. The spool must keep duplicates and survive a crash, and nobody else may
// consume it. What it holds already is drained first. The caller closes the queue before primary
// and spool.
func New(ctx context.Context, primary hookgate.Queue, spool hookgate.BufferedQueue,
	o Options) (*Queue, error) {
	q := &Queue{
		mover: newMover(o.withDefaults(), primary), spool: spool,
		changed: make(chan struct{}), ended: make(chan struct{}),
	}
	stats, err := spool.Stats(ctx)
	if err != nil {
		return nil, fmt.Errorf("look into the spool: %w", err)
	}
	q.highWater = stats.HighWater
	if stats.Depth > 0 {
		q.state, q.cause, q.since = spooling, errors.New("the spool held deliveries at the start"),
			time.Now()
	}
	if stats.Depth > 0 && o.Leftover != "" {
		q.Logger.Warn("webhooks that an earlier configuration left behind are moved to the queue", "file",
			o.Leftover, "records", stats.Depth)
	}
	draining, end := context.WithCancel(context.Background())
	q.end = end
	go q.run(draining)
	return q, nil
}

// Close ends the drainer. What is in the spool stays there for the next start.
func (q *Queue) Close() error {
	q.end()
	<-q.ended
	return nil
}

// Append implements hookgate.Queue. ErrFull is the primary's, or that of the spool while that is in
// use.
func (q *Queue) Append(ctx context.Context, d *hookgate.Request) (hookgate.Receipt, error) {
	return q.AppendDuplicate(ctx, d, hookgate.RequestID{})
}

// duplicateTaker is a queue that takes over what another queue has found to be a duplicate.
type duplicateTaker interface {
	AppendDuplicate(ctx context.Context, d *hookgate.Request,
		of hookgate.RequestID) (hookgate.Receipt, error)
}

// appendTo appends d to a queue, as a duplicate of a request unless of is zero.
func appendTo(ctx context.Context, to hookgate.Queue, d *hookgate.Request,
	of hookgate.RequestID) (hookgate.Receipt, error) {
	if of.IsZero() {
		return to.Append(ctx, d)
	}
	return to.(duplicateTaker).AppendDuplicate(ctx, d, of) // every queue that is wired here is one
}

// AppendDuplicate appends d, which another queue has found to be a duplicate of a request and whose
// body that queue has dropped. If of is zero it is Append.
func (q *Queue) AppendDuplicate(ctx context.Context, d *hookgate.Request,
	of hookgate.RequestID) (hookgate.Receipt, error) {
	for {
		switch state, changed := q.enter(); state {
		case toPrimary:
			if q.Paused() {
				q.leavePrimary(errPaused)
				continue
			}
			receipt, err := appendTo(ctx, q.primary, d, of)
			if err == nil || ctx.Err() != nil || q.Leftover != "" || refused(err) {
				return receipt, err
			}
			q.leavePrimary(err)
		case spooling:
			defer q.leaveSpool()
			if q.Refuse {
				return hookgate.Receipt{}, fmt.Errorf("append: %w", &hookgate.LeftoverError{File: q.Leftover,
					Refused: true})
			}
			spooled := *d // the caller's must not change
			spooled.SpooledAt = time.Now().Truncate(time.Microsecond)
			receipt, err := appendTo(ctx, q.spool, &spooled, of)
			if err != nil && !errors.Is(err, hookgate.ErrFull) {
				err = fmt.Errorf("spool: %w", err)
			}
			return receipt, err
		case switching:
			select {
			case <-changed:
			case <-ctx.Done():
				return hookgate.Receipt{}, ctx.Err()
			}
		}
	}
}

// refused reports whether the primary is well and does not take a delivery: it has no room, it
// could not even store a dead letter, or the process ends. Spooled, a delivery that can never be
// stored would hold up all that comes later.
func refused(err error) bool {
	return errors.Is(err, hookgate.ErrFull) || errors.Is(err, hookgate.ErrRejected) ||
		errors.Is(err, hookgate.ErrClosed)
}

// enter returns the state. If that is spooling, the caller must call leaveSpool.
func (q *Queue) enter() (state, <-chan struct{}) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.state == spooling {
		q.inSpool++
	}
	return q.state, q.changed
}

func (q *Queue) leaveSpool() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.inSpool--; q.inSpool == 0 && q.state == switching {
		q.signal()
	}
}

// leavePrimary begins to spool, unless that has been done.
func (q *Queue) leavePrimary(cause error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.state != toPrimary {
		return
	}
	q.cause, q.since = cause, time.Now()
	q.set(spooling)
	if cause == errPaused {
		q.Logger.Info("mode is buffer; deliveries are spooled locally until it changes")
		return
	}
	q.Logger.Error("queue is away; deliveries are spooled locally until it is back", "error", cause)
}

// set changes the state. The caller holds mu.
func (q *Queue) set(s state) {
	q.state = s
	q.signal()
}

func (q *Queue) signal() {
	close(q.changed)
	q.changed = make(chan struct{})
}

// Stats implements hookgate.Queue. If nothing can wait in the primary, HighWater is the spool's.
// While the primary is away, Degraded says why, also before anything is spooled. If the primary
// does not answer at all, Depth is the spool's.
func (q *Queue) Stats(ctx context.Context) (hookgate.QueueStats, error) {
	q.mu.Lock()
	state, cause, since := q.state, q.cause, q.since
	q.mu.Unlock()
	timeout := q.Timeout
	if end, ok := ctx.Deadline(); ok {
		timeout = min(timeout, time.Until(end)/2) // the rest is for the spool
	}
	bounded, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var stats hookgate.QueueStats
	var err error
	if !q.Paused() || state == toPrimary { // a pause leaves the primary alone
		stats, err = q.primary.Stats(bounded)
	}
	if ctx.Err() != nil {
		return stats, ctx.Err()
	}
	if q.Leftover != "" && state == toPrimary {
		return stats, err // the spool is closed
	}
	away := err
	if away == nil && !errors.Is(stats.Err, hookgate.ErrFull) {
		away = stats.Err
	}
	if state == toPrimary && away == nil {
		if stats.HighWater == 0 {
			stats.HighWater = q.highWater
		}
		return stats, nil
	}
	spool, spoolErr := q.spool.Stats(ctx)
	if spoolErr != nil {
		return stats, fmt.Errorf("spool: %w", spoolErr)
	}
	leftover := &hookgate.LeftoverError{File: q.Leftover, Left: spool.Depth, Refused: q.Refuse,
		Err: cmp.Or(away, stats.Degraded)}
	if away == nil {
		away = cause // the primary is well again, and the spool is being drained
	}
	stats.Degraded = away
	if state != toPrimary {
		stats.Degraded = fmt.Errorf("spooling since %s: %w", since.UTC().Format(time.RFC3339), away)
	}
	if q.Leftover != "" {
		stats.Degraded = leftover
	}
	if err != nil {
		stats = hookgate.QueueStats{Degraded: stats.Degraded}
	}
	stats.Spooled += spool.Depth // the primary may have a spool too
	if state != toPrimary && (stats.SpoolingSince.IsZero() || since.Before(stats.SpoolingSince)) {
		stats.SpoolingSince = since
	}
	stats.Depth += spool.Depth
	stats.HighWater += spool.HighWater
	stats.Err = spool.Err
	if q.Refuse {
		stats.Err = leftover
	}
	if spool.Err == nil && spool.Depth >= spool.HighWater {
		stats.Err = fmt.Errorf("spool holds %d deliveries: %w", spool.Depth, hookgate.ErrFull)
	}
	if !spool.OldestEnqueuedAt.IsZero() && (stats.OldestEnqueuedAt.IsZero() ||
		spool.OldestEnqueuedAt.Before(stats.OldestEnqueuedAt)) {
		stats.OldestEnqueuedAt = spool.OldestEnqueuedAt
	}
	return stats, nil
}

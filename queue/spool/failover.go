// Package spool is a queue that fails over: while its primary queue is away it appends requests to
// a file on this machine's disk, and later moves them to the primary, in order. It also opens
// backends that may be away when the process starts (Connect, ConnectQueue).
//
// A Queue is always in one of three phases:
//
//	              an append to the primary fails, its outcome is unknown; or Paused
//	  ┌────────────────────────────────────────────────────────────────────────────┐
//	  │                                                                            ▼
//	primary                                                                    spooling
//	appends go to the primary                                     appends go to the file;
//	  ▲                                                 the drainer moves them to the primary
//	  │                                                                          │   ▲
//	  │ the file is empty                                 the file is nearly empty   │ not emptied
//	  │                                              and the primary answers     │   │ in Timeout,
//	  │                                                                          ▼   │ or it failed
//	  └─────────────────────────────────────────────────────────────────────── switching
//	                                                                    appends wait
//
// While the file holds a record, every append goes through it. So a request that was acknowledged
// earlier reaches the primary earlier. A request whose append to the primary failed goes to the
// file too. If the primary has it after all, it recognises the request id.
//
// Order holds within one process. If a sender's requests reach two processes and only one of them
// has lost the primary, the spooled requests may end up behind the others.
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

// Options of a Queue. Zero fields take their defaults.
type Options struct {
	// Timeout bounds one operation of the primary; default 1 s. The primary bounds its appends itself.
	Timeout time.Duration
	// RetryMin and RetryMax bound the pauses between attempts to drain; default 100 ms and 2 s. See
	// backoff.Policy.
	RetryMin, RetryMax time.Duration
	// Paused reports whether the primary must not be used now: appends go to the file, and its records
	// stay there. It is called before each call of the primary, concurrently; nil: never paused.
	Paused func() bool
	// Leftover, if not empty, is the name of a file that an earlier configuration has left behind.
	// Such a file is only emptied: then appends go to the primary alone, even if it fails, and Emptied
	// is called.
	Leftover string
	// Reject makes appends fail until a leftover file is empty. Without it they go to its end.
	Reject bool
	// Emptied is called once, when a leftover file is empty and no longer used; default none.
	Emptied func()
	// Quarantine stores a record of the file that cannot be decoded, durably. It must be set.
	Quarantine func(hookgate.Record) error
	// Logger logs each change of phase; default none.
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

// Appender is a queue that records can be moved to.
type Appender interface {
	hookgate.Queue
	// AppendDuplicate appends r, which another queue has found to be a duplicate of the request of.
	// The other queue has dropped the body of r. If of is zero, AppendDuplicate is Append.
	AppendDuplicate(ctx context.Context, r *hookgate.Request,
		of hookgate.RequestID) (hookgate.Receipt, error)
}

// errPaused is the cause of spooling while the primary is paused.
var errPaused = errors.New("mode is buffer")

// pausePoll is how often the drainer asks whether the pause has ended.
const pausePoll = 50 * time.Millisecond

// phase says where appends go. The package comment has the diagram.
type phase int

const (
	phasePrimary   phase = iota // appends go to the primary
	phaseSpooling               // appends go to the file, which is drained
	phaseSwitching              // appends wait until the file is empty
)

// Queue is a hookgate.Queue over a primary and a file.
type Queue struct {
	*mover // to the primary; the drainer uses it, the others only its options
	file   Buffered

	end   context.CancelFunc
	ended chan struct{} // closed when the drainer has ended

	// highWater is that of the file.
	highWater int64

	mu    sync.Mutex // guards all below; never held over I/O
	phase phase
	// changed is closed and replaced at each change of phase, when the last append has left the file
	// during phaseSwitching, when Close begins, and when the last append has ended after that.
	changed chan struct{}
	// inFile is the number of appends to the file in flight, and inFlight that of all appends.
	inFile, inFlight int
	closed           bool
	// cause is why appends left the primary, and since says when.
	cause error
	since time.Time
}

var _ Appender = (*Queue)(nil)

// New returns a queue over primary that fails over to file. It drains first what the file already
// holds.
//
// The primary must end each append in about Options.Timeout. The file must survive a crash and
// accept duplicates, and nothing else may read it. The caller closes the queue before primary and
// file.
func New(ctx context.Context, primary Appender, file Buffered, o Options) (*Queue, error) {
	q := &Queue{
		mover: newMover(o.withDefaults(), primary), file: file,
		changed: make(chan struct{}), ended: make(chan struct{}),
	}
	stats, err := file.Stats(ctx)
	if err != nil {
		return nil, fmt.Errorf("count the records of the spool: %w", err)
	}
	q.highWater = stats.HighWater
	if stats.Depth > 0 {
		q.phase, q.since = phaseSpooling, time.Now()
		q.cause = errors.New("the spool held requests at the start")
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

// Close implements hookgate.Queue, and ends the drainer. The records in the file stay there for the
// next start.
func (q *Queue) Close() error {
	q.mu.Lock()
	q.closed = true
	q.signal()
	q.mu.Unlock()
	q.end()
	<-q.ended
	q.await(context.Background(), func() bool { return q.inFlight == 0 })
	return nil
}

// Append implements hookgate.Queue. ErrFull is that of the primary, or of the file while that is in
// use.
func (q *Queue) Append(ctx context.Context, r *hookgate.Request) (hookgate.Receipt, error) {
	return q.AppendDuplicate(ctx, r, hookgate.RequestID{})
}

// AppendDuplicate implements Appender.
func (q *Queue) AppendDuplicate(ctx context.Context, r *hookgate.Request,
	of hookgate.RequestID) (hookgate.Receipt, error) {
	if !q.begin() {
		return hookgate.Receipt{}, hookgate.ErrClosed
	}
	defer q.finish()
	for {
		phase, changed, err := q.enter()
		if err != nil {
			return hookgate.Receipt{}, err
		}
		switch phase {
		case phasePrimary:
			if q.Paused() {
				q.leavePrimary(errPaused)
				continue
			}
			receipt, err := q.primary.AppendDuplicate(ctx, r, of)
			if err == nil || ctx.Err() != nil || q.Leftover != "" || rejected(err) {
				return receipt, err
			}
			q.leavePrimary(err)
		case phaseSpooling:
			defer q.leaveFile()
			return q.appendToFile(ctx, r, of)
		case phaseSwitching:
			select {
			case <-changed:
			case <-ctx.Done():
				return hookgate.Receipt{}, ctx.Err()
			}
		}
	}
}

func (q *Queue) appendToFile(ctx context.Context, r *hookgate.Request,
	of hookgate.RequestID) (hookgate.Receipt, error) {
	if q.Reject {
		return hookgate.Receipt{}, fmt.Errorf("append: %w", &hookgate.LeftoverError{File: q.Leftover,
			Rejecting: true})
	}
	spooled := *r // the caller's request must not change
	spooled.SpooledAt = time.Now().Truncate(time.Microsecond)
	receipt, err := q.file.AppendDuplicate(ctx, &spooled, of)
	if err != nil && !errors.Is(err, hookgate.ErrFull) {
		err = fmt.Errorf("append to the spool: %w", err)
	}
	return receipt, err
}

// rejected reports whether the primary works and rejects the request: it is full, it could not even
// store a dead letter, or the process ends. In the file, a request that can never be stored would
// hold up every later one.
func rejected(err error) bool {
	return errors.Is(err, hookgate.ErrFull) || errors.Is(err, hookgate.ErrRejected) ||
		errors.Is(err, hookgate.ErrClosed)
}

// begin counts an append that Close must wait for, unless the queue is closed.
func (q *Queue) begin() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.closed {
		q.inFlight++
	}
	return !q.closed
}

func (q *Queue) finish() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.inFlight--; q.inFlight == 0 && q.closed {
		q.signal()
	}
}

// enter returns the phase, and the channel that is closed when it changes. If it is phaseSpooling,
// the caller must call leaveFile. The error is ErrClosed if the phase will not change any more.
func (q *Queue) enter() (phase, <-chan struct{}, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.phase == phaseSwitching && q.closed {
		return q.phase, nil, hookgate.ErrClosed
	}
	if q.phase == phaseSpooling {
		q.inFile++
	}
	return q.phase, q.changed, nil
}

func (q *Queue) leaveFile() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.inFile--; q.inFile == 0 && q.phase == phaseSwitching {
		q.signal()
	}
}

// leavePrimary begins to spool, unless the queue does so already.
func (q *Queue) leavePrimary(cause error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.phase != phasePrimary {
		return
	}
	q.cause, q.since = cause, time.Now()
	q.setPhase(phaseSpooling)
	if cause == errPaused {
		q.Logger.Info("mode is buffer; requests are spooled on this machine until the mode changes")
		return
	}
	q.Logger.Error("queue is away; requests are spooled on this machine until it is back", "error",
		cause)
}

// setPhase changes the phase. The caller holds mu.
func (q *Queue) setPhase(p phase) {
	q.phase = p
	q.signal()
}

func (q *Queue) signal() {
	close(q.changed)
	q.changed = make(chan struct{})
}

// Stats implements hookgate.Queue. If nothing can wait in the primary, HighWater is that of the
// file. While the primary is away, Degraded says why, even before anything is spooled. If the
// primary does not answer, Depth is that of the file.
func (q *Queue) Stats(ctx context.Context) (hookgate.QueueStats, error) {
	q.mu.Lock()
	phase, cause, since := q.phase, q.cause, q.since
	q.mu.Unlock()
	timeout := q.Timeout
	if end, ok := ctx.Deadline(); ok {
		timeout = min(timeout, time.Until(end)/2) // the rest is for the file
	}
	bounded, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var stats hookgate.QueueStats
	var err error
	if !q.Paused() || phase == phasePrimary { // a paused primary must not be used
		stats, err = q.primary.Stats(bounded)
	}
	if ctx.Err() != nil {
		return stats, ctx.Err()
	}
	if q.Leftover != "" && phase == phasePrimary {
		return stats, err // the file is closed
	}
	away := err
	if away == nil && !errors.Is(stats.Err, hookgate.ErrFull) {
		away = stats.Err
	}
	if phase == phasePrimary && away == nil {
		if stats.HighWater == 0 {
			stats.HighWater = q.highWater
		}
		return stats, nil
	}
	file, fileErr := q.file.Stats(ctx)
	if fileErr != nil {
		return stats, fmt.Errorf("count the records of the spool: %w", fileErr)
	}
	leftover := &hookgate.LeftoverError{File: q.Leftover, Left: file.Depth, Rejecting: q.Reject,
		Err: cmp.Or(away, stats.Degraded)}
	if away == nil {
		away = cause // the primary answers again, and the file is being drained
	}
	stats.Degraded = away
	if phase != phasePrimary {
		stats.Degraded = fmt.Errorf("spooling since %s: %w", since.UTC().Format(time.RFC3339), away)
	}
	if q.Leftover != "" {
		stats.Degraded = leftover
	}
	if err != nil {
		stats = hookgate.QueueStats{Degraded: stats.Degraded}
	}
	stats.Spooled += file.Depth // the primary may have a spool too
	if phase != phasePrimary && (stats.SpoolingSince.IsZero() || since.Before(stats.SpoolingSince)) {
		stats.SpoolingSince = since
	}
	stats.Depth += file.Depth
	stats.HighWater += file.HighWater
	stats.Err = file.Err
	if q.Reject {
		stats.Err = leftover
	}
	if file.Err == nil && file.Depth >= file.HighWater {
		stats.Err = fmt.Errorf("spool holds %d requests: %w", file.Depth, hookgate.ErrFull)
	}
	if !file.OldestEnqueuedAt.IsZero() && (stats.OldestEnqueuedAt.IsZero() ||
		file.OldestEnqueuedAt.Before(stats.OldestEnqueuedAt)) {
		stats.OldestEnqueuedAt = file.OldestEnqueuedAt
	}
	return stats, nil
}

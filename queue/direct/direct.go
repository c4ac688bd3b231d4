// Package direct is the queue over a store: what it takes is stored when Append returns.
//
// Requests that wait at the same time become one group, which one call of Store.Apply stores in one
// transaction. One goroutine, the committer, gathers groups and applies them one after the other.
//
//	Append ─┐              ┌──────── committer ────────┐
//	Append ─┼─► waiting ─► │ copy ─► Store.Apply ─► answer │ ─► receipts
//	Append ─┘              └───────────────────────────┘
//
// A group holds copies, so a caller whose time is up leaves at once and takes its request with it.
package direct

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/internal/tally"
)

const (
	// maxRecords and maxBytes bound a group. One request may be larger and is a group of its own then.
	maxRecords = 512
	maxBytes   = 16 << 20
	// freeEvery is how long an answer about free space counts.
	freeEvery = time.Second
)

// Options of a queue. Zero fields take their defaults.
type Options struct {
	// Name is this process in the lineage; default "gate".
	Name string
	// Partitions is the number that receipts and records name partitions of; default 16.
	Partitions int
	// Timeout bounds an Append and a call of the store; default 5 seconds. When it is over the
	// outcome is unknown: the store may still commit.
	Timeout time.Duration
	// MinFree is the free space in bytes below which Append answers ErrFull; 0: no bound. Free
	// reports the free space and is called at most once a second. It may be called concurrently.
	MinFree int64
	Free    func() (int64, error)
	// Probe tries whether the store, which has failed, could store so many bytes now. Default: Apply
	// with nothing to store.
	Probe func(ctx context.Context, bytes int) error
	// Shared says that other processes store events too, so that a gap in a sequence says nothing.
	Shared bool
	// Metrics receives what became of each event, and the size and time of each group; default none.
	Metrics tally.Metrics
	Logger  *slog.Logger
}

func (o Options) withDefaults() (Options, error) {
	if o.Name == "" {
		o.Name = "gate"
	}
	if o.Partitions == 0 {
		o.Partitions = 16
	}
	if o.Timeout == 0 {
		o.Timeout = 5 * time.Second
	}
	if o.Metrics == nil {
		o.Metrics = noMetrics{}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Partitions < 1 || o.Timeout < 0 || o.MinFree < 0 {
		return o, errors.New("queue options must be positive")
	}
	if o.MinFree > 0 && o.Free == nil {
		return o, errors.New("queue options: MinFree needs Free")
	}
	return o, nil
}

// Queue is a hookgate.Queue over a store.
type Queue struct {
	Options
	store hookgate.Store

	mu      sync.Mutex // guards what follows; never held over I/O
	waiting []*call    // in the order in which they came
	idle    bool       // the committer waits for wake
	closed  bool

	wake chan struct{} // has room for one
	done chan struct{} // closed when the committer has ended

	// failure is why the store fails; nil while it works.
	failure atomic.Pointer[failure]
	// full holds whether free space is below MinFree, and askAt when to ask again, in nanoseconds
	// since 1970.
	full  atomic.Bool
	askAt atomic.Int64
}

type failure struct {
	err error
	// bytes is the size of the largest group that has failed.
	bytes int
}

var _ hookgate.Queue = (*Queue)(nil)

// New returns a queue over a store. The caller closes the queue before the store.
func New(store hookgate.Store, o Options) (*Queue, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	q := &Queue{Options: o, store: store, wake: make(chan struct{}, 1), done: make(chan struct{})}
	c := newCommitter(q)
	go c.run()
	return q, nil
}

// errTimeout is the error of an Append whose time is over.
type errTimeout struct{ after time.Duration }

func (e errTimeout) Error() string {
	return fmt.Sprintf("the store has not answered within %v; whether it has the event is unknown",
		e.after)
}

// Timeout says that another attempt may succeed, as net.Error has it.
func (errTimeout) Timeout() bool { return true }

// Append implements hookgate.Queue. The request is the caller's again when it returns, whatever it
// returns.
//
// An error that wraps hookgate.ErrRejected: the store refuses the event, and refused it as a dead
// letter too. It stores nothing of it, and would refuse it again.
func (q *Queue) Append(ctx context.Context, d *hookgate.Request) (hookgate.Receipt, error) {
	return q.AppendDuplicate(ctx, d, hookgate.RequestID{})
}

// AppendDuplicate stores d, which another queue has found to be a duplicate of a request and whose
// body that queue has dropped. If of is zero it is Append.
func (q *Queue) AppendDuplicate(ctx context.Context, d *hookgate.Request,
	of hookgate.RequestID) (hookgate.Receipt, error) {
	if q.isFull() {
		return hookgate.Receipt{}, hookgate.ErrFull
	}
	return q.append(ctx, d, of)
}

func (q *Queue) append(ctx context.Context, d *hookgate.Request,
	of hookgate.RequestID) (hookgate.Receipt, error) {
	c := newCall()
	c.request, c.of, c.enqueuedAt = d, of, time.Now()
	c.partition = hookgate.Partition(d.OrderingKey, q.Partitions)
	c.events, c.bytes = 1, len(d.Body)
	if len(d.Parts) > 0 {
		c.split()
	}
	return q.await(ctx, c)
}

// await hands c to the committer and waits for its answer.
func (q *Queue) await(ctx context.Context, c *call) (hookgate.Receipt, error) {
	if !q.enter(c) {
		return hookgate.Receipt{}, hookgate.ErrClosed
	}
	c.timer.Reset(q.Timeout)
	var err error
	select {
	case <-c.answered:
		c.timer.Stop()
		receipt, err := c.receipt, c.err
		c.recycle()
		return receipt, err
	case <-ctx.Done():
		err = ctx.Err()
	case <-c.timer.C:
		err = errTimeout{q.Timeout}
		q.failed(err, 0)
	}
	c.timer.Stop()
	c.leave()
	return hookgate.Receipt{}, err
}

// enter puts c into the line; false if the queue is closed.
func (q *Queue) enter(c *call) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return false
	}
	q.waiting = append(q.waiting, c)
	if q.idle {
		q.idle = false
		q.wake <- struct{}{}
	}
	return true
}

// isFull reports whether free space was below MinFree when that was last asked.
func (q *Queue) isFull() bool {
	if q.MinFree == 0 {
		return false
	}
	now := time.Now().UnixNano()
	if at := q.askAt.Load(); now >= at && q.askAt.CompareAndSwap(at, now+int64(freeEvery)) {
		free, err := q.Free()
		full := err == nil && free < q.MinFree // if it cannot be known, the store will say
		if was := q.full.Swap(full); full && !was {
			q.Logger.Error("too little free space; events are refused until there is more", "free_bytes",
				free, "min_free_bytes", q.MinFree)
		} else if was && !full {
			q.Logger.Info("there is enough free space again", "free_bytes", free)
		}
	}
	return q.full.Load()
}

// failed notes that the store fails.
func (q *Queue) failed(err error, bytes int) {
	for {
		before := q.failure.Load()
		f := &failure{err, bytes}
		if before != nil {
			f.bytes = max(bytes, before.bytes)
		}
		if q.failure.CompareAndSwap(before, f) {
			if before == nil {
				q.Logger.Error("the store fails; events are not taken until it works", "error", err)
			} else if before.err.Error() != err.Error() {
				q.Logger.Error("the store still fails", "error", err)
			}
			return
		}
	}
}

// works notes that the store has stored a group of so many bytes. A smaller one than those that
// failed may still find room on a full disk and proves nothing.
func (q *Queue) works(bytes int) {
	f := q.failure.Load()
	if f != nil && bytes >= f.bytes && q.failure.CompareAndSwap(f, nil) {
		q.Logger.Info("the store works again")
	}
}

// Stats implements hookgate.Queue. After a failure it tries whether the store works again.
func (q *Queue) Stats(ctx context.Context) (hookgate.QueueStats, error) {
	s := hookgate.QueueStats{Partitions: q.Partitions}
	if f := q.failure.Load(); f != nil {
		c := newCall()
		c.probe, c.bytes = true, f.bytes
		_, s.Err = q.await(ctx, c)
		if f := q.failure.Load(); f != nil && (s.Err == nil || ctx.Err() != nil) {
			s.Err = f.err
		}
	}
	if s.Err == nil && q.isFull() {
		s.Err = fmt.Errorf("less than %d bytes are free: %w", q.MinFree, hookgate.ErrFull)
	}
	return s, nil
}

// Close ends the committer after it has stored what waits. Calls that come later get ErrClosed.
func (q *Queue) Close() error {
	q.mu.Lock()
	q.closed = true
	if q.idle {
		q.idle = false
		q.wake <- struct{}{}
	}
	q.mu.Unlock()
	<-q.done
	return nil
}

type noMetrics struct{}

func (noMetrics) Persisted(string, time.Duration)    {}
func (noMetrics) Duplicate(string, time.Duration)    {}
func (noMetrics) DeadLettered(string, time.Duration) {}
func (noMetrics) Batch(int, time.Duration)           {}
func (noMetrics) ApplyFailed()                       {}
func (noMetrics) SequenceGap(string)                 {}
func (noMetrics) SequenceInversion(string)           {}

// Package direct is the queue over a store: when Append returns, the event is stored.
//
// Requests that wait at the same time form a group, which one call of Store.Apply stores in one
// transaction. One goroutine, the committer, forms the groups and applies them one after the other.
//
//	Append ─┐              ┌────────── committer ──────────┐
//	Append ─┼─► waiting ─► │ copy ─► Store.Apply ─► answer │ ─► receipts
//	Append ─┘              └───────────────────────────────┘
//
// A group has copies of the requests. So an Append that times out returns at once, and its caller
// may reuse the memory of its request.
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
	// maxRecords and maxBytes bound a group. A larger request is a group of its own.
	maxRecords = 512
	maxBytes   = 16 << 20
	// freeEvery is how often the queue asks for the free space.
	freeEvery = time.Second
)

// Options of a queue. Zero fields take their defaults.
type Options struct {
	// Name names this process in the lineage; default "gate".
	Name string
	// Partitions is the number of partitions for receipts and records; default 16.
	Partitions int
	// Timeout bounds an Append and a call of the store; default 5 seconds. After a time-out the
	// outcome is unknown: the store may still commit.
	Timeout time.Duration
	// MinFree is the free space in bytes below which Append returns ErrFull; 0: no bound. Free returns
	// the free space. It is called at most once per second, and may be called concurrently.
	MinFree int64
	Free    func() (int64, error)
	// Probe tests whether a store that has failed could store so many bytes now. Default: Apply with
	// nothing to store.
	Probe func(ctx context.Context, bytes int) error
	// Shared reports whether other processes store events too. Then a gap in a sequence is no sign of
	// a missing event.
	Shared bool
	// Metrics counts events and groups; default none.
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
	waiting []*call    // in the order of their arrival
	idle    bool       // the committer waits for wake
	closed  bool

	wake chan struct{} // has room for one
	done chan struct{} // closed when the committer has ended

	// calls are for other appends. They belong to this queue, because a bubble of testing/synctest may
	// not use the channels of another one.
	calls sync.Pool

	// failure is why the store fails; nil while it works.
	failure atomic.Pointer[failure]
	// full reports whether the free space was below MinFree. askAt is when to ask again, in
	// nanoseconds since 1970.
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

// errTimeout is the error of an Append that timed out.
type errTimeout struct{ after time.Duration }

func (e errTimeout) Error() string {
	return fmt.Sprintf("the store has not answered within %v; it may or may not have the event",
		e.after)
}

// Timeout reports that another attempt may succeed, as in net.Error.
func (errTimeout) Timeout() bool { return true }

// Append implements hookgate.Queue. An error that wraps hookgate.ErrRejected means that the store
// rejected the event, and the dead letter in its place too. Nothing of it is stored, and the store
// would reject it again.
func (q *Queue) Append(ctx context.Context, d *hookgate.Request) (hookgate.Receipt, error) {
	return q.AppendDuplicate(ctx, d, hookgate.RequestID{})
}

// AppendDuplicate implements spool.Appender.
func (q *Queue) AppendDuplicate(ctx context.Context, d *hookgate.Request,
	of hookgate.RequestID) (hookgate.Receipt, error) {
	if q.isFull() {
		return hookgate.Receipt{}, hookgate.ErrFull
	}
	return q.append(ctx, d, of)
}

func (q *Queue) append(ctx context.Context, d *hookgate.Request,
	of hookgate.RequestID) (hookgate.Receipt, error) {
	c := q.newCall()
	c.request, c.of, c.enqueuedAt = d, of, time.Now()
	c.partition = hookgate.Partition(d.OrderingKey, q.Partitions)
	c.events, c.bytes = 1, len(d.Body)
	if len(d.Parts) > 0 {
		c.split()
	}
	return q.await(ctx, c)
}

// await gives c to the committer and waits for its answer.
func (q *Queue) await(ctx context.Context, c *call) (hookgate.Receipt, error) {
	if !q.enter(c) {
		return hookgate.Receipt{}, hookgate.ErrClosed
	}
	c.timer.Reset(q.Timeout)
	answered := false
	select {
	case <-c.answered:
		answered = true
	case <-ctx.Done():
		answered = c.abandon()
	case <-c.timer.C:
		answered = c.abandon()
	}
	c.timer.Stop()
	switch {
	case answered:
		receipt, err := c.receipt, c.err
		q.recycle(c)
		return receipt, err
	case ctx.Err() != nil:
		return hookgate.Receipt{}, ctx.Err()
	}
	err := errTimeout{q.Timeout}
	q.failed(err, 0)
	return hookgate.Receipt{}, err
}

// enter adds c to the waiting calls; false if the queue is closed.
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

// isFull reports whether the free space was below MinFree when the queue last asked.
func (q *Queue) isFull() bool {
	if q.MinFree == 0 {
		return false
	}
	now := time.Now().UnixNano()
	if at := q.askAt.Load(); now >= at && q.askAt.CompareAndSwap(at, now+int64(freeEvery)) {
		free, err := q.Free()
		full := err == nil && free < q.MinFree // if Free fails, a write to the store will tell
		if was := q.full.Swap(full); full && !was {
			q.Logger.Error("too little free space; webhooks are rejected until there is more", "free_bytes",
				free, "min_free_bytes", q.MinFree)
		} else if was && !full {
			q.Logger.Info("there is enough free space again", "free_bytes", free)
		}
	}
	return q.full.Load()
}

// failed notes that the store failed to store so many bytes.
func (q *Queue) failed(err error, bytes int) {
	for {
		before := q.failure.Load()
		f := &failure{err, bytes}
		if before != nil {
			f.bytes = max(bytes, before.bytes)
		}
		if q.failure.CompareAndSwap(before, f) {
			if before == nil {
				q.Logger.Error("the store fails; webhooks are not stored until it works", "error", err)
			} else if before.err.Error() != err.Error() {
				q.Logger.Error("the store still fails", "error", err)
			}
			return
		}
	}
}

// works notes that the store has stored a group of so many bytes. A group smaller than the failed
// ones may still find room on a full disk and proves nothing.
func (q *Queue) works(bytes int) {
	f := q.failure.Load()
	if f != nil && bytes >= f.bytes && q.failure.CompareAndSwap(f, nil) {
		q.Logger.Info("the store works again")
	}
}

// Stats implements hookgate.Queue. After a failure it tests whether the store works again.
func (q *Queue) Stats(ctx context.Context) (hookgate.QueueStats, error) {
	s := hookgate.QueueStats{Partitions: q.Partitions}
	if f := q.failure.Load(); f != nil {
		c := q.newCall()
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

// Close implements hookgate.Queue. It stores the waiting requests first.
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

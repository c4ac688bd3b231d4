package simulation

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/queue/direct"
	"github.com/hookgate/hookgate/queue/queuetest"
)

// TestBuffer: the queue in memory passes the suite of its port.
func TestBuffer(t *testing.T) {
	places := map[string]*buffer{}
	queuetest.Run(t, queuetest.Backend{
		FailsWrites: true,
		NewPlace: func(queuetest.TB) string {
			place := fmt.Sprint(len(places))
			places[place] = nil
			return place
		},
		Open: func(_ queuetest.TB, place string, o queuetest.Options) queuetest.Instance {
			if places[place] == nil {
				places[place] = newBuffer(o.Partitions, o.HighWater, o.ClaimTTL)
			}
			q := &opened{buffer: places[place], end: make(chan struct{})}
			return queuetest.Instance{BufferedQueue: q, End: q.Close,
				Crash: func() { q.Close() }, FailWrites: q.fail.Store}
		},
	})
}

// TestStore: queue/direct over the store in memory passes the suite of every queue.
func TestStore(t *testing.T) {
	places := map[string]*store{}
	queuetest.RunQueue(t, queuetest.QueueBackend{
		FailsWrites: true,
		NewPlace: func(queuetest.TB) string {
			place := fmt.Sprint(len(places))
			places[place] = newStore()
			return place
		},
		Open: func(t queuetest.TB, place string) queuetest.QueueInstance {
			s := places[place]
			f := &failing{tables: tables{s}}
			q, err := direct.New(f, direct.Options{Partitions: 4, Timeout: time.Minute})
			if err != nil {
				t.Fatalf("open: %v", err)
			}
			return queuetest.QueueInstance{Queue: q, FailWrites: f.fail.Store, End: q.Close,
				Crash: func() {
					f.fail.Store(new(bool)) // from here on nothing reaches the store
					q.Close()
				},
				Kept: func(queuetest.TB, int) []hookgate.Record {
					s.mu.Lock()
					defer s.mu.Unlock()
					return s.log
				}}
		},
	})
}

var errInjected = errors.New("injected write error")

// failing is a store whose writes fail on demand.
type failing struct {
	tables
	fail atomic.Pointer[bool]
}

func (f *failing) Apply(ctx context.Context, b *hookgate.Batch) (hookgate.Outcome, error) {
	fail := f.fail.Load()
	if fail != nil && !*fail {
		return hookgate.Outcome{}, errInjected
	}
	copied := copyOf(b)
	o, err := f.tables.Apply(ctx, copied)
	if fail != nil {
		return hookgate.Outcome{}, errInjected
	}
	return o, err
}

// opened is a buffer as a process opens it.
type opened struct {
	*buffer
	fail   atomic.Pointer[bool]
	closed atomic.Bool
	end    chan struct{}
}

// write carries out a write, unless it fails.
func (q *opened) write(f func() error) error {
	fail := q.fail.Load()
	switch {
	case q.closed.Load():
		return hookgate.ErrClosed
	case fail != nil && !*fail:
		return errInjected
	}
	if err := f(); err != nil || fail == nil {
		return err
	}
	return errInjected
}

func (q *opened) Append(ctx context.Context, r *hookgate.Request) (receipt hookgate.Receipt,
	err error) {
	if err := ctx.Err(); err != nil {
		return receipt, err
	}
	err = q.write(func() (err error) {
		receipt, err = q.append(r, hookgate.RequestID{})
		return err
	})
	if err != nil {
		return hookgate.Receipt{}, err
	}
	return receipt, nil
}

func (q *opened) Stats(context.Context) (hookgate.QueueStats, error) {
	s := q.stats()
	if q.fail.Load() != nil {
		s.Err = errInjected
	}
	return s, nil
}

func (q *opened) OpenReader(context.Context) (hookgate.PartitionReader, error) {
	if q.closed.Load() {
		return nil, hookgate.ErrClosed
	}
	return &waiting{q, q.open()}, nil
}

func (q *opened) Close() error {
	if q.closed.Swap(true) {
		return nil
	}
	q.mu.Lock()
	readers := append([]*reader(nil), q.readers...)
	q.mu.Unlock()
	for _, r := range readers {
		r.close()
	}
	return nil
}

// waiting is a reader whose Next waits.
type waiting struct {
	q *opened
	r *reader
}

func (r *waiting) Next(ctx context.Context, max, maxBytes int) ([]hookgate.Record, error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		r.q.mu.Lock()
		changed := r.q.changed
		r.q.mu.Unlock()
		if records, err := r.r.next(max, maxBytes); err != nil || len(records) > 0 {
			return records, err
		}
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
}

func (r *waiting) Commit(_ context.Context, last []hookgate.Offset) error {
	if r.q.closed.Load() {
		return hookgate.ErrClosed
	}
	return r.q.write(func() error { return r.r.commit(last) })
}

func (r *waiting) Close() error {
	r.r.close()
	return nil
}

package spool

import (
	"context"
	"sync/atomic"

	"github.com/hookgate/hookgate"
)

// Buffered is a queue that ConnectQueue can open.
type Buffered interface {
	Appender
	hookgate.BufferedQueue
}

// PendingQueue is a hookgate.BufferedQueue over a queue that may not be open yet. Until it is open,
// Append and Stats return the reason, and OpenReader waits.
type PendingQueue[Q Buffered] struct {
	connector *Connector
	opened    atomic.Pointer[Q] // nil until the queue is open
}

var _ Buffered = (*PendingQueue[Buffered])(nil)

// ConnectQueue opens a queue by calling open until it succeeds; see Connect.
func ConnectQueue[Q Buffered](ctx context.Context, o ConnectOptions,
	open func(context.Context) (Q, error)) (*PendingQueue[Q], error) {
	q := &PendingQueue[Q]{}
	var err error
	q.connector, err = Connect(ctx, o, func(ctx context.Context) error {
		opened, err := open(ctx)
		if err == nil {
			q.opened.Store(&opened)
		}
		return err
	})
	if err != nil {
		q.closeOpened() // an attempt may have succeeded just before ctx ended
		return nil, err
	}
	return q, nil
}

// Opened returns the queue, or why it is not open.
func (q *PendingQueue[Q]) Opened() (Q, error) {
	if err := q.connector.Err(); err != nil {
		var none Q
		return none, err
	}
	return *q.opened.Load(), nil
}

// Append implements hookgate.Queue. Until the queue is open nothing is stored.
func (q *PendingQueue[Q]) Append(ctx context.Context,
	r *hookgate.Request) (hookgate.Receipt, error) {
	opened, err := q.Opened()
	if err != nil {
		return hookgate.Receipt{}, err
	}
	return opened.Append(ctx, r)
}

// AppendDuplicate implements Appender. Until the queue is open nothing is stored.
func (q *PendingQueue[Q]) AppendDuplicate(ctx context.Context, r *hookgate.Request,
	of hookgate.RequestID) (hookgate.Receipt, error) {
	opened, err := q.Opened()
	if err != nil {
		return hookgate.Receipt{}, err
	}
	return opened.AppendDuplicate(ctx, r, of)
}

// OpenReader implements hookgate.BufferedQueue. It waits until the queue is open.
func (q *PendingQueue[Q]) OpenReader(ctx context.Context) (hookgate.PartitionReader, error) {
	if err := q.connector.Wait(ctx); err != nil {
		return nil, err
	}
	opened, err := q.Opened()
	if err != nil {
		return nil, err
	}
	return opened.OpenReader(ctx)
}

// Stats implements hookgate.Queue. Until the queue is open the error says why it is not.
func (q *PendingQueue[Q]) Stats(ctx context.Context) (hookgate.QueueStats, error) {
	opened, err := q.Opened()
	if err != nil {
		return hookgate.QueueStats{}, err
	}
	return opened.Stats(ctx)
}

// Close ends the attempts to open the queue, and closes it if it is open.
func (q *PendingQueue[Q]) Close() error {
	q.connector.Close()
	return q.closeOpened()
}

func (q *PendingQueue[Q]) closeOpened() error {
	opened := q.opened.Load()
	if opened == nil {
		return nil
	}
	return (*opened).Close()
}

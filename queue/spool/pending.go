package spool

import (
	"context"
	"io"
	"sync/atomic"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/control"
)

// ModeQueue is a queue that also keeps the settings of the gate.
type ModeQueue interface {
	hookgate.BufferedQueue
	control.Settings
	AppendDuplicate(context.Context, *hookgate.Request, hookgate.RequestID) (hookgate.Receipt, error)
	io.Closer
}

// PendingQueue is a hookgate.Queue over one that may not be open yet. Until it is, appends fail and
// readers wait.
type PendingQueue struct {
	attempts   *Connector
	opened     atomic.Pointer[ModeQueue] // nil until it is
	remembered control.Mode
}

var (
	_ hookgate.BufferedQueue = (*PendingQueue)(nil)
	_ control.Settings       = (*PendingQueue)(nil)
)

// OpenQueue opens a queue by calling open, again and again if need be; see Connect. Until it is open
// the mode is remembered.
func OpenQueue(ctx context.Context, o ConnectOptions, remembered control.Mode,
	open func(context.Context) (ModeQueue, error)) (*PendingQueue, error) {
	q := &PendingQueue{remembered: remembered}
	var err error
	q.attempts, err = Connect(ctx, o, func(ctx context.Context) error {
		opened, err := open(ctx)
		if err == nil {
			q.opened.Store(&opened)
		}
		return err
	})
	if err != nil {
		q.closeOpened() // the end of ctx may have come between
		return nil, err
	}
	return q, nil
}

// Opened returns the queue, or why it is not open.
func (q *PendingQueue) Opened() (ModeQueue, error) {
	if err := q.attempts.Err(); err != nil {
		return nil, err
	}
	return *q.opened.Load(), nil
}

// Append implements hookgate.Queue. Until the queue is open nothing is stored.
func (q *PendingQueue) Append(ctx context.Context, d *hookgate.Request) (hookgate.Receipt, error) {
	opened, err := q.Opened()
	if err != nil {
		return hookgate.Receipt{}, err
	}
	return opened.Append(ctx, d)
}

// AppendDuplicate is that of the queue. Until the queue is open nothing is stored.
func (q *PendingQueue) AppendDuplicate(ctx context.Context, d *hookgate.Request,
	of hookgate.RequestID) (hookgate.Receipt, error) {
	opened, err := q.Opened()
	if err != nil {
		return hookgate.Receipt{}, err
	}
	return opened.AppendDuplicate(ctx, d, of)
}

// OpenReader implements hookgate.Queue. It waits until the queue is open.
func (q *PendingQueue) OpenReader(ctx context.Context) (hookgate.PartitionReader, error) {
	if err := q.attempts.Wait(ctx); err != nil {
		return nil, err
	}
	opened, err := q.Opened()
	if err != nil {
		return nil, err
	}
	return opened.OpenReader(ctx)
}

// Stats implements hookgate.Queue. Until the queue is open nothing is known of it, and the error
// says why.
func (q *PendingQueue) Stats(ctx context.Context) (hookgate.QueueStats, error) {
	opened, err := q.Opened()
	if err != nil {
		return hookgate.QueueStats{}, err
	}
	return opened.Stats(ctx)
}

// Mode returns the mode that the queue keeps, or until it is open the remembered one.
func (q *PendingQueue) Mode() control.Mode {
	opened, err := q.Opened()
	if err != nil {
		return q.remembered
	}
	return opened.Mode()
}

// SetMode sets the mode that the queue keeps. It fails until that is open.
func (q *PendingQueue) SetMode(ctx context.Context, m control.Mode) error {
	opened, err := q.Opened()
	if err != nil {
		return err
	}
	return opened.SetMode(ctx, m)
}

// Canary returns the canary that the queue keeps, or until it is open the one that nobody has set.
func (q *PendingQueue) Canary() control.Canary {
	opened, err := q.Opened()
	if err != nil {
		return control.Canary{}
	}
	return opened.Canary()
}

// SetCanary keeps a canary in the queue. It fails until that is open.
func (q *PendingQueue) SetCanary(ctx context.Context, c control.Canary) error {
	opened, err := q.Opened()
	if err != nil {
		return err
	}
	return opened.SetCanary(ctx, c)
}

// Close ends the attempts, or closes the queue if it is open.
func (q *PendingQueue) Close() error {
	q.attempts.Close()
	return q.closeOpened()
}

func (q *PendingQueue) closeOpened() error {
	opened := q.opened.Load()
	if opened == nil {
		return nil
	}
	return (*opened).Close()
}

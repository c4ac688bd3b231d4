package txhandler

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"
)

// group is a transaction and the deliveries in it. One member has it at a time.
type group[Tx any] struct {
	tx    transaction[Tx]
	alone bool
	began time.Time
	// size counts the members that have had the transaction, with the one that has it.
	size int
	// rolledBack is set if its only member has failed.
	rolledBack bool

	// done is closed when the transaction has ended, or when the others do not wait any longer.
	done chan struct{}
	mu   sync.Mutex // guards err and closed
	// err is why the transaction was not committed, or may not have been.
	err    error
	closed bool
}

// errAbandoned is why a transaction has ended whose function runs on.
var errAbandoned = errors.New("a function did not return when its context ended")

// fail marks the transaction as failed. Only the first error counts.
func (g *group[Tx]) fail(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.err == nil && !g.closed {
		g.err = err
	}
}

func (g *group[Tx]) failed() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.err
}

// end tells the members that the transaction has ended.
func (g *group[Tx]) end() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.closed {
		g.closed = true
		close(g.done)
	}
}

// join returns a group in which it is m's turn.
func (c *Consumer[Tx]) join(ctx context.Context, m *member[Tx]) (*group[Tx], error) {
	c.mu.Lock()
	if c.free > 0 {
		c.free--
		c.mu.Unlock()
		return c.begin(ctx, m)
	}
	c.waiting = append(c.waiting, m)
	c.mu.Unlock()
	select {
	case g := <-m.turn:
		if g == nil {
			return c.begin(ctx, m)
		}
		return g, nil
	case <-ctx.Done():
	}
	c.mu.Lock()
	if i := slices.Index(c.waiting, m); i >= 0 {
		c.waiting = slices.Delete(c.waiting, i, i+1)
		c.mu.Unlock()
		return nil, ctx.Err()
	}
	c.mu.Unlock()
	if g := <-m.turn; g != nil {
		g.size-- // m takes no part
		c.pass(g)
	} else {
		c.release()
	}
	return nil, ctx.Err()
}

// begin begins a transaction for m, which becomes the leader of a group.
func (c *Consumer[Tx]) begin(ctx context.Context, m *member[Tx]) (*group[Tx], error) {
	limited, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	var tx transaction[Tx]
	err := c.prepare(limited)
	if err == nil {
		tx, err = c.Database.begin(limited)
	}
	if err != nil {
		c.release()
		return nil, err
	}
	return &group[Tx]{tx: tx, alone: m.alone, began: time.Now(), size: 1,
		done: make(chan struct{})}, nil
}

// release frees a transaction that has ended: the next member begins one.
func (c *Consumer[Tx]) release() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.waiting) == 0 {
		c.free++
		return
	}
	m := c.waiting[0]
	c.waiting = slices.Delete(c.waiting, 0, 1)
	m.turn <- nil
}

// pass gives the transaction to the next member that waits, or ends it.
func (c *Consumer[Tx]) pass(g *group[Tx]) {
	if c.passOn(g) {
		return
	}
	ctx, cancel := ended(context.Background())
	defer cancel()
	switch {
	case g.rolledBack:
	case g.failed() != nil:
		_ = g.tx.rollback(ctx) // the server does it if the connection is lost
	default:
		if err := g.tx.commit(ctx); err != nil {
			g.fail(err)
		}
	}
	g.end()
	c.release()
}

// passOn reports whether another member has taken the transaction.
func (c *Consumer[Tx]) passOn(g *group[Tx]) bool {
	if g.alone || g.rolledBack || g.failed() != nil || g.size >= maxGroup ||
		time.Since(g.began) > c.groupTime {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	i := slices.IndexFunc(c.waiting, func(m *member[Tx]) bool { return !m.alone })
	if i < 0 {
		return false
	}
	m := c.waiting[i]
	c.waiting = slices.Delete(c.waiting, i, i+1)
	g.size++
	m.turn <- g
	return true
}

// undo undoes the work of the member that has the transaction.
func (c *Consumer[Tx]) undo(g *group[Tx]) outcome {
	if g.failed() != nil {
		return broken // pass rolls everything back
	}
	ctx, cancel := ended(context.Background())
	defer cancel()
	if g.size == 1 {
		// There is no savepoint, and no work of others.
		_ = g.tx.rollback(ctx) // the server does it if the connection is lost
		g.rolledBack = true
		return undone
	}
	if err := g.tx.undo(ctx); err != nil {
		g.fail(err)
		return broken
	}
	return undone
}

// guard lets the others go on if a function does not return when its context ends. The caller
// defers the function that guard returns.
func (c *Consumer[Tx]) guard(ctx context.Context, m *member[Tx]) (stop func()) {
	g := m.group
	if g.size == 1 {
		return func() {}
	}
	returned := make(chan struct{})
	unwatch := context.AfterFunc(ctx, func() {
		timer := time.NewTimer(c.grace)
		defer timer.Stop()
		select {
		case <-returned:
		case <-timer.C:
			m.abandoned = true
			g.fail(errAbandoned)
			g.end()
			g.tx.abort()
		}
	})
	return func() {
		unwatch()
		close(returned)
	}
}

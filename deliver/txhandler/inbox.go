package txhandler

import (
	"context"
	"math/rand/v2"
	"time"
)

const (
	// prepareTimeout bounds how long Prepare waits for the database.
	prepareTimeout = 10 * time.Second
	// pruneEvery is how often old rows are removed, and pruneTimeout how long that may take.
	pruneEvery, pruneTimeout = time.Hour, 10 * time.Minute
)

// Prepare creates the inbox if it does not exist. If the database is away, Prepare returns nil, and
// the first delivery that reaches the database creates the inbox.
func (c *Consumer[Tx]) Prepare(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, prepareTimeout)
	defer cancel()
	err := c.prepare(ctx)
	if err != nil && !answered(err) {
		c.Logger.Warn("cannot reach the database of a handler; its events wait", "subscription", c.Name,
			"error", err)
		return nil
	}
	return err
}

// prepare creates the inbox if that has not been done.
func (c *Consumer[Tx]) prepare(ctx context.Context) error {
	c.mu.Lock()
	ready := c.ready
	c.mu.Unlock()
	if ready {
		return nil
	}
	if err := c.Inbox.Create(ctx, c.Database.inbox()); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ready = true
	return nil
}

// Run removes old rows of the inbox until ctx ends.
func (c *Consumer[Tx]) Run(ctx context.Context) {
	// At a random time, so that the processes of a gate do not do it together.
	timer := time.NewTimer(rand.N(pruneEvery))
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		c.prune(ctx)
		timer.Reset(pruneEvery)
	}
}

func (c *Consumer[Tx]) prune(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, pruneTimeout)
	defer cancel()
	n, err := c.Inbox.Prune(ctx, c.Database.inbox(), c.Keep)
	switch {
	case err != nil && ctx.Err() == nil:
		c.Logger.Warn("cannot remove old rows of the inbox", "subscription", c.Name, "error", err)
	case n > 0:
		c.Logger.Info("removed old rows of the inbox", "subscription", c.Name, "rows", n)
	}
}

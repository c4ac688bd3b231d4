package spool

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/internal/backoff"
)

// ConnectOptions are the options of Connect. Zero fields take their defaults.
type ConnectOptions struct {
	// Name names the backend in errors and in the log.
	Name string
	// FirstWait is how long Connect waits for the first attempt; default 1 s.
	FirstWait time.Duration
	// RetryMin and RetryMax bound the pauses between attempts; default 100 ms and 1 s. See
	// backoff.Policy.
	RetryMin, RetryMax time.Duration
	// Logger logs each reason of failure once, and the success after a failure; default none.
	Logger *slog.Logger
}

func (o ConnectOptions) withDefaults() ConnectOptions {
	if o.FirstWait == 0 {
		o.FirstWait = time.Second
	}
	if o.RetryMin == 0 {
		o.RetryMin = 100 * time.Millisecond
	}
	if o.RetryMax == 0 {
		o.RetryMax = time.Second
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

// Connector opens a backend that may be away when the process starts, and retries until it
// succeeds. All methods may be called concurrently.
//
//	Connect ─► first attempt ─┬─ success
//	                          ├─ misconfigured ─► Connect returns the error, and the start fails
//	                          └─ away, or no answer within FirstWait: Connect returns a Connector
//	                                 │
//	                                 ▼
//	                              attempt ─┬─ success
//	                                 ▲     └─ away or misconfigured: Err returns why
//	                                 └────────┘
//
// A configuration error at the first attempt is a mistake of the person who starts the process. One
// that is found later does not stop a process that takes webhooks: the backend is not used, and
// /api/health reports why.
type Connector struct {
	ConnectOptions
	try   func(context.Context) error
	end   context.CancelFunc
	ended chan struct{} // closed when an attempt has succeeded or none will follow
	// err is why the backend cannot be used; nil after an attempt succeeded.
	err atomic.Pointer[error]
}

// Connect calls try until it succeeds. It returns after the first attempt or after FirstWait; later
// attempts are made in the background, one at a time. The error is that of ctx, or a
// hookgate.MisconfiguredError of the first attempt; then there are no more attempts.
func Connect(ctx context.Context, o ConnectOptions,
	try func(context.Context) error) (*Connector, error) {
	c := &Connector{ConnectOptions: o.withDefaults(), try: try, ended: make(chan struct{})}
	c.setErr(errors.New("no answer yet"))
	trying, end := context.WithCancel(context.Background())
	c.end = end
	first := make(chan error, 1)
	go c.run(trying, first)
	timer := time.NewTimer(c.FirstWait)
	defer timer.Stop()
	select {
	case err := <-first:
		if isMisconfigured(err) {
			c.Close()
			return nil, err
		}
	case <-timer.C:
		c.Logger.Error(c.Name+" does not answer; starting without it", "waited", c.FirstWait.String())
	case <-ctx.Done():
		c.Close()
		return nil, ctx.Err()
	}
	return c, nil
}

func isMisconfigured(err error) bool {
	var misconfigured *hookgate.MisconfiguredError
	return errors.As(err, &misconfigured)
}

// run makes attempts until one succeeds or ctx ends. It sends the outcome of the first one to
// first.
func (c *Connector) run(ctx context.Context, first chan<- error) {
	defer close(c.ended)
	begun, logged := time.Now(), ""
	policy := backoff.Policy{Min: c.RetryMin, Max: c.RetryMax}
	err := policy.Retry(ctx, func(a backoff.Attempt) error {
		err := c.try(ctx)
		c.setErr(err)
		inTime := time.Since(begun) < c.FirstWait
		switch {
		case a.Number == 1 && isMisconfigured(err) && inTime:
			// Connect returns this error.
		case err != nil && ctx.Err() == nil && err.Error() != logged:
			logged = err.Error()
			c.Logger.Error(c.Name+" cannot be used yet; hookgate retries until it can", "error", err)
		case err == nil && (logged != "" || !inTime):
			c.Logger.Info(c.Name+" answers; hookgate uses it", "after",
				time.Since(begun).Round(time.Millisecond).String())
		}
		if a.Number == 1 {
			first <- err
		}
		return err
	})
	if err != nil { // only the end of ctx ends the attempts without a success
		c.setErr(hookgate.ErrClosed)
	}
}

func (c *Connector) setErr(err error) {
	if err != nil && !errors.Is(err, hookgate.ErrClosed) {
		err = fmt.Errorf("%s cannot be used yet: %w", c.Name, err)
	}
	c.err.Store(&err)
}

// Err returns nil after an attempt succeeded, otherwise why the last one failed. After Close it
// returns hookgate.ErrClosed unless an attempt had succeeded.
func (c *Connector) Err() error { return *c.err.Load() }

// Wait waits until an attempt succeeds. The error is hookgate.ErrClosed, or that of ctx together
// with the reason of the last failure.
func (c *Connector) Wait(ctx context.Context) error {
	select {
	case <-c.ended:
		return c.Err()
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ctx.Err(), c.Err())
	}
}

// Close ends the attempts and waits for the one in flight. It always returns nil.
func (c *Connector) Close() error {
	c.end()
	<-c.ended
	return nil
}

// This file gets ready what may be away when the process starts: Redis, PostgreSQL. The start
// waits for it a moment and then goes on without, while it is tried again until it succeeds.
//
//	Connect ─► first attempt ─┬─ done
//	                        ├─ unfit ─► the error of Connect
//	                        └─ away, or nothing in time ─► attempt ─┬─ done
//	                                                        ▲       │
//	                                                        └───────┴─ away or unfit: Err says so
//
// What is unfit when it is first seen is a mistake in the configuration, and the start must fail.
// What turns out unfit later must not end a process that takes webhooks: nothing is given to it,
// and the health says why.
package spool

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/failsafe-go/failsafe-go"
	"github.com/failsafe-go/failsafe-go/retrypolicy"

	"github.com/hookgate/hookgate"
)

// ConnectOptions of attempts. Zero fields take their defaults.
type ConnectOptions struct {
	// Name says in errors and in the log what is got ready.
	Name string
	// Patience is how long Connect waits for the first attempt; default 1 s.
	Patience time.Duration
	// RetryMin and RetryMax bound the pauses between attempts, which double and vary at random by
	// half; default 100 ms and 1 s.
	RetryMin, RetryMax time.Duration
	// Logger is told why attempts fail, once for each reason, and when one has succeeded; default
	// none.
	Logger *slog.Logger
}

func (o ConnectOptions) withDefaults() ConnectOptions {
	if o.Patience == 0 {
		o.Patience = time.Second
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

// Connector go on until one succeeds. All methods may be called concurrently.
type Connector struct {
	ConnectOptions
	try   func(context.Context) error
	end   context.CancelFunc
	ended chan struct{} // closed when one has succeeded or none will follow
	err   atomic.Pointer[error]
}

// Connect makes the first attempt, and returns when it has succeeded or failed, or is out of
// patience; in the latter cases attempts go on in the background. The error is that of ctx, or a
// hookgate.MisconfiguredError; then there are none any more. try is never called twice at a time.
func Connect(ctx context.Context, o ConnectOptions, try func(context.Context) error) (*Connector, error) {
	a := &Connector{ConnectOptions: o.withDefaults(), try: try, ended: make(chan struct{})}
	a.failed(errors.New("no answer yet"))
	trying, end := context.WithCancel(context.Background())
	a.end = end
	first := make(chan error, 1)
	go a.run(trying, first)
	patience := time.NewTimer(a.Patience)
	defer patience.Stop()
	var unfit *hookgate.MisconfiguredError
	select {
	case err := <-first:
		if errors.As(err, &unfit) {
			a.Close()
			return nil, err
		}
	case <-patience.C:
		a.Logger.Error(a.Name+" does not answer; starting without it", "waited", a.Patience.String())
	case <-ctx.Done():
		a.Close()
		return nil, ctx.Err()
	}
	return a, nil
}

// run makes attempts until one succeeds or ctx ends. The outcome of the first goes to first.
func (a *Connector) run(ctx context.Context, first chan<- error) {
	defer close(a.ended)
	began, told := time.Now(), ""
	policy := retrypolicy.NewBuilder[any]().
		WithMaxRetries(-1).
		WithBackoff(a.RetryMin, a.RetryMax).
		WithJitterFactor(0.5).
		AbortIf(func(any, error) bool { return ctx.Err() != nil }).
		Build()
	var unfit *hookgate.MisconfiguredError
	err := failsafe.With(policy).WithContext(ctx).
		RunWithExecution(func(e failsafe.Execution[any]) error {
			err := a.try(ctx)
			a.failed(err)
			switch {
			case e.IsFirstAttempt() && errors.As(err, &unfit) && time.Since(began) < a.Patience:
				// It is the error of Connect, and there will be no other attempt.
			case err != nil && ctx.Err() == nil && err.Error() != told:
				told = err.Error()
				a.Logger.Error(a.Name+" cannot be used; it is tried again until it can", "error", err)
			case err == nil && (told != "" || time.Since(began) >= a.Patience):
				a.Logger.Info(a.Name+" is there", "after", time.Since(began).Round(time.Millisecond).String())
			}
			if e.IsFirstAttempt() {
				first <- err
			}
			return err
		})
	if err != nil {
		a.failed(hookgate.ErrClosed) // nothing but the end of ctx ends attempts that fail
	}
}

func (a *Connector) failed(err error) {
	if err != nil && !errors.Is(err, hookgate.ErrClosed) {
		err = fmt.Errorf("%s cannot be used yet: %w", a.Name, err)
	}
	a.err.Store(&err)
}

// Err returns nil when an attempt has succeeded, else why the last one failed, or
// hookgate.ErrClosed.
func (a *Connector) Err() error { return *a.err.Load() }

// Wait returns when an attempt has succeeded. The error is that of ctx, with the reason of the last
// failure, or hookgate.ErrClosed.
func (a *Connector) Wait(ctx context.Context) error {
	select {
	case <-a.ended:
		return a.Err()
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ctx.Err(), a.Err())
	}
}

// Close ends the attempts and returns when none is under way. It always returns nil.
func (a *Connector) Close() error {
	a.end()
	<-a.ended
	return nil
}

// Package handler delivers events to Go functions.
//
// A function answers with its error: nil settles the event, [Dead], [RetryAfter] and [Pause] say
// what to do, and after any other error the gate retries. Package deliver recovers panics.
package handler

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/hookgate/hookgate"
)

// Func handles one event. The event is shared: the function must not change it. When ctx ends, it
// must return. The gate waits for that, however long it takes, because it never makes two attempts
// of one key at a time.
type Func func(ctx context.Context, e *hookgate.Event) error

// DefaultTimeout is the Timeout of a Config that has none.
const DefaultTimeout = 30 * time.Second

// overdue is how long after the end of its context a function may run until it is logged.
const overdue = 10 * time.Second

// Config describes a consumer.
type Config struct {
	// Name is the name of the subscription, for the log.
	Name string
	Func Func
	// Timeout bounds the context of one call. 0 means DefaultTimeout.
	Timeout time.Duration
	// Logger may be nil.
	Logger *slog.Logger
}

// consumer implements hookgate.Consumer.
type consumer struct{ Config }

// New returns a consumer that calls c.Func.
func New(c Config) hookgate.Consumer {
	if c.Timeout == 0 {
		c.Timeout = DefaultTimeout
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return &consumer{c}
}

// Deliver implements hookgate.Consumer.
func (c *consumer) Deliver(stopped context.Context, d *hookgate.Delivery) hookgate.Answer {
	ctx, cancel := context.WithTimeout(context.WithValue(stopped, deliveryKey{}, d), c.Timeout)
	defer cancel()
	returned := make(chan struct{})
	defer close(returned)
	defer context.AfterFunc(ctx, func() { c.watch(returned, d) })()
	err := c.Func(ctx, d.Event)
	switch {
	case err == nil:
		return hookgate.Answer{Verdict: hookgate.VerdictDelivered}
	case stopped.Err() != nil:
		return hookgate.Answer{Verdict: hookgate.VerdictInterrupted, Reason: err.Error()}
	}
	a := hookgate.Answer{Verdict: hookgate.VerdictFailed, Reason: err.Error()}
	var said *verdict
	if errors.As(err, &said) {
		a.Verdict, a.Delay = said.verdict, said.delay
	} else if ctx.Err() != nil {
		a.Reason = fmt.Sprintf("not done within %v: %s", c.Timeout, a.Reason)
	}
	return a
}

// watch logs that a function runs on although its context has ended.
func (c *consumer) watch(returned <-chan struct{}, d *hookgate.Delivery) {
	timer := time.NewTimer(overdue)
	defer timer.Stop()
	select {
	case <-returned:
	case <-timer.C:
		c.Logger.Warn("a handler still runs after the end of its context; its key, and a stop of the"+
			" gate, wait until it returns", "subscription", c.Name, "event", d.Event.ID)
	}
}

// deliveryKey is the key of the delivery in a context.
type deliveryKey struct{}

// DeliveryOf returns the delivery for which a function was called, given the context of the call.
func DeliveryOf(ctx context.Context) (*hookgate.Delivery, bool) {
	d, ok := ctx.Value(deliveryKey{}).(*hookgate.Delivery)
	return d, ok
}

// verdict is an error that says what becomes of the event.
type verdict struct {
	verdict hookgate.Verdict
	delay   *time.Duration
	err     error
}

// Error implements error.
func (v *verdict) Error() string { return v.err.Error() }

// Unwrap returns the cause.
func (v *verdict) Unwrap() error { return v.err }

// Dead returns an error that makes a dead letter of the event at once, also if the subscription
// would park it.
func Dead(err error) error { return wrap(hookgate.VerdictDead, nil, err) }

// RetryAfter returns an error that sets the wait before the next attempt. The wait does not count
// against the time to retry.
func RetryAfter(d time.Duration, err error) error {
	d = max(0, d)
	return wrap(hookgate.VerdictFailed, &d, err)
}

// Pause returns an error that pauses the subscription until a person resumes it. The event waits.
func Pause(err error) error { return wrap(hookgate.VerdictGone, nil, err) }

// wrap returns an error also for nil: an event must not count as done by mistake.
func wrap(v hookgate.Verdict, delay *time.Duration, err error) error {
	if err == nil {
		err = errNoReason
	}
	return &verdict{v, delay, err}
}

var errNoReason = errors.New("the handler gave no reason")

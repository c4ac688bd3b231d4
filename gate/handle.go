package gate

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/deliver/handler"
	"github.com/hookgate/hookgate/deliver/push"
)

// Filter selects the events of a handler. The zero value selects all.
type Filter = hookgate.Filter

// Handler handles one event. nil settles the event. After Dead, RetryAfter and Pause the gate does
// what they say, after any other error it retries, and a panic is a failed attempt.
//
// The event is shared: a handler must not change it, nor its body. When ctx ends, because of the
// time-out or because the gate stops, the handler must return. The gate waits for that, however
// long it takes: it never makes two attempts of one key at a time. An attempt that fails because
// the gate stops does not count.
type Handler = func(ctx context.Context, e *hookgate.Event) error

// Dead returns an error that makes a dead letter of the event at once, also if the subscription
// would park it.
func Dead(err error) error { return handler.Dead(err) }

// RetryAfter returns an error that sets the wait before the next attempt. The wait does not count
// against the time to retry.
func RetryAfter(d time.Duration, err error) error { return handler.RetryAfter(d, err) }

// Pause returns an error that pauses the subscription until a person resumes it. The event waits.
func Pause(err error) error { return handler.Pause(err) }

// DeliveryOf returns the attempt for which a handler is called: its subscription, its number and
// its redelivery number. ctx is the handler's.
func DeliveryOf(ctx context.Context) (*hookgate.Delivery, bool) { return handler.DeliveryOf(ctx) }

// handlers is the state of registering handlers.
type handlers struct {
	mu     sync.Mutex // guards the fields below; Handle holds it while it works
	names  map[string]bool
	errs   []error
	closed bool // Run was called
}

// close ends registering. It returns the errors of all calls of Handle.
func (h *handlers) close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return errors.New("Run was called before: open another gate")
	}
	h.closed = true
	return errors.Join(h.errs...)
}

// Handle subscribes a Go function to the events that a filter selects. The subscription has the
// defaults of PushTo; options change them:
//
//	g.Handle("billing", gate.Filter{Sources: []string{"stripe"}}, handle,
//		func(s *gate.SubscriptionOptions) { s.Handler.Concurrency = 4 })
//
// The name identifies the subscription in the store, over restarts. Call Handle between Open and
// Run. When it returns, the subscription is stored: one that starts now gets every webhook that the
// gate accepts afterwards. The gate calls the function while Run runs. A process whose role is
// ingest or worker only stores the subscription.
//
// After an error of Handle, Run returns the error too and does nothing else. So a program may
// ignore the error here.
func (g *Gate) Handle(name string, f Filter, h Handler,
	options ...func(*SubscriptionOptions)) error {
	defaults := HandlerOptions{Timeout: handler.DefaultTimeout, Concurrency: push.DefaultConcurrency}
	var consumer consumerOf
	if h != nil {
		consumer = func(o HandlerOptions) (hookgate.Consumer, error) {
			return handler.New(handler.Config{Name: name, Func: h, Timeout: o.Timeout,
				Logger: g.log}), nil
		}
	}
	return g.addHandler(name, f, defaults, consumer, options)
}

// consumerOf returns the consumer of a handler with checked options.
type consumerOf func(HandlerOptions) (hookgate.Consumer, error)

// addHandler subscribes a handler and remembers the error for Run. consumer is nil if the caller
// gave no function.
func (g *Gate) addHandler(name string, f Filter, defaults HandlerOptions, consumer consumerOf,
	options []func(*SubscriptionOptions)) error {
	r := &g.handlers
	r.mu.Lock()
	defer r.mu.Unlock()
	err := g.subscribe(name, f, defaults, consumer, options)
	if err != nil {
		r.errs = append(r.errs, err)
	}
	return err
}

func (g *Gate) subscribe(name string, f Filter, defaults HandlerOptions, consumer consumerOf,
	options []func(*SubscriptionOptions)) error {
	r := &g.handlers
	wrong := func(text string) error { return &SettingError{"handlers." + name, text} }
	_, configured := g.options.Subscriptions[name]
	switch {
	case r.closed:
		return wrong("comes after Run: call Handle between Open and Run")
	case consumer == nil:
		return wrong("has no function")
	case configured:
		return wrong("has the name of a subscription of the configuration")
	case r.names[name]:
		return wrong("is there already")
	}
	s := defaultSubscription()
	s.Sources, s.Types = f.Sources, f.Types
	s.Handler = &defaults
	for _, option := range options {
		option(&s)
	}
	if s.Handler == nil {
		return wrong("has an option that removes SubscriptionOptions.Handler")
	}
	var errs []error
	newSubscriptionCheck("handlers", name, &errs).check(s, g.options)
	if err := errors.Join(errs...); err != nil {
		return err
	}
	one, err := s.subscription(name)
	if err != nil {
		return err
	}
	if g.options.delivers() {
		if one.Consumer, err = consumer(*s.Handler); err != nil {
			return fmt.Errorf("handlers.%s: %w", name, err)
		}
		g.delivery.metrics.Subscription(name)
	}
	if r.names == nil {
		r.names = map[string]bool{}
	}
	r.names[name] = true
	g.delivery.Add(one)
	if order, err := g.delivery.define(context.Background()); err != nil {
		return fmt.Errorf("handlers.%s.order: %w", order, err)
	}
	return nil
}

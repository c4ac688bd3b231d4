package gate

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/adminapi"
	"github.com/hookgate/hookgate/deliver"
	"github.com/hookgate/hookgate/deliver/egress"
	"github.com/hookgate/hookgate/deliver/pull"
	"github.com/hookgate/hookgate/deliver/push"
	"github.com/hookgate/hookgate/internal/metrics"
	"github.com/hookgate/hookgate/internal/secret"
)

// subscriptionStore is how a store keeps subscriptions.
type subscriptionStore interface {
	hookgate.Subscriptions
	hookgate.SubscriptionReader
	hookgate.SubscriptionControl
	hookgate.Leases
}

// NewConsumer returns the consumer of a subscription. The error has every secret and file that
// cannot be used, and shows no secret.
func (o Options) NewConsumer(name string) (*push.Consumer, error) {
	s := o.Subscriptions[name]
	p := s.Push
	if p == nil {
		return nil, fmt.Errorf("subscriptions.%s.pull: clients fetch the events, so there is nothing to"+
			" connect to", name)
	}
	var errs []error
	resolved := func(where, setting, substitute string) string {
		text, err := secret.Resolve(setting)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", where, err))
			return substitute
		}
		return text
	}
	c := push.Config{
		Name: name, URL: p.URL, Timeout: p.Timeout, Egress: egress.Policy(p.Egress),
		Concurrency: s.concurrency(), Final: s.Retry.Final, Headers: map[string]string{},
		TLS: push.TLS{CAFile: p.TLSCA, CertFile: p.TLSCert, KeyFile: p.TLSKey},
	}
	for i, setting := range p.Signing {
		c.Signing = append(c.Signing, resolved(fmt.Sprintf("signing: secret %d", i+1), setting,
			"raw:"+strings.Repeat("?", 32))) // lets New find other mistakes
	}
	for header, setting := range p.Headers {
		c.Headers[header] = resolved("headers."+header, setting, "")
	}
	consumer, err := push.New(c)
	if many, ok := err.(interface{ Unwrap() []error }); ok {
		errs = append(errs, many.Unwrap()...)
	} else if err != nil {
		errs = append(errs, err)
	}
	for i := range errs {
		errs[i] = fmt.Errorf("subscriptions.%s.push.%w", name, errs[i])
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return consumer, nil
}

// newSubscriptions returns the subscriptions for package deliver. They have consumers only if this
// process delivers. The error has all secrets and files that cannot be used, of all subscriptions.
func (o Options) newSubscriptions() (all []deliver.Subscription, err error) {
	var errs []error
	for _, name := range o.SubscriptionNames() {
		s := o.Subscriptions[name]
		one, err := s.subscription(name)
		if err != nil {
			return nil, err
		}
		if s.Push != nil {
			one.Rate = s.Push.Rate
		}
		if o.delivers() && s.Push != nil {
			consumer, err := o.NewConsumer(name)
			if err != nil {
				errs = append(errs, err)
				continue
			}
			one.Consumer = consumer
		}
		all = append(all, one)
	}
	return all, errors.Join(errs...)
}

// subscription returns a subscription for package deliver, without its consumer.
func (s SubscriptionOptions) subscription(name string) (deliver.Subscription, error) {
	definition, err := s.definition(name)
	return deliver.Subscription{
		Definition: definition, Concurrency: s.concurrency(),
		Retry:      deliver.Retry{First: s.Retry.First, Max: s.Retry.Max, For: s.Retry.For},
		DeadLetter: s.Then == ThenDeadLetter,
	}, err
}

// delivery is the part of a gate that stores the definitions of the subscriptions and delivers
// their events.
type delivery struct {
	*deliver.Dispatcher
	subscriptions []deliver.Subscription // of the configuration
	changed       <-chan struct{}        // receives when the mode has changed
	away          func() error           // as in backends
	metrics       *metrics.Metrics
	log           *slog.Logger
	puller        *pull.Server
}

// newDelivery returns the delivery of a process. The definitions are stored before it returns, so
// that a subscription that starts now gets every webhook that this process takes. If the store is
// away, run stores them when it answers.
func newDelivery(ctx context.Context, o Options, b *backends, all []deliver.Subscription,
	paused func() bool, m *metrics.Metrics, log *slog.Logger) (*delivery, error) {
	c := deliver.Config{
		Subscriptions: all, Owner: processName() + "-" + strings.ToLower(rand.Text()[:6]),
		StopTimeout: o.ShutdownTimeout, Paused: paused, Observer: m,
		DefineOnly: !o.delivers(), Logger: log.With("part", "deliver"),
	}
	if o.Database.URL != "" {
		c.Lease = subscriptionLease
	}
	d := &delivery{deliver.New(c, b.log, b.subscriptions), all, b.modeChanged, b.away, m, log,
		newPuller(o, b, paused, m, log)}
	if o.delivers() {
		for _, s := range all {
			m.Subscription(s.Definition.Name)
		}
	}
	if order, err := d.define(ctx); err != nil {
		return nil, fmt.Errorf("subscriptions.%s.order: %w", order, err)
	}
	return d, nil
}

// define stores the definitions that are not stored yet, unless the store is away. The error is
// that the order of the named subscription cannot change.
func (d *delivery) define(ctx context.Context) (name string, _ error) {
	if d.away != nil && d.away() != nil {
		return "", nil
	}
	ctx, cancel := context.WithTimeout(ctx, defineTimeout)
	defer cancel()
	err := d.Define(ctx)
	if order := (*hookgate.OrderError)(nil); errors.As(err, &order) {
		return order.Subscription, err
	}
	if err != nil {
		d.log.Warn("cannot store the subscriptions yet", "error", err)
	}
	return "", nil
}

// run delivers until ctx ends, and then waits for the attempts in flight.
func (d *delivery) run(ctx context.Context) {
	go func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-d.changed:
				d.wake()
			}
		}
	}()
	pulling := make(chan struct{})
	go func() {
		d.puller.Run(ctx)
		close(pulling)
	}()
	defer func() { <-pulling }()
	d.Dispatcher.Run(ctx)
	for _, s := range d.subscriptions {
		if c, ok := s.Consumer.(*push.Consumer); ok {
			c.CloseIdleConnections()
		}
	}
}

// wake makes this process look at its subscriptions after a change.
func (d *delivery) wake() {
	d.Wake()
	d.puller.Wake("")
}

// live returns what this process knows of the subscriptions that it delivers.
func (d *delivery) live() (all []adminapi.LiveSubscription) {
	for _, s := range d.Status() {
		all = append(all, adminapi.LiveSubscription{Name: s.Name, InFlight: s.InFlight, Limit: s.Limit,
			Breaker: s.Breaker, Problem: s.Problem})
	}
	return all
}

// StartedSubscription describes a subscription for the person who started the gate.
type StartedSubscription struct {
	Name string
	// Host is the host and port that receives the events; empty if clients pull them.
	Host string
	// Info is the state of the subscription; nil if the store did not answer.
	Info *hookgate.SubscriptionInfo
}

// started describes the subscriptions. It waits for the store for a short time only.
func (d *delivery) started(ctx context.Context, o Options,
	b *backends) (all []StartedSubscription) {
	known := map[string]*hookgate.SubscriptionInfo{}
	if len(d.subscriptions) > 0 && (b.away == nil || b.away() == nil) {
		ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		infos, err := b.subscriptions.Subscriptions(ctx)
		for i := range infos {
			if err == nil {
				known[infos[i].Name] = &infos[i]
			}
		}
	}
	for _, name := range o.SubscriptionNames() {
		started := StartedSubscription{Name: name, Info: known[name]}
		if p := o.Subscriptions[name].Push; p != nil {
			started.Host = hostOf(p.URL)
		}
		all = append(all, started)
	}
	return all
}

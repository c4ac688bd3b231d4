// Package deliver takes stored events to consumers.
//
// A [Dispatcher] has a runner for each subscription that its process owns. A runner follows the log
// through a tail that all runners of the process share:
//
//	store (log) ─► tail ─► runner: ring ─► attempt ─► consumer
//	                          ▲  due exceptions,  │ answer
//	                          │  freed keys       ▼
//	                        store ◄──────── one Save at a time
//
// The runner is one goroutine. It owns all state of its subscription and does no I/O itself:
// attempts, reads and Saves run in goroutines that send their results back to it.
package deliver

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/internal/backoff"
)

// Subscription is one configured subscription.
type Subscription struct {
	Definition hookgate.SubscriptionDefinition
	// Consumer receives the events. If it is nil, this process defines the subscription but does not
	// deliver its events.
	Consumer hookgate.Consumer
	// Concurrency is the largest number of attempts at a time; at least 1. OrderAll uses 1.
	Concurrency int
	// Rate bounds the attempts that begin per second; 0 means no bound.
	Rate float64
	// Retry says when a failed event is attempted again.
	Retry Retry
	// DeadLetter makes a dead letter of an event that is out of time, and does not park it.
	DeadLetter bool
}

// Retry says when a failed event is attempted again.
type Retry struct {
	// First is the longest first wait. It doubles with each failure up to Max. Each wait is a random
	// part of that ("full jitter").
	First, Max time.Duration
	// For is how long an event is attempted. Only time counts for which the subscription is neither
	// paused nor broken, and for which the consumer did not ask by Retry-After.
	For time.Duration
}

// Config configures a Dispatcher. Only Subscriptions and Owner are required.
type Config struct {
	Subscriptions []Subscription
	// DefineOnly is set in a process that delivers nothing. It still stores the definitions, because
	// it may accept the first webhooks.
	DefineOnly bool
	// Owner names this process. No other process has the name.
	Owner string
	// Lease is how long this process owns a subscription without renewing it; 0 for a store that no
	// other process can use.
	Lease time.Duration
	// StopTimeout bounds how long Run waits for attempts in flight when its context ends; default 30
	// s.
	StopTimeout time.Duration
	// Paused reports whether delivery must wait, for all subscriptions. Call Wake after a change.
	Paused func() bool
	Logger *slog.Logger
	// Observer counts; it may be nil.
	Observer Observer
}

// Observer counts what happens. Its methods are called often and must be fast. They may be called
// concurrently.
type Observer interface {
	// Attempted counts an attempt. The class is 2xx, 3xx, 4xx, 5xx, error for an attempt without an
	// answer, or own for a failure that is not the consumer's.
	Attempted(subscription, class string, took time.Duration)
	// Settled counts an event that was delivered, dead_lettered or parked. latency is the time since
	// its receipt.
	Settled(subscription, outcome string, latency time.Duration)
}

// Dispatcher delivers the events of the subscriptions that its process owns.
type Dispatcher struct {
	config Config
	log    hookgate.Log
	store  hookgate.Subscriptions
	tail   *tail
	// subscriptions do not change after Run is called.
	subscriptions []subscribed

	wake chan struct{} // has room for one

	mu        sync.Mutex       // guards all below
	revisions map[string]int64 // of the definitions that are stored
	runners   map[string]*runner
}

// subscribed is a subscription of a Dispatcher.
type subscribed struct {
	Subscription
	// since is when the Dispatcher got it. See Define.
	since time.Time
}

// New returns a Dispatcher. It does nothing until Run.
func New(c Config, log hookgate.Log, store hookgate.Subscriptions) *Dispatcher {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.StopTimeout <= 0 {
		c.StopTimeout = 30 * time.Second
	}
	if c.Paused == nil {
		c.Paused = func() bool { return false }
	}
	if c.Observer == nil {
		c.Observer = nobody{}
	}
	d := &Dispatcher{config: c, log: log, store: store, tail: newTail(log, c.Logger),
		wake: make(chan struct{}, 1), revisions: map[string]int64{}, runners: map[string]*runner{}}
	for _, s := range c.Subscriptions {
		d.Add(s)
	}
	return d
}

// Add adds a subscription, as if Config.Subscriptions had it. Call Define after it. It must not be
// called concurrently with or after Run, Define or another Add.
func (d *Dispatcher) Add(s Subscription) {
	d.subscriptions = append(d.subscriptions, subscribed{s, time.Now()})
}

// nobody is the Observer of a Dispatcher without one.
type nobody struct{}

func (nobody) Attempted(string, string, time.Duration) {}
func (nobody) Settled(string, string, time.Duration)   {}

// Define stores the definitions that are not stored yet. Call it before the gate accepts webhooks,
// so that a subscription that starts now receives all of them. If the store is away, ignore the
// error: Run repeats Define, and a subscription that starts now then begins at the time of New or
// Add.
//
// A subscription that is not there yet may still be added. So only Run marks as removed those that
// are missing.
//
// A *hookgate.OrderError stays until a person changes the configuration or the exceptions.
func (d *Dispatcher) Define(ctx context.Context) error {
	return d.define(ctx, func(s *subscribed) bool { return !d.defined(s) }, false)
}

// defineAll is Define in Run. It says that no other subscription will be added.
func (d *Dispatcher) defineAll(ctx context.Context) error {
	for i := range d.subscriptions {
		s := &d.subscriptions[i]
		if start := &s.Definition.Start; start.At == hookgate.StartNow && !d.defined(s) {
			*start = hookgate.Start{At: hookgate.StartTime, Time: s.since}
		}
	}
	return d.define(ctx, func(*subscribed) bool { return true }, !d.config.DefineOnly)
}

// define stores the definitions of the subscriptions that selected selects.
func (d *Dispatcher) define(ctx context.Context, selected func(*subscribed) bool,
	complete bool) error {
	var defs []hookgate.SubscriptionDefinition
	for i := range d.subscriptions {
		if s := &d.subscriptions[i]; selected(s) {
			defs = append(defs, s.Definition)
		}
	}
	if len(defs) == 0 && !complete {
		return nil
	}
	revisions, err := d.store.Define(ctx, defs, complete)
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := range defs {
		d.revisions[defs[i].Name] = revisions[i]
	}
	return nil
}

// defined reports whether the definition of a subscription is stored.
func (d *Dispatcher) defined(s *subscribed) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, defined := d.revisions[s.Definition.Name]
	return defined
}

// Wake makes the Dispatcher notice what a person has changed. Without it, it notices with the next
// Save or the next renewal of leases.
func (d *Dispatcher) Wake() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// storeRetry is how calls to the store are repeated while it is away.
var storeRetry = backoff.Policy{Min: 100 * time.Millisecond, Max: 5 * time.Second}

// Run delivers until ctx ends. Then it starts no more attempts, waits for those in flight up to
// Config.StopTimeout, stores their results and gives the subscriptions back.
func (d *Dispatcher) Run(ctx context.Context) {
	retry := storeRetry
	logged := ""
	retry.Failed = func(a backoff.Attempt, _ time.Duration) {
		if text := a.Err.Error(); text != logged {
			logged = text
			d.config.Logger.Warn("cannot store the definitions of the subscriptions", "error", a.Err)
		}
	}
	if retry.Retry(ctx, func(backoff.Attempt) error { return d.defineAll(ctx) }) != nil {
		return // ctx has ended
	}
	if len(d.subscriptions) == 0 || d.config.DefineOnly {
		return
	}
	working, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var tasks sync.WaitGroup
	tasks.Go(func() { d.tail.run(working) })
	defer tasks.Wait()
	defer stop()

	var runners sync.WaitGroup
	defer runners.Wait()
	for failures := 0; ; {
		if err := d.spread(ctx, &runners); err == nil {
			failures = 0
		} else if ctx.Err() == nil {
			failures++
			d.config.Logger.Warn("cannot renew the leases of subscriptions", "error", err)
		}
		d.dropLapsed()
		if !d.sleep(ctx, failures) {
			break
		}
	}
	d.mu.Lock()
	for _, r := range d.runners {
		r.stop()
	}
	d.mu.Unlock()
	ended := make(chan struct{})
	go func() {
		runners.Wait()
		close(ended)
	}()
	d.renewUntil(ended)
}

// renewUntil keeps the leases of the runners that wait for their last attempts.
func (d *Dispatcher) renewUntil(ended <-chan struct{}) {
	if d.config.Lease <= 0 {
		return
	}
	ticks := time.NewTicker(d.config.Lease / 3)
	defer ticks.Stop()
	for {
		select {
		case <-ended:
			return
		case <-ticks.C:
		}
		select {
		case <-ended: // at the same time
			return
		default:
		}
		ctx, cancel := context.WithTimeout(context.Background(), d.config.Lease)
		from := time.Now()
		roster, err := d.store.Renew(ctx, d.config.Owner, d.config.Lease)
		cancel()
		if err == nil {
			entries := map[string]hookgate.RosterEntry{}
			for _, e := range roster.Subscriptions {
				entries[e.Name] = e
			}
			d.renewed(entries, from, len(entries))
		}
	}
}

// sleep waits until the leases must be renewed or something has changed. It returns false if ctx
// has ended.
func (d *Dispatcher) sleep(ctx context.Context, failures int) bool {
	var due <-chan time.Time
	switch {
	case failures > 0:
		timer := time.NewTimer(storeRetry.Pause(failures))
		defer timer.Stop()
		due = timer.C
	case d.config.Lease > 0:
		timer := time.NewTimer(d.config.Lease / 3)
		defer timer.Stop()
		due = timer.C
	}
	select {
	case <-ctx.Done():
		return false
	case <-d.wake:
	case <-due:
	}
	return ctx.Err() == nil
}

// spread renews the leases, takes subscriptions that have no owner, and gives back those beyond
// this process's share.
func (d *Dispatcher) spread(ctx context.Context, running *sync.WaitGroup) error {
	from := time.Now() // before the call: the lease cannot end later in the store than counted here
	roster, err := d.store.Renew(ctx, d.config.Owner, d.config.Lease)
	if err != nil {
		return err
	}
	total := 0
	for i := range d.subscriptions {
		if d.subscriptions[i].Consumer != nil {
			total++
		}
	}
	processes := max(1, roster.Processes)
	share := (total + processes - 1) / processes
	entries := map[string]hookgate.RosterEntry{}
	for _, e := range roster.Subscriptions {
		entries[e.Name] = e
	}
	owned := d.renewed(entries, from, share)
	var failed error
	for i := range d.subscriptions {
		s := &d.subscriptions[i].Subscription
		e, exists := entries[s.Definition.Name]
		if s.Consumer == nil || !exists || d.running(s.Definition.Name) ||
			e.Owner != "" && e.Owner != d.config.Owner {
			continue
		}
		if owned < share {
			err := d.acquire(ctx, s, running)
			if err == nil {
				owned++
				continue
			}
			if !errors.Is(err, hookgate.ErrLeased) && !errors.Is(err, hookgate.ErrRevision) {
				failed = errors.Join(failed, err)
				continue
			}
		}
		if e.Owner == d.config.Owner {
			// A runner that lost its lease has ended without giving it back, and Renew has extended it.
			// Another process can only take the subscription once it is given back.
			failed = errors.Join(failed, d.store.Release(ctx, s.Definition.Name, e.Epoch))
		}
	}
	return failed
}

// renewed extends the runners' leases, stops those that have lost their subscription and those
// beyond the share, and returns how many remain.
func (d *Dispatcher) renewed(entries map[string]hookgate.RosterEntry, from time.Time,
	share int) (owned int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(d.runners)) {
		r := d.runners[name]
		e, exists := entries[name]
		switch {
		case !exists || e.Epoch != r.epoch:
			r.lose()
			owned++ // its attempts still run
		case e.Revision != d.revisions[name]:
			// Another process has a newer definition. It can take the subscription when this one has given
			// it back: Renew extends the lease until then.
			r.renew(d.leaseEnd(from))
			r.stop()
			owned++
		default:
			r.renew(d.leaseEnd(from))
			if owned++; owned > share {
				r.stop()
			}
			r.noticeVersion(e.Version)
		}
	}
	return owned
}

// leaseEnd returns the end of a lease that was taken or renewed at a time; zero: never.
func (d *Dispatcher) leaseEnd(from time.Time) time.Time {
	if d.config.Lease <= 0 {
		return time.Time{}
	}
	return from.Add(d.config.Lease)
}

// dropLapsed ends the runners whose lease has run out because it could not be renewed.
func (d *Dispatcher) dropLapsed() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, r := range d.runners {
		if r.lapsed(time.Now()) {
			r.lose()
		}
	}
}

func (d *Dispatcher) running(name string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.runners[name] != nil
}

// acquire takes a subscription and starts its runner.
func (d *Dispatcher) acquire(ctx context.Context, s *Subscription, running *sync.WaitGroup) error {
	name := s.Definition.Name
	d.mu.Lock()
	revision := d.revisions[name]
	d.mu.Unlock()
	from := time.Now()
	state, err := d.store.Acquire(ctx, name, d.config.Owner, d.config.Lease, revision)
	if err != nil {
		return err
	}
	r := newRunner(d, s, state)
	r.renew(d.leaseEnd(from))
	d.mu.Lock()
	d.runners[name] = r
	d.mu.Unlock()
	running.Go(func() {
		r.run(context.WithoutCancel(ctx))
		d.mu.Lock()
		delete(d.runners, name)
		d.mu.Unlock()
		d.Wake() // to acquire it again
	})
	return nil
}

// Status describes a subscription that this process owns.
type Status struct {
	Name string
	// Breaker is closed, open or half_open.
	Breaker string
	// InFlight is the number of attempts in flight, and Limit how many may be now.
	InFlight, Limit int
	// Position is the id up to which the subscription has read the log.
	Position int64
	// Problem says for people why nothing is attempted now, or is empty. While the breaker is open it
	// is the error of the last attempt that failed.
	Problem string
}

// Status returns the subscriptions that this process owns, by name.
func (d *Dispatcher) Status() []Status {
	d.mu.Lock()
	defer d.mu.Unlock()
	all := make([]Status, 0, len(d.runners))
	for _, r := range d.runners {
		all = append(all, *r.status.Load())
	}
	slices.SortFunc(all, func(a, b Status) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	return all
}

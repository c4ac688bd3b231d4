package simulation

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/deliver"
	"github.com/hookgate/hookgate/deliver/pull"
	"github.com/hookgate/hookgate/internal/backoff"
	"github.com/hookgate/hookgate/persist"
	"github.com/hookgate/hookgate/queue/direct"
	"github.com/hookgate/hookgate/queue/spool"
)

// process is one process of the gate: the real queue, workers, dispatcher and server of pulls over
// the ports of the world.
type process struct {
	w    *world
	name string
	// owner names the process in the store. A restart has another one.
	owner string
	stop  context.CancelFunc
	ended chan struct{}

	pushes, pulls *ledger
	line, file    *line // nil if there is none

	dispatcher *deliver.Dispatcher

	mu      sync.Mutex // guards all below
	queue   hookgate.Queue
	server  *pull.Server
	closers []func() error
	// appends are the requests in flight.
	appends sync.WaitGroup

	// The scheduler uses these. A stalled process gets no answer of a port until a time. lost reports
	// that others have noticed it.
	stalledUntil time.Time
	lost         bool
	stopping     bool
	gone         bool // killed; guarded by world.mu
}

func (p *process) isStalled() bool { return time.Now().Before(p.stalledUntil) }

func (p *process) alive() bool {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	return !p.gone && !p.w.over
}

// boot starts a process.
func (w *world) boot(name string) {
	w.boots++
	p := &process{w: w, name: name, owner: fmt.Sprint(name, w.boots), ended: make(chan struct{})}
	p.pushes, p.pulls = newLedger(p, "dispatcher"), newLedger(p, "pull server")
	w.setProcess(name, p)
	ctx, stop := context.WithCancel(context.Background())
	p.stop = stop
	w.note("%s starts", name)
	go func() {
		defer close(p.ended)
		p.run(ctx)
	}()
}

func (w *world) setProcess(name string, p *process) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.processes[name] = p
}

// run is what gate.Run does, as far as it concerns the world.
func (p *process) run(ctx context.Context) {
	queue, err := p.openQueue(ctx)
	if err != nil {
		return
	}
	p.dispatcher = deliver.New(deliver.Config{Subscriptions: p.subscriptions(), Owner: p.owner,
		Lease: p.w.lease}, p.pushes, p.pushes)
	_ = p.dispatcher.Define(ctx)
	server := pull.New(pull.Config{Recheck: p.w.recheck, Policy: p.w.pullPolicy}, p.pulls, p.pulls)
	p.mu.Lock()
	p.queue, p.server = queue, server
	p.mu.Unlock()
	var all sync.WaitGroup
	if p.w.buffer != nil {
		all.Go(func() {
			persist.Run(ctx, persist.Config{Name: p.name, Workers: 2, MinWorkers: 1, MaxRecords: 16},
				p.line, disk{p}, metrics{})
		})
	}
	all.Go(func() { p.dispatcher.Run(ctx) })
	all.Go(func() { server.Run(ctx) })
	<-ctx.Done()
	p.mu.Lock()
	p.queue, p.server = nil, nil
	p.mu.Unlock()
	p.appends.Wait() // as the HTTP server does
	for _, end := range slices.Backward(p.closers) {
		_ = end()
	}
	all.Wait()
}

// openQueue opens the queue of the process, as the profile says.
func (p *process) openQueue(ctx context.Context) (hookgate.Queue, error) {
	var primary spool.Appender
	if p.w.buffer != nil {
		p.line = &line{p: p, b: p.w.buffer, name: "the queue"}
		primary = p.line
	} else {
		q, err := direct.New(disk{p}, direct.Options{Name: p.name, Partitions: 4,
			Timeout: p.w.timeout, Shared: p.w.lease > 0})
		if err != nil {
			return nil, err
		}
		p.closers = append(p.closers, q.Close)
		if !p.w.spools {
			return q, nil
		}
		primary = door{p, q}
		if !p.w.oneByOne {
			primary = wideDoor{door{p, q}}
		}
	}
	if !p.w.spools {
		return primary, nil
	}
	p.file = &line{p: p, b: p.w.files[p.name], name: "the spool"}
	q, err := spool.New(ctx, primary, p.file, spool.Options{Timeout: p.w.timeout,
		Quarantine: func(hookgate.Record) error { return nil }})
	if err != nil {
		return nil, err
	}
	p.closers = append(p.closers, q.Close)
	return q, nil
}

// door lets one call at a time into a queue over the store, because the order in which calls come
// there matters.
type door struct {
	p *process
	*direct.Queue
}

// AppendDuplicate implements spool.Appender.
func (d door) AppendDuplicate(ctx context.Context, r *hookgate.Request,
	of hookgate.RequestID) (hookgate.Receipt, error) {
	if err := d.enter(ctx, r.MessageID); err != nil {
		return hookgate.Receipt{}, err
	}
	return d.Queue.AppendDuplicate(ctx, r, of)
}

func (d door) enter(ctx context.Context, what string) error {
	return d.p.w.wait(ctx, &call{p: d.p, what: "takes " + what, sure: true,
		run: func() (string, error) { return "", nil }})
}

// AppendAll hides that of the queue.
func (d door) AppendAll() {}

// wideDoor is a door that lets many records in at a time: it is a spool.BulkAppender.
type wideDoor struct{ door }

// AppendAll implements spool.BulkAppender.
func (d wideDoor) AppendAll(ctx context.Context, records []hookgate.Record) error {
	if err := d.enter(ctx, names(&hookgate.Batch{Records: records})); err != nil {
		return err
	}
	return d.Queue.AppendAll(ctx, records)
}

// append appends a request, as a handler of the process does.
func (p *process) append(ctx context.Context, r *hookgate.Request) (hookgate.Receipt, error) {
	p.mu.Lock()
	queue := p.queue
	if queue != nil {
		p.appends.Add(1)
		defer p.appends.Done()
	}
	p.mu.Unlock()
	if queue == nil {
		return hookgate.Receipt{}, errAway
	}
	return queue.Append(ctx, r)
}

// opened returns the queue and the server; nil if the process is not ready.
func (p *process) opened() (hookgate.Queue, *pull.Server) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.queue, p.server
}

// subscriptions are the push subscriptions with this process as their client.
func (p *process) subscriptions() (all []deliver.Subscription) {
	for _, name := range p.w.subscribed {
		s := p.w.subs[name]
		all = append(all, deliver.Subscription{Definition: s.definition, Concurrency: s.concurrency,
			Retry: s.retry, DeadLetter: s.deadLetter})
		if !s.pulls {
			all[len(all)-1].Consumer = consumer{p, s}
		}
	}
	return all
}

// wakeUps returns the wake-ups of the process that are due.
func (p *process) wakeUps() (all []action) {
	for _, l := range []*ledger{p.pushes, p.pulls} {
		if l.isDirty() {
			all = append(all, action{p.name + " wakes its " + l.role, func() {
				p.w.note("%s wakes its %s", p.name, l.role)
				l.wake()
			}})
		}
	}
	return all
}

// kill ends a process as SIGKILL does. Each of its calls was carried out, or was not.
func (w *world) kill(p *process) {
	w.note("%s is killed", p.name)
	w.mu.Lock()
	p.gone = true
	var calls []*call
	w.pending = slices.DeleteFunc(w.pending, func(c *call) bool {
		if c.p == p {
			calls = append(calls, c)
		}
		return c.p == p
	})
	w.mu.Unlock()
	w.carried = slices.DeleteFunc(w.carried, func(c *call) bool {
		if c.p == p && !c.gone {
			c.err = errKilled
			close(c.done)
		}
		return c.p == p
	})
	slices.SortStableFunc(calls, func(a, b *call) int { return strings.Compare(a.what, b.what) })
	for _, c := range calls {
		if c.writes && !w.over && w.rng.IntN(2) == 0 {
			w.runLate(c)
		}
		c.err = errKilled
		if !c.gone {
			close(c.done)
		}
	}
	w.forget(p)
	p.stop()
	w.checkDurable()
}

// forget notes that a process holds nothing any more.
func (w *world) forget(p *process) {
	if p.line != nil {
		p.line.lose()
	}
	if p.file != nil {
		p.file.lose()
	}
	for _, name := range w.subscribed {
		w.subs[name].interrupt(p)
	}
}

// metrics counts nothing.
type metrics struct{}

func (metrics) Persisted(string, time.Duration)    {}
func (metrics) Duplicate(string, time.Duration)    {}
func (metrics) DeadLettered(string, time.Duration) {}
func (metrics) Batch(int, time.Duration)           {}
func (metrics) ApplyFailed()                       {}
func (metrics) SequenceGap(string)                 {}
func (metrics) SequenceInversion(string)           {}
func (metrics) Fenced()                            {}
func (metrics) Workers(int)                        {}
func (metrics) Storing(int)                        {}

// repeatable makes the random waits of all code depend on the world alone.
func (w *world) repeatable() func() {
	backoff.SetRandom(func(n time.Duration) time.Duration {
		return time.Duration(w.random(int64(n)))
	})
	return func() { backoff.SetRandom(nil) }
}

package pull_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/deliver"
	"github.com/hookgate/hookgate/deliver/pull"
	"github.com/hookgate/hookgate/internal/modeltest"
)

var seeds = flag.Int("seeds", modeltest.Pick(6, 1000), "number of random schedules")

// TestRandom: several processes serve clients that ack, nack, extend, go on after their lease has
// ended, and die. The store fails, commits happen late, the clock of the store is another one,
// processes are killed, and a person pauses, retries, skips, seeks, redelivers, and makes the
// subscription push for a while. Every commit keeps the contract of hookgate.Leases. No event is
// leased before it is due, before the earlier ones of its key are settled, or once it is settled. At
// the end every event is settled, and the jobs have counted each of theirs.
func TestRandom(t *testing.T) {
	for seed := range uint64(*seeds) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { random(t, seed) })
		})
	}
}

// dice are random numbers for several goroutines.
type dice struct {
	mu  sync.Mutex
	rng *rand.Rand
}

func (d *dice) n(n int) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.rng.IntN(n)
}

// crowd are clients of one world.
type crowd struct {
	*world
	*dice
	skew      time.Duration // the clock of the store is ahead by that
	calm      atomic.Bool   // all clients behave well, and nothing fails
	over      atomic.Bool   // the clients end
	processMu sync.Mutex
	processes []*process
}

// now returns the time by the clock of the store.
func (c *crowd) now() time.Time { return time.Now().Add(c.skew) }

func (c *crowd) any() *process {
	c.processMu.Lock()
	defer c.processMu.Unlock()
	return c.processes[c.n(len(c.processes))]
}

// client pulls and settles until the end.
func (c *crowd) client() {
	for !c.over.Load() {
		ctx, cancel := context.WithCancel(context.Background())
		if !c.calm.Load() && c.n(10) == 0 {
			ctx, cancel = context.WithTimeout(ctx, time.Duration(c.n(2000))*time.Millisecond)
		}
		r := pull.Request{Max: 1 + c.n(20), Wait: time.Duration(c.n(5)) * time.Second,
			Lease: time.Duration(1+c.n(20)) * time.Second}
		if c.n(5) == 0 {
			r.MaxBytes = 1 + c.n(10)
		}
		b, err := c.any().server.Pull(ctx, name, r)
		cancel()
		if err != nil || len(b.Events) == 0 {
			time.Sleep(time.Duration(1+c.n(1000)) * time.Millisecond)
			continue
		}
		c.received(b.Events)
		c.work(b)
		b.Close()
	}
}

// work settles the events of a batch, or does not.
func (c *crowd) work(b *pull.Batch) {
	ctx, all, until := context.Background(), ids(b), b.Until
	if c.calm.Load() {
		_ = c.any().server.Ack(ctx, name, b.Lease, all, 0)
		return
	}
	for range 1 + c.n(4) {
		time.Sleep(time.Duration(c.n(1000)) * time.Millisecond)
		p := c.any()
		some := all[:c.n(len(all)+1)]
		switch c.n(14) {
		case 0:
			return // dies
		case 1:
			time.Sleep(time.Duration(c.n(30)) * time.Second)
		case 2:
			to, err := p.server.Extend(ctx, name, b.Lease, time.Duration(c.n(20))*time.Second)
			if err == nil {
				until = to
			} else if !errors.Is(err, pull.ErrEnded) {
				until = c.now().Add(time.Hour) // not known
			}
		case 3:
			n := pull.Nack{Reason: "no", Dead: c.n(8) == 0}
			if c.n(2) == 0 {
				delay := time.Duration(c.n(5)) * time.Second
				n.Delay = &delay
			}
			_ = p.server.Nack(ctx, name, b.Lease, []int64{all[c.n(len(all))]}, n)
		case 4: // perhaps not a prefix
			_ = p.server.Ack(ctx, name, b.Lease, []int64{all[c.n(len(all))]}, 0)
		case 5:
			_ = p.server.Ack(ctx, name, b.Lease, nil, all[c.n(len(all))])
		default:
			late := c.now().After(until)
			err := p.server.Ack(ctx, name, b.Lease, some, 0)
			if late && err == nil && len(some) > 0 && !c.wereDone(b, len(some)) {
				c.world.mu.Lock()
				c.violation("an ack is taken %v after the end of its lease", c.now().Sub(until))
				c.world.mu.Unlock()
			}
		}
	}
}

// wereDone reports whether the first events of a batch are settled.
func (c *crowd) wereDone(b *pull.Batch, n int) bool {
	c.world.mu.Lock()
	defer c.world.mu.Unlock()
	for _, e := range b.Events[:n] {
		if !c.done[hookgate.EventRedelivery{Event: e.ID, Redelivery: e.Redelivery}] {
			return false
		}
	}
	return true
}

// pushed makes the subscription push for some seconds.
func (c *crowd) pushed() {
	c.define("push")
	c.world.mu.Lock()
	c.wasPushed = true
	c.world.mu.Unlock()
	p := &process{Store: c.store, w: c.world, gone: make(chan struct{})}
	d := deliver.New(deliver.Config{Owner: "push", Lease: 10 * time.Second,
		Subscriptions: []deliver.Subscription{{Definition: c.definition("push"), Consumer: p,
			Concurrency: 4, Retry: c.policy.Retry, DeadLetter: c.policy.DeadLetter}}}, c.store, p)
	if err := d.Define(c.t.Context()); err != nil {
		c.t.Error(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		d.Run(ctx)
	}()
	time.Sleep(time.Duration(c.n(5000)) * time.Millisecond)
	stop()
	<-ended
	c.define("pull")
}

// Deliver implements hookgate.Consumer.
func (p *process) Deliver(_ context.Context, d *hookgate.Delivery) hookgate.Answer {
	p.w.received([]pull.Event{{Event: d.Event, Attempt: d.Attempt, Redelivery: d.Redelivery}})
	time.Sleep(time.Duration(d.Event.ID%50) * time.Millisecond)
	if (d.Event.ID+int64(d.Attempt))%7 == 0 {
		return hookgate.Answer{Verdict: hookgate.VerdictFailed, Status: 500}
	}
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	p.w.pushed[d.Event.ID] = true
	return hookgate.Answer{Status: 200}
}

// random runs one random schedule.
func random(t *testing.T, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 1))
	w := newWorld(t, []hookgate.Order{hookgate.OrderKey, hookgate.OrderKey, hookgate.OrderAll,
		hookgate.OrderNone}[rng.IntN(4)])
	w.policy.Retry.For, w.policy.DeadLetter = time.Minute, rng.IntN(3) == 0
	if rng.IntN(2) == 0 {
		w.filter.Types = []string{"t"}
	}
	w.define("pull")
	c := &crowd{world: w, dice: &dice{rng: rand.New(rand.NewPCG(seed, 2))}}
	// The clock of the store is not that of the processes.
	c.skew = time.Duration(rng.IntN(121)-60) * time.Second
	w.store.SetClock(c.now)
	failing := 10 + rng.IntN(100)
	w.late = func(commit func()) bool {
		if c.calm.Load() || c.n(failing) > 0 {
			return false
		}
		time.AfterFunc(time.Duration(c.n(3000))*time.Millisecond, commit)
		return true
	}
	w.fail = func(string) (bool, error) {
		if c.calm.Load() || c.n(failing) > 0 {
			return false, nil
		}
		return c.n(2) == 0, errAway
	}
	recheck := time.Duration(0)
	c.processes = []*process{nil}
	if rng.IntN(3) > 0 {
		recheck, c.processes = time.Second, []*process{nil, nil, nil}
	}
	for i := range c.processes {
		c.processes[i] = w.start(recheck)
	}
	var clients sync.WaitGroup
	for range 1 + rng.IntN(6) {
		clients.Go(c.client)
	}
	keys, covered := 1+rng.IntN(12), map[int64]int64{}
	for range 40 {
		var names []string
		for range rng.IntN(25) {
			names = append(names, []string{"", fmt.Sprint("k", rng.IntN(keys))}[min(1, rng.IntN(4))])
		}
		w.append(names...)
		switch rng.IntN(14) {
		case 0:
			i := rng.IntN(len(c.processes))
			c.processes[i].kill()
			fresh := w.start(recheck)
			c.processMu.Lock()
			c.processes[i] = fresh
			c.processMu.Unlock()
		case 1:
			if _, err := w.store.SetPaused(t.Context(), name, rng.IntN(2) == 0, by); err != nil {
				t.Error(err)
			}
		case 2:
			w.person([]hookgate.Resolution{hookgate.ResolveRetry, hookgate.ResolveSkip,
				hookgate.ResolveDeadLetter}[rng.IntN(3)])
		case 3:
			job := hookgate.RedeliveryJob{Until: w.info().End, Rate: 10 * rng.IntN(4)}
			stored, n, err := w.store.Redeliver(t.Context(), name, job, false, by)
			if err != nil {
				t.Error(err)
			}
			covered[stored.ID] = int64(n)
		case 4:
			c.pushed()
		case 5:
			if n := len(w.events); n > 0 {
				_ = w.seek(c.any(), w.events[rng.IntN(n)].ID)
			}
		}
		for _, p := range c.processes {
			p.server.Wake(name)
		}
		time.Sleep(time.Duration(rng.IntN(5000)) * time.Millisecond)
	}
	c.calm.Store(true)
	if _, err := w.store.SetPaused(t.Context(), name, false, by); err != nil {
		t.Error(err)
	}
	for range 4 { // parked and dead ones
		w.person(hookgate.ResolveRetry)
		for _, p := range c.processes {
			p.server.Wake(name)
		}
		time.Sleep(5 * time.Minute)
	}
	c.over.Store(true)
	clients.Wait()
	for _, p := range c.processes {
		p.end()
	}
	w.mustSettle()
	jobs, err := w.store.RedeliveryJobs(t.Context(), name, 1000)
	for _, j := range jobs {
		if j.EndedAt.IsZero() || err != nil {
			t.Errorf("job %+v has not ended (error %v)", j, err)
		}
		if n := j.Delivered + j.Failed; n < covered[j.ID] || n > covered[j.ID] && !w.wasPushed {
			t.Errorf("job %+v has %d events", j, covered[j.ID])
		}
	}
}

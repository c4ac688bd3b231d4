package simulation

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/hookgate/hookgate/deliver/pull"
)

// client pulls events of a subscription.
type client struct {
	w    *world
	s    *subscription
	rng  *rand.Rand
	name string
}

func (c *client) n(n int) int { return c.rng.IntN(n) }

// server returns the server of any process, after the scheduler lets the client go on; nil if there
// is none now.
func (c *client) server(what string) *pull.Server {
	if !c.w.turn(c.name + " " + what) {
		return nil
	}
	p := c.w.processOf("", c.rng)
	if p == nil {
		return nil
	}
	_, server := p.opened()
	return server
}

// run pulls and settles until the world is over.
func (c *client) run() {
	for {
		time.Sleep(time.Duration(1 + c.rng.Int64N(int64(500*time.Millisecond))))
		c.w.mu.Lock()
		over := c.w.over
		c.w.mu.Unlock()
		if over {
			return
		}
		server := c.server("pulls from " + c.s.name)
		if server == nil {
			continue
		}
		r := pull.Request{Max: 1 + c.n(8), Wait: time.Duration(c.n(5)) * time.Second,
			Lease: time.Duration(1+c.n(20)) * time.Second}
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		if !c.w.calm.Load() && c.n(10) == 0 {
			cancel()
			ctx, cancel = context.WithTimeout(context.Background(),
				time.Duration(1+c.n(2000))*time.Millisecond)
		}
		b, err := server.Pull(ctx, c.s.name, r)
		cancel()
		if err == nil && len(b.Events) > 0 {
			c.received(b)
			c.work(b)
			b.Close()
		}
	}
}

// received checks the events of a lease.
func (c *client) received(b *pull.Batch) {
	c.w.mu.Lock()
	defer c.w.mu.Unlock()
	last := int64(0)
	for _, x := range b.Events {
		e := c.w.senders.byID[x.ID]
		if x.ID <= last {
			c.w.violateLocked("events are delivered in order", "a lease has %s after a later event",
				e.MessageID)
		}
		last = x.ID
		if req := e.requests[x.RequestID]; req == nil || req.body != string(x.Body) {
			c.w.violateLocked("the bytes are kept", "%s pulls %s with the body %q", c.s.name, e.MessageID,
				x.Body)
		}
	}
}

// work settles the events of a batch, or does not.
func (c *client) work(b *pull.Batch) {
	ctx, until := context.Background(), b.Until
	var all []int64
	for _, e := range b.Events {
		all = append(all, e.ID)
	}
	if c.w.calm.Load() {
		c.ack(ctx, b, all, until)
		return
	}
	for range 1 + c.n(4) {
		time.Sleep(time.Duration(1 + c.rng.Int64N(int64(time.Second))))
		switch c.n(12) {
		case 0:
			return // dies
		case 1:
			time.Sleep(time.Duration(1 + c.rng.Int64N(int64(30*time.Second))))
		case 2:
			if server := c.server("extends its lease"); server != nil {
				to, err := server.Extend(ctx, c.s.name, b.Lease, time.Duration(c.n(20))*time.Second)
				if err == nil {
					until = to
				} else if !errors.Is(err, pull.ErrEnded) {
					until = c.w.storeNow().Add(time.Hour) // not known
				}
			}
		case 3:
			n := pull.Nack{Reason: "no", Dead: c.n(8) == 0}
			if c.n(2) == 0 {
				delay := time.Duration(c.n(5)) * time.Second
				n.Delay = &delay
			}
			id := all[c.n(len(all))]
			if n.Dead {
				c.w.mu.Lock()
				c.s.mayDie[id] = true
				c.w.mu.Unlock()
			}
			if server := c.server("nacks " + c.w.name(id)); server != nil {
				_ = server.Nack(ctx, c.s.name, b.Lease, []int64{id}, n)
			}
		default:
			c.ack(ctx, b, all[:c.n(len(all)+1)], until)
		}
	}
}

// ack acknowledges events, and checks the answer.
func (c *client) ack(ctx context.Context, b *pull.Batch, ids []int64, until time.Time) {
	if len(ids) == 0 {
		return
	}
	server := c.server("acks " + fmt.Sprint(c.w.namesOf(ids)))
	if server == nil {
		return
	}
	// A server that has read the state slowly may take the clock of the store for an earlier one, if
	// that is ahead. Nobody has the event again before its commit, so it may take the ack.
	slack := time.Duration(0)
	if c.w.skew > 0 {
		slack = 15 * time.Second
	}
	late := !c.w.storeNow().Before(until.Add(slack))
	c.w.mu.Lock()
	open, again := 0, map[int64]bool{} // again: the events of a redelivery job
	for _, e := range b.Events {
		again[e.ID] = e.Redelivery > 0
	}
	for _, id := range ids {
		c.s.accepted[id] = true
		if !c.s.settled[id] && !again[id] {
			open++
		}
	}
	c.w.mu.Unlock()
	err := server.Ack(ctx, c.s.name, b.Lease, ids, 0)
	c.w.mu.Lock()
	defer c.w.mu.Unlock()
	for _, id := range ids {
		if err == nil && !c.s.settled[id] && !again[id] {
			c.w.violateLocked("an ack is stored, or rejected", "the ack of %s is answered, and the event is"+
				" not settled", c.w.nameLocked(id))
		}
	}
	if late && open > 0 && err == nil {
		c.w.violateLocked("an ack is stored, or rejected", "an ack of %s is taken %v after the end of"+
			" its lease", c.w.nameLocked(ids[0]), c.w.storeNow().Sub(until))
	}
}

// storeNow returns the time by the clock of the store.
func (w *world) storeNow() time.Time { return time.Now().Add(w.skew) }

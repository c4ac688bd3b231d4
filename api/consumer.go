package api

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/hookgate/hookgate/internal/backoff"
)

// Consumer pulls the events of a subscription and processes them one after another. To process
// several at a time, run several Consumers: the gate gives the events of a key to one of them.
type Consumer struct {
	Client       *Client
	Subscription string
	// Process processes an event. The event is acknowledged after nil. After an error it comes again
	// later, and so do the later events of its key. ctx ends if the lease has ended: then the event
	// comes again, maybe to another consumer. An event can come twice: see package inbox.
	Process func(ctx context.Context, e *PulledEvent) error
	// Max bounds the number of events of a lease; default 100. For a subscription with order: all set
	// it to 1, because there every event waits for all events before it.
	Max int
	// Lease is after how long the events of a consumer that has died come again; default a minute. It
	// is extended while Process works.
	Lease time.Duration
}

const (
	// consumerWait bounds how long a pull of a Consumer waits, and so how long Run takes to end. A
	// pull that is cut off may have leased events already.
	consumerWait = 5 * time.Second
	// defaultLease is Consumer.Lease.
	defaultLease = time.Minute
)

// awayPauses are the pauses of a Consumer while the gate is away.
var awayPauses = backoff.Policy{Min: 100 * time.Millisecond, Max: 10 * time.Second}

// Run processes events until ctx ends. Then it finishes the events that it has, acknowledges them
// and returns nil. While the gate is away it backs off and calls again. It returns the error of a
// call that the gate refuses, for example because of a wrong token.
func (c *Consumer) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		var batch Pulled
		err := insist(ctx, func() (err error) {
			batch, err = c.Client.Pull(context.WithoutCancel(ctx), c.Subscription, PullRequest{Max: c.Max,
				Wait: Duration(consumerWait), Lease: Duration(c.lease())})
			return err
		})
		if err == nil {
			err = c.process(ctx, &batch)
			if HasStatus(err, http.StatusConflict) { // the lease has ended, and its events come again
				err = nil
			}
		}
		if err != nil && ctx.Err() == nil {
			return err
		}
	}
	return nil
}

func (c *Consumer) lease() time.Duration {
	if c.Lease <= 0 {
		return defaultLease
	}
	return c.Lease
}

// process processes the events of a lease, acknowledges them and gives back those that failed.
func (c *Consumer) process(ctx context.Context, b *Pulled) error {
	if len(b.Events) == 0 {
		return nil
	}
	working, end := context.WithCancelCause(context.WithoutCancel(ctx))
	extended := make(chan struct{})
	go func() {
		defer close(extended)
		end(c.extend(working, b.Lease))
	}()
	var done []string
	var nacks []NackRequest
	failed := map[string]bool{} // keys
	for i := range b.Events {
		e := &b.Events[i]
		if failed[e.Key] || working.Err() != nil {
			continue
		}
		if err := c.Process(working, e); err != nil {
			failed[e.Key] = true
			nacks = append(nacks, NackRequest{Lease: b.Lease, IDs: []string{e.ID}, Reason: err.Error()})
		} else {
			done = append(done, e.ID)
		}
	}
	ended := context.Cause(working)
	end(nil)
	<-extended
	if ended != nil {
		return ended
	}
	call := context.WithoutCancel(ctx)
	if len(done) > 0 {
		if err := insist(ctx, func() error {
			return c.Client.Ack(call, c.Subscription, AckRequest{Lease: b.Lease, IDs: done})
		}); err != nil {
			return err
		}
	}
	for _, nack := range nacks {
		if err := insist(ctx, func() error {
			return c.Client.Nack(call, c.Subscription, nack)
		}); err != nil {
			return err
		}
	}
	return nil
}

// extend extends a lease until ctx ends. It returns why a call failed.
func (c *Consumer) extend(ctx context.Context, lease string) error {
	for backoff.Sleep(ctx, c.lease()/3) == nil {
		if err := insist(ctx, func() error {
			_, err := c.Client.Extend(ctx, c.Subscription, lease, c.lease())
			return err
		}); err != nil {
			return err
		}
	}
	return nil
}

// insist makes a call, and makes it again while the gate is away, until ctx ends. It returns the
// last error. One call is made in any case.
func insist(ctx context.Context, call func() error) error {
	for n := 1; ; n++ {
		err := call()
		var refused *Error
		if err == nil || errors.As(err, &refused) && refused.Status < http.StatusTooManyRequests {
			return err
		}
		pause := awayPauses.Pause(n)
		if refused != nil {
			pause = max(pause, refused.RetryAfter)
		}
		if backoff.Sleep(ctx, pause) != nil {
			return err
		}
	}
}

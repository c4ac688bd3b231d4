package consume

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hookgate/hookgate/api"
	"github.com/hookgate/hookgate/internal/backoff"
)

// Puller pulls the events of a subscription and works on one batch after the other.
type Puller struct {
	*Gate
	Subscription string
	// Max bounds a batch. Lease is how long the gate waits for a sign of life before it gives the
	// events to another client. Wait is how long one call waits for events.
	Max         int
	Wait, Lease time.Duration
	// Once ends Run after the first batch, or if there is none within Wait.
	Once bool
	// Work works on a batch. After nil the events are acknowledged. After a *FailedError they come
	// again. Any other error ends Run; the events come again when the lease has run out.
	Work func([]api.PulledEvent) error
}

// FailedError is the error of work that may succeed later.
type FailedError struct{ Reason string }

// Error implements error.
func (e *FailedError) Error() string { return e.Reason }

// Run works until ctx ends. It finishes the batch on which it works then.
func (p *Puller) Run(ctx context.Context) error {
	request := api.PullRequest{Max: p.Max, Wait: api.Duration(p.Wait), Lease: api.Duration(p.Lease)}
	for failures := 0; ctx.Err() == nil; {
		events, l, err := p.pull(ctx, p.Subscription, request, func(time.Time) {})
		switch {
		case ctx.Err() != nil && l == nil:
			return nil
		case err != nil:
			return err
		case l != nil:
			err = p.batch(ctx, l, events)
		}
		if p.Once {
			return err
		}
		failed := (*FailedError)(nil)
		switch {
		case errors.As(err, &failed):
			// A command that always fails must not make an exception of every event.
			failures++
			backoff.Sleep(ctx, pauses.Pause(failures))
		case err != nil:
			return err
		case l != nil:
			failures = 0
		}
	}
	return nil
}

// batch works on a batch and settles it. It returns the error of the work.
func (p *Puller) batch(ctx context.Context, l *lease, events []api.PulledEvent) error {
	defer l.release()
	defer p.announce(ctx, len(events))()
	failed := (*FailedError)(nil)
	err := p.Work(events)
	settled, away := true, error(nil)
	switch {
	case err == nil:
		settled, away = l.ack(ctx, api.AckRequest{UpTo: events[len(events)-1].ID})
	case errors.As(err, &failed):
		p.note(fmt.Sprintf("%s failed: %s", count(len(events)), failed.Reason))
		settled, away = l.nack(ctx, api.NackRequest{IDs: ids(events), Reason: failed.Reason})
	default:
		return err
	}
	switch {
	case away != nil:
		return fmt.Errorf("the gate does not know what became of %s, which come again: %w",
			count(len(events)), away)
	case !settled:
		p.note(fmt.Sprintf("the lease of %s has ended before; they come again", count(len(events))))
	}
	return err
}

// announce notes that a batch is finished if ctx ends before the returned function is called.
func (p *Puller) announce(ctx context.Context, events int) (stop func()) {
	finished, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		select {
		case <-ctx.Done():
			p.note(fmt.Sprintf("finishing the batch of %s; a second signal ends it at once",
				count(events)))
		case <-finished:
		}
	}()
	return func() {
		close(finished)
		<-stopped
	}
}

// ids returns the ids of events.
func ids(events []api.PulledEvent) []string {
	all := make([]string, len(events))
	for i := range events {
		all[i] = events[i].ID
	}
	return all
}

// count is a number of events.
func count(n int) string {
	if n == 1 {
		return "1 event"
	}
	return fmt.Sprint(n, " events")
}

package consume

import (
	"context"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/hookgate/hookgate/api"
	"github.com/hookgate/hookgate/internal/backoff"
)

// lease is a lease that is extended until it is released.
type lease struct {
	gate             *Gate
	subscription, id string
	length           time.Duration
	release          context.CancelFunc

	over atomic.Bool // the gate has ended it, and its events come again
}

// pull waits for events and leases them. Without events the lease is nil. After an attempt without
// an answer it calls unanswered: the gate may have leased events to it all the same.
func (g *Gate) pull(ctx context.Context, subscription string, r api.PullRequest,
	unanswered func(time.Time)) ([]api.PulledEvent, *lease, error) {
	var pulled api.Pulled
	err := g.try(ctx, func(ctx context.Context) (err error) {
		pulled, err = g.client.Pull(ctx, subscription, r)
		if err != nil && isAway(err) {
			unanswered(g.now())
		}
		return err
	})
	if err != nil || len(pulled.Events) == 0 {
		return nil, nil, err
	}
	l := &lease{gate: g, subscription: subscription, id: pulled.Lease, length: time.Duration(r.Lease)}
	keeping, release := context.WithCancel(context.WithoutCancel(ctx))
	l.release = release
	go l.keep(keeping)
	return pulled.Events, l, nil
}

// keep extends the lease until ctx ends.
func (l *lease) keep(ctx context.Context) {
	for backoff.Sleep(ctx, l.length/3) == nil && !l.over.Load() {
		err := l.gate.try(ctx, func(ctx context.Context) error {
			_, err := l.gate.client.Extend(ctx, l.subscription, l.id, l.length)
			return err
		})
		if err != nil && ctx.Err() == nil {
			l.over.Store(true)
		}
	}
}

// settle makes a call for the lease until the gate answers. false: the lease has ended, and its
// events come again. The other error is that of a gate that is away when the command ends.
func (l *lease) settle(ctx context.Context, call func(context.Context) error) (bool, error) {
	ctx, cancel := outlasting(ctx)
	defer cancel()
	err := l.gate.try(ctx, call)
	// 404: the gate has forgotten the subscription.
	if api.HasStatus(err, http.StatusConflict) || api.HasStatus(err, http.StatusNotFound) {
		l.over.Store(true)
		return false, nil
	}
	return err == nil, err
}

func (l *lease) ack(ctx context.Context, r api.AckRequest) (bool, error) {
	r.Lease = l.id
	return l.settle(ctx, func(ctx context.Context) error {
		return l.gate.client.Ack(ctx, l.subscription, r)
	})
}

func (l *lease) nack(ctx context.Context, r api.NackRequest) (bool, error) {
	r.Lease = l.id
	return l.settle(ctx, func(ctx context.Context) error {
		return l.gate.client.Nack(ctx, l.subscription, r)
	})
}

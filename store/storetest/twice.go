package storetest

import (
	"context"
	"time"

	"github.com/hookgate/hookgate"
)

// Define implements hookgate.Subscriptions.
func (w *twice) Define(ctx context.Context, defs []hookgate.SubscriptionDefinition, complete bool) (
	[]int64, error) {
	w.fails(func() error {
		_, err := w.Subscriptions.Define(ctx, defs, complete)
		return err
	})
	return w.Subscriptions.Define(ctx, defs, complete)
}

// Renew implements hookgate.Subscriptions.
func (w *twice) Renew(ctx context.Context, owner string, ttl time.Duration) (hookgate.Roster,
	error) {
	w.fails(func() error {
		_, err := w.Subscriptions.Renew(ctx, owner, ttl)
		return err
	})
	return w.Subscriptions.Renew(ctx, owner, ttl)
}

// Acquire implements hookgate.Subscriptions.
func (w *twice) Acquire(ctx context.Context, name, owner string, ttl time.Duration,
	revision int64) (*hookgate.SubscriptionState, error) {
	w.fails(func() error {
		_, err := w.Subscriptions.Acquire(ctx, name, owner, ttl, revision)
		return err
	})
	return w.Subscriptions.Acquire(ctx, name, owner, ttl, revision)
}

// Release implements hookgate.Subscriptions.
func (w *twice) Release(ctx context.Context, name string, epoch hookgate.Epoch) error {
	w.fails(func() error { return w.Subscriptions.Release(ctx, name, epoch) })
	return w.Subscriptions.Release(ctx, name, epoch)
}

// Save implements hookgate.Subscriptions.
func (w *twice) Save(ctx context.Context, name string, epoch hookgate.Epoch, r *hookgate.Results) (
	int64, error) {
	w.fails(func() error {
		_, err := w.Subscriptions.Save(ctx, name, epoch, r)
		return err
	})
	return w.Subscriptions.Save(ctx, name, epoch, r)
}

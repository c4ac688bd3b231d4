package deliver_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/deliver"
	"github.com/hookgate/hookgate/deliver/memory"
)

// cutOff is a store that a process cannot reach while away is set.
type cutOff struct {
	*memory.Store
	away atomic.Bool
}

func (c *cutOff) Renew(ctx context.Context, owner string, ttl time.Duration) (hookgate.Roster,
	error) {
	if c.away.Load() {
		return hookgate.Roster{}, errKilled
	}
	return c.Store.Renew(ctx, owner, ttl)
}

// accepts is a consumer that accepts everything.
type accepts struct{}

func (accepts) Deliver(context.Context, *hookgate.Delivery) hookgate.Answer {
	return hookgate.Answer{Status: 200}
}

// TestLapsedBeyondShare: the leases of a process run out while the store is away for it. When it is
// back, the process may keep one subscription only, and another process takes the other one.
func TestLapsedBeyondShare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memory.New()
		var subs []deliver.Subscription
		for _, name := range []string{"x", "y"} {
			subs = append(subs, deliver.Subscription{Concurrency: 1, Consumer: accepts{},
				Definition: hookgate.SubscriptionDefinition{Name: name, Order: hookgate.OrderKey,
					Definition: "{}"}})
		}
		stopping, stop := context.WithCancel(t.Context())
		ended := make(chan struct{}, 2)
		start := func(owner string) (*cutOff, *deliver.Dispatcher) {
			c := &cutOff{Store: store}
			d := deliver.New(deliver.Config{Subscriptions: subs, Owner: owner, Lease: 10 * time.Second},
				store, c)
			go func() {
				d.Run(stopping)
				ended <- struct{}{}
			}()
			return c, d
		}
		a, first := start("a")
		time.Sleep(time.Second)
		a.away.Store(true)
		time.Sleep(time.Second)
		_, second := start("b")
		time.Sleep(8500 * time.Millisecond) // the leases have run out, and b has not looked yet
		first.Wake()                        // a notices
		time.Sleep(100 * time.Millisecond)
		a.away.Store(false)
		first.Wake()
		time.Sleep(20 * time.Second)
		if len(first.Status()) != 1 || len(second.Status()) != 1 {
			t.Errorf("a delivers %+v and b %+v, want one subscription each", first.Status(),
				second.Status())
		}
		stop()
		<-ended
		<-ended
	})
}

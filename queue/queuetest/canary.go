package queuetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hookgate/hookgate"
)

func canaryOf(version int64, percent int) hookgate.Canary {
	return hookgate.Canary{Version: version, Percent: percent, At: time.Unix(1_700_000_000, 0).UTC(), By: fmt.Sprint("person ", percent), Reason: "a \"reason\""}
}

func mustKeep(t *testing.T, k CanaryKeeper, c hookgate.Canary) {
	t.Helper()
	if err := k.SetCanary(context.Background(), c); err != nil || k.Canary() != c {
		t.Fatalf("keep %v: %v, and what is kept is %v", c, err, k.Canary())
	}
}

// testCanary: the newest canary is kept, the same again does no harm, an older one and another one of the same version are refused; it
// survives the end of the process and its crash; and of many who change it at once from what they all have seen, one does.
func testCanary(t *testing.T, b Backend) {
	place, o := b.NewPlace(t), Options{}.withDefaults()
	q := b.Open(t, place, o)
	k := q.BufferedQueue.(CanaryKeeper)
	if c := k.Canary(); c != (hookgate.Canary{}) {
		t.Errorf("a new queue has the canary %v", c)
	}
	mustKeep(t, k, canaryOf(1, 10))
	mustKeep(t, k, canaryOf(5, 50))
	mustKeep(t, k, canaryOf(5, 50))
	for _, c := range []hookgate.Canary{canaryOf(5, 60), canaryOf(4, 100), canaryOf(1, 10)} {
		if err := k.SetCanary(context.Background(), c); !errors.Is(err, hookgate.ErrCanaryChanged) || k.Canary() != canaryOf(5, 50) {
			t.Errorf("keep %v behind version 5: %v, and what is kept is %v", c, err, k.Canary())
		}
	}
	var won atomic.Int64
	var all sync.WaitGroup
	for n := range 20 {
		all.Go(func() {
			switch err := k.SetCanary(context.Background(), canaryOf(6, n)); {
			case err == nil:
				won.Add(1)
			case !errors.Is(err, hookgate.ErrCanaryChanged):
				t.Errorf("keep: %v", err)
			}
		})
	}
	all.Wait()
	kept := k.Canary()
	if won.Load() != 1 || kept.Version != 6 {
		t.Errorf("%d of 20 changes of one version were kept, and what is kept is %v", won.Load(), kept)
	}
	for _, end := range []func(){q.Crash, func() { q.Close() }} {
		end()
		q = b.Open(t, place, o)
		if c := q.BufferedQueue.(CanaryKeeper).Canary(); c != kept {
			t.Errorf("after the end of its process the canary is %v, want %v", c, kept)
		}
	}
	q.Close()
	if err := q.BufferedQueue.(CanaryKeeper).SetCanary(context.Background(), canaryOf(9, 9)); err == nil {
		t.Error("a closed queue keeps a canary")
	}
}

// testCanaryFails: keeping a canary fails, once before and once after it took effect. The same call again keeps it.
func testCanaryFails(t *testing.T, b Backend, done bool) {
	place, o := b.NewPlace(t), Options{}.withDefaults()
	q := b.Open(t, place, o)
	k := q.BufferedQueue.(CanaryKeeper)
	mustKeep(t, k, canaryOf(1, 10))
	q.FailWrites(&done)
	if err := k.SetCanary(context.Background(), canaryOf(2, 50)); err == nil || errors.Is(err, hookgate.ErrCanaryChanged) {
		t.Errorf("keeping a canary whose write failed got %v", err)
	}
	q.FailWrites(nil)
	mustKeep(t, k, canaryOf(2, 50))
	q.Crash()
	q = b.Open(t, place, o)
	defer q.Close()
	if c := q.BufferedQueue.(CanaryKeeper).Canary(); c != canaryOf(2, 50) {
		t.Errorf("after a crash the canary is %v", c)
	}
}

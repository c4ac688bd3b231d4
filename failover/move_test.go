package failover

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/queue/sqlite"
)

// slow is a primary that takes so many deliveries of each key and then nothing until the context ends.
type slow struct {
	hookgate.BufferedQueue
	each int64
	mu   sync.Mutex // guards reached
	// reached is told of each key whose delivery is not taken.
	reached func(key string)
}

func (s *slow) Append(ctx context.Context, d *hookgate.Delivery) (hookgate.Receipt, error) {
	if d.Sequence < s.each {
		return s.BufferedQueue.Append(ctx, d)
	}
	s.mu.Lock()
	s.reached(d.OrderingKey)
	s.mu.Unlock()
	<-ctx.Done()
	return hookgate.Receipt{}, ctx.Err()
}

// TestCutOffBatch: of a batch that is cut off, what has gone over is released, but nothing that has not. Otherwise a spool that is
// filled as fast as it can be drained would never shrink: appends wait for a batch no longer than one time-out.
func TestCutOffBatch(t *testing.T) {
	const keys, each, over = 5, 10, 4
	p := openPair(t, t.TempDir(), sqlite.Options{Partitions: 2}, 0, waitFor)
	t.Cleanup(func() { p.close() })
	for n := range each {
		for k := range keys {
			mustAppend(t, p.spool, delivery(string(rune('a'+k)), n))
		}
	}
	c, err := p.spool.Consume(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	records, err := c.Next(t.Context(), keys*each, 1<<20)
	if err != nil || len(records) != keys*each {
		t.Fatalf("the spool gives %d records (error %v)", len(records), err)
	}
	ctx, cut := context.WithCancel(t.Context())
	defer cut()
	stuck := map[string]bool{}
	reached := func(key string) {
		if stuck[key] = true; len(stuck) == keys {
			cut()
		}
	}
	m := newMover(p.Options, &slow{BufferedQueue: p.fickle, each: over, reached: reached})
	if err := m.move(ctx, c, records); !errors.Is(err, context.Canceled) {
		t.Fatalf("a batch that is cut off: %v", err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if c, err = p.spool.Consume(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	left, err := c.Next(t.Context(), keys*each, 1<<20)
	if err != nil || len(left) != keys*(each-over) {
		t.Errorf("%d records are left in the spool (error %v), want the %d that did not go over", len(left), err, keys*(each-over))
	}
	next := map[string]int64{}
	for _, r := range left {
		if want := over + next[r.OrderingKey]; len(left) == keys*(each-over) && r.Sequence != want {
			t.Errorf("%s is left where %d was due", r.MessageID, want)
		}
		next[r.OrderingKey]++
	}
}

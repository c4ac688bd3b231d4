package pull_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/deliver/pull"
)

// TestPatience: while all next events are of leased keys, a pull waits a little for the lease to
// end. Then it gets them in the order of the log, and no key has a hold. If the lease does not end
// in time, the pull gets events of other keys that come later.
func TestPatience(t *testing.T) {
	one(t, hookgate.OrderKey, func(t *testing.T, w *world, p *process) {
		var e []int64
		for i := range 300 {
			e = append(e, w.append(fmt.Sprint("k", i%10))...)
		}
		other := w.append("other")
		first := p.pull(pull.Request{Max: 100})
		next := make(chan *pull.Batch)
		get := func() { next <- p.pull(pull.Request{Max: 100, Wait: time.Minute}) }
		go get()
		time.Sleep(50 * time.Millisecond)
		if err := p.server.Ack(t.Context(), name, first.Lease, nil, e[99]); err != nil {
			t.Fatal(err)
		}
		second := <-next
		if !slices.Equal(ids(second), e[100:200]) || w.info().Held != 0 {
			t.Errorf("after the ack: %d events, %d keys held", len(second.Events), w.info().Held)
		}

		began := time.Now()
		go get()
		third := <-next
		if took := time.Since(began); !slices.Equal(ids(third), other) || took > 200*time.Millisecond {
			t.Errorf("events %v after %v, want %v", ids(third), took, other)
		}
		// A pull that does not wait looks further at once.
		w.append("another")
		if b := p.pull(pull.Request{Max: 100}); len(b.Events) != 1 {
			t.Errorf("a pull that does not wait: %d events", len(b.Events))
		}
	})
}

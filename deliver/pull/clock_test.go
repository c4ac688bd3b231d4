package pull_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/deliver/pull"
)

// TestClockIsNotFast: the clock of the store is behind that of the process, and reading the state
// takes long. The clock of the subscription counts the time to retry. Commits and reads of the state
// do not make it run fast.
func TestClockIsNotFast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, hookgate.OrderKey)
		w.define("pull")
		w.store.SetClock(func() time.Time { return time.Now().Add(-30 * time.Second) })
		w.fail = func(op string) (bool, error) {
			if op == "PullState" {
				time.Sleep(2 * time.Second)
			}
			return false, nil
		}
		p, began := w.start(time.Minute), time.Now()
		for n := range 200 {
			w.append("k")
			b, err := p.server.Pull(t.Context(), name, pull.Request{Wait: 10 * time.Second})
			if err != nil || len(b.Events) != 1 {
				t.Fatalf("pull %d: %+v, error %v", n, b, err)
			}
			if err := p.server.Ack(t.Context(), name, b.Lease, nil, b.Events[0].ID); err != nil {
				t.Fatal(err)
			}
			b.Close()
			if n%20 == 0 {
				p.server.Wake(name) // the state is read again
			}
		}
		if clock, took := w.store.State(name).Clock, time.Since(began); clock > took {
			t.Errorf("the clock of the subscription is at %v after %v", clock, took)
		}
		p.end()
		w.check()
	})
}

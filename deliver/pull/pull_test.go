package pull_test

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/deliver/pull"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// one runs a test with one process.
func one(t *testing.T, order hookgate.Order, test func(*testing.T, *world, *process)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, order)
		w.define("pull")
		p := w.start(0)
		test(t, w, p)
		w.check()
		p.end()
	})
}

// pull pulls without waiting.
func (p *process) pull(r pull.Request) *pull.Batch {
	p.w.t.Helper()
	b, err := p.server.Pull(p.w.t.Context(), name, r)
	if err != nil {
		p.w.t.Fatal(err)
	}
	p.w.received(b.Events)
	b.Close()
	return b
}

func ids(b *pull.Batch) (all []int64) {
	for _, e := range b.Events {
		all = append(all, e.ID)
	}
	return all
}

// TestDrain: a backlog of keyed and keyless events is leased in order and settled.
func TestDrain(t *testing.T) {
	for _, order := range []hookgate.Order{hookgate.OrderKey, hookgate.OrderAll, hookgate.OrderNone} {
		one(t, order, func(t *testing.T, w *world, p *process) {
			for i := range 5000 {
				w.append([]string{"", fmt.Sprint("k", i%100)}[i%2])
			}
			if n := w.drain(p); n != 5000 {
				t.Errorf("%s: %d events", order, n)
			}
			time.Sleep(time.Minute)
			w.mustSettle()
		})
	}
}

// TestPausedClient: a lease ends while its client is paused. Its late ack changes nothing, and the events
// come again.
func TestPausedClient(t *testing.T) {
	one(t, hookgate.OrderKey, func(t *testing.T, w *world, p *process) {
		w.append("a", "a", "b", "")
		b := p.pull(pull.Request{Lease: 10 * time.Second})
		time.Sleep(11 * time.Second)
		err := p.server.Ack(t.Context(), name, b.Lease, ids(b), 0)
		if !errors.Is(err, pull.ErrEnded) || w.info().Leased != 0 || len(w.done) != 0 {
			t.Errorf("the late ack: %v; %+v", err, w.info())
		}
		if n := w.drain(p); n != 4 {
			t.Errorf("%d events", n)
		}
		w.mustSettle()
	})
}

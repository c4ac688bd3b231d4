package pull_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/deliver/pull"
)

// TestGoneUnknown: the outcome of a lease's commit is unknown, and the client goes before the store
// is asked again. The next client gets the events at once, and the first one's memory.
func TestGoneUnknown(t *testing.T) {
	for _, done := range []bool{true, false} {
		one(t, hookgate.OrderKey, func(t *testing.T, w *world, p *process) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			e := w.append("a", "")
			broken := true
			w.fail = func(op string) (bool, error) {
				if op == "Commit" && broken {
					broken = false
					cancel()
					time.Sleep(time.Millisecond) // the client goes
					return done, errAway
				}
				return false, nil
			}
			_, err := p.server.Pull(ctx, name, pull.Request{Wait: time.Minute, Lease: time.Hour})
			if !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
			b := p.pull(pull.Request{Wait: 10 * time.Second})
			if !slices.Equal(ids(b), e) || b.Events[0].Attempt != 1 {
				t.Errorf("%+v", b)
			}
			if n := p.server.Held(); n != 0 {
				t.Errorf("%d bytes are still taken", n)
			}
		})
	}
}

// TestLateCommit: the commit of a lease is reported as failed, and happens after the state was read
// again. No client knows that lease, so its event comes at once and nobody is charged.
func TestLateCommit(t *testing.T) {
	one(t, hookgate.OrderKey, func(t *testing.T, w *world, p *process) {
		p.pull(pull.Request{})
		e := w.append("a")
		commits := 0
		var late func()
		w.late = func(commit func()) bool {
			commits++
			late = commit
			return commits == 1
		}
		w.fail = func(op string) (bool, error) {
			if op == "ReadLog" && commits == 1 {
				late() // it comes between the read of the state and the next commit
				commits++
			}
			return false, nil
		}
		b := p.pull(pull.Request{Wait: 10 * time.Second, Lease: time.Hour})
		if !slices.Equal(ids(b), e) || b.Events[0].Attempt != 1 || w.info().Leases != 1 {
			t.Errorf("%+v; %+v", b, w.info())
		}
	})
}

package pull_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/deliver/pull"
)

// other stores events of an ordering key that the filter of the subscription does not select.
func (w *world) other(n int, key string) {
	w.store.Append(slices.Repeat([]hookgate.Event{{Identity: hookgate.Identity{Source: "s",
		EventType: "other"}, OrderingKey: key, Keyed: key != ""}}, n)...)
}

// TestManyBehind: a key is held, and thousands of its events that the filter does not select stand
// between those that it does. They are read once.
func TestManyBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, hookgate.OrderKey)
		w.filter.Types = []string{"t"}
		w.define("pull")
		p := w.start(0)
		first := w.append("a")
		b := p.pull(pull.Request{})
		w.other(10_000, "a")
		last := w.append("a")
		w.append("b")
		w.drain(p) // the key is held now
		if err := p.server.Ack(t.Context(), name, b.Lease, first, 0); err != nil {
			t.Error(err)
		}
		var reads atomic.Int64
		w.fail = func(op string) (bool, error) {
			if op == "ReadLog" {
				if reads.Add(1) == 1000 {
					t.Error("the events are read again and again")
				}
				time.Sleep(time.Millisecond)
			}
			return false, nil
		}
		b = p.pull(pull.Request{Max: 500, Wait: time.Second})
		if !slices.Equal(ids(b), last) || reads.Load() > 100 {
			t.Errorf("%v after %d reads", ids(b), reads.Load())
		}
		w.check()
		p.end()
	})
}

// TestSeekWhileClientsWait: clients pull all the time, and a person moves the cursor.
func TestSeekWhileClientsWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, hookgate.OrderKey)
		w.fail = func(string) (bool, error) { time.Sleep(time.Millisecond); return false, nil }
		w.define("pull")
		p := w.start(0)
		e := w.append(slices.Repeat([]string{"a", "b", ""}, 100)...)
		ctx, stop := context.WithCancel(t.Context())
		var clients sync.WaitGroup
		for range 8 {
			clients.Go(func() {
				for ctx.Err() == nil {
					b, err := p.server.Pull(ctx, name, pull.Request{Max: 10, Wait: time.Minute})
					if err != nil {
						continue
					}
					w.received(b.Events)
					time.Sleep(time.Millisecond)
					_ = p.server.Ack(ctx, name, b.Lease, ids(b), 0)
					b.Close()
				}
			})
		}
		time.Sleep(50 * time.Millisecond)
		if err := w.seek(p, e[10]); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Minute)
		stop()
		clients.Wait()
		p.end()
		w.mustSettle()
	})
}

// TestSparse: a client polls without waiting, and the filter selects one of thousands of events.
// The state is read again at each poll, but what has been passed is not.
func TestSparse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, hookgate.OrderKey)
		w.filter.Types = []string{"t"}
		w.define("pull")
		p := w.start(time.Second)
		p.pull(pull.Request{})
		w.other(50_000, "")
		e := w.append("a")
		reads := 0
		w.fail = func(op string) (bool, error) {
			if op == "ReadLog" {
				reads++
				time.Sleep(100 * time.Millisecond)
			}
			return false, nil
		}
		for range 20 {
			if b := p.pull(pull.Request{}); len(b.Events) > 0 {
				if !slices.Equal(ids(b), e) {
					t.Errorf("%v", ids(b))
				}
				break
			}
			time.Sleep(2 * time.Second)
		}
		if w.info().Leased != 1 || reads > 200 {
			t.Errorf("%d reads; %+v", reads, w.info())
		}
		p.end()
	})
}

// TestJobWaits: the last events of a redelivery job are leased. Nothing is stored while a client
// works on them and another one waits.
func TestJobWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, hookgate.OrderKey)
		w.define("pull")
		p := w.start(time.Second)
		w.append("a", "b")
		w.drain(p)
		job := hookgate.RedeliveryJob{}
		if _, _, err := w.store.Redeliver(t.Context(), name, job, false, by); err != nil {
			t.Fatal(err)
		}
		p.server.Wake(name)
		if b := p.pull(pull.Request{Lease: time.Hour}); len(b.Events) != 2 {
			t.Fatalf("%+v", b)
		}
		commits := 0
		w.fail = func(op string) (bool, error) {
			if op == "Commit" {
				commits++
			}
			return false, nil
		}
		p.pull(pull.Request{Wait: 50 * time.Second})
		if commits > 1 {
			t.Errorf("%d commits", commits)
		}
		p.end()
	})
}

// TestGreedy: the clients of one subscription never use what they receive. They cannot take the
// memory of another subscription.
func TestGreedy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, hookgate.OrderNone)
		w.define("pull")
		idle := hookgate.SubscriptionDefinition{Name: "idle", Definition: "pull",
			Start: hookgate.Start{At: hookgate.StartBeginning}}
		if err := w.store.CreateTemporary(t.Context(), idle, time.Hour, by); err != nil {
			t.Fatal(err)
		}
		s := pull.New(pull.Config{Memory: 1000, Policy: func(string) (pull.Policy, error) {
			return w.policy, nil
		}}, w.store, w.store)
		for range 20 {
			w.store.Append(hookgate.Event{Identity: hookgate.Identity{Source: "s", EventType: "t"},
				Body: make([]byte, 100)})
		}
		var clients sync.WaitGroup
		for range 20 {
			clients.Go(func() {
				_, err := s.Pull(t.Context(), name, pull.Request{Max: 1, MaxBytes: 100, Wait: time.Second})
				if err != nil {
					t.Error(err)
				}
			})
		}
		clients.Wait()
		if n := w.infoOf(name).Leased; n != 5 {
			t.Errorf("%d events are leased", n)
		}
		b, err := s.Pull(t.Context(), "idle", pull.Request{MaxBytes: 400})
		if err != nil || len(b.Events) != 4 {
			t.Errorf("%+v, error %v", b, err)
		}
	})
}

// TestDeadOfOneKey: a person retries many dead letters of one key. They share leases, in order, and
// one that fails gives back those after it.
func TestDeadOfOneKey(t *testing.T) {
	one(t, hookgate.OrderKey, func(t *testing.T, w *world, p *process) {
		e := w.append(slices.Repeat([]string{"a"}, 50)...)
		b := p.pull(pull.Request{})
		if err := p.server.Nack(t.Context(), name, b.Lease, e, pull.Nack{Dead: true}); err != nil {
			t.Fatal(err)
		}
		w.person(hookgate.ResolveRetry)
		p.server.Wake(name)
		if b = p.pull(pull.Request{}); !slices.Equal(ids(b), e) {
			t.Fatalf("%d of %d events", len(b.Events), len(e))
		}
		err := errors.Join(p.server.Ack(t.Context(), name, b.Lease, e[:10], 0),
			p.server.Nack(t.Context(), name, b.Lease, e[10:11], pull.Nack{}))
		if err != nil {
			t.Error(err)
		}
		if b = p.pull(pull.Request{}); !slices.Equal(ids(b), e[11:]) || b.Events[0].Attempt != 2 {
			t.Errorf("%v", ids(b))
		}
		if n := w.drain(p); n != 0 {
			t.Errorf("%d more events", n)
		}
		if err := p.server.Ack(t.Context(), name, b.Lease, nil, e[49]); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Minute)
		if n := w.drain(p); n != 1 {
			t.Errorf("%d events, not the one that failed", n)
		}
		w.mustSettle()
	})
}

// TestDeadWhileLeased: a person makes a dead letter of a leased event that holds its key, and
// retries it. It holds the key no more, also after it has failed again.
func TestDeadWhileLeased(t *testing.T) {
	one(t, hookgate.OrderKey, func(t *testing.T, w *world, p *process) {
		e := w.append("a", "a")
		later := time.Hour
		b := p.pull(pull.Request{})
		nack := func(delay time.Duration) {
			t.Helper()
			err := p.server.Nack(t.Context(), name, b.Lease, e[:1], pull.Nack{Delay: &delay})
			if err != nil {
				t.Error(err)
			}
		}
		nack(0)
		b = p.pull(pull.Request{})
		w.person(hookgate.ResolveDeadLetter)
		w.person(hookgate.ResolveRetry)
		p.server.Wake(name)
		nack(later)
		p.server.Wake(name)
		if n := w.drain(p); n != 1 {
			t.Errorf("%d events; want the second", n)
		}
		time.Sleep(later)
		if n := w.drain(p); n != 1 {
			t.Errorf("%d events; want the first", n)
		}
		time.Sleep(time.Minute)
		w.drain(p)
		w.mustSettle()
	})
}

package pull_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/deliver/pull"
)

// TestSettle: what the calls of a client do, and what they refuse.
func TestSettle(t *testing.T) {
	one(t, hookgate.OrderKey, func(t *testing.T, w *world, p *process) {
		e := w.append("a", "a", "b", "a", "")
		ctx := t.Context()
		b := p.pull(pull.Request{})
		if !slices.Equal(ids(b), e) {
			t.Fatalf("the lease has %v, not %v", ids(b), e)
		}
		var refused *pull.AckError
		if err := p.server.Ack(ctx, name, b.Lease, []int64{e[1]}, 0); !errors.As(err, &refused) ||
			refused.Before != e[0] {
			t.Errorf("an ack that is not a prefix: %v", err)
		}
		if err := p.server.Nack(ctx, name, b.Lease, []int64{7}, pull.Nack{}); !errors.As(err, &refused) ||
			refused.Before != 0 {
			t.Errorf("a nack of a strange event: %v", err)
		}
		if err := p.server.Ack(ctx, name, "strange", e, 0); !errors.Is(err, pull.ErrEnded) {
			t.Errorf("an ack of a strange lease: %v", err)
		}
		for range 2 { // an ack can be repeated
			if err := p.server.Ack(ctx, name, b.Lease, e[:1], 0); err != nil {
				t.Error(err)
			}
		}
		delay := 10 * time.Second
		for range 2 { // a nack too
			err := p.server.Nack(ctx, name, b.Lease, e[1:2], pull.Nack{Delay: &delay, Reason: "later"})
			if err != nil {
				t.Error(err)
			}
		}
		// The nack has ended the lease for the later event of its key.
		if err := p.server.Ack(ctx, name, b.Lease, e[3:4], 0); !errors.Is(err, pull.ErrEnded) {
			t.Errorf("an ack of an event that is given back: %v", err)
		}
		if err := p.server.Nack(ctx, name, b.Lease, e[2:3], pull.Nack{Dead: true}); err != nil {
			t.Error(err)
		}
		for range 2 { // all open events
			if err := p.server.Ack(ctx, name, b.Lease, nil, e[4]); err != nil {
				t.Error(err)
			}
		}
		if i := w.info(); i.Dead != 1 || i.Waiting != 1 || i.Held != 1 || i.Leases != 0 {
			t.Errorf("%+v", i)
		}
		if b := p.pull(pull.Request{Wait: 9 * time.Second}); len(b.Events) > 0 {
			t.Errorf("too early: %v", ids(b))
		}
		b = p.pull(pull.Request{Wait: 2 * time.Second})
		if !slices.Equal(ids(b), e[1:2]) || b.Events[0].Attempt != 2 {
			t.Fatalf("%+v", b.Events)
		}
		if err := p.server.Ack(ctx, name, b.Lease, ids(b), 0); err != nil {
			t.Error(err)
		}
		if b := p.pull(pull.Request{}); !slices.Equal(ids(b), e[3:4]) || b.Events[0].Attempt != 1 {
			t.Errorf("%+v", b.Events)
		}
	})
}

// TestExtend: an extended lease ends later, and an ended one cannot be extended.
func TestExtend(t *testing.T) {
	one(t, hookgate.OrderKey, func(t *testing.T, w *world, p *process) {
		w.append("a")
		b := p.pull(pull.Request{Lease: 10 * time.Second})
		for range 5 {
			time.Sleep(9 * time.Second)
			until, err := p.server.Extend(t.Context(), name, b.Lease, 10*time.Second)
			if err != nil || !until.Equal(time.Now().Add(10*time.Second)) {
				t.Error(until, err)
			}
		}
		time.Sleep(10 * time.Second)
		_, err := p.server.Extend(t.Context(), name, b.Lease, time.Second)
		if !errors.Is(err, pull.ErrEnded) {
			t.Error(err)
		}
	})
}

// TestHalves: one event kills its client. The leases that have it get smaller, and only the lease
// with that event alone charges it. All others are settled.
func TestHalves(t *testing.T) {
	for _, key := range []string{"", "k%d"} {
		for _, order := range []hookgate.Order{hookgate.OrderKey, hookgate.OrderAll} {
			one(t, order, func(t *testing.T, w *world, p *process) {
				var all []int64
				for i := range 16 {
					all = append(all, w.append(strings.ReplaceAll(key, "%d", fmt.Sprint(i)))...)
				}
				poison := all[0]
				var sizes []int
				for range 40 {
					b := p.pull(pull.Request{Wait: 5 * time.Second, Lease: 10 * time.Second})
					if len(b.Events) == 0 {
						break
					}
					if b.Events[0].ID != poison {
						if err := p.server.Ack(t.Context(), name, b.Lease, ids(b), 0); err != nil {
							t.Error(err)
						}
						continue
					}
					sizes = append(sizes, len(b.Events))
					if b.Events[0].Attempt == 2 {
						break
					}
					time.Sleep(11 * time.Second)
				}
				if !slices.Equal(sizes, []int{16, 8, 4, 2, 1, 1}) {
					t.Errorf("%s: the leases had %v events", order, sizes)
				}
				time.Sleep(11 * time.Second)
				attempts, _ := w.store.Attempts(t.Context(), poison)
				if len(attempts) == 0 || !strings.Contains(attempts[0].Reason, "ended") {
					t.Errorf("%+v", attempts)
				}
			})
		}
	}
}

// TestCompete: 16 clients of two processes join, and are killed in turn while they work. Events of
// a key are settled in order, and all are settled.
func TestCompete(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, hookgate.OrderKey)
		w.define("pull")
		processes := []*process{w.start(time.Second), w.start(time.Second)}
		for i := range 3000 {
			w.append(fmt.Sprint("k", i%40))
		}
		var clients sync.WaitGroup
		ctx, stop := context.WithCancel(t.Context())
		for i := range 16 {
			clients.Go(func() {
				time.Sleep(time.Duration(i) * time.Second)
				for n := 1; ctx.Err() == nil; n++ {
					server := processes[(i+n)%2].server
					b, err := server.Pull(ctx, name, pull.Request{Max: 25, Wait: 10 * time.Second,
						Lease: 5 * time.Second})
					if err != nil {
						continue
					}
					w.received(b.Events)
					time.Sleep(100 * time.Millisecond)
					if n%16 == i { // killed
						time.Sleep(6 * time.Second)
					} else if len(b.Events) > 0 {
						if err := server.Ack(ctx, name, b.Lease, ids(b), 0); err != nil && ctx.Err() == nil {
							t.Error(err)
						}
					}
					b.Close()
				}
			})
		}
		time.Sleep(10 * time.Minute)
		stop()
		clients.Wait()
		for _, p := range processes {
			p.end()
		}
		w.mustSettle()
	})
}

// TestManyWait: 1,000 clients wait. The store is asked once a minute, and each of them gets an
// event when there are enough. They cost little memory.
func TestManyWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, hookgate.OrderKey)
		var mu sync.Mutex
		calls, got := 0, 0
		w.fail = func(string) (bool, error) {
			mu.Lock()
			defer mu.Unlock()
			calls++
			return false, nil
		}
		w.define("pull")
		p := w.start(0)
		var clients sync.WaitGroup
		var before, after runtime.MemStats
		goroutines := runtime.NumGoroutine()
		runtime.ReadMemStats(&before)
		for range 1000 {
			clients.Go(func() {
				b, err := p.server.Pull(t.Context(), name, pull.Request{Max: 1, Wait: time.Minute})
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				defer mu.Unlock()
				got += len(b.Events)
				b.Close()
			})
		}
		synctest.Wait()
		runtime.ReadMemStats(&after)
		if n := runtime.NumGoroutine() - goroutines; n > 1002 {
			t.Errorf("%d goroutines for 1,000 clients", n)
		}
		used := func(m *runtime.MemStats) int64 { return int64(m.HeapAlloc + m.StackInuse) }
		if n := used(&after) - used(&before); n > 32<<20 {
			t.Errorf("%d bytes for 1,000 clients", n)
		}
		calls = 0
		time.Sleep(50 * time.Second)
		if calls > 4 {
			t.Errorf("%d calls of the store in 50 s", calls)
		}
		for range 10 {
			w.append(slices.Repeat([]string{""}, 100)...)
			synctest.Wait()
		}
		clients.Wait()
		if got != 1000 {
			t.Errorf("%d events were received", got)
		}
		p.end()
	})
}

// TestSeek: a seek back ends the leases. Their events come again with a new redelivery number, and
// the old leases settle nothing.
func TestSeek(t *testing.T) {
	one(t, hookgate.OrderKey, func(t *testing.T, w *world, p *process) {
		e := w.append("a", "b", "a", "")
		b := p.pull(pull.Request{Max: 3})
		if err := w.seek(p, e[0]-1); err != nil {
			t.Fatal(err)
		}
		if err := p.server.Ack(t.Context(), name, b.Lease, ids(b), 0); !errors.Is(err, pull.ErrEnded) {
			t.Error(err)
		}
		b = p.pull(pull.Request{})
		if !slices.Equal(ids(b), e) || b.Events[0].Redelivery != 1 {
			t.Errorf("%+v", b.Events)
		}
	})
}

// TestUnknownOutcome: the commits of a pull and of an ack are done but reported as failed. Each is
// answered as if nothing had happened, and nothing is done twice.
func TestUnknownOutcome(t *testing.T) {
	for _, done := range []bool{true, false} {
		one(t, hookgate.OrderKey, func(t *testing.T, w *world, p *process) {
			e := w.append("a", "b", "")
			broken := true
			w.fail = func(op string) (bool, error) {
				if op == "Commit" && broken {
					broken = false
					return done, errAway
				}
				return false, nil
			}
			b := p.pull(pull.Request{Wait: time.Second})
			if !slices.Equal(ids(b), e) || w.info().Leases != 1 {
				t.Fatalf("%v; %+v", ids(b), w.info())
			}
			broken = true
			if err := p.server.Ack(t.Context(), name, b.Lease, e, 0); err != nil {
				t.Error(err)
			}
			w.mustSettle()
			attempts, err := w.store.Attempts(t.Context(), e[0])
			if len(attempts) != 1 || err != nil {
				t.Errorf("%+v (error %v)", attempts, err)
			}
		})
	}
}

// TestAway: the store is away. A pull waits for it as long as it may, and an ack fails at once.
func TestAway(t *testing.T) {
	one(t, hookgate.OrderKey, func(t *testing.T, w *world, p *process) {
		w.append("a")
		b := p.pull(pull.Request{})
		w.fail = func(string) (bool, error) { return false, errAway }
		p.server.Wake("")
		began := time.Now()
		if err := p.server.Ack(t.Context(), name, b.Lease, ids(b), 0); !errors.Is(err, errAway) ||
			time.Since(began) > 0 {
			t.Error(err, time.Since(began))
		}
		_, err := p.server.Pull(t.Context(), name, pull.Request{Wait: 10 * time.Second})
		if took := time.Since(began); !errors.Is(err, errAway) || took < 10*time.Second ||
			took > 11*time.Second {
			t.Error(err, took)
		}
		w.fail = nil
		if err := p.server.Ack(t.Context(), name, b.Lease, ids(b), 0); err != nil {
			t.Error(err)
		}
	})
}

// TestStates: a subscription that does not exist, does not pull, or is paused.
func TestStates(t *testing.T) {
	one(t, hookgate.OrderKey, func(t *testing.T, w *world, p *process) {
		ctx := t.Context()
		e := w.append("a", "b")
		b := p.pull(pull.Request{Max: 1})
		if _, err := p.server.Pull(ctx, "none", pull.Request{}); !errors.Is(err, hookgate.ErrNotFound) {
			t.Error(err)
		}
		if _, err := w.store.SetPaused(ctx, name, true, by); err != nil {
			t.Error(err)
		}
		p.server.Wake(name)
		if b := p.pull(pull.Request{Wait: time.Second}); len(b.Events) > 0 || b.Lease != "" {
			t.Errorf("paused: %+v", b)
		}
		if err := p.server.Ack(ctx, name, b.Lease, e[:1], 0); err != nil {
			t.Errorf("paused: %v", err)
		}
		w.define("push")
		if _, err := p.server.Pull(ctx, name, pull.Request{}); !errors.Is(err, pull.ErrNotPull) {
			p.server.Wake(name)
			if _, err := p.server.Pull(ctx, name, pull.Request{}); !errors.Is(err, pull.ErrNotPull) {
				t.Error(err)
			}
		}
	})
}

// TestGone: a client goes while it waits, or while its lease is stored. Nobody is charged, and the
// next client gets the event.
func TestGone(t *testing.T) {
	one(t, hookgate.OrderKey, func(t *testing.T, w *world, p *process) {
		ctx, cancel := context.WithCancel(t.Context())
		w.fail = func(op string) (bool, error) {
			if op == "Commit" {
				time.Sleep(time.Second)
			}
			return false, nil
		}
		ended := make(chan error)
		go func() {
			_, err := p.server.Pull(ctx, name, pull.Request{Wait: time.Minute})
			ended <- err
		}()
		time.Sleep(5 * time.Second)
		e := w.append("a")
		time.Sleep(500 * time.Millisecond) // the commit runs
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		b := p.pull(pull.Request{Wait: 5 * time.Second})
		if !slices.Equal(ids(b), e) || b.Events[0].Attempt != 1 {
			t.Errorf("%+v", b.Events)
		}
	})
}

// TestMemory: batches that are not closed bound what others get.
func TestMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, hookgate.OrderNone)
		w.define("pull")
		s := pull.New(pull.Config{Memory: 1000, Policy: func(string) (pull.Policy, error) {
			return w.policy, nil
		}}, w.store, w.store)
		for range 3 {
			w.store.Append(hookgate.Event{Identity: hookgate.Identity{Source: "s", EventType: "t"},
				Body: make([]byte, 600)})
		}
		r := pull.Request{Max: 1, MaxBytes: 600}
		first, err := s.Pull(t.Context(), name, r)
		if err != nil || len(first.Events) != 1 {
			t.Fatal(first, err)
		}
		if b, err := s.Pull(t.Context(), name, r); err != nil || len(b.Events) != 0 {
			t.Error(b, err)
		}
		r.Wait = time.Minute
		time.AfterFunc(time.Second, first.Close)
		began := time.Now()
		b, err := s.Pull(t.Context(), name, r)
		if err != nil || len(b.Events) != 1 || time.Since(began) != time.Second {
			t.Error(b, err, time.Since(began))
		}
		b.Close()
		b.Close()
	})
}

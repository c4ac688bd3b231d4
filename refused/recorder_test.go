package refused

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// table is a store in memory.
type table struct {
	requests []Request
	saves    int
	largest  int // number of requests in one call
	fails    bool
}

func (s *table) SaveRefused(_ context.Context, all []Request, _ time.Time) error {
	s.largest = max(s.largest, len(all))
	if s.saves++; s.fails {
		return errors.New("away")
	}
	s.requests = append(s.requests, all...)
	return nil
}

func (s *table) Refused(context.Context, Query) ([]Request, error) { return s.requests, nil }

// TestFlood: of a flood only a few are described and stored, in one transaction a second. The
// others are counted, none is missing from the sum, and another source has a budget of its own.
func TestFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &table{}
		r := NewRecorder(s, slog.New(slog.DiscardHandler))
		shop, bank := r.Source(), r.Source()
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { r.Run(ctx) })
		const seconds, rate = 60, 2000
		var described atomic.Int64
		for range seconds {
			var senders sync.WaitGroup
			for range 4 {
				senders.Go(func() {
					for range rate / 4 {
						shop.Keep(func() Request { described.Add(1); return Request{Source: "shop"} })
					}
				})
			}
			senders.Wait()
			time.Sleep(time.Second)
		}
		time.Sleep(2 * time.Second)
		shop.Keep(func() Request { return Request{Source: "shop"} })
		bank.Keep(func() Request { return Request{Source: "bank"} })
		cancel()
		running.Wait()
		kept, skipped := 0, int64(0)
		for _, one := range s.requests {
			kept++
			skipped += one.Skipped
		}
		if n := described.Load(); n > burst+seconds || n < burst {
			t.Errorf("%d requests were described", n)
		}
		if int64(kept)+skipped != seconds*rate+2 || s.saves > seconds+3 {
			t.Errorf("%d kept and %d skipped, of %d; %d transactions", kept, skipped, seconds*rate+2,
				s.saves)
		}
		if last := s.requests[kept-1]; last.Source != "bank" || last.Skipped != 0 {
			t.Errorf("the last one is %+v", last)
		}
	})
}

// TestQuiet: while no request is refused, old ones are still removed, once an hour.
func TestQuiet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &table{}
		ctx, cancel := context.WithTimeout(t.Context(), 150*time.Minute)
		defer cancel()
		NewRecorder(s, slog.New(slog.DiscardHandler)).Run(ctx)
		if s.saves != 3 { // at the start, and after one and two hours
			t.Errorf("%d transactions, want 3", s.saves)
		}
	})
}

// TestStoreAway: while the store is away a bounded number of requests waits, the newest of them.
func TestStoreAway(t *testing.T) {
	s := &table{fails: true}
	r := NewRecorder(s, slog.New(slog.DiscardHandler))
	n := 0
	for range 2 * maxPending / burst {
		b := r.Source()
		for range burst {
			b.Keep(func() Request { n++; return Request{Reason: strconv.Itoa(n)} })
		}
		if err := r.save(t.Context()); err == nil {
			t.Fatal("the store has failed, and save has not")
		}
	}
	s.fails = false
	if err := r.save(t.Context()); err != nil || len(s.requests) != maxPending ||
		s.requests[maxPending-1].Reason != strconv.Itoa(2*maxPending) {
		t.Errorf("%d requests are stored, error %v", len(s.requests), err)
	}
	if s.largest != perSave {
		t.Errorf("a transaction has %d requests, want %d at most", s.largest, perSave)
	}
}

// TestEndWithoutStore: a store that hangs holds up the end for two seconds, whether the save began
// before or after it.
func TestEndWithoutStore(t *testing.T) {
	for _, before := range []time.Duration{500 * time.Millisecond, saveEvery + time.Millisecond} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(before, cancel)
			r := NewRecorder(hanging{}, slog.New(slog.DiscardHandler))
			r.Source().Keep(func() Request { return Request{} })
			began := time.Now()
			r.Run(ctx)
			if took := time.Since(began) - before; took != endTimeout {
				t.Errorf("Run took %v after the end, want %v", took, endTimeout)
			}
		})
	}
}

// hanging is a store that never answers.
type hanging struct{ Store }

func (hanging) SaveRefused(ctx context.Context, _ []Request, _ time.Time) error {
	<-ctx.Done()
	return ctx.Err()
}

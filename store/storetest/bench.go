package storetest

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/hookgate/hookgate"
)

// BenchPartitions is the number of partitions of a benchmark's worker.
const BenchPartitions = 8

// AcquireBench acquires BenchPartitions partitions, starting with first.
func AcquireBench(b testing.TB, s hookgate.Store, first int) map[int]hookgate.Epoch {
	epochs := map[int]hookgate.Epoch{}
	for p := first; p < first+BenchPartitions; p++ {
		epoch, err := s.Acquire(b.Context(), p)
		if err != nil {
			b.Fatal(err)
		}
		epochs[p] = epoch
	}
	return epochs
}

// BenchBatch returns a batch of new events with bodies of 600 bytes and random message ids. It
// spreads them evenly over BenchPartitions partitions, starting with first.
func BenchBatch(size, first int, epochs map[int]hookgate.Epoch) *hookgate.Batch {
	b := &hookgate.Batch{Epochs: epochs, Worker: "gate/1", ProcessedAt: time.Now(), Attempts: 1}
	body := bytes.Repeat([]byte("x"), 600)
	for i := range size {
		r := Sample(first+i*BenchPartitions/size, i)
		r.ReceivedAt = time.Now()
		r.RequestID = hookgate.NewRequestID(r.ReceivedAt)
		r.MessageID = fmt.Sprintf("evt-%016x%016x", rand.Uint64(), rand.Uint64())
		r.Body, r.Headers = body, nil
		b.Records = append(b.Records, r)
	}
	return b
}

// BenchmarkBatches times apply on batches of BenchBatch. It does not time the creation of the
// batches.
func BenchmarkBatches(b *testing.B, size int, epochs map[int]hookgate.Epoch,
	apply func(*hookgate.Batch) error) {
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		b.StopTimer()
		batch := BenchBatch(size, 0, epochs)
		b.StartTimer()
		if err := apply(batch); err != nil {
			b.Fatal(err)
		}
		n += size
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "events/s")
}

// BenchmarkApply measures Apply with batches of the given size.
func BenchmarkApply(b *testing.B, s hookgate.Store, size int) {
	BenchmarkBatches(b, size, AcquireBench(b, s, 0), func(batch *hookgate.Batch) error {
		_, err := s.Apply(b.Context(), batch)
		return err
	})
}

// BenchmarkPruning measures how removal slows down Apply. The store has 200,000 events that are all
// old enough. The benchmark applies small batches at a steady pace, a few seconds without removal
// and a few seconds with it, in turn, so that both run on the same machine under the same load. It
// reports the quantiles of the latency in both cases, in ms.
func BenchmarkPruning(b *testing.B, s hookgate.Store, prune func(context.Context)) {
	const stored, size, pace, turn = 200_000, 20, 10 * time.Millisecond, 2 * time.Second
	ctx := b.Context()
	epoch, err := s.Acquire(ctx, 0)
	if err != nil {
		b.Fatal(err)
	}
	n := 0
	apply := func(size int) time.Duration {
		batch := &hookgate.Batch{Epochs: map[int]hookgate.Epoch{0: epoch}, Worker: "w",
			ProcessedAt: time.Now(), Attempts: 1}
		for range size {
			r := Sample(0, n)
			// random places in the index
			r.MessageID = hookgate.NewRequestID(time.Unix(0, 0)).String()[20:]
			r.Body = append(make([]byte, 500), r.Body...)
			batch.Records = append(batch.Records, r)
			n++
		}
		start := time.Now()
		if _, err := s.Apply(ctx, batch); err != nil {
			b.Fatal(err)
		}
		return time.Since(start)
	}
	for n < stored {
		apply(1000)
	}
	took := map[bool][]time.Duration{}
	ticks := time.NewTicker(pace)
	defer ticks.Stop()
	for b.Loop() {
		for _, pruning := range []bool{false, true} {
			ctx, cancel := context.WithTimeout(ctx, turn)
			done := make(chan struct{})
			go func() {
				defer close(done)
				if pruning {
					prune(ctx)
				}
			}()
			for ctx.Err() == nil {
				<-ticks.C
				took[pruning] = append(took[pruning], apply(size))
			}
			cancel()
			<-done
		}
	}
	for name, pruning := range map[string]bool{"alone": false, "pruning": true} {
		all := took[pruning]
		slices.Sort(all)
		for _, q := range []struct {
			unit string
			rank float64
		}{{"p50-ms", 0.5}, {"p99-ms", 0.99}} {
			b.ReportMetric(float64(all[int(float64(len(all)-1)*q.rank)].Microseconds())/1000, name+"-"+
				q.unit)
		}
	}
}

// Removals counts the work of retention during BenchmarkPruning.
type Removals struct {
	events int64
	took   time.Duration
}

// Pruned implements retention.Metrics.
func (r *Removals) Pruned(p hookgate.Pruned, took time.Duration) {
	r.events += p.Events
	r.took += took
}

// PruneFailed implements retention.Metrics.
func (r *Removals) PruneFailed() {}

// Report reports how many events retention removes in a second of its own time.
func (r *Removals) Report(b *testing.B) {
	b.ReportMetric(float64(r.events)/r.took.Seconds(), "removed/s-of-steps")
}

// BenchmarkReading measures a listing of 30,000 events, one page of a search, one event, a trace,
// and verify, which audits the store.
func BenchmarkReading(b *testing.B, s hookgate.Store, r hookgate.Reader, verify func() error) {
	const stored, size = 30_000, 1000
	epochs := AcquireBench(b, s, 0)
	for range stored / size {
		if _, err := s.Apply(b.Context(), BenchBatch(size, 0, epochs)); err != nil {
			b.Fatal(err)
		}
	}
	var one hookgate.StoredEvent
	list := func(f hookgate.EventFilter) (n int) {
		for e, err := range r.Events(b.Context(), f) {
			if err != nil {
				b.Fatal(err)
			}
			one = e
			n++
		}
		return n
	}
	b.Run("listing", func(b *testing.B) {
		for b.Loop() {
			if n := list(hookgate.EventFilter{}); n != stored {
				b.Fatalf("listed %d events, want %d", n, stored)
			}
		}
	})
	b.Run("search", func(b *testing.B) {
		q := hookgate.EventSearch{EventFilter: hookgate.EventFilter{EventType: one.EventType, Limit: 100}}
		for b.Loop() {
			if _, err := r.Search(b.Context(), q); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("event", func(b *testing.B) {
		for b.Loop() {
			if _, err := r.Event(b.Context(), one.ID); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("trace", func(b *testing.B) {
		for b.Loop() {
			if all, err := r.Trace(b.Context(), one.MessageID, hookgate.RequestID{}, 10); err != nil ||
				len(all) != 1 {
				b.Fatalf("trace has %d requests (error %v), want 1", len(all), err)
			}
		}
	})
	b.Run("verify", func(b *testing.B) {
		for b.Loop() {
			if err := verify(); err != nil {
				b.Fatal(err)
			}
		}
	})
}

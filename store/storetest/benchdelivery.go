package storetest

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hookgate/hookgate"
)

// BenchmarkDelivery measures what delivery asks of a store: results of 32 deliveries saved, alone
// and beside appends of 25 events; pages of the log; and one key drained from a log of 30,000
// events.
func BenchmarkDelivery(b *testing.B, s hookgate.Store, log hookgate.Log,
	subs hookgate.Subscriptions) {
	const stored, size, ofKey, saved = 30_000, 1000, 3000, 32
	ctx := b.Context()
	var keyed int64
	for n := range stored / size {
		batch := BenchBatch(size, 0, nil)
		for i := range batch.Records {
			r := &batch.Records[i]
			r.Keyed = true
			if (n*size+i)%(stored/ofKey) == 0 {
				r.OrderingKey = "drained"
				keyed++
			}
		}
		if _, err := s.Apply(ctx, batch); err != nil {
			b.Fatal(err)
		}
	}
	end, err := log.ReadLog(ctx, hookgate.LogQuery{Max: 1, MaxBytes: 1})
	if err != nil || len(end.Events) != 1 {
		b.Fatalf("the log begins with %+v, error %v", end, err)
	}
	revisions, err := subs.Define(ctx, []hookgate.SubscriptionDefinition{{Name: "bench",
		Start: hookgate.Start{At: hookgate.StartBeginning}, Order: hookgate.OrderKey,
		Definition: "{}"}}, true)
	if err != nil {
		b.Fatal(err)
	}
	state, err := subs.Acquire(ctx, "bench", "owner", time.Hour, revisions[0])
	if err != nil {
		b.Fatal(err)
	}
	next := int64(1)
	save := func() {
		r := &hookgate.Results{Attempts: make([]hookgate.Attempt, saved)}
		for i := range r.Attempts {
			r.Attempts[i] = hookgate.Attempt{Event: next, Number: 1, Outcome: hookgate.AttemptDelivered,
				Status: 200, At: time.Now(), Took: 5 * time.Millisecond}
			next++
		}
		r.Cursor = next - 1
		if _, err := subs.Save(ctx, "bench", state.Epoch, r); err != nil {
			b.Fatal(err)
		}
	}
	b.Run("save", func(b *testing.B) {
		n := 0
		for b.Loop() {
			save()
			n += saved
		}
		b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "deliveries/s")
	})
	b.Run("save-beside-apply", func(b *testing.B) { benchBeside(b, s, save, saved) })
	b.Run("page", func(b *testing.B) {
		n, after := 0, int64(0)
		for b.Loop() {
			page, err := log.ReadLog(ctx, hookgate.LogQuery{After: after, Max: 256, MaxBytes: 1 << 20})
			if err != nil {
				b.Fatal(err)
			}
			n += len(page.Events)
			if after = page.Next; !page.More {
				after = 0
			}
		}
		b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "events/s")
	})
	b.Run("key", func(b *testing.B) {
		n, pages := int64(0), 0
		for b.Loop() {
			n = 0
			for after, more := int64(0), true; more; pages++ {
				page, err := log.ReadLog(ctx, hookgate.LogQuery{After: after, Max: 64, MaxBytes: 1 << 20,
					OrderingKey: "drained"})
				if err != nil {
					b.Fatal(err)
				}
				n += int64(len(page.Events))
				after, more = page.Next, page.More
			}
			if n != keyed {
				b.Fatalf("the key has %d events, want %d", n, keyed)
			}
		}
		b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "events/s")
		b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(pages), "µs/page")
	})
}

// benchBeside measures the latency of appends without and with saves, in turn, and the rate of
// saves beside them. The appends come at a steady pace of 2,000 events a second.
func benchBeside(b *testing.B, s hookgate.Store, save func(), saved int) {
	const size, pace, turn = 25, 12500 * time.Microsecond, time.Second
	took := map[bool][]time.Duration{}
	saves := 0
	ticks := time.NewTicker(pace)
	defer ticks.Stop()
	var saving time.Duration
	for b.Loop() {
		for _, beside := range []bool{false, true} {
			ctx, cancel := context.WithTimeout(b.Context(), turn)
			var all sync.WaitGroup
			if beside {
				all.Go(func() {
					for ctx.Err() == nil {
						save()
						saves++
					}
				})
			}
			start := time.Now()
			for ctx.Err() == nil {
				batch := BenchBatch(size, 0, nil)
				<-ticks.C
				begun := time.Now()
				if _, err := s.Apply(b.Context(), batch); err != nil {
					b.Fatal(err)
				}
				took[beside] = append(took[beside], time.Since(begun))
			}
			cancel()
			all.Wait()
			if beside {
				saving += time.Since(start)
			}
		}
	}
	b.ReportMetric(float64(saves*saved)/saving.Seconds(), "deliveries/s")
	for beside, name := range map[bool]string{false: "alone", true: "beside"} {
		all := took[beside]
		slices.Sort(all)
		b.ReportMetric(float64(all[len(all)/2].Microseconds())/1000, "append-"+name+"-p50-ms")
		b.ReportMetric(float64(all[len(all)*95/100].Microseconds())/1000, "append-"+name+"-p95-ms")
	}
}

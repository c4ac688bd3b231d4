package queuetest

import (
	"context"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hookgate/hookgate"
)

// benchGroup is the number of requests in one step of a benchmark.
const benchGroup = 1000

// benchRequests returns requests like those of real senders: bodies of 600 bytes, random message
// ids, 100 ordering keys.
func benchRequests(rng *rand.Rand, n int) []*hookgate.Request {
	all := make([]*hookgate.Request, n)
	body := make([]byte, 600)
	for i := range all {
		now := time.Now()
		var id [16]byte
		for j := range id {
			id[j] = byte(rng.Uint32())
		}
		all[i] = &hookgate.Request{
			RequestID: hookgate.NewRequestID(now), Identity: hookgate.Identity{Source: "default",
				EventType: "order.paid", MessageID: "evt-" + hex.EncodeToString(id[:])},
			OrderingKey: fmt.Sprint("customer-", rng.IntN(100)), Sequence: int64(i), Body: body,
			RemoteAddr: "127.0.0.1:4711", ReceivedAt: now,
		}
	}
	return all
}

// BenchmarkAppend measures durable appends of 1,000 requests by a number of callers. A reader
// releases the records at once, so claims and removals are part of the cost. It returns the number
// of appends.
func BenchmarkAppend(b *testing.B, q hookgate.BufferedQueue, callers int) (appended int) {
	ctx, cancel := context.WithCancel(context.Background())
	var reading sync.WaitGroup
	reading.Go(func() { release(ctx, b, q) })
	defer reading.Wait()
	defer cancel()
	rng := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 0))
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		group := benchRequests(rng, benchGroup)
		b.StartTimer()
		appendGroup(b, q, group, callers)
		appended += len(group)
	}
	reportEach(b, appended)
	return appended
}

// BenchmarkRead measures Next and Commit of 1,000 queued records in batches of 500. It returns the
// number of records.
func BenchmarkRead(b *testing.B, q hookgate.BufferedQueue) (read int) {
	ctx := context.Background()
	c, err := q.OpenReader(ctx)
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	rng := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 0))
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		appendGroup(b, q, benchRequests(rng, benchGroup), 50)
		b.StartTimer()
		for n := 0; n < benchGroup; {
			records, err := c.Next(ctx, 500, 8<<20)
			if err != nil {
				b.Fatal(err)
			}
			if err := c.Commit(ctx, hookgate.LastOffsets(records)); err != nil {
				b.Fatal(err)
			}
			n += len(records)
		}
		read += benchGroup
	}
	reportEach(b, read)
	return read
}

// BenchmarkAppendAlone measures durable appends of 1,000 requests by a number of callers, without a
// reader. It returns the number of appends.
func BenchmarkAppendAlone(b *testing.B, q hookgate.Queue, callers int) (appended int) {
	rng := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 0))
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		group := benchRequests(rng, benchGroup)
		b.StartTimer()
		appendGroup(b, q, group, callers)
		appended += len(group)
	}
	reportEach(b, appended)
	return appended
}

// BenchmarkPaced measures the latency of appends at a constant rate per second. The time counts
// from the moment when the append was due. Metrics are quantiles in ms.
func BenchmarkPaced(b *testing.B, q hookgate.Queue, rate int) {
	rng := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 0))
	var mu sync.Mutex
	var took []time.Duration
	var all sync.WaitGroup
	for b.Loop() { // a second each
		group := benchRequests(rng, rate)
		start := time.Now()
		for i, d := range group {
			due := start.Add(time.Duration(i) * time.Second / time.Duration(rate))
			time.Sleep(time.Until(due))
			all.Go(func() {
				_, err := q.Append(context.Background(), d)
				mu.Lock()
				defer mu.Unlock()
				if took = append(took, time.Since(due)); err != nil {
					b.Error(err)
				}
			})
		}
		time.Sleep(time.Until(start.Add(time.Second)))
	}
	all.Wait()
	slices.Sort(took)
	for _, q := range []int{50, 95, 99} {
		b.ReportMetric(float64(took[len(took)*q/100].Microseconds())/1000, fmt.Sprintf("p%d-ms", q))
	}
}

// reportEach reports the time for each of n requests.
func reportEach(b *testing.B, n int) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/event")
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "events/s")
}

func appendGroup(b *testing.B, q hookgate.Queue, group []*hookgate.Request, callers int) {
	var all sync.WaitGroup
	for i := range callers {
		all.Go(func() {
			for n := i; n < len(group); n += callers {
				if _, err := q.Append(context.Background(), group[n]); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
}

// release reads and releases until ctx ends.
func release(ctx context.Context, b *testing.B, q hookgate.BufferedQueue) {
	c, err := q.OpenReader(ctx)
	if err != nil {
		b.Error(err)
		return
	}
	defer c.Close()
	for {
		records, err := c.Next(ctx, 500, 8<<20)
		if err == nil {
			err = c.Commit(ctx, hookgate.LastOffsets(records))
		}
		if err != nil {
			if ctx.Err() == nil {
				b.Error(err)
			}
			return
		}
	}
}

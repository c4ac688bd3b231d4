package deliver_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/deliver"
	"github.com/hookgate/hookgate/deliver/push"
	"github.com/hookgate/hookgate/store/sqlite"
)

// sink is a bare server that reads and counts.
type sink struct {
	*httptest.Server
	received atomic.Int64
	all      chan struct{}
	want     int64
}

func newSink(b *testing.B, want int) *sink {
	s := &sink{all: make(chan struct{}), want: int64(want)}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		if s.received.Add(1) == s.want {
			close(s.all)
		}
	}))
	b.Cleanup(s.Close)
	return s
}

// fill stores n events of 600 bytes, of so many keys; 0 keys: no event has one.
func fill(b *testing.B, s hookgate.Store, n, keys int) {
	body := bytes.Repeat([]byte("x"), 600)
	for from := 0; from < n; from += 500 {
		batch := &hookgate.Batch{Worker: "bench", ProcessedAt: time.Now(), Attempts: 1}
		for i := from; i < min(n, from+500); i++ {
			r := hookgate.Request{RequestID: hookgate.NewRequestID(time.Now()), Identity: hookgate.Identity{
				Source: "s", EventType: "t", MessageID: fmt.Sprint(i)}, OrderingKey: "t",
				Sequence: hookgate.NoSequence, Body: body, ReceivedAt: time.Now(),
				Headers: []hookgate.Header{{Name: "Content-Type", Value: "application/json"}}}
			if keys > 0 {
				r.OrderingKey, r.Keyed = fmt.Sprint("key", i%keys), true
			}
			batch.Records = append(batch.Records, hookgate.Record{Request: r})
		}
		if _, err := s.Apply(context.Background(), batch); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkBacklog pushes a backlog to a bare server, and compares that with a loop that posts the
// same bodies over as many connections.
func BenchmarkBacklog(b *testing.B) {
	const connections = 32
	plain := func(b *testing.B, n int) time.Duration {
		s := newSink(b, n)
		body := bytes.Repeat([]byte("x"), 600)
		client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: connections}}
		var next atomic.Int64
		start := time.Now()
		var all sync.WaitGroup
		for range connections {
			all.Go(func() {
				for next.Add(1) <= int64(n) {
					resp, err := client.Post(s.URL, "application/json", bytes.NewReader(body))
					if err != nil {
						b.Error(err)
						return
					}
					io.Copy(io.Discard, resp.Body)
					resp.Body.Close()
				}
			})
		}
		all.Wait()
		return time.Since(start)
	}
	for _, keys := range []int{0, 1000, 1} {
		b.Run(fmt.Sprintf("keys=%d", keys), func(b *testing.B) {
			n := 20_000
			if keys == 1 {
				n = 5000
			}
			for b.Loop() {
				s, err := sqlite.Open(b.Context(), filepath.Join(b.TempDir(), "store.db"))
				if err != nil {
					b.Fatal(err)
				}
				fill(b, s, n, keys)
				to := newSink(b, n)
				consumer, err := push.New(push.Config{Name: "billing", URL: to.URL, Concurrency: connections,
					Signing: []string{"raw:secret-secret-secret-secret"}})
				if err != nil {
					b.Fatal(err)
				}
				d := deliver.New(deliver.Config{Owner: "a", Subscriptions: []deliver.Subscription{{
					Definition: hookgate.SubscriptionDefinition{Name: "billing", Order: hookgate.OrderKey,
						Start: hookgate.Start{At: hookgate.StartBeginning}, Definition: "{}"},
					Consumer: consumer, Concurrency: connections,
					Retry: deliver.Retry{First: time.Second, Max: time.Minute, For: time.Hour}}}},
					s, s.Subscriptions())
				if err := d.Define(b.Context()); err != nil {
					b.Fatal(err)
				}
				ctx, stop := context.WithCancel(b.Context())
				var running sync.WaitGroup
				start := time.Now()
				running.Go(func() { d.Run(ctx) })
				<-to.all
				took := time.Since(start)
				stop()
				running.Wait()
				s.Close()
				loop := plain(b, n)
				b.ReportMetric(float64(n)/took.Seconds(), "delivered/s")
				b.ReportMetric(float64(n)/loop.Seconds(), "posted/s")
				b.ReportMetric(loop.Seconds()/took.Seconds(), "of_loop")
			}
		})
	}
}

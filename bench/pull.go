package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/hookgate/hookgate/api"
)

// Targets of pull.
const (
	targetPulled    = 20_000 // events/s of a backlog, in batches of pullBatch
	targetPullP50   = 5      // ms of a pull with a large backlog, at most
	targetAnswerP50 = 10     // ms from receipt to the answer of a pull that waits, at most
	targetWaiting   = 0.01   // processors that pullers use while nothing happens, at most
)

// pullBatch is the number of events that a client pulls at a time, and pullers are the numbers of
// clients.
const pullBatch = 500

var pullers = []int{1, 2, 4}

// pullClient returns a client of a server that keeps n connections.
func pullClient(url string, n int) (c *api.Client, closed func()) {
	transport := &http.Transport{MaxIdleConns: n, MaxIdleConnsPerHost: n}
	return &api.Client{URL: url, Token: adminToken, HTTP: &http.Client{Transport: transport}},
		transport.CloseIdleConnections
}

// pulling is what clients do: they pull and acknowledge until they have n events.
type pulling struct {
	url, name string
	clients   int
	request   api.PullRequest
	n         int
	// each, if set, sees each batch before it is acknowledged. Clients call it concurrently.
	each func(*api.Pulled)
}

// pulled is the outcome.
type pulled struct {
	events int
	took   time.Duration
	pulls  *hdrhistogram.Histogram // of those with events, in microseconds
}

func (p *pulled) perSecond() float64 { return float64(p.events) / p.took.Seconds() }

// run pulls.
func (p *pulling) run(ctx context.Context) (result pulled, err error) {
	client, closed := pullClient(p.url, p.clients)
	defer closed()
	ctx, cancel := context.WithTimeoutCause(ctx, deliverTimeout, errors.New("not all were pulled"))
	defer cancel()
	var count atomic.Int64
	var mu sync.Mutex // guards result.pulls and errs
	var errs []error
	result.pulls = newHistogram()
	began := time.Now()
	one := func() error {
		asked := time.Now()
		batch, err := client.Pull(ctx, p.name, p.request)
		if err != nil || len(batch.Events) == 0 {
			return err
		}
		if p.each != nil {
			p.each(&batch)
		}
		mu.Lock()
		result.pulls.RecordValue(time.Since(asked).Microseconds())
		mu.Unlock()
		last := batch.Events[len(batch.Events)-1].ID
		err = client.Ack(ctx, p.name, api.AckRequest{Lease: batch.Lease, UpTo: last})
		count.Add(int64(len(batch.Events)))
		return err
	}
	var all sync.WaitGroup
	for range p.clients {
		all.Go(func() {
			for count.Load() < int64(p.n) && ctx.Err() == nil {
				if err := one(); err != nil {
					mu.Lock()
					errs = append(errs, err)
					mu.Unlock()
					cancel()
				}
			}
		})
	}
	all.Wait()
	result.events, result.took = int(count.Load()), time.Since(began)
	if len(errs) > 0 {
		return result, errs[0]
	}
	return result, context.Cause(ctx)
}

// quantile returns a quantile of a histogram in milliseconds.
func quantile(h *hdrhistogram.Histogram, q float64) float64 {
	return float64(h.ValueAtQuantile(q)) / 1000
}

// settled fails unless every event of a pull subscription was pulled once and acknowledged.
func (s *server) settled(ctx context.Context, name string, result *pulled, n int) error {
	var at struct {
		Cursor, End                   string
		Waiting, Parked, Held, Leased int
	}
	err := s.getJSON(ctx, "/api/subscriptions/"+name, &at)
	if err == nil && (result.events != n || at.Cursor != at.End || at.Waiting+at.Parked+at.Held+
		at.Leased > 0) {
		err = fmt.Errorf("%s: %d of %d events were acknowledged, and %+v is left", name, result.events,
			n, at)
	}
	return err
}

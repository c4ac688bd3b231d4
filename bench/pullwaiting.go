package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/hookgate/hookgate/api"
)

// waitRequest is the pull of a client that waits for events. Its wait is longer than the
// measurement of clients that wait in vain.
var waitRequest = api.PullRequest{Wait: api.Duration(time.Minute)}

// answersPart sends webhooks at pacedRate to a gate without a subscription, and to one from which
// clients pull.
func answersPart(ctx context.Context, b *deliveryBench) (func(int) error, func(), error) {
	return func(round int) error {
		if err := b.paced(ctx, "pull-latency", withoutDelivery, nil, "", round); err != nil {
			return err
		}
		for _, clients := range []int{1, 4} {
			if err := b.answers(ctx, pullingClients(clients), clients, round); err != nil {
				return err
			}
		}
		return nil
	}, nil, nil
}

func pullingClients(n int) string { return fmt.Sprintf("%d pulling", n) }

// answers measures the time from the receipt of an event to the answer of the pull that has it.
func (b *deliveryBench) answers(ctx context.Context, column string, clients, round int) error {
	c, err := b.candidate(column, subscriber{name: "billing", start: "now"})
	if err != nil {
		return err
	}
	st, err := c.profiled(b.s, "pull-latency-"+column, round).start(ctx)
	if err != nil {
		return err
	}
	defer st.stop()
	end, err := st.servers[0].profile(ctx)
	if err != nil {
		return err
	}
	var mu sync.Mutex // guards latency and batches
	latency, batches := newHistogram(), 0
	p := pulling{url: st.servers[0].url, name: "billing", clients: clients, request: pullRequest,
		n: b.s.Paced, each: func(batch *api.Pulled) {
			now := time.Now()
			mu.Lock()
			defer mu.Unlock()
			batches++
			for i := range batch.Events {
				latency.RecordValue(now.Sub(batch.Events[i].ReceivedAt.Time).Microseconds())
			}
		}}
	got := make(chan error, 1)
	go func() {
		_, err := p.run(ctx)
		got <- err
	}()
	if err := b.pace(ctx, "pull-latency", column, st, round); err != nil {
		return err
	}
	if err := <-got; err != nil {
		return err
	}
	for _, q := range []float64{50, 95, 99} {
		b.add("pull-latency", column, fmt.Sprintf("receipt to answer, P%g ms", q), "ms",
			quantile(latency, q))
	}
	b.add("pull-latency", column, "events/batch", "", float64(b.s.Paced)/float64(batches))
	return end()
}

func judgeAnswers(b *deliveryBench) {
	for _, clients := range []int{1, 4} {
		column := pullingClients(clients)
		b.d.atMost(fmt.Sprintf("receipt to the answer of a pull at 500/s, %s, P50 ms", column),
			b.value("pull-latency", column, "receipt to answer, P50 ms"), targetAnswerP50)
		b.d.atMost(fmt.Sprintf("P95 of the 202, %s, over without", column), b.ratio("pull-latency",
			column, withoutDelivery, answeredP95), targetAccepted)
	}
}

// waiters is the number of clients that wait in vain, and waitTime how long they are watched.
const waiters, waitTime = 1000, 10 * time.Second

const processorsIdle, processorsWaiting = "processors without clients", "processors, 1,000 wait"

// waitPart lets clients wait for events that do not come.
func waitPart(ctx context.Context, b *deliveryBench) (func(int) error, func(), error) {
	return func(round int) error {
		for _, shared := range []*backendOptions{nil, postgresAlone} {
			if err := b.waitInVain(ctx, shared, round); err != nil {
				return err
			}
		}
		return nil
	}, nil, nil
}

func waitColumn(shared *backendOptions) string {
	if shared == nil {
		return "embedded"
	}
	return "postgres"
}

func (b *deliveryBench) waitInVain(ctx context.Context, shared *backendOptions, round int) error {
	column := waitColumn(shared)
	c, err := b.candidate(column, subscriber{name: "billing", start: "now"})
	if err != nil {
		return err
	}
	c.shared = shared
	st, err := c.start(ctx)
	if err != nil {
		return err
	}
	defer st.stop()
	gate := st.servers[0]
	if err := waitUntil(ctx, func() (bool, error) { return gate.ready(ctx) }); err != nil {
		return err
	}
	idle, err := b.processors(ctx, st)
	if err != nil {
		return err
	}
	before, err := gate.memory("VmRSS")
	if err != nil {
		return err
	}
	client, closed := pullClient(gate.url, waiters)
	defer closed()
	waiting, cancel := context.WithCancel(ctx)
	var all sync.WaitGroup
	defer all.Wait()
	defer cancel()
	for range waiters {
		all.Go(func() { client.Pull(waiting, "billing", waitRequest) }) // it is cut off
	}
	used, err := b.processors(ctx, st)
	if err != nil {
		return err
	}
	after, err := gate.memory("VmRSS")
	b.add("pull-waiting", column, processorsIdle, "processors", idle)
	b.add("pull-waiting", column, processorsWaiting, "processors", used)
	b.add("pull-waiting", column, "KiB for each", "KiB", (after-before)*1024/waiters)
	return err
}

// processors returns how many processors the gate and its PostgreSQL use while nothing happens. It
// first gives them time to finish what they do.
func (b *deliveryBench) processors(ctx context.Context, st *stand) (float64, error) {
	var readings [2]usage
	for i, pause := range []time.Duration{3 * time.Second, waitTime} {
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-time.After(pause):
		}
		var err error
		if readings[i], err = usageOf(st); err != nil {
			return 0, err
		}
	}
	used := readings[1]["server"] - readings[0]["server"] + readings[1]["postgres"] -
		readings[0]["postgres"]
	return used.Seconds() / waitTime.Seconds(), nil
}

func judgeWait(b *deliveryBench) {
	for _, shared := range []*backendOptions{nil, postgresAlone} {
		column := waitColumn(shared)
		b.d.atMost(fmt.Sprintf("1,000 clients that wait, %s: processors beyond none", column),
			b.value("pull-waiting", column, processorsWaiting)-b.value("pull-waiting", column,
				processorsIdle), targetWaiting)
	}
}

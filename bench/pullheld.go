package main

import (
	"context"
	"fmt"
	"time"

	"github.com/hookgate/hookgate/api"
)

// heldShapes are the stores with held events. A client fails the first event of each key, and all
// later ones stand behind it.
func (b *deliveryBench) heldShapes() []heldShape {
	// With 100,000 exceptions a subscription passes no new event.
	many := min(b.s.Events/10, 99_000)
	return []heldShape{
		{"one key", b.s.Events, 1},
		{"many keys", 2 * many, many},
	}
}

type heldShape struct {
	name         string
	events, keys int
}

const passedRate = "passed/s"

// heldPart measures the memory for held events.
func heldPart(ctx context.Context, b *deliveryBench) (func(int) error, func(), error) {
	return func(round int) error {
		for _, shape := range b.heldShapes() {
			if err := b.heldEvents(ctx, shape, round); err != nil {
				return fmt.Errorf("%s: %w", shape.name, err)
			}
		}
		return nil
	}, nil, nil
}

func (b *deliveryBench) heldEvents(ctx context.Context, shape heldShape, round int) error {
	st, err := b.fill(ctx, shape.events, shape.keys, nil)
	if err != nil {
		return err
	}
	idle, err := b.idleMemory(ctx, st)
	if err != nil {
		return err
	}
	name := fmt.Sprintf("held%d", round)
	c, err := b.candidate(shape.name, subscriber{name: name, start: "beginning"})
	if err != nil {
		return err
	}
	if err := c.profiled(b.s, "pull-held-"+shape.name, round).serve(ctx, st); err != nil {
		return err
	}
	defer st.rest()
	gate := st.servers[0]
	end, err := gate.profile(ctx)
	if err != nil {
		return err
	}
	client, closed := pullClient(gate.url, 1)
	defer closed()
	began := time.Now()
	for failed := 0; failed < shape.keys; {
		batch, err := client.Pull(ctx, name, api.PullRequest{Max: min(1000, shape.keys-failed)})
		if err != nil {
			return err
		}
		nack := api.NackRequest{Lease: batch.Lease, Delay: new(api.Duration(24 * time.Hour))}
		for i := range batch.Events {
			nack.IDs = append(nack.IDs, batch.Events[i].ID)
		}
		if len(nack.IDs) == 0 {
			return fmt.Errorf("only %d of %d keys had an event", failed, shape.keys)
		}
		if err := client.Nack(ctx, name, nack); err != nil {
			return err
		}
		failed += len(nack.IDs)
	}
	// Pulls pass what nobody can get now.
	passing, cancel := context.WithTimeout(ctx, deliverTimeout)
	defer cancel()
	if err := waitUntil(passing, func() (bool, error) {
		batch, err := client.Pull(passing, name, api.PullRequest{Wait: api.Duration(11 * time.Second)})
		if err != nil || len(batch.Events) > 0 {
			return false, fmt.Errorf("pulled %d events of held keys: %w", len(batch.Events), err)
		}
		var at struct {
			Cursor, End   string
			Waiting, Held int
		}
		err = gate.getJSON(passing, "/api/subscriptions/"+name, &at)
		return at.Cursor == at.End && at.Waiting == shape.keys && at.Held == shape.keys, err
	}); err != nil {
		return err
	}
	took := time.Since(began)
	if err := end(); err != nil {
		return err
	}
	peak, err := gate.memory("VmHWM")
	b.add("pull-held", shape.name, passedRate, eventsPerSecond, float64(shape.events)/took.Seconds())
	b.add("pull-held", shape.name, memoryIdle, "MiB", idle)
	b.add("pull-held", shape.name, memoryHeld, "MiB", peak)
	b.add("pull-held", shape.name, memoryMore, "MiB", peak-idle)
	return err
}

func judgeHeld(b *deliveryBench) {
	for _, shape := range b.heldShapes() {
		b.d.atMost(fmt.Sprintf("%s events, %s held: memory beyond that without a subscription, MiB",
			number(float64(shape.events)), shape.name), b.value("pull-held", shape.name, memoryMore),
			targetMoreMiB)
	}
}

// sizesPart measures single pulls with a large backlog and with a small one.
func sizesPart(ctx context.Context, b *deliveryBench) (func(int) error, func(), error) {
	return func(round int) error {
		for _, v := range []struct {
			column string
			events int
		}{{smallBacklog, b.s.Backlog}, {manyEvents, b.s.Events}} {
			st, err := b.fill(ctx, v.events, 1000, nil)
			if err != nil {
				return err
			}
			if err := b.singlePulls(ctx, st, v.column, round); err != nil {
				return err
			}
		}
		return nil
	}, nil, nil
}

const smallBacklog = "small backlog"

// singlePulls pulls a few hundred times 100 events, one client alone.
func (b *deliveryBench) singlePulls(ctx context.Context, st *stand, column string,
	round int) error {
	name := fmt.Sprintf("single%d", round)
	c, err := b.candidate(column, subscriber{name: name, start: "beginning"})
	if err != nil {
		return err
	}
	if err := c.serve(ctx, st); err != nil {
		return err
	}
	defer st.rest()
	gate := st.servers[0]
	if err := waitUntil(ctx, func() (bool, error) { return gate.ready(ctx) }); err != nil {
		return err
	}
	p := pulling{url: gate.url, name: name, clients: 1, n: min(b.s.Backlog, 30_000)}
	got, err := p.run(ctx)
	if err != nil {
		return err
	}
	for _, q := range []float64{50, 95} {
		b.add("pull-size", column, fmt.Sprintf("pull, P%g ms", q), "ms", quantile(got.pulls, q))
	}
	peak, err := gate.memory("VmHWM")
	b.add("pull-size", column, "peak memory, MiB", "MiB", peak)
	return err
}

func judgeSizes(b *deliveryBench) {
	b.d.atMost(fmt.Sprintf("backlog of %s events: a pull of 100, P50 ms",
		number(float64(b.s.Events))), b.value("pull-size", manyEvents, "pull, P50 ms"), targetPullP50)
	b.ratio("pull-size", manyEvents, smallBacklog, "pull, P50 ms") // for the table
}

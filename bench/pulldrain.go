package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/hookgate/hookgate/api"
)

const pulledRate = "pulled/s"

// pullRequest asks for a batch. It waits: the events of a key can be with another client.
var pullRequest = api.PullRequest{Max: pullBatch, Wait: api.Duration(time.Second)}

// drainPart lets clients pull a backlog, and then the bytes of one of its answers from a plain
// handler as often.
func drainPart(ctx context.Context, b *deliveryBench) (func(int) error, func(), error) {
	plain, err := startConsumers(ctx)
	if err != nil {
		return nil, nil, err
	}
	return func(round int) error {
		for _, shape := range backlogShapes {
			st, err := b.fill(ctx, b.s.Backlog, shape.keys, shape.shared)
			if err != nil {
				return err
			}
			for _, clients := range pullers {
				if err := b.drain(ctx, st, plain, drainName(shape.name, clients), clients,
					round); err != nil {
					return fmt.Errorf("%s, %d clients: %w", shape.name, clients, err)
				}
			}
		}
		return nil
	}, plain.stop, nil
}

func drainName(shape string, clients int) string { return fmt.Sprintf("%s, %d", shape, clients) }

func judgeDrain(b *deliveryBench) {
	for _, shape := range backlogShapes {
		for _, clients := range pullers {
			name := drainName(shape.name, clients)
			b.d.atLeast(fmt.Sprintf("backlog pulled, %s clients, events/s", name), b.value("pull", name,
				pulledRate), targetPulled)
		}
	}
}

// drain measures a number of clients. A subscription of its own gives the bytes for the plain
// handler.
func (b *deliveryBench) drain(ctx context.Context, st *stand, plain *consumers, column string,
	clients, round int) error {
	name := fmt.Sprintf("drain%d-%d", clients, round)
	c, err := b.candidate(column, subscriber{name: name, start: "beginning"},
		subscriber{name: "sample-" + name, start: "beginning"})
	if err != nil {
		return err
	}
	if err := c.profiled(b.s, "pull-"+column, round).serve(ctx, st); err != nil {
		return err
	}
	defer st.rest()
	gate := st.servers[0]
	if err := waitUntil(ctx, func() (bool, error) { return gate.ready(ctx) }); err != nil {
		return err
	}
	answer, err := gate.answerOf(ctx, "sample-"+name)
	if err != nil {
		return err
	}
	before, err := usageOf(st)
	if err != nil {
		return err
	}
	end, err := gate.profile(ctx)
	if err != nil {
		return err
	}
	p := pulling{url: gate.url, name: name, clients: clients, request: pullRequest, n: b.s.Backlog}
	got, err := p.run(ctx)
	if err != nil {
		return err
	}
	after, err := usageOf(st)
	if err != nil {
		return err
	}
	if err := end(); err != nil {
		return err
	}
	if err := gate.settled(ctx, name, &got, b.s.Backlog); err != nil {
		return err
	}
	peak, err := gate.memory("VmHWM")
	if err != nil {
		return err
	}
	used := after.since(before, b.s.Backlog)

	if err := plain.send(ctx, "/answer/"+name, string(answer)); err != nil {
		return err
	}
	alone := &stand{servers: []*server{plain.server}}
	if before, err = usageOf(alone); err != nil {
		return err
	}
	p.url = plain.url
	bare, err := p.run(ctx)
	if err != nil {
		return err
	}
	if after, err = usageOf(alone); err != nil {
		return err
	}
	usedBare := after.since(before, bare.events)

	b.add("pull", column, pulledRate, eventsPerSecond, got.perSecond())
	b.add("pull", column, "plain handler/s", eventsPerSecond, bare.perSecond())
	b.add("pull", column, ofLoop, "", got.perSecond()/bare.perSecond())
	b.add("pull", column, "pull P50 ms", "ms", quantile(got.pulls, 50))
	b.add("pull", column, "µs/event, gate", "µs/event", used["server"])
	b.add("pull", column, "µs/event, postgres", "µs/event", used["postgres"])
	b.add("pull", column, "µs/event, client", "µs/event", used["client"])
	b.add("pull", column, "plain, µs/event, sum", "µs/event", usedBare["server"]+usedBare["client"])
	b.add("pull", column, "peak memory, MiB", "MiB", peak)
	return nil
}

// answerOf returns the answer to a pull as it is.
func (s *server) answerOf(ctx context.Context, name string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url+"/api/subscriptions/"+name+
		"/pull", bytes.NewReader(fmt.Appendf(nil, `{"max":%d}`, pullBatch)))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+adminToken)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("pull: %s %s", resp.Status, answer)
	}
	return answer, err
}

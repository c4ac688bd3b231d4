package main

import (
	"context"
	"fmt"
	"time"

	"github.com/hookgate/hookgate/load"
)

// backlog fills Redis with 100,000 events through a process that stores nothing, and takes the time that another needs to store
// them, with nothing coming in.
func backlog(ctx context.Context, s settings, gate, dir string) error {
	const events = 100_000
	backends, err := startBackends(ctx, "everysec")
	if err != nil {
		return err
	}
	defer backends.stop()
	env := append(backends.env(), "HOOKGATE_QUEUE_HIGH_WATER=200000")
	ingest, err := start(ctx, append(serveCommand(gate), "--role", "ingest", "--data-dir", dir+"-ingest"), env)
	if err != nil {
		return err
	}
	defer ingest.stop()
	if _, err := ingest.replay(ctx, s, nil, load.Generator{Count: events, Size: s.size, Seed: 77}, 0); err != nil {
		return err
	}
	worker, err := start(ctx, append(serveCommand(gate), "--role", "worker", "--data-dir", dir+"-worker"), env)
	if err != nil {
		return err
	}
	defer worker.stop()
	before, err := usageOf(worker, backends)
	if err != nil {
		return err
	}
	begin := time.Now()
	if err := worker.drained(ctx); err != nil {
		return err
	}
	took := time.Since(begin)
	after, err := usageOf(worker, backends)
	if err != nil {
		return err
	}
	cpu := after.since(before, events)
	fmt.Printf("\nbacklog of 100,000 in Redis: worker %.1f, redis %.1f, postgres %.1f µs of processor time an event\n",
		cpu["server"], cpu["redis"], cpu["postgres"])
	verdict("backlog of 100,000 in Redis, events stored/s, at least", events/took.Seconds(), 25_000, true)
	return nil
}

// memory sends 300,000 events and prints the resident memory on the way.
func memory(ctx context.Context, s settings, command []string) error {
	server, err := start(ctx, command, nil)
	if err != nil {
		return err
	}
	defer server.stop()
	fmt.Println("\nresident memory of hookgate over 300,000 events, flat out, drained at each step")
	var first, last float64
	for step := range 10 {
		if _, err := server.replay(ctx, s, nil, load.Generator{Count: 30_000, Size: s.size, Seed: 1000 + uint64(step)}, 0); err != nil {
			return err
		}
		rss, err := server.memory("VmRSS")
		if err != nil {
			return err
		}
		fmt.Printf("%7d events: %6.1f MiB\n", (step+1)*30_000, rss)
		if step == 0 {
			first = rss
		}
		last = rss
	}
	peak, err := server.memory("VmHWM")
	if err != nil {
		return err
	}
	fmt.Printf("last over first: %.2f, peak %.1f MiB\n", last/first, peak)
	return nil
}

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/hookgate/hookgate/load"
)

// backlogEvents is the number of events in a backlog.
const backlogEvents = 100_000

// highWater and spoolHighWater are large enough for a backlog.
const (
	highWater      = "HOOKGATE_QUEUE_HIGH_WATER=400000"
	spoolHighWater = "HOOKGATE_QUEUE_HIGH_WATER=400000"
)

// backlog fills Redis through a process that stores nothing. It measures how long another process
// takes to store everything, without new webhooks.
func backlog(ctx context.Context, d *document, s settings, gate string) error {
	const experiment, server = "backlog", "everysec"
	for round := range s.Rounds {
		progress("round %d of %d: backlog of %d in Redis", round+1, s.Rounds, backlogEvents)
		if err := drainBacklog(ctx, d, experiment, server, s, gate, round); err != nil {
			return err
		}
	}
	fmt.Printf("\nA backlog of %d in Redis, drained into PostgreSQL with nothing coming in\n\n",
		backlogEvents)
	d.figures.writeTable(os.Stdout, experiment)
	first := len(d.Verdicts)
	d.atLeast("backlog of 100,000 into PostgreSQL, events/s", d.figures.find(experiment, server,
		"stored/s").Median, targetDrained)
	d.atMost("worker of that backlog: peak memory, MiB", d.figures.find(experiment, server,
		"peak memory, MiB").Max, targetMemoryMiB)
	d.writeVerdicts(os.Stdout, first)
	return nil
}

func drainBacklog(ctx context.Context, d *document, experiment, name string, s settings,
	gate string, round int) error {
	c := candidate{name: name, gate: gate, shared: everysec, settings: []string{highWater}, ingest: 1}
	st := &stand{piles: true, credentials: load.Credentials{HMACSecret: secret}}
	defer st.stop()
	var err error
	if st.dir, err = os.MkdirTemp("", "hookgate-bench-"); err != nil {
		return err
	}
	if st.backends, err = startBackends(ctx, *c.shared); err != nil {
		return err
	}
	env := append(st.backends.env(), highWater)
	ingest, err := start(ctx, serveCommand(gate, "--role", "ingest", "--data-dir",
		filepath.Join(st.dir, "ingest")), env)
	if err != nil {
		return err
	}
	st.servers = []*server{ingest}
	if _, err := st.replay(ctx, load.Generator{Count: backlogEvents, Size: s.Size, Seed: 700 +
		uint64(round)}, 0, s.Connections); err != nil {
		return err
	}
	worker, err := start(ctx, serveCommand(gate, "--role", "worker", "--data-dir",
		filepath.Join(st.dir, "worker")), env)
	if err != nil {
		return err
	}
	st.servers = []*server{worker, ingest}
	begin := time.Now()
	before, err := usageOf(st)
	if err != nil {
		return err
	}
	if err := worker.drained(ctx); err != nil {
		return err
	}
	took := time.Since(begin)
	after, err := usageOf(st)
	if err != nil {
		return err
	}
	d.figures.add(experiment, name, "stored/s", "events/s", backlogEvents/took.Seconds())
	used := after.since(before, backlogEvents)
	for _, party := range []string{"server", "redis", "postgres"} {
		d.figures.add(experiment, name, "µs/event, "+party, "µs/event", used[party])
	}
	peak, err := worker.memory("VmHWM")
	d.figures.add(experiment, name, "peak memory, MiB", "MiB", peak)
	return err
}

// memory sends 300,000 events to the embedded gate and reads its resident memory meanwhile.
func memory(ctx context.Context, d *document, s settings, gate string) error {
	const experiment, steps, step = "memory", 10, 30_000
	c := candidate{name: "embedded", gate: gate}
	st, err := c.start(ctx)
	if err != nil {
		return err
	}
	defer st.stop()
	var first, last float64
	for n := range steps {
		progress("memory: step %d of %d", n+1, steps)
		if _, err := st.replay(ctx, load.Generator{Count: step, Size: s.Size, Seed: 1000 + uint64(n)}, 0,
			s.Connections); err != nil {
			return err
		}
		rss, err := st.servers[0].memory("VmRSS")
		if err != nil {
			return err
		}
		d.figures.add(experiment, c.name, fmt.Sprintf("after %d events, MiB", (n+1)*step), "MiB", rss)
		if n == 0 {
			first = rss
		}
		last = rss
	}
	peak, err := st.servers[0].memory("VmHWM")
	if err != nil {
		return err
	}
	d.figures.add(experiment, c.name, "peak, MiB", "MiB", peak)
	d.figures.add(experiment, c.name, "last over first", "", last/first)
	fmt.Printf("\nResident memory of the embedded gate, flat out, drained at each step\n\n")
	d.figures.writeTable(os.Stdout, experiment)
	firstVerdict := len(d.Verdicts)
	d.atMost("embedded over 300,000 events: peak memory, MiB", peak, targetMemoryMiB)
	d.writeVerdicts(os.Stdout, firstVerdict)
	return nil
}

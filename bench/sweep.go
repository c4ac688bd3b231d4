package main

import (
	"context"
	"fmt"
	"os"
)

// sweepEvents is the number of events in one run of a sweep.
const sweepEvents = 20_000

// sweep measures flat-out throughput and latency with one parameter changed at a time. The others
// have their defaults.
func sweep(ctx context.Context, d *document, s settings, gate string) error {
	pairings, err := gates(s, gate, "embedded", "postgres", "everysec")
	if err != nil {
		return err
	}
	for _, c := range pairings {
		for _, g := range c.grids() {
			experiment := fmt.Sprintf("%s, %s", g.of, c.name)
			for round := range s.Rounds {
				for _, v := range g.variants {
					progress("round %d of %d: %s %s", round+1, s.Rounds, experiment, v.name)
					if err := v.run(ctx, d, experiment, round); err != nil {
						return fmt.Errorf("%s %s: %w", experiment, v.name, err)
					}
				}
			}
			for _, v := range g.variants {
				if v.name != g.standard {
					d.figures.compare(experiment, v.name, g.standard)
				}
			}
			fmt.Printf("\n%s; in brackets the ratio to %s\n\n", experiment, g.standard)
			d.figures.writeTransposed(os.Stdout, experiment, []string{"flat out, persisted/s",
				"flat out, P50 ms", "flat out, P99 ms", "flat out, µs/event, sum"})
		}
	}
	return nil
}

// grid is a parameter with several values.
type grid struct {
	of, standard string
	variants     []*candidate
}

func (c *candidate) grids() []grid {
	variant := func(name any, change func(*candidate)) *candidate {
		v := *c
		v.name = fmt.Sprint(name)
		v.load.flatOut, v.load.paced, v.load.curves, v.load.peak = sweepEvents, 0, false, false
		change(&v)
		return &v
	}
	connections := grid{of: "connections", standard: "50"}
	for _, n := range []int{1, 10, 50, 200, 1000} {
		connections.variants = append(connections.variants, variant(n, func(v *candidate) {
			v.load.connections = n
			v.load.flatOut = min(sweepEvents, 4000*n) // few connections take long
		}))
	}
	bodies := grid{of: "bytes of a body", standard: "600"}
	for _, n := range []int{200, 600, 2 << 10, 8 << 10, 64 << 10} {
		bodies.variants = append(bodies.variants, variant(n, func(v *candidate) {
			v.load.size = n
			v.load.flatOut = min(sweepEvents, 128<<20/n)
		}))
	}
	keys := grid{of: "ordering keys", standard: "100"}
	for _, n := range []int{1, 10, 100, 10_000, 100_000} {
		keys.variants = append(keys.variants, variant(n, func(v *candidate) {
			v.load.keys = n
			v.load.flatOut = min(sweepEvents, 4000*n) // the client sends one event of a key at a time
		}))
	}
	partitions := grid{of: "partitions", standard: "16"}
	for _, n := range []int{1, 4, 16, 64} {
		partitions.variants = append(partitions.variants, variant(n, func(v *candidate) {
			v.settings = []string{fmt.Sprint("HOOKGATE_QUEUE_PARTITIONS=", n)}
		}))
	}
	all := []grid{connections, bodies, keys}
	if c.shared == nil {
		return all
	}
	processes := grid{of: "processes", standard: "one"}
	processes.variants = append(processes.variants, variant("one", func(*candidate) {}))
	if c.shared.alone {
		for _, n := range []int{2, 4} {
			processes.variants = append(processes.variants,
				variant(n, func(v *candidate) { v.processes = n }))
		}
		return append(all, processes)
	}
	all = append(all, partitions)
	for n := 1; n <= 3; n++ {
		processes.variants = append(processes.variants, variant(fmt.Sprintf("%d ingest, 1 worker", n),
			func(v *candidate) { v.ingest = n }))
	}
	return append(all, processes)
}

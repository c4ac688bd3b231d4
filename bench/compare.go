package main

import (
	"context"
	"fmt"
	"os"
)

// compare measures the bare servers and the pairings of hookgate in turn, in several rounds.
func compare(ctx context.Context, d *document, s settings, gate string) error {
	const experiment = "comparison"
	candidates, err := chosen(standards(s, gate), s.Only)
	if err != nil {
		return err
	}
	if s.Against != "" {
		candidates = withOther(candidates, s.Against)
	}
	for round := range s.Rounds {
		// In turn, so that other load on the machine affects all.
		for _, c := range candidates {
			progress("round %d of %d: %s", round+1, s.Rounds, c.name)
			if err := c.profiled(s, c.name, round).run(ctx, d, experiment, round); err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
		}
	}
	for _, c := range candidates {
		d.figures.compare(experiment, c.name, c.versus)
	}
	fmt.Printf("\nMedians of %d rounds, bodies of %d bytes, %d connections,"+
		" everything on one machine.\n"+
		"everysec and always: hookgate with Redis (appendfsync) and PostgreSQL.\n"+
		"In brackets the ratio to %s; after ± the largest deviation of a round.\n\n",
		s.Rounds, s.Size, s.Connections, versusText(candidates))
	d.figures.writeTable(os.Stdout, experiment)
	first := len(d.Verdicts)
	d.judge(s, experiment, candidates)
	d.writeVerdicts(os.Stdout, first)
	if s.curves != "" {
		if err := d.drawCurves(s.curves, experiment); err != nil {
			return err
		}
	}
	if s.lines != "" {
		return d.figures.writeLines(s.lines, experiment)
	}
	return nil
}

func versusText(candidates []*candidate) string {
	if candidates[len(candidates)-1].versus != candidates[0].name && len(candidates) > 1 {
		return "the column other-…, which is the other binary"
	}
	return candidates[0].name
}

// withOther puts before each gate the same candidate with another binary, and compares the two.
func withOther(candidates []*candidate, binary string) (all []*candidate) {
	for _, c := range candidates {
		if c.gate != "" {
			other := *c
			other.name, other.gate = otherPrefix+c.name, binary
			if candidates[0].gate != "" {
				other.versus = "" // do not compare with another pairing
			}
			c.versus = other.name
			all = append(all, &other)
		}
		all = append(all, c)
	}
	return all
}

// otherPrefix begins the names of candidates that run another binary.
const otherPrefix = "other-"

// judge compares the figures with the targets.
func (d *document) judge(s settings, experiment string, candidates []*candidate) {
	const persisted = "flat out, persisted/s"
	for _, c := range candidates {
		target, ok := targets[c.name]
		if !ok {
			continue
		}
		if ratio, ok := d.figures.ratio(experiment, c.name, "bare", persisted); ok {
			d.atLeast(c.name+": accepted and persisted over bare", ratio, target.persisted)
		}
		if ratio, ok := d.figures.ratio(experiment, c.name, "bare", fmt.Sprintf("at %d/s, P95 ms",
			pacedRate)); ok {
			d.atMost(fmt.Sprintf("%s: P95 at %d/s over bare", c.name, pacedRate), ratio, target.p95)
		}
		if p99, p50 := d.figures.find(experiment, c.name, "flat out, P99 ms"), d.figures.find(experiment,
			c.name, "flat out, P50 ms"); p99 != nil {
			d.atMost(c.name+": flat out, P99 over P50", p99.Median/p50.Median, targetP99OverP50)
		}
		if peak := d.figures.find(experiment, c.name, "peak memory, MiB"); peak != nil {
			d.atMost(c.name+": peak memory, MiB", peak.Max, targetMemoryMiB)
		}
	}
}

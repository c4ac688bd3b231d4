package main

import (
	"fmt"
	"slices"

	"github.com/hookgate/hookgate/load"
)

func median(values []float64) float64 {
	values = slices.Sorted(slices.Values(values))
	return values[len(values)/2]
}

// medians returns the median of each column.
func medians(rows [][]float64) (m []float64) {
	for column := range rows[0] {
		var values []float64
		for _, row := range rows {
			values = append(values, row[column])
		}
		m = append(m, median(values))
	}
	return m
}

// report prints a table of medians.
func report(s settings, all []*candidate) {
	fmt.Printf("\nmedians of %d rounds, %d-byte bodies, %d connections flat out and %d at 500/s, everything on one machine\n", s.rounds, s.size,
		s.connections, load.DefaultConcurrency)
	fmt.Print("everysec and always: hookgate with Redis (appendfsync) and PostgreSQL; in brackets: the ratio to ")
	if s.against == "" {
		fmt.Printf("%s\n\n", all[0].name)
	} else {
		fmt.Printf("the other binary's, whose own is to %s\n\n", all[0].name)
	}
	fmt.Printf("%-30s", "")
	for _, c := range all {
		fmt.Printf(" %16s", c.name)
	}
	fmt.Println()
	row := func(name string, of func(*result) float64) {
		fmt.Printf("%-30s", name)
		for _, c := range all {
			value := of(&c.result)
			text := fmt.Sprintf("%.2f", value)
			if c.versus != nil && of(&c.versus.result) > 0 {
				text += fmt.Sprintf(" (%.2f)", value/of(&c.versus.result))
			}
			fmt.Printf(" %16s", text)
		}
		fmt.Println()
	}
	if s.flatOut > 0 {
		row("flat out, requests/s", func(r *result) float64 { return median(r.rate) })
		row("flat out, persisted/s", func(r *result) float64 { return median(r.persisted) })
		for i, name := range []string{"P50", "P95", "P99"} {
			row("flat out, "+name+" ms", func(r *result) float64 { return medians(r.flatOut)[i] })
		}
		for _, party := range parties {
			row("flat out, µs/event, "+party, func(r *result) float64 { return processor(r.cpu, party) })
		}
		row("flat out, µs/event, sum", func(r *result) float64 { return processor(r.cpu, parties...) })
	}
	if s.paced > 0 {
		for i, name := range []string{"P50", "P95", "P99"} {
			row("at 500/s, "+name+" ms", func(r *result) float64 { return medians(r.paced)[i] })
		}
		for _, party := range parties {
			row("at 500/s, µs/event, "+party, func(r *result) float64 { return processor(r.pacedCPU, party) })
		}
	}
	row("peak memory, MiB", func(r *result) float64 { return median(r.peak) })
	fmt.Println()
	judge(s, all)
}

// processor returns the median of the processor time that parties used together.
func processor(rounds []map[string]float64, parties ...string) float64 {
	var sums []float64
	for _, cpu := range rounds {
		sum := 0.0
		for _, party := range parties {
			sum += cpu[party]
		}
		sums = append(sums, sum)
	}
	return median(sums)
}

// judge compares with what is to be reached, if the bare server was measured too.
func judge(s settings, all []*candidate) {
	if all[0].name != "bare" {
		return
	}
	bare := &all[0].result
	for _, c := range all {
		target, ok := targets[c.name]
		if !ok {
			continue
		}
		if s.flatOut > 0 {
			verdict(c.name+": persisted over bare requests/s, at least", median(c.persisted)/median(bare.rate), target.persisted, true)
		}
		if s.paced > 0 {
			verdict(c.name+": P95 at 500/s over bare, at most", medians(c.paced)[1]/medians(bare.paced)[1], target.p95, false)
		}
	}
}

// targets are ratios to the bare server.
var targets = map[string]struct{ persisted, p95 float64 }{
	"embedded": {0.4, 1.5},
	"everysec": {0.5, 1.6},
	"always":   {0.4, 1.6},
}

func verdict(what string, value, limit float64, atLeast bool) {
	word := "reached"
	if value != limit && value < limit == atLeast {
		word = "MISSED"
	}
	fmt.Printf("%s: %.2f (to reach: %.2f) %s\n", what, value, limit, word)
}

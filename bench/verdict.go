package main

import (
	"fmt"
	"io"
)

// verdict compares a figure with its target.
type verdict struct {
	What    string  `json:"what"`
	Value   float64 `json:"value"`
	Limit   float64 `json:"limit"`
	AtLeast bool    `json:"atLeast"` // otherwise at most
	Reached bool    `json:"reached"`
}

// targets are ratios of a gate to the bare server: accepted and persisted events divided by its
// requests, flat out, at least; and P95 at 500/s divided by its P95, at most.
var targets = map[string]struct{ persisted, p95 float64 }{
	"embedded": {0.60, 1.3},
	// 3 times the bare server with one fsync, whose P95 is 2.1 times the bare one's
	"postgres": {0.35, 6.3},
	"everysec": {0.60, 1.4},
	"always":   {0.50, 1.5},
}

// The other targets.
const (
	targetP99OverP50 = 4      // flat out, at most
	targetMemoryMiB  = 150    // peak, with any backlog
	targetDrained    = 30_000 // events/s of a backlog into PostgreSQL
	targetScale      = 0.8    // share of the throughput with an empty store
	targetReady      = 1      // s from the start to ready, with a backlog
	targetBack       = 2      // s from SIGKILL to the next 202
)

func (d *document) atLeast(what string, value, limit float64) {
	d.Verdicts = append(d.Verdicts, verdict{what, value, limit, true, value >= limit})
}

func (d *document) atMost(what string, value, limit float64) {
	d.Verdicts = append(d.Verdicts, verdict{what, value, limit, false, value <= limit})
}

// writeVerdicts writes the verdicts from index first on.
func (d *document) writeVerdicts(w io.Writer, first int) {
	rows := [][]string{{"to reach", "", "measured", ""}}
	for _, v := range d.Verdicts[first:] {
		bound, word := "at most ", "MISSED"
		if v.AtLeast {
			bound = "at least "
		}
		if v.Reached {
			word = "reached"
		}
		rows = append(rows, []string{v.What, bound + number(v.Limit), number(v.Value), word})
	}
	if len(rows) > 1 {
		fmt.Fprintln(w)
		writeMarkdown(w, rows)
	}
}

package load

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
)

// Quantiles of a set of times, in milliseconds, exact to three digits; all zero when it is empty.
type Quantiles struct {
	P50 float64 `json:"p50"`
	P95 float64 `json:"p95"`
	P99 float64 `json:"p99"`
	Max float64 `json:"max"`
}

// Summary says how a replay went, or goes.
type Summary struct {
	// Lines is the number of events sent at least once.
	Lines int `json:"lines"`
	// Accepted is how many of them the gate acknowledged, duplicates included.
	Accepted int `json:"accepted"`
	// Duplicates is how many of those it said it had before.
	Duplicates int `json:"duplicates"`
	// Failed is how many were refused, or were given up after their retries.
	Failed int `json:"failed"`
	// Unfinished is how many were due and have no final answer; 0 unless the replay was cut off.
	Unfinished int `json:"unfinished"`
	// Attempts is the number of requests, and Retries how many of them were not the first of
	// their event.
	Attempts int `json:"attempts"`
	Retries  int `json:"retries"`
	// Statuses counts the attempts by HTTP status, 0 standing for no answer.
	Statuses map[int]int `json:"statuses"`
	// ElapsedSeconds is the time from the first event's due time to the last answer.
	ElapsedSeconds float64 `json:"elapsedSeconds"`
	// Rate is the number of events accepted a second.
	Rate float64 `json:"rate"`
	// LatencyMS is the time from when an event was due to its final answer, its wait for
	// a connection, for its key and for retries included, whatever the answer was.
	LatencyMS Quantiles `json:"latencyMs"`
	// LagMS is how far the sender was behind its schedule: the time from when an event was due to
	// when it was first sent, events held back by their ordering key left out.
	LagMS Quantiles `json:"lagMs"`
	// Bytes is the size of the input lines that have their final answer.
	Bytes int64 `json:"bytes"`
	// LastError is the error of the last event that failed.
	LastError string `json:"lastError,omitempty"`
}

// OK reports whether every event was accepted.
func (s Summary) OK() bool { return s.Failed == 0 && s.Unfinished == 0 }

// Write prints the summary as a table for people.
func (s Summary) Write(w io.Writer) error {
	var statuses []string
	for _, status := range slices.Sorted(maps.Keys(s.Statuses)) {
		name := fmt.Sprint(status)
		if status == 0 {
			name = "no answer"
		}
		statuses = append(statuses, fmt.Sprintf("%s: %d", name, s.Statuses[status]))
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) { fmt.Fprintf(t, name+"\t"+format+"\n", args...) }
	row("events", "%d accepted (%d duplicates), %d failed, %d unfinished", s.Accepted, s.Duplicates,
		s.Failed, s.Unfinished)
	row("requests", "%d (%d retries)  %s", s.Attempts, s.Retries, strings.Join(statuses, "  "))
	row("rate", "%.0f accepted/s over %.1f s", s.Rate, s.ElapsedSeconds)
	row("latency ms", "P50 %.2f  P95 %.2f  P99 %.2f  max %.2f", s.LatencyMS.P50, s.LatencyMS.P95,
		s.LatencyMS.P99, s.LatencyMS.Max)
	row("own lag ms", "P99 %.2f  max %.2f", s.LagMS.P99, s.LagMS.Max)
	if s.LastError != "" {
		row("last error", "%s", s.LastError)
	}
	return t.Flush()
}

// Progress says in a line how a replay goes.
func (s Summary) Progress() string {
	text := fmt.Sprintf("%d accepted, %.0f/s, P95 %.2f ms", s.Accepted, s.Rate, s.LatencyMS.P95)
	if s.Failed > 0 {
		text += fmt.Sprintf(", %d failed", s.Failed)
	}
	if s.Retries > 0 {
		text += fmt.Sprintf(", %d retries", s.Retries)
	}
	return text
}

package load

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
)

// Quantiles are those of a set of times, in milliseconds, exact to three digits. They are zero for
// an empty set.
type Quantiles struct {
	P50 float64 `json:"p50"`
	P95 float64 `json:"p95"`
	P99 float64 `json:"p99"`
	Max float64 `json:"max"`
}

// Summary is the result of a replay, final or so far.
type Summary struct {
	// Lines is the number of events that were sent at least once.
	Lines int `json:"lines"`
	// Accepted is how many of them the gate acknowledged, including duplicates.
	Accepted int `json:"accepted"`
	// Duplicates is how many of those the gate already had.
	Duplicates int `json:"duplicates"`
	// Failed is how many were rejected, or given up after their retries.
	Failed int `json:"failed"`
	// Unfinished is how many were due and have no final answer; 0 unless the replay was
	// interrupted.
	Unfinished int `json:"unfinished"`
	// Attempts is the number of requests, and Retries how many of them were retries.
	Attempts int `json:"attempts"`
	Retries  int `json:"retries"`
	// Statuses counts the attempts by HTTP status; 0 stands for no answer.
	Statuses map[int]int `json:"statuses"`
	// ElapsedSeconds is the time from when the first event was due to the last answer.
	ElapsedSeconds float64 `json:"elapsedSeconds"`
	// Rate is the number of events accepted per second.
	Rate float64 `json:"rate"`
	// LatencyMS is the time from when an event was due to its final answer. It includes waiting for
	// a connection, for the ordering key and for retries, with any answer.
	LatencyMS Quantiles `json:"latencyMs"`
	// LagMS is the lag of the sender behind its schedule: the time from when an event was due to
	// when it was first sent, without events whose ordering key was busy.
	LagMS Quantiles `json:"lagMs"`
	// Bytes is the size of the input lines that have their final answer.
	Bytes int64 `json:"bytes"`
	// LastError is the error of the last event that failed.
	LastError string `json:"lastError,omitempty"`

	// lastRetry is the error of the last request that is sent again.
	lastRetry string
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

// Progress says in one line how a replay is going.
func (s Summary) Progress() string {
	text := fmt.Sprintf("%d accepted, %.0f/s, P95 %.2f ms", s.Accepted, s.Rate, s.LatencyMS.P95)
	if s.Failed > 0 {
		text += fmt.Sprintf(", %d failed", s.Failed)
	}
	if s.Retries > 0 {
		text += fmt.Sprintf(", %d retries", s.Retries)
	}
	if s.Accepted == 0 && s.lastRetry != "" {
		text += "; last error: " + s.lastRetry
	}
	return text
}

// Command bench compares hookgate with a bare net/http server that checks the same signature and the same JSON and
// keeps nothing, and at 500/s with one that also appends each body to a file and syncs that, which is the least that a
// durable answer can cost on the machine's disk. All run as processes of their own, one after the other, on the
// machine that also runs the load client; take the ratios, not the figures.
//
//	go run ./bench               everything, about three minutes
//	go run ./bench -memory=false without the long run for memory
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"time"

	"github.com/hookgate/hookgate/load"
)

// secret signs the load for both servers.
const secret = "bench-secret"

func main() {
	if len(os.Args) > 1 && os.Args[1] == "bare" {
		serveBare(os.Args[2:])
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// settings of a run.
type settings struct {
	rounds, flatOut, paced, size, connections int
	memory                                    bool
}

func run(ctx context.Context) error {
	var s settings
	flag.IntVar(&s.rounds, "rounds", 3, "how often each server is measured; the median counts")
	flag.IntVar(&s.flatOut, "flat-out", 60_000, "events of a flat-out run")
	flag.IntVar(&s.paced, "paced", 5_000, "events of a run at 500/s")
	flag.IntVar(&s.size, "size", 600, "bytes of a body")
	flag.IntVar(&s.connections, "connections", 200, "connections of the client when it sends flat out; at 500/s it has 50")
	flag.BoolVar(&s.memory, "memory", true, "also send 300,000 events and watch the memory")
	flag.Parse()

	dir, err := os.MkdirTemp("", "hookgate-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	gate := filepath.Join(dir, "hookgate")
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", gate, "./cmd/hookgate").CombinedOutput(); err != nil {
		return fmt.Errorf("build hookgate (run this from the root of the project): %w\n%s", err, out)
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	bare, synced, hookgate := &result{}, &result{}, &result{}
	for round := range s.rounds {
		data := func(name string) string { return filepath.Join(dir, fmt.Sprint(name, round)) }
		// In turn, so that what else the machine does falls on all.
		for _, candidate := range []struct {
			name    string
			result  *result
			command []string
		}{
			{"bare", bare, []string{self, "bare"}},
			{"bare with fsync", synced, []string{self, "bare", data("synced")}},
			{"hookgate", hookgate, []string{gate, "serve", "--listen", "127.0.0.1:0", "--data-dir", data("data")}},
		} {
			fmt.Fprintf(os.Stderr, "round %d of %d: %s\n", round+1, s.rounds, candidate.name)
			if err := candidate.result.measure(ctx, s, uint64(round), candidate.command); err != nil {
				return fmt.Errorf("%s: %w", candidate.name, err)
			}
		}
	}
	report(s, bare, synced, hookgate)
	if s.memory {
		return memory(ctx, s, []string{gate, "serve", "--listen", "127.0.0.1:0", "--data-dir", filepath.Join(dir, "memory")})
	}
	return nil
}

// result has a value for each round.
type result struct {
	rate, persisted, peak []float64 // events/s, events/s, MiB
	flatOut, paced        [][]float64
}

// measure runs one server through a flat-out and a paced run.
func (r *result) measure(ctx context.Context, s settings, round uint64, command []string) error {
	server, err := start(ctx, command)
	if err != nil {
		return err
	}
	defer server.stop()
	// The first events warm both sides up and do not count.
	if _, err := server.replay(ctx, s, load.Generator{Count: 2000, Size: s.size, Seed: 1}, 0); err != nil {
		return err
	}
	if err := server.drained(ctx); err != nil {
		return err
	}
	flatOut, err := server.replay(ctx, s, load.Generator{Count: s.flatOut, Size: s.size, Seed: 100 + round}, 0)
	if err != nil {
		return err
	}
	end := time.Now()
	if err := server.drained(ctx); err != nil {
		return err
	}
	accepting := float64(s.flatOut) / flatOut.Rate // seconds
	r.rate = append(r.rate, flatOut.Rate)
	r.persisted = append(r.persisted, float64(s.flatOut)/(accepting+time.Since(end).Seconds()))
	r.flatOut = append(r.flatOut, quantiles(flatOut.LatencyMS))
	paced, err := server.replay(ctx, s, load.Generator{Count: s.paced, Size: s.size, Seed: 200 + round}, 500)
	if err != nil {
		return err
	}
	r.paced = append(r.paced, quantiles(paced.LatencyMS))
	peak, err := server.memory("VmHWM")
	r.peak = append(r.peak, peak)
	return err
}

func (s *server) replay(ctx context.Context, o settings, g load.Generator, rate float64) (load.Summary, error) {
	var input bytes.Buffer
	if err := g.Generate(ctx, &input); err != nil {
		return load.Summary{}, err
	}
	connections := o.connections
	if rate > 0 {
		connections = load.DefaultConcurrency
	}
	summary, err := load.Replay(ctx, load.Config{
		Input: &input, Target: s.url, Rate: rate, Concurrency: connections, Credentials: load.Credentials{HMACSecret: secret}, Retry: load.DefaultRetry,
	})
	if err == nil && summary.Accepted != g.Count {
		err = fmt.Errorf("%d of %d events were accepted: %s", summary.Accepted, g.Count, summary.LastError)
	}
	return summary, err
}

func quantiles(q load.Quantiles) []float64 { return []float64{q.P50, q.P95, q.P99} }

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

func report(s settings, bare, synced, gate *result) {
	fmt.Printf("\nmedians of %d rounds, %d-byte bodies, %d connections flat out and %d at 500/s, client on the same machine\n\n",
		s.rounds, s.size, s.connections, load.DefaultConcurrency)
	row := func(name string, of func(*result) float64) {
		b, f, g := of(bare), of(synced), of(gate)
		fmt.Printf("%-36s %10.2f %10.2f %10.2f %10.2f %10.2f\n", name, b, f, g, g/b, g/f)
	}
	fmt.Printf("%-36s %10s %10s %10s %10s %10s\n", "", "bare", "with fsync", "hookgate", "to bare", "to fsync")
	row("flat out, requests/s", func(r *result) float64 { return median(r.rate) })
	row("flat out, accepted and persisted/s", func(r *result) float64 { return median(r.persisted) })
	for i, name := range []string{"P50", "P95", "P99"} {
		row("flat out, "+name+" ms", func(r *result) float64 { return medians(r.flatOut)[i] })
	}
	for i, name := range []string{"P50", "P95", "P99"} {
		row("at 500/s, "+name+" ms", func(r *result) float64 { return medians(r.paced)[i] })
	}
	row("peak memory, MiB", func(r *result) float64 { return median(r.peak) })
	verdict := func(what string, ratio, limit float64, atLeast bool) {
		word := "reached"
		if ratio < limit == atLeast && ratio != limit {
			word = "MISSED"
		}
		fmt.Printf("%s: %.2f (to reach: %.2f) %s\n", what, ratio, limit, word)
	}
	fmt.Println()
	verdict("persisted over bare requests/s, at least", median(gate.persisted)/median(bare.rate), 0.4, true)
	verdict("P95 at 500/s over bare, at most", medians(gate.paced)[1]/medians(bare.paced)[1], 1.5, false)
	fmt.Printf("P95 at 500/s over bare with one fsync: %.2f\n", medians(gate.paced)[1]/medians(synced.paced)[1])
}

// memory sends 300,000 events and prints the resident memory on the way.
func memory(ctx context.Context, s settings, command []string) error {
	server, err := start(ctx, command)
	if err != nil {
		return err
	}
	defer server.stop()
	fmt.Println("\nresident memory of hookgate over 300,000 events, flat out, drained at each step")
	var first, last float64
	for step := range 10 {
		if _, err := server.replay(ctx, s, load.Generator{Count: 30_000, Size: s.size, Seed: 1000 + uint64(step)}, 0); err != nil {
			return err
		}
		if err := server.drained(ctx); err != nil {
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

var errNotDrained = errors.New("the queue does not drain")

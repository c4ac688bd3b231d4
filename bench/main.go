// Command bench compares hookgate with a bare net/http server that checks the same signature and the same JSON and
// keeps nothing, and at 500/s with one that also appends each body to a file and syncs that, which is the least that a
// durable answer can cost on the machine's disk. hookgate runs with the embedded pair, and with Redis and PostgreSQL, which this
// program starts, on the same machine too. All run as processes of their own, one after the other, on the
// machine that also runs the load client; take the ratios, not the figures.
//
//	go run ./bench               everything, about eight minutes
//	go run ./bench -long=false     without the runs for memory and for a backlog
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
	long                                      bool
}

func run(ctx context.Context) error {
	var s settings
	flag.IntVar(&s.rounds, "rounds", 3, "how often each server is measured; the median counts")
	flag.IntVar(&s.flatOut, "flat-out", 60_000, "events of a flat-out run")
	flag.IntVar(&s.paced, "paced", 5_000, "events of a run at 500/s")
	flag.IntVar(&s.size, "size", 600, "bytes of a body")
	flag.IntVar(&s.connections, "connections", 200, "connections of the client when it sends flat out; at 500/s it has 50")
	flag.BoolVar(&s.long, "long", true, "also watch the memory over 300,000 events, and drain a backlog of 100,000")
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
	candidates := []*candidate{
		{name: "bare", command: []string{self, "bare"}},
		{name: "bare+fsync", command: []string{self, "bare", "FILE"}},
		{name: "embedded", command: serveCommand(gate)},
		{name: "everysec", command: serveCommand(gate), shared: "everysec"},
		{name: "always", command: serveCommand(gate), shared: "always"},
	}
	for round := range s.rounds {
		// In turn, so that what else the machine does falls on all.
		for _, c := range candidates {
			fmt.Fprintf(os.Stderr, "round %d of %d: %s\n", round+1, s.rounds, c.name)
			if err := c.run(ctx, s, uint64(round), filepath.Join(dir, fmt.Sprint(c.name, round))); err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
		}
	}
	report(s, candidates)
	if !s.long {
		return nil
	}
	if err := backlog(ctx, s, gate, filepath.Join(dir, "backlog")); err != nil {
		return fmt.Errorf("backlog: %w", err)
	}
	return memory(ctx, s, append(serveCommand(gate), "--data-dir", filepath.Join(dir, "memory")))
}

func serveCommand(gate string) []string { return []string{gate, "serve", "--listen", "127.0.0.1:0"} }

// candidate is a server that is compared with the others.
type candidate struct {
	name    string
	command []string // FILE stands for a fresh file
	shared  string   // appendfsync of the Redis that it uses together with PostgreSQL; empty if it uses neither
	result
}

// run measures the candidate once, with everything it needs fresh.
func (c *candidate) run(ctx context.Context, s settings, round uint64, dir string) error {
	command := slices.Clone(c.command)
	if i := slices.Index(command, "FILE"); i >= 0 {
		command[i] = dir
	}
	if command[1] == "serve" {
		command = append(command, "--data-dir", dir)
	}
	var env []string
	if c.shared != "" {
		backends, err := startBackends(ctx, c.shared)
		if err != nil {
			return err
		}
		defer backends.stop()
		env = backends.env()
	}
	return c.measure(ctx, s, round, command, env)
}

// result has a value for each round.
type result struct {
	rate, persisted, peak []float64 // events/s, events/s, MiB
	flatOut, paced        [][]float64
}

// measure runs one server through a flat-out and a paced run.
func (r *result) measure(ctx context.Context, s settings, round uint64, command, env []string) error {
	server, err := start(ctx, command, env)
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

func report(s settings, all []*candidate) {
	fmt.Printf("\nmedians of %d rounds, %d-byte bodies, %d connections flat out and %d at 500/s, everything on one machine\n", s.rounds, s.size,
		s.connections, load.DefaultConcurrency)
	fmt.Print("everysec and always: hookgate with Redis (appendfsync) and PostgreSQL; in brackets: the ratio to bare\n\n")
	fmt.Printf("%-30s", "")
	for _, c := range all {
		fmt.Printf(" %16s", c.name)
	}
	fmt.Println()
	row := func(name string, of func(*result) float64) {
		bare := of(&all[0].result)
		fmt.Printf("%-30s", name)
		for i, c := range all {
			text := fmt.Sprintf("%.2f", of(&c.result))
			if i > 0 {
				text += fmt.Sprintf(" (%.2f)", of(&c.result)/bare)
			}
			fmt.Printf(" %16s", text)
		}
		fmt.Println()
	}
	persisted := func(r *result) float64 { return median(r.persisted) }
	p95 := func(r *result) float64 { return medians(r.paced)[1] }
	row("flat out, requests/s", func(r *result) float64 { return median(r.rate) })
	row("flat out, persisted/s", persisted)
	for i, name := range []string{"P50", "P95", "P99"} {
		row("flat out, "+name+" ms", func(r *result) float64 { return medians(r.flatOut)[i] })
	}
	for i, name := range []string{"P50", "P95", "P99"} {
		row("at 500/s, "+name+" ms", func(r *result) float64 { return medians(r.paced)[i] })
	}
	row("peak memory, MiB", func(r *result) float64 { return median(r.peak) })
	fmt.Println()
	bare := &all[0].result
	for i, target := range []struct{ persisted, p95 float64 }{2: {0.4, 1.5}, 3: {0.5, 1.6}, 4: {0.4, 1.6}} {
		if target.persisted == 0 {
			continue
		}
		r := &all[i].result
		verdict(all[i].name+": persisted over bare requests/s, at least", persisted(r)/median(bare.rate), target.persisted, true)
		verdict(all[i].name+": P95 at 500/s over bare, at most", p95(r)/p95(bare), target.p95, false)
	}
}

func verdict(what string, value, limit float64, atLeast bool) {
	word := "reached"
	if value != limit && value < limit == atLeast {
		word = "MISSED"
	}
	fmt.Printf("%s: %.2f (to reach: %.2f) %s\n", what, value, limit, word)
}

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
	if _, err := ingest.replay(ctx, s, load.Generator{Count: events, Size: s.size, Seed: 77}, 0); err != nil {
		return err
	}
	worker, err := start(ctx, append(serveCommand(gate), "--role", "worker", "--data-dir", dir+"-worker"), env)
	if err != nil {
		return err
	}
	defer worker.stop()
	begin := time.Now()
	if err := worker.drained(ctx); err != nil {
		return err
	}
	fmt.Println()
	verdict("backlog of 100,000 in Redis, events stored/s, at least", events/time.Since(begin).Seconds(), 25_000, true)
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

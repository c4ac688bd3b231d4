// Command bench compares hookgate with a bare net/http server that checks the same signature and the same JSON and
// keeps nothing, and at 500/s with one that also appends each body to a file and syncs that, which is the least that a
// durable answer can cost on the machine's disk. hookgate runs with the embedded pair, and with Redis and PostgreSQL, which this
// program starts, on the same machine too. All run as processes of their own, one after the other, on the
// machine that also runs the load client; take the ratios, not the figures.
//
//	go run ./bench                       everything, about eight minutes
//	go run ./bench -long=false           without the runs for memory and for a backlog
//	go run ./bench -only everysec -long=false -paced 0 -against FILE
//	                                     one pairing, flat out, in turn with another hookgate binary: half a minute
//
// What each event costs in processor time, by process, is what to compare on a machine that does other things too.
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
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
	only, against, profile                    string
}

func run(ctx context.Context) error {
	var s settings
	flag.IntVar(&s.rounds, "rounds", 3, "how often each server is measured; the median counts")
	flag.IntVar(&s.flatOut, "flat-out", 60_000, "events of a flat-out run; 0 leaves it out")
	flag.IntVar(&s.paced, "paced", 5_000, "events of a run at 500/s; 0 leaves it out")
	flag.IntVar(&s.size, "size", 600, "bytes of a body")
	flag.IntVar(&s.connections, "connections", 200, "connections of the client when it sends flat out; at 500/s it has 50")
	flag.BoolVar(&s.long, "long", true, "also watch the memory over 300,000 events, and drain a backlog of 100,000")
	flag.StringVar(&s.only, "only", "", "measure these alone: `names` of columns, separated by commas")
	flag.StringVar(&s.against, "against", "", "another hookgate `binary`, measured in turn with this one: columns other-…")
	flag.StringVar(&s.profile, "profile", "", "`folder` for CPU profiles of hookgate, one for each flat-out run")
	flag.Parse()

	dir, err := os.MkdirTemp("", "hookgate-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	gate := filepath.Join(dir, "hookgate")
	build := []string{"build", "-o", gate, "./cmd/hookgate"}
	if s.profile != "" {
		if err := os.MkdirAll(s.profile, 0o755); err != nil {
			return err
		}
		build = slices.Insert(build, 1, "-tags", "profile")
	}
	if out, err := exec.CommandContext(ctx, "go", build...).CombinedOutput(); err != nil {
		return fmt.Errorf("build hookgate (run this from the root of the project): %w\n%s", err, out)
	}
	candidates, err := candidatesOf(s, gate)
	if err != nil {
		return err
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

// candidatesOf returns what is measured, in the order of the columns.
func candidatesOf(s settings, gate string) ([]*candidate, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	all := []*candidate{
		{name: "bare", command: []string{self, "bare"}},
		{name: "bare+fsync", command: []string{self, "bare", "FILE"}},
		{name: "embedded", command: serveCommand(gate)},
		{name: "everysec", command: serveCommand(gate), shared: "everysec"},
		{name: "always", command: serveCommand(gate), shared: "always"},
	}
	var chosen []*candidate
	for _, c := range all {
		if s.only != "" && !slices.Contains(strings.Split(s.only, ","), c.name) {
			continue
		}
		if len(chosen) > 0 {
			c.versus = chosen[0]
		}
		if s.against != "" && c.command[1] == "serve" {
			other := &candidate{name: "other-" + c.name, command: serveCommand(s.against), shared: c.shared, versus: c.versus}
			c.versus = other
			chosen = append(chosen, other)
		}
		chosen = append(chosen, c)
	}
	if len(chosen) == 0 {
		return nil, fmt.Errorf("-only %s names no column", s.only)
	}
	return chosen, nil
}

func serveCommand(gate string) []string { return []string{gate, "serve", "--listen", "127.0.0.1:0"} }

// candidate is a server that is compared with the others.
type candidate struct {
	name    string
	command []string // FILE stands for a fresh file
	shared  string   // appendfsync of the Redis that it uses together with PostgreSQL; empty if it uses neither
	// versus is what it is compared with: the other binary, else the first column; nil for that.
	versus *candidate
	result
}

// run measures the candidate once, with everything it needs fresh.
func (c *candidate) run(ctx context.Context, s settings, round uint64, dir string) error {
	command := slices.Clone(c.command)
	if i := slices.Index(command, "FILE"); i >= 0 {
		command[i] = dir
	}
	var env []string
	profile := ""
	if command[1] == "serve" {
		command = append(command, "--data-dir", dir)
		if s.profile != "" {
			profile = filepath.Join(s.profile, fmt.Sprintf("%s-%d.pprof", c.name, round))
			env = append(env, "BENCH_CPU_PROFILE="+profile)
		}
	}
	var b *backends
	if c.shared != "" {
		var err error
		if b, err = startBackends(ctx, c.shared); err != nil {
			return err
		}
		defer b.stop()
		env = append(env, b.env()...)
	}
	server, err := start(ctx, command, env)
	if err != nil {
		return err
	}
	defer server.stop()
	server.profilePath = profile
	return c.measure(ctx, s, round, server, b)
}

// result has a value for each round.
type result struct {
	rate, persisted, peak []float64 // events/s, events/s, MiB
	flatOut, paced        [][]float64
	cpu, pacedCPU         []map[string]float64 // µs an event, by party
}

// measure runs one server through a flat-out and a paced run.
func (r *result) measure(ctx context.Context, s settings, round uint64, server *server, b *backends) error {
	// The first events warm both sides up and do not count.
	if _, err := server.replay(ctx, s, b, load.Generator{Count: 2000, Size: s.size, Seed: 1}, 0); err != nil {
		return err
	}
	if s.flatOut > 0 {
		endProfile, err := server.profile(ctx)
		if err != nil {
			return err
		}
		m, err := server.replay(ctx, s, b, load.Generator{Count: s.flatOut, Size: s.size, Seed: 100 + round}, 0)
		if err != nil {
			return err
		}
		if err := endProfile(); err != nil {
			return err
		}
		r.rate = append(r.rate, m.Rate)
		r.persisted = append(r.persisted, m.persisted)
		r.flatOut = append(r.flatOut, quantiles(m.LatencyMS))
		r.cpu = append(r.cpu, m.cpu)
	}
	if s.paced > 0 {
		m, err := server.replay(ctx, s, b, load.Generator{Count: s.paced, Size: s.size, Seed: 200 + round}, 500)
		if err != nil {
			return err
		}
		r.paced = append(r.paced, quantiles(m.LatencyMS))
		r.pacedCPU = append(r.pacedCPU, m.cpu)
	}
	peak, err := server.memory("VmHWM")
	r.peak = append(r.peak, peak)
	return err
}

// measured is a replay, with what it took until everything was stored.
type measured struct {
	load.Summary
	persisted float64            // events/s
	cpu       map[string]float64 // µs an event, by party
}

// replay sends generated events and waits until they are stored, if the server stores anything.
func (s *server) replay(ctx context.Context, o settings, b *backends, g load.Generator, rate float64) (m measured, err error) {
	var input bytes.Buffer
	if err := g.Generate(ctx, &input); err != nil {
		return m, err
	}
	connections := o.connections
	if rate > 0 {
		connections = load.DefaultConcurrency
	}
	before, err := usageOf(s, b)
	if err != nil {
		return m, err
	}
	begin := time.Now()
	m.Summary, err = load.Replay(ctx, load.Config{
		Input: &input, Target: s.url, Rate: rate, Concurrency: connections, Credentials: load.Credentials{HMACSecret: secret}, Retry: load.DefaultRetry,
	})
	if err == nil && m.Accepted != g.Count {
		err = fmt.Errorf("%d of %d events were accepted: %s", m.Accepted, g.Count, m.LastError)
	}
	if err == nil && s.stores {
		err = s.drained(ctx)
	}
	if err != nil {
		return m, err
	}
	m.persisted = float64(g.Count) / time.Since(begin).Seconds()
	after, err := usageOf(s, b)
	m.cpu = after.since(before, g.Count)
	return m, err
}

func quantiles(q load.Quantiles) []float64 { return []float64{q.P50, q.P95, q.P99} }

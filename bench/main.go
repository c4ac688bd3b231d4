// Command bench measures hookgate against two bare net/http servers. Both check the same signature
// and the same JSON. One stores nothing; the other appends each body to a file and syncs the file,
// which is the least that a durable answer can cost on this machine's disk. hookgate runs embedded,
// and with Redis and PostgreSQL, which this program starts. All run as separate processes, in turn,
// on the machine that also runs the load client, so use the ratios and not the absolute figures.
//
//	go run ./bench          the comparison, a backlog, the memory: about eight minutes
//	go run ./bench -start   from the start to ready with a backlog; from SIGKILL to the next 202
//	go run ./bench -deliver events to consumers: latency, backlogs, consumers that fail
//	go run ./bench -scale   with 10 million events, against an empty gate
//	go run ./bench -cost    without each guarantee
//	go run ./bench -sweep   connections, bodies, keys, partitions, processes
//	go run ./bench -long=false -only everysec -paced 0 -against FILE
//	                        one pairing, flat out, in turn with another hookgate binary
//
// Each of them accepts -json FILE. docs/internals/performance.md explains the output.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
)

// secret signs the requests to all servers.
const secret = "bench-secret"

func main() {
	if len(os.Args) > 1 && os.Args[1] == "bare" {
		serveBare(os.Args[2:])
		return
	}
	if len(os.Args) > 1 && os.Args[1] == sinkCommand {
		serveSink()
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// settings are the flags of a run.
type settings struct {
	Rounds      int    `json:"rounds"`
	FlatOut     int    `json:"flatOutEvents"`
	Paced       int    `json:"pacedEvents"`
	Size        int    `json:"bodyBytes"`
	Connections int    `json:"connections"`
	Events      int    `json:"scaleEvents"`
	Backlog     int    `json:"backlogEvents,omitempty"`
	Only        string `json:"only,omitempty"`
	Against     string `json:"against,omitempty"`

	long, start, scale, cost, sweep, deliver bool
	json, curves, profile, lines             string
}

// pacedRate is the number of events per second in a paced run.
const pacedRate = 500

func (s settings) load() workload {
	return workload{
		flatOut: s.FlatOut, paced: s.Paced, rate: pacedRate, size: s.Size, keys: 100,
		connections: s.Connections, pacedConns: s.Connections, warmUp: 2000,
		processorTime: true, curves: true, peak: true,
	}
}

func parse() (s settings) {
	flag.IntVar(&s.Rounds, "rounds", 5, "how often each server is measured; the median counts")
	flag.IntVar(&s.FlatOut, "flat-out", 60_000, "events of a flat-out run; 0 leaves it out")
	flag.IntVar(&s.Paced, "paced", 5_000, "events of a run at 500/s; 0 leaves it out")
	flag.IntVar(&s.Size, "size", 600, "bytes of a body")
	flag.IntVar(&s.Connections, "connections", 50, "connections of the client")
	flag.IntVar(&s.Events, "events", 0,
		"events that -scale (10,000,000) or -deliver (1,000,000) fills in; 0: that many")
	flag.IntVar(&s.Backlog, "backlog", backlogEvents, "events of a backlog that -deliver pushes")
	flag.StringVar(&s.Only, "only", "", "measure these alone: `names` of columns, separated by commas")
	flag.StringVar(&s.Against, "against", "",
		"another hookgate `binary`, measured in turn with this one: columns other-…")
	flag.BoolVar(&s.long, "long", true,
		"also watch the memory over 300,000 events, and drain a backlog of 100,000")
	flag.BoolVar(&s.start, "start", false,
		"measure instead: the start with a backlog of 100,000, and the way back from SIGKILL")
	flag.BoolVar(&s.scale, "scale", false,
		"measure instead: throughput with -events events against that of an empty gate")
	flag.BoolVar(&s.cost, "cost", false,
		"measure instead: the cost of each guarantee, by leaving it out")
	flag.BoolVar(&s.sweep, "sweep", false,
		"measure instead: connections, body sizes, keys, partitions and processes")
	flag.BoolVar(&s.deliver, "deliver", false,
		"measure instead: from events to consumers; -only names parts: "+partNames())
	flag.StringVar(&s.json, "json", "", "write every figure of every round to this `file`")
	flag.StringVar(&s.curves, "curves", "", "`folder` for the latency curves, as SVG")
	flag.StringVar(&s.lines, "lines", "",
		"`folder` for the figures in the format of benchstat: new.txt, and old.txt with -against")
	flag.StringVar(&s.profile, "profile", "",
		"`folder` for CPU profiles of hookgate, one for each flat-out run")
	flag.Parse()
	if s.Events == 0 && s.deliver {
		s.Events = 1_000_000
	} else if s.Events == 0 {
		s.Events = 10_000_000
	}
	return s
}

func run(ctx context.Context) (err error) {
	s := parse()
	dir, err := os.MkdirTemp("", "hookgate-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	gate, err := build(ctx, s, dir, "hookgate")
	if err != nil {
		return err
	}
	d := newDocument(s)
	// Write the figures also if the run fails.
	defer func() {
		if s.json != "" && len(d.figures.all) > 0 {
			err = errors.Join(err, d.write(s.json))
		}
	}()
	chosen := false
	for _, part := range []struct {
		wanted bool
		run    func(context.Context, *document, settings, string) error
	}{{s.start, startTimes}, {s.scale, scale}, {s.cost, cost}, {s.sweep, sweep},
		{s.deliver, deliveries}} {
		if part.wanted {
			chosen = true
			if err := part.run(ctx, d, s, gate); err != nil {
				return err
			}
		}
	}
	if chosen {
		return nil
	}
	if err := compare(ctx, d, s, gate); err != nil || !s.long {
		return err
	}
	if err := backlog(ctx, d, s, gate); err != nil {
		return fmt.Errorf("backlog: %w", err)
	}
	return memory(ctx, d, s, gate)
}

// build builds hookgate into a folder in the same way as make build. more are arguments for go
// build.
func build(ctx context.Context, s settings, dir, name string, more ...string) (gate string,
	err error) {
	gate = filepath.Join(dir, name)
	args := append([]string{"build", "-o", gate}, more...)
	if s.profile != "" {
		if err := os.MkdirAll(s.profile, 0o755); err != nil {
			return "", err
		}
		args = append(args, "-tags", "profile")
	}
	building := exec.CommandContext(ctx, "go", append(args, "./cmd/hookgate")...)
	building.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := building.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build hookgate (run this from the root of the project): %w\n%s", err, out)
	}
	return gate, nil
}

// progress reports the current step on standard error, because a run can take hours.
func progress(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }

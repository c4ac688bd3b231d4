package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hookgate/hookgate/load"
)

// candidate is a server to compare with others: a bare one, or hookgate with its backends and
// settings.
type candidate struct {
	name string
	// gate is the binary of hookgate. Empty: this program, as the bare server.
	gate string
	// fsync makes the bare server append each body to a file.
	fsync bool
	// shared are its PostgreSQL and Redis; nil for the embedded gate.
	shared *backendOptions
	// settings of hookgate, as environment variables.
	settings []string
	// prepare changes the store of the stopped gate after it has made its schemas. nil: no change.
	prepare func(context.Context, *stand) error
	// bearer makes the client send a key instead of signing.
	bearer bool
	// ingest is the number of processes that take webhooks, in addition to one that stores; 0: one
	// process does both.
	ingest int
	// processes is the number of processes that take webhooks into one PostgreSQL; 0: one.
	processes int
	// versus is the name of the candidate to compare with; empty: none.
	versus string
	load   workload
}

// postgresAlone takes appends into PostgreSQL. everysec and always put Redis in front, and have the
// name of its appendfsync.
var (
	postgresAlone = &backendOptions{alone: true, fsync: true}

	everysec = &backendOptions{appendfsync: "everysec", fsync: true}
	always   = &backendOptions{appendfsync: "always", fsync: true}
)

// standards returns the servers of the main comparison, in the order of the columns.
func standards(s settings, gate string) []*candidate {
	return []*candidate{
		{name: "bare", load: s.load()},
		{name: "bare+fsync", fsync: true, load: s.load()},
		{name: "embedded", gate: gate, load: s.load()},
		{name: "postgres", gate: gate, shared: postgresAlone, load: s.load()},
		{name: "everysec", gate: gate, shared: everysec, load: s.load()},
		{name: "always", gate: gate, shared: always, load: s.load()},
	}
}

// chosen returns the candidates that -only names, each compared with the first of them.
func chosen(all []*candidate, only string) (left []*candidate, err error) {
	for _, c := range all {
		if only != "" && !slices.Contains(strings.Split(only, ","), c.name) {
			continue
		}
		if len(left) > 0 {
			c.versus = left[0].name
		}
		left = append(left, c)
	}
	if len(left) == 0 {
		return nil, fmt.Errorf("-only %s names nothing that is measured here", only)
	}
	return left, nil
}

// gates returns the pairings of hookgate, without the bare servers.
func gates(s settings, gate string, names ...string) (left []*candidate, err error) {
	for _, c := range standards(s, gate) {
		if slices.Contains(names, c.name) && (s.Only == "" || slices.Contains(strings.Split(s.Only, ","),
			c.name)) {
			left = append(left, c)
		}
	}
	if len(left) == 0 {
		return nil, fmt.Errorf("-only %s: there are %s here", s.Only, strings.Join(names, " and "))
	}
	return left, nil
}

// stand is a running candidate with everything that it needs.
type stand struct {
	// servers take webhooks; the first also serves reads. worker stores, if none of them does.
	servers  []*server
	worker   *server
	backends *backends
	dir      string
	// listen is the address of a single server; empty for a free port.
	listen      string
	credentials load.Credentials
	// piles says that no process stores the events for now.
	piles bool
}

// start starts the candidate with new backends, in a folder that stop removes.
func (c *candidate) start(ctx context.Context) (_ *stand, err error) {
	st := &stand{credentials: load.Credentials{HMACSecret: secret}}
	if c.bearer {
		st.credentials = load.Credentials{BearerKey: secret}
	}
	defer func() {
		if err != nil {
			st.stop()
		}
	}()
	if st.dir, err = os.MkdirTemp("", "hookgate-bench-"); err != nil {
		return nil, err
	}
	if c.shared != nil {
		if st.backends, err = startBackends(ctx, *c.shared); err != nil {
			return nil, err
		}
	}
	if c.prepare != nil {
		if err := c.serve(ctx, st); err != nil {
			return nil, err
		}
		st.rest()
		if err := c.prepare(ctx, st); err != nil {
			return nil, err
		}
	}
	return st, c.serve(ctx, st)
}

// profiled returns the candidate with a file for its CPU profile, if s asks for profiles.
func (c *candidate) profiled(s settings, name string, round int) *candidate {
	once := *c
	if s.profile != "" && c.gate != "" {
		file := fmt.Sprintf("%s-%d.pprof", strings.NewReplacer(", ", "-", " ", "-").Replace(name), round)
		once.settings = append(slices.Clone(c.settings), "BENCH_CPU_PROFILE="+filepath.Join(s.profile,
			file))
	}
	return &once
}

// serve starts the servers of the candidate.
func (c *candidate) serve(ctx context.Context, st *stand) error {
	if c.gate == "" {
		return c.serveBare(ctx, st)
	}
	env := slices.Clone(c.settings)
	if c.bearer {
		env = append(env, "WEBHOOK_BEARER_KEY="+secret)
	}
	if st.backends != nil {
		env = append(env, st.backends.env()...)
	}
	for i := range max(c.ingest, c.processes, 1) {
		args := []string{"--data-dir", filepath.Join(st.dir, fmt.Sprint("data", i))}
		if st.listen != "" {
			args = append(args, "--listen", st.listen) // the last --listen counts
		}
		if c.ingest > 0 {
			args = append(args, "--role", "ingest")
		}
		s, err := start(ctx, serveCommand(c.gate, args...), env)
		if err != nil {
			return err
		}
		st.servers = append(st.servers, s)
	}
	if c.ingest > 0 {
		var err error
		st.worker, err = start(ctx, serveCommand(c.gate, "--data-dir", filepath.Join(st.dir, "worker"),
			"--role", "worker"), env)
		return err
	}
	return nil
}

func (c *candidate) serveBare(ctx context.Context, st *stand) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	command := []string{self, "bare"}
	if c.fsync {
		command = append(command, filepath.Join(st.dir, "bodies"))
	}
	s, err := start(ctx, command, nil)
	if err != nil {
		return err
	}
	st.servers = []*server{s}
	return nil
}

func serveCommand(gate string, args ...string) []string {
	return append([]string{gate, "serve", "--listen", "127.0.0.1:0"}, args...)
}

// processes returns the processes of the candidate, without its backends.
func (st *stand) processes() []*server {
	if st.worker != nil {
		return append(slices.Clone(st.servers), st.worker)
	}
	return st.servers
}

// rest stops the servers and keeps their data.
func (st *stand) rest() {
	for _, s := range st.processes() {
		s.stop()
	}
	st.servers, st.worker = nil, nil
}

// stop ends everything and removes the data.
func (st *stand) stop() {
	st.rest()
	if st.backends != nil {
		st.backends.stop()
	}
	os.RemoveAll(st.dir)
}

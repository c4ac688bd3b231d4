// Package gate puts a gate together: the command serve runs one, and a Go program can mount one in
// its own server.
//
//	g, err := gate.Open(ctx, options)     // store, queue, sources; webhooks are taken from here on
//	mux.Handle("/webhooks/", g.Handler())
//	err = g.Run(ctx)                      // the work in the background, until ctx ends
//	err = g.Close()
//
// examples/embed is a whole program.
package gate

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"sync"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/adminapi"
	"github.com/hookgate/hookgate/control"
	"github.com/hookgate/hookgate/dashboard"
	"github.com/hookgate/hookgate/guard"
	"github.com/hookgate/hookgate/ingest"
	"github.com/hookgate/hookgate/internal/attention"
	"github.com/hookgate/hookgate/internal/datadir"
	"github.com/hookgate/hookgate/internal/httpserver"
	"github.com/hookgate/hookgate/internal/metrics"
	"github.com/hookgate/hookgate/persist"
	"github.com/hookgate/hookgate/release"
	"github.com/hookgate/hookgate/release/canary"
	"github.com/hookgate/hookgate/store/retention"
	"github.com/prometheus/client_golang/prometheus"
)

// Gate is a gate that is open. All methods may be called concurrently.
type Gate struct {
	options   Options
	log       *slog.Logger
	keys      credentials
	listeners listeners
	backends  *backends
	server    *httpserver.Server
	canary    *canary.Canary // nil: the gate takes everything

	// tasks are what Run runs; each returns when its context ends.
	tasks []func(context.Context)

	closeOnce sync.Once
	closers   []func() error // in the order in which the parts were opened
	closed    error
}

// Open opens a gate. When it returns, Handler takes webhooks and, if the options name an address,
// connections to it wait for Run. The caller calls Close.
//
//	request ─► httpd ─► admit ─► queue ─► store                   backends.go
//	           guard             └─ Redis ─► persist ─► store
//	           canary ─► upstream              metrics and read API ─► httpd
func Open(ctx context.Context, o Options) (_ *Gate, err error) {
	o.Logger = o.logger()
	if err := o.Check(); err != nil {
		return nil, err
	}
	g := &Gate{options: o, log: o.Logger}
	defer func() {
		if err != nil {
			g.Close() // err is the cause
		}
	}()
	lock, err := o.dir().Lock()
	if err != nil {
		return nil, err
	}
	g.closing(lock.Close)
	if g.keys, err = findCredentials(o); err != nil {
		return nil, err
	}
	var sources []ingest.Source // a worker takes no webhooks
	if o.Role != RoleWorker {
		if sources, err = newSources(o, g.keys); err != nil {
			return nil, err
		}
	}
	if g.listeners, err = listen(o); err != nil {
		return nil, err
	}
	g.closing(func() error {
		g.listeners.Close() // after Run the server has closed them
		return nil
	})
	if err := lock.Note(g.listeners.String()); err != nil {
		return nil, err
	}
	if err := g.open(ctx, sources); err != nil {
		return nil, err
	}
	return g, nil
}

// closing has Close call c, before what was opened earlier is closed.
func (g *Gate) closing(c func() error) { g.closers = append(g.closers, c) }

// Close closes the gate. Run must have returned, and Handler must not be called any more.
func (g *Gate) Close() error {
	g.closeOnce.Do(func() {
		for i := len(g.closers) - 1; i >= 0; i-- {
			if err := g.closers[i](); err != nil && g.closed == nil {
				g.closed = err
			}
		}
	})
	return g.closed
}

// open opens the parts, each after those that it needs. The guard and the release triggers exist
// before the canary, which asks them for a verdict; Run hands the canary to the triggers.
func (g *Gate) open(ctx context.Context, sources []ingest.Source) error {
	o, log := g.options, g.log
	b, err := openStore(ctx, o, log)
	if err != nil {
		return err
	}
	g.backends = b
	g.closing(b.Close)
	traces, err := startTracing(o, log)
	if err != nil {
		return err
	}
	g.closing(traces.stop)
	b.store = traces.store(b.store)
	m := metrics.NewCounters(o.Version)
	if err := b.openQueue(ctx, o, m, log); err != nil {
		return err
	}
	b.queue = traces.queue(b.queue)

	protection := guard.New(guardConfigOf(o, log))
	watch, err := releaseConfigOf(o, b, log)
	if err != nil {
		return err
	}
	triggers := release.NewMonitor(watch)
	verdict := func() ([]string, error) { return release.Verdict(protection, triggers) }
	g.canary, err = newCanary(o, b, verdict, log)
	if err != nil {
		return err
	}
	if g.canary != nil {
		g.closing(func() error { g.canary.Close(); return nil })
	}

	edge, err := httpConfigOf(o, traces.around, log)
	if err != nil {
		return err
	}
	edge.Metrics = m
	letters := attention.NewDeadLetters(b.reader.OpenDeadLetters)
	clock := attention.NewClock(func(ctx context.Context) (int64, error) {
		mark, err := b.mark(ctx)
		return mark.Last, err
	})
	observed := metricsConfigOf(o, b, letters, clock, edge)
	observed.Guard, observed.Release = protection.Status, triggers.Status
	if g.canary != nil {
		observed.CanaryPercent = g.canary.Percent
	}
	m.Observe(observed)
	if err := g.register(m.Collector()); err != nil {
		return err
	}

	refusing := attention.NewRefusing(func() []metrics.Answered { return m.Snapshot().Answers })
	watched := &attention.List{}
	watched.Add(letters.Items)
	watched.Add(refusing.Items)
	watched.Add(clock.Items)
	watched.Add(attention.FailedAudit(o.dir().AuditFailed))
	if b.replaced != nil {
		watched.Add(attention.StoreReplaced(b.replaced))
	}
	live := dashboard.NewLive(dashboard.LiveConfig{
		Metrics: m, Guard: protection, Release: triggers, Mode: b.settings, Store: b.reader,
		Attention: watched, MaxStreams: maxLiveStreams,
	})

	accept := ingestConfigOf(o, edge)
	accept.Queue, accept.Mode, accept.Metrics = b.queue, b.settings.Mode, m
	accept.Guard, accept.Canary = protection, g.canary
	webhooks, err := ingest.New(accept, sources)
	if err != nil {
		return err
	}
	depot, err := openDepot(o)
	if err != nil {
		return err
	}
	calls := adminapi.New(adminConfigOf(o, g.keys, edge), adminapi.Parts{
		Queue: b.queue, Reader: b.reader, Purger: b.purger, Settings: b.settings, Access: b.access,
		Verify: verifierOf(o), Intake: depot, Metrics: m, Webhooks: webhooks, Guard: protection,
		Release: triggers, Canary: g.canary, Attention: watched,
		Pages: dashboard.New(dashboardConfigOf(o, g.listeners, live, log)),
	})
	edge.OnShutdown = calls.Stop
	g.server = httpserver.New(edge, httpserver.Handlers{Webhooks: webhooks, API: calls})

	g.run(live.Run, refusing.Run)
	g.run(func(ctx context.Context) {
		protection.Run(ctx, guard.Inputs{Queue: b.queue.Stats, Mode: b.settings.Mode,
			Observer: triggers.Observe})
	}, func(ctx context.Context) {
		triggers.Run(ctx, releaseControls(o, b, g.canary))
	})
	if g.canary != nil {
		g.run(g.canary.Run)
	}
	if o.Role == RoleIngest {
		return nil
	}
	paused := func() bool { return b.settings.Mode() == control.ModeBuffer }
	g.run(func(ctx context.Context) {
		retention.Run(ctx, retentionConfigOf(o, paused, log), b.pruner, m)
	})
	if b.buffered != nil {
		g.run(func(ctx context.Context) {
			persist.Run(ctx, workerConfigOf(o, paused, log), b.buffered, b.store, m)
		})
	}
	return nil
}

// register adds the gate's metrics to the registry of the program that embeds the gate.
func (g *Gate) register(m prometheus.Collector) error {
	r := g.options.Registerer
	if r == nil {
		return nil
	}
	if err := r.Register(m); err != nil {
		return fmt.Errorf("register the metrics of the gate: %w", err)
	}
	g.closing(func() error { r.Unregister(m); return nil })
	return nil
}

// run has Run run tasks. Each returns when its context ends.
func (g *Gate) run(tasks ...func(context.Context)) { g.tasks = append(g.tasks, tasks...) }

// Run does the work in the background and serves the addresses of the options, until ctx ends; then
// it lets the requests in flight end and returns nil. An error is that of a listener. It may be
// called once.
func (g *Gate) Run(ctx context.Context) error {
	working, stopWorking := context.WithCancel(context.WithoutCancel(ctx))
	var tasks sync.WaitGroup
	for _, task := range g.tasks {
		tasks.Go(func() { task(working) })
	}
	defer tasks.Wait()
	defer stopWorking()

	serving := g.listeners.serve(g.server)
	g.log.Info("serving", "listen", addressOf(g.listeners.public), "admin_listen",
		addressOf(g.listeners.admin), "role", g.options.Role, "data_dir", g.options.DataDir, "version",
		g.options.Version)
	select {
	case err := <-serving:
		return err
	case <-ctx.Done():
	}
	g.log.Info("shutting down: finishing the requests in flight", "timeout",
		g.options.ShutdownTimeout.String())
	deadline, cancel := context.WithTimeout(context.WithoutCancel(ctx), g.options.ShutdownTimeout)
	defer cancel()
	if err := g.server.Shutdown(deadline); err != nil {
		g.log.Warn("requests in flight were cut off", "error", err)
	}
	if serving != nil {
		if err := <-serving; err != nil {
			return err
		}
	}
	stopWorking()
	tasks.Wait()
	if s, err := g.backends.queue.Stats(deadline); err == nil {
		g.log.Info("stopped", "queued", s.Depth)
	}
	return nil
}

// Handler takes webhooks, and answers /livez and /readyz.
func (g *Gate) Handler() http.Handler { return g.server.Handler(httpserver.PublicSide) }

// AdminHandler answers everything else: the read API, the admin API, /metrics and the dashboard.
func (g *Gate) AdminHandler() http.Handler { return g.server.Handler(httpserver.AdminSide) }

// Events are the stored events.
func (g *Gate) Events() hookgate.Events { return g.backends.reader }

// Startup is what a person should know when a gate has started.
type Startup struct {
	// URL and AdminURL are where the gate is reached from this machine; they are the same if there is
	// one listener, and empty if there is none.
	URL, AdminURL string
	// Addr is the address that webhooks come to.
	Addr, AdminAddr string
	// Promise says what a 202 is worth.
	Promise string
	// KeysMade are the files of the keys that were made just now.
	KeysMade []string
	// OwnKeys says that the default source takes the keys of the data directory.
	OwnKeys bool
	Mode    control.Mode
	// CanaryPercent is the share of the ordering keys that the gate takes.
	CanaryPercent int
}

// Startup says what a person should know now that the gate is open.
func (g *Gate) Startup() Startup {
	secure := g.options.TLS.CertFile != ""
	s := Startup{
		URL: urlOf(g.listeners.public, secure), AdminURL: urlOf(g.listeners.admin, secure),
		Addr: addressOf(g.listeners.public), AdminAddr: addressOf(g.listeners.admin),
		Promise: g.backends.promise, KeysMade: g.keys.made,
		OwnKeys: g.keys.fromDataDir && len(g.keys.bearerKeys) > 0, Mode: g.backends.settings.Mode(),
		CanaryPercent: 100,
	}
	if g.canary != nil {
		s.CanaryPercent = g.canary.Percent()
	}
	return s
}

// processName tells this process from others, on other machines too.
func processName() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return fmt.Sprintf("%s-%d", host, os.Getpid())
}

// dir is the data directory.
func (o Options) dir() datadir.Dir { return datadir.Dir(o.DataDir) }

// logger is where the log goes.
func (o Options) logger() *slog.Logger {
	if o.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return o.Logger
}

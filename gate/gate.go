// Package gate puts the parts of a gate together. The command "hookgate serve" runs a gate, and a
// Go program can mount one in its own HTTP server:
//
//	g, err := gate.Open(ctx, gate.Options{
//		DataDir: "data",
//		Sources: gate.Sources{"stripe": gate.Stripe(secret)},
//	})
//	g.Handle("billing", gate.Filter{Types: []string{"invoice.*"}}, book)
//	mux.Handle("/webhooks/", g)
//	err = g.Run(ctx)   // background work, until ctx ends
//	err = g.Close()
//
// The folder examples/embed has a complete program.
//
// Open, in gate.go, wires the parts. The other files turn Options into the configuration of a part:
//
//	options.go, fixed.go, check.go  what a caller can set, fixed limits, permitted values
//	sources.go, presets.go, keys.go, amazon.go
//	                                senders and their secrets
//	backends.go, store.go, queue.go, leftover.go
//	                                store and queue, and what an earlier configuration left
//	http.go, listen.go, tls.go      listeners, webhooks, API, dashboard
//	guard.go, release.go, launcher.go, canary.go
//	                                load protection, release triggers, canary
//	subscriptions.go, subscriptionscheck.go, delivery.go, handle.go
//	                                delivery of stored events
//	workers.go, observe.go, tracing.go, audit.go, evidence.go
//	                                workers, metrics, tracing, audit chain, evidence
//	doctor.go, testwebhook.go       for commands that run without a gate
package gate

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/adminapi"
	"github.com/hookgate/hookgate/control"
	"github.com/hookgate/hookgate/dashboard"
	"github.com/hookgate/hookgate/deliver"
	"github.com/hookgate/hookgate/guard"
	"github.com/hookgate/hookgate/history"
	"github.com/hookgate/hookgate/ingest"
	"github.com/hookgate/hookgate/internal/attention"
	"github.com/hookgate/hookgate/internal/datadir"
	"github.com/hookgate/hookgate/internal/httpserver"
	"github.com/hookgate/hookgate/internal/metrics"
	"github.com/hookgate/hookgate/persist"
	"github.com/hookgate/hookgate/refused"
	"github.com/hookgate/hookgate/release"
	"github.com/hookgate/hookgate/release/canary"
	"github.com/hookgate/hookgate/store/retention"
)

// Gate is an open gate. All methods may be called concurrently.
type Gate struct {
	options   Options
	log       *slog.Logger
	keys      credentials
	listeners listeners
	backends  *backends
	server    *httpserver.Server
	public    http.Handler   // the server's, for senders
	canary    *canary.Canary // nil: the gate takes every webhook

	tasks []func(context.Context) // run by Run; each returns when its context ends
	// record records the history. It is a task that ends after the last delivery, to count it.
	record   func(context.Context)
	delivery *delivery
	started  []StartedSubscription
	handlers handlers

	closeOnce sync.Once
	closers   []func() error // in the order in which the parts were opened
	closeErr  error
}

// Open opens a gate. The caller must call Close. When Open returns, Handler accepts webhooks. If
// the options name addresses to listen on, connections to them wait for Run.
//
// Open creates DataDir with mode 0700. It does not change the mode of a folder that exists, and new
// files have the mode that the process's umask gives them.
//
//	                  ┌─ canary ─► upstream
//	httpserver ─► ingest ─► admit ─► queue ─────────────────────────► store ─► deliver ─► push
//	    │            └─ guard          └─ Redis ─► persist (workers) ───┘ │
//	    └───────► adminapi ◄── metrics, guard, release, attention ◄───────┘
//	                  └─ dashboard
func Open(ctx context.Context, o Options) (_ *Gate, err error) {
	o = o.withDefaults()
	o.Logger = o.logger()
	if err := o.Check(); err != nil {
		return nil, err
	}
	subscriptions, err := o.newSubscriptions()
	if err != nil {
		return nil, err
	}
	g := &Gate{options: o, log: o.Logger}
	defer func() {
		if err != nil {
			g.Close() // err says more than the error of Close
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
	var sources []ingest.Source // none in a process that takes no webhooks
	if o.receives() {
		if sources, err = newSources(o, g.keys); err != nil {
			return nil, err
		}
	}
	if g.listeners, err = listen(o); err != nil {
		return nil, err
	}
	g.closing(func() error {
		g.listeners.Close() // an error: the server has closed them
		return nil
	})
	if err := lock.Note("listening on " + g.listeners.String()); err != nil {
		return nil, err
	}
	if err := g.open(ctx, sources, subscriptions); err != nil {
		return nil, err
	}
	return g, nil
}

// closing adds c to the functions that Close calls. Close calls the last one first.
func (g *Gate) closing(c func() error) { g.closers = append(g.closers, c) }

// Close closes the gate. Run must have returned, and the handlers must not be called any more. A
// second call returns the result of the first.
func (g *Gate) Close() error {
	g.closeOnce.Do(func() {
		for i := len(g.closers) - 1; i >= 0; i-- {
			if err := g.closers[i](); err != nil && g.closeErr == nil {
				g.closeErr = err
			}
		}
	})
	return g.closeErr
}

// open opens the parts, each one after the parts that it needs. The canary needs the verdict of the
// guard and the release triggers; the triggers need the canary only when they act, so they receive
// it in their Run.
func (g *Gate) open(ctx context.Context, sources []ingest.Source,
	subscriptions []deliver.Subscription) error {
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
	paused := func() bool { return b.settings.Mode() == control.ModeBuffer }
	g.delivery, err = newDelivery(ctx, o, b, subscriptions, paused, m, log)
	if err != nil {
		return err
	}
	g.started = g.delivery.started(ctx, o, b)

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
	letters := attention.NewDeadLetters(b.reader.OpenDeadLetters, b.oldestDeadLetter)
	clock := attention.NewClock(func(ctx context.Context) (int64, error) {
		mark, err := b.mark(ctx)
		return mark.Last, err
	})
	subscribed := attention.NewSubscriptions(b.subscriptions.Subscriptions, o.retentionWaits())
	observed := metricsConfigOf(o, b, letters, clock, subscribed, edge)
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
	watched.Add(subscribed.Items)
	watched.Add(clock.Items)
	watched.Add(attention.Disk(o.dir().Space))
	if observed.CertificateExpiry != nil {
		watched.Add(attention.Certificate(observed.CertificateExpiry))
	}
	watched.Add(attention.FailedAudit(o.dir().AuditFailed))
	if b.replaced != nil {
		watched.Add(attention.StoreReplaced(b.replaced))
	}
	recorder := history.NewRecorder(b.history, m.History, incarnationName(), log)
	live := dashboard.NewLive(dashboard.LiveConfig{
		Metrics: m, Guard: protection, Release: triggers, Mode: b.settings, Store: b.reader,
		Attention: watched, MaxStreams: maxLiveStreams,
	})

	accept := ingestConfigOf(o, edge)
	accept.Queue, accept.Mode, accept.Metrics = b.queue, b.settings.Mode, m
	accept.Guard, accept.Canary = protection, g.canary
	rejected := refused.NewRecorder(b.refused, log)
	accept.Refused = rejected
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
		Subscriptions: b.subscriptions, Control: b.subscriptions, Wake: g.delivery.wake,
		Delivering: g.delivery.live, Log: b.log, Puller: g.delivery.puller,
		Temporary: o.temporary(b), History: recorder, Refused: b.refused,
		Pages: dashboard.New(dashboardConfigOf(o, g.listeners, live, log)),
	})
	edge.OnShutdown = calls.Stop
	g.server = httpserver.New(edge, httpserver.Handlers{Webhooks: webhooks, API: calls})
	g.public = g.server.Handler(httpserver.PublicSide)

	g.record = recorder.Run
	g.run(live.Run, refusing.Run, rejected.Run)
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
	g.run(func(ctx context.Context) {
		retention.Run(ctx, retentionConfigOf(o, paused, log), b.pruner, m)
	})
	if b.buffered != nil && o.Role != RoleDeliver {
		g.run(func(ctx context.Context) {
			persist.Run(ctx, workerConfigOf(o, paused, log), b.buffered, b.store, m)
		})
	}
	return nil
}

// register adds the metrics to Options.Registerer until Close.
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

// run adds tasks to those that Run runs.
func (g *Gate) run(tasks ...func(context.Context)) { g.tasks = append(g.tasks, tasks...) }

// Run does the background work and serves the addresses in the options until ctx ends. Then it
// waits up to ShutdownTimeout for requests and deliveries in flight, and returns nil. If a listener
// fails, Run does the same at once and returns the error. A second call does nothing but return an
// error, and so does a call after a Handle that failed.
//
// A caller that serves the handlers itself must end its own server before ctx ends.
func (g *Gate) Run(ctx context.Context) error {
	if err := g.handlers.close(); err != nil {
		return err
	}
	working, stopWorking := context.WithCancel(context.WithoutCancel(ctx))
	var tasks sync.WaitGroup
	for _, task := range g.tasks {
		tasks.Go(func() { task(working) })
	}
	delivering, stopDelivering := context.WithCancel(working)
	recording, stopRecording := context.WithCancel(context.WithoutCancel(ctx))
	tasks.Go(func() { g.record(recording) })
	tasks.Go(func() {
		defer stopRecording()
		g.delivery.run(delivering)
		<-working.Done()
	})
	defer tasks.Wait()
	defer stopWorking()
	defer stopDelivering()

	serving := g.listeners.serve(g.server)
	g.log.Info("serving", "listen", addressOf(g.listeners.public), "admin_listen",
		addressOf(g.listeners.admin), "role", g.options.Role, "data_dir", g.options.DataDir, "version",
		g.options.Version)
	var failure error
	select {
	case failure = <-serving:
	case <-ctx.Done():
	}
	g.log.Info("shutting down: finishing the requests and deliveries in flight", "timeout",
		g.options.ShutdownTimeout.String())
	deadline, cancel := context.WithTimeout(context.WithoutCancel(ctx), g.options.ShutdownTimeout)
	defer cancel()
	// Attempts in flight have the same time to finish. New ones do not start.
	stopDelivering()
	if err := g.server.Shutdown(deadline); err != nil {
		g.log.Warn("requests in flight did not finish in time and were cut off", "error", err)
	}
	if serving != nil && failure == nil {
		failure = <-serving
	}
	if failure != nil {
		return failure
	}
	stopWorking()
	tasks.Wait()
	if s, err := g.backends.queue.Stats(deadline); err == nil {
		g.log.Info("stopped", "queued", s.Depth)
	}
	return nil
}

// Handler returns the handler for senders: webhooks, /livez and /readyz. The limits of HTTPOptions
// on connections, headers and time apply to the listeners of Run only.
func (g *Gate) Handler() http.Handler { return g.public }

// ServeHTTP is that of Handler, so that a gate can be mounted itself:
//
//	mux.Handle("/webhooks/", g)
func (g *Gate) ServeHTTP(w http.ResponseWriter, r *http.Request) { g.public.ServeHTTP(w, r) }

// AdminHandler returns the handler for everything else: the read API, the admin API, /metrics and
// the dashboard.
func (g *Gate) AdminHandler() http.Handler { return g.server.Handler(httpserver.AdminSide) }

// Events returns the stored events.
func (g *Gate) Events() hookgate.Events { return g.backends.reader }

// Subscriptions shows the subscriptions of the store, those of other processes too.
func (g *Gate) Subscriptions() hookgate.SubscriptionReader { return g.backends.subscriptions }

// Options returns the options of the gate, with the defaults.
func (g *Gate) Options() Options { return g.options }

// Startup describes a gate that was opened, for the person who started it.
type Startup struct {
	// Addr is the address for webhooks, AdminAddr that for everything else. They are equal with one
	// listener, and empty without.
	Addr, AdminAddr string
	// URL and AdminURL are the base URLs of these addresses, as seen from this machine.
	URL, AdminURL string
	// Promise says in a sentence without a full stop what a 202 means.
	Promise string
	// KeysMade are the files of the keys that this start made.
	KeysMade []string
	// OwnKeys reports that the default source uses the keys in the data directory.
	OwnKeys bool
	Mode    control.Mode
	// Subscriptions are the configured subscriptions, by name.
	Subscriptions []StartedSubscription
	// CanaryPercent is the percentage of the ordering keys that the gate takes.
	CanaryPercent int
}

// Startup describes the gate.
func (g *Gate) Startup() Startup {
	secure := g.options.TLS.CertFile != ""
	s := Startup{
		URL: urlOf(g.listeners.public, secure), AdminURL: urlOf(g.listeners.admin, secure),
		Addr: addressOf(g.listeners.public), AdminAddr: addressOf(g.listeners.admin),
		Promise: g.backends.promise, KeysMade: g.keys.made,
		OwnKeys: g.keys.fromDataDir && len(g.keys.bearerKeys) > 0, Mode: g.backends.settings.Mode(),
		CanaryPercent: 100, Subscriptions: g.started,
	}
	if g.canary != nil {
		s.CanaryPercent = g.canary.Percent()
	}
	return s
}

// processName returns a name that no other process of the gate has, on any machine.
func processName() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return fmt.Sprintf("%s-%d", host, os.Getpid())
}

// incarnationName returns a name that no process of the gate has had, on any machine.
func incarnationName() string {
	return processName() + "-" + strings.ToLower(rand.Text()[:8])
}

// dir returns the data directory.
func (o Options) dir() datadir.Dir { return datadir.Dir(o.DataDir) }

// logger returns Logger, or a logger that discards everything.
func (o Options) logger() *slog.Logger {
	if o.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return o.Logger
}

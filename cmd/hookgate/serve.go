package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/adminapi"
	"github.com/hookgate/hookgate/admit"
	"github.com/hookgate/hookgate/control"
	"github.com/hookgate/hookgate/dashboard"
	"github.com/hookgate/hookgate/doctor"
	"github.com/hookgate/hookgate/guard"
	"github.com/hookgate/hookgate/ingest"
	"github.com/hookgate/hookgate/internal/attention"
	"github.com/hookgate/hookgate/internal/httpserver"
	"github.com/hookgate/hookgate/internal/metrics"
	"github.com/hookgate/hookgate/persist"
	"github.com/hookgate/hookgate/release"
	"github.com/hookgate/hookgate/release/canary"
	"github.com/hookgate/hookgate/store/retention"
)

func newServeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the gate",
		Long: `Run the gate: take webhooks, answer 202 when each is on disk, store them in order.

Everything is kept in the data directory, unless DB_URL makes PostgreSQL the store; then
any number of processes share it. REDIS_URL puts Redis before the store: webhooks are
queued there, and workers store them. The gate also starts while these are away: it
spools on its own disk until they are there. On the first start keys are made in the data
directory and shown where they are. SIGTERM or SIGINT ends it in good order; webhooks
that are queued then are stored later. SIGHUP changes nothing.

Settings come from hookgate.yaml, the environment and flags, in rising
precedence; docs/reference/configuration.md has them all.`,
		Example: `  hookgate serve
  hookgate serve --listen 0.0.0.0:8080 --data-dir /var/lib/hookgate
  REDIS_URL=redis://10.0.0.1 DB_URL=postgres://gate@10.0.0.2/gate hookgate serve --role worker`,
		Args: cobra.NoArgs,
	}
	flags := cmd.Flags()
	flags.String("config", "", "configuration `file` (default hookgate.yaml, if there is one)")
	flags.String("listen", "", "`address` to listen on (default 127.0.0.1:8080)")
	flags.String("data-dir", "", "`folder` for store, spool and keys (default ./data)")
	flags.String("role", "", "what this process does: `all`, ingest (take webhooks; with PostgreSQL) or worker (store them; with Redis and PostgreSQL)")
	flags.Int("workers", 0, "most workers at a time, with Redis (default: half the number of cores)")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		set := map[string]any{}
		for flag, path := range map[string]string{
			"config": "config", "listen": "listen", "data-dir": "data_dir", "role": "role",
			"workers": "worker.count",
		} {
			if f := flags.Lookup(flag); f.Changed {
				set[path] = f.Value.String()
			}
		}
		c, err := loadConfig(os.Environ(), set)
		if err != nil {
			return err
		}
		return serve(cmd.Context(), c, cmd.OutOrStdout(), cmd.ErrOrStderr())
	}
	return cmd
}

// serve runs a gate until ctx ends. It prints where it listens on out and logs to logs.
//
//	listener ─► httpserver ─► ingest ─► admit ─► queue ─► store      (backends.go)
//	              guard             └─ Redis ─► worker ─► store
//	                                            metrics and read API ─► adminapi
func serve(ctx context.Context, c config, out, logs io.Writer) (err error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.LogLevel)); err != nil {
		return fmt.Errorf("log_level: %w", err)
	}
	log := slog.New(slog.NewJSONHandler(logs, &slog.HandlerOptions{Level: level,
		ReplaceAttr: readable}))
	defer surviveHangups(log)()
	if len(c.unused) > 0 {
		log.Warn("these settings have no effect: they are for Redis as the queue", "settings",
			strings.Join(c.unused, ", "))
	}
	tuneRuntime()
	// Nobody else reads the webhooks, whatever the folder allows. SQLite gives its journals the mode
	// of the database.
	syscall.Umask(0o077)

	lock, err := c.DataDir.lock()
	if err != nil {
		return err
	}
	defer lock.unlock()
	keys, err := findCredentials(c)
	if err != nil {
		return err
	}
	var sources []ingest.Source // a worker takes no webhooks
	if c.Role != roleWorker {
		if sources, err = newSources(c, keys); err != nil {
			return err
		}
	}
	reached, err := listen(c)
	if err != nil {
		return err
	}
	defer reached.Close()
	if err := lock.note("listening on " + reached.String()); err != nil {
		return err
	}

	b, err := openStore(ctx, c, log)
	if err != nil {
		return err
	}
	defer closing(&err, b)
	traces, err := startTracing(c, log)
	if err != nil {
		return err
	}
	defer traces.stop()
	edge, err := httpConfigOf(c, traces.around, log)
	if err != nil {
		return err
	}
	protection := guard.New(guardConfigOf(c, log))
	watch, err := releaseConfigOf(c, b, log)
	if err != nil {
		return err
	}
	monitor := release.NewMonitor(watch)
	var shared *canary.Canary // asked only when the gate serves
	letters := attention.NewDeadLetters(b.reader.OpenDeadLetters)
	clock := attention.NewClock(func(ctx context.Context) (int64, error) {
		mark, err := b.mark(ctx)
		return mark.Last, err
	})
	described := metricsConfigOf(c, b, letters, clock, edge)
	described.Guard, described.Release = protection.Status, monitor.Status
	if c.Canary.Upstream != "" {
		described.CanaryPercent = func() int { return shared.Percent() }
	}
	m := metrics.New(described)
	b.store = traces.store(b.store)
	if err := b.openQueue(ctx, c, m, log); err != nil {
		return err
	}
	b.queue = traces.queue(b.queue)

	depot, err := openDepot(c)
	if err != nil {
		return err
	}
	verdict := func() ([]string, error) { return release.Verdict(protection, monitor) }
	shared, err = newCanary(c, b, verdict, log)
	if err != nil {
		return err
	}
	if shared != nil {
		defer shared.Close()
	}
	refusing := attention.NewRefusing(func() []metrics.Answered { return m.Snapshot().Answers })
	watched := &attention.List{}
	watched.Add(letters.Items)
	watched.Add(refusing.Items)
	watched.Add(clock.Items)
	watched.Add(attention.FailedAudit(c.DataDir.auditFailed))
	if b.replaced != nil {
		watched.Add(attention.StoreReplaced(b.replaced))
	}
	live := dashboard.NewLive(dashboard.LiveConfig{
		Metrics: m, Guard: protection, Release: monitor, Mode: b.settings, Store: b.reader, Attention: watched,
		MaxStreams: c.Admin.LiveStreams,
	})
	pages := dashboard.New(dashboardConfigOf(c, reached, live, log))
	edge.Metrics = m
	taken := ingestConfigOf(c, edge)
	taken.Queue, taken.Mode, taken.Metrics = b.queue, b.settings.Mode, m
	taken.Guard, taken.Canary = protection, shared
	webhooks, err := ingest.New(taken, sources)
	if err != nil {
		return err
	}
	calls := adminapi.New(adminConfigOf(c, keys, edge), adminapi.Parts{Queue: b.queue, Reader: b.reader,
		Purger: b.purger, Settings: b.settings, Access: b.access, Verify: verifierOf(c), Intake: depot,
		Metrics: m, Pages: pages, Webhooks: webhooks, Guard: protection,
		Release: monitor, Canary: shared,
		Attention: watched})
	edge.OnShutdown = calls.Stop
	server := httpserver.New(edge, httpserver.Handlers{Webhooks: webhooks, API: calls})

	working, stopWorking := context.WithCancel(context.Background())
	var workers sync.WaitGroup
	if c.Role != roleIngest {
		paused := func() bool { return b.settings.Mode() == control.ModeBuffer }
		if b.buffered != nil {
			workers.Go(func() {
				persist.Run(working, workerConfigOf(c, paused, log), b.buffered, b.store,
					m)
			})
		}
		workers.Go(func() { retention.Run(working, retentionConfigOf(c, paused, log), b.pruner, m) })
	}
	workers.Go(func() { monitor.Run(working, releaseControls(c, b, shared)) })
	workers.Go(func() {
		protection.Run(working, guard.Inputs{Queue: b.queue.Stats, Mode: b.settings.Mode,
			Observer: monitor.Observe})
	})
	if shared != nil {
		workers.Go(func() { shared.Run(working) })
	}
	workers.Go(func() { live.Run(working) })
	workers.Go(func() { refusing.Run(working) })
	defer workers.Wait()
	defer stopWorking()

	serving := reached.serve(server)
	announce(out, c, keys, reached, b, shared)
	log.Info("serving", "listen", reached.public.Addr().String(), "admin_listen",
		reached.admin.Addr().String(), "role", c.Role, "data_dir", c.DataDir, "version", versionText())

	select {
	case err := <-serving:
		return err
	case <-ctx.Done():
	}
	log.Info("shutting down: finishing the requests in flight", "timeout", c.ShutdownTimeout.String())
	deadline, cancel := context.WithTimeout(context.Background(), c.ShutdownTimeout)
	defer cancel()
	if err := server.Shutdown(deadline); err != nil {
		log.Warn("requests in flight were cut off", "error", err)
	}
	if err := <-serving; err != nil {
		return err
	}
	stopWorking()
	workers.Wait()
	if s, err := b.queue.Stats(deadline); err == nil {
		log.Info("stopped", "queued", s.Depth)
	}
	return nil
}

// surviveHangups keeps SIGHUP from ending the process, which some send to have settings read again,
// until the function that it returns is called.
func surviveHangups(log *slog.Logger) (stop func()) {
	hangups, done := make(chan os.Signal, 1), make(chan struct{})
	signal.Notify(hangups, syscall.SIGHUP)
	go func() {
		defer close(done)
		for range hangups {
			log.Warn("SIGHUP changes nothing: there is no reload. Restart to have settings read again;" +
				" a certificate is read again by itself when its files change")
		}
	}()
	return func() {
		signal.Stop(hangups)
		close(hangups)
		<-done
	}
}

// closing closes c and keeps the first error.
func closing(err *error, c io.Closer) {
	if e := c.Close(); e != nil && *err == nil {
		*err = e
	}
}

func httpConfigOf(c config, around func(http.Handler) http.Handler,
	log *slog.Logger) (httpserver.Config, error) {
	secure, err1 := newTLS(c.TLS, log)
	trusted, err2 := parsePrefixes(c.HTTP.TrustedProxies)
	return httpserver.Config{
		TLS:                      secure,
		TrustedProxies:           trusted,
		MaxHeaderBytes:           int(c.HTTP.MaxHeader),
		MaxHeaderMemory:          int64(c.HTTP.MaxHeaderMemory),
		MaxConnections:           c.HTTP.MaxConnections,
		MaxConnectionsPerAddress: c.HTTP.MaxPerAddress,
		ReadHeaderTimeout:        c.HTTP.ReadHeaderTimeout,
		ReadTimeout:              c.HTTP.ReadTimeout,
		WriteTimeout:             c.HTTP.WriteTimeout,
		IdleTimeout:              c.HTTP.IdleTimeout,
		RetryAfter:               c.HTTP.RetryAfter,
		Logger:                   log,
		Around:                   around,
	}, errors.Join(err1, err2)
}

func ingestConfigOf(c config, edge httpserver.Config) ingest.Config {
	return ingest.Config{
		MaxBodyBytes:     int64(c.HTTP.MaxBody),
		MaxUnpackedBytes: int64(c.HTTP.MaxUnpacked),
		RetryAfter:       edge.RetryAfter,
		TrustedProxies:   edge.TrustedProxies,
		Logger:           edge.Logger,
	}
}

func adminConfigOf(c config, k credentials, edge httpserver.Config) adminapi.Config {
	return adminapi.Config{
		WriteTimeout:    edge.WriteTimeout,
		RetryAfter:      edge.RetryAfter,
		TrustedProxies:  edge.TrustedProxies,
		AdminTokens:     k.adminTokens,
		Approvals:       adminapi.ApprovalRules(c.Approvals),
		FailedLogins:    c.Admin.FailedLogins,
		SessionIdle:     c.Admin.SessionIdle,
		SessionMax:      c.Admin.SessionMax,
		AuditTimeout:    c.Admin.AuditTimeout,
		MaxEvidenceAge:  c.Canary.MaxEvidenceAge,
		SearchTime:      c.Admin.SearchTime,
		EvidenceTokens:  k.evidenceTokens,
		MaxEvidence:     int64(c.Evidence.MaxSize),
		EvidenceTimeout: c.Evidence.Timeout,
		QueueKind:       c.Queue.Kind,
		Version:         versionText(),
		Logger:          edge.Logger,
	}
}

func dashboardConfigOf(c config, l listeners, live *dashboard.Live,
	log *slog.Logger) dashboard.Config {
	d := dashboard.Config{Version: versionText(), Process: processName(), Live: live, Logger: log}
	if l.separate() {
		d.Base = urlOf(l.public, c.TLS.CertFile != "")
	}
	return d
}

// processName tells this process from others, on other machines too.
func processName() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return fmt.Sprintf("%s-%d", host, os.Getpid())
}

func workerConfigOf(c config, paused func() bool, log *slog.Logger) persist.Config {
	return persist.Config{
		Workers:      c.Worker.Count,
		MinWorkers:   c.Worker.Min,
		MaxRecords:   c.Worker.MaxRecords,
		MaxBytes:     int(c.Worker.MaxBytes),
		Linger:       c.Worker.Linger,
		ApplyTarget:  c.Worker.ApplyTarget,
		ApplyTimeout: c.Worker.ApplyTimeout,
		BackoffMin:   c.Worker.BackoffMin,
		BackoffMax:   c.Worker.BackoffMax,
		MaxRate:      c.Worker.MaxRate,
		Paused:       paused,
		Name:         processName(),
		Logger:       log,
	}
}

// postgresPruneTarget is how long a step of retention may take in PostgreSQL, where it is in
// nobody's way.
const postgresPruneTarget = 100 * time.Millisecond

func retentionConfigOf(c config, paused func() bool, log *slog.Logger) retention.Config {
	r := retention.Config{
		Events: c.Retention.Events,
		Trail:  c.Retention.Trail,
		Share:  float64(c.Retention.SharePercent) / 100,
		Paused: paused,
		Logger: log,
	}
	if c.Database.URL != "" {
		r.StepTarget = postgresPruneTarget
	}
	return r
}

// metricsConfigOf says where the metrics ask what nobody reports to them. The queue may be opened
// later.
func metricsConfigOf(c config, b *backends, letters *attention.DeadLetters, clock *attention.Clock,
	edge httpserver.Config) metrics.Config {
	m := metrics.Config{
		Queue: func(ctx context.Context) (hookgate.QueueStats,
			error) {
			return b.queue.Stats(ctx)
		},
		Store:           b.reader.Counts,
		Pool:            b.pool,
		Mode:            func() control.Mode { return b.settings.Mode() },
		Kind:            c.Queue.Kind,
		ClockBehind:     clock.Behind,
		OpenDeadLetters: letters.Open,
		DataDir:         func() (int64, int64, error) { return doctor.DiskSpace(string(c.DataDir)) },
		Version:         versionText(),
	}
	if c.Queue.Kind == kindRedis {
		m.Holdings = func() metrics.Holdings { return b.holdings() }
	}
	if edge.TLS != nil {
		m.CertificateExpiry = func() (time.Time, error) {
			cert, err := edge.TLS.GetCertificate(nil)
			if err != nil {
				return time.Time{}, err
			}
			return cert.Leaf.NotAfter, nil
		}
	}
	return m
}

// announce tells a person where the gate listens, what a 202 is worth and how to send a first
// webhook.
func announce(to io.Writer, c config, k credentials, l listeners, b *backends,
	shared *canary.Canary) {
	out := &bytes.Buffer{} // written at once, so that who waits for the first line has them all
	defer out.WriteTo(to)
	url := urlOf(l.public, c.TLS.CertFile != "")
	fmt.Fprintf(out, "hookgate %s listens on %s\n", versionText(), l.public.Addr())
	if l.separate() {
		fmt.Fprintf(out, "Admin and read API, metrics: on %s alone.\n", l.admin.Addr())
	}
	fmt.Fprintf(out, "%s.\n", strings.Replace(b.promise, "a", "A", 1))
	for _, path := range k.made {
		fmt.Fprintf(out, "Made %s (mode 0600).\n", path)
	}
	switch mode := b.settings.Mode(); mode {
	case control.ModeReadOnly:
		fmt.Fprintf(out, "Mode is %s: webhooks are refused with 503 until `hookgate maintenance normal`.\n", mode)
	case control.ModeBuffer:
		fmt.Fprintf(out, "Mode is %s: webhooks are queued and nothing is stored until `hookgate maintenance normal`.\n", mode)
	}
	if shared != nil {
		fmt.Fprintf(out, "Canary: %d percent of the ordering keys are taken here, everything else goes on to %s.\n", shared.Percent(), c.Canary.Upstream)
	}
	if c.Role == roleWorker {
		fmt.Fprintln(out, "Role is worker: webhooks are taken by other processes.")
		return
	}
	for _, name := range c.sourceNames() {
		if name != ingest.DefaultSource {
			fmt.Fprintf(out, "Source %s (%s): %s/webhooks/%s\n", name, c.Sources[name].Kind, url, name)
		}
		if kind, _ := admit.Find(c.Sources[name].Kind); kind.Open {
			fmt.Fprintf(out, "Source %s authenticates nobody: whoever reaches %s may send.\n", name,
				l.public.Addr())
		}
	}
	if k.fromDataDir && len(k.bearerKeys) > 0 {
		adminToken := "the token in " + c.DataDir.keyFile(adminTokenName)
		if len(c.AdminTokens) > 0 {
			adminToken = "an admin token"
		}
		fmt.Fprintf(out, `
Send a first webhook:

  curl -i %s/webhooks -H "Authorization: Bearer $(cat %s)" \
    -H 'Content-Type: application/json' -d '{"messageId":"evt-1","eventType":"order.paid","orderingKey":"customer-1","amount":42}'

and see what became of it:

  %s trace evt-1 --target %s --data-dir %s

or look at %s/ui/ with %s.

`, url, shellQuote(c.DataDir.keyFile(bearerKeyName)), self(), urlOf(l.admin, c.TLS.CertFile != ""), shellQuote(string(c.DataDir)),
			urlOf(l.admin, c.TLS.CertFile != ""), adminToken)
	}
}

// self is how a person starts this program: by its name, or with go run from the folder of its
// source.
func self() string {
	if path, err := os.Executable(); err == nil && strings.Contains(path, string(filepath.Separator)+
		"go-build") {
		return "go run ./cmd/hookgate"
	}
	return "hookgate"
}

// readable writes a duration into the log as "1.5s"; slog would write its nanoseconds as a number
// without a unit.
func readable(_ []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() == slog.KindDuration {
		a.Value = slog.StringValue(a.Value.Duration().Round(time.Microsecond).String())
	}
	return a
}

package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/hookgate/hookgate/admit"
	"github.com/hookgate/hookgate/config"
	"github.com/hookgate/hookgate/control"
	"github.com/hookgate/hookgate/gate"
	"github.com/hookgate/hookgate/ingest"
	"github.com/hookgate/hookgate/internal/datadir"
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
	configFlag(cmd)
	flags.String("listen", "", "`address` to listen on (default 127.0.0.1:8080)")
	flags.String("data-dir", "", "`folder` for store, spool and keys (default ./data)")
	flags.String("role", "", "what this process does: `all`, ingest (take webhooks; with PostgreSQL) or worker (store them; with Redis and PostgreSQL)")
	flags.Int("workers", 0, "most workers at a time, with Redis (default: half the number of cores)")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := loadConfig(cmd, map[string]string{"config": "config", "listen": "listen",
			"data-dir": "data_dir", "role": "role", "workers": "worker.count"})
		if err != nil {
			return err
		}
		return serve(cmd.Context(), c, cmd.OutOrStdout(), cmd.ErrOrStderr())
	}
	return cmd
}

// serve runs a gate until ctx ends. It prints where it listens on out and logs to logs.
func serve(ctx context.Context, c config.Config, out, logs io.Writer) (err error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.LogLevel)); err != nil {
		return fmt.Errorf("log_level: %w", err)
	}
	log := slog.New(slog.NewJSONHandler(logs, &slog.HandlerOptions{Level: level,
		ReplaceAttr: readable}))
	defer surviveHangups(log)()
	if len(c.Unused) > 0 {
		log.Warn("these settings have no effect: they are for Redis as the queue", "settings",
			strings.Join(c.Unused, ", "))
	}
	tuneRuntime()
	// Nobody else reads the webhooks, whatever the folder allows. SQLite gives its journals the mode
	// of the database.
	syscall.Umask(0o077)

	c.Logger, c.Version = log, versionText()
	g, err := gate.Open(ctx, c.Options)
	if err != nil {
		return err
	}
	defer closing(&err, g)
	announce(out, c, g.Startup())
	return g.Run(ctx)
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

// announce tells a person where the gate listens, what a 202 is worth and how to send a first
// webhook.
func announce(to io.Writer, c config.Config, started gate.Startup) {
	out := &bytes.Buffer{} // written at once, so that who waits for the first line has them all
	defer out.WriteTo(to)
	fmt.Fprintf(out, "hookgate %s listens on %s\n", versionText(), started.Addr)
	if started.AdminAddr != started.Addr {
		fmt.Fprintf(out, "Admin and read API, metrics: on %s alone.\n", started.AdminAddr)
	}
	fmt.Fprintf(out, "%s.\n", strings.Replace(started.Promise, "a", "A", 1))
	for _, path := range started.KeysMade {
		fmt.Fprintf(out, "Made %s (mode 0600).\n", path)
	}
	switch mode := started.Mode; mode {
	case control.ModeReadOnly:
		fmt.Fprintf(out, "Mode is %s: webhooks are refused with 503 until `hookgate maintenance normal`.\n", mode)
	case control.ModeBuffer:
		fmt.Fprintf(out, "Mode is %s: webhooks are queued and nothing is stored until `hookgate maintenance normal`.\n", mode)
	}
	if c.Canary.Upstream != "" {
		fmt.Fprintf(out, "Canary: %d percent of the ordering keys are taken here, everything else goes on to %s.\n", started.CanaryPercent, c.Canary.Upstream)
	}
	if c.Role == gate.RoleWorker {
		fmt.Fprintln(out, "Role is worker: webhooks are taken by other processes.")
		return
	}
	for _, name := range c.SourceNames() {
		if name != ingest.DefaultSource {
			fmt.Fprintf(out, "Source %s (%s): %s/webhooks/%s\n", name, c.Sources[name].Kind, started.URL,
				name)
		}
		if kind, _ := admit.Find(c.Sources[name].Kind); kind.Open {
			fmt.Fprintf(out, "Source %s authenticates nobody: whoever reaches %s may send.\n", name,
				started.Addr)
		}
	}
	if started.OwnKeys {
		adminToken := "the token in " + datadir.Dir(c.DataDir).KeyFile(datadir.AdminToken)
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

`, started.URL, shellQuote(datadir.Dir(c.DataDir).KeyFile(datadir.BearerKey)), self(), started.AdminURL, shellQuote(c.DataDir),
			started.AdminURL, adminToken)
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

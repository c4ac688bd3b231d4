package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/hookgate/hookgate/config"
	"github.com/hookgate/hookgate/gate"
	"github.com/hookgate/hookgate/internal/collector"
	"github.com/hookgate/hookgate/internal/show"
	"github.com/hookgate/hookgate/internal/signals"
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
	defer signals.SurviveHangups(log)()
	if len(c.Unused) > 0 {
		log.Warn("these settings have no effect: they are for Redis as the queue", "settings",
			strings.Join(c.Unused, ", "))
	}
	collector.Tune()
	// Nobody else reads the webhooks, whatever the folder allows. SQLite gives its journals the mode
	// of the database.
	syscall.Umask(0o077)

	c.Logger, c.Version = log, versionText()
	g, err := gate.Open(ctx, c.Options)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, g.Close()) }()
	show.Startup(out, c.Options, g.Startup())
	return g.Run(ctx)
}

// readable writes a duration into the log as "1.5s"; slog would write its nanoseconds as a number
// without a unit.
func readable(_ []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() == slog.KindDuration {
		a.Value = slog.StringValue(a.Value.Duration().Round(time.Microsecond).String())
	}
	return a
}

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

	"github.com/hookgate/hookgate/certify"
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
		Long: `Run the gate: take webhooks, answer 202 when each is stored durably, and push the events to
your code (--push, or subscriptions in hookgate.yaml). Each ordering key keeps its order.

By default the store is one SQLite file in the data directory. With DB_URL the store is
PostgreSQL, and any number of processes share it. With REDIS_URL webhooks are first queued
in Redis, and workers store them. If these services are away, the gate starts all the
same and spools webhooks on its own disk until they are back.

The first start makes keys in the data directory and prints their paths. SIGTERM or SIGINT
ends the gate gracefully: what is queued then is stored later. SIGHUP does nothing.

Settings come from hookgate.yaml, the environment and flags; later ones win. All are in
docs/reference/configuration.md.`,
		Example: `  hookgate serve
  hookgate serve --push http://localhost:3000/hooks
  hookgate serve --listen 0.0.0.0:8080 --data-dir /var/lib/hookgate
  REDIS_URL=redis://10.0.0.1 DB_URL=postgres://gate@10.0.0.2/gate hookgate serve --role worker`,
		Args: cobra.NoArgs,
	}
	flags := cmd.Flags()
	configFlag(cmd)
	flags.String("listen", "", "`address` to listen on (default 127.0.0.1:8080)")
	flags.String("data-dir", "", "`folder` for store, spool and keys (default ./data)")
	flags.String("role", "", "`role`: all (default), ingest, worker (stores) or deliver")
	flags.String("push", "",
		"`URL` to which the subscription default pushes events; makes it if there is none")
	flags.Int("workers", 0, "greatest number of workers, with Redis (default: half the cores)")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := loadConfig(cmd, map[string]string{"config": "config", "listen": "listen",
			"data-dir": "data_dir", "role": "role", "workers": "worker.count",
			"push": "subscriptions.default.push.url"})
		if err != nil {
			return err
		}
		return serve(cmd.Context(), c, cmd.OutOrStdout(), cmd.ErrOrStderr())
	}
	return cmd
}

// serve runs a gate until ctx ends. It prints where it listens to out, and logs to logs.
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
	// No other user can read the files, regardless of the mode of the folder. SQLite gives its
	// journals the mode of the database.
	syscall.Umask(0o077)

	c.Logger, c.Version = log, versionText()
	c.Evidence.Check = certify.NewCheck
	g, err := gate.Open(ctx, c.Options)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, g.Close()) }()
	show.Startup(out, c.Options, g.Startup())
	return g.Run(ctx)
}

// readable logs a duration as "1.5s". slog would log a number of nanoseconds without a unit.
func readable(_ []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() == slog.KindDuration {
		a.Value = slog.StringValue(a.Value.Duration().Round(time.Microsecond).String())
	}
	return a
}

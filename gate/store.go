package gate

import (
	"context"
	"log/slog"

	"github.com/hookgate/hookgate/internal/metrics"
	"github.com/hookgate/hookgate/queue/spool"
	"github.com/hookgate/hookgate/store/postgres"
	"github.com/hookgate/hookgate/store/sqlite"
)

// openSQLite opens store.db in the data directory.
func (b *backends) openSQLite(ctx context.Context, o Options) error {
	s, err := sqlite.Open(ctx, o.dir().StoreFile())
	if err != nil {
		return err
	}
	b.opened = append(b.opened, s)
	b.store, b.table, b.reader, b.purger, b.pruner, b.access = s, s, s, s, s, s
	b.log, b.subscriptions, b.history, b.refused = s, s.Subscriptions(), s, s
	b.commit = "on disk (fsync) in " + o.dir().StoreFile()
	if o.QueueKind() == QueueRedis {
		b.commit = o.dir().StoreFile()
	}
	b.mark, b.probe = s.Mark, s.Probe
	return nil
}

// openPostgres opens PostgreSQL. If it is away, Open succeeds all the same, and the store is used
// as soon as it answers.
func (b *backends) openPostgres(ctx context.Context, o Options, log *slog.Logger) error {
	s, err := postgres.New(ctx, PostgresConfig(o))
	if err != nil {
		return err
	}
	b.opened = append(b.opened, s)
	b.connectTimeout = s.ConnectTimeout()
	b.pool = func() metrics.Pool {
		p := s.Pool()
		return metrics.Pool{
			Acquired: int(p.AcquiredConns()), Idle: int(p.IdleConns()), Total: int(p.TotalConns()),
			Max:   int(p.MaxConns()),
			Waits: p.EmptyAcquireCount(), Waited: p.EmptyAcquireWaitTime(),
		}
	}
	preparing, err := spool.Connect(ctx, spool.ConnectOptions{Name: "postgres",
		FirstWait: s.ConnectTimeout(), Logger: log}, s.Prepare)
	if err != nil {
		return err
	}
	b.opened = append(b.opened, preparing)
	b.store, b.table, b.reader, b.purger, b.pruner, b.access = s, s, s, s, s, s
	b.log, b.subscriptions, b.history, b.refused = s, s.Subscriptions(), s, s
	b.away = preparing.Err
	b.mark = s.Mark
	b.commit, err = "PostgreSQL", preparing.Err()
	switch {
	case err != nil && o.QueueKind() == QueueRedis:
		b.commit = "PostgreSQL, once it answers"
	case err != nil && o.Spool.Off:
		b.commit = "a commit of PostgreSQL, which is away: webhooks get 503 until it answers"
	case err != nil:
		b.commit = "while PostgreSQL is away, on disk (fsync) in " + o.dir().SpoolFile()
	case o.QueueKind() == QueueDirect:
		worth, err := s.Durability(ctx)
		if err != nil {
			log.Warn("cannot read the durability settings of PostgreSQL", "error", err)
			worth = "its durability settings are unknown"
		}
		b.commit = "committed in PostgreSQL (" + worth + ")"
	}
	return nil
}

// PostgresConfig returns the configuration of package postgres for the options.
func PostgresConfig(o Options) postgres.Config {
	return postgres.Config{
		URL:              o.Database.URL,
		Schema:           o.Database.Schema,
		MaxConns:         o.Database.MaxConnections,
		StatementTimeout: o.Database.StatementTimeout,
		SkipMigrations:   !o.Database.Migrate,
	}
}

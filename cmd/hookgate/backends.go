package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/canary"
	"github.com/hookgate/hookgate/failover"
	"github.com/hookgate/hookgate/httpd"
	"github.com/hookgate/hookgate/later"
	"github.com/hookgate/hookgate/metrics"
	queueredis "github.com/hookgate/hookgate/queue/redis"
	queuesqlite "github.com/hookgate/hookgate/queue/sqlite"
	"github.com/hookgate/hookgate/retention"
	"github.com/hookgate/hookgate/store/postgres"
	storesqlite "github.com/hookgate/hookgate/store/sqlite"
)

// backends are the queue and the store of a process, as the configuration chooses them.
//
//	           no redis.url        redis.url
//	queue      queue.db            Redis, with spool.db while that is away
//	           no database.url     database.url
//	store      store.db            PostgreSQL
type backends struct {
	queue hookgate.Queue
	// buffered is where workers take records from.
	buffered hookgate.BufferedQueue
	mode     httpd.ModeKeeper
	canary   canary.Keeper
	store    hookgate.Store
	reader   hookgate.Reader
	purger   hookgate.Purger
	pruner   retention.Store
	access   httpd.Access
	// mark says which store it is and how far it has come.
	mark func(context.Context) (hookgate.StoreMark, error)
	// replaced says when another store was found in the place of the one of before; nil if nobody looks.
	replaced func() time.Time
	// holdings says what this process holds of the queue, pool how the store's connections are; nil if it has none.
	holdings func() metrics.Holdings
	pool     func() metrics.Pool
	// promise says what a 202 is worth, and stored where its event ends up.
	promise, stored string

	opened []io.Closer
}

// openBackends opens what the configuration names. The caller closes it.
func openBackends(ctx context.Context, c config, log *slog.Logger) (_ *backends, err error) {
	b := &backends{}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.Close())
		}
	}()
	// The store comes first: the queue compares it with the one that its claims are about.
	if c.Database.URL != "" {
		err = b.openPostgres(ctx, c, log)
	} else {
		err = b.openStoreFile(ctx, c)
	}
	if err != nil {
		return b, err
	}
	if c.Redis.URL != "" {
		err = b.openRedis(ctx, c, log)
	} else {
		err = b.openQueueFile(ctx, c, log)
	}
	if err != nil {
		return b, err
	}
	warnOfRedis(c, log)
	return b, b.openLeftovers(ctx, c, log)
}

// Close closes everything, what was opened last first.
func (b *backends) Close() error {
	var errs []error
	for i := len(b.opened) - 1; i >= 0; i-- {
		errs = append(errs, b.opened[i].Close())
	}
	b.opened = nil
	return errors.Join(errs...)
}

func (b *backends) openQueueFile(ctx context.Context, c config, log *slog.Logger) error {
	q, err := queuesqlite.Open(ctx, c.DataDir.queueFile(), queuesqlite.Options{
		Partitions:  c.Queue.Partitions,
		HighWater:   c.Queue.HighWater,
		ClaimTTL:    c.Queue.ClaimTTL,
		CacheBytes:  int64(c.Queue.Cache),
		FilterBytes: int64(c.Queue.ClaimFilter),
		Logger:      log,
	})
	if err != nil {
		return err
	}
	b.opened = append(b.opened, q)
	b.queue, b.buffered, b.mode, b.canary = q, q, q, q
	b.holdings = func() metrics.Holdings { return metrics.Holdings{Owners: q.Owners()} }
	b.promise = "a 202 means: on disk (fsync) in " + c.DataDir.queueFile()
	return nil
}

func (b *backends) openRedis(ctx context.Context, c config, log *slog.Logger) error {
	remembered, err := c.DataDir.mode()
	if err != nil {
		return err
	}
	patience := later.Options{Name: "redis", Patience: 2 * c.Redis.Timeout, Logger: log}
	q, err := later.OpenQueue(ctx, patience, remembered, func(ctx context.Context) (later.ModeQueue, error) {
		q, err := queueredis.Open(ctx, redisConfigOf(c, b.mark, log))
		if err != nil {
			return nil, err
		}
		log.Info("redis: " + q.Durability().Worth)
		return q, nil
	})
	if err != nil {
		return err
	}
	b.opened = append(b.opened, q)
	b.queue, b.buffered, b.mode, b.canary = q, q, q, q
	b.holdings = func() metrics.Holdings {
		opened, away := q.Opened()
		if away != nil {
			return metrics.Holdings{}
		}
		r := opened.(*queueredis.Queue)
		return metrics.Holdings{Owners: r.Owners(), LeasesLost: r.LeasesLost()}
	}
	b.replaced = func() time.Time {
		opened, away := q.Opened()
		if away != nil {
			return time.Time{}
		}
		return opened.(*queueredis.Queue).StoreReplaced()
	}
	switch opened, away := q.Opened(); {
	case away == nil:
		b.promise = opened.(*queueredis.Queue).Durability().Worth
	case c.Failover == failoverOff:
		b.promise = "a 202 needs Redis, which is away: webhooks get 503 until it is there"
	default:
		b.promise = "a 202 means, as Redis is away: on disk (fsync) in " + c.DataDir.spoolFile() + " until it is there"
	}
	if c.Failover == failoverOff {
		return nil
	}
	spool, err := queuesqlite.Open(ctx, c.DataDir.spoolFile(), queuesqlite.Options{
		Partitions:     c.Queue.Partitions,
		HighWater:      c.Spool.HighWater,
		CacheBytes:     int64(c.Queue.Cache),
		KeepDuplicates: true,
		Logger:         log.With("part", "spool"),
	})
	if err != nil {
		return err
	}
	b.opened = append(b.opened, spool)
	over, err := failover.New(ctx, q, spool, failover.Options{
		Timeout:    c.Redis.Timeout,
		Quarantine: c.DataDir.quarantine,
		Logger:     log,
	})
	if err != nil {
		return err
	}
	b.opened = append(b.opened, over)
	b.queue = over
	return nil
}

func redisConfigOf(c config, mark func(context.Context) (hookgate.StoreMark, error), log *slog.Logger) queueredis.Config {
	return queueredis.Config{
		URL:           c.Redis.URL,
		Prefix:        c.Redis.Prefix,
		Partitions:    c.Queue.Partitions,
		HighWater:     c.Queue.HighWater,
		ClaimTTL:      c.Queue.ClaimTTL,
		LeaseTTL:      c.Redis.LeaseTTL,
		OpTimeout:     c.Redis.Timeout,
		AllowEviction: c.Redis.AllowEviction,
		TLSCA:         c.Redis.TLSCA,
		Mark:          mark,
		ModeChanged: func(m hookgate.Mode) {
			if err := c.DataDir.keepMode(m); err != nil {
				log.Warn("mode is not remembered for a start without Redis", "error", err)
			}
		},
		Logger: log,
	}
}

func (b *backends) openStoreFile(ctx context.Context, c config) error {
	s, err := storesqlite.Open(ctx, c.DataDir.storeFile())
	if err != nil {
		return err
	}
	b.opened = append(b.opened, s)
	b.store, b.reader, b.purger, b.pruner, b.access, b.stored = s, s, s, s, s, c.DataDir.storeFile()
	b.mark = s.Mark
	return nil
}

func (b *backends) openPostgres(ctx context.Context, c config, log *slog.Logger) error {
	s, err := postgres.New(ctx, postgresConfigOf(c))
	if err != nil {
		return err
	}
	b.opened = append(b.opened, s)
	b.pool = func() metrics.Pool {
		p := s.Pool()
		return metrics.Pool{
			Acquired: int(p.AcquiredConns()), Idle: int(p.IdleConns()), Total: int(p.TotalConns()), Max: int(p.MaxConns()),
			Waits: p.EmptyAcquireCount(), Waited: p.EmptyAcquireWaitTime(),
		}
	}
	preparing, err := later.Start(ctx, later.Options{Name: "postgres", Patience: c.Database.ConnectTimeout, Logger: log}, s.Prepare)
	if err != nil {
		return err
	}
	b.opened = append(b.opened, preparing)
	b.store, b.reader, b.purger, b.pruner, b.access, b.stored = s, s, s, s, s, "PostgreSQL"
	b.mark = s.Mark
	if preparing.Err() != nil {
		b.stored = "PostgreSQL, when it is there"
	}
	return nil
}

func postgresConfigOf(c config) postgres.Config {
	return postgres.Config{
		URL:              c.Database.URL,
		Schema:           c.Database.Schema,
		MaxConns:         c.Database.MaxConnections,
		ConnectTimeout:   c.Database.ConnectTimeout,
		StatementTimeout: c.Database.StatementTimeout,
		SkipMigrations:   !c.Database.Migrate,
	}
}

// quarantine keeps the raw bytes of a spooled record that cannot be decoded in a file of its own.
func (d dataDir) quarantine(r hookgate.Record) error {
	path := filepath.Join(string(d), fmt.Sprintf("undecodable-%s.bin", r.RequestID))
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("put an undecodable delivery aside: %w", err)
	}
	_, err = f.Write(r.Body)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("put an undecodable delivery aside in %s: %w", path, err)
	}
	return nil
}

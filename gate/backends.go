package gate

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/adminapi"
	"github.com/hookgate/hookgate/control"
	"github.com/hookgate/hookgate/control/settings"
	"github.com/hookgate/hookgate/internal/metrics"
	"github.com/hookgate/hookgate/queue/direct"
	queueredis "github.com/hookgate/hookgate/queue/redis"
	"github.com/hookgate/hookgate/queue/spool"
	"github.com/hookgate/hookgate/queue/spool/spoolfile"
	"github.com/hookgate/hookgate/store/postgres"
	"github.com/hookgate/hookgate/store/retention"
	"github.com/hookgate/hookgate/store/sqlite"
)

// backends are the queue and the store of a process, as the configuration chooses them.
//
//	            no database.url               database.url
//	direct      store.db                      PostgreSQL
//	Redis       Redis ─► workers ─► store.db  Redis ─► workers ─► PostgreSQL
//
// While the first of them is away, webhooks go to spool.db.
type backends struct {
	queue hookgate.Queue
	// front is queue without tracing: what openLeftovers puts files in front of.
	front spool.Appender
	// buffered is where workers take records from; nil if the store takes the webhooks.
	buffered hookgate.BufferedQueue
	settings control.Settings
	store    hookgate.Store
	table    settings.Table
	reader   hookgate.Reader
	purger   hookgate.Purger
	pruner   retention.Store
	access   adminapi.Access
	// mark says which store it is and how far it has come.
	mark func(context.Context) (hookgate.StoreMark, error)
	// replaced says when another store was found in the place of the one of before; nil if nobody
	// looks.
	replaced func() time.Time
	// holdings says what this process holds of the queue, pool how the store's connections are; nil if
	// it has none.
	holdings func() metrics.Holdings
	pool     func() metrics.Pool
	// connectTimeout bounds the opening of a connection to PostgreSQL.
	connectTimeout time.Duration
	// commit says what a commit of the store is worth, promise what a 202 is worth.
	commit, promise string

	opened []io.Closer
}

// openStore opens the store that the configuration names. The caller closes the backends.
func openStore(ctx context.Context, o Options, log *slog.Logger) (_ *backends, err error) {
	b := &backends{}
	if o.Database.URL != "" {
		err = b.openPostgres(ctx, o, log)
	} else {
		err = b.openStoreFile(ctx, o)
	}
	if err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return b, nil
}

// openQueue opens the queue that the configuration names, and what earlier configurations have left
// in the data directory. It returns when webhooks may be taken.
func (b *backends) openQueue(ctx context.Context, o Options, m *metrics.Metrics,
	log *slog.Logger) error {
	if o.QueueKind() == QueueDirect {
		warnOfRedis(o, log)
		return b.openDirect(ctx, o, m, log)
	}
	if err := b.openRedis(ctx, o, log); err != nil {
		return err
	}
	return b.openLeftovers(ctx, o, log)
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

// settingsPoll is how often a process reads the settings that others may change.
const settingsPoll = 500 * time.Millisecond

// openDirect lets the store take the webhooks.
func (b *backends) openDirect(ctx context.Context, o Options, m *metrics.Metrics,
	log *slog.Logger) error {
	shared := settings.Options{Logger: log.With("part", "settings")}
	if o.Database.URL != "" {
		remembered, err := o.dir().Mode(o.dir().StoreModeFile())
		if err != nil {
			return err
		}
		shared.Poll, shared.Timeout, shared.Remembered = settingsPoll, b.connectTimeout,
			remembered
		shared.ModeChanged = func(m control.Mode) {
			if err := o.dir().KeepMode(o.dir().StoreModeFile(), m); err != nil {
				log.Warn("mode is not remembered for a start without the database", "error", err)
			}
		}
	}
	keeper, err := settings.Open(ctx, b.table, shared)
	if err != nil {
		return err
	}
	b.opened = append(b.opened, keeper)
	b.settings = keeper
	paused := func() bool { return keeper.Mode() == control.ModeBuffer }

	opts := direct.Options{
		Name:       processName(),
		Partitions: o.Queue.Partitions,
		Timeout:    o.Queue.Timeout,
		Shared:     o.Database.URL != "",
		Metrics:    m,
		Logger:     log,
	}
	if p, ok := b.store.(interface {
		Probe(ctx context.Context, bytes int) error
	}); ok {
		opts.Probe = p.Probe
	}
	if !opts.Shared {
		opts.MinFree, opts.Free = int64(o.Queue.MinFreeDisk), o.freeDisk
	}
	primary, err := direct.New(&counted{b.store, m}, opts)
	if err != nil {
		return err
	}
	b.opened = append(b.opened, primary)
	if err := b.takeOver(ctx, o, primary, keeper, log); err != nil {
		return err
	}
	b.promise = "a 202 means: " + b.commit
	if o.Spool.Off {
		b.queue = &unbuffered{primary, paused}
		return nil
	}
	return b.openSpool(ctx, o, primary, paused, o.Queue.Timeout, log)
}

// freeDisk returns the free space in bytes of the file system with the data directory.
func (o Options) freeDisk() (int64, error) {
	free, _, err := o.dir().Space()
	return free, err
}

// counted is a store that counts the calls of Apply which are under way, as workers do.
type counted struct {
	hookgate.Store
	metrics *metrics.Metrics
}

// Apply implements hookgate.Store.
func (s *counted) Apply(ctx context.Context, b *hookgate.Batch) (hookgate.Outcome, error) {
	s.metrics.Storing(1)
	defer s.metrics.Storing(-1)
	return s.Store.Apply(ctx, b)
}

// unbuffered is a queue without a spool, which can take nothing while the store is left alone.
type unbuffered struct {
	*direct.Queue
	paused func() bool
}

var errNoSpool = &hookgate.MisconfiguredError{
	Reason: "mode is buffer and there is no spool",
	Err:    errors.New("mode is buffer and there is no spool (spool: off)"),
}

// Append implements hookgate.Queue.
func (q *unbuffered) Append(ctx context.Context, d *hookgate.Request) (hookgate.Receipt, error) {
	if q.paused() {
		return hookgate.Receipt{}, errNoSpool
	}
	return q.Queue.Append(ctx, d)
}

// Stats implements hookgate.Queue.
func (q *unbuffered) Stats(ctx context.Context) (hookgate.QueueStats, error) {
	stats, err := q.Queue.Stats(ctx)
	if q.paused() {
		stats.Err = errNoSpool
	}
	return stats, err
}

// openSpool puts spool.db beside the queue that is to take the webhooks.
func (b *backends) openSpool(
	ctx context.Context, o Options, primary spool.Appender, paused func() bool, timeout time.Duration,
	log *slog.Logger,
) error {
	file, err := spoolfile.Open(ctx, o.dir().SpoolFile(), spoolfile.Options{
		HighWater: o.Queue.HighWater,
		MinFree:   int64(o.Queue.MinFreeDisk),
		Free:      o.freeDisk,
		Logger:    log.With("part", "spool"),
	})
	if err != nil {
		return err
	}
	b.opened = append(b.opened, file)
	over, err := spool.New(ctx, primary, file, spool.Options{
		Timeout:    timeout,
		Paused:     paused,
		Quarantine: o.dir().Quarantine,
		Logger:     log,
	})
	if err != nil {
		return err
	}
	b.opened = append(b.opened, over)
	b.queue, b.front = over, over
	return nil
}

func (b *backends) openRedis(ctx context.Context, o Options, log *slog.Logger) error {
	remembered, err := o.dir().Mode(o.dir().ModeFile())
	if err != nil {
		return err
	}
	wait := spool.ConnectOptions{Name: "redis", FirstWait: 2 * o.Queue.Timeout, Logger: log}
	q, err := spool.ConnectQueue(ctx, wait, func(ctx context.Context) (*queueredis.Queue, error) {
		q, err := queueredis.Open(ctx, redisConfigOf(o, b.mark, log))
		if err == nil {
			log.Info("redis: " + q.Durability().Worth)
		}
		return q, err
	})
	if err != nil {
		return err
	}
	b.opened = append(b.opened, q)
	keeper, err := settings.Open(ctx, redisSettings{q}, settings.Options{
		Poll: settingsPoll, Timeout: o.Queue.Timeout, Remembered: remembered,
		ModeChanged: func(m control.Mode) {
			if err := o.dir().KeepMode(o.dir().ModeFile(), m); err != nil {
				log.Warn("mode is not remembered for a start without Redis", "error", err)
			}
		},
		Logger: log.With("part", "settings"),
	})
	if err != nil {
		return err
	}
	b.opened = append(b.opened, keeper)
	b.queue, b.front, b.buffered, b.settings = q, q, q, keeper
	b.holdings = func() metrics.Holdings {
		opened, away := q.Opened()
		if away != nil {
			return metrics.Holdings{}
		}
		return metrics.Holdings{Owners: opened.Owners(), LeasesLost: opened.LeasesLost()}
	}
	b.replaced = func() time.Time {
		opened, away := q.Opened()
		if away != nil {
			return time.Time{}
		}
		return opened.StoreReplaced()
	}
	switch opened, away := q.Opened(); {
	case away == nil:
		b.promise = opened.Durability().Worth
	case o.Spool.Off:
		b.promise = "a 202 needs Redis, which is away: webhooks get 503 until it is there"
	default:
		b.promise = "a 202 means, as Redis is away: on disk (fsync) in " + o.dir().SpoolFile() +
			" until it is there"
	}
	b.promise += "; then stored in " + b.commit
	if o.Spool.Off {
		return nil
	}
	return b.openSpool(ctx, o, q, nil, o.Queue.Timeout, log)
}

func redisConfigOf(o Options, mark func(context.Context) (hookgate.StoreMark, error),
	log *slog.Logger) queueredis.Config {
	return queueredis.Config{
		URL:           o.Redis.URL,
		Prefix:        o.Redis.Prefix,
		Partitions:    o.Queue.Partitions,
		HighWater:     o.Queue.HighWater,
		ClaimTTL:      o.Queue.ClaimTTL,
		LeaseTTL:      o.Redis.LeaseTTL,
		OpTimeout:     o.Queue.Timeout,
		AllowEviction: o.Redis.AllowEviction,
		TLSCA:         o.Redis.TLSCA,
		Mark:          mark,
		Logger:        log,
	}
}

// redisSettings are the settings in a Redis that may be away.
type redisSettings struct {
	queue *spool.PendingQueue[*queueredis.Queue]
}

// Settings implements settings.Table.
func (s redisSettings) Settings(ctx context.Context) (map[string]string, error) {
	q, err := s.queue.Opened()
	if err != nil {
		return nil, err
	}
	return q.Settings(ctx)
}

// SwapSetting implements settings.Table.
func (s redisSettings) SwapSetting(ctx context.Context, name, before, after string) (bool, error) {
	q, err := s.queue.Opened()
	if err != nil {
		return false, err
	}
	return q.SwapSetting(ctx, name, before, after)
}

func (b *backends) openStoreFile(ctx context.Context, o Options) error {
	s, err := sqlite.Open(ctx, o.dir().StoreFile())
	if err != nil {
		return err
	}
	b.opened = append(b.opened, s)
	b.store, b.table, b.reader, b.purger, b.pruner, b.access = s, s, s, s, s, s
	b.commit = "on disk (fsync) in " + o.dir().StoreFile()
	if o.QueueKind() == QueueRedis {
		b.commit = o.dir().StoreFile()
	}
	b.mark = s.Mark
	return nil
}

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
	b.mark = s.Mark
	b.commit, err = "PostgreSQL", preparing.Err()
	switch {
	case err != nil && o.QueueKind() == QueueRedis:
		b.commit = "PostgreSQL, when it is there"
	case err != nil && o.Spool.Off:
		b.commit = "a commit of PostgreSQL, which is away: webhooks get 503 until it is there"
	case err != nil:
		b.commit = "as PostgreSQL is away, on disk (fsync) in " + o.dir().SpoolFile() +
			" until it is there"
	case o.QueueKind() == QueueDirect:
		worth, err := s.Durability(ctx)
		if err != nil {
			log.Warn("it is not known what a commit of PostgreSQL survives", "error", err)
			worth = "it is not known what that survives"
		}
		b.commit = "committed in PostgreSQL (" + worth + ")"
	}
	return nil
}

func PostgresConfig(o Options) postgres.Config {
	return postgres.Config{
		URL:              o.Database.URL,
		Schema:           o.Database.Schema,
		MaxConns:         o.Database.MaxConnections,
		StatementTimeout: o.Database.StatementTimeout,
		SkipMigrations:   !o.Database.Migrate,
	}
}

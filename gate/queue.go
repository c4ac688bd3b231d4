package gate

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/control"
	"github.com/hookgate/hookgate/control/settings"
	"github.com/hookgate/hookgate/internal/metrics"
	"github.com/hookgate/hookgate/queue/direct"
	queueredis "github.com/hookgate/hookgate/queue/redis"
	"github.com/hookgate/hookgate/queue/spool"
	"github.com/hookgate/hookgate/queue/spool/spoolfile"
)

// settingsPoll is how often a process reads the mode and the canary that other processes may
// change.
const settingsPoll = 500 * time.Millisecond

// openDirect opens the queue over the store.
func (b *backends) openDirect(ctx context.Context, o Options, m *metrics.Metrics,
	log *slog.Logger) error {
	shared := settings.Options{Logger: log.With("part", "settings"),
		ModeChanged: func(control.Mode) { b.noteMode() }}
	if o.Database.URL != "" {
		remembered, err := o.dir().Mode(o.dir().StoreModeFile())
		if err != nil {
			return err
		}
		shared.Poll, shared.Timeout, shared.Remembered = settingsPoll, b.connectTimeout,
			remembered
		shared.ModeChanged = func(m control.Mode) {
			b.noteMode()
			if err := o.dir().KeepMode(o.dir().StoreModeFile(), m); err != nil {
				log.Warn("cannot save the mode for a start without the database", "error", err)
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
		Probe:      b.probe,
		Metrics:    m,
		Logger:     log,
	}
	if !opts.Shared {
		opts.MinFree, opts.Free = int64(o.Queue.MinFreeDisk), o.freeDisk
	}
	primary, err := direct.New(&counted{b.store, m}, opts)
	if err != nil {
		return err
	}
	b.opened = append(b.opened, primary)
	if err := b.drainLeftovers(ctx, o, primary, keeper, log); err != nil {
		return err
	}
	b.promise = "a 202 means: " + b.commit
	if o.Spool.Off {
		b.queue = &unbuffered{primary, paused}
		return nil
	}
	return b.openSpool(ctx, o, primary, paused, o.Queue.Timeout, log)
}

// freeDisk returns the free space of the data directory's file system, in bytes.
func (o Options) freeDisk() (int64, error) {
	free, _, err := o.dir().Space()
	return free, err
}

// counted counts the calls of Apply in progress. Without Redis there are no workers that count
// them.
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

// unbuffered is a direct queue without a spool. In the mode buffer it rejects webhooks, because
// they must not go to the store and there is no other place.
type unbuffered struct {
	*direct.Queue
	paused func() bool
}

var errNoSpool = &hookgate.MisconfiguredError{
	Reason: "the mode is buffer and the spool is off",
	Err:    errors.New("the mode is buffer and the spool is off: set another mode, or spool: on"),
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

// openSpool opens spool.db. It takes the webhooks while primary is away or paused.
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

// openRedis opens Redis as the queue. If it is away, Open succeeds all the same: webhooks are
// spooled, and Redis is used as soon as it answers.
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
			b.noteMode()
			if err := o.dir().KeepMode(o.dir().ModeFile(), m); err != nil {
				log.Warn("cannot save the mode for a start without Redis", "error", err)
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
		b.promise = "a 202 needs Redis, which is away: webhooks get 503 until it answers"
	default:
		b.promise = "a 202 means, while Redis is away: on disk (fsync) in " + o.dir().SpoolFile()
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

// redisSettings reads and changes the settings in Redis, which may be away.
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

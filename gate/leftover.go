package gate

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/hookgate/hookgate/control"
	"github.com/hookgate/hookgate/control/settings"
	"github.com/hookgate/hookgate/internal/datadir"
	"github.com/hookgate/hookgate/queue/spool"
	"github.com/hookgate/hookgate/queue/spool/spoolfile"
)

// leftoverWait is how long Open waits until the webhooks of an earlier configuration are moved. It
// waits only if new webhooks get 503 until then.
const leftoverWait = 10 * time.Second

// UnusedQueues returns the queue files in the data directory that these options do not use. They
// may hold acknowledged webhooks of another configuration or an earlier release. The first is the
// oldest.
func (o Options) UnusedQueues() []string {
	if o.Spool.Off {
		return []string{o.dir().QueueFile(), o.dir().SpoolFile()}
	}
	return []string{o.dir().QueueFile()}
}

// drainLeftovers stores the webhooks in unused files through the queue to, and removes the files.
// It does so before the gate takes new webhooks, which would overtake the old ones; it has no time
// limit. It also adopts the mode and the canary that an earlier release kept in queue.db. If the
// process ends before, the next start continues.
func (b *backends) drainLeftovers(ctx context.Context, o Options, to spool.Appender,
	keeper *settings.Keeper, log *slog.Logger) error {
	for _, path := range o.UnusedQueues() {
		err := b.drainLeftover(ctx, o, path, to, keeper, log)
		if err == nil {
			err = removeDatabase(path)
		}
		if err != nil {
			return fmt.Errorf("store the webhooks in %s: %w", path, err)
		}
	}
	return nil
}

func (b *backends) drainLeftover(
	ctx context.Context, o Options, path string, to spool.Appender, keeper *settings.Keeper,
	log *slog.Logger,
) (err error) {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	log = log.With("file", filepath.Base(path))
	left, err := spoolfile.Open(ctx, path, spoolfile.Options{Logger: log})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, left.Close()) }()
	stats, err := left.Stats(ctx)
	if err != nil {
		return err
	}
	if stats.Depth > 0 {
		log.Warn("storing the webhooks that an earlier configuration left; new ones are accepted after"+
			" that",
			"records", stats.Depth)
		opts := spool.Options{Timeout: o.Queue.Timeout, Quarantine: o.dir().Quarantine, Logger: log}
		if err := spool.Drain(ctx, to, left, opts); err != nil {
			return err
		}
	}
	mode, canary, kept := left.EarlierSettings()
	if kept {
		if err := keeper.Adopt(ctx, mode, canary); err != nil {
			return err
		}
	}
	log.Info("removing the file of an earlier configuration", "stored",
		stats.Depth, "mode", mode)
	return nil
}

// removeDatabase removes a closed SQLite database. It removes the database first: after a crash in
// between, SQLite ignores journals without a database.
func removeDatabase(path string) error {
	for _, suffix := range []string{"", "-wal", "-shm", "-journal"} {
		if err := os.Remove(path + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove %s, whose webhooks are stored: %w", path, err)
		}
	}
	return datadir.SyncDir(filepath.Dir(path))
}

// openLeftovers puts each unused file that holds acknowledged webhooks in front of Redis:
//
//	Append ─► end of queue.db ─► in order per key ─► queue          while queue.db holds anything
//	Append ─────────────────────────────────────────► queue         from then on
//
// So no new webhook overtakes an older one of its key, and none is rejected. With the spool off, a
// 202 must mean Redis, so new webhooks get 503 until the file is empty; Open waits up to
// leftoverWait, so that this is rare. Empty files stay: they hold the mode, for a return to the
// earlier configuration.
func (b *backends) openLeftovers(ctx context.Context, o Options, log *slog.Logger) error {
	for _, path := range o.UnusedQueues() {
		records, err := spoolfile.Unreleased(ctx, path)
		if err != nil {
			return err
		}
		if records == 0 {
			continue
		}
		left, err := spoolfile.Open(ctx, path, spoolfile.Options{
			HighWater: o.Queue.HighWater,
			Logger:    log.With("part", filepath.Base(path)),
		})
		if err != nil {
			return err
		}
		b.opened = append(b.opened, left)
		if mode, _, _ := left.EarlierSettings(); mode != control.ModeNormal {
			log.Warn("the mode of an earlier configuration is not used; set it again if you need it",
				"file", filepath.Base(path), "mode", mode)
		}
		emptied := make(chan struct{})
		q, err := spool.New(ctx, b.front, left, spool.Options{
			Timeout:  o.Queue.Timeout,
			Leftover: filepath.Base(path),
			Reject:   o.Spool.Off,
			Emptied: func() {
				if err := left.Close(); err != nil { // records what was released
					log.Error("cannot remove the moved records; the next start moves them again, which is"+
						" harmless",
						"file", path, "error", err)
				}
				close(emptied)
			},
			Quarantine: o.dir().Quarantine,
			Logger:     log,
		})
		if err != nil {
			return err
		}
		b.opened = append(b.opened, q)
		b.queue, b.front = q, q
		if q.Reject {
			timeout := time.NewTimer(leftoverWait)
			defer timeout.Stop()
			select {
			case <-emptied:
			case <-timeout.C:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	return nil
}

// warnOfRedis logs that Redis may hold webhooks that a gate without Redis cannot store.
func warnOfRedis(o Options, log *slog.Logger) {
	if o.UsedRedis() {
		log.Warn("this data directory was used with Redis; webhooks in Redis are stored only when a"+
			" gate with its REDIS_URL runs",
			"data_dir", o.DataDir)
	}
}

// UsedRedis reports whether the data directory was used with Redis and these options have none.
func (o Options) UsedRedis() bool {
	_, err := os.Stat(o.dir().ModeFile())
	return o.Redis.URL == "" && err == nil
}

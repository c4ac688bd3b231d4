package gate

import (
	"cmp"
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

// leftoverPatience is how long a start waits, before it takes webhooks, for what an earlier
// configuration left behind, if they are refused until then.
const leftoverPatience = 10 * time.Second

// UnusedQueues returns the files of the data directory in which another configuration, or an
// earlier release, has kept acknowledged webhooks and this one keeps none. The first is the oldest.
func (o Options) UnusedQueues() []string {
	if o.Spool.Off {
		return []string{o.dir().QueueFile(), o.dir().SpoolFile()}
	}
	return []string{o.dir().QueueFile()}
}

// takeOver moves everything that unused files hold to the queue to, which stores it, before
// webhooks are taken: new ones would overtake it. An earlier release also kept mode and canary in
// queue.db. Then the files are removed. A start that ends before that leaves the rest to the next
// one. It takes as long as it takes.
func (b *backends) takeOver(ctx context.Context, o Options, to spool.Appender,
	keeper *settings.Keeper, log *slog.Logger) error {
	for _, path := range o.UnusedQueues() {
		err := b.takeOverFile(ctx, o, path, to, keeper, log)
		if err == nil {
			err = removeDatabase(path)
		}
		if err != nil {
			return fmt.Errorf("take over %s: %w", path, err)
		}
	}
	return nil
}

func (b *backends) takeOverFile(
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
	defer func() { err = cmp.Or(err, left.Close()) }()
	stats, err := left.Stats(ctx)
	if err != nil {
		return err
	}
	if stats.Depth > 0 {
		log.Warn("webhooks that an earlier configuration left behind are stored; new ones are taken after that", "records", stats.Depth)
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
	log.Info("the file of an earlier configuration is taken over, and is removed", "stored",
		stats.Depth, "mode", mode)
	return nil
}

// removeDatabase removes a file of SQLite that is closed. The file itself goes first: its journals
// are nothing without it.
func removeDatabase(path string) error {
	for _, suffix := range []string{"", "-wal", "-shm", "-journal"} {
		if err := os.Remove(path + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove %s, which is taken over: %w", path, err)
		}
	}
	return datadir.SyncDir(filepath.Dir(path))
}

// openLeftovers puts each unused file that holds acknowledged webhooks before Redis:
//
//	Append ─► end of queue.db ─► in order per key ─► queue          while queue.db holds anything
//	Append ─────────────────────────────────────────► queue         from then on
//
// So no new webhook overtakes an old one of its key, and none is refused. With spool off a 202 is
// worth Redis alone, and webhooks are refused instead; the start waits a moment, so that it seldom
// comes to that. An empty file stays where it is: it has the mode for a way back.
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
			log.Warn("the mode of an earlier configuration does not hold for the queue of this one; set it again if you need it",
				"file", filepath.Base(path), "mode", mode)
		}
		emptied := make(chan struct{})
		q, err := spool.New(ctx, b.front, left, spool.Options{
			Timeout:  o.Queue.Timeout,
			Leftover: filepath.Base(path),
			Reject:   o.Spool.Off,
			Emptied: func() {
				if err := left.Close(); err != nil { // writes down what was released
					log.Error("records that were moved could not be removed; the next start moves them again, which is harmless",
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
			patience := time.NewTimer(leftoverPatience)
			defer patience.Stop()
			select {
			case <-emptied:
			case <-patience.C:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	return nil
}

// warnOfRedis says that Redis may hold webhooks which a gate without it does not know of.
func warnOfRedis(o Options, log *slog.Logger) {
	if o.UsedRedis() {
		log.Warn("this data directory was used with Redis: webhooks that are still in Redis are not stored until a gate with its REDIS_URL runs again",
			"data_dir", o.DataDir)
	}
}

// UsedRedis reports whether the data directory was used with Redis, and this configuration has
// none.
func (o Options) UsedRedis() bool {
	_, err := os.Stat(o.dir().ModeFile())
	return o.Redis.URL == "" && err == nil
}

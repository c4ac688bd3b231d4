package main

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/failover"
	queuesqlite "github.com/hookgate/hookgate/queue/sqlite"
)

// leftoverPatience is how long a start waits, before it takes webhooks, for what an earlier
// configuration left behind, if they are refused until then.
const leftoverPatience = 10 * time.Second

// unusedQueues returns the files of the data directory in which another configuration keeps
// acknowledged webhooks and this one none. What the first holds is taken as the oldest.
func (c config) unusedQueues() []string {
	switch {
	case c.Redis.URL == "":
		return []string{c.DataDir.spoolFile()}
	case c.Failover == failoverOff:
		return []string{c.DataDir.queueFile(), c.DataDir.spoolFile()}
	default:
		return []string{c.DataDir.queueFile()}
	}
}

// openLeftovers puts each unused file that holds acknowledged webhooks before the queue:
//
//	Append ─► end of queue.db ─► in order per key ─► queue          while queue.db holds anything
//	Append ─────────────────────────────────────────► queue         from then on
//
// So no new webhook overtakes an old one of its key, and none is refused. With failover off a 202 is
// worth Redis alone, and webhooks are refused instead; the start waits a moment, so that it seldom
// comes to that. An empty file stays where it is: it has the mode and the claims for a way back.
func (b *backends) openLeftovers(ctx context.Context, c config, log *slog.Logger) error {
	for _, path := range c.unusedQueues() {
		records, partitions, err := queuesqlite.Unreleased(ctx, path)
		if err != nil {
			return err
		}
		if records == 0 {
			continue
		}
		left, err := queuesqlite.Open(ctx, path, queuesqlite.Options{
			Partitions:     partitions,
			HighWater:      max(c.Queue.HighWater, c.Spool.HighWater),
			CacheBytes:     int64(c.Queue.Cache),
			KeepDuplicates: true,
			Logger:         log.With("part", filepath.Base(path)),
		})
		if err != nil {
			return err
		}
		b.opened = append(b.opened, left)
		if mode := left.Mode(); mode != hookgate.ModeNormal {
			log.Warn("the mode of an earlier configuration does not hold for the queue of this one; set it again if you need it",
				"file", filepath.Base(path), "mode", mode)
		}
		emptied := make(chan struct{})
		q, err := failover.New(ctx, b.queue, left, failover.Options{
			Timeout:  c.Redis.Timeout,
			Leftover: filepath.Base(path),
			Refuse:   c.Failover == failoverOff && c.Redis.URL != "",
			Emptied: func() {
				if err := left.Close(); err != nil { // writes down what was released
					log.Error("records that were moved could not be removed; the next start moves them again, which is harmless",
						"file", path, "error", err)
				}
				close(emptied)
			},
			Quarantine: c.DataDir.quarantine,
			Logger:     log,
		})
		if err != nil {
			return err
		}
		b.opened = append(b.opened, q)
		b.queue = q
		if q.Refuse {
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
func warnOfRedis(c config, log *slog.Logger) {
	if c.usedRedis() {
		log.Warn("this data directory was used with Redis: webhooks that are still in Redis are not stored until a gate with its REDIS_URL runs again",
			"data_dir", c.DataDir)
	}
}

// usedRedis reports whether the data directory was used with Redis, and this configuration has none.
func (c config) usedRedis() bool {
	_, spool := os.Stat(c.DataDir.spoolFile())
	_, mode := os.Stat(c.DataDir.modeFile())
	return c.Redis.URL == "" && (spool == nil || mode == nil)
}

package redis

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/hookgate/hookgate"
)

// A claim says that an event is queued or stored. It must not outlive the event. But a person may
// replace the store by an older copy or by another store, or a standby that lacks the last commits
// may take over. So Redis keeps the mark of the store, which is its id and the id of its last
// entry:
//
//	Apply ─► mark of the store ─► keepMark ─► the records are released ─► only their claims are left
//
// At the start, and then every second, each process compares the store with that mark. If the store
// does not follow it, the first process to find out begins a new generation of claims, in one step
// with the new mark. The claims of older generations have other names, so nothing finds them, and
// they expire. A repetition is then appended again, and the unique index of the store recognises
// it. Queued records lose their claims too, with the same result.
//
// Limit: between such a replacement and the next comparison, at most a second, old claims are used.

// keepScript raises the mark, unless Redis has the mark of another store.
//
//	KEYS settings; ARGV id, links
var keepScript = newScript("allow-oom", `
local kept = redis.call('HGET', KEYS[1], 'store')
if kept then
  local links, id = string.match(kept, '^(%d+) (.*)$')
  if id ~= ARGV[1] or tonumber(links) >= tonumber(ARGV[2]) then return 0 end
end
return redis.call('HSET', KEYS[1], 'store', ARGV[2] .. ' ' .. ARGV[1])
`)

// replaceScript replaces the mark and begins a new generation of claims.
//
//	KEYS settings; ARGV old mark, new mark -> the generation, or 0 if the mark has changed
var replaceScript = newScript("allow-oom", `
if redis.call('HGET', KEYS[1], 'store') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'store', ARGV[2], 'replaced', redis.call('TIME')[1])
return redis.call('HINCRBY', KEYS[1], 'claims', 1)
`)

// StoreReplaced returns when a process found that the store was replaced, by the clock of Redis;
// zero if that never happened. This process sees the finding of another one within a second.
func (q *Queue) StoreReplaced() time.Time {
	if at := q.replaced.Load(); at > 0 {
		return time.Unix(at, 0)
	}
	return time.Time{}
}

func markText(m hookgate.StoreMark) string { return strconv.FormatInt(m.Last, 10) + " " + m.ID }

func parseMark(text string) (m hookgate.StoreMark, err error) {
	links, id, found := strings.Cut(text, " ")
	if m.Last, err = strconv.ParseInt(links, 10, 64); err != nil || !found {
		return m, errors.Join(fmt.Errorf("the mark of the store reads %q", text), err)
	}
	m.ID = id
	return m, nil
}

// mark asks the store for its mark, for at most OpTimeout.
func (q *Queue) mark(ctx context.Context) (hookgate.StoreMark, error) {
	ctx, cancel := context.WithTimeout(ctx, q.opts.OpTimeout)
	defer cancel()
	return q.opts.Mark(ctx)
}

// keepMark writes the mark of the store to Redis. It must precede a release: after that only the
// claim is left in Redis, and the mark tells whether the store still has the event.
func (q *Queue) keepMark(ctx context.Context) error {
	if q.opts.Mark == nil {
		return nil
	}
	m, err := q.mark(ctx)
	if err != nil {
		return err
	}
	_, err = q.run(ctx, call{keepScript, []string{q.keys.settings},
		[]string{m.ID, strconv.FormatInt(m.Last, 10)}}).ToInt64()
	if err != nil {
		return fmt.Errorf("write the mark of the store to redis: %w", q.explain(ctx, err))
	}
	return nil
}

// compareStore compares the store with the mark in Redis. If the store or Redis does not answer, it
// does nothing; the next comparison follows in a second.
func (q *Queue) compareStore(ctx context.Context) {
	if q.opts.Mark == nil {
		return
	}
	// Read the mark in Redis first, so that a store that was not replaced can only be ahead of it.
	text, err := q.do(ctx, q.client.B().Hget().Key(q.keys.settings).Field("store").Build()).ToString()
	if err != nil || text == "" {
		_ = q.keepMark(ctx) // the first mark; or Redis does not answer, which shows in the health
		return
	}
	m, err := q.mark(ctx)
	if err != nil {
		return
	}
	kept, err := parseMark(text)
	if err != nil {
		q.opts.Logger.Error("cannot tell whether the store was replaced", "error", err)
		return
	}
	if m.Follows(kept) {
		return
	}
	generation, err := q.run(ctx, call{replaceScript, []string{q.keys.settings},
		[]string{text, markText(m)}}).ToInt64()
	if err != nil || generation == 0 {
		return // another process was first, or the next comparison retries
	}
	q.generation.Store(generation)
	_ = q.readSettings(ctx) // reads the time; after a failure the next poll does
	q.opts.Logger.Error("the store was replaced, restored from an older copy, or failed over:"+
		" claims from before are ignored, so that webhooks it lacks are accepted when their senders"+
		" repeat them",
		"store", m.ID, "last", m.Last, "store_before", kept.ID, "last_before", kept.Last, "claims",
		generation)
}

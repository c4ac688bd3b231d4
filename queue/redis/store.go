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

// A claim says that an event is queued or stored. It must not outlive the event: a store may be
// replaced by an older copy, by another one, or by a standby that lacks the last commits. So Redis
// keeps the mark of the store, its id and its last link:
//
//	Apply ─► mark of the store ─► keepMark ─► records are released ─► their claims alone are left
//
// At the start, and every second after it, each process compares the store with what is kept. If
// the store does not follow it, the process that finds out first moves the claims to a new
// generation, in one step with the new mark. Claims of older generations have other names and are
// found no more; they go when their time is up. A repetition is then appended once more, and the
// unique index of the store decides. Records that are queued lose their claims too, which the store
// finds in the same way.
//
// Limit: between the return of such a store and the next comparison, a second at most, old claims
// count.

// keepScript keeps how far a store has come, unless Redis keeps another store's mark.
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

// replaceScript keeps the mark of a store that does not follow the one that is kept, and begins a
// generation of claims.
//
//	KEYS settings; ARGV what is kept, what to keep -> the generation, or 0 if something else is kept by now
var replaceScript = newScript("allow-oom", `
if redis.call('HGET', KEYS[1], 'store') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'store', ARGV[2], 'replaced', redis.call('TIME')[1])
return redis.call('HINCRBY', KEYS[1], 'claims', 1)
`)

// StoreReplaced returns when a store was found that does not follow the one of before, by the clock
// of Redis; zero if that never happened. What another process finds is seen within a second.
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

// mark asks the store, for as long as an operation on Redis may take.
func (q *Queue) mark(ctx context.Context) (hookgate.StoreMark, error) {
	ctx, cancel := context.WithTimeout(ctx, q.opts.OpTimeout)
	defer cancel()
	return q.opts.Mark(ctx)
}

// keepMark keeps how far the store has come. It must precede a release: after that nothing but the
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
		return fmt.Errorf("keep how far the store has come: %w", q.explain(ctx, err))
	}
	return nil
}

// compareStore finds out whether the store is the one that was kept. While the store or Redis does
// not answer nothing is known, and the next comparison will tell.
func (q *Queue) compareStore(ctx context.Context) {
	if q.opts.Mark == nil {
		return
	}
	// What is kept is read first: a sound store can only be ahead of it then.
	text, err := q.do(ctx, q.client.B().Hget().Key(q.keys.settings).Field("store").Build()).ToString()
	if err != nil || text == "" {
		_ = q.keepMark(ctx) // the first mark; or Redis does not answer, which is in the health
		return
	}
	m, err := q.mark(ctx)
	if err != nil {
		return
	}
	kept, err := parseMark(text)
	if err != nil {
		q.opts.Logger.Error("cannot tell whether the store is the one of before", "error", err)
		return
	}
	if m.Follows(kept) {
		return
	}
	generation, err := q.run(ctx, call{replaceScript, []string{q.keys.settings},
		[]string{text, markText(m)}}).ToInt64()
	if err != nil || generation == 0 {
		return // another process was first, or the next comparison will be
	}
	q.generation.Store(generation)
	_ = q.readSettings(ctx) // when that was; else the next look finds it
	q.opts.Logger.Error("the store is another one, or an older copy, or was failed over: claims of before count no more, so that webhooks which it lacks are taken when their senders repeat them",
		"store", m.ID, "last", m.Last, "store_before", kept.ID, "last_before", kept.Last, "claims",
		generation)
}

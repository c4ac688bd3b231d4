package redis

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"

	"github.com/redis/rueidis"
)

// binding is a pair of scripts, read and release, for one run of one server.
//
// A lease is valid only on the run of the server that gave it (see runHead). The scripts cannot
// check that with INFO on each call, which would cost more than their work. Instead, only that run
// knows the scripts:
//
//   - Redis drops its scripts when it ends. It writes them to no file and sends them to no replica
//     (since 7.0).
//   - Their text begins with a random number, so no other process or binding has the same scripts.
//   - The queue sends them in full only once, and they answer whether the server is the right run.
//
// So a server that accepts a call by the script's hash is that run. If a server does not know the
// script, the lease is lost.
type binding struct {
	read, release *script
	// forgotten says that the server has dropped its scripts and needs another binding.
	forgotten atomic.Bool
}

// boundHead ends a script early: with the answer to bind, or if the caller does not hold the lease.
const boundHead = `-- %s
if ARGV[1] == 'bind' then
  return string.match(redis.call('INFO', 'server'), 'run_id:(%%w+)') == '%s' and 1 or 0
end
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return %d end
`

// readText returns entries from a position on, up to a number of entries and about a number of
// bytes.
//
//	KEYS lease, log; ARGV lease, from, entries, bytes -> entries, or 0 if the lease is lost
const readText = `
local all, from, entries, bytes = {}, ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
while true do
  local wanted = math.min(entries - #all, 32)
  local page = redis.call('XRANGE', KEYS[2], from, '+', 'COUNT', wanted)
  for _, entry in ipairs(page) do
    all[#all + 1] = entry
    for _, part in ipairs(entry[2]) do bytes = bytes - #part end
    if bytes <= 0 then return all end
  end
  if #page < wanted or #all >= entries then return all end
  from = '(' .. page[#page][1]
end
`

// releaseText removes the entries below an id.
//
//	KEYS lease, log; ARGV lease, least id to keep -> entries removed, or -1 if the lease is lost
const releaseText = `return redis.call('XTRIM', KEYS[2], 'MINID', '=', ARGV[2])
`

// newBinding makes a binding to the run of a server; see bind.
func newBinding(run string) *binding {
	nonce := rand.Text()
	b := &binding{
		read:    newScript("no-writes,allow-oom", fmt.Sprintf(boundHead, nonce, run, 0)+readText),
		release: newScript("allow-oom", fmt.Sprintf(boundHead, nonce, run, -1)+releaseText),
	}
	b.read.bound, b.release.bound = true, true
	return b
}

// runOf returns the run of the server that a lease names.
func runOf(token string) string { return token[strings.LastIndexByte(token, '/')+1:] }

// bind returns the binding to the run of the server that gave the lease of a partition. It makes
// one if there is none; round must be held.
func (q *Queue) bind(ctx context.Context, partition int, token string) (*binding, error) {
	run := runOf(token)
	if b := q.bindings[run]; b != nil && !b.forgotten.Load() {
		return b, nil
	}
	b := newBinding(run)
	var commands []rueidis.Completed
	for _, s := range []*script{b.read, b.release} {
		c := call{s, []string{q.keys.lease[partition], q.keys.log[partition]}, []string{"bind"}}
		commands = append(commands, c.full(q.client.B()))
	}
	for _, r := range q.doAll(ctx, commands) {
		bound, err := r.AsBool()
		if err != nil {
			return nil, q.explain(ctx, err)
		}
		if !bound {
			return nil, errors.New("another server has taken over")
		}
	}
	q.bindings[run] = b
	return b, nil
}

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

// binding is the two scripts that use leases, read and release, made for one run of one server.
//
// A lease holds only on the run of the server that gave it (see runHead). To ask INFO for that
// costs more than all else that these scripts do, so they do not ask. Redis forgets its scripts
// when it ends, keeps them in no file and gives them to no replica (since 7.0); and the text of
// these begins with a random number, so that no other process and no other binding has the same.
// They are sent in full only once, to say whether the server is the run they are for. If both say
// so, that run alone knows them: whoever accepts a call by their hash is it. A server that does not
// know them gets the lease denied.
type binding struct {
	read, release *script
	// forgotten says that the server has thrown its scripts away, and needs another binding.
	forgotten atomic.Bool
}

// boundHead ends a script that is called to bind it, or by whoever does not hold the lease.
const boundHead = `-- %s
if ARGV[1] == 'bind' then
  return string.match(redis.call('INFO', 'server'), 'run_id:(%%w+)') == '%s' and 1 or 0
end
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return %d end
`

// readText returns entries from a place on, until there are as many as wanted or their bytes
// suffice.
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

// releaseText removes what stands below a place.
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

// bind returns the binding to the run of the server that gave the lease of a partition, after
// making it if need be; round must be held.
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

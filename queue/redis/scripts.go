package redis

import (
	"context"
	"crypto/sha1"
	"encoding/hex"

	"github.com/redis/rueidis"
)

// script is a Lua script that only touches keys of one partition, and so one slot of a cluster.
type script struct {
	text, sha string
	// bound says that the queue must not send the script to a server that does not know it; see
	// binding.
	bound bool
}

// newScript prepares a script. The flag allow-oom lets it run when Redis is out of memory. Scripts
// that read and release need it, otherwise the memory would never be freed.
func newScript(flags, text string) *script {
	head := "#!lua\n"
	if flags != "" {
		head = "#!lua flags=" + flags + "\n"
	}
	sum := sha1.Sum([]byte(head + text)) // Redis's name for the script, not a protection
	return &script{text: head + text, sha: hex.EncodeToString(sum[:])}
}

// call is one run of a script.
type call struct {
	script *script
	keys   []string
	args   []string
}

func (c call) sha(b rueidis.Builder) rueidis.Completed {
	return b.Evalsha().Sha1(c.script.sha).Numkeys(int64(len(c.keys))).Key(c.keys...).Arg(c.args...).
		Build()
}

func (c call) full(b rueidis.Builder) rueidis.Completed {
	return b.Eval().Script(c.script.text).Numkeys(int64(len(c.keys))).Key(c.keys...).Arg(c.args...).
		Build()
}

// run runs the call. If the server does not know the script, run sends it.
func (q *Queue) run(ctx context.Context, c call) rueidis.RedisResult {
	r := q.do(ctx, c.sha(q.client.B()))
	if noScript(r) {
		r = q.do(ctx, c.full(q.client.B()))
	}
	return r
}

// runAll runs calls in one pipeline.
func (q *Queue) runAll(ctx context.Context, calls []call) []rueidis.RedisResult {
	if len(calls) == 0 {
		return nil
	}
	commands := make([]rueidis.Completed, len(calls))
	for i, c := range calls {
		commands[i] = c.sha(q.client.B())
	}
	results := q.doAll(ctx, commands)
	var unknown []int
	commands = commands[:0]
	for i, r := range results {
		if noScript(r) && !calls[i].script.bound {
			unknown = append(unknown, i)
			commands = append(commands, calls[i].full(q.client.B()))
		}
	}
	if len(unknown) > 0 {
		// With a time limit of its own: the first pipeline may have waited for another node that hangs.
		for i, r := range q.doAll(ctx, commands) {
			results[unknown[i]] = r
		}
	}
	return results
}

func noScript(r rueidis.RedisResult) bool {
	err, ok := rueidis.IsRedisErr(r.Error())
	return ok && err.IsNoScript()
}

// appendScript claims identities and appends requests. If one fails, because its log is not a
// stream, the others succeed. It has no flag: when memory is short, Redis rejects it before it has
// done anything.
//
//	KEYS for each request: log, claim
//	ARGV the claims' ms to live; for each request: the record, whose bytes 10 to 25 are the request
//	     id, and its first 9 bytes without a body (see wire.Bare)
//	-> for each request: id of the entry, or {id of the entry, first request id}, or an error
var appendScript = newScript("", `
local answers = {}
for i = 1, #KEYS / 2 do
  local log, key, record = KEYS[2 * i - 1], KEYS[2 * i], ARGV[2 * i]
  local request, claim = string.sub(record, 10, 25), redis.pcall('GET', key)
  if not claim then
    local entry = redis.pcall('XADD', log, '*', 'r', record)
    if not entry.err then redis.call('SET', key, request .. entry, 'PX', ARGV[1]) end
    answers[i] = entry
  elseif claim.err then
    answers[i] = claim
  else
    local first = string.sub(claim, 1, 16)
    if first == request then
      answers[i] = string.sub(claim, 17)
    else
      local bare = ARGV[2 * i + 1] .. string.sub(record, 10, 9 + struct.unpack('<I4', record, 6))
      local entry = redis.pcall('XADD', log, '*', 'r', bare, 'of', first)
      answers[i] = entry.err and entry or {entry, first}
    end
  end
end
return answers
`)

// runHead defines a function that returns the id of the server's run, which is new at each start of
// the server. A lease names its owner, its number and the run of the server that gave it. After a
// failover the new server may lack the last entries and use their ids again, so a reader's
// positions are not valid there.
const runHead = `
local function run()
  return string.match(redis.call('INFO', 'server'), 'run_id:(%w+)') or ''
end
`

// acquireScript acquires a lease that is free or has the same owner. Its number is higher than all
// before. After the counter was deleted, the clock makes it higher.
//
//	KEYS lease, counter; ARGV owner, ms to live -> the lease, or nil
var acquireScript = newScript("allow-oom", runHead+`
local now = redis.call('GET', KEYS[1])
if now and string.sub(now, 1, #ARGV[1] + 1) ~= ARGV[1] .. '/' then return false end
local t = redis.call('TIME')
local last = tonumber(redis.call('GET', KEYS[2]) or '0')
local n = string.format('%.0f', math.max(last + 1, t[1] * 1000 + math.floor(t[2] / 1000)))
local lease = ARGV[1] .. '/' .. n .. '/' .. run()
redis.call('SET', KEYS[2], n)
redis.call('SET', KEYS[1], lease, 'PX', ARGV[2])
return lease
`)

// renewScript: KEYS lease; ARGV lease, ms to live -> 1, or 0 if it is lost.
var renewScript = newScript("allow-oom", runHead+`
if redis.call('GET', KEYS[1]) ~= ARGV[1] or string.match(ARGV[1], '[^/]*$') ~= run() then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
`)

// giveBackScript: KEYS lease; ARGV lease -> number of keys removed.
var giveBackScript = newScript("allow-oom", `
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
`)

// beatScript: KEYS members; ARGV ms to live, then the members of this process -> all live members.
var beatScript = newScript("allow-oom", `
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
for i = 2, #ARGV do redis.call('ZADD', KEYS[1], now, ARGV[i]) end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[1])
return redis.call('ZRANGE', KEYS[1], 0, -1)
`)

// probeScript tests whether a partition can be written. It needs memory, like an append.
//
//	KEYS probe -> OK
var probeScript = newScript("", `return redis.call('SET', KEYS[1], '1', 'PX', 1000)`)

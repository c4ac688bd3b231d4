package redis

import (
	"context"
	"time"

	"github.com/redis/rueidis"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/queue/wire"
)

// retryScript appends the retry of a dead letter and takes over the claim of its identity, unless
// it has that already. It is a script of its own so that appendScript stays short.
//
//	KEYS claim, log; ARGV request id, the claim's ms to live, the record -> id of the entry
var retryScript = newScript("", `
local claim = redis.call('GET', KEYS[1])
if claim and string.sub(claim, 1, 16) == ARGV[1] then return string.sub(claim, 17) end
local id = redis.call('XADD', KEYS[2], '*', 'r', ARGV[3])
redis.call('SET', KEYS[1], ARGV[1] .. id, 'PX', ARGV[2])
return id
`)

// duplicateScript appends a record that another queue has found to be a duplicate. It makes no
// claim: the store recognises the request if it comes again.
//
//	KEYS log; ARGV the record without body, first request id -> id of the entry
var duplicateScript = newScript("",
	`return redis.call('XADD', KEYS[1], '*', 'r', ARGV[1], 'of', ARGV[2])`)

// AppendDuplicate implements spool.Appender.
func (q *Queue) AppendDuplicate(ctx context.Context, d *hookgate.Request,
	of hookgate.RequestID) (hookgate.Receipt, error) {
	if of.IsZero() {
		return q.Append(ctx, d)
	}
	if err := q.ready(ctx); err != nil {
		return hookgate.Receipt{}, err
	}
	defer q.depth.finished.Add(1)
	p := hookgate.Partition(d.OrderingKey, q.opts.Partitions)
	record := wire.Append(make([]byte, 0, wire.Size(d)), d, of, time.Now())
	receipt, err := q.appendAlone(ctx, p, call{duplicateScript, []string{q.keys.log[p]},
		[]string{rueidis.BinaryString(record), string(of[:])}})
	if err == nil {
		receipt.DuplicateOf = of
	}
	return receipt, err
}

// appendRetry appends d, which is a retry.
func (q *Queue) appendRetry(ctx context.Context, d *hookgate.Request) (hookgate.Receipt, error) {
	p := hookgate.Partition(d.OrderingKey, q.opts.Partitions)
	return q.appendAlone(ctx, p, call{retryScript,
		[]string{rueidis.BinaryString(q.keys.appendClaim(nil, p, q.generation.Load(), d)), q.keys.log[p]},
		[]string{
			string(d.RequestID[:]), q.ttl,
			rueidis.BinaryString(wire.Append(make([]byte, 0, wire.Size(d)), d, hookgate.RequestID{},
				time.Now())),
		}})
}

// appendAlone runs a script that appends one record to a partition and returns the entry's id.
func (q *Queue) appendAlone(ctx context.Context, p int, c call) (hookgate.Receipt, error) {
	begun := q.health.begin(p)
	id, err := q.run(ctx, c).ToString()
	receipt := hookgate.Receipt{Partition: p}
	if err == nil {
		receipt.Position, err = hookgate.ParsePosition(id)
	}
	if err != nil {
		if ctx.Err() != nil {
			return hookgate.Receipt{}, ctx.Err() // says nothing about Redis
		}
		err = opError("append to", p, q.explain(ctx, err))
		q.health.failed(p, begun, err)
		return hookgate.Receipt{}, err
	}
	q.health.wrote(p)
	q.wake(p)
	return receipt, nil
}

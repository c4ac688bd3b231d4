package redis

import (
	"context"
	"time"

	"github.com/redis/rueidis"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/queue/wire"
)

// replayScript appends the replay of a dead letter and takes its claim over, unless that is its own already. It is apart
// from appendScript, which stays as short as it is.
//
//	KEYS claim, log; ARGV request id, the claim's ms to live, the record -> id of the entry
var replayScript = newScript("", `
local claim = redis.call('GET', KEYS[1])
if claim and string.sub(claim, 1, 16) == ARGV[1] then return string.sub(claim, 17) end
local id = redis.call('XADD', KEYS[2], '*', 'r', ARGV[3])
redis.call('SET', KEYS[1], ARGV[1] .. id, 'PX', ARGV[2])
return id
`)

// appendReplay appends d, which is a replay and for which there is room.
func (q *Queue) appendReplay(ctx context.Context, d *hookgate.Delivery) (hookgate.Receipt, error) {
	p := hookgate.Partition(d.OrderingKey, q.opts.Partitions)
	begun := q.health.begin(p)
	id, err := q.run(ctx, call{replayScript, []string{q.keys.claimOf(p, d.Identity), q.keys.log[p]}, []string{
		string(d.RequestID[:]), q.ttl,
		rueidis.BinaryString(wire.Append(make([]byte, 0, wire.Size(d)), d, hookgate.RequestID{}, time.Now())),
	}}).ToString()
	receipt := hookgate.Receipt{Partition: p}
	if err == nil {
		receipt.Position, err = hookgate.ParsePosition(id)
	}
	if err != nil {
		if ctx.Err() != nil {
			return hookgate.Receipt{}, ctx.Err() // says nothing about Redis
		}
		err = opError("append a replay to", p, q.explain(ctx, err))
		q.health.failed(p, begun, err)
		return hookgate.Receipt{}, err
	}
	q.health.wrote(p)
	q.wake(p)
	return receipt, nil
}

package redis

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/redis/rueidis"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/queue/wire"
)

const (
	// maxGroup and maxGroupBytes bound the deliveries of one call of appendScript, and with them how
	// long Redis does nothing else.
	maxGroup      = 128
	maxGroupBytes = 1 << 20
	// maxFlying is the number of groups of an appender that are under way at a time: one more than is
	// needed, so that it seldom matters how far Redis is.
	maxFlying = 2
	// maxFlyingFsync is that number where Redis waits for its disk before it answers, and takes
	// nothing meanwhile: the larger the groups, the fewer waits.
	maxFlyingFsync = 1
	// maxKeptBuffer is the largest encoded record whose memory is used again.
	maxKeptBuffer = 64 << 10
)

// appender puts deliveries that come at the same time into one call of appendScript:
//
//	Append ─┬─ fewer than maxFlying groups are under way: a group of one, sent at once
//	        └─ else: waits ─► a group ends ─► all that wait are the next group, sent by the first of them
//
// So a delivery that comes alone waits for nothing but Redis, and under load the groups grow by
// themselves.
type appender struct {
	maxFlying int

	mu      sync.Mutex // guards all below; never held over I/O
	flying  int        // groups under way
	waiting []*appendCall
}

// appendCall is one delivery on its way. It is used again only when Redis has answered: what was
// cut off may still be about to be sent.
type appendCall struct {
	partition int
	claim     []byte // key
	record    []byte
	bare      [wire.PrefixSize]byte // see wire.Bare

	// turn has an item when the call has its answer, or is to send its group, in which it is the
	// first.
	turn    chan struct{}
	group   []*appendCall
	begun   int64 // see health.begin
	receipt hookgate.Receipt
	err     error
}

var appendCalls = sync.Pool{New: func() any { return &appendCall{turn: make(chan struct{}, 1)} }}

// newAppendCall encodes d, which is not referred to afterwards.
func (q *Queue) newAppendCall(d *hookgate.Request) *appendCall {
	c := appendCalls.Get().(*appendCall)
	p := hookgate.Partition(d.OrderingKey, q.opts.Partitions)
	c.partition, c.receipt, c.err = p, hookgate.Receipt{Partition: p}, nil
	c.begun = q.health.begin(p)
	c.claim = q.keys.appendClaim(c.claim[:0], p, q.generation.Load(), d)
	c.record = wire.Append(c.record[:0], d, hookgate.RequestID{}, time.Now())
	c.bare = wire.Bare(c.record)
	return c
}

// recycle keeps a call that Redis has answered for another delivery.
func (c *appendCall) recycle() {
	if cap(c.record) <= maxKeptBuffer {
		appendCalls.Put(c)
	}
}

// Append implements hookgate.Queue. It returns in OpTimeout, whatever becomes of ctx on the way:
// the deliveries of a group share one call. d is not referred to afterwards.
//
// The high-water mark is compared with a count of all partitions that is taken every 100 ms while
// there are appends, and anew before anything is refused, plus what this process has appended
// since. Other processes are seen late: the queue may exceed its mark by what they append in 100 ms
// and one operation.
func (q *Queue) Append(ctx context.Context, d *hookgate.Request) (hookgate.Receipt, error) {
	if err := q.ready(ctx); err != nil {
		return hookgate.Receipt{}, err
	}
	defer q.depth.finished.Add(1)
	if d.Replay() {
		return q.appendReplay(ctx, d)
	}
	c := q.newAppendCall(d)
	a := q.appenderOf(c.partition)
	if a.join(c) {
		q.send(a, []*appendCall{c})
	} else {
		<-c.turn
		q.sendGroup(a, c)
	}
	receipt, err := c.receipt, c.err
	if err != nil {
		return hookgate.Receipt{}, err
	}
	c.recycle()
	return receipt, nil
}

// ready returns why nothing can be appended now. If it returns nil, the caller counts its append in
// q.depth.finished when that has ended.
func (q *Queue) ready(ctx context.Context) error {
	if q.isClosed() {
		return hookgate.ErrClosed
	}
	if why := q.misconfigured.Load(); why != nil {
		return *why
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return q.admit(ctx)
}

// newAppenders returns what groups the appends: one appender for each partition on a cluster, else
// one for all.
func newAppenders(partitions int, mode rueidis.ClientMode, worth Durability) []appender {
	n, flying := 1, maxFlying
	if mode == rueidis.ClientModeCluster {
		n = partitions
	}
	if worth.AppendFsync == "always" {
		flying = maxFlyingFsync
	}
	all := make([]appender, n)
	for i := range all {
		all[i].maxFlying = flying
	}
	return all
}

// appenderOf returns what groups the appends to a partition: a script may touch the keys of one
// slot of a cluster only.
func (q *Queue) appenderOf(partition int) *appender {
	if len(q.appenders) == 1 {
		return &q.appenders[0]
	}
	return &q.appenders[partition]
}

// join reports whether c may be sent at once. If not, it waits for its turn.
func (a *appender) join(c *appendCall) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.flying < a.maxFlying {
		a.flying++
		return true
	}
	a.waiting = append(a.waiting, c)
	return false
}

// next makes what waits the next group, to be sent by the first of it, after a group has ended. If
// that was because its time was up, those who wait are returned instead, to get its error: they
// would find Redis no better.
func (a *appender) next(err error) (failed []*appendCall) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if errors.Is(err, context.DeadlineExceeded) {
		failed, a.waiting = a.waiting, nil
	}
	if len(a.waiting) == 0 {
		a.flying--
		return failed
	}
	n, size := 0, 0
	for n < len(a.waiting) && n < maxGroup &&
		(n == 0 || size+len(a.waiting[n].record) <= maxGroupBytes) {
		size += len(a.waiting[n].record)
		n++
	}
	first := a.waiting[0]
	first.group = append(first.group[:0], a.waiting[:n]...)
	rest := copy(a.waiting, a.waiting[n:])
	clear(a.waiting[rest:])
	a.waiting = a.waiting[:rest]
	first.turn <- struct{}{}
	return failed
}

// sendGroup sends the group of which c is the first, if it is.
func (q *Queue) sendGroup(a *appender, c *appendCall) {
	if len(c.group) > 0 {
		q.send(a, c.group)
		clear(c.group)
		c.group = c.group[:0]
	}
}

// send makes one call of appendScript for a group, and gives everyone but the first, who is the
// caller, the answer.
func (q *Queue) send(a *appender, group []*appendCall) {
	keys, args := make([]string, 0, 2*len(group)), make([]string, 1, 1+2*len(group))
	args[0] = q.ttl
	for _, c := range group {
		keys = append(keys, q.keys.log[c.partition], rueidis.BinaryString(c.claim))
		args = append(args, rueidis.BinaryString(c.record), rueidis.BinaryString(c.bare[:]))
	}
	ctx := context.Background() // each of them has its own; do has a limit of time
	answers, err := q.run(ctx, call{appendScript, keys, args}).ToArray()
	if err == nil && len(answers) != len(group) {
		err = errors.New("the answer is malformed")
	}
	group = append(group, a.next(err)...)
	for i, c := range group {
		c.err = err
		if err == nil {
			c.err = parseReceipt(&c.receipt, &answers[i])
		}
		if c.err != nil {
			c.err = opError("append to", c.partition, q.explain(ctx, c.err))
			q.health.failed(c.partition, c.begun, c.err)
		} else {
			q.health.wrote(c.partition)
			q.wake(c.partition)
		}
	}
	for _, c := range group[1:] {
		c.turn <- struct{}{}
	}
}

// parseReceipt reads what appendScript answers for one delivery.
func parseReceipt(receipt *hookgate.Receipt, m *rueidis.RedisMessage) (err error) {
	if m.IsArray() {
		parts, err := m.AsStrSlice()
		if err != nil || len(parts) != 2 || len(parts[1]) != len(receipt.DuplicateOf) {
			return errors.Join(errors.New("its claim is malformed"), err)
		}
		copy(receipt.DuplicateOf[:], parts[1])
		receipt.Position, err = hookgate.ParsePosition(parts[0])
		return err
	}
	id, err := m.ToString()
	if err != nil {
		return err
	}
	receipt.Position, err = hookgate.ParsePosition(id)
	return err
}

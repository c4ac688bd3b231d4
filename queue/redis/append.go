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
	// maxGroup and maxGroupBytes bound the requests of one call of appendScript, and with them how
	// long Redis does nothing else.
	maxGroup      = 128
	maxGroupBytes = 1 << 20
	// maxInFlight is the largest number of groups in flight: one more than needed, so that Redis
	// always has a group to work on.
	maxInFlight = 2
	// maxInFlightFsync is that number where Redis waits for its disk before it answers, and reads
	// nothing meanwhile: larger groups then mean fewer waits.
	maxInFlightFsync = 1
	// maxKeptBuffer is the largest encoded record whose memory is used again.
	maxKeptBuffer = 64 << 10
)

// appender sends requests that arrive together in one call of appendScript. Each group has a
// leader, which sends it and hands each follower its receipt:
//
//	Append ─► join ─┬─ fewer than maxInFlight groups in flight: the leader of a group of one
//	                └─ else it waits until a group has ended ─┬─ the first that waits leads
//	                                                          └─ the others follow: they get their
//	                                                             receipts from the leader
//
// So a request that arrives alone waits for Redis only, and under load the groups grow by
// themselves.
type appender struct {
	maxInFlight int

	mu       sync.Mutex // guards all below; never held over I/O
	inFlight int        // groups
	waiting  []*appendCall
}

// role says what an append does next. Only join and next assign it.
type role int

const (
	waiter   role = iota // wait for another role
	leader               // send the group
	follower             // return: the leader has sent the group, and the outcome is there
)

// appendCall is one append. It is used again only after Redis has answered: a call that timed out
// may still be about to be sent.
type appendCall struct {
	partition int
	claim     []byte // key
	record    []byte
	bare      [wire.PrefixSize]byte // see wire.Bare

	// roles has the role of a waiter when it changes.
	roles chan role
	// group is what a leader sends, itself first.
	group   []*appendCall
	begun   int64 // see health.begin
	receipt hookgate.Receipt
	err     error
}

var appendCalls = sync.Pool{New: func() any { return &appendCall{roles: make(chan role, 1)} }}

// newAppendCall encodes r. Nothing refers to r afterwards.
func (q *Queue) newAppendCall(r *hookgate.Request) *appendCall {
	c := appendCalls.Get().(*appendCall)
	p := hookgate.Partition(r.OrderingKey, q.opts.Partitions)
	c.partition, c.receipt, c.err = p, hookgate.Receipt{Partition: p}, nil
	c.begun = q.health.begin(p)
	c.claim = q.keys.appendClaim(c.claim[:0], p, q.generation.Load(), r)
	c.record = wire.Append(c.record[:0], r, hookgate.RequestID{}, time.Now())
	c.bare = wire.Bare(c.record)
	return c
}

// recycle keeps a call that Redis has answered for another append.
func (c *appendCall) recycle() {
	if cap(c.record) <= maxKeptBuffer {
		appendCalls.Put(c)
	}
}

// Append implements hookgate.Queue. It returns within OpTimeout and does not end early with ctx,
// because the requests of a group share one call.
//
// Append compares the high-water mark with a count of all partitions plus what this process has
// appended since. It counts every 100 ms while there are appends, and again before it rejects a
// request. Appends of other processes are seen late: the queue may exceed its mark by what they
// append in 100 ms and one operation.
func (q *Queue) Append(ctx context.Context, r *hookgate.Request) (hookgate.Receipt, error) {
	if err := q.ready(ctx); err != nil {
		return hookgate.Receipt{}, err
	}
	defer q.depth.finished.Add(1)
	if r.IsRetry() {
		return q.appendRetry(ctx, r)
	}
	c := q.newAppendCall(r)
	a := q.appenderOf(c.partition)
	role := a.join(c)
	if role == waiter {
		role = <-c.roles
	}
	if role == leader {
		q.lead(a, c)
	}
	receipt, err := c.receipt, c.err
	if err != nil {
		return hookgate.Receipt{}, err
	}
	c.recycle()
	return receipt, nil
}

// ready returns why nothing can be appended now. If it returns nil, the caller must add its append
// to q.depth.finished when that has ended.
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

// newAppenders returns one appender for each partition on a cluster, else one for all.
func newAppenders(partitions int, mode rueidis.ClientMode, worth Durability) []appender {
	n, inFlight := 1, maxInFlight
	if mode == rueidis.ClientModeCluster {
		n = partitions
	}
	if worth.AppendFsync == "always" {
		inFlight = maxInFlightFsync
	}
	all := make([]appender, n)
	for i := range all {
		all[i].maxInFlight = inFlight
	}
	return all
}

// appenderOf returns the appender of a partition. On a cluster a script may only touch the keys of
// one slot.
func (q *Queue) appenderOf(partition int) *appender {
	if len(q.appenders) == 1 {
		return &q.appenders[0]
	}
	return &q.appenders[partition]
}

// join makes c the leader of a group of one, or a waiter.
func (a *appender) join(c *appendCall) role {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.inFlight < a.maxInFlight {
		a.inFlight++
		c.group = append(c.group[:0], c)
		return leader
	}
	a.waiting = append(a.waiting, c)
	return waiter
}

// next begins the next group after one has ended with err: the first waiter leads, as many as fit
// follow. If Redis did not answer in time, next returns the waiters instead, which fail with the
// same error: Redis would answer them no sooner.
func (a *appender) next(err error) (failed []*appendCall) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if errors.Is(err, context.DeadlineExceeded) {
		failed, a.waiting = a.waiting, nil
	}
	if len(a.waiting) == 0 {
		a.inFlight--
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
	first.roles <- leader
	return failed
}

// lead sends the group of c and hands each follower its receipt or error.
func (q *Queue) lead(a *appender, c *appendCall) {
	group := c.group
	keys, args := make([]string, 0, 2*len(group)), make([]string, 1, 1+2*len(group))
	args[0] = q.ttl
	for _, c := range group {
		keys = append(keys, q.keys.log[c.partition], rueidis.BinaryString(c.claim))
		args = append(args, rueidis.BinaryString(c.record), rueidis.BinaryString(c.bare[:]))
	}
	ctx := context.Background() // each append has its own; run has a time limit
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
	for _, follows := range group[1:] {
		follows.roles <- follower
	}
	clear(group)
	c.group = group[:0]
}

// parseReceipt reads what appendScript answers for one request.
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

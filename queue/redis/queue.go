// Package redis is the queue that several machines share: one Redis Stream for each partition, on a
// single server, under Sentinel or on a cluster. It needs Redis 7.0 or newer, or Valkey.
//
//	Append ──► one script: claim? ─┬─ free:  XADD record, SET claim ─┐
//	Append ─┘  (one round trip)    └─ taken: XADD without body ──────┤   log of one partition
//	                                                                 ▼
//	Next ◄── one script: lease still ours? XRANGE behind what was read ◄─┤
//	Commit ─► one script: lease still ours? XTRIM what is released ──────┘
//
// Only Commit trims. Each partition belongs to one reader at a time, by a lease that its process
// renews; see keeper.go.
//
// A claim holds within the partition of its ordering key. A repetition with another ordering key
// may belong to another partition, which queues it as new. The store then recognises it.
//
// EnqueuedAt comes from the clock of the process that appends. Positions come from the clock of
// Redis: milliseconds since 1970 and a count. Redis keeps the last position of an empty log, so no
// position is used twice. After a log was deleted by hand (DEL, FLUSHALL), positions go on from the
// clock.
//
// Known limits: an append does not wait for replicas, so a failover loses the records that a
// replica had not received. A reader sees the appends of another process to an idle partition
// within 100 ms. The Redis user needs INFO, in scripts too. Without CONFIG GET the gate cannot say
// what a 202 is worth.
package redis

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/redis/rueidis"

	"github.com/hookgate/hookgate"
)

// Queue is a hookgate.Queue in Redis. Any number of processes may have it open.
type Queue struct {
	opts      Config
	client    rueidis.Client
	keys      *keys
	ttl       string // of claims, in ms
	worth     Durability
	health    *health
	depth     depth
	appenders []appender // see appenderOf
	// generation is the current generation of claims; see store.go.
	generation atomic.Int64
	// replaced is when the current generation began, in seconds since 1970; 0 for the first one.
	replaced atomic.Int64
	// misconfigured says why this process must not append; nil while it may.
	misconfigured atomic.Pointer[error]

	kicked     chan struct{} // has an item when the keeper should begin a round now
	closing    chan struct{} // closed when the queue accepts no more calls
	closeOnce  sync.Once
	background sync.WaitGroup

	// round is held, over the I/O, while leases or membership in Redis change.
	round    sync.Mutex
	bindings map[string]*binding // by the run of a server; guarded by round

	mu      sync.Mutex // guards all below; never held over I/O
	lanes   []lane     // by partition
	readers []*reader
	lost    int64    // leases, since the start
	members []string // all readers of all processes, sorted, as the last heartbeat found them
}

var _ hookgate.BufferedQueue = (*Queue)(nil)

// Open opens the queue in the Redis that c names. The error is a hookgate.MisconfiguredError if c
// is invalid, if Redis rejects this process, if Redis may evict keys and c does not allow that, or
// if the queue holds records for another number of partitions. Any other error means that Redis is
// away or not ready.
func Open(ctx context.Context, c Config) (*Queue, error) {
	c, err := c.withDefaults()
	if err != nil {
		return nil, misconfigured(reasonSettings, err)
	}
	o, err := c.clientOption()
	if err != nil {
		return nil, misconfigured(reasonSettings, err)
	}
	client, err := rueidis.NewClient(o)
	if err != nil {
		return nil, judge(fmt.Errorf("connect to redis at %v: %w", o.InitAddress, err))
	}
	q := &Queue{
		opts:    c,
		client:  client,
		keys:    newKeys(c.Prefix, c.Partitions),
		ttl:     strconv.FormatInt(c.ClaimTTL.Milliseconds(), 10),
		health:  newHealth(c),
		kicked:  make(chan struct{}, 1),
		closing: make(chan struct{}),
		lanes:   make([]lane, c.Partitions),

		bindings: map[string]*binding{},
	}
	q.depth.lengths = make([]int64, c.Partitions)
	if err := q.start(ctx); err != nil {
		client.Close()
		return nil, judge(fmt.Errorf("open queue %s in redis at %v: %w", c.Prefix, o.InitAddress, err))
	}
	q.background.Go(q.watch)
	q.background.Go(q.keep)
	return q, nil
}

func (q *Queue) start(ctx context.Context) error {
	var err error
	if q.worth, err = q.readDurability(ctx); err != nil {
		return err
	}
	if q.worth.Evicts && !q.opts.AllowEviction {
		return misconfigured(reasonEvicts, fmt.Errorf(
			"its maxmemory-policy %s deletes acknowledged events when memory is full:"+
				" set it to noeviction, or allow eviction", q.worth.MaxMemoryPolicy))
	}
	q.appenders = newAppenders(q.opts.Partitions, q.client.Mode(), q.worth)
	if err := q.fixPartitions(ctx); err != nil {
		return err
	}
	if err := q.readSettings(ctx); err != nil {
		return err
	}
	q.compareStore(ctx)
	for _, warning := range q.worth.Warnings {
		q.opts.Logger.Warn("redis: " + warning)
	}
	// A partition that fails, on a node of its own, shows in the health and does not stop the others.
	_ = q.measure(ctx)
	return nil
}

// do runs one command, for at most OpTimeout.
func (q *Queue) do(ctx context.Context, command rueidis.Completed) rueidis.RedisResult {
	ctx, cancel := context.WithTimeout(ctx, q.opts.OpTimeout)
	defer cancel()
	return q.client.Do(ctx, command)
}

// doAll runs commands in one pipeline, for at most OpTimeout.
func (q *Queue) doAll(ctx context.Context, commands []rueidis.Completed) []rueidis.RedisResult {
	ctx, cancel := context.WithTimeout(ctx, q.opts.OpTimeout)
	defer cancel()
	return q.client.DoMulti(ctx, commands...)
}

func (q *Queue) isClosed() bool {
	select {
	case <-q.closing:
		return true
	default:
		return false
	}
}

// explain returns the cause of an operation's error: the end of ctx, OpTimeout, the end of this
// queue, or err itself.
func (q *Queue) explain(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("no answer within %v", q.opts.OpTimeout)
	case errors.Is(err, rueidis.ErrClosing) && q.isClosed():
		return hookgate.ErrClosed
	}
	return err
}

// opError adds the operation and the partition to an error.
func opError(what string, partition int, err error) error {
	return fmt.Errorf("%s partition %d in redis: %w", what, partition, err)
}

// Close implements hookgate.Queue. It also closes all readers.
func (q *Queue) Close() error {
	var err error
	q.closeOnce.Do(func() {
		q.mu.Lock()
		open := slices.Clone(q.readers)
		close(q.closing)
		q.mu.Unlock()
		for _, c := range open {
			err = errors.Join(err, c.Close())
		}
		q.background.Wait()
		q.client.Close()
	})
	return err
}

// abandon ends the queue as a crash of its process would: it gives no lease back. For tests.
func (q *Queue) abandon() {
	q.closeOnce.Do(func() {
		q.mu.Lock()
		close(q.closing)
		q.mu.Unlock()
		q.client.Close()
		q.background.Wait()
	})
}

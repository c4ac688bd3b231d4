package redis

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"
)

// The readers of all processes share the partitions without talking to each other. Each one is a
// member of a sorted set for as long as it sends heartbeats. Sorted by their names, which begin
// with the time of their start, the first is due partition 0, the second partition 1, and so on,
// round and round. A reader leases the partitions that it is due as soon as their leases are free.
// It gives back the others as soon as it has none of their records in hand. Each process does this
// for its readers in rounds, every third of LeaseTTL and when something happens:
//
//	heartbeat ─► which reader is due what ─► renew / give back ─► acquire what is free
//
// A process that dies or cannot reach Redis sends neither heartbeats nor renewals. After LeaseTTL
// the others no longer count it, and its leases are free.

// memberID returns the name of a new reader. The names of later readers sort after it.
func memberID() string {
	var random [8]byte
	rand.Read(random[:]) // never fails
	return fmt.Sprintf("%013x%s", time.Now().UnixMicro(), hex.EncodeToString(random[:]))
}

// due returns the reader that a partition is due to; mu must be held.
func (q *Queue) due(p int) string {
	if len(q.members) == 0 {
		return ""
	}
	return q.members[p%len(q.members)]
}

// kick makes the keeper begin a round now.
func (q *Queue) kick() {
	select {
	case q.kicked <- struct{}{}:
	default:
	}
}

// keep renews leases and divides the partitions until the queue is closed.
func (q *Queue) keep() {
	ticker := time.NewTicker(q.opts.LeaseTTL / 3)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-q.kicked:
		case <-q.closing:
			return
		}
		q.round.Lock()
		// It renews leases even if the heartbeat fails: in a cluster they may be on other nodes.
		err := errors.Join(q.beat(context.Background()), q.shareOut(context.Background()))
		q.round.Unlock()
		if err != nil && !q.isClosed() {
			q.opts.Logger.Warn("cannot renew leases; they may run out", "error", err)
		}
	}
}

// leaseCall is a call about the lease of a lane.
type leaseCall struct {
	call
	partition int
	token     string  // of the lane when the call was made
	reader    *reader // for a call that acquires: the reader that wants the lease
	must      bool    // the call fails if the lane has changed meanwhile
	most      int     // for a call that reads: the largest number of entries
	mostBytes int     // and about the largest number of their bytes
}

// shareOut makes the leases fit the members; round must be held.
func (q *Queue) shareOut(ctx context.Context) error {
	begun := time.Now()
	renewals, returns := q.planKeeping()
	err := q.lease(ctx, renewals, func(l *lane, _ leaseCall, r rueidis.RedisResult) error {
		n, err := r.ToInt64()
		switch {
		case err != nil:
			return err
		case n == 0:
			q.lose(l)
		default:
			l.lease.until = begun.Add(q.opts.LeaseTTL)
		}
		return nil
	})
	err = errors.Join(err, q.lease(ctx, returns, func(l *lane, _ leaseCall,
		r rueidis.RedisResult) error {
		l.free() // if Redis has not done it, the lease runs out
		return r.Error()
	}))
	return errors.Join(err, q.acquire(ctx))
}

// acquire acquires the free leases that are due to readers of this process; round must be held.
func (q *Queue) acquire(ctx context.Context) error {
	begun := time.Now()
	var won []leaseCall
	err := q.lease(ctx, q.planAcquiring(), func(_ *lane, c leaseCall, r rueidis.RedisResult) error {
		token, err := r.ToString()
		if rueidis.IsRedisNil(err) {
			return nil // another reader still has it
		}
		if c.token = token; err == nil {
			won = append(won, c)
		}
		return err
	})
	for _, c := range won {
		err = errors.Join(err, q.take(ctx, c, begun.Add(q.opts.LeaseTTL)))
	}
	return err
}

// take gives an acquired lease to its lane. If it fails, the lease runs out or is acquired again.
func (q *Queue) take(ctx context.Context, c leaseCall, until time.Time) error {
	number := strings.Split(c.token, "/")
	n, err := strconv.ParseUint(number[min(1, len(number)-1)], 10, 64)
	if err != nil {
		return opError("acquire", c.partition, fmt.Errorf("lease %q has no number", c.token))
	}
	b, err := q.bind(ctx, c.partition, c.token)
	if err != nil {
		return opError("use the lease of", c.partition, err)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if c.reader.phase == readerClosed {
		return nil // its Close waits for this round and finds nothing
	}
	q.lanes[c.partition].hold(c.reader, lease{token: c.token, number: n, scripts: b, until: until})
	c.reader.wake(readStirred)
	return nil
}

// beat sends the heartbeat of this process's readers, if it has any, and reads the members.
func (q *Queue) beat(ctx context.Context) error {
	args := []string{q.leaseMillis()}
	q.mu.Lock()
	for _, c := range q.readers {
		args = append(args, c.id)
	}
	q.mu.Unlock()
	if len(args) == 1 {
		return nil
	}
	members, err := q.run(ctx, call{beatScript, []string{q.keys.members}, args}).AsStrSlice()
	if err != nil {
		return fmt.Errorf("send heartbeat to redis: %w", q.explain(ctx, err))
	}
	slices.Sort(members)
	q.mu.Lock()
	defer q.mu.Unlock()
	q.members = members
	return nil
}

func (q *Queue) leaseMillis() string {
	return strconv.FormatInt(q.opts.LeaseTTL.Milliseconds(), 10)
}

// planKeeping decides which leases to renew and which to give back.
func (q *Queue) planKeeping() (renewals, returns []leaseCall) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for p := range q.lanes {
		l := &q.lanes[p]
		if l.phase == laneFree {
			continue
		}
		if l.owner.id == q.due(p) || l.inHand() {
			c := call{renewScript, []string{q.keys.lease[p]}, []string{l.lease.token, q.leaseMillis()}}
			renewals = append(renewals, leaseCall{call: c, partition: p, token: l.lease.token})
			continue
		}
		l.giveBack()
		returns = append(returns, q.giveBack(p, l.lease.token))
	}
	return renewals, returns
}

func (q *Queue) giveBack(p int, token string) leaseCall {
	return leaseCall{call: call{giveBackScript, []string{q.keys.lease[p]}, []string{token}},
		partition: p, token: token}
}

// planAcquiring decides which leases to ask for.
func (q *Queue) planAcquiring() []leaseCall {
	q.mu.Lock()
	defer q.mu.Unlock()
	var calls []leaseCall
	for p := range q.lanes {
		if q.lanes[p].phase != laneFree {
			continue
		}
		due := q.due(p)
		for _, c := range q.readers {
			if c.id == due {
				keys := []string{q.keys.lease[p], q.keys.leases[p]}
				calls = append(calls, leaseCall{call: call{acquireScript, keys,
					[]string{c.id, q.leaseMillis()}}, partition: p, reader: c})
			}
		}
	}
	return calls
}

// lease makes the calls in one pipeline. It passes each answer to then, under mu, if the lane still
// has the lease of the call.
func (q *Queue) lease(ctx context.Context, calls []leaseCall, then func(*lane, leaseCall,
	rueidis.RedisResult) error) error {
	plain := make([]call, len(calls))
	for i := range calls {
		plain[i] = calls[i].call
	}
	results := q.runAll(ctx, plain)
	q.mu.Lock()
	defer q.mu.Unlock()
	var failed error
	for i, r := range results {
		c := calls[i]
		var err error
		l := &q.lanes[c.partition]
		switch {
		case l.lease.token != c.token && c.must:
			err = errLost
		case l.lease.token != c.token: // the answer no longer matters
		case c.script.bound && noScript(r):
			l.lease.scripts.forgotten.Store(true)
			if q.lose(l); c.must {
				err = errLost
			}
		default:
			err = then(l, c, r)
		}
		if err != nil {
			failed = opError("use the lease of", c.partition, q.explain(ctx, err))
		}
	}
	return failed
}

// lose frees the lane of a lease that another reader has now, or that a failover ended; mu must be
// held.
func (q *Queue) lose(l *lane) {
	q.opts.Logger.Warn("the lease of a partition was lost", "lease", l.lease.token)
	q.lost++
	l.free()
	q.kick()
}

// Owners returns for each partition the number of the reader of this process that holds it. The
// open readers are numbered from 1 in the order in which they were opened. 0: no reader of this
// process holds it; another process may.
func (q *Queue) Owners() []int {
	q.mu.Lock()
	defer q.mu.Unlock()
	owners := make([]int, len(q.lanes))
	for p := range owners {
		if owner := q.lanes[p].owner; owner != nil {
			owners[p] = slices.Index(q.readers, owner) + 1
		}
	}
	return owners
}

// LeasesLost returns the number of leases that this process has lost without giving them back,
// since the queue was opened.
func (q *Queue) LeasesLost() int64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.lost
}

// wake makes the reader of this process that holds the partition read a new record.
func (q *Queue) wake(p int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if l := &q.lanes[p]; l.phase != laneFree {
		l.stirred = true
		l.owner.wake(readStirred)
	}
}

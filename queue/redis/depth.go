package redis

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/queue/wire"
)

const (
	// pollEvery is how often watch reads the depth, the settings and the health.
	pollEvery = 100 * time.Millisecond
	// restEvery replaces restEvery polls by one while this process neither appends nor reads.
	restEvery = 5
)

// depth estimates the number of unreleased records in the queue: the last count, plus the appends
// of this process since that count began. It may include an append during the count twice, but it
// never misses one.
type depth struct {
	started, finished atomic.Int64 // appends of this process
	// offset is the last count, minus the appends that had finished before it.
	offset atomic.Int64

	counts   atomic.Int64 // begun so far
	counting sync.Mutex   // held while counting; guards all below
	lengths  []int64      // of each partition, at the last count that reached it
	last     error        // of the last count
}

// estimate returns the estimated depth.
func (d *depth) estimate() int64 { return d.offset.Load() + d.started.Load() }

// begin counts an append, unless the depth has reached mark.
func (d *depth) begin(mark int64) bool {
	for {
		n := d.started.Load()
		if d.offset.Load()+n >= mark {
			return false
		}
		if d.started.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// admit counts an append or returns ErrFull. Before it returns ErrFull, it counts the records
// again.
func (q *Queue) admit(ctx context.Context) error {
	if q.depth.begin(q.opts.HighWater) {
		return nil
	}
	err := q.measure(ctx)
	switch {
	case q.depth.begin(q.opts.HighWater):
		return nil
	case err != nil:
		return err
	}
	return hookgate.ErrFull
}

// measure counts the records of all partitions. Concurrent calls share one count.
func (q *Queue) measure(ctx context.Context) error {
	seen := q.depth.counts.Load()
	q.depth.counting.Lock()
	defer q.depth.counting.Unlock()
	if q.depth.counts.Load() != seen {
		return q.depth.last
	}
	_, err := q.count(ctx)
	return err
}

// count reads the number of records of each partition, and runs more commands in the same pipeline;
// depth.counting must be held. It notes a partition that does not answer as failing, and uses its
// last number.
func (q *Queue) count(ctx context.Context,
	more ...rueidis.Completed) (answers []rueidis.RedisResult, err error) {
	defer func() { q.depth.last = err }()
	q.depth.counts.Add(1)
	finished := q.depth.finished.Load()
	commands := make([]rueidis.Completed, 0, len(q.keys.log)+len(more))
	begun := make([]int64, len(q.keys.log))
	for p, log := range q.keys.log {
		begun[p] = q.health.begin(p)
		commands = append(commands, q.client.B().Xlen().Key(log).Build())
	}
	results := q.doAll(ctx, append(commands, more...))
	sum := int64(0)
	for p := range q.keys.log {
		n, failed := results[p].ToInt64()
		if failed == nil {
			q.depth.lengths[p] = n
			if n > 0 {
				q.notice(p)
			}
		} else {
			err = opError("count", p, q.explain(ctx, failed))
			if ctx.Err() == nil && !q.isClosed() {
				q.health.failed(p, begun[p], err)
			}
		}
		sum += q.depth.lengths[p]
	}
	q.depth.offset.Store(sum - finished)
	return results[len(q.keys.log):], err
}

// notice wakes the reader of this process that holds a partition with records. It does not wake a
// reader that has records of it in hand or knows of more. So the reader learns of the appends of
// other processes.
func (q *Queue) notice(p int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if l := &q.lanes[p]; l.phase != laneFree && !l.inHand() && len(l.unread) == 0 && !l.stirred {
		l.owner.wake(readAll)
	}
}

// Stats implements hookgate.Queue. While Redis fails, Depth is an estimate and Err the reason.
func (q *Queue) Stats(ctx context.Context) (hookgate.QueueStats, error) {
	s := hookgate.QueueStats{HighWater: q.opts.HighWater, Partitions: q.opts.Partitions}
	if q.isClosed() {
		s.Depth, s.Err = q.depth.estimate(), hookgate.ErrClosed
		return s, nil
	}
	if why := q.misconfigured.Load(); why != nil {
		s.Err = *why
	}
	if err := q.health.err(); err != nil {
		s.Depth, s.Err = q.depth.estimate(), err
		return s, nil
	}
	q.depth.counting.Lock()
	defer q.depth.counting.Unlock()
	var first []rueidis.Completed
	for _, log := range q.keys.log {
		first = append(first, q.client.B().Xrange().Key(log).Start("-").End("+").Count(1).Build())
	}
	before := q.depth.finished.Load()
	results, err := q.count(ctx, first...)
	if ctx.Err() != nil {
		return s, ctx.Err()
	}
	if err != nil {
		s.Depth, s.Err = q.depth.estimate(), err
		return s, nil
	}
	s.Depth = q.depth.offset.Load() + before
	for _, r := range results {
		entries, err := r.ToArray()
		if err != nil || len(entries) == 0 {
			continue
		}
		var oldest hookgate.Record
		if e, err := parseEntry(entries[0]); err == nil && wire.Decode(e.data, &oldest) == nil &&
			(s.OldestEnqueuedAt.IsZero() || oldest.EnqueuedAt.Before(s.OldestEnqueuedAt)) {
			s.OldestEnqueuedAt = oldest.EnqueuedAt
		}
	}
	return s, nil
}

// watch reads depth, settings and health every pollEvery until the queue is closed.
func (q *Queue) watch() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		select {
		case <-q.closing:
			cancel()
		case <-ctx.Done():
		}
	}()
	ticker := time.NewTicker(pollEvery)
	defer ticker.Stop()
	for look, appends := 0, int64(0); ; look++ {
		select {
		case <-ticker.C:
		case <-q.closing:
			return
		}
		if now := q.depth.started.Load(); now != appends {
			appends = now
		} else if look%restEvery > 0 && !q.hasReaders() && q.health.err() == nil {
			continue
		}
		// A failure shows in the health, and the next poll retries.
		_ = q.measure(ctx)
		_ = q.readSettings(ctx)
		if look%restEvery == 0 {
			q.compareStore(ctx)
		}
		q.probe(ctx)
	}
}

// consuming reports whether this process has readers.
func (q *Queue) hasReaders() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.readers) > 0
}

// probe writes to the partitions whose last write failed, so that the health recovers even without
// appends.
func (q *Queue) probe(ctx context.Context) {
	sick := q.health.sick()
	calls, begun := make([]call, len(sick)), make([]int64, len(sick))
	for i, p := range sick {
		begun[i] = q.health.begin(p)
		calls[i] = call{script: probeScript, keys: []string{q.keys.probe[p]}}
	}
	for i, r := range q.runAll(ctx, calls) {
		if err := r.Error(); err != nil {
			if ctx.Err() == nil {
				q.health.failed(sick[i], begun[i], opError("write to", sick[i], q.explain(ctx, err)))
			}
			continue
		}
		q.health.wrote(sick[i])
	}
}

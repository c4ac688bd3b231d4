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
	// pollEvery is how often the depth, the settings and the health are looked at.
	pollEvery = 100 * time.Millisecond
	// restEvery is how many of these looks make one where this process neither appends nor consumes.
	restEvery = 5
)

// depth estimates how many unreleased records the queue holds: what was counted last, and what this
// process has appended since that count began. An append under way during the count may be in it
// twice, never not at all.
type depth struct {
	started, finished atomic.Int64 // appends of this process
	// offset is the number counted last, less the appends that had finished before.
	offset atomic.Int64

	counts   atomic.Int64 // begun so far
	counting sync.Mutex   // held while counting; guards all below
	lengths  []int64      // of each partition, as known last
	last     error        // of the last count
}

// estimate returns the depth as far as it is known.
func (d *depth) estimate() int64 { return d.offset.Load() + d.started.Load() }

// begin counts an append, unless there would then be more than the mark.
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

// admit counts an append or returns ErrFull. It refuses only by a count that began after it was
// called.
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

// measure counts the records of all partitions. Those who call it at once share a count.
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

// count asks each partition for its number of records, and in the same pipeline what else there is
// to ask; depth.counting must be held. A partition that does not answer is noted as failing, and
// counts as it did before.
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

// notice wakes whoever in this process holds a partition, unless it has some of it in hand: what a
// count has found there another process has appended.
func (q *Queue) notice(p int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if l := &q.lanes[p]; l.phase != laneFree && !l.inHand() && len(l.unread) == 0 && !l.stirred {
		l.owner.wake(readAll)
	}
}

// Stats implements hookgate.Queue. While Redis fails, Depth is what was known last and Err says how
// it fails.
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

// watch looks at Redis from time to time until the queue is closed.
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
		// What fails is in the health, and is tried again next time.
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

// probe writes to the partitions whose last write failed, so that they are found well without
// traffic.
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

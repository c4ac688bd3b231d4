package sqlite

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/queue/wire"
)

// consumer is a hookgate.Consumer.
type consumer struct {
	q *Queue
	// woken has an item when there may be something new.
	woken chan struct{}
	// first is the partition that the next Next begins with, so that none is passed over for ever.
	first int
	// closed is guarded by lanes.mu.
	closed bool
}

// Consume implements hookgate.Queue.
func (q *Queue) Consume(context.Context) (hookgate.Consumer, error) {
	l := q.lanes
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, hookgate.ErrClosed
	}
	c := &consumer{q: q, woken: make(chan struct{}, 1)}
	l.consumers = append(l.consumers, c)
	l.share()
	return c, nil
}

// Owners returns for each partition which consumer holds it: its number in the order in which those that are open were opened, from 1; 0 if none does.
func (q *Queue) Owners() []int {
	q.lanes.mu.Lock()
	defer q.lanes.mu.Unlock()
	owners := make([]int, len(q.lanes.lanes))
	for i := range owners {
		if owner := q.lanes.lanes[i].owner; owner != nil {
			owners[i] = slices.Index(q.lanes.consumers, owner) + 1
		}
	}
	return owners
}

func (c *consumer) wake() {
	select {
	case c.woken <- struct{}{}:
	default:
	}
}

// Next implements hookgate.Consumer.
func (c *consumer) Next(ctx context.Context, max, maxBytes int) ([]hookgate.Record, error) {
	for {
		picked, err := c.pick(max)
		if err != nil {
			return nil, err
		}
		if len(picked) > 0 {
			// The end of ctx does not cut the reading off: it is bounded, and who waits only briefly would never get
			// what must be read from the file.
			records, err := c.read(context.WithoutCancel(ctx), picked, maxBytes)
			if err != nil {
				return nil, err
			}
			if records = c.take(picked, records); len(records) > 0 {
				return records, nil
			}
			continue // the partitions went elsewhere meanwhile
		}
		select {
		case <-c.woken:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// pick is an entry that is about to be handed out.
type pick struct {
	*entry
	partition int
	lease     uint64
	data      []byte // entry.data as it was under the lock
}

// pick chooses up to max entries and changes nothing.
func (c *consumer) pick(max int) ([]pick, error) {
	l := c.q.lanes
	l.mu.Lock()
	defer l.mu.Unlock()
	if c.closed || l.closed {
		return nil, hookgate.ErrClosed
	}
	l.share()
	var picked []pick
	for i := range l.lanes {
		p := (c.first + i) % len(l.lanes)
		lane := &l.lanes[p]
		if lane.owner != c {
			continue
		}
		waiting := lane.entries[lane.handed:]
		for _, e := range waiting[:min(len(waiting), max-len(picked))] {
			picked = append(picked, pick{e, p, lane.lease, e.data})
		}
		if len(picked) == max {
			c.first = p + 1 // its turn is over, whether or not it has more
			break
		}
	}
	return picked, nil
}

// read decodes what was picked, up to maxBytes of body but at least one record.
func (c *consumer) read(ctx context.Context, picked []pick, maxBytes int) ([]hookgate.Record, error) {
	records := make([]hookgate.Record, 0, len(picked))
	for _, p := range picked {
		data := p.data
		if data == nil {
			var err error
			if data, err = c.q.fetch(ctx, p.id); err != nil {
				return nil, err
			}
		}
		var r hookgate.Record
		if err := wire.Decode(data, &r); err != nil {
			r = corruptRecord(p.id, data, err)
		}
		r.Partition, r.Position, r.Lease = p.partition, position(p.id), p.lease
		if maxBytes -= len(r.Body); maxBytes < 0 && len(records) > 0 {
			break
		}
		records = append(records, r)
	}
	return records, nil
}

// corruptRecord hands on an entry that cannot be decoded. Its request id comes from its place and its
// bytes, so that it is the same each time the entry comes.
func corruptRecord(id int64, data []byte, why error) hookgate.Record {
	sum := sha256.Sum256(binary.BigEndian.AppendUint64(slices.Clone(data), uint64(id)))
	return hookgate.Record{
		Delivery: hookgate.Delivery{
			RequestID: hookgate.RequestID(sum[:16]),
			Sequence:  hookgate.NoSequence,
			Body:      data,
		},
		Corrupt: fmt.Errorf("record %d: %w", id, why),
	}
}

// take marks as handed out those of the records whose partition is still held under the same lease, and
// returns them.
func (c *consumer) take(picked []pick, records []hookgate.Record) []hookgate.Record {
	l := c.q.lanes
	l.mu.Lock()
	defer l.mu.Unlock()
	kept := records[:0]
	for i, r := range records {
		lane := &l.lanes[r.Partition]
		if lane.owner == c && lane.lease == picked[i].lease {
			lane.handed++
			kept = append(kept, r)
		}
	}
	return kept
}

// Commit implements hookgate.Consumer. The records leave the file a little later, in the writer's
// transactions; a crash before that brings them again.
func (c *consumer) Commit(_ context.Context, last []hookgate.Offset) error {
	l := c.q.lanes
	l.mu.Lock()
	defer l.mu.Unlock()
	if c.closed || l.closed {
		return hookgate.ErrClosed
	}
	for _, o := range last {
		if o.Partition < 0 || o.Partition >= len(l.lanes) {
			return fmt.Errorf("release partition %d of %d: no such partition", o.Partition, len(l.lanes))
		}
		l.release(c, o)
	}
	l.share()
	return nil
}

// Close implements hookgate.Consumer.
func (c *consumer) Close() error {
	l := c.q.lanes
	l.mu.Lock()
	defer l.mu.Unlock()
	if c.closed {
		return nil
	}
	c.closed = true
	for i := range l.lanes {
		if lane := &l.lanes[i]; lane.owner == c {
			lane.owner, lane.handed = nil, 0
		}
	}
	if i := slices.Index(l.consumers, c); i >= 0 {
		l.consumers = slices.Delete(l.consumers, i, i+1)
	}
	l.share()
	c.wake()
	return nil
}

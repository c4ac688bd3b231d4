package sqlite

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/hookgate/hookgate"
)

// entry is an unreleased record. Its fields do not change once it is in a lane, data aside.
type entry struct {
	id         int64
	key        claimKey
	requestID  hookgate.RequestID
	enqueuedAt int64  // microseconds since 1970; when the claim was made, if this is not a duplicate
	claims     bool   // false for a duplicate and for what cannot be decoded
	data       []byte // nil if it is not kept in memory
}

// lane is what is unreleased of one partition, in order: first what its consumer has been handed,
// then what it has not.
type lane struct {
	entries []*entry
	handed  int
	owner   *consumer // nil if nobody
	lease   uint64    // of owner
}

// lanes is the state of the queue in memory. The writer adds to it what it has committed; the consumers
// take from it.
type lanes struct {
	depth atomic.Int64 // entries in all lanes; written under mu

	highWater  int64
	cacheBytes int64
	ttl        time.Duration

	mu        sync.Mutex // guards all below; never held over I/O
	lanes     []lane
	consumers []*consumer
	leases    uint64 // given out so far
	cached    int64  // bytes of data in all entries
	// claimed holds the claims that are not in the table: those of unreleased records and of released ones
	// that the writer has not yet written down.
	claimed map[claimKey]claim
	// released are the entries that the writer is to remove from the file.
	released []*entry
	closed   bool
	// err is why the last transaction of the writer failed; nil after one that did not.
	err error
}

func newLanes(o Options) *lanes {
	return &lanes{
		highWater: o.HighWater, cacheBytes: o.CacheBytes, ttl: o.ClaimTTL,
		lanes:   make([]lane, o.Partitions),
		claimed: map[claimKey]claim{},
	}
}

// placed is an entry and its partition.
type placed struct {
	*entry
	partition int
}

// add makes committed entries available to consumers.
func (l *lanes) add(entries []placed) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range entries {
		lane := &l.lanes[e.partition]
		lane.entries = append(lane.entries, e.entry)
		if l.cached+int64(len(e.data)) > l.cacheBytes {
			e.data = nil
		}
		l.cached += int64(len(e.data))
		if e.claims {
			l.claimed[e.key] = claim{e.requestID, e.enqueuedAt}
		}
		if lane.owner != nil {
			lane.owner.wake()
		}
	}
	l.depth.Add(int64(len(entries)))
}

// claimOf returns the claim of key if it is in memory and has not expired.
func (l *lanes) claimOf(key claimKey, now time.Time) (claim, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c, ok := l.claimed[key]
	return c, ok && !c.expired(now, l.ttl)
}

// release moves what c was handed, up to and including the offset, to the writer's pile. A partition
// that c does not hold any more is passed over: its records will come again elsewhere.
func (l *lanes) release(c *consumer, o hookgate.Offset) {
	lane := &l.lanes[o.Partition]
	if lane.owner != c {
		return
	}
	n := 0
	for n < lane.handed && position(lane.entries[n].id).Compare(o.Position) <= 0 {
		e := lane.entries[n]
		l.cached -= int64(len(e.data))
		e.data = nil
		lane.entries[n] = nil
		l.released = append(l.released, e)
		n++
	}
	lane.handed -= n
	lane.entries = lane.entries[n:]
	if len(lane.entries) == 0 {
		lane.entries = nil // lets go of the array behind it
	}
	l.depth.Add(int64(-n))
}

// takeReleased gives the writer its pile if it is at least min high.
func (l *lanes) takeReleased(min int) []*entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.released) < min {
		return nil
	}
	pile := l.released
	l.released = nil
	return pile
}

// forget drops claims that are in the table now, unless they have been made anew meanwhile.
func (l *lanes) forget(entries []*entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range entries {
		if c, ok := l.claimed[e.key]; ok && e.claims && c.requestID == e.requestID {
			delete(l.claimed, e.key)
		}
	}
}

// setErr notes how the writer's last transaction went and returns what stood there before.
func (l *lanes) setErr(err error) (before error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	before, l.err = l.err, err
	return before
}

func (l *lanes) stats() hookgate.QueueStats {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := hookgate.QueueStats{
		Depth:      l.depth.Load(),
		HighWater:  l.highWater,
		Partitions: len(l.lanes),
		Err:        l.err,
	}
	if l.closed {
		s.Err = hookgate.ErrClosed
	}
	oldest := int64(0)
	for i := range l.lanes {
		if e := l.lanes[i].entries; len(e) > 0 && (oldest == 0 || e[0].enqueuedAt < oldest) {
			oldest = e[0].enqueuedAt
		}
	}
	if oldest != 0 {
		s.OldestEnqueuedAt = time.UnixMicro(oldest).UTC()
	}
	return s
}

// close ends all consumers.
func (l *lanes) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	for _, c := range l.consumers {
		c.wake()
	}
}

// share gives each partition to the consumer whose turn it is: the first to the first, and so on
// round. A partition whose owner has records of it in hand stays until those are released.
func (l *lanes) share() {
	for i := range l.lanes {
		lane := &l.lanes[i]
		if lane.owner != nil && lane.handed > 0 {
			continue
		}
		var due *consumer
		if n := len(l.consumers); n > 0 {
			due = l.consumers[i%n]
		}
		if lane.owner == due {
			continue
		}
		lane.owner = due
		if due != nil {
			l.leases++
			lane.lease = l.leases
			due.wake()
		}
	}
}

func position(id int64) hookgate.Position { return hookgate.Position{Minor: uint64(id)} }

package simulation

import (
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/hookgate/hookgate"
)

// buffer is a queue in memory: the queue in front of a store, or the file of a spool. It outlives
// the processes that use it.
type buffer struct {
	partitions int
	highWater  int64
	claimTTL   time.Duration

	mu sync.Mutex // guards all below
	// queued are the unreleased records of each partition, in order.
	queued   [][]hookgate.Record
	position uint64
	claims   map[hookgate.Identity]claim
	known    map[hookgate.RequestID]hookgate.Receipt // of each request
	readers  []*reader
	lease    uint64
	held     []holding // by partition
	changed  chan struct{}
}

// claim says which request has claimed an identity.
type claim struct {
	by    hookgate.RequestID
	until time.Time
}

// holding is a partition in the hands of a reader.
type holding struct {
	by    *reader // nil: nobody
	lease uint64
	// read is the number of unreleased records that it has read.
	read int
}

// reader reads partitions of a buffer. It is a hookgate.PartitionReader without the waiting.
type reader struct {
	*buffer
	closed bool
}

var errLost = errors.New("the reader has lost the partition")

func newBuffer(partitions int, highWater int64, claimTTL time.Duration) *buffer {
	return &buffer{partitions: partitions, highWater: highWater, claimTTL: claimTTL,
		queued: make([][]hookgate.Record, partitions), held: make([]holding, partitions),
		claims: map[hookgate.Identity]claim{}, known: map[hookgate.RequestID]hookgate.Receipt{},
		changed: make(chan struct{})}
}

// append appends a request. of is the request of which another queue has found it a duplicate.
func (b *buffer) append(r *hookgate.Request, of hookgate.RequestID) (hookgate.Receipt, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	c := b.claims[r.Claim()]
	if receipt, again := b.known[r.RequestID]; again && (c.by == r.RequestID || r.IsRetry() ||
		receipt.Duplicate()) {
		return receipt, nil
	}
	if b.depth() >= b.highWater {
		return hookgate.Receipt{}, hookgate.ErrFull
	}
	if of.IsZero() && !r.IsRetry() && c.by != r.RequestID && now.Before(c.until) {
		of = c.by
	}
	b.position++
	p := hookgate.Partition(r.OrderingKey, b.partitions)
	receipt := hookgate.Receipt{Partition: p, Position: hookgate.Position{Major: b.position},
		DuplicateOf: of}
	record := hookgate.Record{Request: *r, Partition: p, Position: receipt.Position,
		EnqueuedAt: now.Truncate(time.Microsecond), DuplicateOf: of}
	record.Body, record.Headers = slices.Clone(r.Body), slices.Clone(r.Headers)
	record.Parts = slices.Clone(r.Parts)
	if of.IsZero() {
		b.claims[r.Claim()] = claim{r.RequestID, now.Add(b.claimTTL)}
	} else {
		record.Body = nil
	}
	b.queued[p] = append(b.queued[p], record)
	b.known[r.RequestID] = receipt
	b.change()
	return receipt, nil
}

func (b *buffer) change() {
	close(b.changed)
	b.changed = make(chan struct{})
}

func (b *buffer) depth() (n int64) {
	for _, records := range b.queued {
		n += int64(len(records))
	}
	return n
}

// stats implements Stats of hookgate.Queue.
func (b *buffer) stats() hookgate.QueueStats {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := hookgate.QueueStats{Depth: b.depth(), HighWater: b.highWater, Partitions: b.partitions}
	for _, records := range b.queued {
		if len(records) > 0 && (s.OldestEnqueuedAt.IsZero() ||
			records[0].EnqueuedAt.Before(s.OldestEnqueuedAt)) {
			s.OldestEnqueuedAt = records[0].EnqueuedAt
		}
	}
	return s
}

// has reports whether a request is queued and not released.
func (b *buffer) has(id hookgate.RequestID) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, records := range b.queued {
		if slices.ContainsFunc(records, func(r hookgate.Record) bool { return r.RequestID == id }) {
			return true
		}
	}
	return false
}

// open opens a reader.
func (b *buffer) open() *reader {
	b.mu.Lock()
	defer b.mu.Unlock()
	r := &reader{buffer: b}
	b.readers = append(b.readers, r)
	b.change()
	return r
}

// assign divides the partitions among the readers. A partition moves when its reader has released
// all that it has read, or has gone.
func (b *buffer) assign() {
	for p := range b.held {
		h := &b.held[p]
		if len(b.readers) == 0 {
			*h = holding{}
			continue
		}
		want := b.readers[p%len(b.readers)]
		if h.by != want && (h.by == nil || h.read == 0) {
			b.lease++
			*h = holding{by: want, lease: b.lease}
		}
	}
}

// leave takes the partitions from a reader, and does not count it until it reads again.
func (b *buffer) leave(r *reader) {
	b.readers = slices.DeleteFunc(b.readers, func(o *reader) bool { return o == r })
	for p := range b.held {
		if b.held[p].by == r {
			b.held[p] = holding{}
		}
	}
	b.change()
}

// lose takes the partitions from a reader whose lease has run out.
func (r *reader) lose() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.leave(r)
}

// ready reports whether next has an answer.
func (r *reader) ready() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return true
	}
	r.join()
	for p, h := range r.held {
		if h.by == r && len(r.queued[p]) > h.read {
			return true
		}
	}
	return false
}

// join makes a reader that has lost its partitions count again.
func (r *reader) join() {
	if !slices.Contains(r.readers, r) {
		r.readers = append(r.readers, r)
	}
	r.assign()
}

// next returns the next records, or none if there are none now.
func (r *reader) next(max, maxBytes int) (all []hookgate.Record, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, hookgate.ErrClosed
	}
	r.join()
	for p := range r.held {
		h := &r.held[p]
		for h.by == r && h.read < len(r.queued[p]) && len(all) < max {
			record := r.queued[p][h.read]
			if maxBytes -= len(record.Body); maxBytes < 0 && len(all) > 0 {
				return all, nil
			}
			record.Body, record.Lease = slices.Clone(record.Body), h.lease
			all = append(all, record)
			h.read++
		}
	}
	return all, nil
}

// commit releases records.
func (r *reader) commit(last []hookgate.Offset) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return hookgate.ErrClosed
	}
	for _, o := range last {
		h := &r.held[o.Partition]
		if h.by != r {
			return errLost
		}
		for len(r.queued[o.Partition]) > 0 &&
			r.queued[o.Partition][0].Position.Compare(o.Position) <= 0 {
			r.queued[o.Partition] = r.queued[o.Partition][1:]
			h.read = max(0, h.read-1)
		}
	}
	r.change()
	return nil
}

// close closes the reader.
func (r *reader) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.closed {
		r.closed = true
		r.leave(r)
	}
}

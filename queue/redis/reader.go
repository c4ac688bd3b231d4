package redis

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"
	"unsafe"

	"github.com/redis/rueidis"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/queue/wire"
)

const (
	// pauseMin and pauseMax bound the pauses between two polls of empty partitions. The reader reads
	// the appends of its own process at once, and those of others when a count finds them.
	pauseMin = time.Millisecond
	pauseMax = time.Second
	// readBytesMin is the least number of bytes of a read, even if a partition's part of a batch is
	// smaller.
	readBytesMin = 64 << 10
)

// errLost is the error of a release after the partition went to another reader or was emptied.
var errLost = errors.New("its lease is lost")

// reader is a hookgate.PartitionReader.
type reader struct {
	q  *Queue
	id string
	// woken has an item when wanted was set.
	woken chan struct{}

	// Only Next uses these.

	// pause is how long Next waits before it polls all lanes for the appends of other processes. It
	// doubles while there are none.
	pause time.Duration
	// first is the partition that Next begins with, so that each gets its turn.
	first int

	// Queue.mu guards these.

	phase readerPhase
	// fetched is closed when readerFetching ends.
	fetched chan struct{}
	// wanted is what Next should read when it is woken.
	wanted readScope
	// found and readErr are the result of the read that ended last; see readerFetched.
	found   bool
	readErr error
}

// readerPhase says what a reader does with Redis.
//
//	             Next needs records             Redis answered
//	readerIdle ──────────────────► readerFetching ─────────────► readerFetched
//	    ▲                                                            │
//	    └────────── Next has the result ─────────────────────────────┘
//
//	any of these ── Close ──► readerClosed
//
// A fetch goes on when the context of Next ends: the next call waits for it. Only setPhase changes
// the phase.
type readerPhase int

const (
	readerIdle     readerPhase = iota // no read is in flight
	readerFetching                    // a read is in flight
	readerFetched                     // a read has ended, and Next has not seen the result
	readerClosed                      // the reader is closed, and the phase stays
)

// setPhase changes the phase unless the reader is closed; Queue.mu must be held.
func (c *reader) setPhase(p readerPhase) {
	if c.phase != readerClosed {
		c.phase = p
	}
}

// readScope says which of its lanes a reader reads.
type readScope int

const (
	readStirred readScope = iota // those where this process knows of something to read
	readAll                      // all, because another process may have appended
)

// OpenReader implements hookgate.Queue.
func (q *Queue) OpenReader(ctx context.Context) (hookgate.PartitionReader, error) {
	c := &reader{q: q, id: memberID(), woken: make(chan struct{}, 1), pause: pauseMin}
	q.round.Lock()
	defer q.round.Unlock()
	if q.isClosed() {
		return nil, hookgate.ErrClosed
	}
	q.mu.Lock()
	q.readers = append(q.readers, c)
	q.mu.Unlock()
	if err := q.beat(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("open reader: %w", err), c.leave())
	}
	if err := q.shareOut(ctx); err != nil {
		q.opts.Logger.Warn("cannot lease all partitions yet", "error", err) // the keeper retries
	}
	return c, nil
}

// wake makes Next read; Queue.mu must be held.
func (c *reader) wake(scope readScope) {
	c.wanted = max(c.wanted, scope)
	select {
	case c.woken <- struct{}{}:
	default:
	}
}

// Next implements hookgate.PartitionReader.
func (c *reader) Next(ctx context.Context, max, maxBytes int) ([]hookgate.Record, error) {
	scope := readStirred
	if c.pause == pauseMin { // other processes append much
		scope = readAll
	}
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		records, err := c.take(max, maxBytes)
		if err != nil || len(records) > 0 {
			return records, err
		}
		found, err := c.fetch(ctx, scope, max, maxBytes)
		if err != nil {
			return nil, err
		}
		switch {
		case found && scope == readAll:
			c.pause = pauseMin
		case !found && scope == readAll:
			c.pause = min(2*c.pause, pauseMax)
		}
		if !found {
			scope = c.rest(ctx)
		}
	}
}

// rest waits until there may be something to read, and returns where.
func (c *reader) rest(ctx context.Context) readScope {
	timer := time.NewTimer(c.pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return readAll
	case <-ctx.Done():
		return readStirred
	case <-c.woken:
	}
	c.q.mu.Lock()
	defer c.q.mu.Unlock()
	scope := c.wanted
	c.wanted = readStirred
	if scope == readAll {
		c.pause = pauseMin
	}
	return scope
}

// take returns records that have been read from Redis before.
func (c *reader) take(max, maxBytes int) ([]hookgate.Record, error) {
	q := c.q
	q.mu.Lock()
	defer q.mu.Unlock()
	if c.phase == readerClosed || q.isClosed() {
		return nil, hookgate.ErrClosed
	}
	now := time.Now()
	var records []hookgate.Record
	for i := range q.lanes {
		p := (c.first + i) % len(q.lanes)
		l := &q.lanes[p]
		if !l.usable(c, q.due(p), now) {
			continue
		}
		n := 0
		for n < len(l.unread) && len(records) < max {
			size := len(l.unread[n].Body)
			if size > maxBytes && len(records) > 0 {
				break
			}
			maxBytes -= size
			records = append(records, l.unread[n])
			l.handed = l.unread[n].Position
			n++
		}
		if l.unread = l.unread[n:]; len(l.unread) > 0 {
			c.first = p + 1 // its turn is over, although it has more
			break
		}
		l.unread = nil // frees the array behind it
	}
	return records, nil
}

// fetch reads from Redis and reports whether there was something. The read goes on when ctx ends;
// the next call waits for it.
func (c *reader) fetch(ctx context.Context, scope readScope, max, maxBytes int) (found bool,
	err error) {
	calls, fetched := c.planReading(scope, max, maxBytes)
	if fetched == nil {
		return false, nil
	}
	if len(calls) > 0 {
		go func() {
			defer c.q.background.Done() // planReading has added it
			c.read(calls)
		}()
	}
	select {
	case <-fetched:
	case <-ctx.Done():
		return false, ctx.Err()
	case <-c.q.closing:
		return false, hookgate.ErrClosed
	}
	c.q.mu.Lock()
	defer c.q.mu.Unlock()
	c.setPhase(readerIdle)
	if c.found {
		return true, nil // one node of a cluster that fails must not hold up the others
	}
	return false, c.readErr
}

// planReading prepares a read of each lane in scope that has nothing left to return. It returns
// none while another read is in flight. fetched is closed when a read has ended; nil if there is
// none.
func (c *reader) planReading(scope readScope, max, maxBytes int) (calls []leaseCall,
	fetched <-chan struct{}) {
	q := c.q
	q.mu.Lock()
	defer q.mu.Unlock()
	switch c.phase {
	case readerFetching, readerFetched:
		return nil, c.fetched
	case readerClosed:
		return nil, nil
	}
	now := time.Now()
	for p := range q.lanes {
		l := &q.lanes[p]
		if !l.usable(c, q.due(p), now) || len(l.unread) > 0 ||
			scope == readStirred && !l.stirred {
			continue
		}
		l.stirred = false
		from := "-"
		if l.read != (hookgate.Position{}) {
			from = "(" + l.read.String()
		}
		keys := []string{q.keys.lease[p], q.keys.log[p]}
		args := []string{l.lease.token, from, strconv.Itoa(max), ""}
		calls = append(calls, leaseCall{call: call{l.lease.scripts.read, keys, args}, partition: p,
			token: l.lease.token, most: max})
	}
	if len(calls) == 0 || q.isClosed() {
		return nil, nil
	}
	c.setPhase(readerFetching)
	c.fetched = make(chan struct{})
	q.background.Add(1) // under mu, like the end of calls in Close, which waits for it
	for i := range calls {
		calls[i].mostBytes = min(maxBytes, maxBytes/len(calls)+readBytesMin)
		calls[i].args[3] = strconv.Itoa(calls[i].mostBytes)
	}
	return calls, c.fetched
}

// read makes the calls and adds the records to the lanes.
func (c *reader) read(calls []leaseCall) {
	found := false
	err := c.q.lease(context.Background(), calls, func(l *lane, call leaseCall,
		r rueidis.RedisResult) error {
		stirred := l.stirred
		l.stirred = true // until the answer shows that nothing is left
		m, err := r.ToMessage()
		if err != nil {
			return err
		}
		if m.IsInt64() {
			c.q.lose(l)
			return nil
		}
		entries, err := m.ToArray()
		if err != nil {
			return err
		}
		size := 0
		for _, m := range entries {
			e, err := parseEntry(m)
			if err != nil {
				return err
			}
			size += e.size
			r := e.record(call.partition)
			r.Lease = l.lease.number
			l.unread, l.read, found = append(l.unread, r), r.Position, true
		}
		l.stirred = stirred || len(entries) >= call.most || size >= call.mostBytes
		return nil
	})
	c.q.mu.Lock()
	defer c.q.mu.Unlock()
	c.setPhase(readerFetched)
	close(c.fetched)
	c.found, c.readErr = found, err
	if err != nil {
		c.readErr = fmt.Errorf("read queue: %w", err)
	}
}

// entry is an entry of a log.
type entry struct {
	position hookgate.Position
	data     []byte // field r, and unknown fields
	first    []byte // field of
	strange  bool   // it has fields that this package does not write
	size     int    // bytes of all fields with their names, as readText counts them
}

// parseEntry parses one entry of XRANGE's answer.
func parseEntry(m rueidis.RedisMessage) (entry, error) {
	var e entry
	parts, err := m.ToArray()
	if err != nil || len(parts) != 2 {
		return e, errors.Join(errors.New("an entry is not a pair"), err)
	}
	id, err := parts[0].ToString()
	if err != nil {
		return e, err
	}
	if e.position, err = hookgate.ParsePosition(id); err != nil {
		return e, err
	}
	messages, err := parts[1].ToArray()
	if err != nil {
		return e, err
	}
	var room [4][]byte // a duplicate's
	fields := room[:0]
	for i := range messages {
		text, err := messages[i].ToString()
		if err != nil {
			return e, err
		}
		// Nothing else refers to the text, so it need not be copied.
		fields = append(fields, unsafe.Slice(unsafe.StringData(text), len(text)))
		e.size += len(text)
	}
	if len(fields) >= 2 && string(fields[0]) == "r" {
		e.data, fields = fields[1], fields[2:]
	}
	if len(fields) == 2 && string(fields[0]) == "of" && len(fields[1]) == len(hookgate.RequestID{}) {
		e.first, fields = fields[1], nil
	}
	if len(fields) > 0 {
		e.strange = true
		e.data = slices.Concat(append([][]byte{e.data}, fields...)...)
	}
	return e, nil
}

// record decodes the entry. If that fails, the request id comes from the position and the bytes, so
// that it is the same each time the entry is read.
func (e entry) record(partition int) hookgate.Record {
	var r hookgate.Record
	err := wire.Decode(e.data, &r)
	if e.strange {
		err = fmt.Errorf("%w: it has fields that are not a record's", wire.ErrCorrupt)
	}
	if err != nil {
		sum := sha256.Sum256(fmt.Appendf(slices.Clone(e.data), "%d:%s", partition, e.position))
		r = hookgate.Record{
			Request: hookgate.Request{
				RequestID: hookgate.RequestID(sum[:16]),
				Sequence:  hookgate.NoSequence,
				Body:      e.data,
			},
			Corrupt: fmt.Errorf("record %s of partition %d: %w", e.position, partition, err),
		}
	}
	copy(r.DuplicateOf[:], e.first)
	r.Partition, r.Position = partition, e.position
	return r
}

// Commit implements hookgate.PartitionReader. An error may mean that the lease of a partition was
// lost: then its records come again from the next reader.
func (c *reader) Commit(ctx context.Context, last []hookgate.Offset) error {
	if err := c.q.keepMark(ctx); err != nil {
		return fmt.Errorf("release records: %w", err)
	}
	calls, upTo, err := c.planRelease(last)
	if err != nil && len(calls) == 0 {
		return err
	}
	moving := false
	failed := c.q.lease(ctx, calls, func(l *lane, call leaseCall, r rueidis.RedisResult) error {
		n, err := r.ToInt64()
		if err != nil {
			return err
		}
		if n < 0 {
			c.q.lose(l)
			return errLost
		}
		if upTo[call.partition].Compare(l.released) > 0 {
			l.released = upTo[call.partition]
		}
		moving = moving || !l.inHand() && c.q.due(call.partition) != c.id
		return nil
	})
	if moving {
		c.q.kick()
	}
	if err = errors.Join(err, failed); err != nil {
		return fmt.Errorf("release records: %w", err)
	}
	return nil
}

// planRelease prepares the calls that release records. upTo has the last released position of each
// partition.
func (c *reader) planRelease(last []hookgate.Offset) (calls []leaseCall,
	upTo map[int]hookgate.Position, err error) {
	q := c.q
	q.mu.Lock()
	defer q.mu.Unlock()
	if c.phase == readerClosed || q.isClosed() {
		return nil, nil, hookgate.ErrClosed
	}
	upTo = map[int]hookgate.Position{}
	for _, o := range last {
		if o.Partition < 0 || o.Partition >= len(q.lanes) {
			return nil, nil, fmt.Errorf("release partition %d of %d: no such partition", o.Partition,
				len(q.lanes))
		}
		l := &q.lanes[o.Partition]
		if l.owner != c {
			err = opError("release", o.Partition, errLost)
			continue
		}
		// Records that Next returned under an earlier lease come again under this one, and are released
		// then.
		to := o.Position
		if to.Compare(l.handed) > 0 {
			to = l.handed
		}
		if to.Compare(l.released) <= 0 {
			continue
		}
		upTo[o.Partition] = to
		keys := []string{q.keys.lease[o.Partition], q.keys.log[o.Partition]}
		args := []string{l.lease.token, after(to).String()}
		calls = append(calls, leaseCall{call: call{l.lease.scripts.release, keys, args},
			partition: o.Partition,
			token:     l.lease.token, must: true})
	}
	return calls, upTo, err
}

// after returns the position that follows p.
func after(p hookgate.Position) hookgate.Position {
	if p.Minor == math.MaxUint64 {
		return hookgate.Position{Major: p.Major + 1}
	}
	return hookgate.Position{Major: p.Major, Minor: p.Minor + 1}
}

// Close implements hookgate.PartitionReader. After an error the partitions become free when their
// leases run out.
func (c *reader) Close() error {
	c.q.mu.Lock()
	closed := c.phase == readerClosed
	c.setPhase(readerClosed)
	c.wake(readStirred)
	c.q.mu.Unlock()
	if closed {
		return nil
	}
	c.q.round.Lock()
	defer c.q.round.Unlock()
	return c.leave()
}

// leave removes the reader from the members and gives its leases back; round must be held.
func (c *reader) leave() error {
	q := c.q
	q.mu.Lock()
	c.setPhase(readerClosed)
	if i := slices.Index(q.readers, c); i >= 0 {
		q.readers = slices.Delete(q.readers, i, i+1)
	}
	var calls []leaseCall
	for p := range q.lanes {
		if l := &q.lanes[p]; l.owner == c {
			l.giveBack()
			calls = append(calls, q.giveBack(p, l.lease.token))
		}
	}
	q.mu.Unlock()
	ctx := context.Background() // only OpTimeout bounds it
	// First the membership: otherwise another process could find the lease free and still consider it
	// due to this reader.
	err := q.do(ctx, q.client.B().Zrem().Key(q.keys.members).Member(c.id).Build()).Error()
	err = errors.Join(err, q.lease(ctx, calls, func(l *lane, _ leaseCall,
		r rueidis.RedisResult) error {
		l.free()
		return r.Error()
	}))
	q.kick()
	if err != nil {
		return fmt.Errorf("give partitions back: %w", q.explain(ctx, err))
	}
	return nil
}

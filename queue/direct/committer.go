package direct

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/internal/tally"
)

// keptBytes bounds the memory that the committer reuses for the bodies of the next group.
const keptBytes = 1 << 20

// committer stores groups of calls. It belongs to one goroutine.
type committer struct {
	q     *Queue
	tally *tally.Counter
	// pending are calls that no longer wait in Queue.waiting and are in no group yet.
	pending []*call

	// The current group. Its memory is used again.
	group   []member
	records []hookgate.Record
	dead    []hookgate.DeadLetter
	bodies  []byte
	headers []hookgate.Header
	// unheard are the records that were stored after their Append had timed out.
	unheard []hookgate.Record
}

// member is a call of a group with the range of its records in the batch, from first up to but not
// including end. If dead is set, the range is one of dead letters.
type member struct {
	*call
	first, end int
	dead       bool
}

func newCommitter(q *Queue) *committer {
	c := &committer{q: q, tally: tally.New(q.Metrics, q.Logger)}
	c.tally.NoGaps = q.Shared
	return c
}

func (c *committer) run() {
	defer close(c.q.done)
	for c.next() {
		c.formGroup()
		c.commit()
	}
}

// next moves the waiting calls to pending, and waits for one if there are none. It returns false if
// the queue is closed and nothing waits.
func (c *committer) next() bool {
	q := c.q
	for {
		// Callers that have just got an answer append again at once. Without Gosched the first of them
		// would form a small group, and the others would wait for it.
		runtime.Gosched()
		q.mu.Lock()
		c.pending = append(c.pending, q.waiting...)
		clear(q.waiting)
		q.waiting = q.waiting[:0]
		closed := q.closed
		q.idle = len(c.pending) == 0 && !closed
		q.mu.Unlock()
		switch {
		case len(c.pending) > 0:
			return true
		case closed:
			return false
		}
		<-q.wake
	}
}

// formGroup forms a group of the oldest pending calls that fit, and copies their requests.
func (c *committer) formGroup() {
	events, bytes, n := 0, 0, 0
	for _, call := range c.pending {
		if n > 0 && (events+call.events > maxRecords || bytes+call.bytes > maxBytes) {
			break
		}
		n++
		events += call.events
		bytes += call.bytes
	}
	for _, call := range c.pending[:n] {
		c.add(call)
	}
	rest := copy(c.pending, c.pending[n:])
	clear(c.pending[rest:])
	c.pending = c.pending[:rest]
}

// add adds a call to the group unless its Append has returned. From here on the group refers to
// copies only.
func (c *committer) add(call *call) {
	call.mu.Lock()
	defer call.mu.Unlock()
	if call.abandoned {
		return
	}
	m := member{call: call, first: len(c.records)}
	switch {
	case call.probe:
	case call.splitErr != nil:
		m.first, m.dead = len(c.dead), true
		c.dead = append(c.dead, hookgate.DeadLetter{Record: call.prepared[0],
			Reason: call.splitErr.Error()})
	case call.prepared != nil:
		c.records = append(c.records, call.prepared...)
	default:
		c.records = append(c.records, hookgate.Record{
			Request: *call.request, Partition: call.partition, EnqueuedAt: call.enqueuedAt,
			DuplicateOf: call.of,
		})
		d := &c.records[m.first].Request
		d.Body, d.Headers = c.body(d.Body), c.header(d.Headers)
	}
	m.end = len(c.records)
	if m.dead {
		m.end = len(c.dead)
	}
	c.group = append(c.group, m)
}

// body copies a body to the group's memory.
func (c *committer) body(b []byte) []byte {
	if len(b) > keptBytes/16 {
		return slices.Clone(b)
	}
	if len(c.bodies)+len(b) > cap(c.bodies) {
		// Records of the group still refer to the old memory, so it is not copied.
		c.bodies = make([]byte, 0, min(max(2*cap(c.bodies), keptBytes/16), keptBytes))
	}
	start := len(c.bodies)
	c.bodies = append(c.bodies, b...)
	return c.bodies[start:len(c.bodies):len(c.bodies)]
}

// header copies headers to the group's memory. Their text never changes.
func (c *committer) header(h []hookgate.Header) []hookgate.Header {
	if len(h) == 0 {
		return nil
	}
	start := len(c.headers)
	c.headers = append(c.headers, h...)
	return c.headers[start:len(c.headers):len(c.headers)]
}

// commit stores the group and answers its calls.
func (c *committer) commit() {
	if len(c.group) == 0 {
		return
	}
	b := &hookgate.Batch{Worker: c.q.Name, ProcessedAt: time.Now()}
	ctx, cancel := context.WithTimeout(context.Background(), c.q.Timeout)
	defer cancel()
	outcome, took, err := c.apply(ctx, b)
	if at := c.atFault(err); at >= 0 && len(c.group) > 1 {
		// Store the others without the event that the store rejects.
		c.reject(at, err)
		b.LastError = err.Error()
		outcome, took, err = c.apply(ctx, b)
	}
	for i := range c.group {
		if m := &c.group[i]; err != nil {
			m.answer(hookgate.Receipt{}, err)
		} else if !m.answer(m.receiptOf(&outcome), nil) && !m.dead {
			c.unheard = append(c.unheard, c.records[m.first:m.end]...)
		}
	}
	if err == nil && len(b.Records)+len(b.Dead) > 0 {
		c.tally.Count(b, &outcome, took) // after the answers, because no caller waits for it
	}
	c.tally.Unheard(c.unheard)
	clear(c.unheard)
	c.unheard = c.unheard[:0]
	c.release(err)
}

// apply stores the records of the group. A group of probes without records tests the store.
func (c *committer) apply(ctx context.Context, b *hookgate.Batch) (outcome hookgate.Outcome,
	took time.Duration, err error) {
	b.Records, b.Dead = c.records, c.dead
	b.Attempts++
	bytes := 0
	for i := range c.group {
		bytes += c.group[i].bytes
	}
	start := time.Now()
	if c.q.Probe != nil && len(c.records)+len(c.dead) == 0 {
		err = c.q.Probe(ctx, bytes)
	} else {
		outcome, err = c.q.store.Apply(ctx, b)
	}
	switch took = time.Since(start); {
	case err == nil:
		c.q.works(bytes)
		return outcome, took, nil
	case !errors.Is(err, hookgate.ErrRejected):
		c.q.failed(err, bytes)
	}
	c.q.Metrics.ApplyFailed()
	return outcome, took, fmt.Errorf("store %d events: %w", len(c.records)+len(c.dead), err)
}

// atFault returns the index of the call whose record the store rejects; -1 if err names none.
func (c *committer) atFault(err error) int {
	var rejected *hookgate.RejectedError
	if !errors.As(err, &rejected) {
		return -1
	}
	at, dead := rejected.Index, rejected.Index >= len(c.records)
	if dead {
		at -= len(c.records)
	}
	return slices.IndexFunc(c.group, func(m member) bool {
		return m.dead == dead && m.first <= at &&
			at < m.end
	})
}

// reject answers a call of the group with err and removes it.
func (c *committer) reject(at int, err error) {
	m := c.group[at]
	m.answer(hookgate.Receipt{}, err)
	c.group = slices.Delete(c.group, at, at+1)
	if m.dead {
		c.dead = slices.Delete(c.dead, m.first, m.end)
	} else {
		c.records = slices.Delete(c.records, m.first, m.end)
	}
	for i := range c.group {
		if other := &c.group[i]; other.dead == m.dead && other.first >= m.end {
			other.first -= m.end - m.first
			other.end -= m.end - m.first
		}
	}
}

// receiptOf returns the receipt of a member. A request that carries several events is a duplicate
// if all of them are. It is then a duplicate of the request that brought the first one.
func (m *member) receiptOf(o *hookgate.Outcome) hookgate.Receipt {
	r := hookgate.Receipt{Partition: m.partition}
	if m.dead || m.probe {
		return r
	}
	results := o.Results[m.first:m.end]
	r.Position.Major = uint64(results[0].ID)
	for _, result := range results {
		if result.DuplicateOf.IsZero() {
			return r
		}
	}
	if r.DuplicateOf = results[0].DuplicateOf; m.prepared != nil {
		r.DuplicateOf = r.DuplicateOf.WithoutPart()
	}
	return r
}

// release clears the group. Its memory is used again, unless the group was large or the store
// failed: a call of the store that timed out may still read it.
func (c *committer) release(err error) {
	if err != nil || cap(c.records) > 4*maxRecords {
		c.records, c.dead, c.bodies, c.headers = nil, nil, nil, nil
	}
	clear(c.group)
	clear(c.records)
	clear(c.dead)
	clear(c.headers)
	c.group, c.records, c.dead = c.group[:0], c.records[:0], c.dead[:0]
	c.bodies, c.headers = c.bodies[:0], c.headers[:0]
}

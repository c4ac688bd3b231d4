package direct

import (
	"slices"
	"sync"
	"time"

	"github.com/hookgate/hookgate"
)

// call is one Append on its way through the committer.
type call struct {
	mu sync.Mutex // guards request, abandoned and the answer; held for one copy at most
	callState
}

// callState is what recycle resets.
type callState struct {
	// request belongs to the caller of Append, who may use it again once abandoned is set.
	request *hookgate.Request
	// abandoned says that Append has returned without an answer.
	abandoned bool

	of         hookgate.RequestID // see AppendDuplicate
	partition  int
	enqueuedAt time.Time
	// events is the number of records of the call, and bytes about their size.
	events, bytes int
	// prepared are records that no longer refer to request: the events of a request that carries
	// several, or those of AppendAll. splitErr is why a request cannot be split; then prepared has the
	// request as it is.
	prepared []hookgate.Record
	splitErr error
	// probe says that the call has no records and tests whether the store could store bytes.
	probe bool

	receipt  hookgate.Receipt
	err      error
	answered chan struct{} // has room for the one answer
	timer    *time.Timer
}

// newCall returns a call that was recycled, or a new one.
func (q *Queue) newCall() *call {
	if c, ok := q.calls.Get().(*call); ok {
		return c
	}
	c := &call{callState: callState{answered: make(chan struct{}, 1), timer: time.NewTimer(time.Hour)}}
	c.timer.Stop()
	return c
}

// recycle makes c available for another Append. Only a call that was answered may be recycled: the
// committer no longer uses it.
func (q *Queue) recycle(c *call) {
	c.mu.Lock() // the committer may be about to leave answer
	c.callState = callState{answered: c.answered, timer: c.timer}
	c.mu.Unlock()
	q.calls.Put(c)
}

// abandon ends the wait for an answer. The committer does not read the request afterwards. If there
// is an answer already, abandon takes it and returns true.
func (c *call) abandon() (answered bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-c.answered:
		return true
	default:
	}
	c.abandoned, c.request = true, nil
	return false
}

// answer reports whether Append still waits for it.
func (c *call) answer(r hookgate.Receipt, err error) (heard bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.abandoned {
		return false
	}
	c.receipt, c.err = r, err
	c.answered <- struct{}{}
	return true
}

// split splits a request that carries several events. The caller's goroutine does it, because
// decompressing the body takes time.
func (c *call) split() {
	d := *c.request
	d.Body, d.Headers, d.Parts = slices.Clone(d.Body), slices.Clone(d.Headers), slices.Clone(d.Parts)
	r := hookgate.Record{Request: d, DuplicateOf: c.of, Partition: c.partition,
		EnqueuedAt: c.enqueuedAt}
	c.prepared, c.splitErr = r.Split()
	if c.splitErr != nil {
		c.prepared = []hookgate.Record{r}
	}
	c.request, c.events = nil, len(c.prepared)
	c.bytes += len(d.Parts)
	for i := range c.prepared {
		c.bytes += len(c.prepared[i].Body)
	}
}

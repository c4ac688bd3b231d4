package direct

import (
	"slices"
	"sync"
	"time"

	"github.com/hookgate/hookgate"
)

// call is one Append on its way through the committer.
type call struct {
	mu sync.Mutex // guards the next two; held for a copy at most
	// request is the caller's, until it has left.
	request *hookgate.Request
	gone    bool // the caller has left

	of         hookgate.RequestID // see AppendDuplicate
	partition  int
	enqueuedAt time.Time
	// events is how many records the call brings, and bytes about what they hold.
	events, bytes int
	// several are the events of a request that carries several, and unfit is why it cannot be divided:
	// then several is the request as it is. They refer to a copy.
	several []hookgate.Record
	unfit   error
	// probe says that the call brings nothing and asks whether the store could store bytes.
	probe bool

	receipt  hookgate.Receipt
	err      error
	answered chan struct{} // has room for the one answer
	timer    *time.Timer
}

var calls = sync.Pool{New: func() any {
	c := &call{answered: make(chan struct{}, 1), timer: time.NewTimer(time.Hour)}
	c.timer.Stop()
	return c
}}

func newCall() *call { return calls.Get().(*call) }

// recycle makes c available again. Only a call that was answered may be: the committer has no more
// use of it.
func (c *call) recycle() {
	*c = call{answered: c.answered, timer: c.timer}
	calls.Put(c)
}

// leave ends the caller's part in c before its answer. The request is not read afterwards.
func (c *call) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gone, c.request = true, nil
}

func (c *call) answer(r hookgate.Receipt, err error) {
	c.receipt, c.err = r, err
	c.answered <- struct{}{}
}

// split divides a request of several events in the goroutine of its caller, as it may have to be
// unpacked.
func (c *call) split() {
	d := *c.request
	d.Body, d.Headers, d.Parts = slices.Clone(d.Body), slices.Clone(d.Headers), slices.Clone(d.Parts)
	r := hookgate.Record{Request: d, DuplicateOf: c.of, Partition: c.partition,
		EnqueuedAt: c.enqueuedAt}
	c.several, c.unfit = r.Split()
	if c.unfit != nil {
		c.several = []hookgate.Record{r}
	}
	c.request, c.events = nil, len(c.several)
	c.bytes += len(d.Parts)
	for i := range c.several {
		c.bytes += len(c.several[i].Body)
	}
}

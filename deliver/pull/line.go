package pull

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/internal/backoff"
)

// dueAgain is how long a line waits after it has asked for exceptions that are due and could do
// nothing.
const dueAgain = 100 * time.Millisecond

// storeRetry is how calls to the store are repeated while it is away.
var storeRetry = backoff.Policy{Min: 100 * time.Millisecond, Max: 5 * time.Second}

// line answers the calls for one subscription, one round after the other. Its goroutine runs while
// somebody waits.
type line struct {
	s    *Server
	name string

	// guarded by Server.mu
	users int // calls that wait
	used  time.Time

	signal chan struct{} // has room for one
	// held is the size of the bodies of the batches that are not closed.
	held atomic.Int64

	mu      sync.Mutex // guards all below
	running bool
	stale   bool // a person may have changed something
	calls   []*call
	pulls   []*waiter // the oldest first

	// The goroutine uses all below.

	// st is nil until it is read, and after an error. readAt is when it was known to be that of the
	// store, by the clock of this process, and read how long reading took.
	st     *state
	readAt time.Time
	read   time.Duration
	// fresh reports that this round has read the state.
	fresh bool
	// offset is the store's clock less that of this process.
	offset time.Duration
	// definition is the text of policy.
	definition string
	policy     Policy
	// first is the source with which the next lease begins. See taker.take.
	first int
	// jobWait is when the next event of a redelivery job may be leased, by its rate.
	jobWait map[int64]time.Time
	// failures counts errors in a row, and fences lost commits. Pulls wait until retryAt.
	failures, fences int
	retryAt          time.Time
	// quietUntil is when pulls may lease again after a Revoke.
	quietUntil time.Time
	// lost are leases of commits with an unknown outcome that the state does not have. The commit may
	// still come, and no client knows the lease.
	lost []string
	// starved is closed when there may be memory again; nil: there was enough.
	starved <-chan struct{}
}

// call is a call that settles events.
type call struct {
	// lease is the lease that it names; empty: it is for all.
	lease string
	// rows reports that apply needs the exceptions of the lease.
	rows bool
	// apply applies the call to the state. It may be called again if the commit fails.
	apply func(st *state, l *hookgate.Lease, now time.Time) error
	// ended is the answer for a lease without open events; nil: ErrEnded.
	ended func(l *hookgate.Lease) error
	// quiet reports that pulls must not lease the events at once that the call gives back.
	quiet bool
	tries int
	// err is the answer, once done is closed.
	err  error
	done chan struct{}
}

// waiter is a pull that waits.
type waiter struct {
	request  Request
	deadline time.Time
	began    time.Time
	// made is a batch whose lease is not known to be stored.
	made *Batch
	// gone reports that nobody waits for the answer; guarded by line.mu.
	gone bool
	// batch and err are the answer, once done is closed.
	batch *Batch
	err   error
	done  chan struct{}
}

func newLine(s *Server, name string) *line {
	return &line{s: s, name: name, signal: make(chan struct{}, 1), jobWait: map[int64]time.Time{}}
}

// add adds a call or a pull.
func (l *line) add(c *call, w *waiter) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c != nil {
		l.calls = append(l.calls, c)
	}
	if w != nil {
		l.pulls = append(l.pulls, w)
	}
	if !l.running {
		l.running = true
		go l.run()
	}
	l.notify()
}

// leave ends a pull whose client has gone. If events were leased to it, they are given back.
func (l *line) leave(w *waiter) {
	l.mu.Lock()
	w.gone = true // the line removes it, after it has looked for its lease
	l.mu.Unlock()
	select {
	case <-w.done: // the answer came at the same time
		if w.batch != nil {
			w.batch.GiveBack()
		}
	default:
	}
}

// giveBack ends a lease and gives its events back.
func (l *line) giveBack(id string) {
	l.add(&call{lease: id, rows: true, done: make(chan struct{}),
		apply: func(st *state, lease *hookgate.Lease, now time.Time) error {
			st.revoke(lease, 0, now)
			return nil
		}}, nil)
}

// wake makes the line read the state again.
func (l *line) wake() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stale = true
	l.notify()
}

func (l *line) notify() {
	select {
	case l.signal <- struct{}{}:
	default:
	}
}

func (l *line) isGone(w *waiter) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return w.gone
}

func (l *line) isRunning() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.running
}

// run answers calls until nobody waits.
func (l *line) run() {
	for {
		l.mu.Lock()
		l.pulls = slices.DeleteFunc(l.pulls, func(w *waiter) bool { return w.gone && w.made == nil })
		if len(l.calls) == 0 && len(l.pulls) == 0 {
			l.running = false
			l.mu.Unlock()
			return
		}
		calls, pulls := l.calls, slices.Clone(l.pulls)
		l.calls = nil
		if l.stale {
			l.stale, l.st, l.quietUntil = false, nil, time.Time{}
		}
		l.mu.Unlock()
		grown := l.s.log.Grown()
		r := &round{line: l, calls: calls, pulls: pulls}
		r.run()
		l.await(r, grown)
	}
}

// await waits until the next round has something to do.
func (l *line) await(r *round, grown <-chan struct{}) {
	l.mu.Lock()
	idle := len(l.calls) == 0 && len(l.pulls) == 0
	l.mu.Unlock()
	if idle || r.again {
		return
	}
	if l.st == nil || l.st.Paused || l.st.stopped {
		grown = nil
	}
	timer := time.NewTimer(time.Until(l.next(r)))
	defer timer.Stop()
	select {
	case <-l.signal:
	case <-grown:
	case <-l.starved:
	case <-timer.C:
	}
	select {
	case <-l.signal: // the next round sees what it was for
	default:
	}
}

// next returns when the next round must begin, if nothing happens before.
func (l *line) next(r *round) time.Time {
	next := time.Now().Add(MaxWait)
	earliest := func(t time.Time) {
		if t.Before(next) {
			next = t
		}
	}
	for _, w := range r.pulls {
		earliest(w.deadline)
	}
	st := l.st
	if st == nil {
		earliest(l.retryAt)
		return next
	}
	local := func(t time.Time) time.Time { return t.Add(-l.offset) }
	if !l.mayTake() || l.starved != nil || r.busy {
		// until something changes
	} else if from := l.pullsFrom(); time.Now().Before(from) {
		earliest(from)
	} else {
		if !st.nextDue.IsZero() && len(st.due) < maxDue {
			due := local(st.nextDue)
			if soon := time.Now().Add(dueAgain); !r.committed && due.Before(soon) {
				due = soon // this round has asked for it
			}
			earliest(due)
		}
		if !r.stalledUntil.IsZero() {
			earliest(r.stalledUntil)
		}
		for id, at := range l.jobWait {
			if r.now.Before(at) {
				earliest(local(at))
			} else {
				delete(l.jobWait, id)
			}
		}
	}
	for _, lease := range st.leases {
		earliest(local(lease.Until))
	}
	earliest(local(st.PulledAt.Add(heartbeat)))
	if st.position > st.Cursor {
		earliest(local(st.PulledAt.Add(passEvery)))
	}
	if l.s.config.Recheck > 0 {
		earliest(l.recheckAt())
	}
	return next
}

// pullsFrom returns when pulls may lease events. It may be in the past.
func (l *line) pullsFrom() time.Time {
	if l.quietUntil.After(l.retryAt) {
		return l.quietUntil
	}
	return l.retryAt
}

// mayTake reports whether events may be leased now.
func (l *line) mayTake() bool { return !l.st.Paused && !l.st.stopped }

// recheckAt returns when another process may have changed the state. A state that takes long to
// read is read less often.
func (l *line) recheckAt() time.Time {
	return l.readAt.Add(max(l.s.config.Recheck, 20*l.read))
}

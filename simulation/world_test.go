package simulation

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing/synctest"
	"time"
)

// world runs one schedule. Every call of a port waits in pending until the scheduler carries it
// out. The scheduler is the goroutine of run. It acts only while all others are blocked, and takes
// all its choices from rng.
type world struct {
	profile
	seed  uint64
	rng   *rand.Rand
	began time.Time
	store *store
	// buffer is the queue in front of the store; nil if the store is the queue. files are the spools
	// of the processes, by name.
	buffer    *buffer
	files     map[string]*buffer
	processes map[string]*process
	// late are calls whose callers have an error already. carried are calls that are done, and whose
	// callers do not know it yet.
	late, carried []*call
	calm          atomic.Bool // all faults have ended
	trace         []string
	steps         int

	arrived chan struct{} // has room for one: a call was added to pending

	mu      sync.Mutex // guards all below; never held while something waits
	over    bool       // all calls end
	pending []*call
	calls   int
	broken  *violation // the first one
	senders senders
	subs    map[string]*subscription
}

// violation is a guarantee that did not hold.
type violation struct{ guarantee, text string }

// call is a call of a port.
type call struct {
	p *process // nil: not of a process
	// The text in what is for the trace. number is the place of the call among all calls.
	what   string
	number int
	// writes reports that the call can have an effect although its caller gets an error.
	writes bool
	// ready reports whether the call has an answer; nil: always. A call that waits for one has none if
	// its context ends first.
	ready func() bool
	// run carries out the call. It returns a remark for the trace.
	run    func() (remark string, err error)
	err    error
	done   chan struct{}
	gone   bool // the caller has left; guarded by world.mu
	lately bool // the caller has an error, and run comes later
	sure   bool // no fault befalls it
}

var (
	errAway   = errors.New("away")
	errKilled = errors.New("killed")
)

// wait carries out a call. It returns when the scheduler has done so, or when ctx ends.
func (w *world) wait(ctx context.Context, c *call) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	c.done = make(chan struct{})
	w.mu.Lock()
	if w.over || c.p != nil && c.p.gone {
		w.mu.Unlock()
		return errKilled
	}
	w.calls++
	c.number = w.calls
	w.pending = append(w.pending, c)
	w.mu.Unlock()
	w.signal()
	select {
	case <-c.done:
		return c.err
	case <-ctx.Done():
		w.mu.Lock()
		defer w.mu.Unlock()
		if c.gone = true; !c.writes {
			w.pending = slices.DeleteFunc(w.pending, func(o *call) bool { return o == c })
		}
		return ctx.Err()
	}
}

func (w *world) signal() {
	select {
	case w.arrived <- struct{}{}:
	default:
	}
}

// ask carries out a call of a port that returns a value. f may run after ask has returned with an
// error, so it must not refer to what belongs to the caller.
func ask[T any](ctx context.Context, p *process, what string, writes bool,
	f func() (T, string, error)) (value T, err error) {
	var got T
	c := &call{p: p, what: what, writes: writes}
	c.run = func() (string, error) {
		v, remark, err := f()
		if !c.lately {
			got = v
		}
		return remark, err
	}
	if err := p.w.wait(ctx, c); err != nil {
		return value, err
	}
	return got, nil
}

// turn waits until the scheduler lets a client go on.
func (w *world) turn(what string) bool {
	return w.wait(context.Background(), &call{what: what,
		run: func() (string, error) { return "", nil }}) == nil
}

// run lets the world go on until a condition is met. It is false after limit, or after a violation.
func (w *world) run(until func() bool, limit time.Duration) bool {
	end := time.Now().Add(limit)
	for {
		w.pause()
		synctest.Wait()
		w.steps++
		switch {
		case w.violated():
			return false
		case w.steps%8 == 0 && until():
			return true
		case time.Now().After(end):
			return false
		case !w.calm.Load() && w.rng.IntN(w.unrest) == 0:
			w.disturb()
		default:
			if actions := w.actions(); len(actions) > 0 {
				if *choices {
					w.note("can do: %v", nameActions(actions))
				}
				actions[w.rng.IntN(len(actions))].do()
			} else if until() {
				return true
			} else {
				w.idle()
			}
		}
	}
}

// pause lets a little time pass, and sometimes more. So no two steps come at one instant, and no
// two timers that begin with different steps end at one.
func (w *world) pause() {
	d := time.Duration(1 + w.rng.IntN(100_000))
	if !w.calm.Load() {
		switch n := w.rng.IntN(200); {
		case n == 0:
			d += time.Duration(w.rng.IntN(10_000)) * time.Millisecond
		case n < 5:
			d += time.Duration(w.rng.IntN(500)) * time.Millisecond
		case n < 50:
			d += time.Duration(w.rng.IntN(3000)) * time.Microsecond
		}
	}
	time.Sleep(d)
}

// idle waits for the next call.
func (w *world) idle() {
	select {
	case <-w.arrived:
		return
	default:
	}
	limit := 30 * time.Second
	if !w.calm.Load() {
		limit = time.Duration(1 + w.rng.IntN(int(2*time.Second)))
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-w.arrived:
	case <-timer.C:
	}
}

// action is something that the scheduler can do now.
type action struct {
	name string
	do   func()
}

// actions returns what can happen now, in an order that does not depend on that of goroutines.
func (w *world) actions() (all []action) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.pending {
		if c.p != nil && c.p.isStalled() || c.ready != nil && !c.ready() && !c.gone {
			continue
		}
		all = append(all, action{c.name(), func() { w.carryOut(c) }})
	}
	for _, c := range w.carried {
		if !c.p.isStalled() {
			all = append(all, action{c.name() + " answer", func() { w.answer(c) }})
		}
	}
	for _, c := range w.late {
		all = append(all, action{c.name() + " late", func() { w.carryOutLate(c) }})
	}
	for _, p := range w.processes {
		if !p.isStalled() {
			all = append(all, p.wakeUps()...)
		}
	}
	slices.SortStableFunc(all, func(a, b action) int { return cmp.Compare(a.name, b.name) })
	return all
}

// nameActions lists actions.
func nameActions(actions []action) string {
	var all []string
	for _, a := range actions {
		all = append(all, a.name)
	}
	return strings.Join(all, "; ")
}

func (c *call) name() string {
	if c.p == nil {
		return c.what
	}
	return c.p.name + " " + c.what
}

// carryOut carries out a pending call, with a fault or without.
func (w *world) carryOut(c *call) {
	w.remove(c)
	if c.gone {
		// The caller has an error already. The call may have been on its way.
		if c.writes && !w.calm.Load() && w.rng.IntN(2) == 0 {
			w.runLate(c)
		}
		return
	}
	fault := 4
	if !w.calm.Load() && c.p != nil && !c.sure && w.faults > 0 && w.rng.IntN(w.faults) == 0 {
		fault = w.rng.IntN(4)
	}
	switch {
	case fault < 2 || fault < 4 && !c.writes:
		w.note("%s: fails", c.name())
		c.err = errAway
	case fault == 2:
		remark, err := c.run()
		w.note("%s: done%s, and reported as failed", c.name(), tail(remark, err))
		c.err = errAway
	case fault == 3:
		w.note("%s: fails, and comes later", c.name())
		c.err, c.lately = errAway, true
		w.late = append(w.late, c)
	case c.p != nil && c.ready == nil && w.rng.IntN(10) == 0:
		remark, err := c.run()
		w.note("%s%s, and the answer comes later", c.name(), tail(remark, err))
		c.err = err
		w.carried = append(w.carried, c)
		return
	default:
		remark, err := c.run()
		w.note("%s%s", c.name(), tail(remark, err))
		c.err = err
	}
	close(c.done)
}

// answer returns the result of a call that was carried out before.
func (w *world) answer(c *call) {
	w.carried = slices.DeleteFunc(w.carried, func(o *call) bool { return o == c })
	if !c.gone {
		w.note("%s has its answer", c.name())
		close(c.done)
	}
}

func tail(remark string, err error) string {
	if err != nil {
		remark = strings.TrimLeft(remark+"; error: "+err.Error(), "; ")
	}
	if remark == "" {
		return ""
	}
	return " (" + remark + ")"
}

// carryOutLate carries out a call whose caller has an error.
func (w *world) carryOutLate(c *call) {
	w.late = slices.DeleteFunc(w.late, func(o *call) bool { return o == c })
	w.runLate(c)
}

func (w *world) runLate(c *call) {
	c.lately = true
	remark, err := c.run()
	w.note("%s: late%s", c.name(), tail(remark, err))
}

// settleLate carries out or drops the late calls of a process and kind: a store holds the locks of
// a transaction until it has ended, so no later call of this kind comes first.
func (w *world) settleLate(p *process, kind string) {
	for _, c := range slices.Clone(w.late) {
		if c.p == p && strings.HasPrefix(c.what, kind) {
			w.carryOutLate(c)
		}
	}
}

func (w *world) remove(c *call) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pending = slices.DeleteFunc(w.pending, func(o *call) bool { return o == c })
}

// note adds a line to the trace.
func (w *world) note(format string, args ...any) {
	at := time.Since(w.began)
	w.trace = append(w.trace, fmt.Sprintf("%4d %11.6f  ", w.steps, at.Seconds())+
		fmt.Sprintf(format, args...))
}

// violate records that a guarantee does not hold.
func (w *world) violate(guarantee, format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.violateLocked(guarantee, format, args...)
}

func (w *world) violateLocked(guarantee, format string, args ...any) {
	if w.broken == nil {
		w.broken = &violation{guarantee, fmt.Sprintf(format, args...)}
	}
}

func (w *world) violated() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.broken != nil
}

// random returns a number below n that depends on the seed, the time and the names alone, and not
// on the order in which goroutines ask.
func (w *world) random(n int64, names ...any) int64 {
	h := fnv.New64a()
	fmt.Fprint(h, w.seed, time.Since(w.began), names)
	return int64(rand.New(rand.NewPCG(h.Sum64(), 0)).Uint64N(uint64(n)))
}

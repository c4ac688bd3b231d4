package pull_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/deliver"
	"github.com/hookgate/hookgate/deliver/memory"
	"github.com/hookgate/hookgate/deliver/pull"
)

const name = "warehouse"

var by = hookgate.Person{By: "ann", Reason: "test"}

// world is a store and the processes that serve it. It checks each commit against the contract of
// hookgate.Leases, and each event that a client receives against those before. All run in one
// bubble of testing/synctest.
type world struct {
	t      *testing.T
	store  *memory.Store
	order  hookgate.Order
	filter hookgate.Filter
	policy pull.Policy

	// fail decides about a call of the store, as memory.FailFunc; nil: all succeed.
	fail func(op string) (done bool, err error)
	// late takes a commit whose caller gets an error, and carries it out later; false: it does not.
	late func(commit func()) bool

	mu sync.Mutex // guards all below
	// events are all matching events, in order. base is the id up to which a seek has passed all.
	events []hookgate.Event
	base   int64
	ofKey  map[string][]int64
	// settled are those that are settled on the way of the cursor, since the last seek back.
	settled map[int64]bool
	// pushed are those that a consumer has accepted. The result may not be stored yet.
	pushed map[int64]bool
	// done are deliveries that were acknowledged, dead or skipped, of all redeliveries.
	done map[hookgate.EventRedelivery]bool
	bad  []string
	// wasPushed reports that the subscription has pushed. Push stores no settled events of a job
	// beyond its position: the next owner delivers these again.
	wasPushed bool
	// Events up to redeliverUntil have the number redelivery on the way of the cursor.
	redelivery, redeliverUntil int64
}

// number returns the redelivery number of an event on the way of the cursor.
func (w *world) number(event int64) int64 {
	if event <= w.redeliverUntil {
		return w.redelivery
	}
	return 0
}

func newWorld(t *testing.T, order hookgate.Order) *world {
	w := &world{t: t, store: memory.New(), order: order, ofKey: map[string][]int64{},
		settled: map[int64]bool{}, pushed: map[int64]bool{},
		done: map[hookgate.EventRedelivery]bool{},
		policy: pull.Policy{Retry: deliver.Retry{First: time.Second, Max: time.Minute,
			For: time.Hour}}}
	return w
}

// definition returns the definition of the subscription, as pull or as push.
func (w *world) definition(how string) hookgate.SubscriptionDefinition {
	return hookgate.SubscriptionDefinition{Name: name, Order: w.order, Filter: w.filter,
		Start: hookgate.Start{At: hookgate.StartBeginning}, Definition: how}
}

func (w *world) define(how string) {
	defs := []hookgate.SubscriptionDefinition{w.definition(how)}
	if _, err := w.store.Define(w.t.Context(), defs, true); err != nil {
		w.t.Error(err)
	}
}

// process is one process. Once it is killed, all its calls of the store fail.
type process struct {
	*memory.Store
	w      *world
	gone   chan struct{}
	server *pull.Server
	stop   context.CancelFunc
	ended  chan struct{}
	// last is when it last called the store, and calls are those of that time; guarded by world.mu.
	last  time.Time
	calls int
}

var errAway = errors.New("the store is away")

// maxCalls bounds the calls of the store that a process makes at one time by the clock
// without storing a result.
const maxCalls = 500

// do runs a call of the store, or fails it.
func (p *process) do(op string, call func() error) error {
	p.w.mu.Lock()
	if now := time.Now(); !now.Equal(p.last) {
		p.last, p.calls = now, 0
	}
	if p.calls++; p.calls == maxCalls {
		p.w.violation("a process calls the store again and again: %s", op)
	}
	busy := p.calls >= maxCalls
	p.w.mu.Unlock()
	if busy {
		time.Sleep(time.Second) // the test can end
	}
	select {
	case <-p.gone:
		return errAway
	default:
	}
	var injected error
	if fail := p.w.fail; fail != nil {
		done, err := fail(op)
		if injected = err; err != nil && !done {
			return err
		}
	}
	if err := call(); err != nil {
		return err
	}
	return injected
}

func (p *process) PullState(ctx context.Context, n string) (s *hookgate.PullState, err error) {
	err = p.do("PullState", func() (err error) {
		s, err = p.Store.PullState(ctx, n)
		return err
	})
	return s, err
}

func (p *process) ReadLog(ctx context.Context, q hookgate.LogQuery) (page hookgate.LogPage,
	err error) {
	err = p.do("ReadLog", func() (err error) {
		page, err = p.Store.ReadLog(ctx, q)
		return err
	})
	return page, err
}

func (p *process) Due(ctx context.Context, n string, q hookgate.DueQuery) (due hookgate.Due,
	err error) {
	err = p.do("Due", func() (err error) {
		due, err = p.Store.Due(ctx, n, q)
		return err
	})
	return due, err
}

func (p *process) Commit(ctx context.Context, n string, epoch hookgate.Epoch, version int64,
	r *hookgate.Results) (next hookgate.Epoch, at time.Time, err error) {
	commit := func() (next hookgate.Epoch, at time.Time, err error) {
		p.w.mu.Lock()
		defer p.w.mu.Unlock()
		ctx := context.WithoutCancel(ctx)
		before, _ := p.Store.PullState(ctx, n)
		exceptions := p.w.exceptions()
		next, at, err = p.Store.Commit(ctx, n, epoch, version, r)
		if err == nil {
			if len(r.Attempts)+len(r.Leases)+len(r.Expired) > 0 {
				p.calls = 0
			}
			p.w.stored(r)
			p.w.audit(before, exceptions, r)
		}
		return next, at, err
	}
	err = p.do("Commit", func() (err error) {
		if late := p.w.late; late != nil && late(func() { _, _, _ = commit() }) {
			return errAway
		}
		next, at, err = commit()
		return err
	})
	return next, at, err
}

// exceptions returns all exceptions that are stored.
func (w *world) exceptions() map[hookgate.EventRedelivery]hookgate.Exception {
	all := map[hookgate.EventRedelivery]hookgate.Exception{}
	stored, err := w.store.Exceptions(context.Background(),
		hookgate.ExceptionFilter{Subscription: name, Limit: 1 << 20})
	for _, x := range stored {
		all[hookgate.EventRedelivery{Event: x.Event, Redelivery: x.Redelivery}] = x.Exception
	}
	if err != nil {
		w.t.Error(err)
	}
	return all
}

func (p *process) Save(ctx context.Context, n string, epoch hookgate.Epoch, r *hookgate.Results) (
	version int64, err error) {
	err = p.do("Save", func() (err error) {
		p.w.mu.Lock()
		defer p.w.mu.Unlock()
		if version, err = p.Store.Save(ctx, n, epoch, r); err == nil {
			p.w.stored(r)
		}
		return err
	})
	return version, err
}

// start starts a process.
func (w *world) start(recheck time.Duration) *process {
	p := &process{Store: w.store, w: w, gone: make(chan struct{}), ended: make(chan struct{})}
	log := slog.New(slog.DiscardHandler)
	if testing.Verbose() {
		log = slog.Default()
	}
	p.server = pull.New(pull.Config{Logger: log, Recheck: recheck,
		Policy: func(definition string) (pull.Policy, error) {
			if definition != "pull" {
				return pull.Policy{}, pull.ErrNotPull
			}
			return w.policy, nil
		}}, p, p)
	ctx, stop := context.WithCancel(context.Background())
	p.stop = stop
	go func() {
		defer close(p.ended)
		p.server.Run(ctx)
	}()
	return p
}

// kill ends a process as SIGKILL does.
func (p *process) kill() {
	close(p.gone)
	p.end()
}

func (p *process) end() {
	p.stop()
	<-p.ended
}

// append stores events: one for each ordering key, "" for an event without a key.
func (w *world) append(keys ...string) (ids []int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, key := range keys {
		e := hookgate.Event{Identity: hookgate.Identity{Source: "s", EventType: "t",
			MessageID: fmt.Sprint(len(w.events))}, OrderingKey: "t", Body: []byte(`{}`)}
		if key != "" {
			e.OrderingKey, e.Keyed = key, true
		}
		if len(w.filter.Types) > 0 { // other events stand between those that match
			other := e
			other.EventType = "other"
			w.store.Append(other, other)
		}
		e.ID = w.store.Append(e)[0]
		w.events = append(w.events, e)
		w.ofKey[w.slot(&e)] = append(w.ofKey[w.slot(&e)], e.ID)
		ids = append(ids, e.ID)
	}
	return ids
}

// slot names the events that wait for each other; "": the event waits for nobody.
func (w *world) slot(e *hookgate.Event) string {
	switch {
	case w.order == hookgate.OrderAll:
		return "all"
	case w.order == hookgate.OrderKey && e.Keyed:
		return e.OrderingKey
	}
	return ""
}

// stored notes what a commit settles.
func (w *world) stored(r *hookgate.Results) {
	for _, a := range r.Attempts {
		if a.Outcome.Settles() {
			w.settle(hookgate.EventRedelivery{Event: a.Event, Redelivery: a.Redelivery})
		}
	}
}

func (w *world) settle(id hookgate.EventRedelivery) {
	w.done[id] = true
	if id.Redelivery == w.number(id.Event) {
		w.settled[id.Event] = true
	}
}

// audit checks a commit. w.mu is locked.
func (w *world) audit(before *hookgate.PullState,
	exceptions map[hookgate.EventRedelivery]hookgate.Exception, r *hookgate.Results) {
	after, err := w.store.PullState(context.Background(), name)
	if err != nil {
		return // it is pushed now
	}
	// An expired lease charges nobody unless it had one event.
	alone := map[int64]bool{}
	for _, l := range before.Leases {
		if len(l.Events) == 1 && slices.Contains(r.Expired, l.ID) {
			alone[l.Events[0].Event] = true
		}
	}
	for _, a := range r.Attempts {
		if a.Reason == "the lease ended without an acknowledgement" && !alone[a.Event] {
			w.violation("event %d is charged for a lease with more events", a.Event)
		}
	}
	known := map[string]bool{}
	for _, l := range before.Leases {
		known[l.ID] = true
	}
	for i := range after.Leases {
		if l := &after.Leases[i]; !known[l.ID] {
			w.begun(l, exceptions, after.Now)
		}
	}
	leased, covered := map[int64]string{}, map[int64]bool{}
	slots := map[string]string{}
	for _, l := range after.Leases {
		for _, e := range l.Events {
			if e.State != hookgate.LeasedOpen {
				continue
			}
			if leased[e.Event] != "" {
				w.violation("event %d is leased twice", e.Event)
			}
			leased[e.Event] = l.ID
			covered[e.Event] = covered[e.Event] || e.Redelivery == w.number(e.Event)
			slot := e.OrderingKey
			if w.order == hookgate.OrderAll {
				slot = "all"
			}
			if other := slots[slot]; slot != "" && other != "" && other != l.ID {
				w.violation("two leases have key %q", slot)
			}
			slots[slot] = l.ID
		}
	}
	holds := map[string]int64{}
	for _, h := range after.Holds {
		holds[h.OrderingKey] = h.After
	}
	for _, x := range w.exceptions() {
		if x.State == hookgate.ExceptionDead {
			continue
		}
		if x.Redelivery == w.number(x.Event) {
			covered[x.Event] = true
		}
		if h, held := holds[x.OrderingKey]; x.OrderingKey != "" && (!held || h >= x.Event) {
			w.violation("event %d of key %q has an exception and no hold; After is %d", x.Event,
				x.OrderingKey, h)
		}
	}
	for i := range w.events {
		e := &w.events[i]
		if e.ID <= w.base || w.settled[e.ID] || covered[e.ID] {
			continue
		}
		if e.ID > after.Cursor {
			break
		}
		if h, held := holds[e.OrderingKey]; !held || !e.Keyed || h >= e.ID {
			w.violation("event %d of key %q is passed over; cursor %d, hold %d", e.ID, e.OrderingKey,
				after.Cursor, h)
			w.settled[e.ID] = true // say it once
		}
	}
}

// begun checks a lease that is new. exceptions are those before.
func (w *world) begun(l *hookgate.Lease,
	exceptions map[hookgate.EventRedelivery]hookgate.Exception, now time.Time) {
	here := map[int64]bool{}
	for _, e := range l.Events {
		here[e.Event] = true
		id := hookgate.EventRedelivery{Event: e.Event, Redelivery: e.Redelivery}
		switch x, excepted := exceptions[id]; {
		case e.Job != 0 && w.wasPushed:
		case excepted && (x.State != hookgate.ExceptionWaiting || x.Due.After(now)):
			w.violation("event %d is leased at %v, although it is %s until %v", e.Event, now, x.State, x.Due)
		case !excepted && w.done[id]:
			w.violation("event %d is leased, although its delivery %d is settled", e.Event, e.Redelivery)
		}
		i, found := slices.BinarySearchFunc(w.events, e.Event,
			func(e hookgate.Event, id int64) int { return cmp.Compare(e.ID, id) })
		if !found || e.Redelivery != w.number(e.Event) || w.slot(&w.events[i]) == "" {
			continue
		}
		for _, id := range w.ofKey[w.slot(&w.events[i])] {
			if id >= e.Event {
				break
			}
			if id > w.base && !w.settled[id] && !w.pushed[id] && !here[id] {
				w.violation("event %d is leased before event %d of its key is settled", e.Event, id)
				break
			}
		}
	}
}

func (w *world) violation(format string, args ...any) {
	w.bad = append(w.bad, fmt.Sprintf(format, args...))
}

// received checks the events that a client receives.
func (w *world) received(events []pull.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	here := map[int64]bool{}
	last := int64(0)
	for _, e := range events {
		if e.ID <= last {
			w.violation("a lease has event %d after event %d", e.ID, last)
		}
		last = e.ID
		slot := w.slot(e.Event)
		ids := w.ofKey[slot]
		for len(ids) > 0 && (w.settled[ids[0]] || ids[0] <= w.base) {
			ids = ids[1:]
		}
		w.ofKey[slot] = ids
		here[e.ID] = true
		delete(w.pushed, e.ID)
		for _, id := range ids {
			if slot == "" || id >= e.ID || e.Redelivery != w.number(e.ID) {
				break
			}
			if !w.settled[id] && !w.pushed[id] && !here[id] {
				w.violation("event %d of key %q comes before event %d is settled", e.ID, slot, id)
				break
			}
		}
	}
}

// seek moves the cursor as a person does.
func (w *world) seek(p *process, to int64) error {
	for range 10 {
		if err := p.server.Revoke(w.t.Context(), name); err != nil {
			return err
		}
		w.mu.Lock()
		r, err := w.store.Seek(w.t.Context(), name,
			hookgate.Start{At: hookgate.StartAfter, After: to}, false, by)
		if err == nil && r.To < r.From {
			w.redelivery, w.redeliverUntil = r.Redelivery, w.info().End
			clear(w.settled)
			clear(w.pushed)
			clear(w.ofKey)
			for i := range w.events {
				slot := w.slot(&w.events[i])
				w.ofKey[slot] = append(w.ofKey[slot], w.events[i].ID)
			}
			// Exceptions and held events before the place stay.
			w.base = to
		} else if err == nil {
			w.base = max(w.base, to)
		}
		w.mu.Unlock()
		p.server.Wake(name)
		if !errors.Is(err, hookgate.ErrLeasesOut) {
			return err
		}
	}
	return hookgate.ErrLeasesOut
}

// person settles or retries all exceptions, as a person does.
func (w *world) person(a hookgate.Resolution) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f := hookgate.ExceptionFilter{Subscription: name, Limit: 1 << 20}
	exceptions, err := w.store.Exceptions(w.t.Context(), f)
	if err != nil {
		w.t.Error(err)
	}
	for _, x := range exceptions {
		if a != hookgate.ResolveRetry {
			w.settle(hookgate.EventRedelivery{Event: x.Event, Redelivery: x.Redelivery})
		}
	}
	if _, err := w.store.Resolve(w.t.Context(), f, a, false, by); err != nil {
		w.t.Error(err)
	}
}

func (w *world) info() hookgate.SubscriptionInfo { return w.infoOf(name) }

func (w *world) infoOf(name string) hookgate.SubscriptionInfo {
	all, err := w.store.Subscriptions(context.Background())
	i := slices.IndexFunc(all, func(i hookgate.SubscriptionInfo) bool { return i.Name == name })
	if err != nil || i < 0 {
		w.t.Fatal(all, err)
	}
	return all[i]
}

// check fails the test if something was wrong.
func (w *world) check() {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.bad) > 0 {
		w.t.Errorf("%d violations, the first: %s", len(w.bad), w.bad[0])
	}
}

// mustSettle fails the test unless all events are settled and nothing is left over.
func (w *world) mustSettle() {
	w.t.Helper()
	info := w.info()
	if info.Cursor != info.End || info.Waiting+info.Parked+info.Held+info.Leases != 0 {
		w.t.Errorf("at the end: %+v", info)
	}
	w.mu.Lock()
	for _, e := range w.events {
		if e.ID > w.base && !w.settled[e.ID] {
			w.t.Errorf("event %d of key %q is not settled", e.ID, e.OrderingKey)
			break
		}
	}
	w.mu.Unlock()
	w.check()
}

// drain pulls and acks until there is nothing more, and returns the number of events.
func (w *world) drain(p *process) (n int) {
	w.t.Helper()
	for {
		b, err := p.server.Pull(w.t.Context(), name, pull.Request{Max: 1000})
		if err != nil {
			w.t.Error(err)
			return n
		}
		if len(b.Events) == 0 {
			return n
		}
		w.received(b.Events)
		n += len(b.Events)
		if err := p.server.Ack(w.t.Context(), name, b.Lease, nil, 1<<53); err != nil {
			w.t.Error(err)
			return n
		}
		b.Close()
	}
}

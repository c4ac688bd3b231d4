package deliver

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hookgate/hookgate"
)

const (
	// maxDistance bounds the matching events between the cursor and the position, and so the history
	// that the next owner reads. At the bound the oldest event becomes an exception, or its key a
	// hold.
	maxDistance = 4096
	// maxOpen and maxOpenBytes bound the events in memory that wait for an attempt or its result.
	maxOpen      = 512
	maxOpenBytes = 8 << 20
	// maxQueue bounds the events in memory that wait for an earlier one of their key. Beyond it the
	// key gets a hold, and its events are read from the store.
	maxQueue = 16
	// maxExceptions is how many exceptions a subscription can have before it stops to pass new
	// events. Its memory grows with the number of held keys.
	maxExceptions = 100_000
	// suspectTime is how long an outage of one event waits for others: if the breaker opens
	// meanwhile, the attempt does not count.
	suspectTime = 2 * time.Second
	// keyReads bounds the reads for freed keys at a time, keyPage the events of one, and keyBytes
	// their bodies.
	keyReads, keyPage, keyBytes = 4, 64, 256 << 10
	// holdsPage bounds the holds that are read at a time.
	holdsPage = 1000
	// storeTimeout bounds one call of the store.
	storeTimeout = time.Minute
)

// item is an event to deliver.
type item struct {
	event      *hookgate.Event
	redelivery int64
	key        *key // nil if it waits for nobody
	// number is its number in the ring, or -1.
	number int64
	// exception is its exception, if excepted is set. createdIn is the Save that creates it; 0: the
	// store had it before.
	exception hookgate.Exception
	excepted  bool
	createdIn uint64
	// path reports that it is on the way of the cursor: it is not a redelivery by a job and not an
	// exception that holds nobody.
	path bool
	// job is the redelivery job that it belongs to, until its first answer, and jobNumber its number
	// in the ring of the job.
	job       *job
	jobNumber int64
	// counted reports that it counts among the open events, and drained that it counts in
	// runner.drained.
	counted, drained bool
	// probed reports that an attempt has failed while the breaker was open, or opened it.
	probed bool
	// asked is the answer to that attempt if it asked for a wait; else nil.
	asked *answered
}

func (it *item) id() hookgate.EventRedelivery {
	return hookgate.EventRedelivery{Event: it.event.ID, Redelivery: it.redelivery}
}

// answered is the result of an attempt.
type answered struct {
	it     *item
	extra  bool // the attempt counts in runner.extras
	probe  bool // it began while the breaker was open
	answer hookgate.Answer
	took   time.Duration
	at     time.Time
}

// inFlight marks in runner.active a delivery whose result is not in any Save yet.
const inFlight = ^uint64(0)

// runner delivers one subscription while its process owns it. Only the goroutine of run uses the
// fields, except for those marked.
type runner struct {
	d           *Dispatcher
	sub         *Subscription
	name        string
	epoch       hookgate.Epoch // never changes
	order       hookgate.Order
	concurrency int
	// number for events up to redeliverUntil (see SubscriptionState)
	redelivery, redeliverUntil int64

	inbox    chan func()
	answers  chan answered
	stopping chan struct{} // closed by stop
	lost     chan struct{} // closed by lose
	ended    chan struct{}
	status   atomic.Pointer[Status]    // for any goroutine
	lease    atomic.Pointer[time.Time] // its end, for any goroutine; nil: no end
	version  int64

	attempts       context.Context // ends when attempts in flight must end
	cancelAttempts context.CancelFunc
	closing        bool      // no more attempts begin
	fenced         bool      // Save must not be called any more
	stopBy         time.Time // when attempts in flight are cut off

	// reading the log
	reader    *reader
	position  int64
	page      []hookgate.Event
	pageEnd   int64
	paged     bool // page is not taken to its end yet
	reading   bool
	readAgain time.Time
	failures  int // of reads in a row
	settled   map[int64]bool
	excepted  map[int64]bool

	ring      ring
	openCount int
	openBytes int
	keys      map[string]*key
	draining  map[string]bool // the held keys without an exception
	wantRead  []*key
	keyReads  int
	drained   int     // items from key.buffer without a result
	ready     []*item // own the slot of their key
	extra     []*item // due exceptions and redeliveries, which need a slot
	fetching  int     // due exceptions whose events are being read
	blocked   bool    // OrderAll: an event is waiting or parked

	flying int // attempts in flight
	extras int // of those from extra
	// extraLast reports that the last attempt was from extra.
	extraLast bool
	air       map[int64]bool // the events without a key that are in flight
	suspects  []answered
	breaker   breaker
	reach     reach
	slow      slowStart
	pace      pace
	ownUntil  time.Time // after a failure of our own
	ownFails  int
	problem   string

	paused   bool
	clock    time.Duration // up to clockAt
	clockAt  time.Time     // when the clock was read; zero while it stands still
	jobs     []hookgate.RedeliveryJob
	job      *job
	count    int // exceptions that are waiting or parked
	nextDue  time.Time
	dueAgain time.Time // after a Due that failed
	reload   bool      // ask Due for what a person has changed
	restarts bool      // end, so that the subscription is acquired again

	active     map[hookgate.EventRedelivery]uint64
	pending    *pending
	saving     *pending
	again      *hookgate.Results // a Save with unknown outcome
	againAt    time.Time
	saveFails  int
	savedBatch uint64
	savedAt    time.Time
	saved      int64 // the cursor in the store
	laneBusy   bool  // a Save or Due is under way
	dueLast    bool  // the last one was Due
	unsaved    int
}

func newRunner(d *Dispatcher, s *Subscription, state *hookgate.SubscriptionState) *runner {
	r := &runner{d: d, sub: s, name: s.Definition.Name, epoch: state.Epoch, order: s.Definition.Order,
		concurrency: max(1, s.Concurrency), redelivery: state.Redelivery,
		redeliverUntil: state.RedeliverUntil, inbox: make(chan func(), 16),
		stopping: make(chan struct{}), lost: make(chan struct{}), ended: make(chan struct{}),
		version: state.Version, position: state.Cursor, saved: state.Cursor,
		settled: map[int64]bool{}, excepted: map[int64]bool{}, keys: map[string]*key{},
		draining: map[string]bool{}, air: map[int64]bool{},
		paused: state.Paused, clock: state.Clock, jobs: state.Jobs, count: state.Exceptions,
		reload: true, active: map[hookgate.EventRedelivery]uint64{}, pending: newPending(1),
		savedAt: time.Now(),
	}
	if r.order == hookgate.OrderAll {
		r.concurrency = 1
		r.blocked = len(state.Excepted) > 0
	}
	r.answers = make(chan answered, r.concurrency)
	r.attempts, r.cancelAttempts = context.WithCancel(context.Background())
	r.reader = d.tail.reader(state.Cursor, &s.Definition.Filter)
	for _, id := range state.Settled {
		r.settled[id] = true
	}
	for _, id := range state.Excepted {
		r.excepted[id] = true
	}
	holds := append(state.Holds, r.giveBack(state)...)
	slices.SortStableFunc(holds, func(a, b hookgate.Hold) int {
		return strings.Compare(a.OrderingKey, b.OrderingKey)
	})
	for i, h := range holds {
		if i+1 < len(holds) && holds[i+1].OrderingKey == h.OrderingKey {
			next := &holds[i+1]
			next.After, next.Excepted = max(next.After, h.After), next.Excepted || h.Excepted
			continue
		}
		k := &key{name: h.OrderingKey, held: true, after: h.After, readTo: h.After,
			lastSeen: state.Cursor}
		r.keys[k.name] = k
		r.setExcepted(k, h.Excepted)
		r.proceed(k)
	}
	r.publish()
	return r
}

// giveBack takes back what clients have leased before this process began to push the events. It
// returns the holds of their keys.
func (r *runner) giveBack(state *hookgate.SubscriptionState) (all []hookgate.Hold) {
	ofJob := map[int64]int64{} // open events, which go on as exceptions
	for i := range state.Leases {
		for _, e := range state.Leases[i].Events {
			if e.State == hookgate.LeasedOpen {
				ofJob[e.Job]++
			}
		}
		created, holds := GiveBack(&state.Leases[i], r.order, 0, time.Now(), state.Clock)
		for _, e := range created {
			r.pending.Except(e, false)
		}
		for _, h := range holds {
			r.pending.Hold(h.OrderingKey, h.After, 0)
		}
		r.count += len(created)
		r.pending.expired = append(r.pending.expired, state.Leases[i].ID)
		all = append(all, holds...)
	}
	for i := range r.jobs {
		if n := ofJob[r.jobs[i].ID]; n > 0 {
			j := &r.jobs[i]
			j.Failed += n
			r.pending.Jobs[j.ID] = hookgate.JobProgress{ID: j.ID, Position: j.Position,
				Delivered: j.Delivered, Failed: j.Failed}
		}
	}
	return all
}

// stop makes run end after the attempts in flight. lose makes it end at once and cuts them off.
// Both can be called by any goroutine while Dispatcher.mu is locked.
func (r *runner) stop() { closeOnce(r.stopping) }
func (r *runner) lose() { closeOnce(r.lost) }

func closeOnce(c chan struct{}) {
	select {
	case <-c:
	default:
		close(c)
	}
}

// renew sets the end of the lease; zero: none.
func (r *runner) renew(end time.Time) {
	if !end.IsZero() {
		r.lease.Store(&end)
	}
}

// lapsed reports whether the lease has run out by either clock: a wall clock that was set back does
// not prolong it, nor does the time for which the machine was suspended, when the monotonic clock
// stands still.
func (r *runner) lapsed(now time.Time) bool {
	end := r.lease.Load()
	return end != nil && (!now.Before(*end) || now.UnixNano() >= end.UnixNano())
}

// noticeVersion notices a change by a person.
func (r *runner) noticeVersion(version int64) {
	go r.post(func() {
		if version > r.version {
			r.changed(version)
		}
	})
}

// changed makes the runner ask what a person has changed. It drops the exceptions whose attempt has
// not begun, because a person may have settled them. Due returns the others again.
func (r *runner) changed(version int64) {
	r.version, r.reload = version, true
	var freed []*key
	stale := func(it *item) bool {
		if !it.excepted || it.createdIn > r.savedBatch {
			return false
		}
		delete(r.active, it.id())
		if k := it.key; k != nil && k.current == it {
			k.current = nil
			freed = append(freed, k)
		}
		return true
	}
	r.extra = slices.DeleteFunc(r.extra, stale)
	r.ready = slices.DeleteFunc(r.ready, stale)
	for _, k := range freed {
		r.proceed(k)
	}
	if r.blocked {
		// The event that blocks all others may be settled now. Only the store knows.
		r.restarts = true
	}
}

// post runs f in the goroutine of run.
func (r *runner) post(f func()) {
	select {
	case r.inbox <- f:
	case <-r.ended:
	}
}

// call calls the store in a goroutine, for at most storeTimeout. Then it runs what f returns in the
// goroutine of run.
func (r *runner) call(ctx context.Context, f func(context.Context) func()) {
	go func() {
		ctx, cancel := context.WithTimeout(ctx, storeTimeout)
		defer cancel()
		r.post(f(ctx))
	}()
}

// run delivers until stop, lose, or another owner.
func (r *runner) run(ctx context.Context) {
	defer close(r.ended)
	defer r.cancelAttempts()
	defer r.reader.close()
	for {
		now := time.Now()
		r.noticeEnd(now)
		r.expireSuspects(now)
		r.slow.step(now, r.concurrency)
		r.checkReach(ctx, now)
		r.fill(ctx, now)
		r.fillJob(ctx)
		r.readKeys(ctx)
		wait := r.dispatch(now)
		r.useLane(ctx, now)
		r.publish()
		if r.finished() {
			break
		}
		r.await(now, wait)
	}
	if !r.fenced {
		ctx, cancel := context.WithTimeout(ctx, storeTimeout)
		defer cancel()
		if err := r.d.store.Release(ctx, r.name, r.epoch); err != nil {
			r.d.config.Logger.Warn("cannot give back a subscription", "subscription", r.name, "error", err)
		}
	}
}

// noticeEnd notices that the runner must end.
func (r *runner) noticeEnd(now time.Time) {
	select {
	case <-r.lost:
		r.closing, r.fenced = true, true
		r.cancelAttempts()
	default:
	}
	if r.lapsed(now) {
		r.closing = true
		r.cancelAttempts()
	}
	if r.restarts {
		r.stop()
	}
	select {
	case <-r.stopping:
		if !r.closing {
			r.closing, r.stopBy = true, now.Add(r.d.config.StopTimeout)
		}
	default:
	}
	if !r.stopBy.IsZero() && !now.Before(r.stopBy) {
		r.cancelAttempts()
	}
	r.runClock(now)
}

// runClock reads the clock and lets it run on, or stops it.
func (r *runner) runClock(now time.Time) {
	if !r.clockAt.IsZero() {
		r.clock += now.Sub(r.clockAt)
	}
	r.clockAt = time.Time{}
	if !r.idle() && !r.breaker.open {
		r.clockAt = now
	}
}

// finished reports whether run can end.
func (r *runner) finished() bool {
	if !r.closing || r.flying > 0 || r.laneBusy || r.reading || r.keyReads > 0 || r.fetching > 0 ||
		r.job != nil && r.job.reading {
		return false
	}
	return r.fenced || r.givesUp() || r.again == nil && r.pending.empty() && r.cursor() <= r.saved
}

// givesUp reports that results that could not be saved are dropped, because the runner must end.
// The next owner delivers these events again.
func (r *runner) givesUp() bool {
	return r.again != nil && r.closing && r.flying == 0 && !time.Now().Before(r.stopBy)
}

// cursor returns the cursor to save.
func (r *runner) cursor() int64 {
	if !r.paged && !r.reading {
		r.position = max(r.position, r.reader.place())
	}
	return r.ring.cursor(r.position)
}

// await waits until there is something to do. wait is the time until the next attempt may begin; 0:
// no such time.
func (r *runner) await(now time.Time, wait time.Duration) {
	at := time.Time{}
	earliest := func(t time.Time) {
		if !t.IsZero() && (at.IsZero() || t.Before(at)) {
			at = t
		}
	}
	if wait > 0 {
		earliest(now.Add(wait))
	}
	if r.closing {
		if now.Before(r.stopBy) {
			earliest(r.stopBy)
		}
	} else {
		free := !r.laneBusy && r.again == nil
		if free && !r.hasDueItems() && !r.idle() && !now.Before(r.dueAgain) {
			earliest(r.nextDue)
		}
		if now.Before(r.dueAgain) {
			earliest(r.dueAgain)
		}
		if len(r.suspects) > 0 {
			earliest(r.suspects[0].at.Add(suspectTime))
		}
		if r.slow.on {
			earliest(r.slow.stepped.Add(slowStep))
		}
		if free && r.pending.empty() && r.cursor() > r.saved {
			earliest(r.savedAt.Add(passEvery))
		}
		if now.Before(r.readAgain) {
			earliest(r.readAgain)
		}
		if r.breaker.open && !r.reach.busy {
			earliest(r.reach.at)
		}
	}
	if end := r.lease.Load(); end != nil && r.flying > 0 && !r.lapsed(now) {
		earliest(*end)
	}
	if r.again != nil && !r.laneBusy && !r.givesUp() {
		earliest(r.againAt)
	}
	var timer <-chan time.Time
	if !at.IsZero() {
		t := time.NewTimer(max(0, time.Until(at)))
		defer t.Stop()
		timer = t.C
	}
	stopping, lost := r.stopping, r.lost
	if r.closing {
		stopping = nil
		if r.fenced {
			lost = nil
		}
	}
	if r.takeIn() {
		return
	}
	select {
	case <-timer:
	case f := <-r.inbox:
		f()
	case a := <-r.answers:
		r.answered(a)
	case <-r.reader.arrived:
	case <-stopping:
	case <-lost:
	}
	r.takeIn()
}

// takeIn takes everything that has come: what was posted, and then the answers. It reports whether
// there was anything.
func (r *runner) takeIn() (any bool) {
	for {
		select {
		case f := <-r.inbox:
			f()
			any = true
			continue
		default:
		}
		select {
		case a := <-r.answers:
			r.answered(a)
			any = true
		default:
			return any
		}
	}
}

// idle reports whether no attempt may begin until a person or the clock changes something.
func (r *runner) idle() bool { return r.closing || r.paused || r.d.config.Paused() }

// publish shows the state to other goroutines.
func (r *runner) publish() {
	s := Status{Name: r.name, Breaker: r.breaker.state(), InFlight: r.flying,
		Limit: r.slow.limit(r.concurrency), Position: r.position, Problem: r.problem}
	if r.count >= maxExceptions {
		s.Problem = strconv.Itoa(r.count) + " events are waiting or parked; new ones wait until" +
			" there are fewer"
	}
	if old := r.status.Load(); old == nil || *old != s {
		r.status.Store(&s)
	}
}

// useLane starts the next Save or Due, of which one runs at a time. So an answer of Due shows the
// results of all Saves before.
func (r *runner) useLane(ctx context.Context, now time.Time) {
	if r.laneBusy || r.fenced {
		return
	}
	switch moved := r.cursor() > r.saved; {
	case r.again != nil:
		if !now.Before(r.againAt) && !r.givesUp() {
			r.save(ctx, r.again)
		}
	case r.wantsDue(now) && !r.dueLast:
		r.askDue(ctx, now)
	case !r.pending.empty() || moved && (r.closing || now.Sub(r.savedAt) >= passEvery):
		if r.pending.broken == nil && r.pending.batch == 1 {
			r.pending.broken = &time.Time{} // of the owner before
		}
		results := r.pending.results(r.cursor(), r.clock)
		r.saving, r.pending = r.pending, newPending(r.pending.batch+1)
		r.save(ctx, results)
	case r.wantsDue(now):
		r.askDue(ctx, now)
	}
}

// save stores results.
func (r *runner) save(ctx context.Context, results *hookgate.Results) {
	r.laneBusy, r.dueLast = true, false
	r.call(ctx, func(ctx context.Context) func() {
		version, err := r.d.store.Save(ctx, r.name, r.epoch, results)
		return func() { r.hasSaved(results, version, err) }
	})
}

// hasSaved takes the result of a Save. After an error other than ErrFenced the outcome is unknown,
// and the same results are saved again before any others.
func (r *runner) hasSaved(results *hookgate.Results, version int64, err error) {
	r.laneBusy = false
	now := time.Now()
	switch {
	case errors.Is(err, hookgate.ErrFenced):
		r.closing, r.fenced = true, true
		r.cancelAttempts()
		return
	case err != nil:
		r.saveFails++
		pause := storeRetry.Pause(r.saveFails)
		r.again, r.againAt = results, now.Add(pause)
		r.d.config.Logger.Warn("cannot save the results of deliveries; no attempts begin meanwhile",
			"subscription", r.name, "error", err, "retry_in", pause)
		return
	}
	r.again, r.saveFails = nil, 0
	r.saved, r.savedAt = results.Cursor, now
	if r.saving != nil {
		r.savedBatch = r.saving.batch
		r.unsaved -= r.saving.weight
		r.saving = nil
	}
	for id, batch := range r.active {
		if batch <= r.savedBatch {
			delete(r.active, id)
		}
	}
	if version > r.version {
		r.changed(version)
	}
}

// wantsDue reports whether Due should be asked.
func (r *runner) wantsDue(now time.Time) bool {
	if r.closing || now.Before(r.dueAgain) {
		return false
	}
	if r.reload {
		return true
	}
	return !r.idle() && !r.nextDue.IsZero() && !now.Before(r.nextDue) && !r.hasDueItems()
}

// hasDueItems reports whether exceptions that are due wait for an attempt already.
func (r *runner) hasDueItems() bool {
	return r.fetching > 0 || slices.ContainsFunc(r.extra, func(it *item) bool { return it.excepted })
}

// askDue asks the store for exceptions that are due and keys that are free.
func (r *runner) askDue(ctx context.Context, now time.Time) {
	r.laneBusy, r.dueLast = true, true
	q := hookgate.DueQuery{Now: now, Max: 1 + r.concurrency}
	for id := range r.active {
		q.NotEvents = append(q.NotEvents, id)
	}
	if q.MaxHolds = -1; r.reload {
		q.MaxHolds = holdsPage
		q.NotKeys = slices.Collect(maps.Keys(r.draining)) // can be many
	}
	r.reload = false // a later change sets it again
	r.call(ctx, func(callCtx context.Context) func() {
		due, err := r.d.store.Due(callCtx, r.name, q)
		return func() { r.hasDue(ctx, &due, q.MaxHolds > 0, err) }
	})
}

// hasDue takes an answer of Due.
func (r *runner) hasDue(ctx context.Context, due *hookgate.Due, full bool, err error) {
	r.laneBusy = false
	if err != nil {
		r.reload = r.reload || full
		r.failures++
		r.dueAgain = time.Now().Add(storeRetry.Pause(r.failures))
		r.d.config.Logger.Warn("cannot read what is due for delivery", "subscription", r.name,
			"error", err)
		return
	}
	r.failures = 0
	if due.Version < r.version {
		r.reload = true
		return // a person has changed something since: ask again
	}
	if due.Version > r.version {
		// A person has changed something meanwhile. This answer leaves out exceptions that are dropped
		// now: ask again.
		r.changed(due.Version)
		return
	}
	r.reload = r.reload || full && len(due.Holds) >= holdsPage // there may be more
	r.paused = due.Paused || r.pending.pause != ""
	r.nextDue = r.pending.NextDue(due.Next)
	r.setJobs(due.Jobs)
	r.count = due.Count + len(r.pending.Created)
	for i := range due.Holds {
		r.freeKey(&due.Holds[i])
	}
	var ids []int64
	byEvent := map[int64][]hookgate.Exception{}
	for _, e := range due.Exceptions {
		id := hookgate.EventRedelivery{Event: e.Event, Redelivery: e.Redelivery}
		if _, busy := r.active[id]; busy {
			continue
		}
		r.active[id] = inFlight
		if byEvent[e.Event] == nil {
			ids = append(ids, e.Event)
		}
		byEvent[e.Event] = append(byEvent[e.Event], e)
	}
	if len(ids) > 0 {
		r.fetch(ctx, ids, byEvent)
	}
}

// fetch reads the events of exceptions that are due.
func (r *runner) fetch(ctx context.Context, ids []int64,
	byEvent map[int64][]hookgate.Exception) {
	r.fetching = len(ids)
	slices.Sort(ids)
	version := r.version
	r.call(ctx, func(ctx context.Context) func() {
		events, err := r.d.log.ReadEvents(ctx, ids)
		return func() { r.hasFetched(events, byEvent, version, err) }
	})
}

// hasFetched queues exceptions that are due, with their events.
func (r *runner) hasFetched(events []hookgate.Event, byEvent map[int64][]hookgate.Exception,
	version int64, err error) {
	r.fetching = 0
	if err != nil || version != r.version {
		for _, exceptions := range byEvent {
			for _, e := range exceptions {
				delete(r.active, hookgate.EventRedelivery{Event: e.Event, Redelivery: e.Redelivery})
			}
		}
		if err == nil {
			r.reload = true
			return
		}
		r.d.config.Logger.Warn("cannot read events that are due for delivery", "subscription", r.name,
			"error", err)
		r.nextDue = time.Now().Add(storeRetry.Max)
		return
	}
	for i := range events {
		for _, e := range byEvent[events[i].ID] {
			r.extra = append(r.extra, &item{event: &events[i], redelivery: e.Redelivery, number: -1,
				exception: e, excepted: true, path: e.OrderingKey != ""})
		}
		delete(byEvent, events[i].ID)
	}
	for event, exceptions := range byEvent { // the store has lost the event: only a person can help
		for _, e := range exceptions {
			r.park(event, e)
		}
	}
}

// park parks an exception whose event is not in the store any more.
func (r *runner) park(event int64, e hookgate.Exception) {
	id := hookgate.EventRedelivery{Event: event, Redelivery: e.Redelivery}
	e.State, e.Due, e.Changed = hookgate.ExceptionParked, time.Time{}, time.Now()
	e.Reason = "the event is not in the store any more"
	r.pending.Except(e, true)
	r.active[id] = r.pending.batch
}

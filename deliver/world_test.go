package deliver_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/deliver"
	"github.com/hookgate/hookgate/deliver/memory"
)

// world is a store, a consumer that checks what it receives, and the processes that deliver. All
// run in one bubble of testing/synctest.
type world struct {
	t     *testing.T
	store *memory.Store
	sub   deliver.Subscription

	mu sync.Mutex // guards all below
	// behave decides the answer of an attempt and how long it takes.
	behave func(d *hookgate.Delivery) (hookgate.Answer, time.Duration)
	// away reports that no connection to the consumer can be opened.
	away bool
	// events are all matching events, in order.
	events    []hookgate.Event
	ofKey     map[string][]int64 // those of each key that are not known to be settled
	delivered map[hookgate.EventRedelivery]int
	settled   map[int64]bool // delivered with redelivery 0, or settled by a person or as a dead letter
	// flying are the attempts of each key that a process waits for.
	flying map[string]int
	starts []start
	first  map[int64]time.Time // of the attempts of each event
	bad    []string
	// most is the largest number of attempts at a time.
	now, most int

	// lag is how long calls of the store take, by name; set it before start.
	lag map[string]time.Duration
}

type start struct {
	at time.Time
	hookgate.EventRedelivery
	attempt int
}

func newWorld(t *testing.T, sub deliver.Subscription) *world {
	w := &world{t: t, store: memory.New(), sub: sub,
		ofKey:     map[string][]int64{},
		delivered: map[hookgate.EventRedelivery]int{}, settled: map[int64]bool{},
		flying: map[string]int{}, first: map[int64]time.Time{}}
	w.sub.Definition.Name = "billing"
	if w.sub.Definition.Order == "" {
		w.sub.Definition.Order = hookgate.OrderKey
	}
	w.sub.Definition.Start.At = hookgate.StartBeginning
	if w.sub.Concurrency == 0 {
		w.sub.Concurrency = 8
	}
	if w.sub.Retry == (deliver.Retry{}) {
		w.sub.Retry = deliver.Retry{First: time.Second, Max: time.Minute, For: time.Hour}
	}
	w.sub.Definition.Definition = "{}"
	w.behave = func(*hookgate.Delivery) (hookgate.Answer, time.Duration) {
		return hookgate.Answer{Status: 200}, time.Millisecond
	}
	return w
}

// process is one process. Once it is killed, all its calls of the store fail, and its attempts end.
type process struct {
	hookgate.Log
	hookgate.Subscriptions
	w    *world
	gone chan struct{}
	stop context.CancelFunc
	done chan struct{}
	d    *deliver.Dispatcher
}

var errKilled = errors.New("killed")

func (p *process) alive() error {
	select {
	case <-p.gone:
		return errKilled
	default:
		return nil
	}
}

// lag waits as long as a call takes.
func (p *process) lag(call string) {
	if d := p.w.lag[call]; d > 0 {
		time.Sleep(d)
	}
}

func (p *process) ReadLog(ctx context.Context, q hookgate.LogQuery) (hookgate.LogPage, error) {
	page, err := p.Log.ReadLog(ctx, q)
	p.lag("ReadLog")
	return page, err
}

func (p *process) ReadEvents(ctx context.Context, ids []int64) ([]hookgate.Event, error) {
	events, err := p.Log.ReadEvents(ctx, ids)
	p.lag("ReadEvents")
	return events, err
}

func (p *process) Due(ctx context.Context, name string, q hookgate.DueQuery) (hookgate.Due, error) {
	due, err := p.Subscriptions.Due(ctx, name, q)
	p.lag("Due")
	return due, err
}

func (p *process) Save(ctx context.Context, name string, epoch hookgate.Epoch,
	r *hookgate.Results) (int64, error) {
	if err := p.alive(); err != nil {
		return 0, err
	}
	p.lag("Save")
	return p.Subscriptions.Save(ctx, name, epoch, r)
}

func (p *process) Renew(ctx context.Context, owner string, ttl time.Duration) (hookgate.Roster,
	error) {
	if err := p.alive(); err != nil {
		return hookgate.Roster{}, err
	}
	return p.Subscriptions.Renew(ctx, owner, ttl)
}

func (p *process) Release(ctx context.Context, name string, epoch hookgate.Epoch) error {
	if err := p.alive(); err != nil {
		return err
	}
	return p.Subscriptions.Release(ctx, name, epoch)
}

func (p *process) Acquire(ctx context.Context, name, owner string, ttl time.Duration,
	revision int64) (*hookgate.SubscriptionState, error) {
	if err := p.alive(); err != nil {
		return nil, err
	}
	return p.Subscriptions.Acquire(ctx, name, owner, ttl, revision)
}

// Deliver implements hookgate.Consumer: it answers as the world says, and checks the order.
func (p *process) Deliver(ctx context.Context, d *hookgate.Delivery) hookgate.Answer {
	if p.alive() != nil {
		return hookgate.Answer{Verdict: hookgate.VerdictInterrupted}
	}
	answer, took := p.w.begin(d)
	defer p.w.end(d)
	timer := time.NewTimer(took)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return hookgate.Answer{Verdict: hookgate.VerdictInterrupted}
	case <-p.gone:
		return hookgate.Answer{Verdict: hookgate.VerdictInterrupted}
	}
	if answer.Verdict == hookgate.VerdictDelivered {
		p.w.has(d)
	}
	return answer
}

// Reach implements deliver.Reacher.
func (p *process) Reach(context.Context) error {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	if p.w.away {
		return errors.New("connection refused")
	}
	return nil
}

// start starts a process.
func (w *world) start(owner string, lease time.Duration) *process {
	p := &process{Log: w.store, Subscriptions: w.store, w: w, gone: make(chan struct{}),
		done: make(chan struct{})}
	sub := w.sub
	sub.Consumer = p
	log := slog.New(slog.DiscardHandler)
	if testing.Verbose() {
		log = slog.Default()
	}
	p.d = deliver.New(deliver.Config{Subscriptions: []deliver.Subscription{sub}, Owner: owner,
		Lease: lease, Logger: log}, p, p)
	if err := p.d.Define(w.t.Context()); err != nil {
		w.t.Error(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	p.stop = cancel
	go func() {
		defer close(p.done)
		p.d.Run(ctx)
	}()
	return p
}

// kill ends a process as SIGKILL does.
func (p *process) kill() {
	close(p.gone)
	p.stop()
	<-p.done
}

// end ends a process as SIGTERM does.
func (p *process) end() {
	p.stop()
	<-p.done
}

// append stores events: one for each ordering key, "" for an event without a key.
func (w *world) append(keys ...string) (ids []int64) {
	for _, key := range keys {
		e := hookgate.Event{Identity: hookgate.Identity{Source: "s", EventType: "t",
			MessageID: fmt.Sprint(len(w.events))}, OrderingKey: "t", Body: []byte(`{}`)}
		if key != "" {
			e.OrderingKey, e.Keyed = key, true
		}
		w.mu.Lock()
		if len(w.sub.Definition.Filter.Types) > 0 { // other events stand between those that match
			other := e
			other.EventType = "other"
			w.store.Append(other, other)
		}
		e.ID = w.store.Append(e)[0]
		w.events = append(w.events, e)
		name := e.Key()
		if w.sub.Definition.Order == hookgate.OrderAll {
			name = ""
		}
		w.ofKey[name] = append(w.ofKey[name], e.ID)
		w.mu.Unlock()
		ids = append(ids, e.ID)
	}
	return ids
}

func (w *world) begin(d *hookgate.Delivery) (hookgate.Answer, time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	key := d.Event.Key()
	if w.sub.Definition.Order == hookgate.OrderAll {
		key = ""
	}
	w.flying[key]++
	w.now++
	w.most = max(w.most, w.now)
	id := hookgate.EventRedelivery{Event: d.Event.ID, Redelivery: d.Redelivery}
	if _, again := w.first[d.Event.ID]; !again {
		w.first[d.Event.ID] = time.Now()
	}
	w.starts = append(w.starts, start{time.Now(), id, d.Attempt})
	if w.sub.Definition.Order != hookgate.OrderNone {
		if w.flying[key] > 1 {
			w.bad = append(w.bad, fmt.Sprintf("two attempts of key %q at a time", key))
		}
		ids := w.ofKey[key]
		for len(ids) > 0 && (w.settled[ids[0]] || w.dead(ids[0])) {
			ids = ids[1:]
		}
		w.ofKey[key] = ids
		if d.Redelivery == 0 && len(ids) > 0 && ids[0] < d.Event.ID {
			w.bad = append(w.bad, fmt.Sprintf("event %d of key %q is attempted before event %d is settled",
				d.Event.ID, key, ids[0]))
		}
	}
	return w.behave(d)
}

// dead reports whether an event is a dead letter by now.
func (w *world) dead(id int64) bool {
	first, tried := w.first[id]
	return w.sub.DeadLetter && tried && time.Since(first) >= w.sub.Retry.For
}

func (w *world) end(d *hookgate.Delivery) {
	w.mu.Lock()
	defer w.mu.Unlock()
	key := d.Event.Key()
	if w.sub.Definition.Order == hookgate.OrderAll {
		key = ""
	}
	w.flying[key]--
	w.now--
}

func (w *world) has(d *hookgate.Delivery) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.delivered[hookgate.EventRedelivery{Event: d.Event.ID, Redelivery: d.Redelivery}]++
	w.settled[d.Event.ID] = true
}

// check fails the test if the consumer has seen something wrong.
func (w *world) check() {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.bad) > 0 {
		w.t.Errorf("%d violations, the first: %s", len(w.bad), w.bad[0])
	}
}

// missing returns the events that are not settled.
func (w *world) missing() (ids []int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range w.events {
		if !w.settled[e.ID] {
			ids = append(ids, e.ID)
		}
	}
	return ids
}

// mustSettle fails the test unless all events are settled, the cursor is at the end and nothing is
// left over.
func (w *world) mustSettle() {
	w.t.Helper()
	if ids := w.missing(); len(ids) > 0 {
		w.t.Errorf("%d of %d events are not settled, the first is %d; %+v", len(ids), len(w.events),
			ids[0], w.info())
	}
	info := w.info()
	if info.Cursor != info.End || info.Waiting+info.Parked+info.Held != 0 {
		w.t.Errorf("at the end: %+v", info)
	}
	w.check()
}

func (w *world) info() hookgate.SubscriptionInfo {
	all, err := w.store.Subscriptions(context.Background())
	if err != nil || len(all) != 1 {
		w.t.Fatal(all, err)
	}
	return all[0]
}

// setBehave changes the behaviour of the consumer.
func (w *world) setBehave(f func(d *hookgate.Delivery) (hookgate.Answer, time.Duration)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.behave = f
}

// began returns the attempts that have begun.
func (w *world) began() []start {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.starts)
}

// setAway sets whether connections to the consumer can be opened.
func (w *world) setAway(away bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.away = away
}

func ok(*hookgate.Delivery) (hookgate.Answer, time.Duration) {
	return hookgate.Answer{Status: 200}, time.Millisecond
}

func refused(*hookgate.Delivery) (hookgate.Answer, time.Duration) {
	return hookgate.Answer{Verdict: hookgate.VerdictOutage, Reason: "connection refused"},
		time.Millisecond
}

func broken(*hookgate.Delivery) (hookgate.Answer, time.Duration) {
	return hookgate.Answer{Verdict: hookgate.VerdictFailed, Status: 500, Reason: "500"},
		time.Millisecond
}

// some returns n keys at random, with events that have none among them.
func some(rng *rand.Rand, n, keys int) (names []string) {
	for range n {
		name := ""
		if k := rng.IntN(keys + 1); k > 0 {
			name = fmt.Sprint("k", k)
		}
		names = append(names, name)
	}
	return names
}

// person settles all exceptions in a state as a person does.
func (w *world) person(a hookgate.Resolution) {
	filter := hookgate.ExceptionFilter{Subscription: "billing", Limit: 1000}
	exceptions, err := w.store.Exceptions(w.t.Context(), filter)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, e := range exceptions {
		filter.Events = append(filter.Events, e.Event)
		if a != hookgate.ResolveRetry {
			w.mu.Lock()
			w.settled[e.Event] = true // before the next event of the key begins
			w.mu.Unlock()
		}
	}
	if len(filter.Events) == 0 {
		return
	}
	if _, err := w.store.Resolve(w.t.Context(), filter, a, false, by); err != nil {
		w.t.Fatal(err)
	}
}

// skipped reports whether a person has skipped a delivery.
func (w *world) skipped(id hookgate.EventRedelivery) bool {
	attempts, err := w.store.Attempts(w.t.Context(), id.Event)
	if err != nil {
		w.t.Fatal(err)
	}
	return slices.ContainsFunc(attempts, func(a hookgate.StoredAttempt) bool {
		return a.Redelivery == id.Redelivery && a.Outcome.Settles() &&
			a.Outcome != hookgate.AttemptDelivered
	})
}

// seek moves the cursor as a person does. Events that it passes count as settled.
func (w *world) seek(to int64) hookgate.SeekResult {
	w.mu.Lock()
	for _, e := range w.events {
		if e.ID <= to {
			w.settled[e.ID] = true
		}
	}
	w.mu.Unlock()
	start := hookgate.Start{At: hookgate.StartAfter, After: to}
	r, err := w.store.Seek(w.t.Context(), "billing", start, false, by)
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

var by = hookgate.Person{By: "ann", Reason: "test"}

package consume

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/api"
)

// Of one lease of a Forwarder. It is short because the gate keeps events back for that time if the
// answer to a pull is lost.
const (
	forwardLease  = 15 * time.Second
	forwardEvents = 32
	forwardBytes  = 1 << 20
)

// Forwarder forwards events to an application, through a temporary subscription. Events of one key
// go one after the other.
type Forwarder struct {
	*Gate
	// Wanted describes the subscription.
	Wanted api.TemporaryRequest
	// App is the application, and To its name for notes. An answer without a status that comes before
	// Timeout means that App cannot be reached.
	App     hookgate.Consumer
	To      string
	Timeout time.Duration
	// Concurrency bounds the requests at a time.
	Concurrency int
	// Print prints a line for each attempt. It is called concurrently.
	Print func(e *api.PulledEvent, a hookgate.Answer, took time.Duration)

	subscription string
	position     *position
	slots        chan struct{} // one element for each group of events in work
	inFlight     atomic.Int64  // requests without an answer
	delivered    atomic.Int64
	failed       atomic.Int64

	mu     sync.Mutex // guards the fields below
	busy   map[string]chan struct{}
	silent bool // the application cannot be reached
}

// Forwarded says what a Forwarder did.
type Forwarded struct {
	// Delivered counts the events that the application took, Failed its other answers, and Left the
	// events that it did not take.
	Delivered, Failed, Left int
}

// Open creates the subscription and returns its name. It does not wait for a gate that is away.
func (f *Forwarder) Open(ctx context.Context) (string, error) {
	made, err := f.client.CreateSubscription(ctx, f.Wanted, api.WithReason("hookgate forward"))
	if err != nil {
		return "", err
	}
	f.subscription = made.Name
	s, err := f.client.Subscription(ctx, made.Name)
	if err != nil {
		return "", err
	}
	cursor, err := strconv.ParseInt(s.Cursor, 10, 64)
	if err != nil {
		return "", fmt.Errorf("read the cursor of %s: %w", made.Name, err)
	}
	f.position = newPosition(cursor)
	f.slots = make(chan struct{}, f.Concurrency)
	f.busy = map[string]chan struct{}{}
	return made.Name, nil
}

// Run forwards until ctx ends. Then it waits for the requests in flight, and deletes the
// subscription.
func (f *Forwarder) Run(ctx context.Context) (Forwarded, error) {
	ctx, cancel := context.WithCancel(ctx)
	var groups sync.WaitGroup
	err := f.run(ctx, &groups)
	cancel() // for a call that the gate rejects
	if n := f.inFlight.Load(); n > 0 {
		f.note(fmt.Sprintf("waiting for the answers to %s; a second signal ends it at once",
			count(int(n))))
	}
	groups.Wait()
	f.close(ctx)
	return Forwarded{Delivered: int(f.delivered.Load()), Failed: int(f.failed.Load()),
		Left: f.position.unacked()}, err
}

// run pulls and starts the work on what it gets, until ctx ends or the gate rejects a call.
func (f *Forwarder) run(ctx context.Context, groups *sync.WaitGroup) error {
	request := api.PullRequest{Max: forwardEvents, MaxBytes: forwardBytes,
		Wait: api.Duration(pollWait), Lease: api.Duration(forwardLease)}
	for f.acquire(ctx) {
		mark := f.position.mark()
		events, l, err := f.pull(ctx, f.subscription, request, f.position.unanswered)
		switch {
		case l != nil:
			f.dispatch(ctx, l, events, groups)
			continue
		case api.HasStatus(err, http.StatusNotFound):
			err = f.recreate(ctx)
		case err == nil:
			f.position.drained(f.now(), mark)
		}
		<-f.slots
		if err != nil && ctx.Err() == nil {
			return err
		}
	}
	return nil
}

// acquire waits for a slot. It returns false if ctx ends first.
func (f *Forwarder) acquire(ctx context.Context) bool {
	select {
	case f.slots <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

// recreate creates the subscription again, at the first event that the application did not take.
func (f *Forwarder) recreate(ctx context.Context) error {
	forgotten := f.subscription
	wanted := f.Wanted
	wanted.Since, wanted.After = 0, f.position.next()
	err := f.try(ctx, func(ctx context.Context) error {
		made, err := f.client.CreateSubscription(ctx, wanted, api.WithReason("hookgate forward"))
		f.subscription = made.Name
		return err
	})
	if err == nil {
		f.note(fmt.Sprintf("the gate has forgotten %s; continuing after event %s with %s", forgotten,
			wanted.After, f.subscription))
	}
	return err
}

// dispatch starts a goroutine for each key. The caller has a slot, which the first one gets.
func (f *Forwarder) dispatch(ctx context.Context, l *lease, events []api.PulledEvent,
	groups *sync.WaitGroup) {
	byKey := map[string][]*api.PulledEvent{}
	var keys []string
	for i := range events {
		key := events[i].Key
		if events[i].Redelivery == 0 {
			f.position.leased(eventID(&events[i]))
		}
		if byKey[key] == nil {
			keys = append(keys, key)
		}
		byKey[key] = append(byKey[key], &events[i])
	}
	var ofLease sync.WaitGroup
	for i, key := range keys {
		if i > 0 && !f.acquire(ctx) {
			break
		}
		f.enter(key)
		ofLease.Add(1)
		groups.Go(func() {
			f.forward(ctx, l, byKey[key])
			f.leave(key)
			<-f.slots
			ofLease.Done()
		})
	}
	groups.Go(func() {
		ofLease.Wait()
		l.release()
	})
}

// enter waits until no earlier lease works on the key. The gate does not lease a key twice, but a
// lease may have run out while the application has its event.
func (f *Forwarder) enter(key string) {
	for {
		f.mu.Lock()
		earlier := f.busy[key]
		if earlier == nil {
			f.busy[key] = make(chan struct{})
		}
		f.mu.Unlock()
		if earlier == nil {
			return
		}
		<-earlier
	}
}

func (f *Forwarder) leave(key string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	close(f.busy[key])
	delete(f.busy, key)
}

// forward posts the events of one key, until the application does not take one, the lease ends or
// ctx does.
func (f *Forwarder) forward(ctx context.Context, l *lease, events []*api.PulledEvent) {
	for _, e := range events {
		if ctx.Err() != nil || l.over.Load() {
			return
		}
		// An event that a person asked for again is not on the way of the cursor.
		id, tracked := eventID(e), e.Redelivery == 0
		if !tracked || !f.position.isTaken(id) {
			a, ok := f.deliver(ctx, l, e)
			if !ok {
				return
			}
			if a.Verdict != hookgate.VerdictDelivered {
				f.failed.Add(1)
				nack := api.NackRequest{IDs: []string{e.ID}, Reason: a.Reason}
				if wait := api.Duration(a.RetryAfter); wait > 0 {
					nack.Delay = &wait
				}
				l.nack(ctx, nack)
				return
			}
			f.delivered.Add(1)
		}
		if tracked {
			f.position.taken(id)
		}
		if settled, err := l.ack(ctx, api.AckRequest{IDs: []string{e.ID}}); err != nil || !settled {
			return
		}
		if tracked {
			f.position.acked(id)
		}
	}
}

// close deletes the subscription.
func (f *Forwarder) close(ctx context.Context) {
	ctx, cancel := outlasting(ctx)
	defer cancel()
	err := f.try(ctx, func(ctx context.Context) error {
		_, err := f.client.ForgetSubscription(ctx, f.subscription, api.WithReason("hookgate forward"))
		return err
	})
	if err != nil && !api.HasStatus(err, http.StatusNotFound) {
		f.note(fmt.Sprintf("%s could not be deleted; the gate forgets it after an hour: %v",
			f.subscription, err))
	}
}

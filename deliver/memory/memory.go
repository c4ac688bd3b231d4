// Package memory implements the ports of delivery in memory: hookgate.Log, Subscriptions, Leases,
// SubscriptionReader and SubscriptionControl. Tests use it in place of a store.
//
// It locks one mutex for each call and searches in slices and maps. So it is easy to compare with
// the contract, and too slow for millions of events.
package memory

import (
	"context"
	"slices"
	"sort"
	"sync"
	"time"

	"github.com/hookgate/hookgate"
)

// The ports that a Store implements.
var (
	_ hookgate.Log                 = (*Store)(nil)
	_ hookgate.Subscriptions       = (*Store)(nil)
	_ hookgate.Leases              = (*Store)(nil)
	_ hookgate.SubscriptionReader  = (*Store)(nil)
	_ hookgate.SubscriptionControl = (*Store)(nil)
)

// Store keeps events and subscriptions in memory. Its methods may be called concurrently. In a
// bubble of testing/synctest all leases run by the time of the bubble.
type Store struct {
	mu sync.Mutex // guards everything below

	now     func() time.Time
	fail    FailFunc
	events  []storedEvent // in the order of ids
	last    int64         // the last id that was given out
	horizon int64         // highest id that retention has removed
	grown   chan struct{} // closed and replaced by Append

	subscriptions map[string]*subscription
	forgotten     []*subscription // for their attempts
	epoch         hookgate.Epoch  // the highest one given out
	seen          map[string]time.Time
	job           int64 // id of the last redelivery job
}

// storedEvent is an event of the log.
type storedEvent struct {
	hookgate.Event
	// kept reports that retention has removed the event and a subscription still needs it.
	kept bool
}

// FailFunc decides about a call of a port before it begins. op is the name of the method and name
// the subscription, or empty. It may block. If it returns an error, the call returns that error:
// without effect if done is false, and with its full effect if done is true.
type FailFunc func(ctx context.Context, op, name string) (done bool, err error)

// New returns an empty store.
func New() *Store {
	return &Store{now: time.Now, grown: make(chan struct{}), subscriptions: map[string]*subscription{},
		seen: map[string]time.Time{}}
}

// SetClock sets the clock that gives ids and times to events and changes, and is the
// clock of the leases of events. The leases of owners use time.Now.
func (s *Store) SetClock(now func() time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now = now
}

// SetFail makes f decide about all later calls; nil ends this.
func (s *Store) SetFail(f FailFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = f
}

// do runs one call of a port.
func (s *Store) do(ctx context.Context, op, name string, call func() error) error {
	s.mu.Lock()
	fail := s.fail
	s.mu.Unlock()
	var injected error
	if fail != nil {
		done, err := fail(ctx, op, name)
		if err != nil && !done {
			return err
		}
		injected = err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := call(); injected == nil {
		return err
	}
	return injected
}

// Append stores events in one commit and returns their ids. It sets ID, and StoredAt and ReceivedAt
// where they are zero. The id is that of the event before plus one, or the time in microseconds
// since 1970 if that is higher.
func (s *Store) Append(events ...hookgate.Event) (ids []int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	for _, e := range events {
		e.ID = max(s.last+1, now.UnixMicro())
		if e.StoredAt.IsZero() {
			e.StoredAt = now
		}
		if e.ReceivedAt.IsZero() {
			e.ReceivedAt = now
		}
		s.last = e.ID
		s.events = append(s.events, storedEvent{Event: e})
		ids = append(ids, e.ID)
	}
	if len(events) > 0 {
		close(s.grown)
		s.grown = make(chan struct{})
	}
	return ids
}

// Skip gives out the next id without an event, as a store does for a duplicate. Nobody is woken.
func (s *Store) Skip() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = max(s.last+1, s.now().UnixMicro())
}

// Remove removes the events up to id, as retention does: it stops at the lowest cursor and
// before the first leased event of the subscriptions that are configured, and keeps the events that
// a subscription needs. It returns the horizon, which is the highest id that was removed.
func (s *Store) Remove(id int64) (horizon int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, sub := range s.subscriptions {
		if sub.removedAt.IsZero() {
			id = min(id, sub.cursor)
			if first := sub.firstLeased(); first > 0 {
				id = min(id, first-1)
			}
		}
	}
	excepted := map[int64]bool{}
	for _, sub := range s.subscriptions {
		for id := range sub.exceptions {
			excepted[id.Event] = true
		}
	}
	s.events = slices.DeleteFunc(s.events, func(e storedEvent) bool {
		return e.ID <= id && !excepted[e.ID] && !s.behindHold(&e.Event)
	})
	for i := range s.events {
		if e := &s.events[i]; e.ID <= id {
			e.kept = true
		}
	}
	s.horizon = max(s.horizon, min(id, s.last))
	return s.horizon
}

// behindHold reports whether an event waits behind the hold of its key.
func (s *Store) behindHold(e *hookgate.Event) bool {
	for _, sub := range s.subscriptions {
		if h, held := sub.holds[e.OrderingKey]; held && e.Keyed && e.ID > h.After &&
			e.ID <= sub.cursor {
			return true
		}
	}
	return false
}

// ReadLog implements hookgate.Log.
func (s *Store) ReadLog(ctx context.Context, q hookgate.LogQuery) (page hookgate.LogPage,
	err error) {
	err = s.do(ctx, "ReadLog", "", func() error {
		end := s.last
		if q.Until > 0 {
			end = min(end, q.Until)
		}
		page.Next = max(q.After, end)
		bytes := 0
		for i := s.after(q.After); i < len(s.events) && s.events[i].ID <= end; i++ {
			e := &s.events[i]
			if q.OrderingKey == "" && e.kept ||
				q.OrderingKey != "" && (!e.Keyed || e.OrderingKey != q.OrderingKey) {
				continue
			}
			bytes += len(e.Body)
			if n := len(page.Events); n >= q.Max || n > 0 && bytes > q.MaxBytes {
				page.More = true
				page.Next = q.After
				if n > 0 {
					page.Next = page.Events[n-1].ID
				}
				return nil
			}
			page.Events = append(page.Events, e.Event)
		}
		return nil
	})
	if err != nil {
		return hookgate.LogPage{}, err
	}
	return page, nil
}

// LogRange returns the highest id that retention has removed, and the last id of the log.
func (s *Store) LogRange(ctx context.Context) (horizon, end int64, err error) {
	err = s.do(ctx, "LogRange", "", func() error {
		horizon, end = s.horizon, s.last
		return nil
	})
	return horizon, end, err
}

// after returns the index of the first event after an id.
func (s *Store) after(id int64) int {
	return sort.Search(len(s.events), func(i int) bool { return s.events[i].ID > id })
}

// event returns the event with an id, or nil.
func (s *Store) event(id int64) *hookgate.Event {
	if i := s.after(id - 1); i < len(s.events) && s.events[i].ID == id {
		return &s.events[i].Event
	}
	return nil
}

// ReadEvents implements hookgate.Log.
func (s *Store) ReadEvents(ctx context.Context, ids []int64) (events []hookgate.Event,
	err error) {
	err = s.do(ctx, "ReadEvents", "", func() error {
		for _, id := range ids {
			if e := s.event(id); e != nil {
				events = append(events, *e)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return events, nil
}

// Grown implements hookgate.Log.
func (s *Store) Grown() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.grown
}

package simulation

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/deliver/memory"
)

// store is a hookgate.Store in memory. It stores its events in a memory.Store, which has the ports
// of delivery.
type store struct {
	*memory.Store

	mu     sync.Mutex // guards all below
	epochs map[int]hookgate.Epoch
	// first has the first request of each identity, and entries what became of each request.
	first   map[hookgate.Identity]hookgate.RequestID
	entries map[hookgate.RequestID]entry
	log     []hookgate.Record
	last    int64
}

// entry is a request in the log of the store.
type entry struct {
	hookgate.Result
	stage hookgate.Stage
}

func newStore() *store {
	return &store{Store: memory.New(), epochs: map[int]hookgate.Epoch{},
		first:   map[hookgate.Identity]hookgate.RequestID{},
		entries: map[hookgate.RequestID]entry{}}
}

// tables are the methods of hookgate.Store: its Acquire has the name of one of
// hookgate.Subscriptions.
type tables struct{ *store }

var _ hookgate.Store = tables{}

// Acquire implements hookgate.Store.
func (t tables) Acquire(_ context.Context, partition int) (hookgate.Epoch, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.epochs[partition]++
	return t.epochs[partition], nil
}

// Apply implements hookgate.Store. It rejects events whose message id contains "poison".
func (t tables) Apply(_ context.Context, b *hookgate.Batch) (o hookgate.Outcome, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for partition, epoch := range b.Epochs {
		if epoch < t.epochs[partition] {
			return o, hookgate.ErrFenced
		}
	}
	for i := range b.Records {
		result, stored := t.add(&b.Records[i])
		o.Results = append(o.Results, result)
		if stored {
			o.Stored++
		}
	}
	for i := range b.Dead {
		t.deadLetter(&b.Dead[i].Record, b.Dead[i].Reason)
	}
	return o, nil
}

// Close implements hookgate.Store.
func (t tables) Close() error { return nil }

// add stores one record.
func (s *store) add(r *hookgate.Record) (result hookgate.Result, stored bool) {
	if e, again := s.entries[r.RequestID]; again && e.stage != hookgate.StageDeadLettered {
		return e.Result, false
	}
	if strings.Contains(r.MessageID, "poison") {
		return s.deadLetter(r, "poison"), false
	}
	claim := r.Claim()
	first, known := s.first[claim]
	if !known {
		first = r.DuplicateOf
	}
	if !first.IsZero() {
		s.Skip()
		result = hookgate.Result{ID: s.next(), DuplicateOf: first}
		s.entries[r.RequestID] = entry{result, hookgate.StageDuplicate}
		kept := *r
		kept.DuplicateOf, kept.Body = first, nil
		s.log = append(s.log, kept)
		return result, false
	}
	now := time.Now()
	result.ID = s.Append(hookgate.Event{Identity: r.Identity, OrderingKey: r.OrderingKey,
		Keyed: r.Keyed, RequestID: r.RequestID, Headers: r.Headers, ReceivedAt: r.ReceivedAt,
		StoredAt: now, Body: r.Body})[0]
	s.last = result.ID
	s.first[claim] = r.RequestID
	s.entries[r.RequestID] = entry{result, hookgate.StagePersisted}
	s.log = append(s.log, *r)
	return result, true
}

// deadLetter makes a dead letter of a record.
func (s *store) deadLetter(r *hookgate.Record, reason string) hookgate.Result {
	if e, again := s.entries[r.RequestID]; again {
		return e.Result
	}
	s.Skip()
	result := hookgate.Result{ID: s.next(), Rejected: fmt.Errorf("%s is rejected: %s", r.MessageID,
		reason)}
	s.entries[r.RequestID] = entry{result, hookgate.StageDeadLettered}
	return result
}

// next returns the id that was given out last.
func (s *store) next() int64 {
	_, end, _ := s.LogRange(context.Background())
	s.last = end
	return end
}

// requestOf returns the request that brought an event; zero if it is not stored.
func (s *store) requestOf(id hookgate.Identity) hookgate.RequestID {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.first[id]
}

// entryOf returns what became of a request.
func (s *store) entryOf(id hookgate.RequestID) (entry, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.entries[id]
	return e, ok
}

package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/store/entry"
)

// Apply implements hookgate.Store.
//
// Apply first assumes that no event of the batch is stored and that no other process has added to
// the log. Then one round trip stores everything, or three if there are many events. If the
// assumption is wrong, the database ends that transaction. The next transaction locks the log,
// reads what it needs, and writes in a second round trip. If the database rejects something of the
// batch, a third transaction finds it and stores it as a dead letter.
func (s *Store) Apply(ctx context.Context, b *hookgate.Batch) (hookgate.Outcome, error) {
	items, err := entry.Items(b)
	if err != nil {
		return hookgate.Outcome{}, fmt.Errorf("store batch: %w", err)
	}
	for i := range items {
		cleanItem(&items[i])
	}
	a, err := s.apply(ctx, b, items)
	if err != nil {
		return hookgate.Outcome{}, fmt.Errorf("store batch: %w", err)
	}
	return a.outcome.Outcome, nil
}

func (s *Store) apply(ctx context.Context, b *hookgate.Batch, items []entry.Item) (a *application,
	err error) {
	leave, err := s.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	head := s.head
	s.head = nil // until the commit is known to have succeeded
	err = errMoved
	if s.lookUpFirst > 0 {
		s.lookUpFirst--
	} else if head != nil && len(items) > 0 && fresh(items) {
		a = s.newApplication(b, items)
		err = s.transact(ctx, &s.beginAppend, func(ctx context.Context,
			t *transaction) error {
			return a.optimistic(ctx, t, *head)
		})
		if missed(err) {
			s.lookUpFirst, err = lookUpFirstAfterMiss, errMoved
		}
	}
	if errors.Is(err, errMoved) {
		err = s.locked(ctx, func(ctx context.Context, t *transaction) error {
			a = s.newApplication(b, items)
			return a.lookUpAndStore(ctx, t)
		})
	}
	if errors.Is(err, hookgate.ErrRejected) {
		err = s.locked(ctx, func(ctx context.Context, t *transaction) error {
			a = s.newApplication(b, items)
			return a.isolate(ctx, t)
		})
	}
	if err == nil {
		s.keepHead(&a.log)
	}
	if err != nil || a.log.events > 0 {
		s.growth.Wake() // after an error events may be stored
	}
	s.note(err)
	return a, err
}

// fresh reports whether all items are events. For those the unique index detects what is stored.
func fresh(items []entry.Item) bool {
	return !slices.ContainsFunc(items,
		func(it entry.Item) bool { return it.Outcome != hookgate.StagePersisted })
}

// missed reports whether the optimistic transaction failed because its assumption may be wrong: a
// guard divided by zero, or a unique index found an identity or an id.
func missed(err error) bool {
	return hasState(err, divisionByZero, uniqueViolation, lockNotAvailable) || errors.Is(err, errMoved)
}

// application is one transaction of Apply.
type application struct {
	batch   *hookgate.Batch
	items   []entry.Item
	outcome entry.Outcome
	// persistedAt is the time at which Apply decides what to write.
	persistedAt time.Time

	// The results of the first round trip, by the index of the item.
	epochs  map[int]hookgate.Epoch
	holders map[int64]entry.Holder // the event that has the item's identity
	stored  map[int64]int64        // the id in webhook_requests of the item's request

	// These are the additions of this transaction.
	log   logPart
	first map[hookgate.Identity]entry.Holder
	added map[hookgate.RequestID]int64 // the ids in webhook_requests
	// firstID is the id of the first entry; 0 if there is none.
	firstID int64

	// The rows that the next round trip writes.
	events, requests, letters, wholes rows
	whole                             *hookgate.Whole // added last
	// notify wakes other processes.
	notify statement
}

// newApplication returns an application with a copy of the items.
func (s *Store) newApplication(b *hookgate.Batch, items []entry.Item) *application {
	a := &application{
		batch: b, items: slices.Clone(items), outcome: entry.NewOutcome(b), persistedAt: time.Now(),
		epochs: map[int]hookgate.Epoch{}, holders: map[int64]entry.Holder{}, stored: map[int64]int64{},
		log: s.newLogPart(), first: make(map[hookgate.Identity]entry.Holder, len(items)),
		added: map[hookgate.RequestID]int64{}, notify: s.notify(),
	}
	a.clear(0, len(items))
	return a
}

// optimistic stores the batch after the given head in one round trip. It locks the head before it
// writes, so that two processes that both try this do not wait for each other's rows.
func (a *application) optimistic(ctx context.Context, t *transaction, head logHead) error {
	a.log.logHead, a.log.before, a.log.read, a.log.begun = head, head, true, true
	if err := a.decide(0, len(a.items)); err != nil {
		return err
	}
	if a.requests.len() > 0 {
		return errMoved // the batch contains an event twice
	}
	var statements []statement
	if partitions := a.partitions(); len(partitions) > 0 {
		r := newRows(2)
		for _, p := range partitions {
			r.Int(int64(p))
			r.Int(int64(a.batch.Epochs[p]))
		}
		statements = append(statements, statement{sql: guardEpochs, args: append(r.args(),
			argInt(int64(len(partitions))))})
	}
	statements = append(statements, a.log.moveFrom())
	if unproven := a.unproven(); unproven.len() > 0 {
		statements = append(statements, statement{sql: guardTypes, args: unproven.args()})
	}
	return t.commit(ctx, append(statements, a.inserts()...)...)
}

// lookUpAndStore locks the log, looks up which records are stored, and stores the rest.
func (a *application) lookUpAndStore(ctx context.Context, t *transaction) error {
	if err := a.lookUp(ctx, t); err != nil {
		return err
	}
	if err := a.decide(0, len(a.items)); err != nil {
		return err
	}
	writes := a.inserts()
	if a.log.moved() {
		writes = append(writes, a.log.statements()...)
	}
	// If there is nothing to write, it still commits: after the commit of the transaction that
	// stored the records.
	return t.commit(ctx, writes...)
}

// decide adds the rows of the items from one index to another.
func (a *application) decide(from, to int) error {
	for n := from; n < to; n++ {
		if err := a.add(n); err != nil {
			return err
		}
	}
	return nil
}

// add adds the rows of an item, unless it is already stored.
func (a *application) add(n int) error {
	it := &a.items[n]
	if it.Outcome != hookgate.StagePersisted {
		a.addRequest(n)
		return nil
	}
	h, taken := a.holders[int64(n)]
	if !taken {
		h, taken = a.first[batchIdentity(it)]
	}
	if !taken {
		a.addEvent(it)
		return nil
	}
	duplicate, err := a.outcome.Repeated(it, h)
	if duplicate {
		a.addRequest(n)
	}
	return err
}

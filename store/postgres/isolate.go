package postgres

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/store/entry"
)

// isolate stores a batch of which the database rejects something. It halves the batch, using
// savepoints, until the rejected item is alone. That item becomes a dead letter.
func (a *application) isolate(ctx context.Context, t *transaction) error {
	if err := a.lookUp(ctx, t); err != nil {
		return err
	}
	if err := a.storeHalves(ctx, t, 0, len(a.items)); err != nil {
		return err
	}
	if !a.log.moved() {
		return t.commit(ctx)
	}
	return t.commit(ctx, a.log.statements()...)
}

// storeHalves stores the two halves of a range of items, which the database has rejected together.
func (a *application) storeHalves(ctx context.Context, t *transaction, from, to int) error {
	middle := (from + to + 1) / 2
	for _, half := range [][2]int{{from, middle}, {middle, to}} {
		if half[0] == half[1] {
			continue
		}
		err := a.storePart(ctx, t, half[0], half[1])
		if errors.Is(err, hookgate.ErrRejected) {
			if half[1]-half[0] == 1 {
				if err = a.reject(ctx, t, half[0], err); errors.Is(err, hookgate.ErrRejected) {
					err = &hookgate.RejectedError{Index: half[0], Err: err}
				}
			} else {
				err = a.storeHalves(ctx, t, half[0], half[1])
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// storePart writes the rows of a range of items, or none of them if the database rejects any.
func (a *application) storePart(ctx context.Context, t *transaction, from, to int) error {
	undo := a.savepoint(from, to)
	a.clear(from, to)
	if err := a.decide(from, to); err != nil {
		undo()
		return err
	}
	statements := append([]statement{{sql: "SAVEPOINT part"}}, a.inserts()...)
	err := t.run(ctx, append(statements, statement{sql: "RELEASE part"})...)
	if !errors.Is(err, hookgate.ErrRejected) {
		return err
	}
	undo()
	if undoErr := t.run(ctx, statement{sql: "ROLLBACK TO part"},
		statement{sql: "RELEASE part"}); undoErr != nil {
		return undoErr
	}
	return err
}

// savepoint returns a function that undoes all later decisions on a range of items.
func (a *application) savepoint(from, to int) (undo func()) {
	log, firstID, stored, whole := a.log, a.firstID, a.outcome.Stored, a.whole
	anchored := log.anchors.len() > 0
	items := slices.Clone(a.items[from:to])
	return func() {
		a.log, a.firstID, a.outcome.Stored, a.whole = log, firstID, stored, whole
		if !anchored {
			a.log.anchors = newRows(anchorWidth)
		}
		copy(a.items[from:to], items)
		maps.DeleteFunc(a.first, func(_ hookgate.Identity, h entry.Holder) bool { return h.ID > log.lastID })
		maps.DeleteFunc(a.added, func(_ hookgate.RequestID, id int64) bool { return id > log.lastID })
	}
}

// openLetter finds the open dead letter of an identity. Without an event type it finds one of any
// type.
const openLetter = `SELECT r.request_id FROM webhook_requests r
	CROSS JOIN LATERAL (SELECT FROM webhook_dead_letters d WHERE d.id = r.id LIMIT 1) d
	WHERE r.message_id = $1 AND r.source = $2 AND ($3 = '' OR r.event_type = $3)
		AND r.outcome = 'dead_lettered'
		AND (NOT $4 OR r.sha256 = $5)
		AND NOT EXISTS (SELECT FROM webhook_requests l
			WHERE l.replay_of = r.request_id AND l.replay_of <> '' AND l.outcome = 'dead_lettered')
	ORDER BY r.id LIMIT 1`

// reject stores a rejected event as a dead letter. If an open dead letter already has the same
// identity and the event is not a retry, reject stores the event as a duplicate instead. It returns
// ErrRejected if the database rejects that too.
func (a *application) reject(ctx context.Context, t *transaction, n int, rejected error) error {
	it := &a.items[n]
	if it.Outcome == hookgate.StageDeadLettered {
		return rejected
	}
	*a.outcome.Of(it) = hookgate.Result{}
	body, sent := it.BodySHA256, it.Identity
	cleanIdentity(it)
	if it.Outcome == hookgate.StagePersisted {
		first, err := a.openLetter(ctx, t, it, body, it.Identity != sent)
		if err != nil {
			return err
		}
		if !first.IsZero() && first != it.RequestID {
			it.MakeDuplicate(first)
		} else {
			it.MakeDead(clean(strings.TrimPrefix(rejected.Error(), hookgate.ErrRejected.Error()+": ")))
			a.outcome.Of(it).Rejected = rejected
		}
	}
	a.clear(n, n+1)
	a.addRequest(n)
	return t.run(ctx, a.inserts()...)
}

// openLetter returns the request of the open dead letter with the identity of an item, or the zero
// id. changed reports that characters of the identity were replaced. Several events can then have
// the same identity, so openLetter compares the body too.
func (a *application) openLetter(ctx context.Context, t *transaction, it *entry.Item, body [32]byte,
	changed bool) (first hookgate.RequestID, err error) {
	if it.IsRetry() {
		return first, nil
	}
	err = t.run(ctx, statement{
		sql: openLetter,
		args: []arg{argText(it.MessageID), argText(it.Source), argText(it.Claim().EventType),
			argBool(changed), argBytes(body[:])},
		row: func(r row) error {
			first, err = hookgate.ParseRequestID(r.Text(0))
			return err
		},
	})
	return first, err
}

package sqlstore

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/store/entry"
)

var _ hookgate.Leases = (*Subscriptions)(nil)

const (
	// endedFor is how long a lease without an open event is kept after its end.
	endedFor = 10 * time.Minute
	// endedMax bounds the ended leases that a Commit removes, unless it ends more than half as many.
	// With a larger number PostgreSQL would read the whole table.
	endedMax = 16
	// isOpen is the condition for leases with open events. SQLite has no statistics; the second part,
	// which always holds, leads it to the index of open leases.
	isOpen = "open_events > 0 AND first_event >= 0"
)

// PullState implements hookgate.Leases.
func (s *Subscriptions) PullState(ctx context.Context, name string) (*hookgate.PullState, error) {
	name = s.Clean(name)
	state := &hookgate.PullState{}
	answer := hookgate.ErrNotFound
	err := s.db.Queries(ctx, append([]Statement{{
		SQL: `SELECT name, definition, filter, delivery_order, epoch, pulled_at, ` + s.Now + `, owner,
			lease_until > ` + s.Now + ` FROM webhook_subscriptions WHERE ` + named,
		Args: []any{name},
		Row: func(r Row) error {
			d := &state.Definition
			d.Name, d.Definition, d.Order = r.Text(0), r.Text(1), hookgate.Order(r.Text(3))
			state.Epoch = hookgate.Epoch(r.Int(4))
			state.PulledAt, state.Now = hookgate.FromMicros(r.Int(5)), micros(r.Int(6))
			if answer = nil; s.runningOwner(name, r.Text(7), r.Bool(8)) != "" {
				answer = hookgate.ErrLeased
			}
			return json.Unmarshal([]byte(r.Text(2)), &d.Filter)
		},
	}}, s.stateOf(subscriptionID, name, &state.SubscriptionState)...)...)
	if err == nil {
		err = answer
	}
	if err != nil {
		return nil, fmt.Errorf("read the state of subscription %s: %w", name, err)
	}
	return state, nil
}

// Commit implements hookgate.Leases. It is the transaction of Save with another first statement.
func (s *Subscriptions) Commit(ctx context.Context, name string, epoch hookgate.Epoch,
	version int64, r *hookgate.Results) (next hookgate.Epoch, at time.Time, err error) {
	name = s.Clean(name)
	sql, args := s.setRow(name, epoch, r)
	args = append(args, version)
	sql += `, epoch = ` + nextEpoch + `, owner = '', lease_until = 0, pulled_at = ` + s.Now +
		` WHERE ` + named + fmt.Sprintf(" AND epoch = ?2 AND version = ?%d AND ", len(args))
	if s.Leases {
		sql += "(owner = '' OR lease_until <= " + s.Now + ")"
	} else {
		args = append(args, s.ownerOf(name))
		sql += fmt.Sprintf("(owner = '' OR owner <> ?%d)", len(args))
	}
	statements := append([]Statement{{SQL: sql + " RETURNING epoch", Args: args,
		Guard: hookgate.ErrFenced,
		Row:   func(r Row) error { next = hookgate.Epoch(r.Int(0)); return nil }}},
		s.save(name, r)...)
	statements = append(statements,
		Statement{
			SQL: `DELETE FROM webhook_leases WHERE (subscription, id) IN (
				SELECT subscription, id FROM webhook_leases WHERE subscription = ` + subscriptionID + `
				AND open_events = 0 AND until_at < (SELECT ` + s.Now + ` - ?2) ORDER BY until_at LIMIT ?3)`,
			Args: []any{name, endedFor.Microseconds(), max(endedMax, 2*len(r.Leases))},
		},
		Statement{
			SQL: "SELECT pulled_at FROM webhook_subscriptions WHERE " + named, Args: []any{name},
			Row: func(r Row) error { at = micros(r.Int(0)); return nil },
		})
	if err := s.db.Save(ctx, sizeOf(r), statements); err != nil {
		return 0, time.Time{}, fmt.Errorf("commit results of subscription %s: %w", name, err)
	}
	return next, at, nil
}

// EndedLease implements hookgate.Leases.
func (s *Subscriptions) EndedLease(ctx context.Context, name, id string) (*hookgate.Lease, error) {
	var lease *hookgate.Lease
	err := s.db.Query(ctx, Statement{
		SQL: "SELECT " + leaseColumns + " FROM webhook_leases WHERE subscription = " + subscriptionID +
			" AND id = ?2 AND open_events = 0 AND until_at >= " + s.Now + " - ?3",
		Args: []any{s.Clean(name), s.Clean(id), endedFor.Microseconds()},
		Row: func(r Row) (err error) {
			lease, err = scanLease(r)
			return err
		},
	})
	if err == nil && lease == nil {
		err = hookgate.ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("read an ended lease of subscription %s: %w", name, err)
	}
	return lease, nil
}

// leaseColumns are the columns of webhook_leases in the order in which scanLease reads them.
const leaseColumns = "id, began, until_at, events"

func scanLease(r Row) (l *hookgate.Lease, err error) {
	l = &hookgate.Lease{ID: r.Text(0), Began: micros(r.Int(1)), Until: micros(r.Int(2))}
	if r.Len(3) > 0 {
		l.Events, err = parseLeased(r.Bytes(3))
	}
	if err != nil {
		err = fmt.Errorf("lease %s: %w", l.ID, err)
	}
	return l, err
}

// openLeases returns the statement that reads the leases with open events. id is the SQL of the id
// of the subscription, with the parameter arg.
func openLeases(id string, arg any, to *[]hookgate.Lease) Statement {
	return Statement{
		SQL: "SELECT " + leaseColumns + " FROM webhook_leases WHERE subscription = " + id +
			" AND " + isOpen + " ORDER BY began, id",
		Args: []any{arg},
		Row: func(r Row) error {
			lease, err := scanLease(r)
			*to = append(*to, *lease)
			return err
		},
	}
}

// saveLeases returns the statement that stores new and changed leases.
func (s *Subscriptions) saveLeases(name string, r *hookgate.Results) Statement {
	var events []byte // of one lease; the cells copy it
	return Statement{
		SQL: `INSERT INTO webhook_leases (subscription, id, began, until_at, open_events, first_event,
				events)
			SELECT ` + subscriptionID + `, id, began, until_at, open_events, first_event, events FROM r
			WHERE true
			ON CONFLICT (subscription, id) DO UPDATE SET began = excluded.began,
				until_at = excluded.until_at, open_events = excluded.open_events,
				first_event = excluded.first_event, events = excluded.events`,
		Args: []any{name},
		Rows: &Rows{
			Columns: []string{"id", "began", "until_at", "open_events", "first_event", "events"},
			Len:     len(r.Leases),
			Write: func(i int, c entry.Cells) {
				l := &r.Leases[i]
				open, first, acked := examine(l)
				events = events[:0]
				if !acked {
					events = appendLeased(events, l.Events)
				}
				c.Text(s.Clean(l.ID))
				c.Int(hookgate.Micros(l.Began))
				c.Int(hookgate.Micros(l.Until))
				c.Int(open)
				c.Int(first)
				c.Bytes(events)
			},
		},
	}
}

// examine returns the number of open events of a lease, the lowest of them that no exception keeps
// or 0, and whether all events were acknowledged.
func examine(l *hookgate.Lease) (open, first int64, acked bool) {
	acked = true
	for i := range l.Events {
		e := &l.Events[i]
		acked = acked && e.State == hookgate.LeasedAcked
		if e.State != hookgate.LeasedOpen {
			continue
		}
		open++
		if !e.Excepted && (first == 0 || e.Event < first) {
			first = e.Event
		}
	}
	return open, first, acked
}

// removeLeases returns the statement that removes leases that have run out.
func (s *Subscriptions) removeLeases(name string, r *hookgate.Results) Statement {
	return Statement{
		SQL: "DELETE FROM webhook_leases WHERE subscription = " + subscriptionID +
			" AND id IN (SELECT id FROM r)",
		Args: []any{name},
		Rows: &Rows{Columns: []string{"id"}, Len: len(r.Expired),
			Write: func(i int, c entry.Cells) { c.Text(s.Clean(r.Expired[i])) }},
	}
}

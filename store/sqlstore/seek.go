package sqlstore

import (
	"context"
	"fmt"
	"time"

	"github.com/hookgate/hookgate"
)

// Seek implements hookgate.SubscriptionControl.
func (s *Subscriptions) Seek(ctx context.Context, name string, to hookgate.Start, dryRun bool,
	p hookgate.Person) (hookgate.SeekResult, error) {
	k := seek{Subscriptions: s, start: to, person: p, dryRun: dryRun}
	err := k.findTime(ctx)
	if err == nil {
		err = k.run(ctx, name)
	}
	if err != nil {
		return hookgate.SeekResult{}, fmt.Errorf("seek subscription %s: %w", name, err)
	}
	return k.SeekResult, nil
}

// seek is one call of Seek.
type seek struct {
	*Subscriptions
	hookgate.SeekResult
	start  hookgate.Start
	person hookgate.Person
	dryRun bool

	// before is the last event stored before start.Time, or 0. late reports that no event was stored
	// at or after that time.
	before int64
	late   bool
	// horizon is the highest id that retention has removed.
	horizon int64
	// leases is the number of leases with open events.
	leases int64
}

// run moves the cursor in one transaction. It needs the cursor before it can count what is between,
// so it counts in the statements that also change.
func (k *seek) run(ctx context.Context, name string) error {
	return k.control(ctx, name, []Statement{{
		// The lock keeps retention from removing what is behind the new cursor.
		SQL: "SELECT last_event FROM webhook_removals" + k.ForUpdate,
		Row: func(r Row) error { k.horizon = r.Int(0); return nil },
	}, {
		SQL:  "SELECT count(*) FROM webhook_leases WHERE " + isOpen + " AND subscription = " + subscriptionID,
		Args: []any{k.Clean(name)},
		Row:  func(r Row) error { k.leases = r.Int(0); return nil },
	}}, func(c *controlled) ([]Statement, error) {
		c.dryRun = k.dryRun
		if err := k.place(c); err != nil {
			return nil, err
		}
		if k.leases > 0 && !k.dryRun {
			return nil, hookgate.ErrLeasesOut
		}
		statements := []Statement{{
			SQL: `SELECT count(*) FROM (SELECT 1 FROM webhook_events WHERE id > ? AND id <= ? ORDER BY id
				LIMIT ?) e`,
			Args: []any{max(min(k.From, k.To), k.horizon), max(k.From, k.To), hookgate.MaxBacklog},
			Row:  func(r Row) error { k.Events = int(r.Int(0)); return nil },
		}}
		if k.To < k.From {
			return append(statements, k.back(c)...), nil
		}
		return append(statements, k.forward(c)...), nil
	})
}

// place sets From and To.
func (k *seek) place(c *controlled) error {
	k.From = c.cursor
	switch k.start.At {
	case hookgate.StartBeginning:
		k.To = k.horizon
	case hookgate.StartAfter:
		if k.start.After < k.horizon {
			return &hookgate.HorizonError{Horizon: k.horizon}
		}
		if k.start.After > c.end {
			return &hookgate.AheadError{End: c.end}
		}
		k.To = k.start.After
	case hookgate.StartTime:
		if k.To = max(k.before, k.horizon); k.late {
			k.To = c.end
		}
	default:
		k.To = c.end
	}
	return nil
}

// back returns the statements of a seek to an earlier event. Events up to the end of the log get a
// new redelivery number.
func (k *seek) back(c *controlled) []Statement {
	k.Redelivery = c.redeliveries + 1
	changes := []Statement{{
		SQL:  "SELECT count(*) FROM webhook_exceptions WHERE subscription = ? AND event > ?",
		Args: []any{c.id, k.To},
		Row:  func(r Row) error { k.Deleted = int(r.Int(0)); return nil },
	}}
	if k.dryRun {
		return changes
	}
	return append(changes,
		Statement{SQL: "DELETE FROM webhook_exceptions WHERE subscription = ? AND event > ?",
			Args: []any{c.id, k.To}},
		Statement{SQL: "DELETE FROM webhook_holds WHERE subscription = ? AND after_id >= ?",
			Args: []any{c.id, k.To}},
		Statement{
			SQL: `UPDATE webhook_subscriptions SET cursor = ?, epoch = ` + nextEpoch + `, redelivery = ?,
				redeliver_until = ?, redeliveries = ? WHERE id = ?`,
			Args: []any{k.To, k.Redelivery, c.end, k.Redelivery, c.id},
		})
}

// forward returns the statements of a seek to a later event.
func (k *seek) forward(c *controlled) []Statement {
	const passed = " AND event <= ? AND state <> 'dead'"
	changes := []Statement{{
		SQL:  "SELECT count(*) FROM webhook_exceptions WHERE subscription = ?" + passed,
		Args: []any{c.id, k.To},
		Row:  func(r Row) error { k.Skipped = int(r.Int(0)); return nil },
	}}
	if k.dryRun {
		return changes
	}
	return append(changes,
		k.settle(c, hookgate.AttemptSkipped, k.person, passed, k.To),
		Statement{SQL: "DELETE FROM webhook_exceptions WHERE subscription = ?" + passed,
			Args: []any{c.id, k.To}},
		// A later event of the key may still be waiting or parked. Then the key stays held.
		Statement{SQL: `DELETE FROM webhook_holds WHERE subscription = ? AND after_id < ?
			AND NOT excepted`, Args: []any{c.id, k.To}},
		Statement{SQL: "UPDATE webhook_subscriptions SET cursor = ?, epoch = " + nextEpoch +
			" WHERE id = ?", Args: []any{k.To, c.id}})
}

// findTime finds the place of a time before the transaction begins. Only retention changes it
// meanwhile.
func (k *seek) findTime(ctx context.Context) (err error) {
	if k.start.At != hookgate.StartTime {
		return nil
	}
	k.before, k.late, err = k.storedBefore(ctx, k.start.Time)
	return err
}

// storedBefore returns the last event stored before a time, or 0. late reports that no event was
// stored at or after that time. Times of storing rise with ids, so it bisects them.
func (s *Subscriptions) storedBefore(ctx context.Context, at time.Time) (before int64, late bool,
	err error) {
	var low, high int64 // before is at least low, and less than high
	if err := s.db.Query(ctx, Statement{SQL: "SELECT last_id + 1 FROM webhook_log",
		Row: func(r Row) error { high = r.Int(0); return nil }}); err != nil {
		return 0, false, err
	}
	late = true
	for low+1 < high {
		middle := low + (high-low)/2
		id, storedAt := int64(0), int64(0)
		if err := s.db.Query(ctx, Statement{
			SQL: `SELECT id, persisted_at FROM webhook_events WHERE id >= ? AND id < ? ORDER BY id
				LIMIT 1`,
			Args: []any{middle, high},
			Row:  func(r Row) error { id, storedAt = r.Int(0), r.Int(1); return nil },
		}); err != nil {
			return 0, false, err
		}
		switch {
		case id == 0:
			high = middle
		case storedAt < at.UnixMicro():
			low, before = id, id
		default:
			high, late = middle, false
		}
	}
	return before, late, nil
}

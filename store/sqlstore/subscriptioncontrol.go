package sqlstore

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/store/entry"
)

const (
	// listMax bounds the values in one list of a statement.
	listMax = 500
	// resolveMax bounds the exceptions that one transaction of Resolve changes.
	resolveMax = 10_000
)

// controlled is the row of a subscription that a person is about to change. The transaction holds
// its lock.
type controlled struct {
	id, cursor, clock, redeliveries, pausedAt, removedAt int64
	// end is the last id of the log.
	end int64
	// now is the time of the change.
	now int64
	// dryRun is set by a function whose statements only read.
	dryRun bool
}

// control changes a subscription in one durable transaction. It locks the row, runs the statements
// of reads, and then those that next returns. If next returns statements, the version of the row
// grows, which notifies all processes. If it returns an error, nothing has changed.
//
// Save locks the row too, so results and changes by people take effect one after the other.
func (s *Subscriptions) control(ctx context.Context, name string, reads []Statement,
	next func(*controlled) ([]Statement, error)) error {
	c := controlled{now: time.Now().UnixMicro()}
	first := []Statement{
		{
			SQL: `SELECT id, cursor, clock, redeliveries, paused_at, removed_at FROM webhook_subscriptions
				WHERE name = ? AND forgotten_at = 0` + s.ForUpdate,
			Args: []any{s.Clean(name)},
			Row: func(r Row) error {
				c.id, c.cursor, c.clock, c.redeliveries = r.Int(0), r.Int(1), r.Int(2), r.Int(3)
				c.pausedAt, c.removedAt = r.Int(4), r.Int(5)
				return nil
			},
		},
		{
			SQL: "SELECT last_id FROM webhook_log",
			Row: func(r Row) error { c.end = r.Int(0); return nil },
		},
	}
	return s.db.Change(ctx, append(first, reads...), func() ([]Statement, error) {
		if c.id == 0 {
			return nil, hookgate.ErrNotFound
		}
		changes, err := next(&c)
		if err != nil || len(changes) == 0 || c.dryRun {
			return changes, err
		}
		changes = append(changes, Statement{
			SQL: "UPDATE webhook_subscriptions SET version = version + 1 WHERE id = ?", Args: []any{c.id},
		})
		return changes, nil
	})
}

// SetPaused implements hookgate.SubscriptionControl.
func (s *Subscriptions) SetPaused(ctx context.Context, name string, paused bool,
	p hookgate.Person) (changed bool, err error) {
	err = s.control(ctx, name, nil, func(c *controlled) ([]Statement, error) {
		if changed = paused == (c.pausedAt == 0); !changed {
			return nil, nil
		}
		at, by, reason := int64(0), "", ""
		if paused {
			at, by, reason = c.now, s.Clean(p.By), s.Clean(p.Reason)
		}
		return []Statement{{
			SQL: `UPDATE webhook_subscriptions SET paused_at = ?, paused_by = ?, pause_reason = ?
				WHERE id = ?`,
			Args: []any{at, by, reason, c.id},
		}}, nil
	})
	if err != nil {
		return false, fmt.Errorf("pause or resume subscription %s: %w", name, err)
	}
	return changed, nil
}

// Forget implements hookgate.SubscriptionControl. The row stays: it names the subscription of the
// attempts, and its number is not given out again.
func (s *Subscriptions) Forget(ctx context.Context, name string, _ hookgate.Person) error {
	err := s.control(ctx, name, nil, func(c *controlled) ([]Statement, error) {
		if c.pausedAt == 0 && c.removedAt == 0 {
			return nil, hookgate.ErrInUse
		}
		return forget(c.id, c.now), nil
	})
	if err != nil {
		return fmt.Errorf("forget subscription %s: %w", name, err)
	}
	s.setOwner(name, "")
	return nil
}

// forget returns the statements that forget a subscription.
func forget(id, now int64) []Statement {
	return []Statement{
		{SQL: "DELETE FROM webhook_exceptions WHERE subscription = ?", Args: []any{id}},
		{SQL: "DELETE FROM webhook_holds WHERE subscription = ?", Args: []any{id}},
		{SQL: "DELETE FROM webhook_redelivery_jobs WHERE subscription = ?", Args: []any{id}},
		{SQL: "DELETE FROM webhook_leases WHERE subscription = ?", Args: []any{id}},
		// The epoch fences an owner that has not noticed.
		{SQL: "UPDATE webhook_subscriptions SET forgotten_at = ?, epoch = " + nextEpoch + `, owner = '',
			lease_until = 0 WHERE id = ?`, Args: []any{now, id}},
	}
}

// Resolve implements hookgate.SubscriptionControl. A call that matches more than resolveMax
// exceptions takes several transactions.
func (s *Subscriptions) Resolve(ctx context.Context, f hookgate.ExceptionFilter,
	a hookgate.Resolution, dryRun bool, p hookgate.Person) (changed int, err error) {
	for limit := f.Limit; ; {
		f.Limit = resolveMax
		if limit > 0 {
			f.Limit = min(limit-changed, resolveMax)
		}
		found, err := s.resolvePage(ctx, &f, a, dryRun, p)
		if err != nil {
			return 0, fmt.Errorf("%s exceptions of subscription %s: %w", a, f.Subscription, err)
		}
		changed += len(found)
		if len(found) < resolveMax || changed == limit {
			return changed, nil
		}
		f.After = found[len(found)-1]
	}
}

// resolvePage changes the first exceptions that match, in one transaction, and returns them.
func (s *Subscriptions) resolvePage(ctx context.Context, f *hookgate.ExceptionFilter,
	a hookgate.Resolution, dryRun bool, p hookgate.Person) (found []hookgate.EventRedelivery,
	err error) {
	conditions := s.exceptionConditions(f)
	conditions.add(`x.subscription = (SELECT id FROM webhook_subscriptions
		WHERE name = ? AND forgotten_at = 0)`, s.Clean(f.Subscription))
	if a == hookgate.ResolveDeadLetter {
		conditions.add("x.state <> 'dead'")
	}
	holding := map[string]int64{} // the last event that holds a key
	err = s.control(ctx, f.Subscription, []Statement{{
		SQL: `SELECT x.event, x.redelivery, CASE x.state WHEN 'dead' THEN '' ELSE x.ordering_key END
			FROM webhook_exceptions x WHERE ` + conditions.and() +
			" ORDER BY x.event, x.redelivery LIMIT ?",
		Args: append(conditions.args, f.Limit),
		Row: func(r Row) error {
			found = append(found, hookgate.EventRedelivery{Event: r.Int(0), Redelivery: r.Int(1)})
			if key := r.Text(2); key != "" {
				holding[key] = r.Int(0)
			}
			return nil
		},
	}}, func(c *controlled) (changes []Statement, err error) {
		if dryRun {
			return nil, nil
		}
		for part := range slices.Chunk(found, listMax) {
			changes = append(changes, s.resolve(c, part, a, p)...)
		}
		if len(holding) > 0 && a != hookgate.ResolveRetry {
			changes = append(changes, s.raise(c, holding))
		}
		return changes, nil
	})
	return found, err
}

// resolve returns the statements that retry, skip or dead-letter exceptions.
func (s *Subscriptions) resolve(c *controlled, exceptions []hookgate.EventRedelivery,
	a hookgate.Resolution, p hookgate.Person) []Statement {
	these, ids := " AND "+inPairs(len(exceptions)), []any{c.id}
	for _, x := range exceptions {
		ids = append(ids, x.Event, x.Redelivery)
	}
	if a == hookgate.ResolveRetry {
		// Later events of a dead exception's key have passed it, so it holds nobody.
		return []Statement{{
			SQL: `UPDATE webhook_exceptions SET state = 'waiting', due = ?, since = ?, wait = 0,
				changed = ?, ordering_key = CASE state WHEN 'dead' THEN '' ELSE ordering_key END
				WHERE subscription = ?` + these,
			Args: append([]any{c.now, c.clock, c.now}, ids...),
		}}
	}
	outcome := hookgate.AttemptSkipped
	remove := Statement{SQL: "DELETE FROM webhook_exceptions WHERE subscription = ?" + these,
		Args: ids}
	if a == hookgate.ResolveDeadLetter {
		outcome = hookgate.AttemptDeadLettered
		remove = Statement{
			SQL: `UPDATE webhook_exceptions SET state = 'dead', attempts = attempts + 1, due = 0,
				wait = 0, changed = ? WHERE subscription = ?` + these,
			Args: append([]any{c.now}, ids...),
		}
	}
	return []Statement{
		s.settle(c, outcome, p, these, ids[1:]...),
		remove,
	}
}

// raise returns the statement that raises the holds of keys to events, which a person has settled.
// The engine then goes on with the key.
func (s *Subscriptions) raise(c *controlled, settled map[string]int64) Statement {
	keys := slices.Sorted(maps.Keys(settled))
	return Statement{
		SQL: `UPDATE webhook_holds AS h SET after_id = r.event FROM r
			WHERE h.subscription = ?1 AND h.ordering_key = r.ordering_key AND h.after_id < r.event`,
		Args: []any{c.id},
		Rows: &Rows{Columns: []string{"ordering_key", "event"}, Len: len(keys),
			Write: func(i int, to entry.Cells) { to.Text(keys[i]); to.Int(settled[keys[i]]) }},
	}
}

// inPairs returns the condition that names n exceptions by event and redelivery.
func inPairs(n int) string {
	return "(event, redelivery) IN (VALUES " + strings.Repeat(", (?, ?)", n)[2:] + ")"
}

// settle returns the statement that records in the history that a person settled exceptions of a
// subscription. The condition begins with AND.
func (s *Subscriptions) settle(c *controlled, outcome hookgate.AttemptOutcome, p hookgate.Person,
	condition string, args ...any) Statement {
	return Statement{
		SQL: `INSERT INTO webhook_deliveries (subscription, event, redelivery, number, outcome,
				status, at, took, reason, by_whom)
			SELECT subscription, event, redelivery, attempts + 1, ?, 0, ?, 0, ?, ?
			FROM webhook_exceptions WHERE subscription = ?` + condition + `
			ON CONFLICT (subscription, event, redelivery, number) DO NOTHING`,
		Args: append([]any{string(outcome), c.now, s.Clean(p.Reason), s.Clean(p.By), c.id}, args...),
	}
}

package sqlstore

import (
	"context"
	"fmt"
	"strings"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/store/entry"
)

// Save implements hookgate.Subscriptions. It is one transaction, in PostgreSQL in one round trip:
//
//	webhook_subscriptions   checks the epoch and locks the row until the commit; moves the cursor
//	webhook_exceptions      new and updated ones; before the attempts, see below
//	webhook_deliveries      the attempts
//	webhook_exceptions      those of the settled events go
//	webhook_holds           new ones, and those whose keys are free go
//	webhook_redelivery_jobs progress
//	webhook_leases          new and changed ones, and those that have run out go
//
// It neither reads nor changes the log. The attempts also recognise results that are saved again:
// an exception does not change if the history already has its attempt. Subqueries with LIMIT make
// PostgreSQL look up each row by its index, also while it has no statistics.
func (s *Subscriptions) Save(ctx context.Context, name string, epoch hookgate.Epoch,
	r *hookgate.Results) (version int64, err error) {
	name = s.Clean(name)
	sql, args := s.setRow(name, epoch, r)
	statements := append([]Statement{{
		SQL:   sql + " WHERE " + named + " AND epoch = ?2 RETURNING version",
		Args:  args,
		Guard: hookgate.ErrFenced,
		Row:   func(r Row) error { version = r.Int(0); return nil },
	}}, s.save(name, r)...)
	if err := s.db.Save(ctx, sizeOf(r), statements); err != nil {
		return 0, fmt.Errorf("save results of subscription %s: %w", name, err)
	}
	return version, nil
}

// sizeOf returns about the number of rows that results write.
func sizeOf(r *hookgate.Results) int {
	return 1 + len(r.Attempts) + len(r.Created) + len(r.Updated) + len(r.Holds) + len(r.Freed) +
		len(r.Leases) + len(r.Expired)
}

// save returns the statements that store results, but for the row of the subscription.
func (s *Subscriptions) save(name string, r *hookgate.Results) (statements []Statement) {
	if len(r.Created) > 0 {
		statements = append(statements, s.create(name, r))
	}
	if len(r.Updated) > 0 {
		statements = append(statements, s.update(name, r))
	}
	if len(r.Attempts) > 0 {
		statements = append(statements, s.addAttempts(name, r))
		if gone := settledEvents(r); len(gone) > 0 {
			statements = append(statements, s.removeExceptions(name, gone))
		}
	}
	if len(r.Holds) > 0 {
		statements = append(statements, s.hold(name, r))
	}
	if len(r.Freed) > 0 {
		statements = append(statements, s.free(name, r))
	}
	if len(r.Jobs) > 0 {
		statements = append(statements, s.progress(name, r))
	}
	if len(r.Leases) > 0 {
		statements = append(statements, s.saveLeases(name, r))
	}
	if len(r.Expired) > 0 {
		statements = append(statements, s.removeLeases(name, r))
	}
	return statements
}

// setRow returns the UPDATE of the subscription's row, up to its WHERE. ?1 is the name, and ?2 the
// epoch. Its numbers only grow, so it may run again.
func (s *Subscriptions) setRow(name string, epoch hookgate.Epoch, r *hookgate.Results) (sql string,
	args []any) {
	delivered := int64(0)
	for i := range r.Attempts {
		if a := &r.Attempts[i]; a.Outcome == hookgate.AttemptDelivered {
			delivered = max(delivered, hookgate.Micros(a.At))
		}
	}
	sql = `UPDATE webhook_subscriptions SET cursor = CASE WHEN cursor < ?3 THEN ?3 ELSE cursor END,
		clock = CASE WHEN clock < ?4 THEN ?4 ELSE clock END,
		delivered_at = CASE WHEN delivered_at < ?5 THEN ?5 ELSE delivered_at END`
	args = []any{name, int64(epoch), r.Cursor, r.Clock.Microseconds(), delivered}
	if r.BrokenSince != nil {
		args = append(args, hookgate.Micros(*r.BrokenSince))
		sql += fmt.Sprintf(", broken_since = ?%d", len(args))
	}
	if r.Pause != "" {
		args = append(args, s.Clean(r.Pause))
		sql += fmt.Sprintf(`, paused_by = CASE WHEN paused_at = 0 THEN '' ELSE paused_by END,
			pause_reason = CASE WHEN paused_at = 0 THEN ?%d ELSE pause_reason END,
			paused_at = CASE WHEN paused_at = 0 THEN `+s.Now+` ELSE paused_at END`, len(args))
	}
	return sql, args
}

// fence keeps PostgreSQL from moving conditions out of a subquery. Without statistics it takes the
// exceptions of a subscription for few, and would read all of them.
const fence = "LIMIT 1000000000"

// writeException writes the cells of exceptionNames.
func (s *Subscriptions) writeException(e *hookgate.Exception, c entry.Cells) {
	c.Int(e.Event)
	c.Int(e.Redelivery)
	c.Text(s.Clean(e.OrderingKey))
	c.Text(string(e.State))
	c.Int(int64(e.Attempts))
	c.Int(hookgate.Micros(e.Due))
	c.Int(e.Since.Microseconds())
	c.Int(e.Wait.Microseconds())
	c.Text(s.Clean(e.Reason))
	c.Int(int64(e.Status))
	c.Int(hookgate.Micros(e.Changed))
	c.Int(int64(e.LeaseMax))
}

var exceptionNames = []string{"event", "redelivery", "ordering_key", "state", "attempts", "due",
	"since", "wait", "reason", "status", "changed", "lease_max"}

// create returns the statement that adds exceptions. If a person has settled the event meanwhile,
// its exception does not come back.
func (s *Subscriptions) create(name string, r *hookgate.Results) Statement {
	columns := strings.Join(exceptionNames, ", ")
	return Statement{
		SQL: `INSERT INTO webhook_exceptions (subscription, ` + columns + `)
			SELECT ` + subscriptionID + `, ` + columns + ` FROM r
			WHERE (SELECT d.number FROM webhook_deliveries d WHERE d.subscription = ` + subscriptionID + `
				AND d.event = r.event AND d.redelivery = r.redelivery AND d.` + settles + ` LIMIT 1) IS NULL
			ON CONFLICT DO NOTHING`,
		Args: []any{name},
		Rows: &Rows{Columns: exceptionNames, Len: len(r.Created), Write: func(i int, c entry.Cells) {
			s.writeException(&r.Created[i], c)
		}},
	}
}

// update returns the statement that changes exceptions that a person has not settled.
func (s *Subscriptions) update(name string, r *hookgate.Results) Statement {
	tried := make(map[hookgate.EventRedelivery]int, len(r.Attempts))
	for i := range r.Attempts {
		a := &r.Attempts[i]
		tried[hookgate.EventRedelivery{Event: a.Event, Redelivery: a.Redelivery}] = a.Number
	}
	return Statement{
		SQL: `UPDATE webhook_exceptions AS e SET ordering_key = r.ordering_key, state = r.state,
			attempts = r.attempts, due = r.due, since = r.since, wait = r.wait, reason = r.reason,
			status = r.status, changed = r.changed, lease_max = r.lease_max
			FROM (SELECT ` + subscriptionID + ` AS subscription, r.* FROM r ` + fence + `) r
			WHERE e.subscription = r.subscription AND e.event = r.event AND e.redelivery = r.redelivery
			AND e.state <> 'dead'
			AND (SELECT d.number FROM webhook_deliveries d WHERE d.subscription = e.subscription
				AND d.event = r.event AND d.redelivery = r.redelivery AND d.number = r.number LIMIT 1) IS NULL`,
		Args: []any{name},
		Rows: &Rows{Columns: append(exceptionNames[:len(exceptionNames):len(exceptionNames)], "number"),
			Len: len(r.Updated), Write: func(i int, c entry.Cells) {
				e := &r.Updated[i]
				s.writeException(e, c)
				// 0 if these results have no attempt of the event: no attempt has this number.
				c.Int(int64(tried[hookgate.EventRedelivery{Event: e.Event, Redelivery: e.Redelivery}]))
			}},
	}
}

var attemptNames = []string{"event", "redelivery", "number", "outcome", "status", "at", "took",
	"reason", "by_whom"}

func (s *Subscriptions) addAttempts(name string, r *hookgate.Results) Statement {
	columns := strings.Join(attemptNames, ", ")
	return Statement{
		SQL: `INSERT INTO webhook_deliveries (subscription, ` + columns + `)
			SELECT ` + subscriptionID + `, ` + columns + ` FROM r WHERE true
			ON CONFLICT DO NOTHING`,
		Args: []any{name},
		Rows: &Rows{Together: true, Columns: attemptNames, Len: len(r.Attempts), Write: func(i int,
			c entry.Cells) {
			a := &r.Attempts[i]
			c.Int(a.Event)
			c.Int(a.Redelivery)
			c.Int(int64(a.Number))
			c.Text(string(a.Outcome))
			c.Int(int64(a.Status))
			c.Int(hookgate.Micros(a.At))
			c.Int(a.Took.Microseconds())
			c.Text(s.Clean(a.Reason))
			c.Text(s.Clean(a.By))
		}},
	}
}

// settledEvents returns the deliveries whose exceptions go.
func settledEvents(r *hookgate.Results) (gone []hookgate.EventRedelivery) {
	for i := range r.Attempts {
		a := &r.Attempts[i]
		if a.Outcome.Settles() && a.Outcome != hookgate.AttemptDeadLettered {
			gone = append(gone, hookgate.EventRedelivery{Event: a.Event, Redelivery: a.Redelivery})
		}
	}
	return gone
}

func (s *Subscriptions) removeExceptions(name string, gone []hookgate.EventRedelivery) Statement {
	return Statement{
		SQL: `DELETE FROM webhook_exceptions WHERE (subscription, event, redelivery) IN
			(SELECT ` + subscriptionID + `, event, redelivery FROM r ` + fence + `)`,
		Args: []any{name},
		Rows: &Rows{Together: true, Columns: []string{"event", "redelivery"}, Len: len(gone),
			Write: func(i int, c entry.Cells) { c.Int(gone[i].Event); c.Int(gone[i].Redelivery) }},
	}
}

func (s *Subscriptions) hold(name string, r *hookgate.Results) Statement {
	holds := make(map[string]hookgate.Hold, len(r.Holds)) // a statement changes a row only once
	var keys []string
	for _, h := range r.Holds {
		key := s.Clean(h.OrderingKey)
		before, again := holds[key]
		if !again {
			keys = append(keys, key)
		}
		h.After = max(h.After, before.After)
		holds[key] = h
	}
	return Statement{
		SQL: `INSERT INTO webhook_holds AS h (subscription, ordering_key, after_id, lease_max)
			SELECT ` + subscriptionID + `, ordering_key, after_id, lease_max FROM r WHERE true
			ON CONFLICT (subscription, ordering_key) DO UPDATE SET lease_max = excluded.lease_max,
				after_id = CASE WHEN h.after_id < excluded.after_id THEN excluded.after_id
					ELSE h.after_id END
				WHERE h.after_id < excluded.after_id OR h.lease_max <> excluded.lease_max`,
		Args: []any{name},
		Rows: &Rows{Columns: []string{"ordering_key", "after_id", "lease_max"}, Len: len(keys),
			Write: func(i int, c entry.Cells) {
				h := holds[keys[i]]
				c.Text(keys[i])
				c.Int(h.After)
				c.Int(int64(h.LeaseMax))
			}},
	}
}

func (s *Subscriptions) free(name string, r *hookgate.Results) Statement {
	return Statement{
		SQL: "DELETE FROM webhook_holds WHERE subscription = " + subscriptionID +
			" AND ordering_key IN (SELECT ordering_key FROM r)",
		Args: []any{name},
		Rows: &Rows{Columns: []string{"ordering_key"}, Len: len(r.Freed),
			Write: func(i int, c entry.Cells) { c.Text(s.Clean(r.Freed[i])) }},
	}
}

func (s *Subscriptions) progress(name string, r *hookgate.Results) Statement {
	return Statement{
		SQL: `UPDATE webhook_redelivery_jobs AS j SET position = r.position, delivered = r.delivered,
			failed = r.failed, ended_at = CASE WHEN r.done THEN ` + s.Now + ` ELSE 0 END FROM r
			WHERE j.id = r.id AND j.subscription = ` + subscriptionID + ` AND j.ended_at = 0`,
		Args: []any{name},
		Rows: &Rows{Columns: []string{"id", "position", "delivered", "failed", "done"}, Len: len(r.Jobs),
			Write: func(i int, c entry.Cells) {
				p := &r.Jobs[i]
				c.Int(p.ID)
				c.Int(p.Position)
				c.Int(p.Delivered)
				c.Int(p.Failed)
				c.Bool(p.Done)
			}},
	}
}

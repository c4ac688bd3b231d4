package sqlstore

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/hookgate/hookgate"
)

// attemptWindow is the number of attempts that one read with a filter examines.
const attemptWindow = 5000

// newestAttempt is the order of the index webhook_deliveries_at, read from its end.
const newestAttempt = " ORDER BY d.at DESC, d.event DESC, d.redelivery DESC, d.number DESC"

// RecentAttempts implements hookgate.SubscriptionReader.
func (s *Subscriptions) RecentAttempts(ctx context.Context, f hookgate.AttemptFilter) (
	page hookgate.AttemptPage, err error) {
	f.Limit = cmp.Or(max(f.Limit, 0), defaultLimit)
	err = s.db.Snapshot(ctx, func(query func(Statement) error) error {
		id, err := idOf(s.Clean(f.Subscription), query)
		if err != nil {
			return err
		}
		var until hookgate.AttemptPlace // the last attempt to examine; zero: the first of all
		c := attemptPlaces(id, &f, until)
		if filtered(&f) {
			err := query(Statement{
				SQL: "SELECT d.at, d.event, d.redelivery, d.number FROM webhook_deliveries d WHERE " +
					c.and() + newestAttempt + " LIMIT 1 OFFSET ?",
				Args: append(c.args[:len(c.args):len(c.args)], attemptWindow-1),
				Row: func(r Row) error {
					until = hookgate.AttemptPlace{At: micros(r.Int(0)), Event: r.Int(1),
						Redelivery: r.Int(2), Number: int(r.Int(3))}
					return nil
				},
			})
			if err != nil {
				return err
			}
			c = attemptPlaces(id, &f, until)
			s.addFilter(c, &f)
		}
		page.Next = until
		return query(Statement{
			// The LIMIT comes before the joins, so that they look up each event by its id. It is where it
			// was stored, or where retention has moved it.
			SQL: `SELECT ` + attemptColumns + `, coalesce(e.source, k.source, r.source, ''),
				coalesce(e.event_type, k.event_type, r.event_type, ''),
				coalesce(e.message_id, k.message_id, r.message_id, ''),
				coalesce(e.ordering_key, k.ordering_key, r.ordering_key, '')
				FROM (SELECT d.* FROM webhook_deliveries d WHERE ` + c.and() + newestAttempt + ` LIMIT ?) d
				LEFT JOIN webhook_events e ON e.id = d.event
				LEFT JOIN webhook_kept_events k ON k.id = d.event
				LEFT JOIN webhook_removed_events r ON r.id = d.event`,
			Args: append(c.args, f.Limit+1), // one more tells whether there is a next page
			Row: func(r Row) error {
				page.Attempts = append(page.Attempts, hookgate.RecentAttempt{Attempt: scanAttempt(r),
					Identity: hookgate.Identity{Source: r.Text(9), EventType: r.Text(10),
						MessageID: r.Text(11)},
					OrderingKey: r.Text(12)})
				return nil
			},
		})
	})
	if err != nil {
		return page, fmt.Errorf("read the attempts of subscription %s: %w", f.Subscription, err)
	}
	slices.SortFunc(page.Attempts, func(a, b hookgate.RecentAttempt) int {
		return b.Place().Compare(a.Place())
	})
	if len(page.Attempts) > f.Limit {
		page.Attempts = page.Attempts[:f.Limit]
		page.Next = page.Attempts[f.Limit-1].Place()
	}
	return page, nil
}

// attemptKey is the ordering key of the event of an attempt.
const attemptKey = `coalesce((SELECT e.ordering_key FROM webhook_events e WHERE e.id = d.event),
	(SELECT k.ordering_key FROM webhook_kept_events k WHERE k.id = d.event),
	(SELECT r.ordering_key FROM webhook_removed_events r WHERE r.id = d.event))`

// filtered reports whether a filter has conditions that the index cannot serve.
func filtered(f *hookgate.AttemptFilter) bool {
	return len(f.Outcomes) > 0 || f.Status != nil || f.OrderingKey != ""
}

// attemptPlaces returns the conditions of a filter that the index serves. There is one for each end
// of the range, because SQLite uses one to enter the index and compares each row with any other.
func attemptPlaces(subscription int64, f *hookgate.AttemptFilter,
	until hookgate.AttemptPlace) *conditions {
	c := &conditions{}
	c.add("d.subscription = ?", subscription)
	if until != (hookgate.AttemptPlace{}) {
		addPlace(c, ">=", until)
	} else if !f.From.IsZero() {
		c.add("d.at >= ?", f.From.UnixMicro())
	}
	if f.After != (hookgate.AttemptPlace{}) {
		addPlace(c, "<", f.After)
	} else if !f.To.IsZero() {
		c.add("d.at < ?", f.To.UnixMicro())
	}
	return c
}

func addPlace(c *conditions, operator string, p hookgate.AttemptPlace) {
	c.add("(d.at, d.event, d.redelivery, d.number) "+operator+" (?, ?, ?, ?)", p.At.UnixMicro(),
		p.Event, p.Redelivery, p.Number)
}

// addFilter adds the conditions that the index cannot serve.
func (s *Subscriptions) addFilter(c *conditions, f *hookgate.AttemptFilter) {
	if n := len(f.Outcomes); n > 0 {
		args := make([]any, n)
		for i, o := range f.Outcomes {
			args[i] = string(o)
		}
		c.add("d.outcome IN ("+marks(n)+")", args...)
	}
	if f.Status != nil {
		c.add("d.status >= ? AND d.status <= ?", f.Status.From, f.Status.To)
	}
	c.equal(attemptKey, s.Clean(f.OrderingKey))
}

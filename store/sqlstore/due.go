package sqlstore

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/hookgate/hookgate"
)

// Due implements hookgate.Subscriptions. It reads the version first: a change that it misses raises
// the version above that.
func (s *Subscriptions) Due(ctx context.Context, name string, q hookgate.DueQuery) (
	due hookgate.Due, err error) {
	found := false
	name = s.Clean(name)
	known := s.countsOf(name)
	limit := hookgate.MaxBacklog
	if known != nil {
		limit = countAlways + 1
	}
	notKeys := make(map[string]bool, len(q.NotKeys))
	for _, key := range q.NotKeys {
		notKeys[key] = true
	}
	maxHolds := max(0, cmp.Or(q.MaxHolds, q.Max))
	// The queries also return those to leave out. NotEvents are few.
	err = s.db.Queries(ctx,
		Statement{SQL: "SELECT version, paused_at FROM webhook_subscriptions WHERE " + named,
			Args: []any{name}, Row: func(r Row) error {
				found, due.Version, due.Paused = true, r.Int(0), r.Int(1) != 0
				return nil
			}},
		Statement{SQL: "SELECT " + exceptionColumns + " FROM webhook_exceptions x WHERE subscription = " +
			subscriptionID + " AND state = 'waiting' ORDER BY due, event, redelivery LIMIT ?2",
			Args: []any{name, q.Max + len(q.NotEvents) + 1}, Row: func(r Row) error {
				e := scanException(r)
				switch {
				case !due.Next.IsZero(), slices.Contains(q.NotEvents,
					hookgate.EventRedelivery{Event: e.Event, Redelivery: e.Redelivery}):
				case e.Due.After(q.Now), len(due.Exceptions) == q.Max:
					due.Next = e.Due
				default:
					due.Exceptions = append(due.Exceptions, e)
				}
				return nil
			}},
		Statement{SQL: `SELECT ordering_key, after_id, lease_max FROM webhook_holds
			WHERE subscription = ` + subscriptionID + ` AND excepted = false ORDER BY ordering_key LIMIT ?2`,
			Args: []any{name, maxHolds + len(q.NotKeys)}, Row: func(r Row) error {
				h := hookgate.Hold{OrderingKey: r.Text(0), After: r.Int(1), LeaseMax: int(r.Int(2))}
				if len(due.Holds) < maxHolds && !notKeys[h.OrderingKey] {
					due.Holds = append(due.Holds, h)
				}
				return nil
			}},
		countUpTo("webhook_exceptions", " AND "+unsettled, name, limit, &due.Count),
		countUpTo("webhook_holds", "", name, limit, &due.Held),
		runningJobs(subscriptionID, name, &due.Jobs),
	)
	if err == nil && !found {
		err = hookgate.ErrNotFound
	}
	if err != nil {
		return hookgate.Due{}, fmt.Errorf("read what is due of subscription %s: %w", name, err)
	}
	if known == nil {
		s.rememberCounts(name, counts{due.Count, due.Held, time.Now()})
		return due, nil
	}
	if due.Count == limit {
		due.Count = max(limit, known.exceptions)
	}
	if due.Held == limit {
		due.Held = max(limit, known.holds)
	}
	return due, nil
}

const (
	// Due counts up to countAlways rows at each call, and more of them only once in countEvery,
	// because it is called often.
	countAlways = 1000
	countEvery  = 5 * time.Second
)

// counts are the numbers of exceptions and holds of a subscription at a time.
type counts struct {
	exceptions, holds int
	at                time.Time
}

// countsOf returns what Due has counted of a subscription, or nil if it must count again.
func (s *Subscriptions) countsOf(name string) *counts {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c, ok := s.counted[name]; ok && time.Since(c.at) < countEvery {
		return &c
	}
	return nil
}

func (s *Subscriptions) rememberCounts(name string, c counts) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counted[name] = c
}

// countUpTo returns the statement that counts the rows of a subscription, up to a limit.
func countUpTo(table, condition, name string, limit int, to *int) Statement {
	return Statement{
		SQL: "SELECT count(*) FROM (SELECT 1 FROM " + table + " WHERE subscription = " + subscriptionID +
			condition + " LIMIT ?2) counted",
		Args: []any{name, limit},
		Row:  func(r Row) error { *to = int(r.Int(0)); return nil },
	}
}

package sqlstore

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hookgate/hookgate"
)

var (
	_ hookgate.SubscriptionReader  = (*Subscriptions)(nil)
	_ hookgate.SubscriptionControl = (*Subscriptions)(nil)
)

// defaultLimit is the length of a page if the caller names none.
const defaultLimit = 100

// subscriptionColumns are the columns of webhook_subscriptions in the order in which scanInfo reads
// them.
const subscriptionColumns = `s.id, s.name, s.definition, s.filter, s.delivery_order, s.revision,
	s.cursor, s.owner, s.lease_until, s.paused_at, s.paused_by, s.pause_reason, s.broken_since,
	s.created_at, s.removed_at, s.delivered_at, (SELECT last_id FROM webhook_log),
	coalesce((SELECT e.persisted_at FROM webhook_events e WHERE e.id > s.cursor ORDER BY e.id LIMIT 1),
		0), s.pulled_at, s.idle,
	(SELECT count(*) FROM webhook_leases l WHERE l.subscription = s.id AND ` + isOpen + `),
	(SELECT CAST(coalesce(sum(open_events), 0) AS bigint) FROM webhook_leases l
		WHERE l.subscription = s.id AND ` + isOpen + `)`

// storedInfo is a subscription as Subscriptions collects it.
type storedInfo struct {
	id int64
	hookgate.SubscriptionInfo
}

// Subscriptions implements hookgate.SubscriptionReader. It reads at most MaxBacklog ids of events,
// however many subscriptions there are.
func (s *Subscriptions) Subscriptions(ctx context.Context) ([]hookgate.SubscriptionInfo, error) {
	var all []*storedInfo
	byID := map[int64]*storedInfo{}
	err := s.db.Snapshot(ctx, func(query func(Statement) error) error {
		for _, read := range []Statement{
			{
				SQL: "SELECT " + subscriptionColumns + ", s.lease_until > " + s.Now +
					" FROM webhook_subscriptions s WHERE s.forgotten_at = 0 ORDER BY s.name",
				Row: func(r Row) error {
					info, err := scanInfo(r)
					info.Owner = s.runningOwner(info.Name, r.Text(7), r.Bool(22))
					all = append(all, info)
					byID[info.id] = info
					return err
				},
			},
			{
				SQL: `SELECT subscription, state, count(*) FROM webhook_exceptions
					GROUP BY subscription, state`,
				Row: func(r Row) error {
					info := byID[r.Int(0)]
					if info == nil {
						return nil
					}
					switch hookgate.ExceptionState(r.Text(1)) {
					case hookgate.ExceptionWaiting:
						info.Waiting = r.Int(2)
					case hookgate.ExceptionParked:
						info.Parked = r.Int(2)
					case hookgate.ExceptionDead:
						info.Dead = r.Int(2)
					}
					return nil
				},
			},
			{
				SQL: "SELECT subscription, count(*) FROM webhook_holds GROUP BY subscription",
				Row: func(r Row) error {
					if info := byID[r.Int(0)]; info != nil {
						info.Held = r.Int(1)
					}
					return nil
				},
			},
		} {
			if err := query(read); err != nil {
				return err
			}
		}
		return countBacklogs(all, query)
	})
	if err != nil {
		return nil, fmt.Errorf("read subscriptions: %w", err)
	}
	infos := make([]hookgate.SubscriptionInfo, len(all))
	for i, info := range all {
		infos[i] = info.SubscriptionInfo
	}
	return infos, nil
}

// countBacklogs counts the events after each cursor. It begins with the foremost cursor and counts
// from one to the next, so it counts no event twice.
func countBacklogs(all []*storedInfo, query func(Statement) error) error {
	byCursor := slices.SortedFunc(slices.Values(all), func(a, b *storedInfo) int {
		return cmp.Compare(b.Cursor, a.Cursor)
	})
	counted := int64(0)
	for i, info := range byCursor {
		until := info.End
		if i > 0 {
			until = byCursor[i-1].Cursor
		}
		if left := hookgate.MaxBacklog - counted; left > 0 && info.Cursor < until {
			if err := query(Statement{
				SQL: `SELECT count(*) FROM (SELECT 1 FROM webhook_events WHERE id > ? AND id <= ?
					ORDER BY id LIMIT ?) e`,
				Args: []any{info.Cursor, until, left},
				Row:  func(r Row) error { counted += r.Int(0); return nil },
			}); err != nil {
				return err
			}
		}
		info.Backlog = counted
	}
	return nil
}

func scanInfo(r Row) (*storedInfo, error) {
	info := &storedInfo{id: r.Int(0)}
	info.Name, info.Definition = r.Text(1), r.Text(2)
	info.Order, info.Revision, info.Cursor = hookgate.Order(r.Text(4)), r.Int(5), r.Int(6)
	info.PausedAt, info.PausedBy = hookgate.FromMicros(r.Int(9)), r.Text(10)
	info.PauseReason, info.BrokenSince = r.Text(11), hookgate.FromMicros(r.Int(12))
	info.CreatedAt, info.RemovedAt = hookgate.FromMicros(r.Int(13)), hookgate.FromMicros(r.Int(14))
	info.LastDeliveredAt, info.End = hookgate.FromMicros(r.Int(15)), r.Int(16)
	info.OldestStoredAt = hookgate.FromMicros(r.Int(17))
	info.PulledAt, info.Idle = hookgate.FromMicros(r.Int(18)), duration(r.Int(19))
	info.Leases, info.Leased = r.Int(20), r.Int(21)
	if err := json.Unmarshal([]byte(r.Text(3)), &info.Filter); err != nil {
		return info, fmt.Errorf("subscription %s: the stored filter: %w", info.Name, err)
	}
	return info, nil
}

// idOf reads the number of a subscription.
func idOf(name string, query func(Statement) error) (id int64, err error) {
	err = query(Statement{
		SQL:  "SELECT id FROM webhook_subscriptions WHERE name = ? AND forgotten_at = 0",
		Args: []any{name}, Row: func(r Row) error { id = r.Int(0); return nil },
	})
	if err == nil && id == 0 {
		err = hookgate.ErrNotFound
	}
	return id, err
}

// exceptionColumns are the columns of webhook_exceptions in the order in which scanException reads
// them.
const exceptionColumns = `x.event, x.redelivery, x.ordering_key, x.state, x.attempts, x.due,
	x.since, x.wait, x.reason, x.status, x.changed, x.lease_max`

func scanException(r Row) hookgate.Exception {
	return hookgate.Exception{
		Event: r.Int(0), Redelivery: r.Int(1), OrderingKey: r.Text(2),
		State: hookgate.ExceptionState(r.Text(3)), Attempts: int(r.Int(4)),
		Due: hookgate.FromMicros(r.Int(5)), Since: duration(r.Int(6)), Wait: duration(r.Int(7)),
		Reason: r.Text(8), Status: int(r.Int(9)), Changed: hookgate.FromMicros(r.Int(10)),
		LeaseMax: int(r.Int(11)),
	}
}

func duration(micros int64) time.Duration { return time.Duration(micros) * time.Microsecond }

// exceptionConditions turns a filter into conditions on webhook_exceptions x.
func (s *Subscriptions) exceptionConditions(f *hookgate.ExceptionFilter) *conditions {
	c := &conditions{}
	c.equal("x.state", string(f.State))
	c.equal("x.ordering_key", s.Clean(f.OrderingKey))
	if f.Held {
		c.add("x.ordering_key <> '' AND x.state <> 'dead'")
	}
	if n := len(f.Events); n > 0 {
		args := make([]any, n)
		for i, event := range f.Events {
			args[i] = event
		}
		c.add("x.event IN ("+marks(n)+")", args...)
	}
	if after := f.After; after != (hookgate.EventRedelivery{}) {
		c.add("(x.event, x.redelivery) > (?, ?)", after.Event, after.Redelivery)
	}
	return c
}

// marks returns n parameters for a list.
func marks(n int) string { return strings.Repeat(", ?", n)[2:] }

// Exceptions implements hookgate.SubscriptionReader.
func (s *Subscriptions) Exceptions(ctx context.Context, f hookgate.ExceptionFilter) (
	all []hookgate.StoredException, err error) {
	err = s.db.Snapshot(ctx, func(query func(Statement) error) error {
		id, err := idOf(s.Clean(f.Subscription), query)
		if err != nil {
			return err
		}
		c := s.exceptionConditions(&f)
		c.add("x.subscription = ?", id)
		return query(Statement{
			// The event is where it was stored, or where retention has moved it.
			SQL: `SELECT ` + exceptionColumns + `, coalesce(e.source, k.source, r.source, ''),
				coalesce(e.event_type, k.event_type, r.event_type, ''),
				coalesce(e.message_id, k.message_id, r.message_id, ''),
				coalesce(e.request_id, k.request_id, r.request_id, ''),
				coalesce(e.received_at, k.received_at, r.received_at, 0),
				coalesce(octet_length(e.payload), octet_length(k.payload), 0)
				FROM webhook_exceptions x LEFT JOIN webhook_events e ON e.id = x.event
				LEFT JOIN webhook_kept_events k ON k.id = x.event
				LEFT JOIN webhook_removed_events r ON r.id = x.event
				WHERE ` + c.and() + " ORDER BY x.event, x.redelivery LIMIT ?",
			Args: append(c.args, cmp.Or(max(f.Limit, 0), defaultLimit)),
			Row: func(r Row) (err error) {
				x := hookgate.StoredException{Exception: scanException(r)}
				x.Identity = hookgate.Identity{Source: r.Text(12), EventType: r.Text(13),
					MessageID: r.Text(14)}
				if request := r.Text(15); request != "" {
					x.RequestID, err = hookgate.ParseRequestID(request)
				}
				x.ReceivedAt, x.Size = hookgate.FromMicros(r.Int(16)), r.Int(17)
				all = append(all, x)
				return err
			},
		})
	})
	if err != nil {
		return nil, fmt.Errorf("read the exceptions of subscription %s: %w", f.Subscription, err)
	}
	return all, nil
}

// attemptColumns are the columns of webhook_deliveries in the order in which scanAttempt reads
// them.
const attemptColumns = `d.event, d.redelivery, d.number, d.outcome, d.status, d.at, d.took,
	d.reason, d.by_whom`

// anySubscription is a condition on webhook_deliveries d that all rows fulfil. With it a condition
// on the event can use the primary key; with a join SQLite might read all attempts.
const anySubscription = "d.subscription IN (SELECT id FROM webhook_subscriptions)"

// attemptName is the name of the subscription of a row of webhook_deliveries d.
const attemptName = `(SELECT name FROM webhook_subscriptions s WHERE s.id = d.subscription) AS name`

func scanAttempt(r Row) hookgate.Attempt {
	return hookgate.Attempt{
		Event: r.Int(0), Redelivery: r.Int(1), Number: int(r.Int(2)),
		Outcome: hookgate.AttemptOutcome(r.Text(3)), Status: int(r.Int(4)), At: micros(r.Int(5)),
		Took: duration(r.Int(6)), Reason: r.Text(7), By: r.Text(8),
	}
}

// Attempts implements hookgate.SubscriptionReader. It shows the attempts of forgotten subscriptions
// too.
func (s *Subscriptions) Attempts(ctx context.Context, event int64) (all []hookgate.StoredAttempt,
	err error) {
	err = s.db.Query(ctx, Statement{
		SQL: `SELECT ` + attemptColumns + `, ` + attemptName + ` FROM webhook_deliveries d
			WHERE ` + anySubscription + ` AND d.event = ?
			ORDER BY d.at, d.subscription, d.redelivery, d.number`,
		Args: []any{event},
		Row: func(r Row) error {
			all = append(all, hookgate.StoredAttempt{Subscription: r.Text(9), Attempt: scanAttempt(r)})
			return nil
		},
	})
	if err != nil {
		return nil, fmt.Errorf("read the attempts of event %d: %w", event, err)
	}
	return all, nil
}

package sqlstore

import (
	"context"
	"fmt"
	"time"

	"github.com/hookgate/hookgate"
)

// CreateTemporary implements hookgate.Leases. The row is that of a subscription that was removed
// from the configuration, so it holds up no retention.
func (s *Subscriptions) CreateTemporary(ctx context.Context, def hookgate.SubscriptionDefinition,
	idle time.Duration, _ hookgate.Person) error {
	var (
		place int64
		taken bool
		log   logState
	)
	first := append(log.reads(s.Now), Statement{
		SQL: "SELECT id FROM webhook_subscriptions WHERE " + named, Args: []any{s.Clean(def.Name)},
		Row: func(Row) error { taken = true; return nil },
	})
	if def.Start.At == hookgate.StartTime {
		first = append(first, storedSince(def.Start.Time, &place)...)
	}
	err := s.db.ChangeLocked(ctx, first, func() ([]Statement, error) {
		if taken {
			return nil, hookgate.ErrNameTaken
		}
		create, err := s.createRow(&def, &log, place)
		if err != nil {
			return nil, err
		}
		return []Statement{create, {
			SQL:  "UPDATE webhook_subscriptions SET removed_at = created_at, idle = ?2 WHERE " + named,
			Args: []any{s.Clean(def.Name), idle.Microseconds()},
		}}, nil
	})
	if err != nil {
		return fmt.Errorf("create subscription %s: %w", def.Name, err)
	}
	return nil
}

// ForgetIdle implements hookgate.Leases.
func (s *Subscriptions) ForgetIdle(ctx context.Context) (names []string, err error) {
	var (
		ids []int64
		now int64
	)
	err = s.db.Change(ctx, []Statement{{
		SQL: `SELECT id, name, ` + s.Now + ` FROM webhook_subscriptions WHERE forgotten_at = 0
			AND idle > 0 AND CASE WHEN pulled_at > created_at THEN pulled_at ELSE created_at END + idle
				<= ` + s.Now + ` ORDER BY id` + s.ForUpdate,
		Row: func(r Row) error {
			ids, names, now = append(ids, r.Int(0)), append(names, r.Text(1)), r.Int(2)
			return nil
		},
	}}, func() (changes []Statement, _ error) {
		for _, id := range ids {
			changes = append(changes, forget(id, now)...)
		}
		return changes, nil
	})
	if err != nil {
		return nil, fmt.Errorf("forget idle subscriptions: %w", err)
	}
	return names, nil
}

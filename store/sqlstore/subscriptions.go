package sqlstore

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/hookgate/hookgate"
)

// Subscriptions keeps subscriptions in the tables that both stores have.
type Subscriptions struct {
	db DB
	Dialect

	mu sync.Mutex
	// owners has the owner of each subscription that was acquired in this process. It takes the place
	// of leases, which a store without Dialect.Leases has not.
	owners map[string]string
	// counted has what Due last counted, by subscription.
	counted map[string]counts
}

var _ hookgate.Subscriptions = (*Subscriptions)(nil)

// NewSubscriptions returns the subscriptions of a database.
func NewSubscriptions(db DB, d Dialect) *Subscriptions {
	return &Subscriptions{db: db, Dialect: d, owners: map[string]string{},
		counted: map[string]counts{}}
}

const (
	// named is the condition for the subscription ?1. One that was forgotten keeps its row, which
	// names the subscription of old attempts.
	named = "name = ?1 AND forgotten_at = 0"
	// subscriptionID is the id of the subscription ?1.
	subscriptionID = "(SELECT id FROM webhook_subscriptions WHERE " + named + ")"
	// unsettled is the condition for exceptions that are waiting or parked. It can use the index by
	// state, unlike state <> 'dead'.
	unsettled = "state IN ('waiting', 'parked')"
)

// nextEpoch is the SQL of a new epoch. The first one of a subscription is above those of forgotten
// subscriptions of its name, whose owners may still try to save.
const nextEpoch = "epoch + 1"

// settles is the condition for attempts that settle an event; see AttemptOutcome.Settles.
const settles = "outcome IN ('delivered', 'dead_lettered', 'skipped')"

// stored is the part of a row of webhook_subscriptions that Define compares.
type stored struct {
	id, revision      int64
	definition        string
	order             hookgate.Order
	removed           bool
	exceptions, holds int64
	leases            int64 // with open events
}

// logState is what the row of a new subscription depends on.
type logState struct {
	// end is the last id of the log, and horizon the last one that retention has removed.
	end, horizon int64
	// lastID and lastEpoch are the highest of all subscriptions.
	lastID, lastEpoch int64
	now               int64
}

// reads returns the statements that read the state. now is the SQL of the time.
func (l *logState) reads(now string) []Statement {
	return []Statement{
		{SQL: "SELECT coalesce(max(id), 0), coalesce(max(epoch), 0) FROM webhook_subscriptions",
			Row: func(r Row) error { l.lastID, l.lastEpoch = r.Int(0), r.Int(1); return nil }},
		{SQL: "SELECT l.last_id, r.last_event, " + now + " FROM webhook_log l, webhook_removals r",
			Row: func(r Row) error { l.end, l.horizon, l.now = r.Int(0), r.Int(1), r.Int(2); return nil }},
	}
}

// createRow returns the statement that creates a subscription. since is what storedSince found.
func (s *Subscriptions) createRow(def *hookgate.SubscriptionDefinition, l *logState,
	since int64) (Statement, error) {
	filter, err := json.Marshal(def.Filter)
	l.lastID++
	return Statement{
		SQL: `INSERT INTO webhook_subscriptions (id, name, definition, filter, delivery_order,
			revision, version, cursor, epoch, owner, lease_until, clock, paused_at, paused_by,
			pause_reason, broken_since, redelivery, redeliver_until, redeliveries, created_at,
			removed_at, delivered_at, forgotten_at)
			VALUES (?1, ?2, ?3, ?4, ?5, 1, 0, ?6, ?7, '', 0, 0, 0, '', '', 0, 0, 0, 0, ?8, 0, 0, 0)`,
		Args: []any{l.lastID, s.Clean(def.Name), s.Clean(def.Definition), s.Clean(string(filter)),
			string(def.Order), placeOf(def.Start, l.horizon, l.end, since), l.lastEpoch + 1, l.now},
	}, err
}

// Define implements hookgate.Subscriptions.
func (s *Subscriptions) Define(ctx context.Context, defs []hookgate.SubscriptionDefinition,
	complete bool) (revisions []int64, err error) {
	var (
		rows    = map[string]stored{}
		places  = make([]int64, len(defs))
		log     logState
		refused error
	)
	first := append([]Statement{
		{SQL: `SELECT name, id, definition, delivery_order, revision, removed_at,
			(SELECT count(*) FROM webhook_exceptions e WHERE e.subscription = s.id AND e.` + unsettled + `),
			(SELECT count(*) FROM webhook_holds h WHERE h.subscription = s.id),
			(SELECT count(*) FROM webhook_leases l WHERE l.subscription = s.id AND ` + isOpen + `)
			FROM webhook_subscriptions s WHERE forgotten_at = 0 ORDER BY id` + s.ForUpdate,
			Row: func(r Row) error {
				rows[r.Text(0)] = stored{id: r.Int(1), definition: r.Text(2), order: hookgate.Order(r.Text(3)),
					revision: r.Int(4), removed: r.Int(5) != 0, exceptions: r.Int(6), holds: r.Int(7),
					leases: r.Int(8)}
				return nil
			}},
	}, log.reads(s.Now)...)
	for i := range defs {
		if defs[i].Start.At == hookgate.StartTime {
			first = append(first, storedSince(defs[i].Start.Time, &places[i])...)
		}
	}
	err = s.db.ChangeLocked(ctx, first, func() (changes []Statement, _ error) {
		revisions = make([]int64, len(defs))
		for i := range defs {
			def := &defs[i]
			row, found := rows[def.Name]
			if found && row.order != def.Order && row.exceptions+row.holds+row.leases > 0 {
				refused = &hookgate.OrderError{Subscription: def.Name, Exceptions: int(row.exceptions),
					Leases: int(row.leases)}
				return nil, nil
			}
			changed := !found || row.definition != def.Definition
			if changed {
				row.revision++
			}
			revisions[i] = row.revision
			if !changed && !row.removed {
				continue
			}
			var change Statement
			var err error
			if found {
				change, err = s.redefine(&row, def)
			} else {
				change, err = s.createRow(def, &log, places[i])
			}
			if err != nil {
				return nil, err
			}
			changes = append(changes, change)
		}
		if complete {
			for name, row := range rows {
				if !row.removed && !slices.ContainsFunc(defs,
					func(d hookgate.SubscriptionDefinition) bool { return d.Name == name }) {
					changes = append(changes, Statement{
						SQL:  "UPDATE webhook_subscriptions SET removed_at = ?2 WHERE id = ?1",
						Args: []any{row.id, log.now}})
				}
			}
		}
		return changes, nil
	})
	if err == nil {
		err = refused
	}
	if err != nil {
		return nil, fmt.Errorf("define subscriptions: %w", err)
	}
	return revisions, nil
}

// redefine returns the statement that replaces the definition of a subscription and makes it one of
// the configuration. row has the new revision.
func (s *Subscriptions) redefine(row *stored, def *hookgate.SubscriptionDefinition) (Statement,
	error) {
	filter, err := json.Marshal(def.Filter)
	return Statement{
		SQL: `UPDATE webhook_subscriptions SET definition = ?2, filter = ?3, delivery_order = ?4,
			version = version + CASE WHEN revision = ?5 THEN 0 ELSE 1 END, revision = ?5, removed_at = 0,
			idle = 0 WHERE id = ?1`,
		Args: []any{row.id, s.Clean(def.Definition), s.Clean(string(filter)), string(def.Order),
			row.revision},
	}, err
}

// storedSince returns the statements that set place to the id before the first event that was
// stored at or after a time, or to -1 if there is no such event. Ids of the log are microseconds
// since 1970 or greater, so an event with a lower id was stored before. Rows of earlier releases
// have small ids; they are read only if one of them can be meant.
func storedSince(t time.Time, place *int64) []Statement {
	const before = "SELECT coalesce((SELECT max(p.id) FROM webhook_events p WHERE p.id < e.id), 0)"
	*place = -1
	set := func(r Row) error { *place = r.Int(0); return nil }
	return []Statement{
		{SQL: before + ` FROM webhook_events e WHERE e.id >= ?1 AND e.persisted_at >= ?1
			AND e.id > (SELECT begins_after FROM webhook_log) ORDER BY e.id LIMIT 1`,
			Args: []any{hookgate.Micros(t)}, Row: set},
		{SQL: before + ` FROM webhook_events e
			WHERE e.id <= (SELECT begins_after FROM webhook_log) AND e.persisted_at >= ?1
				AND ?1 <= (SELECT persisted_at FROM webhook_events
					WHERE id <= (SELECT begins_after FROM webhook_log) ORDER BY id DESC LIMIT 1)
			ORDER BY e.id LIMIT 1`,
			Args: []any{hookgate.Micros(t)}, Row: set},
	}
}

// placeOf returns the cursor for a start. since is what storedSince found.
func placeOf(start hookgate.Start, horizon, end, since int64) int64 {
	switch start.At {
	case hookgate.StartBeginning:
		return horizon
	case hookgate.StartAfter:
		return min(start.After, end)
	case hookgate.StartTime:
		if since >= 0 {
			return max(horizon, since)
		}
	}
	return end
}

// Renew implements hookgate.Subscriptions.
func (s *Subscriptions) Renew(ctx context.Context, owner string, ttl time.Duration) (
	r hookgate.Roster, err error) {
	r.Processes = 1
	read := Statement{
		SQL: `SELECT name, owner, epoch, revision, version, lease_until > ` + s.Now + `
			FROM webhook_subscriptions WHERE forgotten_at = 0 ORDER BY name`,
		Row: func(row Row) error {
			r.Subscriptions = append(r.Subscriptions, hookgate.RosterEntry{Name: row.Text(0),
				Owner: s.runningOwner(row.Text(0), row.Text(1), row.Bool(5)),
				Epoch: hookgate.Epoch(row.Int(2)), Revision: row.Int(3), Version: row.Int(4)})
			return nil
		},
	}
	if s.Leases {
		owner, until := s.Clean(owner), s.Now+" + ?2"
		err = s.db.Save(ctx, 1, []Statement{
			{SQL: "DELETE FROM webhook_dispatchers WHERE seen_until <= " + s.Now},
			{SQL: `INSERT INTO webhook_dispatchers (owner, seen_until) VALUES (?1, ` + until + `)
				ON CONFLICT (owner) DO UPDATE SET seen_until = excluded.seen_until`,
				Args: []any{owner, ttl.Microseconds()}},
			{SQL: `UPDATE webhook_subscriptions SET lease_until = ` + until + ` WHERE id IN (
				SELECT id FROM webhook_subscriptions WHERE owner = ?1 AND forgotten_at = 0
				ORDER BY id FOR UPDATE)`,
				Args: []any{owner, ttl.Microseconds()}},
			{SQL: "SELECT count(*) FROM webhook_dispatchers",
				Row: func(row Row) error { r.Processes = int(row.Int(0)); return nil }},
			read,
		})
	} else {
		err = s.db.Queries(ctx, read)
	}
	if err != nil {
		return hookgate.Roster{}, fmt.Errorf("renew leases: %w", err)
	}
	return r, nil
}

// runningOwner returns the owner of a subscription, or "" if its lease has run out. stored is the
// owner in its row, and running reports that its lease is running there.
func (s *Subscriptions) runningOwner(name, stored string, running bool) string {
	if s.Leases {
		if running {
			return stored
		}
		return ""
	}
	if s.ownerOf(name) != stored {
		return "" // of an earlier process, or of a subscription of this name that was forgotten
	}
	return stored
}

// ownerOf returns the owner that acquired a subscription in a store without leases, or "".
func (s *Subscriptions) ownerOf(name string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.owners[name]
}

// setOwner records the owner of a subscription in a store without leases.
func (s *Subscriptions) setOwner(name, owner string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if owner == "" {
		delete(s.owners, name)
	} else if !s.Leases {
		s.owners[name] = owner
	}
}

// Acquire implements hookgate.Subscriptions.
func (s *Subscriptions) Acquire(ctx context.Context, name, owner string, ttl time.Duration,
	revision int64) (*hookgate.SubscriptionState, error) {
	owner = s.Clean(owner)
	var (
		id     int64
		state  *hookgate.SubscriptionState
		answer = hookgate.ErrNotFound
	)
	find := Statement{
		SQL: `SELECT id, revision, owner, lease_until > ` + s.Now + ` FROM webhook_subscriptions
			WHERE ` + named + s.ForUpdate,
		Args: []any{name},
		Row: func(r Row) error {
			id, state = r.Int(0), &hookgate.SubscriptionState{}
			switch other := r.Text(2); {
			case revision < r.Int(1):
				answer = hookgate.ErrRevision
			case s.Leases && r.Bool(3) && other != "" && other != owner:
				answer = hookgate.ErrLeased
			default:
				answer = nil
			}
			return nil
		},
	}
	err := s.db.Change(ctx, []Statement{find}, func() ([]Statement, error) {
		if answer != nil {
			return nil, nil
		}
		return append([]Statement{{
			SQL: `UPDATE webhook_subscriptions SET epoch = ` + nextEpoch + `, owner = ?2,
				lease_until = ` + s.Now + ` + ?3 WHERE id = ?1 RETURNING epoch`,
			Args: []any{id, owner, ttl.Microseconds()},
			Row:  func(r Row) error { state.Epoch = hookgate.Epoch(r.Int(0)); return nil },
		}}, s.stateOf("?1", id, state)...), nil
	})
	if err == nil {
		err = answer
	}
	if err != nil {
		return nil, fmt.Errorf("acquire subscription %s: %w", name, err)
	}
	s.setOwner(name, owner)
	return state, nil
}

// stateOf returns the statements that read the state of a subscription, but for its epoch. id is
// the SQL of its id, with the parameter arg.
func (s *Subscriptions) stateOf(id string, arg any, state *hookgate.SubscriptionState) []Statement {
	// The events above the cursor whose deliveries have the number of the normal course. No event is
	// above last_id. PostgreSQL takes a range with two ends for small, so it uses the index.
	above := ` JOIN webhook_subscriptions s ON s.id = a.subscription WHERE a.subscription = ` + id + `
		AND a.event > (SELECT cursor FROM webhook_subscriptions WHERE id = ` + id + `)
		AND a.event <= (SELECT last_id FROM webhook_log)
		AND a.redelivery = CASE WHEN a.event <= s.redeliver_until THEN s.redelivery ELSE 0 END AND a.`
	add := func(to *[]int64) func(Row) error {
		return func(r Row) error { *to = append(*to, r.Int(0)); return nil }
	}
	return []Statement{
		{SQL: `SELECT version, cursor, clock, paused_at, redelivery, redeliver_until,
			(SELECT count(*) FROM webhook_exceptions e WHERE e.subscription = s.id AND e.` + unsettled + `)
			FROM webhook_subscriptions s WHERE id = ` + id,
			Args: []any{arg}, Row: func(r Row) error {
				state.Version, state.Cursor, state.Clock = r.Int(0), r.Int(1), duration(r.Int(2))
				state.Paused, state.Redelivery, state.RedeliverUntil = r.Int(3) != 0, r.Int(4), r.Int(5)
				state.Exceptions = int(r.Int(6))
				return nil
			}},
		{SQL: "SELECT DISTINCT a.event FROM webhook_deliveries a" + above + settles + " ORDER BY a.event",
			Args: []any{arg}, Row: add(&state.Settled)},
		{SQL: "SELECT a.event FROM webhook_exceptions a" + above + unsettled + " ORDER BY a.event",
			Args: []any{arg}, Row: add(&state.Excepted)},
		{SQL: `SELECT ordering_key, after_id, excepted, lease_max FROM webhook_holds
			WHERE subscription = ` + id + ` ORDER BY ordering_key`,
			Args: []any{arg}, Row: func(r Row) error {
				state.Holds = append(state.Holds, hookgate.Hold{OrderingKey: r.Text(0), After: r.Int(1),
					Excepted: r.Bool(2), LeaseMax: int(r.Int(3))})
				return nil
			}},
		runningJobs(id, arg, &state.Jobs),
		openLeases(id, arg, &state.Leases),
	}
}

// runningJobs returns the statement that reads the jobs of a subscription that have not ended. id
// is the SQL of its id, with the parameter arg.
func runningJobs(id string, arg any, to *[]hookgate.RedeliveryJob) Statement {
	return Statement{
		SQL: "SELECT " + jobColumns + " FROM webhook_redelivery_jobs j WHERE subscription = " + id +
			" AND ended_at = 0 ORDER BY id",
		Args: []any{arg},
		Row: func(r Row) error {
			job, err := scanJob(r)
			*to = append(*to, job.RedeliveryJob)
			return err
		},
	}
}

// Release implements hookgate.Subscriptions.
func (s *Subscriptions) Release(ctx context.Context, name string, epoch hookgate.Epoch) error {
	released := false
	err := s.db.Change(ctx, nil, func() ([]Statement, error) {
		return []Statement{{
			SQL: "UPDATE webhook_subscriptions SET owner = '', lease_until = 0 WHERE " + named +
				" AND epoch = ?2 RETURNING id",
			Args: []any{name, int64(epoch)},
			Row:  func(Row) error { released = true; return nil },
		}}, nil
	})
	if err != nil {
		return fmt.Errorf("release subscription %s: %w", name, err)
	}
	if released {
		s.setOwner(name, "")
	}
	return nil
}

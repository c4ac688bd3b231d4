package sqlstore

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/hookgate/hookgate"
)

// jobColumns are the columns of webhook_redelivery_jobs in the order in which scanJob reads them.
const jobColumns = `j.id, j.redelivery, j.events, j.after_id, j.until_id, j.filter, j.ordering_key,
	j.rate, j.position, j.delivered, j.failed, j.by_whom, j.reason, j.created_at, j.ended_at,
	j.cancelled`

// scanJob reads a job. Its Subscription is not among the columns.
func scanJob(r Row) (j hookgate.StoredJob, err error) {
	j = hookgate.StoredJob{
		RedeliveryJob: hookgate.RedeliveryJob{
			ID: r.Int(0), Redelivery: r.Int(1), After: r.Int(3), Until: r.Int(4), OrderingKey: r.Text(6),
			Rate: int(r.Int(7)), Position: r.Int(8), Delivered: r.Int(9), Failed: r.Int(10),
		},
		By: r.Text(11), Reason: r.Text(12), CreatedAt: micros(r.Int(13)),
		EndedAt: hookgate.FromMicros(r.Int(14)), Cancelled: r.Bool(15),
	}
	if events := r.Text(2); events != "" {
		err = json.Unmarshal([]byte(events), &j.Events)
	}
	if err == nil {
		err = json.Unmarshal([]byte(r.Text(5)), &j.Filter)
	}
	if err != nil {
		err = fmt.Errorf("redelivery job %d: %w", j.ID, err)
	}
	return j, err
}

// RedeliveryJobs implements hookgate.SubscriptionReader.
func (s *Subscriptions) RedeliveryJobs(ctx context.Context, name string, limit int) (
	all []hookgate.StoredJob, err error) {
	err = s.db.Snapshot(ctx, func(query func(Statement) error) error {
		id, err := idOf(s.Clean(name), query)
		if err != nil {
			return err
		}
		return query(Statement{
			SQL: "SELECT " + jobColumns + ` FROM webhook_redelivery_jobs j WHERE j.subscription = ?
				ORDER BY j.id DESC LIMIT ?`,
			Args: []any{id, cmp.Or(max(limit, 0), defaultLimit)},
			Row: func(r Row) error {
				j, err := scanJob(r)
				j.Subscription = name
				all = append(all, j)
				return err
			},
		})
	})
	if err != nil {
		return nil, fmt.Errorf("read the redelivery jobs of subscription %s: %w", name, err)
	}
	return all, nil
}

// Redeliver implements hookgate.SubscriptionControl. It counts the events before it stores the job.
func (s *Subscriptions) Redeliver(ctx context.Context, name string, job hookgate.RedeliveryJob,
	dryRun bool, p hookgate.Person) (j hookgate.StoredJob, count int, err error) {
	j = hookgate.StoredJob{RedeliveryJob: job, Subscription: name, By: s.Clean(p.By),
		Reason: s.Clean(p.Reason)}
	j.OrderingKey = s.Clean(j.OrderingKey)
	j.Events = slices.Compact(slices.Sorted(slices.Values(j.Events)))
	j.ID, j.Position, j.Delivered, j.Failed = 0, j.After, 0, 0
	if count, err = s.countJob(ctx, name, &j.RedeliveryJob); err == nil {
		err = s.storeJob(ctx, &j, dryRun)
	}
	if err != nil {
		return hookgate.StoredJob{}, 0, fmt.Errorf("redeliver events to subscription %s: %w", name, err)
	}
	return j, count, nil
}

// storeJob gives a job its numbers, and stores it unless dryRun is set.
func (s *Subscriptions) storeJob(ctx context.Context, j *hookgate.StoredJob, dryRun bool) error {
	events := []byte{}
	filter, err := json.Marshal(j.Filter)
	if err == nil && len(j.Events) > 0 {
		events, err = json.Marshal(j.Events)
	}
	if err != nil {
		return err
	}
	var lastJob int64
	reads := []Statement{{
		SQL: "SELECT coalesce(max(id), 0) FROM webhook_redelivery_jobs",
		Row: func(r Row) error { lastJob = r.Int(0); return nil },
	}}
	if s.LockJobs != "" {
		// Two jobs that are stored at the same time would get the same id.
		reads = slices.Insert(reads, 0, Statement{SQL: s.LockJobs})
	}
	return s.control(ctx, j.Subscription, reads, func(c *controlled) ([]Statement, error) {
		j.Redelivery, j.CreatedAt = c.redeliveries+1, micros(c.now)
		if dryRun {
			return nil, nil
		}
		j.ID = lastJob + 1
		return []Statement{
			{SQL: `INSERT INTO webhook_redelivery_jobs (id, subscription, redelivery, events, after_id,
				until_id, filter, ordering_key, rate, position, delivered, failed, by_whom, reason,
				created_at, ended_at, cancelled)
				VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, 0, ?, ?, ?, 0, false)`,
				Args: []any{j.ID, c.id, j.Redelivery, string(events), j.After, j.Until, string(filter),
					j.OrderingKey, j.Rate, j.Position, j.By, j.Reason, c.now}},
			{SQL: "UPDATE webhook_subscriptions SET redeliveries = ? WHERE id = ?",
				Args: []any{j.Redelivery, c.id}},
		}, nil
	})
}

// countWindow bounds the events that one read of countJob examines.
const countWindow = 20_000

// countJob counts the events that a job covers, up to MaxBacklog. It bounds Until by the end of the
// log.
func (s *Subscriptions) countJob(ctx context.Context, name string, j *hookgate.RedeliveryJob) (
	count int, err error) {
	if len(j.Events) > 0 {
		return s.countEvents(ctx, j.Events)
	}
	var own hookgate.Filter
	found, end := false, int64(0)
	if err := s.db.Query(ctx, Statement{
		SQL: `SELECT filter, (SELECT last_id FROM webhook_log) FROM webhook_subscriptions
			WHERE name = ? AND forgotten_at = 0`, Args: []any{s.Clean(name)},
		Row: func(r Row) error {
			found, end = true, r.Int(1)
			return json.Unmarshal([]byte(r.Text(0)), &own)
		},
	}); err != nil {
		return 0, err
	}
	if !found {
		return 0, hookgate.ErrNotFound
	}
	if j.Until == 0 || j.Until > end {
		j.Until = end
	}
	for after, more := j.After, true; more && count < hookgate.MaxBacklog; {
		seen := 0
		if err := s.db.Query(ctx, Statement{
			SQL: `SELECT id, source, event_type, keyed, ordering_key FROM webhook_events
				WHERE id > ? AND id <= ? ORDER BY id LIMIT ?`,
			Args: []any{after, j.Until, countWindow},
			Row: func(r Row) error {
				seen++
				after = r.Int(0)
				source, eventType := r.Text(1), r.Text(2)
				if own.Match(source, eventType) && j.Filter.Match(source, eventType) &&
					(j.OrderingKey == "" || r.Bool(3) && r.Text(4) == j.OrderingKey) {
					count++
				}
				return nil
			},
		}); err != nil {
			return 0, err
		}
		more = seen == countWindow
	}
	return min(count, hookgate.MaxBacklog), nil
}

// countEvents counts those of the events whose bodies are stored.
func (s *Subscriptions) countEvents(ctx context.Context, ids []int64) (count int, err error) {
	for part := range slices.Chunk(ids, listMax) {
		args := make([]any, 2*len(part))
		for i, id := range part {
			args[i], args[len(part)+i] = id, id
		}
		if err := s.db.Query(ctx, Statement{
			SQL: `SELECT count(*) FROM (SELECT id FROM webhook_events WHERE id IN (` + marks(len(part)) +
				`) UNION SELECT id FROM webhook_kept_events WHERE id IN (` + marks(len(part)) + `)) e`,
			Args: args, Row: func(r Row) error { count += int(r.Int(0)); return nil },
		}); err != nil {
			return 0, err
		}
	}
	return min(count, hookgate.MaxBacklog), nil
}

// CancelJob implements hookgate.SubscriptionControl.
func (s *Subscriptions) CancelJob(ctx context.Context, name string, id int64,
	_ hookgate.Person) (cancelled bool, err error) {
	owner := int64(0)
	err = s.control(ctx, name, []Statement{{
		SQL:  "SELECT subscription FROM webhook_redelivery_jobs WHERE id = ? AND ended_at = 0",
		Args: []any{id},
		Row:  func(r Row) error { owner = r.Int(0); return nil },
	}}, func(c *controlled) ([]Statement, error) {
		if cancelled = owner == c.id; !cancelled {
			return nil, nil
		}
		return []Statement{{
			SQL:  "UPDATE webhook_redelivery_jobs SET ended_at = ?, cancelled = true WHERE id = ?",
			Args: []any{c.now, id},
		}}, nil
	})
	if err != nil {
		return false, fmt.Errorf("cancel redelivery job %d of subscription %s: %w", id, name, err)
	}
	return cancelled, nil
}

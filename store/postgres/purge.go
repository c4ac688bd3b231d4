package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/store/sqlstore"
)

const (
	// purgeTargets selects the dead letters with the ids of $1 that have a body, and the earlier
	// dead letters that they retry. LATERAL and LIMIT force the planner to look up each row by its
	// index.
	purgeTargets = `WITH RECURSIVE target (id, request_id, replay_of) AS (
			SELECT id, request_id, replay_of FROM webhook_requests WHERE id = ANY ($1)
				AND outcome = 'dead_lettered'
			UNION SELECT r.id, r.request_id, r.replay_of FROM target t
				JOIN webhook_requests r ON r.request_id = t.replay_of AND r.outcome = 'dead_lettered')
		SELECT t.id, t.request_id FROM target t
		CROSS JOIN LATERAL (SELECT FROM webhook_dead_letters d WHERE d.id = t.id LIMIT 1) d ORDER BY t.id`
	purgeInsert = `id, request_id, purged_by, reason, purged_at, batch, hash`
)

// Purge implements hookgate.Purger.
func (s *Store) Purge(ctx context.Context, p hookgate.Purge) ([]hookgate.RequestID, error) {
	p.By, p.Reason = clean(p.By), clean(p.Reason)
	ids := newRows(1)
	for _, id := range sqlstore.ParseIDs(p.IDs) {
		ids.Int(id)
	}
	if ids.len() == 0 {
		return nil, nil
	}
	a := purging{Purge: p, log: s.newLogPart(), rows: newRows(7), removed: newRows(1)}
	if err := s.append(ctx, &a.log, a.reads(ids.args()), a.log.readFirstHash, a.writes); err != nil {
		return nil, fmt.Errorf("purge dead letters: %w", err)
	}
	return a.purged, nil
}

// purging is one call of Purge.
type purging struct {
	hookgate.Purge
	log     logPart
	targets []purgeTarget

	purged        []hookgate.RequestID
	rows, removed rows // rows of webhook_purges, ids of webhook_dead_letters
}

// purgeTarget is a dead letter to purge.
type purgeTarget struct {
	id      int64
	request hookgate.RequestID
}

func (a *purging) reads(ids []arg) []statement {
	return []statement{
		a.log.lock(),
		{sql: purgeTargets, args: ids, row: func(r row) error {
			request, err := hookgate.ParseRequestID(r.Text(1))
			a.targets = append(a.targets, purgeTarget{r.Int(0), request})
			return err
		}},
	}
}

// writes returns the statements that remove the bodies and add a log entry for each.
func (a *purging) writes() ([]statement, error) {
	if len(a.targets) == 0 {
		return nil, nil
	}
	at := time.Now()
	a.log.anchor(at)
	for i := range a.targets {
		a.add(&a.targets[i], at)
	}
	return append([]statement{
		{sql: "INSERT INTO webhook_retention VALUES ('purge of dead letters')"},
		a.rows.insert("webhook_purges", purgeInsert),
		{sql: "DELETE FROM webhook_dead_letters WHERE id = ANY ($1)", args: a.removed.args()},
		{sql: "DELETE FROM webhook_retention"},
	}, a.log.statements()...), nil
}

func (a *purging) add(t *purgeTarget, at time.Time) {
	l := &a.log
	l.lastID = l.nextID(l.lastID, at)
	l.hash = l.sum.Purge(l.hash, l.lastID, t.request, a.By, a.Reason, at)
	l.purges++
	r := &a.rows
	r.Int(l.lastID)
	r.Text(t.request.String())
	r.Text(a.By)
	r.Text(a.Reason)
	r.Int(at.UnixMicro())
	r.Int(l.lastID)
	r.Bytes(l.hash[:])
	a.removed.Int(t.id)
	a.purged = append(a.purged, t.request)
}

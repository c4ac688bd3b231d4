package sqlite

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/store/sqlstore"
)

// purgeTargets selects the dead letters with the given ids that have a body, and the earlier dead
// letters that they retry.
const purgeTargets = `WITH RECURSIVE target (id, request_id, replay_of) AS (
		SELECT id, request_id, replay_of FROM webhook_requests
			WHERE id IN (SELECT value FROM json_each(?)) AND outcome = 'dead_lettered'
		UNION SELECT r.id, r.request_id, r.replay_of FROM target t
			JOIN webhook_requests r ON r.request_id = t.replay_of AND r.outcome = 'dead_lettered')
	SELECT id, request_id FROM target t WHERE EXISTS (SELECT 1 FROM webhook_dead_letters d
		WHERE d.id = t.id)
	ORDER BY id`

// purgeTarget is a dead letter to purge.
type purgeTarget struct {
	id      int64
	request hookgate.RequestID
}

// Purge implements hookgate.Purger. Like Apply it ignores ctx.
func (s *Store) Purge(_ context.Context, p hookgate.Purge) (purged []hookgate.RequestID,
	err error) {
	ids, err := json.Marshal(append([]int64{}, sqlstore.ParseIDs(p.IDs)...))
	if err != nil {
		return nil, err
	}
	err = s.change(func() (err error) {
		purged, err = s.purge(string(ids), p)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("purge dead letters: %w", err)
	}
	return purged, nil
}

// purge is the work inside the transaction. Each purge is an entry of the log.
func (s *Store) purge(ids string, p hookgate.Purge) (purged []hookgate.RequestID, err error) {
	targets, err := s.purgeTargets(ids)
	if err != nil || len(targets) == 0 {
		return nil, err
	}
	at := time.Now()
	if err := s.anchor(at); err != nil {
		return nil, err
	}
	if err := s.execute("INSERT INTO webhook_retention VALUES ('purge of dead letters')", nil,
		nil); err != nil {
		return nil, err
	}
	for _, t := range targets {
		id := s.nextID(s.log.lastID, at)
		hash := s.hash.Purge(s.log.hash, id, t.request, p.By, p.Reason, at)
		if err := s.execute(`INSERT INTO webhook_purges (id, request_id, purged_by, reason, purged_at,
			batch, hash)
			VALUES (?1, ?2, ?3, ?4, ?5, ?1, ?6)`,
			[]any{id, t.request.String(), p.By, p.Reason, at.UnixMicro(), hash[:]}, nil); err != nil {
			return nil, fmt.Errorf("record the purge of %s: %w", t.request, err)
		}
		if err := s.execute("DELETE FROM webhook_dead_letters WHERE id = ?", []any{t.id},
			nil); err != nil {
			return nil, fmt.Errorf("remove dead letter %s: %w", t.request, err)
		}
		s.log.added(id, hash)
		s.log.purges++
		purged = append(purged, t.request)
	}
	return purged, s.execute("DELETE FROM webhook_retention", nil, nil)
}

func (s *Store) purgeTargets(ids string) (targets []purgeTarget, err error) {
	err = s.execute(purgeTargets, []any{ids}, func(row *sqlite.Stmt) error {
		request, err := hookgate.ParseRequestID(row.ColumnText(1))
		targets = append(targets, purgeTarget{row.ColumnInt64(0), request})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("find dead letters: %w", err)
	}
	return targets, nil
}

// execute runs a statement on the writer's connection.
func (s *Store) execute(query string, args []any, scan func(*sqlite.Stmt) error) error {
	return sqlitex.Execute(s.conn, query, &sqlitex.ExecOptions{Args: args, ResultFunc: scan})
}

package sqlite

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/store/paging"
)

// purgeTargets selects the dead letters with the given ids, and the earlier ones that they replay, if they have a body.
const purgeTargets = `WITH RECURSIVE target (id, request_id, replay_of, partition) AS (
		SELECT id, request_id, replay_of, partition FROM webhook_requests
			WHERE id IN (SELECT value FROM json_each(?)) AND outcome = 'dead_lettered'
		UNION SELECT r.id, r.request_id, r.replay_of, r.partition FROM target t
			JOIN webhook_requests r ON r.request_id = t.replay_of AND r.outcome = 'dead_lettered')
	SELECT id, request_id, partition FROM target t WHERE EXISTS (SELECT 1 FROM webhook_dead_letters d WHERE d.id = t.id)
	ORDER BY partition, id`

// purgeTarget is a dead letter that is to be purged.
type purgeTarget struct {
	id        int64
	request   hookgate.RequestID
	partition int
}

// Purge implements hookgate.Purger. It does not heed ctx, as Apply does not.
func (s *Store) Purge(_ context.Context, p hookgate.Purge) (purged []hookgate.RequestID, err error) {
	ids, err := json.Marshal(append([]int64{}, paging.ParseIDs(p.IDs)...))
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	err = s.tx(func() (err error) {
		purged, err = s.purge(string(ids), p)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("purge dead letters: %w", err)
	}
	return purged, nil
}

// purge is the transaction: for each partition the rows, and then the link that seals them.
func (s *Store) purge(ids string, p hookgate.Purge) (purged []hookgate.RequestID, err error) {
	targets, err := s.purgeTargets(ids)
	if err != nil || len(targets) == 0 {
		return nil, err
	}
	at := time.Now()
	var lastPurge, lastBatch int64
	if err := s.execute("SELECT coalesce(max(id), 0), (SELECT coalesce(max(id), 0) FROM webhook_batches) FROM webhook_purges", nil,
		func(row *sqlite.Stmt) error {
			lastPurge, lastBatch = row.ColumnInt64(0), row.ColumnInt64(1)
			return nil
		}); err != nil {
		return nil, fmt.Errorf("read last ids: %w", err)
	}
	if err := s.execute("INSERT INTO webhook_retention VALUES ('purge of dead letters')", nil, nil); err != nil {
		return nil, err
	}
	for begin, end := 0, 0; begin < len(targets); begin = end {
		head, err := s.head(targets[begin].partition)
		if err != nil {
			return nil, err
		}
		link := head.NextPurge(p, targets[begin].partition, at)
		s.hash.Begin(&link)
		lastBatch++
		for end = begin; end < len(targets) && targets[end].partition == link.Partition; end++ {
			t := &targets[end]
			lastPurge++
			s.hash.AddPurge(t.request, p.By, p.Reason)
			if err := s.execute("INSERT INTO webhook_purges (id, request_id, purged_by, reason, purged_at, batch) VALUES (?, ?, ?, ?, ?, ?)",
				[]any{lastPurge, t.request.String(), p.By, p.Reason, at.UnixMicro(), lastBatch}, nil); err != nil {
				return nil, fmt.Errorf("note purge of %s: %w", t.request, err)
			}
			if err := s.execute("DELETE FROM webhook_dead_letters WHERE id = ?", []any{t.id}, nil); err != nil {
				return nil, fmt.Errorf("remove dead letter %s: %w", t.request, err)
			}
			purged = append(purged, t.request)
		}
		if err := s.seal(lastBatch, &link, linkCounts{purges: end - begin}); err != nil {
			return nil, err
		}
	}
	return purged, s.execute("DELETE FROM webhook_retention", nil, nil)
}

func (s *Store) purgeTargets(ids string) (targets []purgeTarget, err error) {
	err = s.execute(purgeTargets, []any{ids}, func(row *sqlite.Stmt) error {
		request, err := hookgate.ParseRequestID(row.ColumnText(1))
		targets = append(targets, purgeTarget{row.ColumnInt64(0), request, row.ColumnInt(2)})
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

package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/store/batch"
	"github.com/hookgate/hookgate/store/paging"
)

const (
	// purgeTargets is the dead letters with the ids of $1, and the earlier ones that they replay.
	purgeTargets = `WITH RECURSIVE target (id, request_id, replay_of, partition) AS (
			SELECT id, request_id, replay_of, partition FROM webhook_requests WHERE id = ANY ($1) AND outcome = 'dead_lettered'
			UNION SELECT r.id, r.request_id, r.replay_of, r.partition FROM target t
				JOIN webhook_requests r ON r.request_id = t.replay_of AND r.outcome = 'dead_lettered') `
	lockPurgePartitions = purgeTargets + `SELECT p.partition, p.epoch, p.sequence, p.hash FROM webhook_partitions p
		WHERE p.partition IN (SELECT partition FROM target) ORDER BY p.partition FOR UPDATE OF p`
	// As in readHolders, LATERAL and LIMIT have each row looked up by its index.
	readPurgeTargets = purgeTargets + `SELECT t.id, t.request_id, t.partition FROM target t
		CROSS JOIN LATERAL (SELECT FROM webhook_dead_letters d WHERE d.id = t.id LIMIT 1) d ORDER BY t.partition, t.id`
)

// Purge implements hookgate.Purger. It locks the same rows as Apply, in the same order.
func (s *Store) Purge(ctx context.Context, p hookgate.Purge) ([]hookgate.RequestID, error) {
	p.By, p.Reason = clean(p.By), clean(p.Reason)
	ids := newRows(1)
	for _, id := range paging.ParseIDs(p.IDs) {
		ids.int(id)
	}
	if ids.len() == 0 {
		return nil, nil
	}
	a := purging{Purge: p, heads: map[int]batch.Head{}, chain: newChain(), rows: newRows(6), removed: newRows(1)}
	if err := s.tx(ctx, a.reads(ids.args()), a.writes); err != nil {
		return nil, fmt.Errorf("purge dead letters: %w", err)
	}
	return a.purged, nil
}

// purging is one call of Purge.
type purging struct {
	hookgate.Purge
	heads   map[int]batch.Head
	chain   chain
	targets []purgeTarget

	hash          hookgate.LinkHash
	purged        []hookgate.RequestID
	rows, removed rows // of webhook_purges, and of webhook_dead_letters
}

// purgeTarget is a dead letter that is to be purged.
type purgeTarget struct {
	id        int64
	request   hookgate.RequestID
	partition int
}

func (a *purging) reads(ids []arg) []statement {
	return []statement{
		{sql: lockPurgePartitions, args: ids, row: readHead(a.heads)},
		{sql: lockCounters, row: a.chain.readCounters},
		{sql: readPurgeTargets, args: ids, row: func(r row) error {
			request, err := hookgate.ParseRequestID(r.text(1))
			a.targets = append(a.targets, purgeTarget{r.int(0), request, int(r.int(2))})
			return err
		}},
	}
}

// writes returns the statements that remove the bodies, and for each partition the link that seals the purge.
func (a *purging) writes() ([]statement, error) {
	if len(a.targets) == 0 {
		return nil, nil
	}
	if err := a.chain.check(); err != nil {
		return nil, err
	}
	at := time.Now()
	for begin, end := 0, 0; begin < len(a.targets); begin = end {
		partition := a.targets[begin].partition
		head, ok := a.heads[partition]
		if !ok {
			return nil, fmt.Errorf("partition %d was never acquired", partition)
		}
		link := head.NextPurge(a.Purge, partition, at)
		a.hash.Begin(&link)
		for end = begin; end < len(a.targets) && a.targets[end].partition == partition; end++ {
			a.add(&a.targets[end], at)
		}
		a.chain.seal(&link, a.hash.Sum(), linkCounts{purges: int64(end - begin)})
	}
	return append([]statement{
		{sql: "INSERT INTO webhook_retention VALUES ('purge of dead letters')"},
		a.rows.insert("webhook_purges", "id, request_id, purged_by, reason, purged_at, batch"),
		{sql: "DELETE FROM webhook_dead_letters WHERE id = ANY ($1)", args: a.removed.args()},
		{sql: "DELETE FROM webhook_retention"},
	}, a.chain.statements()...), nil
}

func (a *purging) add(t *purgeTarget, at time.Time) {
	a.chain.last.purges++
	a.hash.AddPurge(t.request, a.By, a.Reason)
	r := &a.rows
	r.int(a.chain.last.purges)
	r.text(t.request.String())
	r.text(a.By)
	r.text(a.Reason)
	r.int(at.UnixMicro())
	r.int(a.chain.last.batches + 1)
	a.removed.int(t.id)
	a.purged = append(a.purged, t.request)
}

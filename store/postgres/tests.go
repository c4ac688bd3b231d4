package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/audit"
	"github.com/hookgate/hookgate/store/prune"
	"github.com/hookgate/hookgate/store/sqlstore"
)

// readTests selects the next events of test traffic by their index.
const readTests = `SELECT id, octet_length(payload)::bigint FROM webhook_events
	WHERE source = ` + prune.TestSource + ` ORDER BY id LIMIT $1`

// moveTests moves the events with the ids of $1, without their bodies, and counts them.
var moveTests = `WITH gone AS (DELETE FROM webhook_events
		WHERE id = ANY ($1) AND source = ` + prune.TestSource + ` RETURNING ` + prune.LineageColumns + `),
	moved AS (INSERT INTO webhook_removed_events (` + prune.LineageColumns + `, removed_at)
		SELECT gone.*, $2 FROM gone RETURNING 1)
	SELECT count(*) FROM moved`

// PurgeTests implements hookgate.Purger in one transaction of four round trips. Like Prune it
// touches no row that Apply locks, and one process at a time removes.
func (s *Store) PurgeTests(ctx context.Context, limit int) (hookgate.Pruned, error) {
	s.pruning.Lock() // otherwise retention in this process would find the totals locked and rest
	defer s.pruning.Unlock()
	t := &testRemoval{Tests: prune.NewTests(limit)}
	if err := s.tx(ctx, t.reads(), t.writes, t.check); err != nil {
		return hookgate.Pruned{}, fmt.Errorf("remove test traffic: %w", err)
	}
	return t.Pruned, nil
}

// testRemoval is one call of PurgeTests.
type testRemoval struct {
	*prune.Tests
	// counted reports that webhook_removals has its row. full reports that the step takes no more
	// events.
	counted, full bool
	moved         int64
}

// reads returns the statements that lock the totals and read the events.
func (t *testRemoval) reads() []statement {
	return []statement{
		{sql: sqlstore.RemovalsQuery + " FOR UPDATE", row: func(row) error { t.counted = true; return nil }},
		{sql: readTests, args: []arg{argInt(int64(t.Limit()) + 1)}, row: func(r row) error {
			t.full = t.full || !t.Event(r.Int(0), r.Int(1))
			return nil
		}},
	}
}

func (t *testRemoval) writes() ([]statement, error) {
	if !t.counted {
		return nil, audit.ErrNoRemovals
	}
	if t.Events == 0 {
		return nil, nil
	}
	ids := newRows(1)
	for _, id := range t.IDs {
		ids.Int(id)
	}
	return []statement{
		// This row lets the triggers accept removals. Undoing the transaction removes it too.
		{sql: "INSERT INTO webhook_retention VALUES ('test traffic')"},
		{sql: moveTests, args: append(ids.args(), argInt(time.Now().UnixMicro())),
			row: func(r row) error {
				t.moved = r.Int(0)
				return nil
			}},
		shared(sqlstore.Statement{
			SQL:  "DELETE FROM webhook_request_bodies WHERE " + prune.TestRequestBodies,
			Args: []any{t.IDs[0], t.IDs[len(t.IDs)-1]},
		}),
		{sql: "UPDATE webhook_removals SET events = events + $1", args: []arg{argInt(t.Events)}},
		{sql: "DELETE FROM webhook_retention"},
	}, nil
}

// check prevents the commit unless the transaction moved exactly the events that it read.
func (t *testRemoval) check() ([]statement, error) {
	return nil, prune.CheckRows(moveTests, t.moved, t.Events)
}

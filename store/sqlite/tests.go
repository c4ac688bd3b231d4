package sqlite

import (
	"context"
	"fmt"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/store/prune"
)

// The statements for test traffic name its partial index. Without the index they would read all
// events.
const (
	fromTests = ` FROM webhook_events INDEXED BY webhook_events_tests WHERE source = ` +
		prune.TestSource
	testsQuery = `SELECT id, length(payload)` + fromTests + ` ORDER BY id`
	testsGone  = `DELETE` + fromTests + ` AND id <= ?1`
)

var testsRemoved = `INSERT INTO webhook_removed_events (` + prune.LineageColumns + `, removed_at)
	SELECT ` + prune.LineageColumns + `, ?2` + fromTests + ` AND id <= ?1`

// PurgeTests implements hookgate.Purger. Nothing can be stored meanwhile. Like Apply it ignores
// ctx.
func (s *Store) PurgeTests(_ context.Context, limit int) (hookgate.Pruned, error) {
	step := prune.NewTests(limit)
	if err := s.change(func() error { return s.purgeTests(step) }); err != nil {
		return hookgate.Pruned{}, fmt.Errorf("remove test traffic: %w", err)
	}
	return step.Pruned, nil
}

// purgeTests is the work inside the transaction. If there is nothing to remove, it writes nothing.
func (s *Store) purgeTests(step *prune.Tests) error {
	rows, err := s.conn.Prepare(testsQuery)
	if err != nil {
		return err
	}
	defer rows.Reset()
	for {
		found, err := rows.Step()
		if err != nil {
			return err
		}
		if !found || !step.Event(rows.ColumnInt64(0), rows.ColumnInt64(1)) {
			break
		}
	}
	if err := rows.Reset(); err != nil || step.Events == 0 {
		return err
	}
	first, last := step.IDs[0], step.IDs[len(step.IDs)-1]
	// This row lets the triggers accept removals. Undoing the transaction removes it too.
	if err := s.execute("INSERT INTO webhook_retention VALUES ('test traffic')", nil,
		nil); err != nil {
		return err
	}
	if err := s.mustChange(step.Events, testsRemoved, last, time.Now().UnixMicro()); err != nil {
		return err
	}
	if err := s.indexThrough(last); err != nil {
		return err
	}
	if err := s.removeIndexed(step.Events, fromTests+` AND id <= ?`, last); err != nil {
		return err
	}
	if err := s.mustChange(step.Events, testsGone, last); err != nil {
		return err
	}
	if err := s.execute("DELETE FROM webhook_request_bodies WHERE "+prune.TestRequestBodies,
		[]any{first, last}, nil); err != nil {
		return fmt.Errorf("remove the bodies of requests: %w", err)
	}
	if err := s.mustChange(1, "UPDATE webhook_removals SET events = events + ?",
		step.Events); err != nil {
		return err
	}
	return s.execute("DELETE FROM webhook_retention", nil, nil)
}

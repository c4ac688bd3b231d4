package sqlite

import (
	"context"
	"fmt"
	"strings"
	"time"

	"zombiezen.com/go/sqlite"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/audit"
	"github.com/hookgate/hookgate/store/prune"
	"github.com/hookgate/hookgate/store/sqlstore"
)

// Prune removes rows older than the cutoffs, about limit of them, in one durable transaction.
// Nothing can be stored meanwhile. Like Apply it ignores ctx.
func (s *Store) Prune(_ context.Context, c hookgate.Cutoffs, limit int) (hookgate.Pruned, error) {
	var step *prune.Step
	err := s.change(func() (err error) {
		step, err = s.prune(c, limit)
		return err
	})
	if err != nil {
		return hookgate.Pruned{}, fmt.Errorf("remove old data: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pruneCursor, s.entryCursor, s.keptPass = step.Cursor, step.EntryCursor, step.NextKept()
	return step.Pruned, nil
}

// prune is the work inside the transaction. If there is nothing to remove, it writes nothing, and
// the commit costs nothing.
func (s *Store) prune(c hookgate.Cutoffs, limit int) (*prune.Step, error) {
	before, err := s.removals()
	if err != nil {
		return nil, err
	}
	step := prune.NewStep(c, limit, before, s.pruneCursor)
	if err := s.execute(prune.HolderQuery, nil, func(stmt *sqlite.Stmt) error {
		step.Hold(prune.ScanHolder(row{stmt}))
		return nil
	}); err != nil {
		return nil, err
	}
	if err := s.planEvents(step); err != nil {
		return nil, err
	}
	if err := s.planLinks(step); err != nil {
		return nil, err
	}
	if err := s.planEntries(step); err != nil {
		return nil, err
	}
	if err := s.examineKept(step, limit); err != nil || step.Idle() {
		return step, err
	}
	// This row lets the triggers accept removals. Undoing the transaction removes it too.
	if err := s.execute("INSERT INTO webhook_retention VALUES ('retention')", nil, nil); err != nil {
		return nil, err
	}
	now := time.Now().UnixMicro()
	if step.Events > 0 {
		if err := s.moveEvents(before.LastEvent, step.State.LastEvent, step.Events, now); err != nil {
			return nil, err
		}
		if err := s.execute("DELETE FROM webhook_request_bodies WHERE "+prune.OldRequestBodies,
			[]any{step.RequestBodiesBefore(), int64(limit)}, nil); err != nil {
			return nil, fmt.Errorf("remove the bodies of requests: %w", err)
		}
	}
	for i := range step.Links {
		if err := s.removeLink(&step.Links[i]); err != nil {
			return nil, fmt.Errorf("link %d of partition %d: %w", step.Links[i].Sequence,
				step.Links[i].Partition, err)
		}
	}
	for i := range step.Checkpoints {
		if err := s.writeCheckpoint(&step.Checkpoints[i], now); err != nil {
			return nil, err
		}
	}
	for i := range step.Gaps {
		if err := s.removeEntries(&step.Gaps[i], now); err != nil {
			return nil, fmt.Errorf("entries %d to %d: %w", step.Gaps[i].From, step.Gaps[i].To, err)
		}
	}
	if err := s.removeDeliveries(step); err != nil {
		return nil, err
	}
	r := step.State
	if err := s.execute(`UPDATE webhook_removals SET events = ?, duplicates = ?, dead_letters = ?,
		last_event = ?, last_request = ?,
		last_batch = ?, last_purge = ?`,
		[]any{r.Events, r.Duplicates, r.DeadLetters, r.LastEvent, r.LastRequest, r.LastBatch,
			r.LastPurge}, nil); err != nil {
		return nil, err
	}
	return step, s.execute("DELETE FROM webhook_retention", nil, nil)
}

// mustChange runs a statement and returns an error unless it changes that many rows.
func (s *Store) mustChange(rows int64, text string, args ...any) error {
	if err := s.execute(text, args, nil); err != nil {
		return err
	}
	return prune.CheckRows(text, int64(s.conn.Changes()), rows)
}

func (s *Store) removals() (r audit.Removals, err error) {
	found := false
	err = s.execute(sqlstore.RemovalsQuery, nil, func(stmt *sqlite.Stmt) error {
		found, r = true, sqlstore.ScanRemovals(row{stmt})
		return nil
	})
	if err == nil && !found {
		err = audit.ErrNoRemovals
	}
	return r, err
}

const (
	oldEventsQuery = `SELECT e.id, length(e.payload), e.persisted_at FROM webhook_events e
		WHERE e.id > ? ORDER BY e.id`
	oldLinksQuery = `SELECT ` + prune.LinkColumns +
		` FROM webhook_batches b WHERE b.id > ? ORDER BY b.id`
)

// planEvents offers events to the step until the step accepts no more.
func (s *Store) planEvents(step *prune.Step) error {
	return s.offer(oldEventsQuery, step.State.LastEvent, func(row *sqlite.Stmt) bool {
		return step.Event(row.ColumnInt64(0), row.ColumnInt64(1), micros(row.ColumnInt64(2)))
	})
}

// planLinks offers links to the step.
func (s *Store) planLinks(step *prune.Step) error {
	if !step.WantsLinks() {
		return nil
	}
	more := true
	err := s.offer(oldLinksQuery, step.Cursor, func(stmt *sqlite.Stmt) bool {
		more = step.Link(prune.ScanLink(row{stmt}))
		return more
	})
	if err == nil && more {
		step.NoMoreLinks()
	}
	return err
}

// planEntries offers entries of the log to the step.
func (s *Store) planEntries(step *prune.Step) error {
	step.EntryCursor = s.entryCursor
	if !step.WantsEntries() {
		return nil
	}
	previous, beginsAfter, err := s.entryBefore(step.EntryCursor)
	if err != nil {
		return err
	}
	step.BeginEntries(previous)
	more := true
	err = s.offer(entriesQuery, max(step.EntryCursor, beginsAfter), func(stmt *sqlite.Stmt) bool {
		e := prune.ScanEntry(row{stmt})
		more = step.Entry(&e)
		return more
	})
	if err == nil && more {
		step.NoMoreEntries()
	}
	return err
}

var entriesQuery = strings.ReplaceAll(prune.EntriesQuery, "?", "?1")

// entryBefore returns the hash of the entry at a cursor, or of the gap that now contains it, and
// the id after which the log begins.
func (s *Store) entryBefore(cursor int64) (hash [32]byte, beginsAfter int64, err error) {
	if err := s.execute("SELECT begins_after FROM webhook_log", nil, func(row *sqlite.Stmt) error {
		beginsAfter = row.ColumnInt64(0)
		return nil
	}); err != nil {
		return hash, 0, err
	}
	if cursor == 0 {
		hash, err = firstHash(s.conn)
		return hash, beginsAfter, err
	}
	found := false
	err = s.execute(prune.EntryBeforeQuery,
		[]any{cursor}, func(row *sqlite.Stmt) error {
			found = true
			row.ColumnBytes(0, hash[:])
			return nil
		})
	if err == nil && !found {
		err = fmt.Errorf("entry %d of the log is missing; run `hookgate audit verify`", cursor)
	}
	return hash, beginsAfter, err
}

// offer calls take with each row of a query until take returns false.
func (s *Store) offer(query string, after int64, take func(*sqlite.Stmt) bool) error {
	rows, err := s.conn.Prepare(query)
	if err != nil {
		return err
	}
	defer rows.Reset()
	rows.BindInt64(1, after)
	for {
		if found, err := rows.Step(); err != nil || !found || !take(rows) {
			return err
		}
	}
}

// examineKept plans what goes from webhook_kept_events.
func (s *Store) examineKept(step *prune.Step, limit int) error {
	args := s.keptPass.Args(limit)
	return s.execute(prune.KeptQuery, args, func(stmt *sqlite.Stmt) error {
		step.Examine(prune.ScanKept(args, row{stmt}))
		return nil
	})
}

// removeDeliveries removes the attempts whose lineage the step removes, and from
// webhook_kept_events what no subscription needs any more.
func (s *Store) removeDeliveries(step *prune.Step) error {
	for _, r := range step.RemovedLineage() {
		first, last := r[0], r[1]
		if err := s.execute(prune.DeliveriesOf, []any{first, last, first, last, first, last},
			nil); err != nil {
			return fmt.Errorf("remove the attempts of events %d to %d: %w", first, last, err)
		}
	}
	if k := step.Kept; k.Unneeded > 0 {
		if err := s.execute(prune.ReleaseDeliveries, []any{k.After, k.Last, k.After, k.Last},
			nil); err != nil {
			return fmt.Errorf("remove the attempts of kept events: %w", err)
		}
		return s.mustChange(k.Unneeded, prune.ReleaseKept, k.After, k.Last)
	}
	return nil
}

// moveEvents moves the n events with ids above first, up to last, without their bodies. It copies
// those that a subscription needs to webhook_kept_events.
func (s *Store) moveEvents(first, last, n, now int64) error {
	if err := s.execute(prune.Keep, []any{first, last}, nil); err != nil {
		return fmt.Errorf("keep events that subscriptions need: %w", err)
	}
	if err := s.indexThrough(last); err != nil {
		return err
	}
	if err := s.removeIndexed(n, ` FROM webhook_events WHERE id > ? AND id <= ?`, first,
		last); err != nil {
		return err
	}
	if err := s.mustChange(n, `INSERT INTO webhook_removed_events (`+prune.LineageColumns+
		`, removed_at)
		SELECT `+prune.LineageColumns+`, ? FROM webhook_events WHERE id > ?
			AND id <= ?`, now, first, last); err != nil {
		return err
	}
	return s.mustChange(n, `DELETE FROM webhook_events WHERE id > ? AND id <= ?`, first, last)
}

// removeLink removes a link with all of its rows. It fails if their number differs from what the
// link recorded.
func (s *Store) removeLink(l *prune.Link) error {
	for _, d := range []struct {
		rows      int64
		statement string
		args      []any
	}{
		{l.Events, "DELETE FROM webhook_removed_events WHERE id > ? AND id <= ? AND batch = ?",
			[]any{l.LastEvent - l.Events, l.LastEvent, l.ID}},
		{l.Requests, "DELETE FROM webhook_requests WHERE id > ? AND id <= ? AND batch = ?",
			[]any{l.LastRequest - l.Requests, l.LastRequest, l.ID}},
		{l.Purges, "DELETE FROM webhook_purges WHERE batch = ?", []any{l.ID}},
		{1, "DELETE FROM webhook_batches WHERE id = ?", []any{l.ID}},
	} {
		if d.rows == 0 {
			continue
		}
		if err := s.mustChange(d.rows, d.statement, d.args...); err != nil {
			return err
		}
	}
	return nil
}

// removeEntries removes a run of entries and records the gap. It fails if their number differs from
// what was stored.
func (s *Store) removeEntries(g *audit.Gap, now int64) error {
	for _, d := range []struct {
		rows  int64
		table string
	}{
		{g.Events, "webhook_removed_events"}, {g.Duplicates + g.DeadLetters, "webhook_requests"},
		{g.Purges, "webhook_purges"},
		{g.Anchors, "webhook_anchors"},
	} {
		if d.rows == 0 {
			continue
		}
		if err := s.mustChange(d.rows, "DELETE FROM "+d.table+" WHERE id >= ? AND id <= ?", g.From,
			g.To); err != nil {
			return err
		}
	}
	if err := s.writeRows(gapStatements, prune.GapArgs(g, now)); err != nil {
		return fmt.Errorf("write the gap: %w", err)
	}
	return nil
}

// The statements of package prune with SQLite's parameters.
var (
	checkpointStatements = prune.CheckpointStatements("?")
	gapStatements        = prune.GapStatements("?")
)

func (s *Store) writeCheckpoint(c *audit.Checkpoint, now int64) error {
	if err := s.writeRows(checkpointStatements, prune.CheckpointArgs(c, now)); err != nil {
		return fmt.Errorf("write checkpoint of partition %d: %w", c.Partition, err)
	}
	return nil
}

// writeRows runs statements with the same parameters. Each takes as many as it has.
func (s *Store) writeRows(statements []string, args []any) error {
	for _, text := range statements {
		statement, err := s.conn.Prepare(text)
		if err != nil {
			return err
		}
		for i := range min(len(args), statement.BindParamCount()) {
			switch v := args[i].(type) {
			case int64:
				statement.BindInt64(i+1, v)
			case []byte:
				statement.BindBytes(i+1, v)
			}
		}
		if _, err := statement.Step(); err != nil {
			return err
		}
		if err := statement.Reset(); err != nil {
			return err
		}
	}
	return nil
}

package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/store/prune"
)

// defaultHoldTime is how long removal stays with a process that does not go on with it.
const defaultHoldTime = time.Minute

// Prune removes what is older than the cutoffs: about limit rows at most, in one durable transaction of four round trips. It
// touches no row that Apply locks. One process at a time removes: the others are told that the store is Busy until that has
// let a minute pass.
func (s *Store) Prune(ctx context.Context, c hookgate.Cutoffs, limit int) (hookgate.Pruned, error) {
	s.pruning.Lock()
	defer s.pruning.Unlock()
	p := &pruning{store: s, cutoffs: c, limit: max(1, limit)}
	if err := s.tx(ctx, p.reads(), p.readLinks, p.writes, p.check); err != nil {
		return hookgate.Pruned{}, fmt.Errorf("remove what is old: %w", err)
	}
	if p.step == nil {
		return hookgate.Pruned{Busy: true}, nil
	}
	s.pruneCursor = p.step.Cursor
	return p.step.Pruned, nil
}

// pruning is one call of Prune.
type pruning struct {
	store   *Store
	cutoffs hookgate.Cutoffs
	limit   int

	// What the first round trip reads.
	state  *prune.State // nil if another process removes
	events []oldEvent
	links  []prune.Link

	step *prune.Step
	// changes are the numbers of rows that the writes must change and have changed.
	changes []change
}

type oldEvent struct {
	id, bytes   int64
	persistedAt time.Time
}

type change struct {
	statement  string
	want, have int64
}

const (
	// A row that another process has locked is left out, and so is one that another holds.
	lockRemovals = readRemovals + ` WHERE holder = $1 OR held_until < ` + databaseNow + ` FOR UPDATE SKIP LOCKED`
	readRemovals = `SELECT events, duplicates, dead_letters, last_event, last_request, last_batch, last_purge FROM webhook_removals`
	databaseNow  = `(extract(epoch FROM clock_timestamp()) * 1000000)::bigint`
	oldEvents    = `SELECT id, octet_length(payload)::bigint, persisted_at FROM webhook_events
		WHERE id > (SELECT last_event FROM webhook_removals) ORDER BY id LIMIT $1`
	// The window ends the page where the links come to $2 rows: whether a link is kept is not looked up for more of them.
	oldLinks = `SELECT ` + prune.LinkColumns + `
		FROM (SELECT *, sum(1 + events + requests + purges) OVER (ORDER BY id) - (1 + events + requests + purges) AS rows_before
			FROM (SELECT * FROM webhook_batches WHERE id > $1 ORDER BY id LIMIT 500) p) b
		WHERE b.rows_before <= $2 ORDER BY b.id`
)

// reads returns what the first round trip runs: the lock, and then the events that come next.
func (p *pruning) reads() []statement {
	return []statement{
		{sql: lockRemovals, args: []arg{argText(p.store.name)}, row: func(r row) error {
			state := scanRemovals(r)
			p.state = &state
			return nil
		}},
		{sql: oldEvents, args: []arg{argInt(int64(p.limit) + 1)}, row: func(r row) error {
			p.events = append(p.events, oldEvent{r.int(0), r.int(1), micros(r.int(2))})
			return nil
		}},
	}
}

// readLinks plans the events and returns what reads the links that come next, if the step comes to them.
func (p *pruning) readLinks() ([]statement, error) {
	if p.state == nil {
		return nil, nil
	}
	p.step = prune.NewStep(p.cutoffs, p.limit, *p.state, p.store.pruneCursor)
	for _, e := range p.events {
		if !p.step.Event(e.id, e.bytes, e.persistedAt) {
			break
		}
	}
	if !p.step.WantsLinks() {
		return nil, nil
	}
	return []statement{{sql: oldLinks, args: []arg{argInt(p.store.pruneCursor), argInt(int64(p.limit))}, row: func(r row) error {
		p.links = append(p.links, scanOldLink(r))
		return nil
	}}}, nil
}

func scanRemovals(r row) prune.State {
	return prune.State{Events: r.int(0), Duplicates: r.int(1), DeadLetters: r.int(2), LastEvent: r.int(3), LastRequest: r.int(4),
		LastBatch: r.int(5), LastPurge: r.int(6)}
}

func scanOldLink(r row) prune.Link {
	l := prune.Link{
		ID: r.int(0), Partition: int(r.int(1)), Sequence: r.int(2), Events: r.int(5), Requests: r.int(6), Purges: r.int(7),
		LastEvent: r.int(8), LastRequest: r.int(9), PersistedAt: micros(r.int(10)), Duplicates: r.int(11), LastPurge: r.int(12), Kept: r.bool(13),
	}
	copy(l.Previous[:], r[3])
	copy(l.Hash[:], r[4])
	return l
}

// planLinks decides which links go.
func (p *pruning) planLinks() {
	for _, l := range p.links {
		if !p.step.Link(l) {
			return
		}
	}
	if len(p.links) == 0 {
		p.step.NoMoreLinks()
	} else {
		p.step.More = true // there may be some behind the page
	}
}

// writes returns the statements that remove.
func (p *pruning) writes() ([]statement, error) {
	if p.state == nil {
		return nil, nil
	}
	if p.step.WantsLinks() {
		p.planLinks()
	}
	if p.step.Idle() {
		return nil, nil
	}
	// The latch is undone by whatever undoes the transaction.
	writes := []statement{{sql: "INSERT INTO webhook_retention VALUES ('retention')"}}
	now := time.Now().UnixMicro()
	r := p.step.State
	if p.step.Events > 0 {
		writes = append(writes, p.change(p.step.Events, `WITH gone AS (DELETE FROM webhook_events WHERE id > $1 AND id <= $2
				RETURNING `+prune.LineageColumns+`),
			moved AS (INSERT INTO webhook_removed_events (`+prune.LineageColumns+`, removed_at) SELECT gone.*, $3 FROM gone RETURNING 1)
			SELECT count(*) FROM moved`, argInt(p.state.LastEvent), argInt(r.LastEvent), argInt(now)),
			numbered("DELETE FROM webhook_request_bodies WHERE "+prune.OldRequestBodies, []any{p.step.RequestBodiesBefore(), int64(p.limit)}))
	}
	writes = append(writes, p.removeLinks()...)
	for i := range p.step.Checkpoints {
		writes = append(writes, checkpoint(&p.step.Checkpoints[i], now)...)
	}
	return append(writes, statement{
		sql: `UPDATE webhook_removals SET events = $1, duplicates = $2, dead_letters = $3, last_event = $4, last_request = $5,
			last_batch = $6, last_purge = $7, holder = $8, held_until = ` + databaseNow + ` + $9`,
		args: []arg{argInt(r.Events), argInt(r.Duplicates), argInt(r.DeadLetters), argInt(r.LastEvent), argInt(r.LastRequest),
			argInt(r.LastBatch), argInt(r.LastPurge), argText(p.store.name), argInt(p.store.holdTime.Microseconds())},
	}, statement{sql: "DELETE FROM webhook_retention"}), nil
}

// removeLinks returns the statements that remove the links with all that they sealed. Their rows are looked up link by link,
// because the planner, which does not know how few they are, would read the tables for a join.
func (p *pruning) removeLinks() []statement {
	if len(p.step.Links) == 0 {
		return nil
	}
	links := newRows(5)
	var events, requests, purges int64
	for _, l := range p.step.Links {
		links.int(l.ID)
		links.int(l.LastEvent - l.Events)
		links.int(l.LastEvent)
		links.int(l.LastRequest - l.Requests)
		links.int(l.LastRequest)
		events += l.Events
		requests += l.Requests
		purges += l.Purges
	}
	var all []statement
	for _, d := range []struct {
		rows         int64
		table, which string
	}{
		{events, "webhook_removed_events", "r.batch = l.id AND r.id > l.event_before AND r.id <= l.last_event"},
		{requests, "webhook_requests", "r.batch = l.id AND r.id > l.request_before AND r.id <= l.last_request"},
		{purges, "webhook_purges", "r.batch = l.id"},
		{int64(len(p.step.Links)), "webhook_batches", "r.id = l.id"},
	} {
		if d.rows > 0 {
			all = append(all, p.change(d.rows, fmt.Sprintf(removeRows, d.table, links.unnest(), d.table, d.which), links.args()...))
		}
	}
	return all
}

// removeRows removes the rows of a table that belong to links, and counts them. OFFSET 0 keeps the look-up what it is.
const removeRows = `WITH gone AS (DELETE FROM %s WHERE id = ANY (ARRAY(
		SELECT r.id FROM %s AS l (id, event_before, last_event, request_before, last_request)
			CROSS JOIN LATERAL (SELECT r.id FROM %s r WHERE %s OFFSET 0) r)) RETURNING 1)
	SELECT count(*) FROM gone`

// change returns a statement that counts the rows it changes, which must be so many.
func (p *pruning) change(want int64, sql string, args ...arg) statement {
	i := len(p.changes)
	p.changes = append(p.changes, change{statement: sql, want: want})
	return statement{sql: sql, args: args, row: func(r row) error {
		p.changes[i].have = r.int(0)
		return nil
	}}
}

// check keeps the transaction from being committed if the store does not hold what it has sealed.
func (p *pruning) check() ([]statement, error) {
	for _, c := range p.changes {
		if err := prune.CheckRows(c.statement, c.have, c.want); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// checkpointStatements are those of prune in PostgreSQL's dialect.
var checkpointStatements = prune.CheckpointStatements("$")

func checkpoint(c *prune.Checkpoint, now int64) []statement {
	var args []arg
	for _, v := range c.Args(now) {
		switch v := v.(type) {
		case int64:
			args = append(args, argInt(v))
		case []byte:
			args = append(args, argBytes(v))
		}
	}
	var all []statement
	for _, sql := range checkpointStatements {
		all = append(all, statement{sql: sql, args: args})
	}
	return all
}

package postgres

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/audit"
	"github.com/hookgate/hookgate/store/prune"
	"github.com/hookgate/hookgate/store/sqlstore"
)

// defaultHoldTime is how long removal stays with a process that has stopped removing.
const defaultHoldTime = time.Minute

// Prune removes rows older than the cutoffs, about limit of them, in one durable transaction of
// five round trips. It touches no row that Apply locks. One process at a time removes. Prune
// returns Busy in the others, until that process has paused for a minute.
func (s *Store) Prune(ctx context.Context, c hookgate.Cutoffs, limit int) (hookgate.Pruned, error) {
	s.pruning.Lock()
	defer s.pruning.Unlock()
	p := &pruning{store: s, cutoffs: c, limit: max(1, limit)}
	if err := s.tx(ctx, p.reads(), p.readLinks, p.readEntries, p.writes, p.check); err != nil {
		return hookgate.Pruned{}, fmt.Errorf("remove old data: %w", err)
	}
	if p.step == nil {
		return hookgate.Pruned{Busy: true}, nil
	}
	s.pruneCursor, s.entryCursor = p.step.Cursor, p.step.EntryCursor
	s.keptPass = p.step.NextKept()
	return p.step.Pruned, nil
}

// pruning is one call of Prune.
type pruning struct {
	store   *Store
	cutoffs hookgate.Cutoffs
	limit   int

	// The results of the first round trips.
	state  *audit.Removals // nil if another process removes
	events []oldEvent
	links  []prune.Link
	holder *prune.Holder // nil if there never was a subscription
	kept   prune.Kept
	// previous is the hash of the entry before the first of entries.
	previous *[32]byte
	entries  []prune.Entry

	step *prune.Step
	// changes has, for each write, the number of rows that it must change and has changed.
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
	// This returns no row if another process has locked the row or holds the removal.
	lockRemovals = sqlstore.RemovalsQuery + ` WHERE holder = $1 OR held_until < ` + databaseNow +
		` FOR UPDATE SKIP LOCKED`
	databaseNow = `(extract(epoch FROM clock_timestamp()) * 1000000)::bigint`
	oldEvents   = `SELECT id, octet_length(payload)::bigint, persisted_at FROM webhook_events
		WHERE id > (SELECT last_event FROM webhook_removals) ORDER BY id LIMIT $1`
	// The window ends the page at $2 rows, so that the costly condition is not evaluated for more
	// links.
	oldLinks = `SELECT ` + prune.LinkColumns + `
		FROM (SELECT *, sum(1 + events + requests + purges) OVER (ORDER BY id) - (1 + events + requests + purges) AS rows_before
			FROM (SELECT * FROM webhook_batches WHERE id > $1 ORDER BY id LIMIT 500) p) b
		WHERE b.rows_before <= $2 ORDER BY b.id`
)

// reads returns the statements of the first round trip: the lock, then the next events. Seek takes
// the same lock, so no cursor goes back behind the lowest one that is read here.
func (p *pruning) reads() []statement {
	kept := p.store.keptPass.Args(p.limit)
	return []statement{
		{sql: lockRemovals, args: []arg{argText(p.store.name)}, row: func(r row) error {
			state := sqlstore.ScanRemovals(r)
			p.state = &state
			return nil
		}},
		{sql: oldEvents, args: []arg{argInt(int64(p.limit) + 1)}, row: func(r row) error {
			p.events = append(p.events, oldEvent{r.Int(0), r.Int(1), micros(r.Int(2))})
			return nil
		}},
		{sql: prune.HolderQuery, row: func(r row) error {
			p.holder = prune.ScanHolder(&r)
			return nil
		}},
		shared(sqlstore.Statement{
			SQL: prune.KeptQuery, Args: kept,
			Row: func(r sqlstore.Row) error { p.kept = prune.ScanKept(kept, r); return nil },
		}),
	}
}

// readLinks plans the events. If the step then wants links, it returns the statement that reads the
// next ones.
func (p *pruning) readLinks() ([]statement, error) {
	if p.state == nil {
		return nil, nil
	}
	p.step = prune.NewStep(p.cutoffs, p.limit, *p.state, p.store.pruneCursor)
	p.step.Hold(p.holder)
	for _, e := range p.events {
		if !p.step.Event(e.id, e.bytes, e.persistedAt) {
			break
		}
	}
	if !p.step.WantsLinks() {
		return nil, nil
	}
	return []statement{{sql: oldLinks, args: []arg{argInt(p.store.pruneCursor),
		argInt(int64(p.limit))}, row: func(r row) error {
		p.links = append(p.links, prune.ScanLink(r))
		return nil
	}}}, nil
}

// entryPage is the least number of entries in one read.
const entryPage = 500

// entriesQuery selects $2 entries of the log after $1. It reads each table by its primary key.
var entriesQuery = func() string {
	all, _ := strings.CutSuffix(strings.ReplaceAll(prune.EntriesQuery, "?", "$1"), "ORDER BY 1")
	var b strings.Builder
	for i, table := range strings.Split(all, "UNION ALL") {
		if i > 0 {
			b.WriteString(" UNION ALL ")
		}
		b.WriteString("(" + table + " ORDER BY 1 LIMIT $2)")
	}
	return b.String() + " ORDER BY 1 LIMIT $2"
}()

var entryBefore = numbered(prune.EntryBeforeQuery)

// readEntries plans the links. If the step then wants entries, it returns the statements that read
// the next ones.
func (p *pruning) readEntries() ([]statement, error) {
	if p.state == nil {
		return nil, nil
	}
	p.step.EntryCursor = p.store.entryCursor
	if p.step.WantsLinks() {
		p.planLinks()
	}
	if !p.step.WantsEntries() {
		return nil, nil
	}
	take := func(r row) error {
		p.entries = append(p.entries, prune.ScanEntry(r))
		return nil
	}
	limit := argInt(int64(max(p.limit+1, entryPage)))
	cursor := p.step.EntryCursor
	if cursor > 0 {
		return []statement{
			{sql: entryBefore, args: []arg{argInt(cursor)}, row: func(r row) error {
				p.previous = (*[32]byte)(r.Bytes(0))
				return nil
			}},
			{sql: entriesQuery, args: []arg{argInt(cursor), limit}, row: take},
		}, nil
	}
	first := audit.FirstHash(nil)
	p.previous = &first
	var heads []audit.ChainHead
	return []statement{
		{sql: sqlstore.ChainHeadsQuery, row: func(r row) error {
			heads = append(heads, sqlstore.ScanChainHead(r))
			first = audit.FirstHash(heads)
			return nil
		}},
		{sql: strings.ReplaceAll(entriesQuery, "$1", "(SELECT begins_after + $1 FROM webhook_log)"),
			args: []arg{argInt(0), limit}, row: take},
	}, nil
}

// planEntries decides which entries to remove.
func (p *pruning) planEntries() error {
	if p.previous == nil {
		return fmt.Errorf("entry %d of the log is missing; run `hookgate audit verify`",
			p.step.EntryCursor)
	}
	p.step.BeginEntries(*p.previous)
	for i := range p.entries {
		if !p.step.Entry(&p.entries[i]) {
			return nil
		}
	}
	if len(p.entries) == 0 {
		p.step.NoMoreEntries()
	} else {
		p.step.More = true // more may follow this page
	}
	return nil
}

// planLinks decides which links to remove.
func (p *pruning) planLinks() {
	for _, l := range p.links {
		if !p.step.Link(l) {
			return
		}
	}
	if len(p.links) == 0 {
		p.step.NoMoreLinks()
	} else {
		p.step.More = true // more may follow this page
	}
}

// writes returns the statements that remove rows.
func (p *pruning) writes() ([]statement, error) {
	if p.state == nil {
		return nil, nil
	}
	if p.step.WantsEntries() {
		if err := p.planEntries(); err != nil {
			return nil, err
		}
	}
	p.step.Examine(p.kept)
	if p.step.Idle() {
		return nil, nil
	}
	// This row lets the triggers accept removals. Undoing the transaction removes it too.
	writes := []statement{{sql: "INSERT INTO webhook_retention VALUES ('retention')"}}
	now := time.Now().UnixMicro()
	r := p.step.State
	if p.step.Events > 0 {
		writes = append(writes, shared(sqlstore.Statement{SQL: prune.Keep,
			Args: []any{p.state.LastEvent, r.LastEvent}}), p.change(p.step.Events,
			`WITH gone AS (DELETE FROM webhook_events WHERE id > $1 AND id <= $2
				RETURNING `+prune.LineageColumns+`),
			moved AS (INSERT INTO webhook_removed_events (`+prune.LineageColumns+`, removed_at)
				SELECT gone.*, $3 FROM gone RETURNING 1)
			SELECT count(*) FROM moved`, argInt(p.state.LastEvent), argInt(r.LastEvent), argInt(now)),
			shared(sqlstore.Statement{
				SQL:  "DELETE FROM webhook_request_bodies WHERE " + prune.OldRequestBodies,
				Args: []any{p.step.RequestBodiesBefore(), p.limit},
			}))
	}
	writes = append(writes, p.removeLinks()...)
	for i := range p.step.Checkpoints {
		args := prune.CheckpointArgs(&p.step.Checkpoints[i], now)
		writes = append(writes, writeRows(checkpointStatements, args)...)
	}
	for i := range p.step.Gaps {
		writes = append(writes, p.removeEntries(&p.step.Gaps[i], now)...)
	}
	writes = append(writes, p.removeDeliveries()...)
	return append(writes, statement{
		sql: `UPDATE webhook_removals SET events = $1, duplicates = $2, dead_letters = $3,
			last_event = $4, last_request = $5,
			last_batch = $6, last_purge = $7, holder = $8, held_until = ` + databaseNow + ` + $9`,
		args: []arg{argInt(r.Events), argInt(r.Duplicates), argInt(r.DeadLetters), argInt(r.LastEvent),
			argInt(r.LastRequest),
			argInt(r.LastBatch), argInt(r.LastPurge), argText(p.store.name),
			argInt(p.store.holdTime.Microseconds())},
	}, statement{sql: "DELETE FROM webhook_retention"}), nil
}

// removeDeliveries returns the statements that remove the attempts whose lineage the step removes,
// and from webhook_kept_events what no subscription needs any more.
func (p *pruning) removeDeliveries() (all []statement) {
	for _, r := range p.step.RemovedLineage() {
		first, last := r[0], r[1]
		all = append(all, shared(sqlstore.Statement{SQL: prune.DeliveriesOf,
			Args: []any{first, last, first, last, first, last}}))
	}
	if k := p.step.Kept; k.Unneeded > 0 {
		all = append(all,
			shared(sqlstore.Statement{SQL: prune.ReleaseDeliveries,
				Args: []any{k.After, k.Last, k.After, k.Last}}),
			shared(sqlstore.Statement{SQL: prune.ReleaseKept, Args: []any{k.After, k.Last}}))
	}
	return all
}

// removeLinks returns the statements that remove the links with all of their rows. They look up the
// rows link by link. The planner does not know how few the links are, and would read whole tables
// for a join.
func (p *pruning) removeLinks() []statement {
	if len(p.step.Links) == 0 {
		return nil
	}
	links := newRows(5)
	var events, requests, purges int64
	for _, l := range p.step.Links {
		links.Int(l.ID)
		links.Int(l.LastEvent - l.Events)
		links.Int(l.LastEvent)
		links.Int(l.LastRequest - l.Requests)
		links.Int(l.LastRequest)
		events += l.Events
		requests += l.Requests
		purges += l.Purges
	}
	var all []statement
	for _, d := range []struct {
		rows         int64
		table, which string
	}{
		{events, "webhook_removed_events",
			"r.batch = l.id AND r.id > l.event_before AND r.id <= l.last_event"},
		{requests, "webhook_requests",
			"r.batch = l.id AND r.id > l.request_before AND r.id <= l.last_request"},
		{purges, "webhook_purges", "r.batch = l.id"},
		{int64(len(p.step.Links)), "webhook_batches", "r.id = l.id"},
	} {
		if d.rows > 0 {
			all = append(all, p.change(d.rows, fmt.Sprintf(removeRows, d.table, links.unnest(), d.table,
				d.which), links.args()...))
		}
	}
	return all
}

// removeRows removes the rows of a table that belong to links, and counts them. OFFSET 0 keeps the
// planner from turning the lookup into a join.
const removeRows = `WITH gone AS (DELETE FROM %s WHERE id = ANY (ARRAY(
		SELECT r.id FROM %s AS l (id, event_before, last_event, request_before, last_request)
			CROSS JOIN LATERAL (SELECT r.id FROM %s r WHERE %s OFFSET 0) r)) RETURNING 1)
	SELECT count(*) FROM gone`

// change returns a statement that counts the rows it changes. check compares the count with want.
func (p *pruning) change(want int64, sql string, args ...arg) statement {
	i := len(p.changes)
	p.changes = append(p.changes, change{statement: sql, want: want})
	return statement{sql: sql, args: args, row: func(r row) error {
		p.changes[i].have = r.Int(0)
		return nil
	}}
}

// check prevents the commit if the contents of the store differ from what its chain covers.
func (p *pruning) check() ([]statement, error) {
	for _, c := range p.changes {
		if err := prune.CheckRows(c.statement, c.have, c.want); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// removeEntries returns the statements that remove a run of entries and record the gap.
func (p *pruning) removeEntries(g *audit.Gap, now int64) (all []statement) {
	for _, d := range []struct {
		rows  int64
		table string
	}{
		{g.Events, "webhook_removed_events"}, {g.Duplicates + g.DeadLetters, "webhook_requests"},
		{g.Purges, "webhook_purges"},
		{g.Anchors, "webhook_anchors"},
	} {
		if d.rows > 0 {
			all = append(all, p.change(d.rows, "WITH gone AS (DELETE FROM "+d.table+
				" WHERE id >= $1 AND id <= $2 RETURNING 1) SELECT count(*) FROM gone",
				argInt(g.From), argInt(g.To)))
		}
	}
	return append(all, writeRows(gapStatements, prune.GapArgs(g, now))...)
}

// The statements of package prune with PostgreSQL's parameters.
var (
	checkpointStatements = prune.CheckpointStatements("$")
	gapStatements        = prune.GapStatements("$")
)

// writeRows returns statements with the same parameters.
func writeRows(statements []string, values []any) (all []statement) {
	var args []arg
	for _, v := range values {
		switch v := v.(type) {
		case int64:
			args = append(args, argInt(v))
		case []byte:
			args = append(args, argBytes(v))
		}
	}
	for _, sql := range statements {
		all = append(all, statement{sql: sql, args: args})
	}
	return all
}

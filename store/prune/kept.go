package prune

import "github.com/hookgate/hookgate/store/entry"

// keptSlice bounds the rows of webhook_kept_events that one step examines.
const keptSlice = 1024

// HolderQuery selects the lowest cursor of the subscriptions that are configured, with the name of
// the subscription, and whether there is or was any subscription. The cursor has passed the events
// that clients have leased, so the one before the first of them counts as the cursor.
const HolderQuery = `SELECT name, cursor, configured FROM (SELECT s.name,
		coalesce((SELECT min(l.first_event) - 1 FROM webhook_leases l WHERE l.subscription = s.id
			AND l.open_events > 0 AND l.first_event > 0 AND l.first_event <= s.cursor), s.cursor) AS cursor,
		s.removed_at = 0 AND s.forgotten_at = 0 AS configured FROM webhook_subscriptions s) h
	ORDER BY NOT configured, cursor LIMIT 1`

// Holder is a row of HolderQuery.
type Holder struct {
	Subscription string
	Cursor       int64
	// Configured reports that the subscription is neither removed nor forgotten.
	Configured bool
}

// ScanHolder reads a row of HolderQuery.
func ScanHolder(r entry.Row) *Holder { return &Holder{r.Text(0), r.Int(1), r.Bool(2)} }

// Hold makes the step stop at the cursor of a subscription. Call it before the first Event; h is
// nil if the store never had subscriptions.
func (s *Step) Hold(h *Holder) {
	s.subscribed = h != nil
	if s.subscribed && h.Configured && !s.cutoffs.PassSubscriptions {
		s.holder, s.held = h.Subscription, h.Cursor
	}
}

// alive selects the subscriptions that can have exceptions and holds.
const alive = "SELECT id FROM webhook_subscriptions WHERE forgotten_at = 0"

// neededBy returns the condition that a subscription needs the body of event e. The event is
// waiting, parked or dead, or it stands behind a hold and the cursor has passed it. The subqueries
// count rows, because PostgreSQL would turn EXISTS into one large join. With a join instead of IN,
// SQLite would read all exceptions for each event. Most stores have no holds.
func neededBy(e string) string {
	return `((SELECT count(*) FROM webhook_exceptions x
			WHERE x.subscription IN (` + alive + `) AND x.event = ` + e + `.id) > 0
		OR (SELECT count(*) FROM (SELECT 1 FROM webhook_holds LIMIT 1) h) > 0 AND ` + e + `.keyed
			AND (SELECT count(*) FROM webhook_holds h
				WHERE h.subscription IN (` + alive + `)
					AND h.ordering_key = ` + e + `.ordering_key AND h.after_id < ` + e + `.id
					AND ` + e + `.id <= (SELECT cursor FROM webhook_subscriptions s
						WHERE s.id = h.subscription)) > 0)`
}

const keptColumns = `id, message_id, event_type, source, ordering_key, keyed, request_id, headers,
	received_at, persisted_at, sha256, payload`

var (
	// Keep copies the events that a subscription needs before their bodies are removed. Its parameters
	// are the id before the first event and the last id.
	Keep = `INSERT INTO webhook_kept_events (` + keptColumns + `) SELECT ` + keptColumns + `
		FROM webhook_events e WHERE e.id > ? AND e.id <= ? AND ` + neededBy("e") + `
		ON CONFLICT (id) DO NOTHING`

	// KeptQuery selects a Kept. Its parameters are KeptPass.Args.
	KeptQuery = `SELECT coalesce(max(k.id), 0), count(*),
		coalesce(sum(CASE WHEN ` + neededBy("k") + ` THEN 0 ELSE 1 END), 0)
		FROM (SELECT id, ordering_key, keyed FROM webhook_kept_events WHERE id > ? ORDER BY id LIMIT ?) k`

	// keptUnneeded selects what no subscription needs any more. Its parameters are Kept.After and
	// Kept.Last.
	keptUnneeded = `SELECT k.id FROM webhook_kept_events k WHERE k.id > ? AND k.id <= ?
		AND NOT ` + neededBy("k")

	// ReleaseDeliveries removes the attempts of unneeded events whose lineage is gone, and then
	// ReleaseKept the events. Their parameters are Kept.After and Kept.Last; ReleaseDeliveries has
	// them twice.
	ReleaseDeliveries = `DELETE FROM webhook_deliveries
		WHERE subscription IN (SELECT id FROM webhook_subscriptions) AND event IN (` + keptUnneeded + `
			AND k.id NOT IN (SELECT id FROM webhook_removed_events r WHERE r.id > ? AND r.id <= ?))`
	ReleaseKept = `DELETE FROM webhook_kept_events WHERE id IN (` + keptUnneeded + `)`
)

// DeliveriesOf removes the attempts of events whose lineage was removed. It leaves those of kept
// events. Its parameters are the first id and the last id, three times.
const DeliveriesOf = `DELETE FROM webhook_deliveries
	WHERE subscription IN (SELECT id FROM webhook_subscriptions) AND event >= ? AND event <= ?
		AND event NOT IN (SELECT id FROM webhook_removed_events WHERE id >= ? AND id <= ?)
		AND event NOT IN (SELECT id FROM webhook_kept_events WHERE id >= ? AND id <= ?)`

// KeptPass examines webhook_kept_events again and again, a part in each step.
type KeptPass struct {
	// After is the id after which the next step continues; 0 means the first row.
	After int64
	// busy reports that more was to be removed after the last step.
	busy bool
}

// Args returns the parameters of KeptQuery for the next step, which removes about limit rows. While
// there is more to remove, a step examines no more kept events than that.
func (p KeptPass) Args(limit int) []any {
	if p.busy {
		return []any{p.After, min(max(1, limit), keptSlice)}
	}
	return []any{p.After, keptSlice}
}

// Kept is a part of webhook_kept_events.
type Kept struct {
	// After is the id before the first row, and Last that of the last row.
	After, Last int64
	full        bool
	// Unneeded is the number of rows that no subscription needs any more.
	Unneeded int64
}

// ScanKept reads the row of KeptQuery with its parameters.
func ScanKept(args []any, r entry.Row) Kept {
	k := Kept{After: args[0].(int64), Last: r.Int(0), Unneeded: r.Int(2)}
	k.full = r.Int(1) == int64(args[1].(int))
	return k
}

// NextKept returns where the next step continues.
func (s *Step) NextKept() KeptPass {
	p := KeptPass{busy: s.More}
	if s.Kept.full {
		p.After = s.Kept.Last
	}
	return p
}

// Examine sets the part of webhook_kept_events from which the step removes rows. Call it when all
// else is planned.
func (s *Step) Examine(k Kept) {
	s.Kept = k
	if k.Unneeded > 0 && k.full {
		s.More = true
	}
}

// RemovedLineage returns the ids between which the step removes the lineage of events: pairs of the
// first and the last id. It returns nothing if the store never had subscriptions.
func (s *Step) RemovedLineage() (ranges [][2]int64) {
	if !s.subscribed {
		return nil
	}
	add := func(first, last int64) {
		if n := len(ranges); n > 0 && ranges[n-1][0] <= first && first <= ranges[n-1][1]+1 {
			ranges[n-1][1] = max(ranges[n-1][1], last)
			return
		}
		ranges = append(ranges, [2]int64{first, last})
	}
	for i := range s.Links {
		if l := &s.Links[i]; l.Events > 0 {
			add(l.LastEvent-l.Events+1, l.LastEvent)
		}
	}
	for i := range s.Gaps {
		if g := &s.Gaps[i]; g.Events > 0 {
			add(g.From, g.To)
		}
	}
	return ranges
}

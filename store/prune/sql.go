package prune

import (
	"fmt"
	"strings"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/store/entry"
)

// LineageColumns are the columns that an event keeps when its body is removed.
var LineageColumns = entry.ColumnsOf(entry.RemovedEvents).Names("")

const (
	// LinkColumns are the columns of a Link b in the order in which ScanLink reads them.
	LinkColumns = `b.id, b.partition, b.sequence, b.previous_hash, b.hash, b.events, b.requests,
		b.purges, b.last_event,
		b.last_request, b.persisted_at,
		(SELECT count(*) FROM webhook_requests r
			WHERE r.id > b.last_request - b.requests AND r.id <= b.last_request AND r.outcome = 'duplicate'),
		(SELECT coalesce(max(p.id), 0) FROM webhook_purges p WHERE p.batch = b.id), ` + keptCondition

	// keptCondition is true for a link that must stay. It contains a dead letter, an event that
	// makes a dead letter count as stored, or a purge whose request is stored, which an audit
	// needs. Events that the same step moves are still in webhook_events. The subqueries count
	// rows, because PostgreSQL would turn EXISTS into one large join.
	keptCondition = `(EXISTS (SELECT 1 FROM webhook_dead_letters d
		WHERE d.id > b.last_request - b.requests AND d.id <= b.last_request)
		OR (SELECT coalesce(min(id), 0) FROM webhook_dead_letters) > 0 AND EXISTS (SELECT 1 FROM
			(SELECT id, message_id, event_type, source FROM webhook_removed_events
				UNION ALL SELECT id, message_id, event_type, source FROM webhook_events) e
			WHERE e.id > b.last_event - b.events AND e.id <= b.last_event
				AND (SELECT count(*) FROM webhook_requests r
					WHERE r.message_id = e.message_id AND r.event_type = e.event_type AND r.source = e.source
						AND r.outcome = 'dead_lettered'
						AND (SELECT count(*) FROM webhook_dead_letters d WHERE d.id = r.id) > 0) > 0)
		OR (SELECT count(*) FROM webhook_purges p JOIN webhook_requests r ON r.request_id = p.request_id
			WHERE p.batch = b.id) > 0)`
)

// ScanLink reads a row of LinkColumns.
func ScanLink(r entry.Row) Link {
	l := Link{
		ID: r.Int(0), Partition: int(r.Int(1)), Sequence: r.Int(2), Events: r.Int(5), Requests: r.Int(6),
		Purges: r.Int(7), LastEvent: r.Int(8), LastRequest: r.Int(9),
		PersistedAt: time.UnixMicro(r.Int(10)).UTC(), Duplicates: r.Int(11), LastPurge: r.Int(12),
		Kept: r.Bool(13),
	}
	r.Copy(3, l.Previous[:])
	r.Copy(4, l.Hash[:])
	return l
}

// OldRequestBodies is a condition on webhook_request_bodies: the row is one of the oldest that were
// stored before a time, and no event or dead letter of the request has a body any more. Its two
// parameters are that time and the limit.
const OldRequestBodies = `request_id IN (SELECT b.request_id FROM webhook_request_bodies b
	WHERE b.stored_at < ?
		AND NOT EXISTS (SELECT 1 FROM webhook_events e
			WHERE e.request_id >= b.request_id AND e.request_id <= substr(b.request_id, 1, 32) || 'ffff')
		AND NOT EXISTS (SELECT 1 FROM webhook_dead_letters d
			WHERE d.request_id >= b.request_id AND d.request_id <= substr(b.request_id, 1, 32) || 'ffff')
		ORDER BY b.stored_at LIMIT ?)`

// TestSource is hookgate.TestSource as an SQL literal. The partial index webhook_events_tests needs
// a literal.
const TestSource = `'` + hookgate.TestSource + `'`

// TestRequestBodies is a condition on webhook_request_bodies: the request carried a removed event,
// and no event or dead letter of the request has a body any more. Its two parameters are the first
// and the last id of the removed events.
const TestRequestBodies = `request_id IN (SELECT b.request_id FROM webhook_request_bodies b
		WHERE b.request_id IN (SELECT substr(r.request_id, 1, 32) || '0000' FROM webhook_removed_events r
			WHERE r.id >= ? AND r.id <= ?)
		AND NOT EXISTS (SELECT 1 FROM webhook_events e
			WHERE e.request_id >= b.request_id AND e.request_id <= substr(b.request_id, 1, 32) || 'ffff')
		AND NOT EXISTS (SELECT 1 FROM webhook_dead_letters d
			WHERE d.request_id >= b.request_id AND d.request_id <= substr(b.request_id, 1, 32) || 'ffff'))`

// CheckRows returns an error if a statement changed another number of rows than wanted. Retention
// removes nothing from a store whose contents differ from what its chain covers.
func CheckRows(statement string, changed, want int64) error {
	if changed == want {
		return nil
	}
	verb, _, _ := strings.Cut(strings.TrimSpace(statement), " WHERE")
	return fmt.Errorf("%.40q would change %d rows instead of %d:"+
		" the store differs from its audit chain;"+
		" run `hookgate audit verify`", verb, changed, want)
}

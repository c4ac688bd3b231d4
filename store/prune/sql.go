package prune

import (
	"fmt"
	"strings"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/store/entry"
)

// LineageColumns are those that an event keeps when its body is removed.
var LineageColumns = entry.ColumnsOf(entry.RemovedEvents).Names("")

const (
	// LinkColumns are those of a Link b, in the order of its fields but for PersistedAt, which comes
	// before Duplicates.
	LinkColumns = `b.id, b.partition, b.sequence, b.previous_hash, b.hash, b.events, b.requests, b.purges, b.last_event,
		b.last_request, b.persisted_at,
		(SELECT count(*) FROM webhook_requests r
			WHERE r.id > b.last_request - b.requests AND r.id <= b.last_request AND r.outcome = 'duplicate'),
		(SELECT coalesce(max(p.id), 0) FROM webhook_purges p WHERE p.batch = b.id), ` + keptCondition

	// keptCondition is true for a link that must stay: it holds a dead letter, or the event by which
	// one counts as stored, or a purge whose request is there, which an audit asks for. Events that
	// the same step moves still stand in webhook_events. What is counted is looked up row by row;
	// PostgreSQL would make one large join of EXISTS.
	keptCondition = `(EXISTS (SELECT 1 FROM webhook_dead_letters d WHERE d.id > b.last_request - b.requests AND d.id <= b.last_request)
		OR (SELECT coalesce(min(id), 0) FROM webhook_dead_letters) > 0 AND EXISTS (SELECT 1 FROM
			(SELECT id, message_id, event_type, source FROM webhook_removed_events
				UNION ALL SELECT id, message_id, event_type, source FROM webhook_events) e
			WHERE e.id > b.last_event - b.events AND e.id <= b.last_event
				AND (SELECT count(*) FROM webhook_requests r
					WHERE r.message_id = e.message_id AND r.event_type = e.event_type AND r.source = e.source AND r.outcome = 'dead_lettered'
						AND (SELECT count(*) FROM webhook_dead_letters d WHERE d.id = r.id) > 0) > 0)
		OR (SELECT count(*) FROM webhook_purges p JOIN webhook_requests r ON r.request_id = p.request_id WHERE p.batch = b.id) > 0)`
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

// OldRequestBodies is the condition on webhook_request_bodies b that all events which the request
// carried are without their bodies, b being among the limit oldest rows that were stored before a
// time. Its two parameters are marked by ? and stand for that time and the limit.
const OldRequestBodies = `request_id IN (SELECT b.request_id FROM webhook_request_bodies b WHERE b.stored_at < ?
		AND NOT EXISTS (SELECT 1 FROM webhook_events e
			WHERE e.request_id >= b.request_id AND e.request_id <= substr(b.request_id, 1, 32) || 'ffff')
		AND NOT EXISTS (SELECT 1 FROM webhook_dead_letters d
			WHERE d.request_id >= b.request_id AND d.request_id <= substr(b.request_id, 1, 32) || 'ffff')
		ORDER BY b.stored_at LIMIT ?)`

// TestSource is hookgate.TestSource in SQL: the partial index webhook_events_tests serves a
// literal.
const TestSource = `'` + hookgate.TestSource + `'`

// TestRequestBodies is the condition on webhook_request_bodies that the request carried one of the
// removed events with ids from first to last, and that no body of its events is left. Its two
// parameters are marked by ? and stand for first and last.
const TestRequestBodies = `request_id IN (SELECT b.request_id FROM webhook_request_bodies b
		WHERE b.request_id IN (SELECT substr(r.request_id, 1, 32) || '0000' FROM webhook_removed_events r
			WHERE r.id >= ? AND r.id <= ?)
		AND NOT EXISTS (SELECT 1 FROM webhook_events e
			WHERE e.request_id >= b.request_id AND e.request_id <= substr(b.request_id, 1, 32) || 'ffff')
		AND NOT EXISTS (SELECT 1 FROM webhook_dead_letters d
			WHERE d.request_id >= b.request_id AND d.request_id <= substr(b.request_id, 1, 32) || 'ffff'))`

// CheckRows returns an error if a statement has not changed as many rows as it must. Nothing is
// removed from a store that does not hold what it has sealed.
func CheckRows(statement string, changed, want int64) error {
	if changed == want {
		return nil
	}
	verb, _, _ := strings.Cut(strings.TrimSpace(statement), " WHERE")
	return fmt.Errorf("%.40q changes %d rows instead of %d: the store does not hold what it has sealed;"+
		" `hookgate audit verify` tells where", verb, changed, want)
}

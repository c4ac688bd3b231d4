package sqlite

import (
	"strings"

	"github.com/hookgate/hookgate/store/entry"
	"zombiezen.com/go/sqlite"
)

// statements are the prepared statements of the writer.
type statements struct {
	acquire, epoch, log, advance, mark,
	event, holder, indexed, indexedRange, unindexed, indexIdentity, indexKey, request, stored,
	deadLetter, openLetter, whole, anchor,
	beginCall, endCall, undoCall, beginItem, endItem, undoItem *sqlite.Stmt
}

func (s *statements) prepare(conn *sqlite.Conn) error {
	for _, p := range []struct {
		to   **sqlite.Stmt
		text string
	}{
		{&s.acquire, `INSERT INTO webhook_partitions (partition, epoch) VALUES (?, 1)
			ON CONFLICT DO UPDATE SET epoch = epoch + 1 RETURNING epoch`},
		{&s.epoch, `SELECT epoch FROM webhook_partitions WHERE partition = ?`},
		{&s.log, `SELECT l.last_id, l.hash, l.anchored, c.sequence, c.hash, l.indexed FROM webhook_log l
			LEFT JOIN webhook_admin_chain c`},
		{&s.advance, `UPDATE webhook_log SET last_id = ?, hash = ?, events = events + ?,
			duplicates = duplicates + ?,
			dead_letters = dead_letters + ?, purges = purges + ?, anchored = ?, indexed = ?`},
		{&s.mark, `SELECT id, (SELECT last_id FROM webhook_log) FROM webhook_store`},
		{&s.event, insert("webhook_events", eventColumns)},
		{&s.holder, `SELECT request_id, message_id, event_type, source FROM webhook_events WHERE id = ?`},
		{&s.indexed, `SELECT event FROM webhook_identities WHERE identity = ?`},
		{&s.indexedRange, `SELECT event FROM webhook_identities WHERE identity >= ? AND identity <= ?`},
		{&s.unindexed, `SELECT id, identity, ordering_key FROM webhook_events WHERE id > ? AND id <= ?
			ORDER BY id`},
		{&s.indexIdentity, `INSERT OR IGNORE INTO webhook_identities (identity, event) VALUES (?, ?)`},
		{&s.indexKey, `INSERT OR IGNORE INTO webhook_keys (ordering_key, event) VALUES (?, ?)`},
		{&s.request, insert("webhook_requests", requestColumns) + " ON CONFLICT (request_id) DO NOTHING"},
		{&s.stored, `SELECT id FROM webhook_requests WHERE request_id = ?`},
		{&s.deadLetter, `INSERT INTO webhook_dead_letters (id, request_id, payload, reason,
			dead_lettered_at) VALUES (?, ?, ?, ?, ?)`},
		{&s.openLetter, openLetterQuery},
		{&s.whole, `INSERT INTO webhook_request_bodies (request_id, payload, sha256, stored_at)
			VALUES (?, ?, ?, ?)
			ON CONFLICT (request_id) DO NOTHING`},
		{&s.anchor, `INSERT INTO webhook_anchors (id, sequence, trail_hash, hash) VALUES (?, ?, ?, ?)`},
		{&s.beginCall, `SAVEPOINT call`}, {&s.endCall, `RELEASE call`}, {&s.undoCall, `ROLLBACK TO call`},
		{&s.beginItem, `SAVEPOINT item`}, {&s.endItem, `RELEASE item`}, {&s.undoItem, `ROLLBACK TO item`},
	} {
		var err error
		if *p.to, err = conn.Prepare(p.text); err != nil {
			return err
		}
	}
	return nil
}

var (
	eventColumns   = entry.ColumnsOf(entry.Events)
	requestColumns = entry.ColumnsOf(entry.Requests)
)

// insert returns the statement that inserts a row of the columns.
func insert(table string, columns entry.Columns) string {
	return "INSERT INTO " + table + " (" + columns.Names("") + ") VALUES (" +
		strings.Repeat(", ?", len(columns))[2:] + ")"
}

// openLetterQuery finds the open dead letter of an identity. Without an event type it finds one of
// any type.
const openLetterQuery = `SELECT r.request_id FROM webhook_requests r
	JOIN webhook_dead_letters d ON d.id = r.id
	WHERE r.message_id = ?1 AND r.source = ?2 AND (?3 = '' OR r.event_type = ?3)
		AND r.outcome = 'dead_lettered'
		AND NOT EXISTS (SELECT 1 FROM webhook_requests l
			WHERE l.replay_of = r.request_id AND l.replay_of <> '' AND l.outcome = 'dead_lettered')
	ORDER BY r.id LIMIT 1`

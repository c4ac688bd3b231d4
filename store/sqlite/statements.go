package sqlite

import "zombiezen.com/go/sqlite"

// statements are those of the writer.
type statements struct {
	acquire, head, advance, lastIDs, mark,
	event, holder, holderOfAnyType, request, deadLetter, whole, batch *sqlite.Stmt
}

func (s *statements) prepare(conn *sqlite.Conn) error {
	for _, p := range []struct {
		to   **sqlite.Stmt
		text string
	}{
		{&s.acquire, `INSERT INTO webhook_partitions (partition, epoch) VALUES (?, 1)
			ON CONFLICT DO UPDATE SET epoch = epoch + 1 RETURNING epoch`},
		{&s.head, `SELECT epoch, sequence, hash FROM webhook_partitions WHERE partition = ?`},
		{&s.advance, `UPDATE webhook_partitions SET sequence = ?2, hash = ?3, events = events + ?4,
			duplicates = duplicates + ?5, dead_letters = dead_letters + ?6 WHERE partition = ?1`},
		{&s.lastIDs, `SELECT max(last_event, (SELECT coalesce(max(id), 0) FROM webhook_events),
				(SELECT coalesce(max(id), 0) FROM webhook_removed_events)),
			max(last_request, (SELECT coalesce(max(id), 0) FROM webhook_requests)),
			max(last_batch, (SELECT coalesce(max(id), 0) FROM webhook_batches)) FROM webhook_removals`},
		{&s.mark, `SELECT id, max((SELECT last_batch FROM webhook_removals), (SELECT coalesce(max(id), 0) FROM webhook_batches)) FROM webhook_store`},
		{&s.event, `INSERT INTO webhook_events (id, message_id, event_type, source, ordering_key, sequence, payload, sha256,
			request_id, received_at, enqueued_at, headers, remote_addr, partition, position, batch, spooled_at,
			replay_of, replayed_at)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (message_id, event_type, source) DO NOTHING`},
		{&s.holder, `SELECT request_id FROM webhook_events WHERE message_id = ? AND event_type = ? AND source = ?`},
		{&s.holderOfAnyType, `SELECT request_id FROM webhook_events WHERE message_id = ? AND source = ?
			ORDER BY request_id = ? DESC LIMIT 1`},
		{&s.request, `INSERT INTO webhook_requests (id, request_id, outcome, first_request_id, reason, message_id, event_type,
			source, ordering_key, sequence, sha256, received_at, enqueued_at, headers, remote_addr, partition, position, batch, spooled_at,
			replay_of, replayed_at)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (request_id) DO NOTHING`},
		{&s.deadLetter, `INSERT INTO webhook_dead_letters (id, request_id, payload, reason, dead_lettered_at) VALUES (?, ?, ?, ?, ?)`},
		{&s.whole, `INSERT INTO webhook_request_bodies (request_id, payload, sha256, stored_at) VALUES (?, ?, ?, ?)
			ON CONFLICT (request_id) DO NOTHING`},
		{&s.batch, `INSERT INTO webhook_batches (id, partition, sequence, previous_hash, hash, events, requests, purges, worker,
			processed_at, persisted_at, attempts, last_error, last_event, last_request)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`},
	} {
		var err error
		if *p.to, err = conn.Prepare(p.text); err != nil {
			return err
		}
	}
	return nil
}

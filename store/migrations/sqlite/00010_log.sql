-- +goose Up

-- One audit chain over the whole log (see entry.go) takes the place of a chain for each partition.
-- Events, duplicates, dead letters, purges and anchors take their ids from one counter, and each row
-- carries the hash of its entry. The rows and the links of earlier releases stay as they are: they
-- have no hash of their own, and the new chain begins with the hashes at which the old chains end.
--
-- hookgate_identity is a function of the program (see store/batch, Key).

-- The counter and the head of the chain, in one row. hash is empty until there is an entry: the first
-- one follows the hash that webhook_partitions makes (see FirstHash).
CREATE TABLE webhook_log (
    single       INTEGER PRIMARY KEY CHECK (single = 1),
    begins_after INTEGER NOT NULL, -- rows with ids up to here are of earlier releases
    last_id      INTEGER NOT NULL,
    hash         BLOB    NOT NULL,
    events       INTEGER NOT NULL, -- these count what was ever stored
    duplicates   INTEGER NOT NULL,
    dead_letters INTEGER NOT NULL,
    purges       INTEGER NOT NULL,
    anchored     INTEGER NOT NULL, -- the last row of webhook_admin_actions that an anchor covers
    indexed      INTEGER NOT NULL  -- webhook_identities and webhook_keys hold every event with an id up to here
);
INSERT INTO webhook_log SELECT 1, last_id, last_id, x'', 0, 0, 0, 0, 0, last_id FROM (SELECT max(
    (SELECT max(last_event, last_request, last_batch, last_purge) FROM webhook_removals),
    (SELECT coalesce(max(id), 0) FROM webhook_events), (SELECT coalesce(max(id), 0) FROM webhook_removed_events),
    (SELECT coalesce(max(id), 0) FROM webhook_requests), (SELECT coalesce(max(id), 0) FROM webhook_purges),
    (SELECT coalesce(max(id), 0) FROM webhook_batches)) AS last_id);

-- Entries of the log that say how far the admin trail had come.
CREATE TABLE webhook_anchors (
    id         INTEGER PRIMARY KEY,
    sequence   INTEGER NOT NULL, -- of the row of webhook_admin_actions
    trail_hash BLOB    NOT NULL, -- of that row
    hash       BLOB    NOT NULL  -- of this entry
);

-- The gaps in the log: entries that retention has removed. Neighbours are joined.
CREATE TABLE webhook_gaps (
    from_id       INTEGER PRIMARY KEY,
    to_id         INTEGER NOT NULL,
    previous_hash BLOB    NOT NULL, -- of the entry before the first
    hash          BLOB    NOT NULL, -- of the last
    events        INTEGER NOT NULL, -- that were in it
    duplicates    INTEGER NOT NULL,
    dead_letters  INTEGER NOT NULL,
    purges        INTEGER NOT NULL,
    anchors       INTEGER NOT NULL,
    anchored      INTEGER NOT NULL, -- the highest sequence of its anchors; 0 if it has none
    persisted_at  INTEGER NOT NULL, -- of the last
    removed_at    INTEGER NOT NULL
);
CREATE INDEX webhook_gaps_end ON webhook_gaps (to_id);

-- What holds for all processes of a gate and survives a restart.
CREATE TABLE webhook_settings (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
);

DROP VIEW webhook_audit_trail;

-- The index over the three texts of an identity can only go with its table.
CREATE TABLE webhook_events_new (
    id            INTEGER PRIMARY KEY, -- in the order stored
    message_id    TEXT    NOT NULL,
    event_type    TEXT    NOT NULL,
    source        TEXT    NOT NULL,
    ordering_key  TEXT    NOT NULL,
    sequence      INTEGER NOT NULL,    -- the sender's; -1 if it gave none
    payload       BLOB    NOT NULL,
    sha256        BLOB    NOT NULL,    -- of payload
    request_id    TEXT    NOT NULL,
    received_at   INTEGER NOT NULL,
    enqueued_at   INTEGER NOT NULL,
    spooled_at    INTEGER NOT NULL, -- 0 if it never was in a spool
    replay_of     TEXT    NOT NULL, -- the request whose dead letter was replayed; empty unless a replay
    replayed_at   INTEGER NOT NULL, -- 0 unless a replay
    headers       TEXT    NOT NULL,
    remote_addr   TEXT    NOT NULL,
    partition     INTEGER NOT NULL,
    position      TEXT    NOT NULL, -- in the queue; empty if the store took the request itself
    batch         INTEGER NOT NULL, -- the first id of what was stored with it, or webhook_batches.id
    identity      BLOB    NOT NULL, -- 24 bytes (see store/batch, Key)
    keyed         INTEGER NOT NULL, -- 1 if ordering_key is the sender's own
    processed_at  INTEGER NOT NULL,
    persisted_at  INTEGER NOT NULL,
    worker        TEXT    NOT NULL,
    attempts      INTEGER NOT NULL,
    last_error    TEXT    NOT NULL,
    hash          BLOB    NOT NULL  -- of the entry; empty if a link of webhook_batches covers it
);
INSERT INTO webhook_events_new
SELECT e.id, e.message_id, e.event_type, e.source, e.ordering_key, e.sequence, e.payload, e.sha256, e.request_id, e.received_at,
    e.enqueued_at, e.spooled_at, e.replay_of, e.replayed_at, e.headers, e.remote_addr, e.partition, e.position, e.batch,
    hookgate_identity(e.source, e.event_type, e.message_id), e.ordering_key <> e.event_type, coalesce(b.processed_at, 0),
    coalesce(b.persisted_at, 0), coalesce(b.worker, ''), coalesce(b.attempts, 0), coalesce(b.last_error, ''), x''
FROM webhook_events e LEFT JOIN webhook_batches b ON b.id = e.batch ORDER BY e.id;
DROP TABLE webhook_events;
ALTER TABLE webhook_events_new RENAME TO webhook_events;
-- Two indexes that are tables of their own. Their places are random, so a row of either would change
-- a page for each event that is stored. They are filled later instead, with many rows in their order.
-- Events above webhook_log.indexed need not have their rows: see store/sqlite/late.go.
CREATE TABLE webhook_identities (
    identity BLOB    PRIMARY KEY,
    event    INTEGER NOT NULL
) WITHOUT ROWID;
INSERT INTO webhook_identities SELECT identity, id FROM webhook_events ORDER BY identity;
-- The events of one key, in order.
CREATE TABLE webhook_keys (
    ordering_key TEXT    NOT NULL,
    event        INTEGER NOT NULL,
    PRIMARY KEY (ordering_key, event)
) WITHOUT ROWID;
INSERT INTO webhook_keys SELECT ordering_key, id FROM webhook_events ORDER BY ordering_key, id;
CREATE INDEX webhook_events_type ON webhook_events (event_type, received_at DESC);
CREATE INDEX webhook_events_request ON webhook_events (request_id);
-- Replays alone: their request ids do not tell when their events were received.
CREATE INDEX webhook_events_replays ON webhook_events (request_id) WHERE replay_of <> '';
-- Test traffic: hookgate-certify is the reserved source of certify and of replay --test.
CREATE INDEX webhook_events_tests ON webhook_events (id) WHERE source = 'hookgate-certify';

-- +goose StatementBegin
CREATE TRIGGER webhook_events_no_update BEFORE UPDATE ON webhook_events
BEGIN SELECT raise(ABORT, 'webhook_events is append-only'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER webhook_events_no_delete BEFORE DELETE ON webhook_events WHEN NOT EXISTS (SELECT 1 FROM webhook_retention)
BEGIN SELECT raise(ABORT, 'webhook_events is append-only'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER webhook_identities_no_update BEFORE UPDATE ON webhook_identities
BEGIN SELECT raise(ABORT, 'webhook_identities is append-only'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER webhook_identities_no_delete BEFORE DELETE ON webhook_identities WHEN NOT EXISTS (SELECT 1 FROM webhook_retention)
BEGIN SELECT raise(ABORT, 'webhook_identities is append-only'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER webhook_keys_no_update BEFORE UPDATE ON webhook_keys
BEGIN SELECT raise(ABORT, 'webhook_keys is append-only'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER webhook_keys_no_delete BEFORE DELETE ON webhook_keys WHEN NOT EXISTS (SELECT 1 FROM webhook_retention)
BEGIN SELECT raise(ABORT, 'webhook_keys is append-only'); END;
-- +goose StatementEnd

DROP TRIGGER webhook_removed_events_no_update;
ALTER TABLE webhook_removed_events ADD COLUMN keyed INTEGER NOT NULL DEFAULT 0;
ALTER TABLE webhook_removed_events ADD COLUMN processed_at INTEGER NOT NULL DEFAULT 0;
ALTER TABLE webhook_removed_events ADD COLUMN persisted_at INTEGER NOT NULL DEFAULT 0;
ALTER TABLE webhook_removed_events ADD COLUMN worker TEXT NOT NULL DEFAULT '';
ALTER TABLE webhook_removed_events ADD COLUMN attempts INTEGER NOT NULL DEFAULT 0;
ALTER TABLE webhook_removed_events ADD COLUMN last_error TEXT NOT NULL DEFAULT '';
ALTER TABLE webhook_removed_events ADD COLUMN hash BLOB NOT NULL DEFAULT x'';
UPDATE webhook_removed_events AS r SET keyed = r.ordering_key <> r.event_type, processed_at = b.processed_at,
    persisted_at = b.persisted_at, worker = b.worker, attempts = b.attempts, last_error = b.last_error
FROM webhook_batches b WHERE b.id = r.batch;
-- +goose StatementBegin
CREATE TRIGGER webhook_removed_events_no_update BEFORE UPDATE ON webhook_removed_events
BEGIN SELECT raise(ABORT, 'webhook_removed_events is append-only'); END;
-- +goose StatementEnd

DROP TRIGGER webhook_requests_no_update;
ALTER TABLE webhook_requests ADD COLUMN identity BLOB NOT NULL DEFAULT x'';
ALTER TABLE webhook_requests ADD COLUMN keyed INTEGER NOT NULL DEFAULT 0;
ALTER TABLE webhook_requests ADD COLUMN processed_at INTEGER NOT NULL DEFAULT 0;
ALTER TABLE webhook_requests ADD COLUMN persisted_at INTEGER NOT NULL DEFAULT 0;
ALTER TABLE webhook_requests ADD COLUMN worker TEXT NOT NULL DEFAULT '';
ALTER TABLE webhook_requests ADD COLUMN attempts INTEGER NOT NULL DEFAULT 0;
ALTER TABLE webhook_requests ADD COLUMN last_error TEXT NOT NULL DEFAULT '';
ALTER TABLE webhook_requests ADD COLUMN hash BLOB NOT NULL DEFAULT x'';
UPDATE webhook_requests AS r SET keyed = r.ordering_key <> r.event_type, processed_at = b.processed_at,
    identity = hookgate_identity(r.source, r.event_type, r.message_id),
    persisted_at = b.persisted_at, worker = b.worker, attempts = b.attempts, last_error = b.last_error
FROM webhook_batches b WHERE b.id = r.batch;
-- +goose StatementBegin
CREATE TRIGGER webhook_requests_no_update BEFORE UPDATE ON webhook_requests
BEGIN SELECT raise(ABORT, 'webhook_requests is append-only'); END;
-- +goose StatementEnd

-- The hash of a purge's entry; empty if a link of webhook_batches covers it. Else batch is the id.
ALTER TABLE webhook_purges ADD COLUMN hash BLOB NOT NULL DEFAULT x'';

-- The events with their identities in the order of these, whether they are indexed or not.
CREATE VIEW webhook_found AS
SELECT i.identity, e.id, e.message_id, e.event_type, e.source, e.ordering_key, e.sequence, e.payload, e.sha256, e.request_id,
    e.received_at, e.headers, e.remote_addr, e.partition, e.position, e.persisted_at FROM webhook_identities i CROSS JOIN webhook_events e ON e.id = i.event
    WHERE i.event <= (SELECT indexed FROM webhook_log)
UNION ALL
SELECT e.identity, e.id, e.message_id, e.event_type, e.source, e.ordering_key, e.sequence, e.payload, e.sha256, e.request_id,
    e.received_at, e.headers, e.remote_addr, e.partition, e.position, e.persisted_at FROM webhook_events e NOT INDEXED WHERE e.id > (SELECT indexed FROM webhook_log);

-- The lineage of every acknowledged request: a row for each stage, and none of them stored.
CREATE VIEW webhook_audit_trail (message_id, request_id, stage, metadata, timestamp, source, event_type, ordinal, batch) AS
SELECT r.message_id, r.request_id, iif(s.stage = 'stored', 'persisted', s.stage),
       CASE s.stage
           WHEN 'received'  THEN json_object('remoteAddr', r.remote_addr)
           WHEN 'replayed'  THEN json_object('replayOf', r.replay_of)
           WHEN 'spooled'   THEN json_object()
           WHEN 'enqueued'  THEN json_object('partition', r.partition, 'position', iif(r.position = '', r.id || '-0', r.position))
           WHEN 'processed' THEN json_object('worker', r.worker)
           WHEN 'retried'   THEN json_object('attempts', r.attempts, 'lastError', r.last_error)
           WHEN 'removed'   THEN json_object()
           ELSE json_object('batch', r.batch, 'event', CAST(r.id AS TEXT))
       END,
       CASE s.stage
           WHEN 'received'  THEN r.received_at
           WHEN 'replayed'  THEN r.replayed_at
           WHEN 'spooled'   THEN r.spooled_at
           WHEN 'enqueued'  THEN r.enqueued_at
           WHEN 'processed' THEN r.processed_at
           WHEN 'removed'   THEN r.removed_at
           ELSE r.persisted_at
       END,
       r.source, r.event_type, s.ordinal, r.batch
FROM (SELECT id, message_id, event_type, source, request_id, received_at, enqueued_at, spooled_at, replay_of, replayed_at,
          remote_addr, partition, position, batch, processed_at, persisted_at, worker, attempts, last_error, 0 AS removed_at
          FROM webhook_events
      UNION ALL
      SELECT id, message_id, event_type, source, request_id, received_at, enqueued_at, spooled_at, replay_of, replayed_at,
          remote_addr, partition, position, batch, processed_at, persisted_at, worker, attempts, last_error, removed_at
          FROM webhook_removed_events) r
    CROSS JOIN webhook_stages s
WHERE (s.stage <> 'retried' OR r.attempts > 1) AND (s.stage <> 'spooled' OR r.spooled_at <> 0)
    AND (s.stage <> 'replayed' OR r.replayed_at <> 0) AND s.stage <> 'purged' AND (s.stage <> 'removed' OR r.removed_at <> 0)
UNION ALL
SELECT r.message_id, r.request_id, iif(s.stage = 'stored', r.outcome, s.stage),
       CASE s.stage
           WHEN 'received'  THEN json_object('remoteAddr', r.remote_addr)
           WHEN 'replayed'  THEN json_object('replayOf', r.replay_of)
           WHEN 'spooled'   THEN json_object()
           WHEN 'enqueued'  THEN json_object('partition', r.partition, 'position', iif(r.position = '', r.id || '-0', r.position))
           WHEN 'processed' THEN json_object('worker', r.worker)
           WHEN 'retried'   THEN json_object('attempts', r.attempts, 'lastError', r.last_error)
           WHEN 'purged'    THEN json_object('by', p.purged_by, 'reason', p.reason)
           ELSE iif(r.outcome = 'duplicate',
               json_object('batch', r.batch, 'firstRequestId', r.first_request_id),
               json_object('batch', r.batch, 'reason', r.reason))
       END,
       CASE s.stage
           WHEN 'received'  THEN r.received_at
           WHEN 'replayed'  THEN r.replayed_at
           WHEN 'spooled'   THEN r.spooled_at
           WHEN 'enqueued'  THEN r.enqueued_at
           WHEN 'processed' THEN r.processed_at
           WHEN 'purged'    THEN p.purged_at
           ELSE r.persisted_at
       END,
       r.source, r.event_type, s.ordinal, r.batch
FROM webhook_requests r LEFT JOIN webhook_purges p ON p.request_id = r.request_id
    CROSS JOIN webhook_stages s
WHERE (s.stage <> 'retried' OR r.attempts > 1) AND (s.stage <> 'spooled' OR r.spooled_at <> 0)
    AND (s.stage <> 'replayed' OR r.replayed_at <> 0) AND (s.stage <> 'purged' OR p.id IS NOT NULL)
    AND s.stage <> 'removed';

-- +goose StatementBegin
CREATE TRIGGER webhook_log_no_insert BEFORE INSERT ON webhook_log
BEGIN SELECT raise(ABORT, 'webhook_log keeps its row'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER webhook_log_no_delete BEFORE DELETE ON webhook_log
BEGIN SELECT raise(ABORT, 'webhook_log keeps its row'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER webhook_anchors_no_update BEFORE UPDATE ON webhook_anchors
BEGIN SELECT raise(ABORT, 'webhook_anchors is append-only'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER webhook_anchors_no_delete BEFORE DELETE ON webhook_anchors WHEN NOT EXISTS (SELECT 1 FROM webhook_retention)
BEGIN SELECT raise(ABORT, 'webhook_anchors is append-only'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER webhook_gaps_no_insert BEFORE INSERT ON webhook_gaps WHEN NOT EXISTS (SELECT 1 FROM webhook_retention)
BEGIN SELECT raise(ABORT, 'webhook_gaps is written by retention alone'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER webhook_gaps_no_update BEFORE UPDATE ON webhook_gaps WHEN NOT EXISTS (SELECT 1 FROM webhook_retention)
BEGIN SELECT raise(ABORT, 'webhook_gaps is written by retention alone'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER webhook_gaps_no_delete BEFORE DELETE ON webhook_gaps WHEN NOT EXISTS (SELECT 1 FROM webhook_retention)
BEGIN SELECT raise(ABORT, 'webhook_gaps is written by retention alone'); END;
-- +goose StatementEnd

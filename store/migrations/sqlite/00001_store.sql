-- +goose Up

-- All times are in microseconds since 1970. Rows are added and never changed; only retention and
-- the purge of dead letters remove any (see the triggers at the end).

-- Each partition's owner and the head of its audit chain.
CREATE TABLE webhook_partitions (
    partition    INTEGER PRIMARY KEY,
    epoch        INTEGER NOT NULL,
    sequence     INTEGER NOT NULL DEFAULT 0,
    hash         BLOB    NOT NULL DEFAULT x'0000000000000000000000000000000000000000000000000000000000000000',
    events       INTEGER NOT NULL DEFAULT 0,
    duplicates   INTEGER NOT NULL DEFAULT 0,
    dead_letters INTEGER NOT NULL DEFAULT 0
);

-- One row for each partition in each transaction: a link of the audit chain (see chain.go).
CREATE TABLE webhook_batches (
    id            INTEGER PRIMARY KEY,
    partition     INTEGER NOT NULL,
    sequence      INTEGER NOT NULL, -- in the partition, from 1
    previous_hash BLOB    NOT NULL,
    hash          BLOB    NOT NULL,
    events        INTEGER NOT NULL,
    requests      INTEGER NOT NULL, -- rows of webhook_requests
    purges        INTEGER NOT NULL, -- rows of webhook_purges
    last_event    INTEGER NOT NULL, -- the highest id of an event when it was sealed; its own end there
    last_request  INTEGER NOT NULL, -- the same of webhook_requests
    worker        TEXT    NOT NULL,
    processed_at  INTEGER NOT NULL,
    persisted_at  INTEGER NOT NULL,
    attempts      INTEGER NOT NULL,
    last_error    TEXT    NOT NULL
);

CREATE TABLE webhook_events (
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
    position      TEXT    NOT NULL,
    batch         INTEGER NOT NULL,    -- webhook_batches.id
    UNIQUE (message_id, event_type, source)
);
CREATE INDEX webhook_events_type ON webhook_events (event_type, received_at DESC);
CREATE INDEX webhook_events_request ON webhook_events (request_id);
-- Replays alone: their request ids do not tell when their events were received.
CREATE INDEX webhook_events_replays ON webhook_events (request_id) WHERE replay_of <> '';

-- Events whose body was removed by retention, for their lineage: of all events, those with the lowest ids.
CREATE TABLE webhook_removed_events (
    id            INTEGER PRIMARY KEY, -- that of the event
    message_id    TEXT    NOT NULL,
    event_type    TEXT    NOT NULL,
    source        TEXT    NOT NULL,
    ordering_key  TEXT    NOT NULL,
    sequence      INTEGER NOT NULL,    -- the sender's; -1 if it gave none
    sha256        BLOB    NOT NULL,    -- of the body that was removed
    request_id    TEXT    NOT NULL,
    received_at   INTEGER NOT NULL,
    enqueued_at   INTEGER NOT NULL,
    spooled_at    INTEGER NOT NULL, -- 0 if it never was in a spool
    replay_of     TEXT    NOT NULL, -- the request whose dead letter was replayed; empty unless a replay
    replayed_at   INTEGER NOT NULL, -- 0 unless a replay
    headers       TEXT    NOT NULL,
    remote_addr   TEXT    NOT NULL,
    partition     INTEGER NOT NULL,
    position      TEXT    NOT NULL,
    batch         INTEGER NOT NULL,    -- webhook_batches.id
    removed_at    INTEGER NOT NULL
);
CREATE INDEX webhook_removed_events_message ON webhook_removed_events (message_id);
CREATE INDEX webhook_removed_events_request ON webhook_removed_events (request_id);

-- Requests that were acknowledged and made no event: duplicates and dead letters.
CREATE TABLE webhook_requests (
    id               INTEGER PRIMARY KEY, -- in the order stored
    request_id       TEXT    NOT NULL UNIQUE,
    outcome          TEXT    NOT NULL,    -- duplicate or dead_lettered
    first_request_id TEXT    NOT NULL,    -- of a duplicate; else empty
    reason           TEXT    NOT NULL,    -- of a dead letter; else empty
    message_id       TEXT    NOT NULL,
    event_type       TEXT    NOT NULL,
    source           TEXT    NOT NULL,
    ordering_key     TEXT    NOT NULL,
    sequence         INTEGER NOT NULL,
    sha256           BLOB    NOT NULL,    -- of the body of a dead letter; else of nothing
    received_at      INTEGER NOT NULL,
    enqueued_at      INTEGER NOT NULL,
    spooled_at       INTEGER NOT NULL, -- 0 if it never was in a spool
    replay_of        TEXT    NOT NULL, -- the request whose dead letter was replayed; empty unless a replay
    replayed_at      INTEGER NOT NULL, -- 0 unless a replay
    headers          TEXT    NOT NULL,
    remote_addr      TEXT    NOT NULL,
    partition        INTEGER NOT NULL,
    position         TEXT    NOT NULL,
    batch            INTEGER NOT NULL
);
CREATE INDEX webhook_requests_message ON webhook_requests (message_id);
CREATE INDEX webhook_requests_dead ON webhook_requests (id) WHERE outcome = 'dead_lettered';
CREATE INDEX webhook_requests_replay ON webhook_requests (replay_of) WHERE replay_of <> '';

-- Dead letters, whole. The rest of what is known of each stands in webhook_requests.
CREATE TABLE webhook_dead_letters (
    id               INTEGER PRIMARY KEY, -- webhook_requests.id
    request_id       TEXT    NOT NULL UNIQUE,
    payload          BLOB    NOT NULL,
    reason           TEXT    NOT NULL,
    dead_lettered_at INTEGER NOT NULL
);

-- Dead letters that were purged: the row of webhook_dead_letters is gone, that of webhook_requests stays.
CREATE TABLE webhook_purges (
    id         INTEGER PRIMARY KEY, -- in the order purged
    request_id TEXT    NOT NULL UNIQUE,
    purged_by  TEXT    NOT NULL,
    reason     TEXT    NOT NULL,
    purged_at  INTEGER NOT NULL,
    batch      INTEGER NOT NULL -- the link that seals the purge
);

-- The stages of a request; stored stands for its outcome.
CREATE TABLE webhook_stages (
    ordinal INTEGER PRIMARY KEY,
    stage   TEXT NOT NULL
);
INSERT INTO webhook_stages VALUES (1, 'received'), (2, 'replayed'), (3, 'spooled'), (4, 'enqueued'),
    (5, 'processed'), (6, 'retried'), (7, 'stored'), (8, 'purged'), (9, 'removed');

-- The lineage of every acknowledged request: a row for each stage, and none of them stored.
CREATE VIEW webhook_audit_trail (message_id, request_id, stage, metadata, timestamp, source, event_type, ordinal, batch) AS
SELECT r.message_id, r.request_id, iif(s.stage = 'stored', 'persisted', s.stage),
       CASE s.stage
           WHEN 'received'  THEN json_object('remoteAddr', r.remote_addr)
           WHEN 'replayed'  THEN json_object('replayOf', r.replay_of)
           WHEN 'spooled'   THEN json_object()
           WHEN 'enqueued'  THEN json_object('partition', r.partition, 'position', r.position)
           WHEN 'processed' THEN json_object('worker', b.worker)
           WHEN 'retried'   THEN json_object('attempts', b.attempts, 'lastError', b.last_error)
           WHEN 'removed'   THEN json_object()
           ELSE json_object('batch', r.batch, 'event', CAST(r.id AS TEXT))
       END,
       CASE s.stage
           WHEN 'received'  THEN r.received_at
           WHEN 'replayed'  THEN r.replayed_at
           WHEN 'spooled'   THEN r.spooled_at
           WHEN 'enqueued'  THEN r.enqueued_at
           WHEN 'processed' THEN b.processed_at
           WHEN 'removed'   THEN r.removed_at
           ELSE b.persisted_at
       END,
       r.source, r.event_type, s.ordinal, r.batch
FROM (SELECT id, message_id, event_type, source, request_id, received_at, enqueued_at, spooled_at, replay_of, replayed_at,
          remote_addr, partition, position, batch, 0 AS removed_at FROM webhook_events
      UNION ALL
      SELECT id, message_id, event_type, source, request_id, received_at, enqueued_at, spooled_at, replay_of, replayed_at,
          remote_addr, partition, position, batch, removed_at FROM webhook_removed_events) r
    JOIN webhook_batches b ON b.id = r.batch CROSS JOIN webhook_stages s
WHERE (s.stage <> 'retried' OR b.attempts > 1) AND (s.stage <> 'spooled' OR r.spooled_at <> 0)
    AND (s.stage <> 'replayed' OR r.replayed_at <> 0) AND s.stage <> 'purged' AND (s.stage <> 'removed' OR r.removed_at <> 0)
UNION ALL
SELECT r.message_id, r.request_id, iif(s.stage = 'stored', r.outcome, s.stage),
       CASE s.stage
           WHEN 'received'  THEN json_object('remoteAddr', r.remote_addr)
           WHEN 'replayed'  THEN json_object('replayOf', r.replay_of)
           WHEN 'spooled'   THEN json_object()
           WHEN 'enqueued'  THEN json_object('partition', r.partition, 'position', r.position)
           WHEN 'processed' THEN json_object('worker', b.worker)
           WHEN 'retried'   THEN json_object('attempts', b.attempts, 'lastError', b.last_error)
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
           WHEN 'processed' THEN b.processed_at
           WHEN 'purged'    THEN p.purged_at
           ELSE b.persisted_at
       END,
       r.source, r.event_type, s.ordinal, r.batch
FROM webhook_requests r JOIN webhook_batches b ON b.id = r.batch LEFT JOIN webhook_purges p ON p.request_id = r.request_id
    CROSS JOIN webhook_stages s
WHERE (s.stage <> 'retried' OR b.attempts > 1) AND (s.stage <> 'spooled' OR r.spooled_at <> 0)
    AND (s.stage <> 'replayed' OR r.replayed_at <> 0) AND (s.stage <> 'purged' OR p.id IS NOT NULL)
    AND s.stage <> 'removed';

-- Retention and the purge of dead letters, and nothing else, may remove rows: in a transaction that first puts a
-- row into webhook_retention and takes it out again at the end.
CREATE TABLE webhook_retention (reason TEXT NOT NULL);

-- +goose StatementBegin
CREATE TRIGGER webhook_events_no_update BEFORE UPDATE ON webhook_events
BEGIN SELECT raise(ABORT, 'webhook_events is append-only'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER webhook_events_no_delete BEFORE DELETE ON webhook_events WHEN NOT EXISTS (SELECT 1 FROM webhook_retention)
BEGIN SELECT raise(ABORT, 'webhook_events is append-only'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER webhook_removed_events_no_update BEFORE UPDATE ON webhook_removed_events
BEGIN SELECT raise(ABORT, 'webhook_removed_events is append-only'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER webhook_removed_events_no_delete BEFORE DELETE ON webhook_removed_events WHEN NOT EXISTS (SELECT 1 FROM webhook_retention)
BEGIN SELECT raise(ABORT, 'webhook_removed_events is append-only'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER webhook_requests_no_update BEFORE UPDATE ON webhook_requests
BEGIN SELECT raise(ABORT, 'webhook_requests is append-only'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER webhook_requests_no_delete BEFORE DELETE ON webhook_requests WHEN NOT EXISTS (SELECT 1 FROM webhook_retention)
BEGIN SELECT raise(ABORT, 'webhook_requests is append-only'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER webhook_batches_no_update BEFORE UPDATE ON webhook_batches
BEGIN SELECT raise(ABORT, 'webhook_batches is append-only'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER webhook_batches_no_delete BEFORE DELETE ON webhook_batches WHEN NOT EXISTS (SELECT 1 FROM webhook_retention)
BEGIN SELECT raise(ABORT, 'webhook_batches is append-only'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER webhook_dead_letters_no_update BEFORE UPDATE ON webhook_dead_letters
BEGIN SELECT raise(ABORT, 'webhook_dead_letters is append-only'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER webhook_dead_letters_no_delete BEFORE DELETE ON webhook_dead_letters WHEN NOT EXISTS (SELECT 1 FROM webhook_retention)
BEGIN SELECT raise(ABORT, 'webhook_dead_letters is append-only'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER webhook_purges_no_update BEFORE UPDATE ON webhook_purges
BEGIN SELECT raise(ABORT, 'webhook_purges is append-only'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER webhook_purges_no_delete BEFORE DELETE ON webhook_purges WHEN NOT EXISTS (SELECT 1 FROM webhook_retention)
BEGIN SELECT raise(ABORT, 'webhook_purges is append-only'); END;
-- +goose StatementEnd

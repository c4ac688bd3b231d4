-- +goose Up

-- All times are in microseconds since 1970. Rows are added and never changed; only retention removes
-- any (see the triggers at the end).

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
    headers       TEXT    NOT NULL,
    remote_addr   TEXT    NOT NULL,
    partition     INTEGER NOT NULL,
    position      TEXT    NOT NULL,
    batch         INTEGER NOT NULL,    -- webhook_batches.id
    UNIQUE (message_id, event_type, source)
);
CREATE INDEX webhook_events_type ON webhook_events (event_type, received_at DESC);
CREATE INDEX webhook_events_request ON webhook_events (request_id);

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
    headers          TEXT    NOT NULL,
    remote_addr      TEXT    NOT NULL,
    partition        INTEGER NOT NULL,
    position         TEXT    NOT NULL,
    batch            INTEGER NOT NULL
);
CREATE INDEX webhook_requests_message ON webhook_requests (message_id);

-- Dead letters, whole. The rest of what is known of each stands in webhook_requests.
CREATE TABLE webhook_dead_letters (
    id               INTEGER PRIMARY KEY, -- webhook_requests.id
    request_id       TEXT    NOT NULL UNIQUE,
    payload          BLOB    NOT NULL,
    reason           TEXT    NOT NULL,
    dead_lettered_at INTEGER NOT NULL
);

-- The lineage of every acknowledged request, a row for each stage.
CREATE VIEW webhook_audit_trail (message_id, request_id, stage, metadata, timestamp, source, event_type) AS
WITH requests AS (
    SELECT message_id, event_type, source, request_id, 'persisted' AS outcome, '' AS first_request_id, '' AS reason,
           id AS event, received_at, enqueued_at, remote_addr, partition, position, batch
    FROM webhook_events
    UNION ALL
    SELECT message_id, event_type, source, request_id, outcome, first_request_id, reason,
           NULL, received_at, enqueued_at, remote_addr, partition, position, batch
    FROM webhook_requests
)
SELECT message_id, request_id, 'received', json_object('remoteAddr', remote_addr), received_at, source, event_type
FROM requests
UNION ALL
SELECT message_id, request_id, 'enqueued', json_object('partition', partition, 'position', position), enqueued_at, source, event_type
FROM requests
UNION ALL
SELECT message_id, request_id, 'processed', json_object('worker', b.worker), b.processed_at, source, event_type
FROM requests JOIN webhook_batches b ON b.id = batch
UNION ALL
SELECT message_id, request_id, 'retried', json_object('attempts', b.attempts, 'lastError', b.last_error), b.persisted_at, source, event_type
FROM requests JOIN webhook_batches b ON b.id = batch WHERE b.attempts > 1
UNION ALL
SELECT message_id, request_id, outcome,
       CASE outcome
           WHEN 'persisted' THEN json_object('batch', batch, 'event', CAST(event AS TEXT))
           WHEN 'duplicate' THEN json_object('batch', batch, 'firstRequestId', first_request_id)
           ELSE json_object('batch', batch, 'reason', reason)
       END, b.persisted_at, source, event_type
FROM requests JOIN webhook_batches b ON b.id = batch;

-- Retention, and nothing else, may remove rows: in a transaction that first puts a row into
-- webhook_retention and takes it out again at the end.
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

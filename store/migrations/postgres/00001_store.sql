-- +goose Up

-- All times are in microseconds since 1970. Rows are added and never changed; only retention and the purge of
-- dead letters remove any (see the triggers at the end). Text compares by its bytes (COLLATE "C"), whatever the
-- database's own collation: identities must not depend on it, and a prefix must find its index.

-- Each partition's owner and the head of its audit chain.
CREATE TABLE webhook_partitions (
    partition    integer PRIMARY KEY,
    epoch        bigint NOT NULL,
    sequence     bigint NOT NULL DEFAULT 0,
    hash         bytea  NOT NULL DEFAULT decode(repeat('00', 32), 'hex'),
    events       bigint NOT NULL DEFAULT 0,
    duplicates   bigint NOT NULL DEFAULT 0,
    dead_letters bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 50); -- its rows change with every batch: room for them beside the old ones

-- The last ids that were given out. A transaction locks this one row before it takes any, until its commit: so
-- ids come in the order of commits, and a reader that goes on behind the last id it saw misses nothing.
CREATE TABLE webhook_counters (
    single   boolean PRIMARY KEY DEFAULT true CHECK (single),
    events   bigint NOT NULL,
    requests bigint NOT NULL,
    batches  bigint NOT NULL,
    purges   bigint NOT NULL
) WITH (fillfactor = 10);
INSERT INTO webhook_counters (events, requests, batches, purges) VALUES (0, 0, 0, 0);

-- One row for each partition in each transaction: a link of the audit chain (see chain.go).
CREATE TABLE webhook_batches (
    id            bigint  PRIMARY KEY,
    partition     integer NOT NULL,
    sequence      bigint  NOT NULL, -- in the partition, from 1
    previous_hash bytea   NOT NULL,
    hash          bytea   NOT NULL,
    events        bigint  NOT NULL,
    requests      bigint  NOT NULL, -- rows of webhook_requests
    purges        bigint  NOT NULL, -- rows of webhook_purges
    last_event    bigint  NOT NULL, -- the highest id of an event when it was sealed; its own end there
    last_request  bigint  NOT NULL, -- the same of webhook_requests
    worker        text    COLLATE "C" NOT NULL,
    processed_at  bigint  NOT NULL,
    persisted_at  bigint  NOT NULL,
    attempts      bigint  NOT NULL,
    last_error    text    COLLATE "C" NOT NULL
);

CREATE TABLE webhook_events (
    id            bigint  PRIMARY KEY, -- in the order stored
    message_id    text    COLLATE "C" NOT NULL,
    event_type    text    COLLATE "C" NOT NULL,
    source        text    COLLATE "C" NOT NULL,
    ordering_key  text    COLLATE "C" NOT NULL,
    sequence      bigint  NOT NULL,    -- the sender's; -1 if it gave none
    payload       bytea   NOT NULL,
    sha256        bytea   NOT NULL,    -- of payload
    request_id    text    COLLATE "C" NOT NULL,
    received_at   bigint  NOT NULL,
    enqueued_at   bigint  NOT NULL,
    spooled_at    bigint  NOT NULL, -- 0 if it never was in a spool
    replay_of     text    COLLATE "C" NOT NULL, -- the request whose dead letter was replayed; empty unless a replay
    replayed_at   bigint  NOT NULL, -- 0 unless a replay
    headers       text    COLLATE "C" NOT NULL,
    remote_addr   text    COLLATE "C" NOT NULL,
    partition     bigint  NOT NULL,
    position      text    COLLATE "C" NOT NULL,
    batch         bigint  NOT NULL,    -- webhook_batches.id
    UNIQUE (message_id, event_type, source)
);
CREATE INDEX webhook_events_type ON webhook_events (event_type, received_at DESC);
CREATE INDEX webhook_events_request ON webhook_events (request_id);
-- Replays alone: their request ids do not tell when their events were received.
CREATE INDEX webhook_events_replays ON webhook_events (request_id) WHERE replay_of <> '';

-- Events whose body was removed by retention, for their lineage: of all events, those with the lowest ids.
CREATE TABLE webhook_removed_events (
    id            bigint  PRIMARY KEY, -- that of the event
    message_id    text    COLLATE "C" NOT NULL,
    event_type    text    COLLATE "C" NOT NULL,
    source        text    COLLATE "C" NOT NULL,
    ordering_key  text    COLLATE "C" NOT NULL,
    sequence      bigint  NOT NULL,    -- the sender's; -1 if it gave none
    sha256        bytea   NOT NULL,    -- of the body that was removed
    request_id    text    COLLATE "C" NOT NULL,
    received_at   bigint  NOT NULL,
    enqueued_at   bigint  NOT NULL,
    spooled_at    bigint  NOT NULL, -- 0 if it never was in a spool
    replay_of     text    COLLATE "C" NOT NULL, -- the request whose dead letter was replayed; empty unless a replay
    replayed_at   bigint  NOT NULL, -- 0 unless a replay
    headers       text    COLLATE "C" NOT NULL,
    remote_addr   text    COLLATE "C" NOT NULL,
    partition     integer NOT NULL,
    position      text    COLLATE "C" NOT NULL,
    batch         bigint  NOT NULL,    -- webhook_batches.id
    removed_at    bigint  NOT NULL
);
CREATE INDEX webhook_removed_events_message ON webhook_removed_events (message_id);
CREATE INDEX webhook_removed_events_request ON webhook_removed_events (request_id);

-- Requests that were acknowledged and made no event: duplicates and dead letters.
CREATE TABLE webhook_requests (
    id               bigint  PRIMARY KEY, -- in the order stored
    request_id       text    COLLATE "C" NOT NULL UNIQUE,
    outcome          text    COLLATE "C" NOT NULL, -- duplicate or dead_lettered
    first_request_id text    COLLATE "C" NOT NULL, -- of a duplicate; else empty
    reason           text    COLLATE "C" NOT NULL, -- of a dead letter; else empty
    message_id       text    COLLATE "C" NOT NULL,
    event_type       text    COLLATE "C" NOT NULL,
    source           text    COLLATE "C" NOT NULL,
    ordering_key     text    COLLATE "C" NOT NULL,
    sequence         bigint  NOT NULL,
    sha256           bytea   NOT NULL, -- of the body of a dead letter; else of nothing
    received_at      bigint  NOT NULL,
    enqueued_at      bigint  NOT NULL,
    spooled_at       bigint  NOT NULL, -- 0 if it never was in a spool
    replay_of        text    COLLATE "C" NOT NULL, -- the request whose dead letter was replayed; empty unless a replay
    replayed_at      bigint  NOT NULL, -- 0 unless a replay
    headers          text    COLLATE "C" NOT NULL,
    remote_addr      text    COLLATE "C" NOT NULL,
    partition        integer NOT NULL,
    position         text    COLLATE "C" NOT NULL,
    batch            bigint  NOT NULL
);
CREATE INDEX webhook_requests_message ON webhook_requests (message_id);
CREATE INDEX webhook_requests_dead ON webhook_requests (id) WHERE outcome = 'dead_lettered';
CREATE INDEX webhook_requests_replay ON webhook_requests (replay_of) WHERE replay_of <> '';

-- Dead letters, whole. The rest of what is known of each stands in webhook_requests.
CREATE TABLE webhook_dead_letters (
    id               bigint PRIMARY KEY, -- webhook_requests.id
    request_id       text   COLLATE "C" NOT NULL UNIQUE,
    payload          bytea  NOT NULL,
    reason           text   COLLATE "C" NOT NULL,
    dead_lettered_at bigint NOT NULL
);

-- Dead letters that were purged: the row of webhook_dead_letters is gone, that of webhook_requests stays.
CREATE TABLE webhook_purges (
    id         bigint PRIMARY KEY, -- in the order purged
    request_id text   COLLATE "C" NOT NULL UNIQUE,
    purged_by  text   COLLATE "C" NOT NULL,
    reason     text   COLLATE "C" NOT NULL,
    purged_at  bigint NOT NULL,
    batch      bigint NOT NULL -- the link that seals the purge
);

-- Bodies of more than 2 kB are compressed. By lz4, because with its own method PostgreSQL takes four times as much processor
-- time for a body of 64 KiB. A server that was built without it goes on with its own.
-- +goose StatementBegin
DO $$
BEGIN
    EXECUTE 'ALTER TABLE webhook_events ALTER COLUMN payload SET COMPRESSION lz4';
    EXECUTE 'ALTER TABLE webhook_dead_letters ALTER COLUMN payload SET COMPRESSION lz4';
EXCEPTION WHEN feature_not_supported OR syntax_error THEN
    NULL;
END $$;
-- +goose StatementEnd

-- The stages of a request; stored stands for its outcome.
CREATE TABLE webhook_stages (
    ordinal integer PRIMARY KEY,
    stage   text    COLLATE "C" NOT NULL
);
INSERT INTO webhook_stages VALUES (1, 'received'), (2, 'replayed'), (3, 'spooled'), (4, 'enqueued'),
    (5, 'processed'), (6, 'retried'), (7, 'stored'), (8, 'purged'), (9, 'removed');

-- The lineage of every acknowledged request: a row for each stage, and none of them stored.
CREATE VIEW webhook_audit_trail (message_id, request_id, stage, metadata, timestamp, source, event_type, ordinal, batch) AS
SELECT r.message_id, r.request_id, CASE s.stage WHEN 'stored' THEN 'persisted' ELSE s.stage END,
       CASE s.stage
           WHEN 'received'  THEN json_build_object('remoteAddr', r.remote_addr)
           WHEN 'replayed'  THEN json_build_object('replayOf', r.replay_of)
           WHEN 'spooled'   THEN json_build_object()
           WHEN 'enqueued'  THEN json_build_object('partition', r.partition, 'position', r.position)
           WHEN 'processed' THEN json_build_object('worker', b.worker)
           WHEN 'retried'   THEN json_build_object('attempts', b.attempts, 'lastError', b.last_error)
           WHEN 'removed'   THEN json_build_object()
           ELSE json_build_object('batch', r.batch, 'event', r.id::text)
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
          remote_addr, partition, position, batch, 0::bigint AS removed_at FROM webhook_events
      UNION ALL
      SELECT id, message_id, event_type, source, request_id, received_at, enqueued_at, spooled_at, replay_of, replayed_at,
          remote_addr, partition, position, batch, removed_at FROM webhook_removed_events) r
    JOIN webhook_batches b ON b.id = r.batch CROSS JOIN webhook_stages s
WHERE (s.stage <> 'retried' OR b.attempts > 1) AND (s.stage <> 'spooled' OR r.spooled_at <> 0)
    AND (s.stage <> 'replayed' OR r.replayed_at <> 0) AND s.stage <> 'purged' AND (s.stage <> 'removed' OR r.removed_at <> 0)
UNION ALL
SELECT r.message_id, r.request_id, CASE s.stage WHEN 'stored' THEN r.outcome ELSE s.stage END,
       CASE s.stage
           WHEN 'received'  THEN json_build_object('remoteAddr', r.remote_addr)
           WHEN 'replayed'  THEN json_build_object('replayOf', r.replay_of)
           WHEN 'spooled'   THEN json_build_object()
           WHEN 'enqueued'  THEN json_build_object('partition', r.partition, 'position', r.position)
           WHEN 'processed' THEN json_build_object('worker', b.worker)
           WHEN 'retried'   THEN json_build_object('attempts', b.attempts, 'lastError', b.last_error)
           WHEN 'purged'    THEN json_build_object('by', p.purged_by, 'reason', p.reason)
           ELSE CASE r.outcome
               WHEN 'duplicate' THEN json_build_object('batch', r.batch, 'firstRequestId', r.first_request_id)
               ELSE json_build_object('batch', r.batch, 'reason', r.reason)
           END
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
CREATE TABLE webhook_retention (reason text NOT NULL);

-- A trigger for each statement, which costs the same for one row and for a million.
-- +goose StatementBegin
CREATE FUNCTION webhook_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        PERFORM 1 FROM webhook_retention;
        IF FOUND THEN
            RETURN NULL;
        END IF;
    END IF;
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
END $$;
-- +goose StatementEnd
CREATE TRIGGER webhook_events_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON webhook_events
    FOR EACH STATEMENT EXECUTE FUNCTION webhook_append_only();
CREATE TRIGGER webhook_removed_events_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON webhook_removed_events
    FOR EACH STATEMENT EXECUTE FUNCTION webhook_append_only();
CREATE TRIGGER webhook_requests_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON webhook_requests
    FOR EACH STATEMENT EXECUTE FUNCTION webhook_append_only();
CREATE TRIGGER webhook_batches_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON webhook_batches
    FOR EACH STATEMENT EXECUTE FUNCTION webhook_append_only();
CREATE TRIGGER webhook_dead_letters_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON webhook_dead_letters
    FOR EACH STATEMENT EXECUTE FUNCTION webhook_append_only();
CREATE TRIGGER webhook_purges_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON webhook_purges
    FOR EACH STATEMENT EXECUTE FUNCTION webhook_append_only();

-- +goose Up

-- One audit chain over the whole log (see entry.go) takes the place of a chain for each partition.
-- Events, duplicates, dead letters, purges and anchors take their ids from one counter, and each row
-- carries the hash of its entry. The rows and the links of earlier releases stay as they are: they
-- have no hash of their own, and the new chain begins with the hashes at which the old chains end.

-- The counter and the head of the chain, in one row. A transaction that adds to the log locks it, after
-- all other rows, until its commit: so ids come in the order of commits, and a reader that goes on
-- behind the last id it saw misses nothing. hash is empty until there is an entry: the first one
-- follows the hash that webhook_partitions makes (see FirstHash).
CREATE TABLE webhook_log (
    single       boolean PRIMARY KEY DEFAULT true CHECK (single),
    begins_after bigint NOT NULL, -- rows with ids up to here are of earlier releases
    last_id      bigint NOT NULL,
    hash         bytea  NOT NULL,
    events       bigint NOT NULL, -- these count what was ever stored
    duplicates   bigint NOT NULL,
    dead_letters bigint NOT NULL,
    purges       bigint NOT NULL,
    anchored     bigint NOT NULL -- the last row of webhook_admin_actions that an anchor covers
) WITH (fillfactor = 10);
INSERT INTO webhook_log (begins_after, last_id, hash, events, duplicates, dead_letters, purges, anchored)
SELECT last_id, last_id, '', 0, 0, 0, 0, 0 FROM (SELECT greatest(
    (SELECT greatest(events, requests, batches, purges) FROM webhook_counters),
    (SELECT greatest(last_event, last_request, last_batch, last_purge) FROM webhook_removals),
    (SELECT max(id) FROM webhook_events), (SELECT max(id) FROM webhook_removed_events), (SELECT max(id) FROM webhook_requests),
    (SELECT max(id) FROM webhook_purges), (SELECT max(id) FROM webhook_batches)) AS last_id) l;

-- Earlier releases find the tables by this one, and read its row before they write. Without the row a
-- process that still runs can add nothing; and one that starts finds that the schema is too new for it.
DELETE FROM webhook_counters;
ALTER TABLE webhook_counters ADD CHECK (false);

-- Entries of the log that say how far the admin trail had come.
CREATE TABLE webhook_anchors (
    id         bigint PRIMARY KEY,
    sequence   bigint NOT NULL, -- of the row of webhook_admin_actions
    trail_hash bytea  NOT NULL, -- of that row
    hash       bytea  NOT NULL  -- of this entry
);

-- The gaps in the log: entries that retention has removed. Neighbours are joined.
CREATE TABLE webhook_gaps (
    from_id       bigint PRIMARY KEY,
    to_id         bigint NOT NULL,
    previous_hash bytea  NOT NULL, -- of the entry before the first
    hash          bytea  NOT NULL, -- of the last
    events        bigint NOT NULL, -- that were in it
    duplicates    bigint NOT NULL,
    dead_letters  bigint NOT NULL,
    purges        bigint NOT NULL,
    anchors       bigint NOT NULL,
    anchored      bigint NOT NULL, -- the highest sequence of its anchors; 0 if it has none
    persisted_at  bigint NOT NULL, -- of the last
    removed_at    bigint NOT NULL
);
CREATE INDEX webhook_gaps_end ON webhook_gaps (to_id);

-- What holds for all processes of a gate and survives a restart.
CREATE TABLE webhook_settings (
    name  text COLLATE "C" PRIMARY KEY,
    value text COLLATE "C" NOT NULL
);

-- The identity of an event as the program computes it (see store/batch, Key): each of its three texts
-- counts with its length in 4 bytes, little-endian.
CREATE FUNCTION webhook_counted(t text) RETURNS bytea LANGUAGE sql IMMUTABLE AS $$
    SELECT decode(lpad(to_hex(n & 255), 2, '0') || lpad(to_hex(n >> 8 & 255), 2, '0') ||
        lpad(to_hex(n >> 16 & 255), 2, '0') || lpad(to_hex(n >> 24 & 255), 2, '0'), 'hex') || b
    FROM (SELECT convert_to(t, 'UTF8') AS b, octet_length(convert_to(t, 'UTF8')) AS n) c
$$;
CREATE FUNCTION webhook_identity(source text, event_type text, message_id text) RETURNS bytea LANGUAGE sql IMMUTABLE AS $$
    SELECT substring(sha256(convert_to(message_id, 'UTF8')) FOR 8) ||
        substring(sha256(webhook_counted(source) || webhook_counted(event_type) || webhook_counted(message_id)) FOR 16)
$$;

DROP VIEW webhook_audit_trail;

-- Without the indexes each row is written once.
ALTER TABLE webhook_events DROP CONSTRAINT webhook_events_message_id_event_type_source_key;
DROP INDEX webhook_events_type, webhook_events_request, webhook_events_replays, webhook_events_tests;

-- webhook_events.identity is unique; that of a request is not. position is that in the queue, and empty
-- if the store took the request itself. batch is the first id of what was stored together, or
-- webhook_batches.id. hash is that of the entry, and empty if a link of webhook_batches covers it.
ALTER TABLE webhook_events ADD identity bytea, ADD keyed boolean, ADD processed_at bigint, ADD persisted_at bigint,
    ADD worker text COLLATE "C", ADD attempts bigint, ADD last_error text COLLATE "C", ADD hash bytea;
ALTER TABLE webhook_removed_events ADD keyed boolean, ADD processed_at bigint, ADD persisted_at bigint,
    ADD worker text COLLATE "C", ADD attempts bigint, ADD last_error text COLLATE "C", ADD hash bytea;
ALTER TABLE webhook_requests ADD identity bytea, ADD keyed boolean, ADD processed_at bigint, ADD persisted_at bigint,
    ADD worker text COLLATE "C", ADD attempts bigint, ADD last_error text COLLATE "C", ADD hash bytea;
-- Of a purge in the log batch is its own id.
ALTER TABLE webhook_purges ADD hash bytea;

ALTER TABLE webhook_events DISABLE TRIGGER webhook_events_append_only;
ALTER TABLE webhook_removed_events DISABLE TRIGGER webhook_removed_events_append_only;
ALTER TABLE webhook_requests DISABLE TRIGGER webhook_requests_append_only;
ALTER TABLE webhook_purges DISABLE TRIGGER webhook_purges_append_only;
UPDATE webhook_events e SET identity = webhook_identity(e.source, e.event_type, e.message_id), keyed = e.ordering_key <> e.event_type,
    processed_at = b.processed_at, persisted_at = b.persisted_at, worker = b.worker, attempts = b.attempts,
    last_error = b.last_error, hash = ''
FROM webhook_batches b WHERE b.id = e.batch;
UPDATE webhook_removed_events e SET keyed = e.ordering_key <> e.event_type,
    processed_at = b.processed_at, persisted_at = b.persisted_at, worker = b.worker, attempts = b.attempts,
    last_error = b.last_error, hash = ''
FROM webhook_batches b WHERE b.id = e.batch;
UPDATE webhook_requests e SET identity = webhook_identity(e.source, e.event_type, e.message_id), keyed = e.ordering_key <> e.event_type,
    processed_at = b.processed_at, persisted_at = b.persisted_at, worker = b.worker, attempts = b.attempts,
    last_error = b.last_error, hash = ''
FROM webhook_batches b WHERE b.id = e.batch;
UPDATE webhook_purges SET hash = '';
-- Rows whose link is missing: the audit shows them.
UPDATE webhook_events SET identity = webhook_identity(source, event_type, message_id), keyed = ordering_key <> event_type,
    processed_at = 0, persisted_at = 0, worker = '', attempts = 0, last_error = '', hash = '' WHERE hash IS NULL;
UPDATE webhook_removed_events SET keyed = ordering_key <> event_type,
    processed_at = 0, persisted_at = 0, worker = '', attempts = 0, last_error = '', hash = '' WHERE hash IS NULL;
UPDATE webhook_requests SET identity = webhook_identity(source, event_type, message_id), keyed = ordering_key <> event_type,
    processed_at = 0, persisted_at = 0, worker = '', attempts = 0, last_error = '', hash = '' WHERE hash IS NULL;
ALTER TABLE webhook_events ENABLE TRIGGER webhook_events_append_only;
ALTER TABLE webhook_removed_events ENABLE TRIGGER webhook_removed_events_append_only;
ALTER TABLE webhook_requests ENABLE TRIGGER webhook_requests_append_only;
ALTER TABLE webhook_purges ENABLE TRIGGER webhook_purges_append_only;

ALTER TABLE webhook_events ALTER identity SET NOT NULL, ALTER keyed SET NOT NULL, ALTER processed_at SET NOT NULL,
    ALTER persisted_at SET NOT NULL, ALTER worker SET NOT NULL, ALTER attempts SET NOT NULL, ALTER last_error SET NOT NULL,
    ALTER hash SET NOT NULL;
ALTER TABLE webhook_removed_events ALTER keyed SET NOT NULL, ALTER processed_at SET NOT NULL,
    ALTER persisted_at SET NOT NULL, ALTER worker SET NOT NULL, ALTER attempts SET NOT NULL, ALTER last_error SET NOT NULL,
    ALTER hash SET NOT NULL;
ALTER TABLE webhook_requests ALTER identity SET NOT NULL, ALTER keyed SET NOT NULL, ALTER processed_at SET NOT NULL,
    ALTER persisted_at SET NOT NULL, ALTER worker SET NOT NULL, ALTER attempts SET NOT NULL, ALTER last_error SET NOT NULL,
    ALTER hash SET NOT NULL;
ALTER TABLE webhook_purges ALTER hash SET NOT NULL;
DROP FUNCTION webhook_identity(text, text, text);
DROP FUNCTION webhook_counted(text);

CREATE UNIQUE INDEX webhook_events_identity ON webhook_events (identity);
CREATE INDEX webhook_events_type ON webhook_events (event_type, received_at DESC);
CREATE INDEX webhook_events_request ON webhook_events (request_id);
-- The events of one key, in order.
CREATE INDEX webhook_events_key ON webhook_events (ordering_key, id);
-- Replays alone: their request ids do not tell when their events were received.
CREATE INDEX webhook_events_replays ON webhook_events (request_id) WHERE replay_of <> '';
-- Test traffic: hookgate-certify is the reserved source of certify and of replay --test.
CREATE INDEX webhook_events_tests ON webhook_events (id) WHERE source = 'hookgate-certify';

-- The lineage of every acknowledged request: a row for each stage, and none of them stored.
CREATE VIEW webhook_audit_trail (message_id, request_id, stage, metadata, timestamp, source, event_type, ordinal, batch) AS
SELECT r.message_id, r.request_id, CASE s.stage WHEN 'stored' THEN 'persisted' ELSE s.stage END,
       CASE s.stage
           WHEN 'received'  THEN json_build_object('remoteAddr', r.remote_addr)
           WHEN 'replayed'  THEN json_build_object('replayOf', r.replay_of)
           WHEN 'spooled'   THEN json_build_object()
           WHEN 'enqueued'  THEN json_build_object('partition', r.partition, 'position', CASE r.position WHEN '' THEN r.id || '-0' ELSE r.position END)
           WHEN 'processed' THEN json_build_object('worker', r.worker)
           WHEN 'retried'   THEN json_build_object('attempts', r.attempts, 'lastError', r.last_error)
           WHEN 'removed'   THEN json_build_object()
           ELSE json_build_object('batch', r.batch, 'event', r.id::text)
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
          remote_addr, partition, position, batch, processed_at, persisted_at, worker, attempts, last_error, 0::bigint AS removed_at
          FROM webhook_events
      UNION ALL
      SELECT id, message_id, event_type, source, request_id, received_at, enqueued_at, spooled_at, replay_of, replayed_at,
          remote_addr, partition, position, batch, processed_at, persisted_at, worker, attempts, last_error, removed_at
          FROM webhook_removed_events) r
    CROSS JOIN webhook_stages s
WHERE (s.stage <> 'retried' OR r.attempts > 1) AND (s.stage <> 'spooled' OR r.spooled_at <> 0)
    AND (s.stage <> 'replayed' OR r.replayed_at <> 0) AND s.stage <> 'purged' AND (s.stage <> 'removed' OR r.removed_at <> 0)
UNION ALL
SELECT r.message_id, r.request_id, CASE s.stage WHEN 'stored' THEN r.outcome ELSE s.stage END,
       CASE s.stage
           WHEN 'received'  THEN json_build_object('remoteAddr', r.remote_addr)
           WHEN 'replayed'  THEN json_build_object('replayOf', r.replay_of)
           WHEN 'spooled'   THEN json_build_object()
           WHEN 'enqueued'  THEN json_build_object('partition', r.partition, 'position', CASE r.position WHEN '' THEN r.id || '-0' ELSE r.position END)
           WHEN 'processed' THEN json_build_object('worker', r.worker)
           WHEN 'retried'   THEN json_build_object('attempts', r.attempts, 'lastError', r.last_error)
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

CREATE TRIGGER webhook_log_keeps_its_row BEFORE INSERT OR DELETE OR TRUNCATE ON webhook_log
    FOR EACH STATEMENT EXECUTE FUNCTION webhook_never_changed();
CREATE TRIGGER webhook_anchors_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON webhook_anchors
    FOR EACH STATEMENT EXECUTE FUNCTION webhook_append_only();
CREATE TRIGGER webhook_gaps_retention_only BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON webhook_gaps
    FOR EACH STATEMENT EXECUTE FUNCTION webhook_retention_only();

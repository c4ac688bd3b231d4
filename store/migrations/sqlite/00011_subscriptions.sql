-- +goose Up

-- Subscriptions read the log and hand its events to consumers. Times are microseconds since 1970, 0 if
-- never, as everywhere.
CREATE TABLE webhook_subscriptions (
    id              INTEGER PRIMARY KEY, -- never given out again
    name            TEXT    NOT NULL,
    definition      TEXT    NOT NULL, -- the whole configuration as JSON, without secrets
    filter          TEXT    NOT NULL, -- as JSON
    delivery_order  TEXT    NOT NULL, -- key, all or none
    revision        INTEGER NOT NULL, -- of the definition
    version         INTEGER NOT NULL, -- grows with each change by a person
    cursor          INTEGER NOT NULL, -- the last id that the subscription has passed
    epoch           INTEGER NOT NULL, -- of the owner
    owner           TEXT    NOT NULL, -- empty if there is none
    lease_until     INTEGER NOT NULL,
    clock           INTEGER NOT NULL, -- how long it was neither paused nor broken, in microseconds
    paused_at       INTEGER NOT NULL,
    paused_by       TEXT    NOT NULL, -- empty if the gate paused it
    pause_reason    TEXT    NOT NULL,
    broken_since    INTEGER NOT NULL,
    redelivery      INTEGER NOT NULL, -- the number for events up to redeliver_until
    redeliver_until INTEGER NOT NULL,
    redeliveries    INTEGER NOT NULL, -- the highest number ever used
    created_at      INTEGER NOT NULL,
    removed_at      INTEGER NOT NULL, -- when it went missing from the configuration
    delivered_at    INTEGER NOT NULL, -- when an attempt last succeeded
    forgotten_at    INTEGER NOT NULL  -- then the row only names the subscription of old attempts
);
CREATE UNIQUE INDEX webhook_subscriptions_name ON webhook_subscriptions (name) WHERE forgotten_at = 0;

-- The attempts. Those that settle an event tell an owner what is settled above the cursor.
CREATE TABLE webhook_deliveries (
    subscription INTEGER NOT NULL, -- webhook_subscriptions.id
    event        INTEGER NOT NULL,
    redelivery   INTEGER NOT NULL, -- 0, or above 0 if a person asked for the event again
    number       INTEGER NOT NULL, -- of the attempt, from 1
    outcome      TEXT    NOT NULL, -- delivered, dead_lettered, skipped, failed or parked
    status       INTEGER NOT NULL, -- of HTTP; 0 if there was no answer
    at           INTEGER NOT NULL, -- when it ended
    took         INTEGER NOT NULL, -- in microseconds
    reason       TEXT    NOT NULL,
    by_whom      TEXT    NOT NULL, -- the person who skipped the event
    PRIMARY KEY (subscription, event, redelivery, number)
) WITHOUT ROWID;

-- The events that have not been delivered, but that the cursor has passed or may pass.
CREATE TABLE webhook_exceptions (
    subscription INTEGER NOT NULL,
    event        INTEGER NOT NULL,
    redelivery   INTEGER NOT NULL,
    ordering_key TEXT    NOT NULL, -- the key that the event holds; empty if it holds nobody
    state        TEXT    NOT NULL, -- waiting, parked or dead
    attempts     INTEGER NOT NULL,
    due          INTEGER NOT NULL, -- when the next attempt begins, while waiting
    since        INTEGER NOT NULL, -- the subscription's clock at the first failure
    wait         INTEGER NOT NULL, -- before due, in microseconds
    reason       TEXT    NOT NULL,
    status       INTEGER NOT NULL,
    changed      INTEGER NOT NULL, -- when it got its state
    PRIMARY KEY (subscription, event, redelivery)
) WITHOUT ROWID;
CREATE INDEX webhook_exceptions_due ON webhook_exceptions (subscription, state, due, event, redelivery);
CREATE INDEX webhook_exceptions_key ON webhook_exceptions (subscription, ordering_key)
    WHERE ordering_key <> '' AND state <> 'dead';

-- The keys whose events wait. Without INDEXED BY the triggers would read all exceptions of a subscription.
CREATE TABLE webhook_holds (
    subscription INTEGER NOT NULL,
    ordering_key TEXT    NOT NULL,
    after_id     INTEGER NOT NULL, -- the events of the key up to this id are settled
    excepted     INTEGER NOT NULL DEFAULT 0, -- 1 if an event of the key is waiting or parked; triggers set it
    PRIMARY KEY (subscription, ordering_key)
) WITHOUT ROWID;
CREATE INDEX webhook_holds_free ON webhook_holds (subscription, excepted, ordering_key, after_id);

-- +goose StatementBegin
CREATE TRIGGER webhook_holds_excepted_insert AFTER INSERT ON webhook_holds
WHEN EXISTS (SELECT 1 FROM webhook_exceptions e INDEXED BY webhook_exceptions_key
    WHERE e.subscription = new.subscription
    AND e.ordering_key = new.ordering_key AND e.ordering_key <> '' AND e.state <> 'dead')
BEGIN UPDATE webhook_holds SET excepted = 1
    WHERE subscription = new.subscription AND ordering_key = new.ordering_key; END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER webhook_exceptions_insert AFTER INSERT ON webhook_exceptions
WHEN new.ordering_key <> '' AND new.state <> 'dead'
BEGIN UPDATE webhook_holds SET excepted = 1
    WHERE subscription = new.subscription AND ordering_key = new.ordering_key; END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER webhook_exceptions_update AFTER UPDATE OF state, ordering_key ON webhook_exceptions
WHEN new.ordering_key <> old.ordering_key OR (new.state = 'dead') <> (old.state = 'dead')
BEGIN UPDATE webhook_holds SET excepted = EXISTS (SELECT 1 FROM webhook_exceptions e INDEXED BY webhook_exceptions_key
        WHERE e.subscription = new.subscription AND e.ordering_key = webhook_holds.ordering_key
            AND e.ordering_key <> '' AND e.state <> 'dead')
    WHERE subscription = new.subscription AND ordering_key IN (old.ordering_key, new.ordering_key); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER webhook_exceptions_delete AFTER DELETE ON webhook_exceptions
WHEN old.ordering_key <> '' AND old.state <> 'dead'
BEGIN UPDATE webhook_holds SET excepted = EXISTS (SELECT 1 FROM webhook_exceptions e INDEXED BY webhook_exceptions_key
        WHERE e.subscription = old.subscription AND e.ordering_key = old.ordering_key
            AND e.ordering_key <> '' AND e.state <> 'dead')
    WHERE subscription = old.subscription AND ordering_key = old.ordering_key; END;
-- +goose StatementEnd

-- Events that a person wants delivered again.
CREATE TABLE webhook_redelivery_jobs (
    id           INTEGER PRIMARY KEY,
    subscription INTEGER NOT NULL,
    redelivery   INTEGER NOT NULL, -- the number of all its deliveries
    events       TEXT    NOT NULL, -- ids as a JSON array; empty if the next columns select them
    after_id     INTEGER NOT NULL,
    until_id     INTEGER NOT NULL,
    filter       TEXT    NOT NULL, -- as JSON
    ordering_key TEXT    NOT NULL, -- empty: all keys
    rate         INTEGER NOT NULL, -- deliveries per second; 0: the rate of the subscription
    position     INTEGER NOT NULL, -- the id up to which it is done
    delivered    INTEGER NOT NULL,
    failed       INTEGER NOT NULL,
    by_whom      TEXT    NOT NULL,
    reason       TEXT    NOT NULL,
    created_at   INTEGER NOT NULL,
    ended_at     INTEGER NOT NULL,
    cancelled    INTEGER NOT NULL  -- 1 if a person ended it
);
CREATE INDEX webhook_redelivery_jobs_running ON webhook_redelivery_jobs (subscription, id) WHERE ended_at = 0;

-- Events that retention has removed from webhook_events, but that a subscription still needs.
CREATE TABLE webhook_kept_events (
    id           INTEGER PRIMARY KEY, -- as in webhook_events
    message_id   TEXT    NOT NULL,
    event_type   TEXT    NOT NULL,
    source       TEXT    NOT NULL,
    ordering_key TEXT    NOT NULL,
    keyed        INTEGER NOT NULL,
    request_id   TEXT    NOT NULL,
    headers      TEXT    NOT NULL,
    received_at  INTEGER NOT NULL,
    persisted_at INTEGER NOT NULL,
    sha256       BLOB    NOT NULL,
    payload      BLOB    NOT NULL
);
CREATE INDEX webhook_kept_events_key ON webhook_kept_events (ordering_key, id);

-- +goose StatementBegin
CREATE TRIGGER webhook_deliveries_no_update BEFORE UPDATE ON webhook_deliveries
BEGIN SELECT raise(ABORT, 'webhook_deliveries is append-only'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER webhook_deliveries_no_delete BEFORE DELETE ON webhook_deliveries WHEN NOT EXISTS (SELECT 1 FROM webhook_retention)
BEGIN SELECT raise(ABORT, 'webhook_deliveries is append-only'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER webhook_subscriptions_no_delete BEFORE DELETE ON webhook_subscriptions
BEGIN SELECT raise(ABORT, 'webhook_subscriptions keeps its rows'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER webhook_kept_events_no_insert BEFORE INSERT ON webhook_kept_events WHEN NOT EXISTS (SELECT 1 FROM webhook_retention)
BEGIN SELECT raise(ABORT, 'webhook_kept_events is written by retention alone'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER webhook_kept_events_no_update BEFORE UPDATE ON webhook_kept_events
BEGIN SELECT raise(ABORT, 'webhook_kept_events is written by retention alone'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER webhook_kept_events_no_delete BEFORE DELETE ON webhook_kept_events WHEN NOT EXISTS (SELECT 1 FROM webhook_retention)
BEGIN SELECT raise(ABORT, 'webhook_kept_events is written by retention alone'); END;
-- +goose StatementEnd

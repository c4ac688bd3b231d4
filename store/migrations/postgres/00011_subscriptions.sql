-- +goose Up

-- Subscriptions read the log and hand its events to consumers. Times are microseconds since 1970, 0 if
-- never, as everywhere.
CREATE TABLE webhook_subscriptions (
    id              bigint PRIMARY KEY, -- never given out again
    name            text COLLATE "C" NOT NULL,
    definition      text COLLATE "C" NOT NULL, -- the whole configuration as JSON, without secrets
    filter          text COLLATE "C" NOT NULL, -- as JSON
    delivery_order  text COLLATE "C" NOT NULL, -- key, all or none
    revision        bigint  NOT NULL, -- of the definition
    version         bigint  NOT NULL, -- grows with each change by a person
    cursor          bigint  NOT NULL, -- the last id that the subscription has passed
    epoch           bigint  NOT NULL, -- of the owner
    owner           text COLLATE "C" NOT NULL, -- empty if there is none
    lease_until     bigint  NOT NULL,
    clock           bigint  NOT NULL, -- how long it was neither paused nor broken, in microseconds
    paused_at       bigint  NOT NULL,
    paused_by       text COLLATE "C" NOT NULL, -- empty if the gate paused it
    pause_reason    text COLLATE "C" NOT NULL,
    broken_since    bigint  NOT NULL,
    redelivery      bigint  NOT NULL, -- the number for events up to redeliver_until
    redeliver_until bigint  NOT NULL,
    redeliveries    bigint  NOT NULL, -- the highest number ever used
    created_at      bigint  NOT NULL,
    removed_at      bigint  NOT NULL, -- when it went missing from the configuration
    delivered_at    bigint  NOT NULL, -- when an attempt last succeeded
    forgotten_at    bigint  NOT NULL  -- then the row only names the subscription of old attempts
) WITH (fillfactor = 20); -- rows that change often
CREATE UNIQUE INDEX webhook_subscriptions_name ON webhook_subscriptions (name) WHERE forgotten_at = 0;

-- The processes that deliver.
CREATE TABLE webhook_dispatchers (
    owner      text COLLATE "C" PRIMARY KEY,
    seen_until bigint NOT NULL -- it counts until then
);

-- The attempts. Those that settle an event tell an owner what is settled above the cursor.
CREATE TABLE webhook_deliveries (
    subscription bigint  NOT NULL, -- webhook_subscriptions.id
    event        bigint  NOT NULL,
    redelivery   bigint  NOT NULL, -- 0, or above 0 if a person asked for the event again
    number       bigint  NOT NULL, -- of the attempt, from 1
    outcome      text COLLATE "C" NOT NULL, -- delivered, dead_lettered, skipped, failed or parked
    status       bigint  NOT NULL, -- of HTTP; 0 if there was no answer
    at           bigint  NOT NULL, -- when it ended
    took         bigint  NOT NULL, -- in microseconds
    reason       text COLLATE "C" NOT NULL,
    by_whom      text COLLATE "C" NOT NULL, -- the person who skipped the event
    PRIMARY KEY (subscription, event, redelivery, number)
);

-- The events that have not been delivered, but that the cursor has passed or may pass.
CREATE TABLE webhook_exceptions (
    subscription bigint  NOT NULL,
    event        bigint  NOT NULL,
    redelivery   bigint  NOT NULL,
    ordering_key text COLLATE "C" NOT NULL, -- the key that the event holds; empty if it holds nobody
    state        text COLLATE "C" NOT NULL, -- waiting, parked or dead
    attempts     bigint  NOT NULL,
    due          bigint  NOT NULL, -- when the next attempt begins, while waiting
    since        bigint  NOT NULL, -- the subscription's clock at the first failure
    wait         bigint  NOT NULL, -- before due, in microseconds
    reason       text COLLATE "C" NOT NULL,
    status       bigint  NOT NULL,
    changed      bigint  NOT NULL, -- when it got its state
    PRIMARY KEY (subscription, event, redelivery)
);
CREATE INDEX webhook_exceptions_due ON webhook_exceptions (subscription, state, due, event, redelivery);
CREATE INDEX webhook_exceptions_key ON webhook_exceptions (subscription, ordering_key)
    WHERE ordering_key <> '' AND state <> 'dead';

-- The keys whose events wait.
CREATE TABLE webhook_holds (
    subscription bigint  NOT NULL,
    ordering_key text COLLATE "C" NOT NULL,
    after_id     bigint  NOT NULL, -- the events of the key up to this id are settled
    excepted     boolean NOT NULL DEFAULT false, -- true if an event of the key is waiting or parked; triggers set it
    PRIMARY KEY (subscription, ordering_key)
);
CREATE INDEX webhook_holds_free ON webhook_holds (subscription, ordering_key) WHERE NOT excepted;

-- Events that a person wants delivered again.
CREATE TABLE webhook_redelivery_jobs (
    id           bigint PRIMARY KEY,
    subscription bigint  NOT NULL,
    redelivery   bigint  NOT NULL, -- the number of all its deliveries
    events       text COLLATE "C" NOT NULL, -- ids as a JSON array; empty if the next columns select them
    after_id     bigint  NOT NULL,
    until_id     bigint  NOT NULL,
    filter       text COLLATE "C" NOT NULL, -- as JSON
    ordering_key text COLLATE "C" NOT NULL, -- empty: all keys
    rate         bigint  NOT NULL, -- deliveries per second; 0: the rate of the subscription
    position     bigint  NOT NULL, -- the id up to which it is done
    delivered    bigint  NOT NULL,
    failed       bigint  NOT NULL,
    by_whom      text COLLATE "C" NOT NULL,
    reason       text COLLATE "C" NOT NULL,
    created_at   bigint  NOT NULL,
    ended_at     bigint  NOT NULL,
    cancelled    boolean NOT NULL  -- true if a person ended it
);
CREATE INDEX webhook_redelivery_jobs_running ON webhook_redelivery_jobs (subscription, id) WHERE ended_at = 0;

-- Events that retention has removed from webhook_events, but that a subscription still needs.
CREATE TABLE webhook_kept_events (
    id           bigint PRIMARY KEY, -- as in webhook_events
    message_id   text COLLATE "C" NOT NULL,
    event_type   text COLLATE "C" NOT NULL,
    source       text COLLATE "C" NOT NULL,
    ordering_key text COLLATE "C" NOT NULL,
    keyed        boolean NOT NULL,
    request_id   text COLLATE "C" NOT NULL,
    headers      text COLLATE "C" NOT NULL,
    received_at  bigint  NOT NULL,
    persisted_at bigint  NOT NULL,
    sha256       bytea   NOT NULL,
    payload      bytea   NOT NULL
);
CREATE INDEX webhook_kept_events_key ON webhook_kept_events (ordering_key, id);

-- Sets excepted of the holds whose keys a row of webhook_exceptions concerned or concerns.
CREATE FUNCTION webhook_hold_excepted() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    sub bigint := coalesce(NEW.subscription, OLD.subscription);
    key text;
    now_excepted boolean;
BEGIN
    FOREACH key IN ARRAY ARRAY[OLD.ordering_key, NEW.ordering_key] LOOP
        CONTINUE WHEN coalesce(key, '') = '';
        SELECT EXISTS (SELECT FROM webhook_exceptions e WHERE e.subscription = sub AND e.ordering_key = key
            AND e.ordering_key <> '' AND e.state <> 'dead') INTO now_excepted;
        UPDATE webhook_holds SET excepted = now_excepted
            WHERE subscription = sub AND ordering_key = key AND excepted <> now_excepted;
    END LOOP;
    RETURN NULL;
END $$;
CREATE TRIGGER webhook_holds_excepted_insert AFTER INSERT ON webhook_holds
    FOR EACH ROW EXECUTE FUNCTION webhook_hold_excepted();
CREATE TRIGGER webhook_exceptions_insert AFTER INSERT ON webhook_exceptions
    FOR EACH ROW WHEN (NEW.ordering_key <> '' AND NEW.state <> 'dead') EXECUTE FUNCTION webhook_hold_excepted();
CREATE TRIGGER webhook_exceptions_update AFTER UPDATE OF state, ordering_key ON webhook_exceptions
    FOR EACH ROW WHEN (NEW.ordering_key <> OLD.ordering_key OR (NEW.state = 'dead') <> (OLD.state = 'dead'))
    EXECUTE FUNCTION webhook_hold_excepted();
CREATE TRIGGER webhook_exceptions_delete AFTER DELETE ON webhook_exceptions
    FOR EACH ROW WHEN (OLD.ordering_key <> '' AND OLD.state <> 'dead') EXECUTE FUNCTION webhook_hold_excepted();

-- Wakes the processes that deliver after a change by a person. The name of the channel is that of
-- store/postgres, grown.go.
CREATE FUNCTION webhook_subscription_changed() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    PERFORM pg_notify('hookgate_' || left(md5(TG_TABLE_SCHEMA), 16), '');
    RETURN NULL;
END $$;
CREATE TRIGGER webhook_subscriptions_changed AFTER UPDATE ON webhook_subscriptions
    FOR EACH ROW WHEN (NEW.version <> OLD.version) EXECUTE FUNCTION webhook_subscription_changed();

CREATE TRIGGER webhook_deliveries_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON webhook_deliveries
    FOR EACH STATEMENT EXECUTE FUNCTION webhook_append_only();
CREATE TRIGGER webhook_subscriptions_keeps_its_rows BEFORE DELETE OR TRUNCATE ON webhook_subscriptions
    FOR EACH STATEMENT EXECUTE FUNCTION webhook_never_changed();
CREATE TRIGGER webhook_kept_events_retention_only BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON webhook_kept_events
    FOR EACH STATEMENT EXECUTE FUNCTION webhook_retention_only();

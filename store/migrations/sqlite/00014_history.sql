-- +goose Up

-- The traffic of the last 24 hours. Each process writes a row for each minute and subject with traffic, and may
-- replace it while the minute lasts. The writer removes old rows.
CREATE TABLE webhook_minutes (
    at              INTEGER NOT NULL, -- begin of the minute
    process         TEXT    NOT NULL, -- the process since its start
    kind            TEXT    NOT NULL, -- gate, source or subscription
    name            TEXT    NOT NULL, -- of the source or subscription
    accepted        INTEGER NOT NULL, -- requests answered 2xx
    unauthenticated INTEGER NOT NULL, -- 401
    refused         INTEGER NOT NULL, -- other 4xx
    unavailable     INTEGER NOT NULL, -- 5xx
    duplicates      INTEGER NOT NULL, -- of accepted, those that repeated an event
    delivered       INTEGER NOT NULL, -- events
    dead_lettered   INTEGER NOT NULL, -- events
    parked          INTEGER NOT NULL, -- events
    attempts        INTEGER NOT NULL,
    failed          INTEGER NOT NULL, -- of attempts, those without a 2xx
    stored          INTEGER NOT NULL, -- requests
    latency         TEXT    NOT NULL, -- receipt to answer or to the end of the delivery: "milliseconds:count …"
    duration        TEXT    NOT NULL, -- of attempts, in the same form
    PRIMARY KEY (at, process, kind, name)
) WITHOUT ROWID;

-- +goose Up

-- The traffic of the last 24 hours. Each process writes a row for each minute and subject with traffic, and may
-- replace it while the minute lasts. The writer removes old rows.
CREATE TABLE webhook_minutes (
    at              bigint  NOT NULL, -- begin of the minute
    process         text COLLATE "C" NOT NULL, -- the process since its start
    kind            text COLLATE "C" NOT NULL, -- gate, source or subscription
    name            text COLLATE "C" NOT NULL, -- of the source or subscription
    accepted        bigint  NOT NULL, -- requests answered 2xx
    unauthenticated bigint  NOT NULL, -- 401
    refused         bigint  NOT NULL, -- other 4xx
    unavailable     bigint  NOT NULL, -- 5xx
    duplicates      bigint  NOT NULL, -- of accepted, those that repeated an event
    delivered       bigint  NOT NULL, -- events
    dead_lettered   bigint  NOT NULL, -- events
    parked          bigint  NOT NULL, -- events
    attempts        bigint  NOT NULL,
    failed          bigint  NOT NULL, -- of attempts, those without a 2xx
    stored          bigint  NOT NULL, -- requests
    latency         text COLLATE "C" NOT NULL, -- receipt to answer or to the end of the delivery: "milliseconds:count …"
    duration        text COLLATE "C" NOT NULL, -- of attempts, in the same form
    PRIMARY KEY (at, process, kind, name)
);

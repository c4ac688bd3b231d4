-- +goose Up

-- The last requests that were refused, at most 1,000 of each source. The writer removes older ones.
CREATE TABLE webhook_refused (
    request_id text COLLATE "C" NOT NULL PRIMARY KEY, -- grows with time
    at         bigint  NOT NULL, -- received
    source     text COLLATE "C" NOT NULL, -- empty: the path belongs to no source
    status     bigint  NOT NULL,
    reason     text COLLATE "C" NOT NULL,
    address    text COLLATE "C" NOT NULL, -- of the client
    method     text COLLATE "C" NOT NULL,
    path       text COLLATE "C" NOT NULL, -- without the query
    size       bigint  NOT NULL, -- of the body in bytes; -1 if unknown
    headers    text COLLATE "C" NOT NULL, -- JSON; without the values of headers that may hold a secret
    body       bytea   NOT NULL, -- at most 16 KiB; empty unless the source keeps the bodies of refused requests
    skipped    bigint  NOT NULL -- refused requests of the source since the last row that were only counted
);
CREATE INDEX webhook_refused_source ON webhook_refused (source, request_id);

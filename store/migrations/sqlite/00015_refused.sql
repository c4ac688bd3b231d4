-- +goose Up

-- The last requests that were refused, at most 1,000 of each source. The writer removes older ones.
CREATE TABLE webhook_refused (
    request_id TEXT    NOT NULL PRIMARY KEY, -- grows with time
    at         INTEGER NOT NULL, -- received
    source     TEXT    NOT NULL, -- empty: the path belongs to no source
    status     INTEGER NOT NULL,
    reason     TEXT    NOT NULL,
    address    TEXT    NOT NULL, -- of the client
    method     TEXT    NOT NULL,
    path       TEXT    NOT NULL, -- without the query
    size       INTEGER NOT NULL, -- of the body in bytes; -1 if unknown
    headers    TEXT    NOT NULL, -- JSON; without the values of headers that may hold a secret
    body       BLOB    NOT NULL, -- at most 16 KiB; empty unless the source keeps the bodies of refused requests
    skipped    INTEGER NOT NULL -- refused requests of the source since the last row that were only counted
) WITHOUT ROWID;
CREATE INDEX webhook_refused_source ON webhook_refused (source, request_id);

-- +goose Up

-- The spool, in the order of arrival. An id is never given out twice (see last_id below). The form
-- of data is that of package wire.
CREATE TABLE records (
    id        INTEGER PRIMARY KEY,
    partition INTEGER NOT NULL, -- 0; earlier releases kept one order for each partition
    data      BLOB    NOT NULL
);

-- Not used. It stays so that this file and that of an earlier release have one schema.
CREATE TABLE claims (
    identity   BLOB    NOT NULL PRIMARY KEY,
    request_id BLOB    NOT NULL,
    claimed_at INTEGER NOT NULL
) WITHOUT ROWID;

-- Single values: last_id (highest id ever deleted), probe; of an earlier release also mode, canary
-- and partitions.
CREATE TABLE settings (
    name  TEXT NOT NULL PRIMARY KEY,
    value      NOT NULL
) WITHOUT ROWID;

-- +goose Up

-- The log of all partitions, in the order of arrival. What stands here is not released yet; an id is
-- never given out twice (see last_id below). The form of data is that of package wire.
CREATE TABLE records (
    id        INTEGER PRIMARY KEY,
    partition INTEGER NOT NULL,
    data      BLOB    NOT NULL
);

-- Claims whose records have been released. A record that is still in the log is its own claim. The
-- identity is the first half of a SHA-256 (see claims.go), claimed_at in microseconds since 1970.
CREATE TABLE claims (
    identity   BLOB    NOT NULL PRIMARY KEY,
    request_id BLOB    NOT NULL,
    claimed_at INTEGER NOT NULL
) WITHOUT ROWID;

-- Single values: partitions (how many), last_id (highest id ever deleted), mode, probe.
CREATE TABLE settings (
    name  TEXT NOT NULL PRIMARY KEY,
    value      NOT NULL
) WITHOUT ROWID;

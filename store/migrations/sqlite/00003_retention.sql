-- +goose Up

-- What retention has removed. Nothing but retention writes to these tables (see the triggers at the end).

-- The totals, in one row. New rows get ids above the highest that was removed: no id is given out twice.
CREATE TABLE webhook_removals (
    single       INTEGER PRIMARY KEY CHECK (single = 1),
    events       INTEGER NOT NULL, -- whose body was removed, whether or not their lineage is left
    duplicates   INTEGER NOT NULL, -- removed with their links
    dead_letters INTEGER NOT NULL, -- the same; they were purged before
    last_event   INTEGER NOT NULL, -- up to this id events have no body any more
    last_request INTEGER NOT NULL,
    last_batch   INTEGER NOT NULL,
    last_purge   INTEGER NOT NULL
);
INSERT INTO webhook_removals VALUES (1, 0, 0, 0, 0, 0, 0, 0);

-- The gaps in the audit chains: links that were removed with all that was in them. Neighbours are joined.
CREATE TABLE webhook_checkpoints (
    partition     INTEGER NOT NULL,
    from_sequence INTEGER NOT NULL, -- the first link that is missing
    to_sequence   INTEGER NOT NULL, -- the last
    previous_hash BLOB    NOT NULL, -- of the link before the first
    hash          BLOB    NOT NULL, -- of the last
    events        INTEGER NOT NULL, -- that were in them
    duplicates    INTEGER NOT NULL,
    dead_letters  INTEGER NOT NULL,
    purges        INTEGER NOT NULL,
    persisted_at  INTEGER NOT NULL, -- of the youngest of them
    removed_at    INTEGER NOT NULL, -- when the last of them was removed
    PRIMARY KEY (partition, from_sequence)
) WITHOUT ROWID;
CREATE INDEX webhook_checkpoints_end ON webhook_checkpoints (partition, to_sequence);

-- A link goes with the purges that it seals.
CREATE INDEX webhook_purges_batch ON webhook_purges (batch);

-- +goose StatementBegin
CREATE TRIGGER webhook_removals_no_insert BEFORE INSERT ON webhook_removals
BEGIN SELECT raise(ABORT, 'webhook_removals is written by retention alone'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER webhook_removals_no_update BEFORE UPDATE ON webhook_removals WHEN NOT EXISTS (SELECT 1 FROM webhook_retention)
BEGIN SELECT raise(ABORT, 'webhook_removals is written by retention alone'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER webhook_removals_no_delete BEFORE DELETE ON webhook_removals
BEGIN SELECT raise(ABORT, 'webhook_removals is written by retention alone'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER webhook_checkpoints_no_insert BEFORE INSERT ON webhook_checkpoints WHEN NOT EXISTS (SELECT 1 FROM webhook_retention)
BEGIN SELECT raise(ABORT, 'webhook_checkpoints is written by retention alone'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER webhook_checkpoints_no_update BEFORE UPDATE ON webhook_checkpoints WHEN NOT EXISTS (SELECT 1 FROM webhook_retention)
BEGIN SELECT raise(ABORT, 'webhook_checkpoints is written by retention alone'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER webhook_checkpoints_no_delete BEFORE DELETE ON webhook_checkpoints WHEN NOT EXISTS (SELECT 1 FROM webhook_retention)
BEGIN SELECT raise(ABORT, 'webhook_checkpoints is written by retention alone'); END;
-- +goose StatementEnd

-- +goose Up

-- What retention has removed. Nothing but retention writes to these tables (see the triggers at the end).

-- The totals, in one row, and which process is at it: who locks the row may go on if it is the holder or if the
-- holder has not been heard of until then.
CREATE TABLE webhook_removals (
    single       boolean PRIMARY KEY DEFAULT true CHECK (single),
    events       bigint NOT NULL, -- whose body was removed, whether or not their lineage is left
    duplicates   bigint NOT NULL, -- removed with their links
    dead_letters bigint NOT NULL, -- the same; they were purged before
    last_event   bigint NOT NULL, -- up to this id events have no body any more
    last_request bigint NOT NULL,
    last_batch   bigint NOT NULL,
    last_purge   bigint NOT NULL,
    holder       text   COLLATE "C" NOT NULL,
    held_until   bigint NOT NULL  -- by the database's clock
) WITH (fillfactor = 10);
INSERT INTO webhook_removals VALUES (true, 0, 0, 0, 0, 0, 0, 0, '', 0);

-- The gaps in the audit chains: links that were removed with all that was in them. Neighbours are joined.
CREATE TABLE webhook_checkpoints (
    partition     bigint NOT NULL,
    from_sequence bigint NOT NULL, -- the first link that is missing
    to_sequence   bigint NOT NULL, -- the last
    previous_hash bytea  NOT NULL, -- of the link before the first
    hash          bytea  NOT NULL, -- of the last
    events        bigint NOT NULL, -- that were in them
    duplicates    bigint NOT NULL,
    dead_letters  bigint NOT NULL,
    purges        bigint NOT NULL,
    persisted_at  bigint NOT NULL, -- of the youngest of them
    removed_at    bigint NOT NULL, -- when the last of them was removed
    PRIMARY KEY (partition, from_sequence)
);
CREATE INDEX webhook_checkpoints_end ON webhook_checkpoints (partition, to_sequence);

-- A link goes with the purges that it seals.
CREATE INDEX webhook_purges_batch ON webhook_purges (batch);

-- +goose StatementBegin
CREATE FUNCTION webhook_retention_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 FROM webhook_retention;
    IF FOUND AND TG_OP <> 'TRUNCATE' THEN
        RETURN NULL;
    END IF;
    RAISE EXCEPTION '% is written by retention alone', TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
END $$;
-- +goose StatementEnd
CREATE TRIGGER webhook_removals_retention_only BEFORE INSERT OR DELETE OR TRUNCATE ON webhook_removals
    FOR EACH STATEMENT EXECUTE FUNCTION webhook_retention_only();
CREATE TRIGGER webhook_removals_update_retention_only BEFORE UPDATE OF events, duplicates, dead_letters, last_event, last_request, last_batch,
    last_purge ON webhook_removals FOR EACH STATEMENT EXECUTE FUNCTION webhook_retention_only();
CREATE TRIGGER webhook_checkpoints_retention_only BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON webhook_checkpoints
    FOR EACH STATEMENT EXECUTE FUNCTION webhook_retention_only();

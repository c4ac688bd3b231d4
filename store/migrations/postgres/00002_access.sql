-- +goose Up

-- Who may call the admin and read API. A row changes once at most, when its token is revoked. It is never removed: a name
-- stays with its token, so that the admin trail always tells who it was.
CREATE TABLE webhook_tokens (
    name       text   COLLATE "C" PRIMARY KEY,
    role       text   COLLATE "C" NOT NULL,
    hash       bytea  NOT NULL UNIQUE, -- SHA-256 of the text, which is kept nowhere
    created_at bigint NOT NULL,
    created_by text   COLLATE "C" NOT NULL,
    expires_at bigint NOT NULL, -- 0: never
    revoked_at bigint NOT NULL  -- 0: it was not
);

-- What was done over the admin API: a chain of rows (see adminaction.go), which not even retention removes.
CREATE TABLE webhook_admin_actions (
    sequence      bigint PRIMARY KEY, -- from 1
    previous_hash bytea  NOT NULL,
    hash          bytea  NOT NULL,
    at            bigint NOT NULL,
    request_id    text   COLLATE "C" NOT NULL,
    actor         text   COLLATE "C" NOT NULL,
    role          text   COLLATE "C" NOT NULL,
    remote_addr   text   COLLATE "C" NOT NULL,
    action        text   COLLATE "C" NOT NULL,
    target        text   COLLATE "C" NOT NULL,
    reason        text   COLLATE "C" NOT NULL,
    result        text   COLLATE "C" NOT NULL
);

-- The head of that chain. Whoever adds a row locks this one until its commit.
CREATE TABLE webhook_admin_chain (
    single   boolean PRIMARY KEY DEFAULT true CHECK (single),
    sequence bigint  NOT NULL,
    hash     bytea   NOT NULL
);
INSERT INTO webhook_admin_chain (sequence, hash) VALUES (0, decode(repeat('00', 32), 'hex'));

-- +goose StatementBegin
CREATE FUNCTION webhook_never_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
END $$;
-- +goose StatementEnd
CREATE TRIGGER webhook_admin_actions_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON webhook_admin_actions
    FOR EACH STATEMENT EXECUTE FUNCTION webhook_never_changed();

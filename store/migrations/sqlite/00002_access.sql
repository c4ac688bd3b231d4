-- +goose Up

-- Who may call the admin and read API. A row changes once at most, when its token is revoked. It is never removed: a name
-- stays with its token, so that the admin trail always tells who it was.
CREATE TABLE webhook_tokens (
    name       TEXT    PRIMARY KEY,
    role       TEXT    NOT NULL,
    hash       BLOB    NOT NULL UNIQUE, -- SHA-256 of the text, which is kept nowhere
    created_at INTEGER NOT NULL,
    created_by TEXT    NOT NULL,
    expires_at INTEGER NOT NULL, -- 0: never
    revoked_at INTEGER NOT NULL  -- 0: it was not
);

-- What was done over the admin API: a chain of rows (see adminaction.go), which not even retention removes.
CREATE TABLE webhook_admin_actions (
    sequence      INTEGER PRIMARY KEY, -- from 1
    previous_hash BLOB    NOT NULL,
    hash          BLOB    NOT NULL,
    at            INTEGER NOT NULL,
    request_id    TEXT    NOT NULL,
    actor         TEXT    NOT NULL,
    role          TEXT    NOT NULL,
    remote_addr   TEXT    NOT NULL,
    action        TEXT    NOT NULL,
    target        TEXT    NOT NULL,
    reason        TEXT    NOT NULL,
    result        TEXT    NOT NULL
);

-- The head of that chain.
CREATE TABLE webhook_admin_chain (
    single   INTEGER PRIMARY KEY CHECK (single = 1),
    sequence INTEGER NOT NULL,
    hash     BLOB    NOT NULL
);
INSERT INTO webhook_admin_chain VALUES (1, 0, x'0000000000000000000000000000000000000000000000000000000000000000');

-- +goose StatementBegin
CREATE TRIGGER webhook_admin_actions_no_update BEFORE UPDATE ON webhook_admin_actions
BEGIN SELECT raise(ABORT, 'webhook_admin_actions is append-only'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER webhook_admin_actions_no_delete BEFORE DELETE ON webhook_admin_actions
BEGIN SELECT raise(ABORT, 'webhook_admin_actions is append-only'); END;
-- +goose StatementEnd

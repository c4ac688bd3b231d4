-- +goose Up

-- The exact bytes of requests that carried several events, each of which is a row of webhook_events with
-- a request id that differs in the last four digits alone. The audit chain covers them by the digest in
-- the header Hookgate-Request of those events. Retention removes a row after the bodies of its events.
CREATE TABLE webhook_request_bodies (
    request_id TEXT    PRIMARY KEY, -- its last four digits are 0
    payload    BLOB    NOT NULL,
    sha256     BLOB    NOT NULL,    -- of payload
    stored_at  INTEGER NOT NULL
);
CREATE INDEX webhook_request_bodies_age ON webhook_request_bodies (stored_at);

-- +goose StatementBegin
CREATE TRIGGER webhook_request_bodies_no_update BEFORE UPDATE ON webhook_request_bodies
BEGIN SELECT raise(ABORT, 'webhook_request_bodies is append-only'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER webhook_request_bodies_no_delete BEFORE DELETE ON webhook_request_bodies WHEN NOT EXISTS (SELECT 1 FROM webhook_retention)
BEGIN SELECT raise(ABORT, 'webhook_request_bodies is append-only'); END;
-- +goose StatementEnd

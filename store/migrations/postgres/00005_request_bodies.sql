-- +goose Up

-- The exact bytes of requests that carried several events, each of which is a row of webhook_events with
-- a request id that differs in the last four digits alone. The audit chain covers them by the digest in
-- the header Hookgate-Request of those events. Retention removes a row after the bodies of its events.
CREATE TABLE webhook_request_bodies (
    request_id text   COLLATE "C" PRIMARY KEY, -- its last four digits are 0
    payload    bytea  NOT NULL,
    sha256     bytea  NOT NULL,    -- of payload
    stored_at  bigint NOT NULL
);
CREATE INDEX webhook_request_bodies_age ON webhook_request_bodies (stored_at);

CREATE TRIGGER webhook_request_bodies_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON webhook_request_bodies
    FOR EACH STATEMENT EXECUTE FUNCTION webhook_append_only();

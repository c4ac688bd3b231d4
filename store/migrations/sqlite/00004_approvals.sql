-- +goose Up

-- Requests to do what another person must approve, and what came of them (see approval.go). A row is never removed, and changes
-- only as the trigger below allows: whatever was asked for stays as it was.
CREATE TABLE webhook_approvals (
    id              INTEGER PRIMARY KEY, -- from 1
    action          TEXT    NOT NULL,
    target          TEXT    NOT NULL,
    needs           TEXT    NOT NULL, -- the least role of whoever decides
    requested_by    TEXT    NOT NULL,
    role            TEXT    NOT NULL,
    request_id      TEXT    NOT NULL,
    requested_at    INTEGER NOT NULL,
    reason          TEXT    NOT NULL,
    expires_at      INTEGER NOT NULL,
    state           TEXT    NOT NULL CHECK (state IN ('pending', 'approved', 'denied', 'used')),
    decided_by      TEXT    NOT NULL, -- empty: nobody has
    decided_at      INTEGER NOT NULL,
    decision_reason TEXT    NOT NULL,
    used_by         TEXT    NOT NULL, -- the request id of the call; empty: it was not
    used_at         INTEGER NOT NULL,
    CHECK ((state = 'pending') = (decided_by = '')),
    CHECK ((state = 'used') = (used_by <> '')),
    -- Nobody approves their own.
    CHECK (state NOT IN ('approved', 'used') OR decided_by <> requested_by)
);
CREATE INDEX webhook_approvals_open ON webhook_approvals (requested_by) WHERE state IN ('pending', 'approved');

-- +goose StatementBegin
CREATE TRIGGER webhook_approvals_no_delete BEFORE DELETE ON webhook_approvals
BEGIN SELECT raise(ABORT, 'webhook_approvals keeps its rows'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER webhook_approvals_update BEFORE UPDATE ON webhook_approvals WHEN NOT (
    (OLD.state = 'pending' AND NEW.state IN ('approved', 'denied') OR OLD.state = 'approved' AND NEW.state IN ('denied', 'used'))
    AND NEW.id = OLD.id AND NEW.action = OLD.action AND NEW.target = OLD.target AND NEW.needs = OLD.needs
    AND NEW.requested_by = OLD.requested_by AND NEW.role = OLD.role AND NEW.request_id = OLD.request_id
    AND NEW.requested_at = OLD.requested_at AND NEW.reason = OLD.reason AND NEW.expires_at = OLD.expires_at
    AND (NEW.state <> 'used' OR NEW.decided_by = OLD.decided_by AND NEW.decided_at = OLD.decided_at AND NEW.decision_reason = OLD.decision_reason))
BEGIN SELECT raise(ABORT, 'an approval is decided and used once, and stays what was asked for'); END;
-- +goose StatementEnd

-- +goose Up

-- Requests to do what another person must approve, and what came of them (see approval.go). A row is never removed, and changes
-- only as the trigger below allows: whatever was asked for stays as it was. Whoever adds a row locks the table until its commit.
CREATE TABLE webhook_approvals (
    id              bigint PRIMARY KEY, -- from 1
    action          text   COLLATE "C" NOT NULL,
    target          text   COLLATE "C" NOT NULL,
    needs           text   COLLATE "C" NOT NULL, -- the least role of whoever decides
    requested_by    text   COLLATE "C" NOT NULL,
    role            text   COLLATE "C" NOT NULL,
    request_id      text   COLLATE "C" NOT NULL,
    requested_at    bigint NOT NULL,
    reason          text   COLLATE "C" NOT NULL,
    expires_at      bigint NOT NULL,
    state           text   COLLATE "C" NOT NULL CHECK (state IN ('pending', 'approved', 'denied', 'used')),
    decided_by      text   COLLATE "C" NOT NULL, -- empty: nobody has
    decided_at      bigint NOT NULL,
    decision_reason text   COLLATE "C" NOT NULL,
    used_by         text   COLLATE "C" NOT NULL, -- the request id of the call; empty: it was not
    used_at         bigint NOT NULL,
    CHECK ((state = 'pending') = (decided_by = '')),
    CHECK ((state = 'used') = (used_by <> '')),
    -- Nobody approves their own.
    CHECK (state NOT IN ('approved', 'used') OR decided_by <> requested_by)
);
CREATE INDEX webhook_approvals_open ON webhook_approvals (requested_by) WHERE state IN ('pending', 'approved');

CREATE TRIGGER webhook_approvals_kept BEFORE DELETE OR TRUNCATE ON webhook_approvals
    FOR EACH STATEMENT EXECUTE FUNCTION webhook_never_changed();
-- +goose StatementBegin
CREATE FUNCTION webhook_approval_changes() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (OLD.state = 'pending' AND NEW.state IN ('approved', 'denied') OR OLD.state = 'approved' AND NEW.state IN ('denied', 'used'))
        AND (NEW.id, NEW.action, NEW.target, NEW.needs, NEW.requested_by, NEW.role, NEW.request_id, NEW.requested_at, NEW.reason, NEW.expires_at)
          = (OLD.id, OLD.action, OLD.target, OLD.needs, OLD.requested_by, OLD.role, OLD.request_id, OLD.requested_at, OLD.reason, OLD.expires_at)
        AND (NEW.state <> 'used'
            OR (NEW.decided_by, NEW.decided_at, NEW.decision_reason) = (OLD.decided_by, OLD.decided_at, OLD.decision_reason)) THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'an approval is decided and used once, and stays what was asked for' USING ERRCODE = 'insufficient_privilege';
END $$;
-- +goose StatementEnd
CREATE TRIGGER webhook_approvals_update BEFORE UPDATE ON webhook_approvals
    FOR EACH ROW EXECUTE FUNCTION webhook_approval_changes();

-- +goose Up

-- Clients of pull subscriptions work on leases. One with open events is open. One without is kept until ten
-- minutes after until_at, so that a repeated acknowledgement finds it.
CREATE TABLE webhook_leases (
    subscription INTEGER NOT NULL, -- webhook_subscriptions.id
    id           TEXT    NOT NULL, -- random
    began        INTEGER NOT NULL,
    until_at     INTEGER NOT NULL, -- when it ends
    open_events  INTEGER NOT NULL, -- how many events are open
    first_event  INTEGER NOT NULL, -- the lowest open event without an exception, or 0; retention keeps its body
    events       BLOB    NOT NULL, -- empty if all were acknowledged; see store/sqlstore, leasedevents.go
    PRIMARY KEY (subscription, id)
) WITHOUT ROWID;
CREATE INDEX webhook_leases_open ON webhook_leases (subscription, first_event) WHERE open_events > 0;
CREATE INDEX webhook_leases_ended ON webhook_leases (subscription, until_at) WHERE open_events = 0;

-- After a lease ran out, the next lease with one of its events has at most so many; 0 is no bound.
ALTER TABLE webhook_exceptions ADD COLUMN lease_max INTEGER NOT NULL DEFAULT 0;
ALTER TABLE webhook_holds ADD COLUMN lease_max INTEGER NOT NULL DEFAULT 0;
DROP INDEX webhook_holds_free;
CREATE INDEX webhook_holds_free ON webhook_holds (subscription, excepted, ordering_key, after_id, lease_max);

ALTER TABLE webhook_subscriptions ADD COLUMN pulled_at INTEGER NOT NULL DEFAULT 0; -- when a client last called
-- A subscription that is not in the configuration is forgotten after this time without a call, in microseconds; 0 is never.
ALTER TABLE webhook_subscriptions ADD COLUMN idle INTEGER NOT NULL DEFAULT 0;

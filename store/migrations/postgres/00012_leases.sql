-- +goose Up

-- Clients of pull subscriptions work on leases. One with open events is open. One without is kept until ten
-- minutes after until_at, so that a repeated acknowledgement finds it.
CREATE TABLE webhook_leases (
    subscription bigint  NOT NULL, -- webhook_subscriptions.id
    id           text COLLATE "C" NOT NULL, -- random
    began        bigint  NOT NULL,
    until_at     bigint  NOT NULL, -- when it ends
    open_events  bigint  NOT NULL, -- how many events are open
    first_event  bigint  NOT NULL, -- the lowest open event without an exception, or 0; retention keeps its body
    events       bytea   NOT NULL, -- empty if all were acknowledged; see store/sqlstore, leasedevents.go
    PRIMARY KEY (subscription, id)
);
CREATE INDEX webhook_leases_open ON webhook_leases (subscription, first_event) WHERE open_events > 0;
CREATE INDEX webhook_leases_ended ON webhook_leases (subscription, until_at) WHERE open_events = 0;

-- After a lease ran out, the next lease with one of its events has at most so many; 0 is no bound.
ALTER TABLE webhook_exceptions ADD COLUMN lease_max bigint NOT NULL DEFAULT 0;
ALTER TABLE webhook_holds ADD COLUMN lease_max bigint NOT NULL DEFAULT 0;

ALTER TABLE webhook_subscriptions
    ADD COLUMN pulled_at bigint NOT NULL DEFAULT 0, -- when a client last called
    -- A subscription that is not in the configuration is forgotten after this time without a call, in microseconds; 0 is never.
    ADD COLUMN idle bigint NOT NULL DEFAULT 0;

-- +goose Up

-- The attempts of a subscription, the last first.
CREATE INDEX webhook_deliveries_at ON webhook_deliveries (subscription, at, event, redelivery, number);

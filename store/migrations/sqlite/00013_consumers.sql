-- +goose Up

-- The subscriptions to which a token with the role consumer is bound, separated by spaces; empty for other roles.
ALTER TABLE webhook_tokens ADD COLUMN subscriptions TEXT NOT NULL DEFAULT '';

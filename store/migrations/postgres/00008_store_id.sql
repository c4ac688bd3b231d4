-- +goose Up

-- Which store this is. A copy has the id of the original, so the queue also compares how far the
-- store has come, and on which timeline of the server.
CREATE TABLE webhook_store (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    id     text    COLLATE "C" NOT NULL
);
INSERT INTO webhook_store (id) VALUES (gen_random_uuid()::text);

-- +goose Up

-- Which store this is. A copy has the id of the original, so the queue also compares how far the
-- store has come.
CREATE TABLE webhook_store (
    single INTEGER PRIMARY KEY DEFAULT 1 CHECK (single = 1),
    id     TEXT    NOT NULL
);
INSERT INTO webhook_store (id) VALUES (lower(hex(randomblob(16))));

-- +goose Up

-- Test traffic: hookgate-certify is the reserved source of certify and of replay --test. The index
-- finds its events, which may be removed from anywhere, among those of all sources.
CREATE INDEX webhook_events_tests ON webhook_events (id) WHERE source = 'hookgate-certify';

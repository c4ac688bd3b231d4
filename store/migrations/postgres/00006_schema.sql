-- +goose Up

-- The triggers find the tables whatever search path a person has who tries to change rows, and no
-- other table of the same name can stand in for webhook_retention.
ALTER FUNCTION webhook_append_only() SET search_path FROM CURRENT;
ALTER FUNCTION webhook_never_changed() SET search_path FROM CURRENT;
ALTER FUNCTION webhook_retention_only() SET search_path FROM CURRENT;
ALTER FUNCTION webhook_approval_changes() SET search_path FROM CURRENT;

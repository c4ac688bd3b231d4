-- +goose Up

-- A page of the requests of one message id, in the order of their ids, reads as many rows as it shows.
DROP INDEX webhook_requests_message;
CREATE INDEX webhook_requests_message ON webhook_requests (message_id, request_id);

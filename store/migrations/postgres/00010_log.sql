-- +goose Up

-- What holds for all processes of a gate, such as its mode.
CREATE TABLE webhook_settings (
    name  text COLLATE "C" PRIMARY KEY,
    value text COLLATE "C" NOT NULL
);

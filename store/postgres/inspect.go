package postgres

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
)

// Inspection describes a database.
type Inspection struct {
	// Target is host:port/database.
	Target  string
	Version string
	// VersionNumber is server_version_num, such as 150004.
	VersionNumber int
	// Settings are some rows of pg_settings, by name.
	Settings map[string]Setting
	// Connections is the current number of connections of all users.
	Connections int
	// Standby reports that the server takes no writes.
	Standby bool
	// Pooled reports that the connection goes through a pooler.
	Pooled bool
	// Size is the size of the database in bytes.
	Size int64
	// Schema is the schema that contains the tables or will contain them. Other is a second schema
	// in which a release before DefaultSchema would find tables; it is empty if there is none.
	Schema, Other string
	// Migrations are the migrations of the schema, including missing ones.
	Migrations []Migration
	// Skew is how far the server's clock is ahead of this machine's, give or take half of
	// RoundTrip.
	Skew, RoundTrip time.Duration
}

// Setting is a row of pg_settings.
type Setting struct{ Value, Unit string }

var inspected = []string{"max_connections", "superuser_reserved_connections", "synchronous_commit",
	"fsync", "full_page_writes", "shared_buffers"}

// Inspect examines the database at url and a schema in it. It changes nothing.
func Inspect(ctx context.Context, url, schema string) (i Inspection, err error) {
	config, err := parseURL(url)
	if err != nil {
		return i, fmt.Errorf("inspect store: %w", err) // the error shows no password
	}
	i.Target = targetOf(config)
	err = connected(ctx, config, func(conn *pgx.Conn) error {
		if err := i.inspect(ctx, conn); err != nil {
			return err
		}
		return i.inspectTables(ctx, conn, schema)
	})
	if err != nil {
		return i, fmt.Errorf("inspect store %s: %w", i.Target, err)
	}
	return i, nil
}

func (i *Inspection) inspectTables(ctx context.Context, conn *pgx.Conn, wanted string) error {
	in, err := find(ctx, conn, wanted)
	if err != nil {
		return err
	}
	i.Schema = in.schema
	if err := conn.QueryRow(ctx, `SELECT coalesce((SELECT n.nspname::text FROM pg_class c
		JOIN pg_namespace n ON n.oid = c.relnamespace
			WHERE c.oid = to_regclass('webhook_counters') AND n.nspname <> $1),
				'')`, in.schema).Scan(&i.Other); err != nil {
		return err
	}
	if i.Migrations, err = migrationStatus(in); err != nil {
		return fmt.Errorf("read migrations: %w", err)
	}
	return nil
}

func (i *Inspection) inspect(ctx context.Context, conn *pgx.Conn) error {
	var clock, backend int64
	sent := time.Now()
	if err := conn.QueryRow(ctx, "SELECT "+databaseNow).Scan(&clock); err != nil {
		return err
	}
	i.RoundTrip = time.Since(sent)
	i.Skew = micros(clock).Sub(sent.Add(i.RoundTrip / 2))
	if err := conn.QueryRow(ctx, `SELECT current_setting('server_version'),
		current_setting('server_version_num')::int, pg_is_in_recovery(),
			pg_backend_pid()::bigint, pg_database_size(current_database()), (SELECT count(*)::int
				FROM pg_stat_activity WHERE backend_type = 'client backend')`).
		Scan(&i.Version, &i.VersionNumber, &i.Standby, &backend, &i.Size, &i.Connections); err != nil {
		return err
	}
	// A pooler returns process ids of its own.
	i.Pooled = backend != int64(conn.PgConn().PID())
	rows, err := conn.Query(ctx, "SELECT name, setting, coalesce(unit, '') FROM pg_settings")
	if err != nil {
		return err
	}
	i.Settings = map[string]Setting{}
	var name string
	var s Setting
	_, err = pgx.ForEachRow(rows, []any{&name, &s.Value, &s.Unit}, func() error {
		if slices.Contains(inspected, name) {
			i.Settings[name] = s
		}
		return nil
	})
	return err
}

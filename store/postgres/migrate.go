package postgres

import (
	"context"
	"database/sql"
	"fmt"
	"io/fs"
	"path"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"

	"github.com/hookgate/hookgate/store/migrations"
)

// schema is what prepareSchema brings a database to; tests have others.
var schema = migrations.Postgres

const (
	// migrationLock is the key of the advisory lock that whoever migrates holds: "hookgate" in ASCII.
	migrationLock = 0x686f6f6b67617465
	// migrationPoll is how often those that wait for it ask.
	migrationPoll = 50 * time.Millisecond
)

// Migration is a version of the schema.
type Migration struct {
	Version int64
	// Name is that of its file.
	Name string
	// AppliedAt is zero if it was not applied.
	AppliedAt time.Time
}

// Migrate brings the schema of the database at url up to date. Several may do that at once. A schema that is newer than
// this program is an error.
func Migrate(ctx context.Context, url string) error {
	config, err := parseURL(url)
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	if err := prepareSchema(ctx, config, false); err != nil {
		return fmt.Errorf("migrate %s: %w", targetOf(config), err)
	}
	return nil
}

// MigrationStatus returns the migrations that this program knows, oldest first, and any that only the database at url
// does. It changes nothing.
func MigrationStatus(ctx context.Context, url string) ([]Migration, error) {
	config, err := parseURL(url)
	if err != nil {
		return nil, fmt.Errorf("read migrations: %w", err)
	}
	m := newMigrator(config)
	defer m.db.Close()
	all, err := m.status(ctx)
	if err != nil {
		return nil, fmt.Errorf("read migrations of %s: %w", targetOf(config), err)
	}
	return all, nil
}

func parseURL(url string) (*pgx.ConnConfig, error) {
	config, err := pgxpool.ParseConfig(url) // which also knows the parameters of a pool
	if err != nil {
		return nil, err
	}
	configure(config.ConnConfig, Config{})
	return config.ConnConfig, nil
}

// prepareSchema migrates, or with checkOnly demands that there is nothing to migrate.
func prepareSchema(ctx context.Context, config *pgx.ConnConfig, checkOnly bool) error {
	m := newMigrator(config)
	defer m.db.Close()
	provider, err := goose.NewProvider(goose.DialectPostgres, m.db, schema())
	if err != nil {
		return fmt.Errorf("read migrations: %w", err)
	}
	sources := provider.ListSources()
	known := sources[len(sources)-1].Version
	for {
		applied, err := m.applied(ctx)
		if err != nil {
			return fmt.Errorf("read schema version: %w", err)
		}
		have := int64(0)
		for version := range applied {
			have = max(have, version)
		}
		switch {
		case have > known:
			return unfit(reasonNewer,
				fmt.Errorf("its schema has version %d and this program knows %d: it was made by a newer hookgate; start that one", have, known))
		case have == known:
			return nil
		case checkOnly:
			return unfit(reasonOlder, fmt.Errorf("its schema has version %d and this program needs %d: run the migrations first", have, known))
		}
		if done, err := m.up(ctx, provider); done || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for another process that migrates: %w", ctx.Err())
		case <-time.After(migrationPoll):
		}
	}
}

// migrator has connections that go through database/sql, which goose needs.
type migrator struct{ db *sql.DB }

func newMigrator(config *pgx.ConnConfig) *migrator {
	config = config.Copy()
	// Without parameters on the server's side: a migration may hold several statements.
	config.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol
	return &migrator{stdlib.OpenDB(*config)}
}

// up applies what is missing; done is false if another process is at it.
//
// The lock belongs to a transaction, since one of the session could stay with a pooler. Who does not get it lets
// go of its connection before it asks again, so that waiting takes none from the one that works.
func (m *migrator) up(ctx context.Context, provider *goose.Provider) (done bool, err error) {
	tx, err := m.db.BeginTx(ctx, nil)
	if err != nil {
		return false, fmt.Errorf("lock migrations: %w", err)
	}
	defer tx.Rollback() // which ends the lock
	if err := tx.QueryRowContext(ctx, "SELECT pg_try_advisory_xact_lock($1)", int64(migrationLock)).Scan(&done); err != nil {
		return false, fmt.Errorf("lock migrations: %w", err)
	}
	if !done {
		return false, nil
	}
	if _, err := provider.Up(ctx); err != nil {
		return false, fmt.Errorf("apply migrations: %w", err)
	}
	return true, nil
}

// applied returns when each version was applied; nothing if the database is new.
func (m *migrator) applied(ctx context.Context) (map[int64]time.Time, error) {
	var table sql.NullString
	if err := m.db.QueryRowContext(ctx, "SELECT to_regclass($1)::text", goose.DefaultTablename).Scan(&table); err != nil || !table.Valid {
		return nil, err
	}
	rows, err := m.db.QueryContext(ctx, "SELECT version_id, tstamp FROM "+goose.DefaultTablename+" WHERE is_applied AND version_id > 0")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	versions := map[int64]time.Time{}
	for rows.Next() {
		var version int64
		var at time.Time
		if err := rows.Scan(&version, &at); err != nil {
			return nil, err
		}
		versions[version] = at
	}
	return versions, rows.Err()
}

func (m *migrator) status(ctx context.Context) (all []Migration, err error) {
	applied, err := m.applied(ctx)
	if err != nil {
		return nil, err
	}
	names, err := fs.Glob(schema(), "*.sql")
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		version, err := goose.NumericComponent(name)
		if err != nil {
			return nil, err
		}
		all = append(all, Migration{Version: version, Name: path.Base(name), AppliedAt: applied[version]})
		delete(applied, version)
	}
	for version, at := range applied {
		all = append(all, Migration{Version: version, Name: "unknown to this program", AppliedAt: at})
	}
	return all, nil
}

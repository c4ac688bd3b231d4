package postgres

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/hookgate/hookgate/store/migrations"
)

// schema returns the migrations that prepareSchema applies. Tests replace it.
var schema = migrations.Postgres

// migrationLock is the key of the advisory lock that a migrating process holds: "hookgate" in
// ASCII. Releases that kept their tables in public use the same key.
const migrationLock = 0x686f6f6b67617465

const (
	// versionTable lists the applied migrations. It is in the schema of the tables.
	versionTable = "webhook_schema_versions"
	// gooseTable listed them in releases that kept their tables in public. Other programs use a
	// table of this name too. So its rows are read only once, and only those that such a release
	// can have written.
	gooseTable = "goose_db_version"
	// lastGooseVersion is the last migration of such a release.
	lastGooseVersion = 5
)

// Migration is one migration of the schema.
type Migration struct {
	Version int64
	// Name is the name of its file.
	Name string
	// AppliedAt is zero if the migration is not applied.
	AppliedAt time.Time
}

// Migrate migrates the tables in a schema of the database at url. An empty schema means
// DefaultSchema. Several processes may call Migrate at once. It returns an error if the tables are
// newer than this program.
func Migrate(ctx context.Context, url, schema string) error {
	config, err := parseURL(url)
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	if _, err := prepareSchema(ctx, config, schema, false); err != nil {
		return fmt.Errorf("migrate %s: %w", targetOf(config), err)
	}
	return nil
}

// MigrationStatus returns the migrations that this program knows, oldest first, followed by those
// that only the database at url has. It changes nothing.
func MigrationStatus(ctx context.Context, url, schema string) ([]Migration, error) {
	config, err := parseURL(url)
	if err != nil {
		return nil, fmt.Errorf("read migrations: %w", err)
	}
	var all []Migration
	err = connected(ctx, config, func(conn *pgx.Conn) error {
		found, err := find(ctx, conn, schema)
		if err != nil {
			return err
		}
		all, err = migrationStatus(found)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read migrations of %s: %w", targetOf(config), err)
	}
	return all, nil
}

func parseURL(url string) (*pgx.ConnConfig, error) {
	config, err := parseConfig(url) // accepts the parameters of a pool too
	if err != nil {
		return nil, err
	}
	configure(config.ConnConfig, Config{})
	return config.ConnConfig, nil
}

// connected runs f with a new connection.
func connected(ctx context.Context, config *pgx.ConnConfig, f func(*pgx.Conn) error) error {
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return err
	}
	defer func() {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), rollbackTimeout)
		defer cancel()
		_ = conn.Close(closing) // f has committed its work
	}()
	return f(conn)
}

// prepareSchema migrates the tables and returns their schema. With checkOnly it returns an error if
// a migration is missing.
func prepareSchema(ctx context.Context, config *pgx.ConnConfig, wanted string,
	checkOnly bool) (in string, err error) {
	names, err := migrationNames()
	if err != nil {
		return "", err
	}
	err = connected(ctx, config, func(conn *pgx.Conn) error {
		// At most starts there is nothing to migrate. They take no lock, so they wait for nobody.
		found, err := find(ctx, conn, wanted)
		if err != nil {
			return err
		}
		in = found.schema
		missing, err := found.missing(names)
		switch {
		case err != nil || len(missing) == 0:
			return err
		case checkOnly:
			return misconfigured(reasonOlder, fmt.Errorf(
				"its schema %s has version %d and this program needs %d: run the migrations first",
				found.schema, found.version(), names[len(names)-1].Version))
		}
		in, err = migrate(ctx, conn, wanted, names)
		return err
	})
	return in, err
}

// migrate applies the missing migrations in one transaction, so a crash leaves all of them or none.
// One process at a time does this. It changes no setting of the session, which may belong to a
// pooler.
func migrate(ctx context.Context, conn *pgx.Conn, wanted string, names []Migration) (in string,
	err error) {
	err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SELECT set_config('statement_timeout', '0', true),"+
			" pg_advisory_xact_lock($1)", int64(migrationLock)); err != nil {
			return fmt.Errorf("wait for another process that migrates: %w", err)
		}
		found, err := find(ctx, tx, wanted) // again: another process may have migrated
		if err != nil {
			return err
		}
		in = found.schema
		missing, err := found.missing(names)
		if err != nil || len(missing) == 0 {
			return err
		}
		if err := found.create(ctx, tx); err != nil {
			return err
		}
		for _, m := range missing {
			text, err := fs.ReadFile(schema(), m.Name)
			if err != nil {
				return fmt.Errorf("read migration: %w", err)
			}
			// A migration has several statements. Without parameters pgconn uses the simple
			// protocol, which allows that.
			if _, err := tx.Conn().PgConn().Exec(ctx, string(text)).ReadAll(); err != nil {
				return fmt.Errorf("apply migration %s: %w", m.Name, err)
			}
			if _, err := tx.Exec(ctx, "INSERT INTO "+versionTable+" (version, name) VALUES ($1, $2)",
				m.Version, m.Name); err != nil {
				return fmt.Errorf("apply migration %s: %w", m.Name, err)
			}
		}
		if !found.goose {
			return nil
		}
		// A release that reads only the other table must see that the tables are too new for it.
		_, err = tx.Exec(ctx, "INSERT INTO "+gooseTable+" (version_id, is_applied) VALUES ($1, true)",
			names[len(names)-1].Version)
		if err != nil {
			return fmt.Errorf("mark the tables for older releases: %w", err)
		}
		return nil
	})
	return in, err
}

// installation describes the tables of this program in a database.
type installation struct {
	schema string
	// exists reports that the schema exists, and tables that the tables do.
	exists, tables bool
	// goose reports that gooseTable is in the same schema, and own that versionTable is.
	goose, own bool
	// applied has the applied migrations by version.
	applied map[int64]Migration
}

// querier is a connection or a transaction.
type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// find finds the tables in the wanted schema. Releases before DefaultSchema kept them in the first
// schema of the user's search path, which is public unless an administrator changed it. If the
// default schema is wanted and has no tables, find uses the tables there. They are not moved,
// because the queries of other programs, and a release that still runs, find them by that path.
func find(ctx context.Context, q querier, wanted string) (*installation, error) {
	wanted, err := checkSchema(wanted)
	if err != nil {
		return nil, err
	}
	in := &installation{applied: map[int64]Migration{}}
	err = q.QueryRow(ctx, `SELECT coalesce(max(n.nspname) FILTER (WHERE n.nspname = $1),
		max(n.nspname), $1)::text, count(*) > 0,
			EXISTS (SELECT FROM pg_namespace WHERE nspname = $1)
		FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE c.relname = 'webhook_counters' AND c.relkind = 'r'
			AND (n.nspname = $1 OR $1 = $2
				AND c.oid = to_regclass('webhook_counters'))`, wanted, DefaultSchema).
		Scan(&in.schema, &in.tables, &in.exists)
	if err != nil {
		return nil, fmt.Errorf("find the tables: %w", err)
	}
	if !in.tables {
		return in, nil
	}
	in.exists = true
	if err := q.QueryRow(ctx, "SELECT to_regclass($1) IS NOT NULL, to_regclass($2) IS NOT NULL",
		in.name(versionTable), in.name(gooseTable)).
		Scan(&in.own, &in.goose); err != nil {
		return nil, fmt.Errorf("find the schema version: %w", err)
	}
	query := "SELECT version, name, applied_at FROM " + in.name(versionTable)
	if !in.own && in.goose {
		query = "SELECT version_id, ''::text, tstamp FROM " + in.name(gooseTable) +
			" WHERE is_applied AND version_id BETWEEN 1 AND " + strconv.Itoa(lastGooseVersion)
	} else if !in.own {
		return nil, misconfigured(reasonVersion,
			fmt.Errorf("schema %s has webhook_counters but neither %s nor %s", in.schema, versionTable,
				gooseTable))
	}
	rows, err := q.Query(ctx, query)
	if err != nil {
		return nil, fmt.Errorf("read schema version: %w", err)
	}
	var m Migration
	if _, err := pgx.ForEachRow(rows, []any{&m.Version, &m.Name, &m.AppliedAt}, func() error {
		in.applied[m.Version] = m
		return nil
	}); err != nil {
		return nil, fmt.Errorf("read schema version: %w", err)
	}
	return in, nil
}

// name returns the qualified name of a table.
func (in *installation) name(table string) string {
	return pgx.Identifier{in.schema, table}.Sanitize()
}

// version returns the highest applied version; 0 if there is none.
func (in *installation) version() int64 {
	return slices.Max(append(slices.Collect(maps.Keys(in.applied)), 0))
}

// missing returns the known migrations that are not applied.
func (in *installation) missing(known []Migration) (missing []Migration, err error) {
	if have, know := in.version(), known[len(known)-1].Version; have > know {
		return nil, misconfigured(reasonNewer,
			fmt.Errorf("its schema %s has version %d and this program knows %d:"+
				" it was made by a newer hookgate; start that one",
				in.schema, have, know))
	}
	for _, m := range known {
		if _, applied := in.applied[m.Version]; !applied {
			missing = append(missing, m)
		}
	}
	return missing, nil
}

// create creates the schema and its versionTable if they are missing, and sets the search path for
// the rest of the transaction.
func (in *installation) create(ctx context.Context, tx pgx.Tx) error {
	if !in.exists {
		_, err := tx.Exec(ctx, "CREATE SCHEMA "+pgx.Identifier{in.schema}.Sanitize())
		var refused *pgconn.PgError
		if errors.As(err, &refused) && refused.Code == insufficientPrivilege {
			return fmt.Errorf("create schema %[1]s: %[2]w; as an administrator of the database run:"+
				" CREATE SCHEMA %[3]s AUTHORIZATION %[4]s",
				in.schema, err, pgx.Identifier{in.schema}.Sanitize(),
				pgx.Identifier{tx.Conn().Config().User}.Sanitize())
		} else if err != nil {
			return fmt.Errorf("create schema %s: %w", in.schema, err)
		}
	}
	if _, err := tx.Exec(ctx, "SELECT set_config('search_path', $1, true)",
		searchPath(in.schema)); err != nil {
		return fmt.Errorf("use schema %s: %w", in.schema, err)
	}
	if in.own {
		return nil
	}
	if _, err := tx.Exec(ctx, "CREATE TABLE "+versionTable+
		` (version bigint PRIMARY KEY, name text NOT NULL,
			applied_at timestamptz NOT NULL DEFAULT now())`); err != nil {
		return fmt.Errorf("create %s in schema %s: %w", versionTable, in.schema, err)
	}
	for _, m := range in.applied {
		if _, err := tx.Exec(ctx, "INSERT INTO "+versionTable+" VALUES ($1, $2, $3)", m.Version, m.Name,
			m.AppliedAt); err != nil {
			return fmt.Errorf("copy the schema version: %w", err)
		}
	}
	return nil
}

// migrationNames returns the migrations that this program knows, oldest first.
func migrationNames() (all []Migration, err error) {
	names, err := fs.Glob(schema(), "*.sql") // sorted; versions have leading zeros
	if err != nil {
		return nil, fmt.Errorf("read migrations: %w", err)
	}
	for _, name := range names {
		digits, _, _ := strings.Cut(path.Base(name), "_")
		version, err := strconv.ParseInt(digits, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("read migration %s: %w", name, err)
		}
		if len(all) > 0 && all[len(all)-1].Version >= version {
			return nil, fmt.Errorf("read migration %s: its version is not above that of %s", name,
				all[len(all)-1].Name)
		}
		all = append(all, Migration{Version: version, Name: path.Base(name)})
	}
	return all, nil
}

func migrationStatus(found *installation) (all []Migration, err error) {
	if all, err = migrationNames(); err != nil {
		return nil, err
	}
	for i := range all {
		all[i].AppliedAt = found.applied[all[i].Version].AppliedAt
		delete(found.applied, all[i].Version)
	}
	for version, m := range found.applied {
		all = append(all, Migration{Version: version, Name: "unknown to this program",
			AppliedAt: m.AppliedAt})
	}
	return all, nil
}

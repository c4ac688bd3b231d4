package pgtest

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"
)

// keep notes what a prepared database has, for reset: the rows of each table, the values of the
// sequences, and the shape.
const keep = `CREATE SCHEMA kept;
	CREATE VIEW kept.tables AS SELECT oid FROM pg_class WHERE relkind = 'r' AND oid >= 16384
		AND relnamespace <> 'kept'::regnamespace AND relpersistence = 'p';
	CREATE VIEW kept.parts (t) AS
		SELECT format('class %s %s', oid, (relname, relnamespace, relkind, relacl, reloptions,
			relreplident, relrowsecurity))
			FROM pg_class WHERE oid >= 16384 AND relpersistence <> 't'
				AND relnamespace NOT IN ('kept'::regnamespace, 'pg_toast'::regnamespace)
		UNION ALL SELECT format('column %s', (attrelid, attnum, attname, atttypid, attnotnull, attacl,
			attcompression, attcollation)) FROM pg_attribute JOIN kept.tables ON oid = attrelid
		UNION ALL SELECT format('default %s', (oid, adbin)) FROM pg_attrdef
		UNION ALL SELECT format('function %s', (oid, proname, prosrc, proacl, proconfig)) FROM pg_proc
			WHERE oid >= 16384
		UNION ALL SELECT format('trigger %s', (oid, tgenabled)) FROM pg_trigger
		UNION ALL SELECT format('constraint %s', (oid, convalidated)) FROM pg_constraint
			WHERE oid >= 16384
		UNION ALL SELECT format('schema %s', (oid, nspname, nspacl)) FROM pg_namespace
			WHERE nspname !~ '^pg_'
		UNION ALL SELECT format('setting %s', (setrole, setconfig)) FROM pg_db_role_setting
			WHERE setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())
		UNION ALL SELECT format('statistics %s', starelid) FROM pg_statistic
			JOIN kept.tables ON oid = starelid;
	DO $$ DECLARE tab oid; BEGIN
		FOR tab IN SELECT oid FROM kept.tables LOOP
			EXECUTE format('CREATE TABLE kept.rows_%s AS TABLE %s', tab, tab::regclass);
		END LOOP;
	END $$;
	CREATE TABLE kept.sequences AS SELECT format('%I.%I', schemaname, sequencename) AS name,
		coalesce(last_value, start_value) AS value, last_value IS NOT NULL AS called FROM pg_sequences;
	CREATE TABLE kept.before AS SELECT sum(hashtextextended(t, 0)) AS shape FROM kept.parts`

// reset gives a prepared database its first rows again. It returns an error if a test has changed
// its tables, functions or settings, or if the planner has statistics. Triggers do not see it.
// Large tables are truncated, so that they are small again.
const reset = `SET session_replication_role = replica;
	DO $$ DECLARE tab oid; BEGIN
		IF (SELECT sum(hashtextextended(t, 0)) FROM kept.parts) <> (SELECT shape FROM kept.before) THEN
			RAISE EXCEPTION 'another shape' USING ERRCODE = 'HG001';
		END IF;
		FOR tab IN SELECT oid FROM kept.tables LOOP
			IF pg_relation_size(tab) > 65536 THEN
				EXECUTE format('TRUNCATE %s CASCADE', tab::regclass);
			ELSIF pg_relation_size(tab) > 0 THEN
				EXECUTE format('DELETE FROM %s', tab::regclass);
			END IF;
		END LOOP;
		FOR tab IN SELECT oid FROM kept.tables LOOP
			EXECUTE format('INSERT INTO %s OVERRIDING SYSTEM VALUE TABLE kept.rows_%s', tab::regclass, tab);
		END LOOP;
		PERFORM setval(name::regclass, value, called) FROM kept.sequences;
	END $$`

// changedShape is the SQLSTATE of reset for a database that cannot be used again.
const changedShape = "HG001"

// NewPrepared returns the name of a database that prepare has changed and nobody else.
// ResetPrepared takes it back. All callers must pass the same prepare.
func (c *Cluster) NewPrepared(ctx context.Context,
	prepare func(url string) error) (name string, err error) {
	select {
	case name := <-c.prepared:
		return name, nil
	default:
	}
	name = fmt.Sprintf("test%d", c.databases.Add(1))
	if err := c.create(ctx, name); err != nil {
		return "", err
	}
	if err := prepare(c.URL(name)); err != nil {
		return "", fmt.Errorf("prepare database %s: %w", name, err)
	}
	if err := c.Exec(ctx, name, keep); err != nil {
		return "", fmt.Errorf("prepare database %s: %w", name, err)
	}
	return name, nil
}

// ResetPrepared ends the sessions of a database of NewPrepared and removes what was done in it, so
// that NewPrepared can return it again. That takes a tenth of the time of migrations. A database
// whose tables or settings were changed is dropped.
func (c *Cluster) ResetPrepared(ctx context.Context, database string) error {
	err := c.endSessions(ctx, database)
	if err == nil {
		err = c.Exec(ctx, database, reset)
	}
	var refused *pgconn.PgError
	if errors.As(err, &refused) && refused.Code == changedShape {
		return c.Exec(ctx, "postgres", "DROP DATABASE "+database+" WITH (FORCE)")
	}
	if err != nil {
		return fmt.Errorf("reset database %s: %w", database, err)
	}
	select {
	case c.prepared <- database:
	default: // enough are idle
	}
	return nil
}

func (c *Cluster) endSessions(ctx context.Context, database string) error {
	return c.Exec(ctx, "postgres", "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"+
		" WHERE datname = '"+database+"' AND backend_type = 'client backend'")
}

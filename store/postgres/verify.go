package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/hookgate/hookgate/audit"
	"github.com/hookgate/hookgate/store/sqlstore"
)

// Audit is the result of Verify.
type Audit = audit.Audit

// Break reports where and how the store differs from its audit chain.
type Break = audit.Break

// Verify audits the store in a schema of the database at url (see audit.Run). It reads everything
// once, in one snapshot, page by page. Gates may run meanwhile. An error means that Verify could
// not finish. If progress is not nil, Verify calls it from time to time.
func Verify(ctx context.Context, url, schema string, progress func(Audit)) (found Audit,
	err error) {
	config, err := parseURL(url)
	if err != nil {
		return found, fmt.Errorf("verify store: %w", err)
	}
	if found, err = verify(ctx, config, schema, progress); err != nil {
		return found, fmt.Errorf("verify store %s: %w", targetOf(config), err)
	}
	return found, nil
}

func verify(ctx context.Context, config *pgx.ConnConfig, schema string,
	progress func(Audit)) (found Audit, err error) {
	session, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return found, err
	}
	defer func() {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), rollbackTimeout)
		defer cancel()
		_ = session.Close(closing) // nothing was written
	}()
	in, err := find(ctx, session, schema)
	if err != nil {
		return found, err
	}
	conn := session.PgConn()
	// Each page is short, but the snapshot must last longer than the time-outs of the database may
	// allow.
	if _, err := exchange(ctx, conn, []statement{
		{sql: "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"},
		{sql: `SELECT set_config('idle_in_transaction_session_timeout', '0', true),
			set_config('statement_timeout', $1, true),
			set_config('search_path', $2, true)`,
			args: []arg{argText(fmt.Sprint(auditTimeout.Milliseconds())), argText(searchPath(in.schema))}},
	}); err != nil {
		return found, err
	}
	_, hasLog := in.applied[logVersion]
	if found, err = audit.Run(newAuditSource(ctx, conn, hasLog), progress); err != nil {
		return found, err
	}
	_, err = exchange(ctx, conn, []statement{{sql: "COMMIT"}})
	return found, err
}

func newAuditSource(ctx context.Context, conn *pgconn.PgConn, hasLog bool) *sqlstore.AuditSource {
	return sqlstore.NewAuditSource(func(s sqlstore.Statement) error {
		_, err := exchange(ctx, conn, []statement{shared(s)})
		return err
	}, hasLog, "''::bytea")
}

// logVersion is the migration that created the log. A store of an earlier release has none.
const logVersion = 10

// auditTimeout bounds the read of one page and the count of dead letters.
const auditTimeout = 5 * time.Minute

package inbox

import (
	"context"
	"database/sql"
	"errors"
)

// DB is a database, a connection or a transaction: see SQL and Pgx.
type DB interface {
	// exec runs a statement and returns the number of rows that it changed.
	exec(ctx context.Context, statement string, args ...any) (rows int64, err error)
	// found reports whether a query has a row.
	found(ctx context.Context, query string, args ...any) (bool, error)
}

// SQLDB is what SQL needs. *sql.DB, *sql.Conn and *sql.Tx have it.
type SQLDB interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// SQL returns the DB of a *sql.DB, *sql.Conn or *sql.Tx.
func SQL(db SQLDB) DB { return sqlDB{db} }

type sqlDB struct{ SQLDB }

func (db sqlDB) exec(ctx context.Context, statement string, args ...any) (int64, error) {
	result, err := db.ExecContext(ctx, statement, args...)
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

func (db sqlDB) found(ctx context.Context, query string, args ...any) (bool, error) {
	rows, err := db.QueryContext(ctx, query, args...)
	if err != nil {
		return false, err
	}
	defer rows.Close()
	return rows.Next(), rows.Err()
}

// Pgx returns the DB of a pgx.Tx, *pgx.Conn or *pgxpool.Pool. This package does not import pgx.
func Pgx[Tag interface{ RowsAffected() int64 }](db interface {
	Exec(ctx context.Context, statement string, args ...any) (Tag, error)
}) DB {
	return pgxDB(func(ctx context.Context, statement string, args ...any) (int64, error) {
		tag, err := db.Exec(ctx, statement, args...)
		if err != nil {
			return 0, err
		}
		return tag.RowsAffected(), nil
	})
}

type pgxDB func(ctx context.Context, statement string, args ...any) (int64, error)

func (db pgxDB) exec(ctx context.Context, statement string, args ...any) (int64, error) {
	return db(ctx, statement, args...)
}

// found is not needed with PostgreSQL.
func (db pgxDB) found(context.Context, string, ...any) (bool, error) {
	return false, errors.ErrUnsupported
}

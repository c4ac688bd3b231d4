package txhandler

import (
	"database/sql"
	"errors"

	"github.com/jackc/pgx/v5"
)

// pgError is an error that PostgreSQL has returned, in pgx and in lib/pq.
type pgError interface{ SQLState() string }

// sqliteError is an error that SQLite has returned. The result code is in the low byte.
type sqliteError interface{ Code() int }

// away are the classes of SQLSTATE that say nothing about the work of a function: connection,
// resources, operator and system.
var away = map[string]bool{"08": true, "53": true, "57": true, "58": true, "XX": true}

// SQLite's result codes.
const sqliteBusy, sqliteConstraint = 5, 19

// transient reports whether the work of a function has failed only because of others at the same
// time: a deadlock, or a conflict of serializable transactions.
func transient(err error) bool {
	var code pgError
	return errors.As(err, &code) && (code.SQLState() == "40001" || code.SQLState() == "40P01")
}

// definite reports whether a commit has failed because of the work, such as by a deferred
// constraint. After any other error the database may be away, and the commit may have happened.
func definite(err error) bool {
	if errors.Is(err, sql.ErrTxDone) || errors.Is(err, pgx.ErrTxClosed) ||
		errors.Is(err, pgx.ErrTxCommitRollback) {
		return true // the function has ended the transaction, or has ignored an error
	}
	var code pgError
	if errors.As(err, &code) {
		return !away[code.SQLState()[:2]]
	}
	var result sqliteError
	return errors.As(err, &result) &&
		(result.Code()&0xff == sqliteBusy || result.Code()&0xff == sqliteConstraint)
}

// isLost reports whether an error comes from the connection and not from the database.
func isLost(err error) bool {
	return err != nil && !errors.Is(err, sql.ErrTxDone) && !answered(err)
}

// answered reports whether an error comes from the database, which works.
func answered(err error) bool {
	var code pgError
	if errors.As(err, &code) {
		return !away[code.SQLState()[:2]]
	}
	var result sqliteError
	return errors.As(err, &result)
}

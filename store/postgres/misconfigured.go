package postgres

import (
	"crypto/tls"
	"errors"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/hookgate/hookgate"
)

// The reasons of a hookgate.MisconfiguredError.
const (
	reasonSettings = "the database settings are invalid"
	reasonRefused  = "the database rejects this gate: check the user, password," +
		" privileges and database name"
	reasonTrust   = "the certificate of the database is not trusted"
	reasonNewer   = "the schema of the database is newer than this hookgate"
	reasonVersion = "the tables of hookgate in the database lack their list of migrations"
	reasonOlder   = "the schema of the database is older than this hookgate," +
		" and database.migrate is false"
)

func misconfigured(reason string, err error) error {
	return &hookgate.MisconfiguredError{Reason: reason, Err: err}
}

// classifyOpenError returns a hookgate.MisconfiguredError if the error of opening the store does
// not go away by itself.
func classifyOpenError(err error) error {
	var already *hookgate.MisconfiguredError
	if errors.As(err, &already) {
		return misconfigured(already.Reason, err)
	}
	var refused *pgconn.PgError
	if errors.As(err, &refused) && len(refused.Code) == 5 {
		switch refused.Code[:2] {
		case "28", "3D", "42": // authorization, unknown database, privileges and syntax
			return misconfigured(reasonRefused, err)
		}
	}
	var untrusted *tls.CertificateVerificationError
	if errors.As(err, &untrusted) {
		return misconfigured(reasonTrust, err)
	}
	return err
}

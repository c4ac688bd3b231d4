package postgres

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
)

// DefaultSchema is the schema of the tables unless the configuration names another.
const DefaultSchema = "hookgate"

// maxSchemaBytes is how long PostgreSQL lets a name be.
const maxSchemaBytes = 63

// insufficientPrivilege is a SQLSTATE.
const insufficientPrivilege = "42501"

// CheckSchema returns an error if PostgreSQL would not use name as the name of a schema of ours.
func CheckSchema(name string) error {
	_, err := checkSchema(name)
	return err
}

// checkSchema returns the schema that name stands for.
func checkSchema(name string) (string, error) {
	var err error
	switch {
	case name == "":
		return DefaultSchema, nil
	case len(name) > maxSchemaBytes:
		err = fmt.Errorf("it has %d bytes and PostgreSQL allows %d", len(name), maxSchemaBytes)
	case !utf8.ValidString(name), strings.ContainsFunc(name, unicode.IsControl):
		err = errors.New("it is not plain text")
	case strings.HasPrefix(name, "$"), strings.HasPrefix(name, "pg_"), name == "information_schema":
		err = errors.New("PostgreSQL keeps such names for itself")
	default:
		return name, nil
	}
	return "", misconfigured(reasonSettings, fmt.Errorf("schema %q: %w", name, err))
}

// searchPath is the value of search_path under which a transaction finds the tables. Temporary
// tables come last, so that none can stand in for one of them.
func searchPath(schema string) string { return pgx.Identifier{schema}.Sanitize() + ", pg_temp" }

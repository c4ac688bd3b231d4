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

// maxSchemaBytes is the longest name that PostgreSQL allows.
const maxSchemaBytes = 63

// insufficientPrivilege is a SQLSTATE.
const insufficientPrivilege = "42501"

// CheckSchema returns an error if PostgreSQL does not allow name as the name of a schema.
func CheckSchema(name string) error {
	_, err := checkSchema(name)
	return err
}

// checkSchema returns name, or DefaultSchema if name is empty.
func checkSchema(name string) (string, error) {
	var err error
	switch {
	case name == "":
		return DefaultSchema, nil
	case len(name) > maxSchemaBytes:
		err = fmt.Errorf("the name has %d bytes, PostgreSQL allows %d", len(name), maxSchemaBytes)
	case !utf8.ValidString(name), strings.ContainsFunc(name, unicode.IsControl):
		err = errors.New("the name must be plain text")
	case strings.HasPrefix(name, "$"), strings.HasPrefix(name, "pg_"), name == "information_schema":
		err = errors.New("PostgreSQL reserves such names")
	default:
		return name, nil
	}
	return "", misconfigured(reasonSettings, fmt.Errorf("schema %q: %w", name, err))
}

// searchPath is the search_path with which a transaction finds the tables. Temporary tables come
// last, so that none can take the place of a table.
func searchPath(schema string) string { return pgx.Identifier{schema}.Sanitize() + ", pg_temp" }

package inbox

import (
	"fmt"
	"regexp"
	"strings"
)

// Dialect is the SQL of a database.
type Dialect string

// The dialects.
const (
	PostgreSQL Dialect = "PostgreSQL"
	// MySQL also stands for MariaDB.
	MySQL Dialect = "MySQL"
	// SQLite needs transactions that begin with BEGIN IMMEDIATE if they read before First.
	SQLite Dialect = "SQLite"
)

// statements are the SQL of a rule. In the tables below a colon and a name stand for a parameter,
// and {table} for the name of the table.
type statements struct {
	create, probe, prune string
	// first are the statements of First. The number of rows that the last one changes tells.
	first []statement
	// known finds the row of a delivery.
	known statement
}

// statement has the placeholders of the driver.
type statement struct {
	text string
	// names are the parameters in the order in which they are passed.
	names []string
}

// args returns the arguments of a statement.
func (s statement) args(d Delivery) []any {
	args := make([]any, len(s.names))
	for i, name := range s.names {
		switch name {
		case ":subscription":
			args[i] = d.Subscription
		case ":webhook_id":
			args[i] = d.WebhookID
		case ":redelivery":
			args[i] = d.Redelivery
		case ":hookgate_key":
			args[i] = d.Key
		case ":event_id":
			args[i] = d.EventID
		}
	}
	return args
}

var parameter = regexp.MustCompile(`:[a-z_]+`)

// bound returns the statement of a dialect.
func bound(d Dialect, text string) statement {
	var s statement
	s.text = parameter.ReplaceAllStringFunc(text, func(name string) string {
		s.names = append(s.names, name)
		if d == PostgreSQL {
			return fmt.Sprint("$", len(s.names))
		}
		return "?"
	})
	return s
}

// named returns the statements for a table.
func (s statements) named(table string) statements {
	name := func(text string) string { return strings.ReplaceAll(text, "{table}", table) }
	named := statements{create: name(s.create), probe: name(s.probe), prune: name(s.prune),
		known: statement{name(s.known.text), s.known.names}}
	for _, first := range s.first {
		named.first = append(named.first, statement{name(first.text), first.names})
	}
	return named
}

const (
	generalProbe = "SELECT subscription, webhook_id, redelivery, done_at FROM {table} WHERE 1 = 0"

	insertOrNothing = `INSERT INTO {table} (subscription, webhook_id, redelivery)
VALUES (:subscription, :webhook_id, :redelivery)
ON CONFLICT DO NOTHING`
)

// general has the statements of the general rule.
var general = map[Dialect]statements{
	PostgreSQL: {
		create: `CREATE TABLE IF NOT EXISTS {table} (
  subscription text NOT NULL,
  webhook_id   text NOT NULL,
  redelivery   bigint NOT NULL,
  done_at      timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (subscription, webhook_id, redelivery)
)`,
		probe: generalProbe,
		first: []statement{bound(PostgreSQL, insertOrNothing)},
		prune: `DELETE FROM {table} WHERE done_at < now() - interval ':seconds seconds'`,
	},
	MySQL: {
		create: `CREATE TABLE IF NOT EXISTS {table} (
  subscription VARBINARY(64) NOT NULL,
  webhook_id   VARBINARY(64) NOT NULL,
  redelivery   BIGINT NOT NULL,
  done_at      TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
  PRIMARY KEY (subscription, webhook_id, redelivery)
) ENGINE=InnoDB`,
		probe: generalProbe,
		first: []statement{bound(MySQL, `INSERT INTO {table} (subscription, webhook_id, redelivery)
VALUES (:subscription, :webhook_id, :redelivery)`)},
		known: bound(MySQL, `SELECT 1 FROM {table}
WHERE subscription = :subscription AND webhook_id = :webhook_id AND redelivery = :redelivery
LOCK IN SHARE MODE`),
		prune: `DELETE FROM {table} WHERE done_at < NOW() - INTERVAL :seconds SECOND`,
	},
	SQLite: {
		create: `CREATE TABLE IF NOT EXISTS {table} (
  subscription TEXT NOT NULL,
  webhook_id   TEXT NOT NULL,
  redelivery   INTEGER NOT NULL,
  done_at      INTEGER NOT NULL DEFAULT (unixepoch()),
  PRIMARY KEY (subscription, webhook_id, redelivery)
) WITHOUT ROWID`,
		probe: generalProbe,
		first: []statement{bound(SQLite, insertOrNothing)},
		prune: `DELETE FROM {table} WHERE done_at < unixepoch() - :seconds`,
	},
}

const (
	shortProbe = "SELECT subscription, hookgate_key, last FROM {table} WHERE 1 = 0"

	shortCreate = `CREATE TABLE IF NOT EXISTS {table} (
  subscription TEXT NOT NULL,
  hookgate_key TEXT NOT NULL,
  last         BIGINT NOT NULL,
  PRIMARY KEY (subscription, hookgate_key)
)`

	insertOrAdvance = `INSERT INTO {table} (subscription, hookgate_key, last)
VALUES (:subscription, :hookgate_key, :event_id)
ON CONFLICT (subscription, hookgate_key)
DO UPDATE SET last = excluded.last WHERE {table}.last < excluded.last`

	// shortPrune: an event id is a time in microseconds.
	shortPrune = `DELETE FROM {table} WHERE hookgate_key LIKE 'e:%' AND last < :before`
)

// shortRule has the statements of the short rule.
var shortRule = map[Dialect]statements{
	PostgreSQL: {
		create: shortCreate, probe: shortProbe,
		first: []statement{bound(PostgreSQL, insertOrAdvance)},
		prune: bound(PostgreSQL, shortPrune).text,
	},
	MySQL: {
		create: `CREATE TABLE IF NOT EXISTS {table} (
  subscription VARBINARY(64) NOT NULL,
  hookgate_key VARBINARY(800) NOT NULL,
  last         BIGINT NOT NULL,
  PRIMARY KEY (subscription, hookgate_key)
) ENGINE=InnoDB`,
		probe: shortProbe,
		first: []statement{
			bound(MySQL, `INSERT INTO {table} (subscription, hookgate_key, last)
VALUES (:subscription, :hookgate_key, 0)
ON DUPLICATE KEY UPDATE last = last`),
			bound(MySQL, `UPDATE {table} SET last = :event_id
WHERE subscription = :subscription AND hookgate_key = :hookgate_key AND last < :event_id`),
		},
		prune: bound(MySQL, shortPrune).text,
	},
	SQLite: {
		create: shortCreate, probe: shortProbe,
		first: []statement{bound(SQLite, insertOrAdvance)},
		prune: bound(SQLite, shortPrune).text,
	},
}

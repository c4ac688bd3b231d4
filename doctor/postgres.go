package doctor

import (
	"context"
	"fmt"
	"strconv"

	"github.com/hookgate/hookgate/store/postgres"
)

// Postgres is the database of the store.
type Postgres struct {
	URL string
	// Schema is the schema of the tables.
	Schema string
	// Pool is the greatest number of connections of a process, Processes the number of processes.
	Pool, Processes int
	// Migrates is true if serve updates the schema.
	Migrates bool
}

const (
	// leastVersion is the oldest version that PostgreSQL supports, 13.
	leastVersion = 130000
	// leastBuffers is the shared_buffers that a database needs, in bytes. With less, the indexes of
	// message ids do not stay in memory.
	leastBuffers = 256 << 20
)

func (c Postgres) examine(ctx context.Context, a area) error {
	i, err := postgres.Inspect(ctx, c.URL, c.Schema)
	if err != nil {
		return err
	}
	if i.VersionNumber < leastVersion {
		a.add(Warning, "version", i.Version, "13 or newer",
			"upgrade it: older versions get no fixes")
	} else {
		a.ok("version", i.Version)
	}
	if i.Standby {
		a.add(Warning, "role", "standby", "primary",
			"point database.url at the primary: a standby rejects writes")
	}
	durability(a, i.Settings)
	c.connections(a, &i)
	buffers(a, i.Settings["shared_buffers"])
	c.schema(a, &i)
	c.migrations(a, i.Migrations)
	a.ok("size", size(i.Size)+"; the free space of its disk is not visible from here")
	a.skew(i.Skew, i.RoundTrip)
	return nil
}

func durability(a area, settings map[string]postgres.Setting) {
	for _, s := range []struct{ name, why string }{
		{"fsync", "ALTER SYSTEM SET fsync = on, and reload: a crash of its machine may damage " +
			"the whole database"},
		{"full_page_writes", "ALTER SYSTEM SET full_page_writes = on, and reload: a crash in the " +
			"middle of a write destroys a page"},
	} {
		if value := settings[s.name].Value; value != "on" {
			a.add(LosesData, s.name, value, "on", s.why)
		} else {
			a.ok(s.name, value)
		}
	}
	// hookgate turns it on for its own transactions.
	if value := settings["synchronous_commit"].Value; value == "off" {
		a.add(Advice, "synchronous_commit", value, "on",
			"hookgate turns it on for its own transactions; other programs that write to this "+
				"database depend on the setting")
	} else {
		a.ok("synchronous_commit", value)
	}
}

func (c Postgres) connections(a area, i *postgres.Inspection) {
	most, _ := strconv.Atoi(i.Settings["max_connections"].Value)
	reserved, _ := strconv.Atoi(i.Settings["superuser_reserved_connections"].Value)
	need := c.Pool * c.Processes
	seen := fmt.Sprintf("%d of %d free for %d processes with pools of %d (%d in use now)",
		most-reserved, most, c.Processes, c.Pool, i.Connections)
	want := fmt.Sprintf("%d or more", need)
	switch {
	case i.Pooled:
		a.ok("max_connections", "a pooler is in between: its own limits apply "+
			"(default_pool_size, max_client_conn)")
	case need > most-reserved:
		a.add(Warning, "max_connections", seen, want,
			"raise max_connections, lower database.max_connections, or put PgBouncer in between: "+
				"a process without a connection cannot store events")
	case need > (most-reserved)*8/10:
		a.add(Advice, "max_connections", seen, want,
			"few connections are left for others: lower database.max_connections; with few "+
				"workers 4 are enough")
	default:
		a.ok("max_connections", seen)
	}
}

func buffers(a area, s postgres.Setting) {
	pages, _ := strconv.ParseInt(s.Value, 10, 64)
	bytes := pages * 8 << 10 // its unit is 8kB
	if s.Unit != "8kB" {
		a.ok("shared_buffers", s.Value+" "+s.Unit)
	} else if bytes < leastBuffers {
		a.add(Advice, "shared_buffers", size(bytes), "a quarter of its machine's memory",
			"ALTER SYSTEM SET shared_buffers, and restart:"+
				" message ids are random, so their index should stay in memory")
	} else {
		a.ok("shared_buffers", size(bytes))
	}
}

func (c Postgres) schema(a area, i *postgres.Inspection) {
	switch {
	case i.Other != "":
		a.add(Warning, "schema", fmt.Sprintf("%s is used, and %s has tables of hookgate too", i.Schema,
			i.Other), "one",
			"find out which gate stores in "+i.Other+
				": an older hookgate does, and its events are not visible here")
	case c.Schema != "" && i.Schema != c.Schema:
		a.ok("schema", fmt.Sprintf("%s, where an older hookgate made the tables (database.schema "+
			"is %s)",
			i.Schema, c.Schema))
	default:
		a.ok("schema", i.Schema)
	}
}

func (c Postgres) migrations(a area, all []postgres.Migration) {
	missing := 0
	for _, m := range all {
		if m.AppliedAt.IsZero() {
			missing++
		}
	}
	seen := fmt.Sprintf("%d of %d applied", len(all)-missing, len(all))
	switch {
	case missing == 0:
		a.ok("migrations", seen)
	case c.Migrates:
		a.add(Advice, "migrations", seen, "all",
			"nothing: serve applies them when it starts (database.migrate)")
	default:
		a.add(Warning, "migrations", seen, "all",
			"run hookgate migrate up: serve does not start without it (database.migrate is false)")
	}
}

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/jackc/pgx/v5"
	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"
)

// cost measures the cost of each guarantee by leaving it out: with a setting of the backend, with a
// change to the schema of the stopped gate, or else with an overlay at build time.
func cost(ctx context.Context, d *document, s settings, gate string) error {
	pairings, err := gates(s, gate, "embedded", "postgres", "everysec")
	if err != nil {
		return err
	}
	var weaker weakerGates
	dir := filepath.Dir(gate)
	if weaker.noFsync, err = buildWith(ctx, s, dir, withoutFsync); err != nil {
		return err
	}
	if weaker.noClaims, err = buildWith(ctx, s, dir, withoutClaims); err != nil {
		return err
	}
	for _, c := range pairings {
		experiment := "cost, " + c.name
		variants := c.without(weaker)
		for round := range s.Rounds {
			for _, v := range variants {
				progress("round %d of %d: %s, %s", round+1, s.Rounds, experiment, v.name)
				if err := v.run(ctx, d, experiment, round); err != nil {
					return fmt.Errorf("%s, %s: %w", c.name, v.name, err)
				}
			}
		}
		for _, v := range variants[1:] {
			d.figures.compare(experiment, v.name, variants[0].name)
		}
		fmt.Printf("\n%s without one guarantee at a time; in brackets the ratio to all of them\n\n",
			c.name)
		d.figures.writeTransposed(os.Stdout, experiment, []string{
			"flat out, persisted/s", "flat out, P95 ms", "flat out, µs/event, sum",
			fmt.Sprintf("at %d/s, P50 ms", pacedRate), fmt.Sprintf("at %d/s, P95 ms", pacedRate),
		})
	}
	return nil
}

// weakerGates are binaries of hookgate without a guarantee.
type weakerGates struct{ noFsync, noClaims string }

// without returns the candidate unchanged, and without each guarantee.
func (c *candidate) without(weaker weakerGates) []*candidate {
	variant := func(name string, change func(*candidate)) *candidate {
		v := *c
		v.name = name
		v.load.flatOut, v.load.paced, v.load.curves, v.load.peak = c.load.flatOut/2, c.load.paced/2,
			false, false
		change(&v)
		return &v
	}
	variants := []*candidate{
		variant("all", func(*candidate) {}),
		variant("bearer key instead of HMAC", func(v *candidate) { v.bearer = true }),
	}
	if c.shared == nil {
		return append(variants,
			variant("no fsync", func(v *candidate) { v.gate = weaker.noFsync }),
			variant("no spool for an outage",
				func(v *candidate) { v.settings = []string{"HOOKGATE_SPOOL=off"} }),
			variant("no index of requests (lineage)", func(v *candidate) {
				v.prepare = inFile("store.db",
					"DROP INDEX webhook_events_request")
			}),
			variant("no index of types", func(v *candidate) {
				v.prepare = inFile("store.db",
					"DROP INDEX webhook_events_type")
			}),
		)
	}
	pair := func(o backendOptions) func(*candidate) { return func(v *candidate) { v.shared = &o } }
	variants = append(variants,
		variant("no unique identity in the store",
			func(v *candidate) { v.prepare = inDatabase("DROP INDEX webhook_events_identity") }),
		variant("no index of requests (lineage)",
			func(v *candidate) { v.prepare = inDatabase("DROP INDEX webhook_events_request") }),
		variant("no index of types",
			func(v *candidate) { v.prepare = inDatabase("DROP INDEX webhook_events_type") }),
		variant("no index of ordering keys",
			func(v *candidate) { v.prepare = inDatabase("DROP INDEX webhook_events_key") }),
		variant("no spool for an outage",
			func(v *candidate) { v.settings = []string{"HOOKGATE_SPOOL=off"} }),
	)
	if c.shared.alone {
		return append(variants,
			variant("no fsync of PostgreSQL", pair(backendOptions{alone: true})),
		)
	}
	return append(variants,
		variant("no append-only file", pair(backendOptions{fsync: true})),
		variant("append-only file: always", pair(*always)),
		variant("no fsync of PostgreSQL", pair(backendOptions{appendfsync: "everysec"})),
		variant("synchronous_commit off", pair(backendOptions{appendfsync: "everysec", fsync: true,
			settings: []string{"synchronous_commit=off"}})),
		variant("no claims", func(v *candidate) { v.gate = weaker.noClaims }),
	)
}

// inFile returns a prepare function that runs a statement in an SQLite file.
func inFile(name, statement string) func(context.Context, *stand) error {
	return func(_ context.Context, st *stand) error {
		conn, err := sqlite.OpenConn(filepath.Join(st.dir, "data0", name), sqlite.OpenReadWrite)
		if err != nil {
			return err
		}
		defer conn.Close()
		return sqlitex.ExecuteTransient(conn, statement, nil)
	}
}

// inDatabase returns a prepare function that runs a statement in PostgreSQL.
func inDatabase(statement string) func(context.Context, *stand) error {
	return func(ctx context.Context, st *stand) error {
		conn, err := pgx.Connect(ctx, st.backends.tablesURL())
		if err != nil {
			return err
		}
		defer conn.Close(ctx)
		_, err = conn.Exec(ctx, statement)
		return err
	}
}

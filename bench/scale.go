package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sys/unix"

	"github.com/hookgate/hookgate/store/postgres"
	storesqlite "github.com/hookgate/hookgate/store/sqlite"
)

// scale compares a gate whose store (and Redis, with claims) has millions of events with an empty
// one, one pairing after the other.
func scale(ctx context.Context, d *document, s settings, gate string) error {
	pairings, err := gates(s, gate, "embedded", "postgres", "everysec")
	if err != nil {
		return err
	}
	if err := enoughDisk(s.Events); err != nil {
		return err
	}
	for _, c := range pairings {
		if err := scalePairing(ctx, d, s, c); err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
	}
	return nil
}

// enoughDisk checks that the temporary folder has room for a filling: 1.2 kB per event, logs, and
// claims.
func enoughDisk(events int) error {
	var disk unix.Statfs_t
	if err := unix.Statfs(os.TempDir(), &disk); err != nil {
		return fmt.Errorf("look for room in %s: %w", os.TempDir(), err)
	}
	const each, logs = 2000, 4 << 30
	free, need := int64(disk.Bavail)*disk.Bsize, int64(events)*each+logs
	if free < need {
		return fmt.Errorf("%d events need %d GB in %s, which has %d:"+
			" set TMPDIR to a larger disk, or reduce -events", events, need>>30, os.TempDir(), free>>30)
	}
	return nil
}

func scalePairing(ctx context.Context, d *document, s settings, c *candidate) error {
	experiment := "scale, " + c.name
	filled := *c
	filled.name = fmt.Sprintf("%g million", float64(s.Events)/1e6)
	empty := *c
	empty.name = "empty"

	st, samples, err := filled.startFilled(ctx, d, experiment, s)
	if err != nil {
		return err
	}
	defer st.stop()
	if err := checkFilling(ctx, st.servers[0], samples); err != nil {
		return fmt.Errorf("the filling differs from what a gate writes: %w", err)
	}
	st.rest()
	for round := range s.Rounds {
		progress("round %d of %d: %s, empty", round+1, s.Rounds, experiment)
		if err := empty.run(ctx, d, experiment, round); err != nil {
			return err
		}
		progress("round %d of %d: %s, filled", round+1, s.Rounds, experiment)
		if err := filled.profiled(s, experiment, round).serve(ctx, st); err != nil {
			return err
		}
		if err := filled.round(ctx, d, experiment, st, round); err != nil {
			return err
		}
		st.rest()
	}
	d.figures.compare(experiment, filled.name, empty.name)
	fmt.Printf("\n%s with %d events, in Redis with as many live claims, in turn with an empty one;"+
		" in brackets the ratio\n\n", c.name, s.Events)
	d.figures.writeTable(os.Stdout, experiment)
	first := len(d.Verdicts)
	if ratio, ok := d.figures.ratio(experiment, filled.name, empty.name, "flat out, persisted/s"); ok {
		d.atLeast(fmt.Sprintf("%s with %s events over empty, persisted/s", c.name, filled.name), ratio,
			targetScale)
	}
	d.writeVerdicts(os.Stdout, first)
	return nil
}

// startFilled starts the candidate with events and, in Redis, claims. First the gate starts and
// makes its schemas, then it stops and is filled, then it starts again.
func (c *candidate) startFilled(ctx context.Context, d *document, experiment string,
	s settings) (_ *stand, samples []sample, err error) {
	st, err := c.start(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if err != nil {
			st.stop()
		}
	}()
	st.rest()
	if samples, err = c.fill(ctx, d, experiment, s, st); err != nil {
		return nil, nil, fmt.Errorf("fill: %w", err)
	}
	unix.Sync() // delayed writes of the filling must not count
	return st, samples, c.serve(ctx, st)
}

// fill fills the store and Redis of the stopped candidate, and records the memory and disk for each
// million events.
func (c *candidate) fill(ctx context.Context, d *document, experiment string, s settings,
	st *stand) (samples []sample, err error) {
	millions := float64(s.Events) / 1e6
	note := func(name, unit string, total float64) {
		d.figures.add(experiment, c.name, name, unit,
			total/millions)
	}
	const mib = 1 << 20
	if st.backends == nil {
		data := filepath.Join(st.dir, "data0")
		store, err := storesqlite.Open(ctx, filepath.Join(data, "store.db"))
		if err != nil {
			return nil, err
		}
		defer store.Close()
		f := newFilling(store, noClaims, s.Events, s.Size)
		if err := f.run(ctx); err != nil {
			return nil, err
		}
		if err := store.Close(); err != nil {
			return nil, err
		}
		size, err := sizeOf(filepath.Join(data, "store.db"))
		if err != nil {
			return nil, err
		}
		note("disk of a million events, MiB", "MiB", float64(size)/mib)
		return f.samples, nil
	}

	store, err := postgres.Open(ctx, postgres.Config{URL: st.backends.url(),
		StatementTimeout: fillStatementTimeout})
	if err != nil {
		return nil, err
	}
	defer store.Close()
	f := newFilling(store, noClaims, s.Events, s.Size)
	if st.backends.redis == nil {
		err = f.run(ctx)
	} else {
		var claims float64
		claims, err = f.runWithClaims(ctx, st.backends)
		note("Redis memory of a million claims, MiB", "MiB", claims/mib)
	}
	if err != nil {
		return nil, err
	}
	return f.samples, st.backends.settle(ctx, func(table, indexes int64) {
		note("disk of a million events, table, MiB", "MiB", float64(table)/mib)
		note("disk of a million events, indexes, MiB", "MiB", float64(indexes)/mib)
	})
}

// runWithClaims fills Redis too. It returns the memory of the claims in Redis, in bytes.
func (f *filling) runWithClaims(ctx context.Context, b *backends) (claims float64, err error) {
	client, err := b.client()
	if err != nil {
		return 0, err
	}
	defer client.Close()
	before, err := usedMemory(ctx, b)
	if err != nil {
		return 0, err
	}
	f.claim = redisClaims(client)
	if err := f.run(ctx); err != nil {
		return 0, err
	}
	after, err := usedMemory(ctx, b)
	return after - before, err
}

// usedMemory returns the memory of the data in Redis, in bytes.
func usedMemory(ctx context.Context, b *backends) (float64, error) {
	text, err := b.info(ctx, "memory")
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(text, "used_memory:")
	value, _, _ := strings.Cut(rest, "\r")
	return strconv.ParseFloat(value, 64)
}

func (b *backends) info(ctx context.Context, section string) (string, error) {
	client, err := b.client()
	if err != nil {
		return "", err
	}
	defer client.Close()
	return client.Do(ctx, client.B().Info().Section(section).Build()).ToString()
}

// settle runs the background work that a store does some time after a filling. It calls sizes with
// the size of the events, in bytes.
func (b *backends) settle(ctx context.Context, sizes func(table, indexes int64)) error {
	conn, err := pgx.Connect(ctx, b.tablesURL())
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	for _, statement := range []string{"VACUUM (ANALYZE)", "CHECKPOINT"} {
		progress("PostgreSQL: %s", statement)
		if _, err := conn.Exec(ctx, statement); err != nil {
			return fmt.Errorf("%s: %w", statement, err)
		}
	}
	var table, indexes int64
	if err := conn.QueryRow(ctx, `SELECT pg_table_size('webhook_events'),
		pg_indexes_size('webhook_events')`).Scan(&table, &indexes); err != nil {
		return err
	}
	sizes(table, indexes)
	if b.redis == nil {
		return nil
	}
	progress("Redis: waits for the append-only file to be rewritten")
	return waitUntil(ctx, func() (bool, error) {
		text, err := b.info(ctx, "persistence")
		return strings.Contains(text, "aof_rewrite_in_progress:0") &&
			strings.Contains(text, "aof_rewrite_scheduled:0"), err
	})
}

package pgtest

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
)

// Dump returns the output of pg_dump for a database.
func (c *Cluster) Dump(ctx context.Context, database string) ([]byte, error) {
	var out, errs bytes.Buffer
	dump := exec.CommandContext(ctx, filepath.Join(c.bin, "pg_dump"), "--dbname", c.URL(database))
	dump.Stdout, dump.Stderr = &out, &errs
	if err := dump.Run(); err != nil {
		return nil, fmt.Errorf("pg_dump of %s: %w\n%s", database, err, &errs)
	}
	return out.Bytes(), nil
}

// Load drops a database and restores it from the output of Dump.
func (c *Cluster) Load(ctx context.Context, database string, dump []byte) error {
	if err := c.Exec(ctx, "postgres", "DROP DATABASE "+database+" WITH (FORCE)"); err != nil {
		return fmt.Errorf("drop database %s: %w", database, err)
	}
	if err := c.create(ctx, database); err != nil {
		return err
	}
	load := exec.CommandContext(ctx, filepath.Join(c.bin, "psql"), "--no-psqlrc", "--quiet", "--set",
		"ON_ERROR_STOP=1",
		"--dbname", c.URL(database))
	load.Stdin = bytes.NewReader(dump)
	if out, err := load.CombinedOutput(); err != nil {
		return fmt.Errorf("load the dump of %s: %w\n%s", database, err, out)
	}
	return nil
}

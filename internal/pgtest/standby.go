package pgtest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/jackc/pgx/v5"
)

// StartStandby copies c and starts a server that follows it by streaming replication. name is the
// name of the standby.
func (c *Cluster) StartStandby(ctx context.Context, name string) (_ *Cluster, err error) {
	dir, err := tempDir("hookgate-standby")
	if err != nil {
		return nil, fmt.Errorf("start standby: %w", err)
	}
	s := &Cluster{options: c.options, bin: c.bin, dir: dir, ready: readyStandby}
	defer func() {
		if err != nil {
			os.RemoveAll(dir)
		}
	}()
	backup := exec.CommandContext(ctx, filepath.Join(c.bin, "pg_basebackup"), "--pgdata", s.data(),
		"--write-recovery-conf",
		"--checkpoint", "fast", "--wal-method", "stream", "--no-sync", "--dbname",
		fmt.Sprintf("host=127.0.0.1 port=%d user=%s application_name=%s", c.port, superuser, name))
	backup.Dir = dir
	backup.SysProcAttr = &syscall.SysProcAttr{}
	if err := asServer(backup.SysProcAttr); err != nil {
		return nil, err
	}
	if out, err := backup.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("pg_basebackup: %w\n%s", err, out)
	}
	return s, s.startAnywhere(ctx)
}

// Promote makes a standby the primary.
func (c *Cluster) Promote(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, c.URL("postgres"))
	if err != nil {
		return fmt.Errorf("promote: %w", err)
	}
	defer conn.Close(ctx)
	done := false
	if err := conn.QueryRow(ctx, "SELECT pg_promote(wait_seconds => 120)").Scan(&done); err != nil ||
		!done {
		return fmt.Errorf("promote: done is %t, error %w", done, err)
	}
	c.ready = readyPrimary
	return nil
}

// Set changes a setting of the running server. It stays after a restart.
func (c *Cluster) Set(ctx context.Context, name, value string) error {
	conn, err := pgx.Connect(ctx, c.URL("postgres"))
	if err != nil {
		return fmt.Errorf("set %s: %w", name, err)
	}
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, "ALTER SYSTEM SET "+pgx.Identifier{name}.Sanitize()+" = '"+value+"'")
	if err == nil {
		_, err = conn.Exec(ctx, "SELECT pg_reload_conf()")
	}
	if err != nil {
		return fmt.Errorf("set %s: %w", name, err)
	}
	return nil
}

// Address returns host and port of the server.
func (c *Cluster) Address() string { return "127.0.0.1:" + strconv.Itoa(c.port) }

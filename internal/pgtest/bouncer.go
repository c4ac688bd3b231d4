package pgtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// Bouncer is a running PgBouncer that pools the sessions of a cluster by transaction.
type Bouncer struct {
	dir     string
	port    int
	process *process
}

// StartBouncer starts PgBouncer in front of c, with the given number of server connections for each
// database.
func StartBouncer(ctx context.Context, c *Cluster, poolSize int) (_ *Bouncer, err error) {
	b := &Bouncer{}
	if b.dir, err = tempDir("hookgate-bouncer"); err != nil {
		return nil, fmt.Errorf("start pgbouncer: %w", err)
	}
	defer func() {
		if err != nil {
			os.RemoveAll(b.dir)
		}
	}()
	if b.port, err = freePort(); err != nil {
		return nil, err
	}
	config := filepath.Join(b.dir, "pgbouncer.ini")
	text := fmt.Sprintf(`[databases]
* = host=127.0.0.1 port=%d user=%s
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %d
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = %d
max_client_conn = 1000
`, c.port, superuser, b.port, poolSize)
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		return nil, fmt.Errorf("start pgbouncer: %w", err)
	}
	b.process, err = start(ctx, b.dir, "process up", "/usr/sbin/pgbouncer", config)
	return b, err
}

// URL returns the address of a database of the cluster behind the pooler.
func (b *Bouncer) URL(database string) string { return address(b.port, database) }

// Close stops the pooler.
func (b *Bouncer) Close() error {
	return errors.Join(b.process.stop(syscall.SIGQUIT), os.RemoveAll(b.dir))
}

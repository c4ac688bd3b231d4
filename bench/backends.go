package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"github.com/redis/rueidis"

	"github.com/hookgate/hookgate/internal/pgtest"
)

// backendOptions are the durability of a Redis and a PostgreSQL, and more settings of PostgreSQL.
type backendOptions struct {
	// alone is PostgreSQL without Redis. PostgreSQL takes the appends.
	alone       bool
	appendfsync string // of Redis; empty: no append-only file
	fsync       bool   // of PostgreSQL
	settings    []string
}

// backends are a PostgreSQL and, unless it is alone, a Redis.
type backends struct {
	redis    *exec.Cmd // nil without Redis
	port     int
	dir      string // of Redis
	postgres *pgtest.Cluster
	database string
}

// startBackends starts empty backends.
func startBackends(ctx context.Context, o backendOptions) (_ *backends, err error) {
	b := &backends{}
	defer func() {
		if err != nil {
			b.stop()
		}
	}()
	if b.dir, err = os.MkdirTemp("", "hookgate-bench-redis-"); err != nil {
		return nil, err
	}
	if !o.alone {
		if err := b.startRedis(ctx, o.appendfsync); err != nil {
			return nil, fmt.Errorf("redis-server (make tools installs it): %w", err)
		}
	}
	if b.postgres, err = pgtest.Start(ctx, pgtest.Options{Fsync: o.fsync,
		Settings: o.settings}); err != nil {
		return nil, err
	}
	b.database, err = b.postgres.NewDatabase(ctx)
	return b, err
}

func (b *backends) startRedis(ctx context.Context, appendfsync string) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	b.port = l.Addr().(*net.TCPAddr).Port
	l.Close()
	args := []string{"--bind", "127.0.0.1", "--port", strconv.Itoa(b.port), "--dir", b.dir, "--save",
		"", "--loglevel", "warning"}
	if appendfsync != "" {
		args = append(args, "--appendonly", "yes", "--appendfsync", appendfsync)
	}
	b.redis = exec.CommandContext(ctx, "redis-server", args...)
	if err := b.redis.Start(); err != nil {
		b.redis = nil
		return err
	}
	for range 500 {
		conn, err := net.Dial("tcp", b.address())
		if err == nil {
			conn.Close()
			return nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	return fmt.Errorf("does not listen on %s", b.address())
}

func (b *backends) address() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(b.port)) }

// client returns a connection to Redis for this program.
func (b *backends) client() (rueidis.Client, error) {
	return rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{b.address()},
		DisableCache: true, ForceSingleClient: true})
}

func (b *backends) url() string { return b.postgres.URL(b.database) }

func (b *backends) tablesURL() string { return b.postgres.TablesURL(b.database) }

func (b *backends) env() []string {
	if b.redis == nil {
		return []string{"DB_URL=" + b.url()}
	}
	return []string{"REDIS_URL=redis://" + b.address(), "DB_URL=" + b.url()}
}

func (b *backends) stop() {
	if b.redis != nil {
		b.redis.Process.Kill()
		b.redis.Wait()
	}
	if b.postgres != nil {
		if err := b.postgres.Close(); err != nil {
			fmt.Fprintln(os.Stderr, "bench: end postgres:", err)
		}
	}
	os.RemoveAll(b.dir)
}

// sizeOf returns the size of a folder or a file on disk, in bytes.
func sizeOf(path string) (n int64, err error) {
	err = filepath.Walk(path, func(_ string, info os.FileInfo, err error) error {
		if err == nil && info.Mode().IsRegular() {
			n += info.Size()
		}
		return err
	})
	return n, err
}

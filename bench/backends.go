package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"time"

	"github.com/hookgate/hookgate/internal/pgtest"
)

// backends are a Redis and a PostgreSQL of one run, both as durable as their settings say.
type backends struct {
	redis    *exec.Cmd
	port     int
	dir      string
	postgres *pgtest.Cluster
	database string
}

// startBackends starts both; appendfsync is Redis's setting of that name.
func startBackends(ctx context.Context, appendfsync string) (_ *backends, err error) {
	b := &backends{}
	defer func() {
		if err != nil {
			b.stop()
		}
	}()
	if b.dir, err = os.MkdirTemp("", "hookgate-bench-redis-"); err != nil {
		return nil, err
	}
	if err := b.startRedis(ctx, appendfsync); err != nil {
		return nil, fmt.Errorf("redis-server (make tools installs it): %w", err)
	}
	if b.postgres, err = pgtest.Start(ctx, pgtest.Options{Fsync: true}); err != nil {
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
	b.redis = exec.CommandContext(ctx, "redis-server", "--bind", "127.0.0.1", "--port", strconv.Itoa(b.port), "--dir", b.dir,
		"--save", "", "--appendonly", "yes", "--appendfsync", appendfsync, "--loglevel", "warning")
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

func (b *backends) env() []string {
	return []string{"REDIS_URL=redis://" + b.address(), "DB_URL=" + b.postgres.URL(b.database)}
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

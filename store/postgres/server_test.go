package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/internal/pgtest"
	"github.com/hookgate/hookgate/store/storetest"
)

// TestServerVanished: calls do not wait for ever for a server that no longer answers anything.
func TestServerVanished(t *testing.T) {
	url := newDatabase(t)
	s, err := Open(t.Context(), Config{URL: url, MaxConns: 1, StatementTimeout: 300 * time.Millisecond,
		ConnectTimeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	w := newWorker(t, s, 0)
	var pid int64
	if err := s.read(t.Context(), statement{sql: "SELECT pg_backend_pid()",
		row: func(r row) error { pid = r.Int(0); return nil }}); err != nil {
		t.Fatal(err)
	}
	batch := w.batch(3)
	s.failCommit = func(done bool) error {
		if done {
			return nil
		}
		return syscall.Kill(int(pid), syscall.SIGSTOP)
	}
	_, err = s.Apply(t.Context(), batch)
	if wake := syscall.Kill(int(pid), syscall.SIGCONT); wake != nil {
		t.Error(wake)
	}
	if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, hookgate.ErrRejected) {
		t.Errorf("apply got %v, want the error of a deadline", err)
	}
	s.failCommit = nil
	if _, err := s.Apply(t.Context(), batch); err != nil {
		t.Errorf("the repetition got %v", err)
	}
	if got := messageIDs(t, s, hookgate.EventFilter{}); len(got) != 3 {
		t.Errorf("stored are %v, want 3 events", got)
	}
	if err := verified(url); err != nil {
		t.Error(err)
	}
}

// ownServer starts a server that the test may damage, and returns it with the URL of an empty
// database.
func ownServer(t *testing.T, o pgtest.Options) (c *pgtest.Cluster, url string) {
	t.Helper()
	c, err := pgtest.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	name, err := c.NewDatabase(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return c, c.URL(name)
}

// TestServerKilled: a server is killed under load and restarted. Nothing is lost of what Apply
// returned nil for. Batches in flight are stored once and in order by workers that only retry.
func TestServerKilled(t *testing.T) {
	c, url := ownServer(t, pgtest.Options{})
	s, err := Open(t.Context(), Config{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	const workers, size, kills = 4, 20, 3
	var stored, failures atomic.Int64
	var stop atomic.Bool
	var all sync.WaitGroup
	last := make([]int, workers)
	for p := range workers {
		w := newWorker(t, s, p)
		all.Go(func() {
			for !stop.Load() {
				batch := w.batch(size)
				for {
					_, err := s.Apply(context.Background(), batch)
					if err == nil {
						break
					}
					if errors.Is(err, hookgate.ErrRejected) || errors.Is(err, hookgate.ErrFenced) {
						t.Errorf("apply got %v from a server that was killed", err)
						return
					}
					failures.Add(1)
				}
				stored.Add(size)
				last[p] = w.n
			}
		})
	}
	for range kills {
		for reached := stored.Load() + 10*size; stored.Load() < reached; {
			time.Sleep(time.Millisecond)
		}
		if err := errors.Join(c.Kill(), c.Restart(t.Context())); err != nil {
			t.Fatal(err)
		}
	}
	stop.Store(true)
	all.Wait()
	if failures.Load() == 0 {
		t.Error("no call failed: the server was killed while nothing was under way")
	}
	for p := range workers {
		got := messageIDs(t, s, hookgate.EventFilter{OrderingKey: fmt.Sprint("key", p)})
		var want []string
		for n := range last[p] {
			want = append(want, storetest.Sample(p, n).MessageID)
		}
		if !slices.Equal(got, want) {
			t.Errorf("partition %d has %d events, want the %d that were stored, in order", p, len(got),
				len(want))
		}
	}
	if err := verified(url); err != nil {
		t.Error(err)
	}
}

// TestNoConnections: while other clients hold all connections of the server, calls fail at once
// with a clear error. They succeed when a connection is free again.
func TestNoConnections(t *testing.T) {
	_, url := ownServer(t, pgtest.Options{Settings: []string{"max_connections=8",
		"superuser_reserved_connections=0"}})
	s, err := Open(t.Context(), Config{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	w := newWorker(t, s, 0)
	batch := w.batch(3)
	s.pool.Reset() // closes its connections
	var crowd []*pgx.Conn
	for {
		conn, err := pgx.Connect(t.Context(), url)
		if err == nil {
			crowd = append(crowd, conn)
			continue
		}
		if s.pool.Stat().TotalConns() == 0 {
			break
		}
	}
	_, err = s.Apply(t.Context(), batch)
	var refused *pgconn.PgError
	if !errors.As(err, &refused) || refused.Code != "53300" || errors.Is(err, hookgate.ErrRejected) {
		t.Errorf("apply without a connection got %v", err)
	}
	if err := s.Ping(t.Context()); err == nil {
		t.Error("ping does not tell of it")
	}
	for _, conn := range crowd {
		conn.Close(t.Context())
	}
	// The server counts a connection until its process has ended, which takes a moment.
	for deadline := time.Now().Add(3 * time.Minute); ; {
		outcome, err := s.Apply(t.Context(), batch)
		if err == nil && outcome.Stored == 3 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("apply has the outcome %+v and error %v", outcome, err)
		}
	}
	if err := s.Ping(t.Context()); err != nil {
		t.Errorf("ping still tells of an error: %v", err)
	}
}

// TestPoolExhausted: if all connections of the pool are in use, a call waits until its context
// ends, but not longer than a statement may take.
func TestPoolExhausted(t *testing.T) {
	url := newDatabase(t)
	const statementTimeout = 20 * time.Second
	s, err := Open(t.Context(), Config{URL: url, MaxConns: 1, StatementTimeout: statementTimeout,
		ConnectTimeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	w := newWorker(t, s, 0)
	first, second := w.batch(3), w.batch(3)
	outsider := connect(t, url)
	if err := execute(outsider, "BEGIN; SELECT FROM webhook_log FOR UPDATE"); err != nil {
		t.Fatal(err)
	}
	stored := make(chan error, 2)
	apply := func(b *hookgate.Batch) {
		_, err := s.Apply(context.Background(), b)
		stored <- err
	}
	go apply(first)
	untilWaiting(t, connect(t, url))
	impatient, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := s.Counts(impatient); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a read without a connection got %v, want the error of its context", err)
	}
	s.callTimeout = 100 * time.Millisecond // stands for its actual type
	if _, err := s.Apply(t.Context(), second); !errors.Is(err, context.DeadlineExceeded) ||
		errors.Is(err, hookgate.ErrRejected) {
		t.Errorf("apply without a connection got %v, want the error of a deadline", err)
	}
	s.callTimeout = statementTimeout
	go apply(second)
	if err := execute(outsider, "COMMIT"); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := <-stored; err != nil {
			t.Error(err)
		}
	}
	if got := messageIDs(t, s, hookgate.EventFilter{}); len(got) != 6 {
		t.Errorf("stored are %v, want 6 events", got)
	}
}

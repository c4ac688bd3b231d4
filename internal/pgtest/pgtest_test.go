package pgtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(Run(m)) }

func TestCluster(t *testing.T) {
	c, err := Start(t.Context(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	db, err := c.NewDatabase(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Exec(t.Context(), db, "CREATE TABLE a (n int); INSERT INTO a VALUES (1)"); err != nil {
		t.Fatal(err)
	}
	session, err := pgx.Connect(t.Context(), c.URL(db))
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close(context.Background())
	backend := int(session.PgConn().PID())
	server := c.process.cmd.Process.Pid
	for name, end := range map[string]func() error{"killed": c.Kill, "stopped": c.Stop} {
		if err := end(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := c.Exec(t.Context(), db, "SELECT 1"); err == nil {
			t.Fatalf("%s: the server still answers", name)
		}
		if err := c.Restart(t.Context()); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := c.Exec(t.Context(), db, "INSERT INTO a SELECT n FROM a"); err != nil {
			t.Errorf("%s: the data is gone: %v", name, err)
		}
	}
	b, err := StartBouncer(t.Context(), c, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	pooled, err := pgx.Connect(t.Context(), b.URL(db))
	if err != nil {
		t.Fatal(err)
	}
	defer pooled.Close(context.Background())
	var rows int
	if err := pooled.QueryRow(t.Context(), "SELECT count(*) FROM a", pgx.QueryExecModeExec).
		Scan(&rows); err != nil || rows != 4 {
		t.Errorf("by way of the pooler there are %d rows (error %v), want 4", rows, err)
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	for _, pid := range []int{backend, server, c.process.cmd.Process.Pid, b.process.cmd.Process.Pid} {
		gone(t, pid)
	}
	for _, dir := range []string{c.dir, b.dir} {
		if _, err := os.Stat(dir); !os.IsNotExist(err) {
			t.Errorf("%s is still there (error %v)", dir, err)
		}
	}
}

// gone waits until the process no longer exists. A process that was killed with its parent waits
// until init collects it.
func gone(t *testing.T, pid int) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().
		Before(deadline); time.Sleep(time.Millisecond) {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if syscall.Kill(pid, 0) == syscall.ESRCH || err == nil && strings.Contains(string(status),
			") Z ") {
			return
		}
	}
	t.Errorf("process %d is still there", pid)
}

// TestStandby: a standby has the commits of its primary. After the primary is dead and the standby
// promoted, it takes writes.
func TestStandby(t *testing.T) {
	c, err := Start(t.Context(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	s, err := c.StartStandby(t.Context(), "second")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := c.Set(t.Context(), "synchronous_standby_names", "second"); err != nil {
		t.Fatal(err)
	}
	if err := c.Exec(t.Context(), "postgres", "CREATE TABLE a (n int)"); err != nil {
		t.Fatal(err)
	}
	if err := s.Exec(t.Context(), "postgres", "INSERT INTO a VALUES (1)"); err == nil {
		t.Error("a standby takes writes")
	}
	if err := c.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := s.Promote(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.Exec(t.Context(), "postgres", "INSERT INTO a VALUES (1)"); err != nil {
		t.Error(err)
	}
	if err := errors.Join(s.Stop(), s.Restart(t.Context())); err != nil {
		t.Error(err)
	}
}

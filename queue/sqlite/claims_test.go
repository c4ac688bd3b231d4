package sqlite

import (
	"bytes"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"
)

// TestSweepUnderLoad: expired claims, many of them, leave the file while appends never pause, in steps that are small beside
// them; claims that have not expired stay.
func TestSweepUnderLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "queue.db")
	mustOpen(t, path, Options{Partitions: 1}).Close()
	const expired, valid = 6 * sweepSize, 3 * sweepSize
	conn, err := sqlite.OpenConn(path, sqlite.OpenReadWrite)
	if err != nil {
		t.Fatal(err)
	}
	if err := sqlitex.Execute(conn, `WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
		INSERT INTO claims SELECT randomblob(16), randomblob(16), iif(i <= ?2, 1, ?3) FROM n`,
		&sqlitex.ExecOptions{Args: []any{expired + valid, expired, time.Now().Add(time.Hour).UnixMicro()}}); err != nil {
		t.Fatal(err)
	}
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer // of the writer's goroutine, read when that has ended
	q := mustOpen(t, path, Options{Partitions: 1, HighWater: 1 << 40, ClaimTTL: time.Hour, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	var appended atomic.Int64
	var all sync.WaitGroup
	stop := make(chan struct{})
	for range 4 {
		all.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := q.Append(t.Context(), testDelivery("k", int(appended.Add(1)))); err != nil {
					t.Errorf("append during the sweep: %v", err)
					return
				}
			}
		})
	}
	eventually(t, "expired claims leave the file", func() bool { return count(t, path, "claims") == valid })
	close(stop)
	all.Wait()
	stats, err := q.Stats(t.Context())
	if err != nil || stats.Err != nil || stats.Depth != appended.Load() {
		t.Errorf("after the sweep the queue has %d records of %d (error %v)", stats.Depth, appended.Load(), stats.Err)
	}
	if err := q.Close(); err != nil || log.Len() > 0 {
		t.Errorf("close: %v; the log has\n%s", err, &log)
	}
	t.Logf("%d appends while %d claims left", appended.Load(), expired)
}

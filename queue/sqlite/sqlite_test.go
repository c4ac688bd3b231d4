package sqlite

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/hookgate/hookgate"
)

func testDelivery(key string, n int) *hookgate.Delivery {
	now := time.Now()
	return &hookgate.Delivery{
		RequestID:   hookgate.NewRequestID(now),
		Identity:    hookgate.Identity{Source: "default", EventType: "order.paid", MessageID: fmt.Sprintf("%s-%d", key, n)},
		OrderingKey: key,
		Sequence:    int64(n),
		Body:        make([]byte, 600),
		RemoteAddr:  "127.0.0.1:4711",
		ReceivedAt:  now,
	}
}

func mustAppend(t *testing.T, q *Queue, d *hookgate.Delivery) hookgate.Receipt {
	t.Helper()
	r, err := q.Append(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func mustOpen(t *testing.T, path string, o Options) *Queue {
	t.Helper()
	q, err := Open(context.Background(), path, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { q.Close() })
	return q
}

// edit runs statements on a queue's file behind its back.
func edit(t *testing.T, path, script string) {
	t.Helper()
	conn, err := sqlite.OpenConn(path, sqlite.OpenReadWrite)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := sqlitex.ExecuteScript(conn, script, nil); err != nil {
		t.Fatal(err)
	}
}

func count(t *testing.T, path, table string) (n int64) {
	t.Helper()
	conn, err := sqlite.OpenConn(path, sqlite.OpenReadWrite)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	err = sqlitex.ExecuteTransient(conn, "SELECT count(*) FROM "+table, &sqlitex.ExecOptions{
		ResultFunc: func(s *sqlite.Stmt) error { n = s.ColumnInt64(0); return nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// eventually waits for a condition that must come true.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for end := time.Now().Add(3 * time.Minute); !condition(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not in time: %s", what)
		}
	}
}

// TestBeyondCache: records that do not fit into the memory budget come from the file, the same.
func TestBeyondCache(t *testing.T) {
	q := mustOpen(t, filepath.Join(t.TempDir(), "queue.db"), Options{Partitions: 1, CacheBytes: 2000})
	for n := range 20 {
		d := testDelivery("k", n)
		d.Body = []byte(strings.Repeat(fmt.Sprint(n), 300))
		mustAppend(t, q, d)
	}
	if q.lanes.cached > 2000 {
		t.Errorf("%d bytes are kept in memory, want 2000 at most", q.lanes.cached)
	}
	c, err := q.Consume(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	records, err := c.Next(t.Context(), 20, 1<<20)
	if err != nil || len(records) != 20 {
		t.Fatalf("next returned %d records and %v", len(records), err)
	}
	for n, r := range records {
		if string(r.Body) != strings.Repeat(fmt.Sprint(n), 300) {
			t.Errorf("record %d has another body", n)
		}
	}
	if err := c.Commit(t.Context(), []hookgate.Offset{{Position: records[19].Position}}); err != nil {
		t.Fatal(err)
	}
	if q.lanes.cached != 0 {
		t.Errorf("the memory budget still counts %d bytes of an empty queue", q.lanes.cached)
	}
}

// TestCorruptEntry: an entry damaged in the file comes out as corrupt with its bytes, the same each time,
// and the entries around it are not affected.
func TestCorruptEntry(t *testing.T) {
	path := filepath.Join(t.TempDir(), "queue.db")
	q := mustOpen(t, path, Options{Partitions: 1})
	for n := range 3 {
		mustAppend(t, q, testDelivery("k", n))
	}
	q.Close()
	edit(t, path, "UPDATE records SET data = x'0102030405060708090a' WHERE id = 2")
	var ids []hookgate.RequestID
	for range 2 {
		q = mustOpen(t, path, Options{Partitions: 1})
		c, err := q.Consume(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		records, err := c.Next(t.Context(), 10, 1<<20)
		if err != nil || len(records) != 3 {
			t.Fatalf("next returned %d records and %v", len(records), err)
		}
		r := records[1]
		if r.Corrupt == nil || string(r.Body) != "\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a" || r.RequestID.IsZero() {
			t.Errorf("the damaged entry came as %+v", r)
		}
		if records[0].MessageID != "k-0" || records[2].MessageID != "k-2" {
			t.Errorf("around the damaged entry stand %s and %s", records[0].MessageID, records[2].MessageID)
		}
		ids = append(ids, r.RequestID)
		q.Close()
	}
	if ids[0] != ids[1] {
		t.Errorf("the damaged entry has request id %s and then %s", ids[0], ids[1])
	}
}

// TestPartitionsFixed: the number of partitions cannot change under queued records, and can when there
// are none.
func TestPartitionsFixed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "queue.db")
	q := mustOpen(t, path, Options{Partitions: 4})
	mustAppend(t, q, testDelivery("k", 1))
	q.Close()
	if _, err := Open(t.Context(), path, Options{Partitions: 8}); err == nil || !strings.Contains(err.Error(), "set it back to 4") {
		t.Fatalf("open with another number of partitions: %v", err)
	}
	q = mustOpen(t, path, Options{Partitions: 4})
	c, _ := q.Consume(t.Context())
	records, err := c.Next(t.Context(), 1, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Commit(t.Context(), []hookgate.Offset{{Partition: records[0].Partition, Position: records[0].Position}}); err != nil {
		t.Fatal(err)
	}
	q.Close()
	mustOpen(t, path, Options{Partitions: 8}).Close()
}

// TestModeSurvives: the mode is that of before, after a restart.
func TestModeSurvives(t *testing.T) {
	path := filepath.Join(t.TempDir(), "queue.db")
	for _, mode := range []hookgate.Mode{hookgate.ModeBuffer, hookgate.ModeReadOnly, hookgate.ModeNormal} {
		q := mustOpen(t, path, Options{})
		if err := q.SetMode(t.Context(), mode); err != nil {
			t.Fatal(err)
		}
		q.Close()
		q = mustOpen(t, path, Options{})
		if q.Mode() != mode {
			t.Errorf("after a restart the mode is %s, want %s", q.Mode(), mode)
		}
		q.Close()
	}
}

// TestPositionsAboveRemoved: a partition that lags behind keeps low ids in the file while higher ones have
// been removed; a restart must not give those out again.
func TestPositionsAboveRemoved(t *testing.T) {
	path := filepath.Join(t.TempDir(), "queue.db")
	q := mustOpen(t, path, Options{Partitions: 1})
	for n := range 3 {
		mustAppend(t, q, testDelivery("k", n))
	}
	q.Close()
	edit(t, path, "DELETE FROM records WHERE id > 1; INSERT OR REPLACE INTO settings VALUES ('last_id', 3)")
	q = mustOpen(t, path, Options{Partitions: 1})
	if r := mustAppend(t, q, testDelivery("k", 9)); r.Position != position(4) {
		t.Errorf("the next position is %s, want %s", r.Position, position(4))
	}
}

// TestReleasedLeavesTheFile: released records give way to their claims, expired claims to nothing.
func TestReleasedLeavesTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "queue.db")
	const n = 300
	q := mustOpen(t, path, Options{Partitions: 1})
	for i := range n {
		mustAppend(t, q, testDelivery("k", i))
	}
	mustAppend(t, q, testDelivery("k", 0)) // a duplicate makes no claim
	c, _ := q.Consume(t.Context())
	records, err := c.Next(t.Context(), n+1, 1<<20)
	if err != nil || len(records) != n+1 {
		t.Fatalf("next returned %d records and %v", len(records), err)
	}
	if err := c.Commit(t.Context(), []hookgate.Offset{{Position: records[n].Position}}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the released records leave the file", func() bool { return count(t, path, "records") == 0 })
	if got := count(t, path, "claims"); got != n {
		t.Errorf("%d claims are in the file, want %d", got, n)
	}
	if len(q.lanes.claimed) != 0 {
		t.Errorf("%d claims are still in memory", len(q.lanes.claimed))
	}
	q.Close()
	mustOpen(t, path, Options{Partitions: 1, ClaimTTL: time.Nanosecond})
	eventually(t, "expired claims leave the file", func() bool { return count(t, path, "claims") == 0 })
}

// TestKeepDuplicates: a spool keeps every delivery with its body, before and after a restart, and leaves no claims behind.
func TestKeepDuplicates(t *testing.T) {
	path := filepath.Join(t.TempDir(), "queue.db")
	o := Options{Partitions: 1, KeepDuplicates: true}
	q := mustOpen(t, path, o)
	for range 2 {
		if receipt := mustAppend(t, q, testDelivery("k", 1)); receipt.Duplicate() {
			t.Errorf("a repetition is a duplicate of %s", receipt.DuplicateOf)
		}
	}
	q.Close()
	q = mustOpen(t, path, o)
	mustAppend(t, q, testDelivery("k", 1))
	c, _ := q.Consume(t.Context())
	records, err := c.Next(t.Context(), 10, 1<<20)
	if err != nil || len(records) != 3 {
		t.Fatalf("next returned %d records and %v, want 3", len(records), err)
	}
	for _, r := range records {
		if len(r.Body) == 0 || !r.DuplicateOf.IsZero() {
			t.Errorf("a record came with %d bytes as a duplicate of %s", len(r.Body), r.DuplicateOf)
		}
	}
	if err := c.Commit(t.Context(), []hookgate.Offset{{Position: records[2].Position}}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the released records leave the file", func() bool { return count(t, path, "records") == 0 })
	if n := count(t, path, "claims"); n != 0 {
		t.Errorf("%d claims are in the file, want none", n)
	}
}

// TestRecoversWithoutTraffic: after writing has failed and works again, the queue notices by itself.
func TestRecoversWithoutTraffic(t *testing.T) {
	f := &faults{}
	o, err := Options{}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	q, err := open(t.Context(), filepath.Join(t.TempDir(), "queue.db"), o, f.commit)
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	notDone := false
	f.when.Store(&notDone)
	if _, err := q.Append(t.Context(), testDelivery("k", 1)); !errors.Is(err, errInjected) {
		t.Fatalf("append: %v", err)
	}
	if s, _ := q.Stats(t.Context()); !errors.Is(s.Err, errInjected) {
		t.Fatalf("stats tell of %v", s.Err)
	}
	f.when.Store(nil)
	eventually(t, "the queue notices that it can write", func() bool {
		s, _ := q.Stats(t.Context())
		return s.Err == nil
	})
}

// TestKeysDiffer: identities whose parts join to the same text have different keys.
func TestKeysDiffer(t *testing.T) {
	var keys []claimKey
	for _, id := range []hookgate.Identity{{Source: "a", EventType: "bc"}, {Source: "ab", EventType: "c"}, {Source: "abc"}, {MessageID: "abc"}} {
		keys = append(keys, id.Hash())
	}
	slices.SortFunc(keys, func(a, b claimKey) int { return slices.Compare(a[:], b[:]) })
	if len(slices.Compact(keys)) != 4 {
		t.Error("two identities have one key")
	}
}

// TestReadOutlastsWait: the context bounds how long Next waits for a record. Records that are there, but must be read from the
// file, come also when it ends meanwhile: who waits only briefly, as the drain of a spool does, would never get them else.
func TestReadOutlastsWait(t *testing.T) {
	q := mustOpen(t, filepath.Join(t.TempDir(), "queue.db"), Options{CacheBytes: 1})
	mustAppend(t, q, testDelivery("k", 1))
	c, err := q.Consume(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var busy []*sqlite.Conn
	for range readers {
		conn, err := q.readers.Take(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		busy = append(busy, conn)
	}
	brief, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	go func() {
		<-brief.Done()
		for _, conn := range busy {
			q.readers.Put(conn)
		}
	}()
	if records, err := c.Next(brief, 10, 1<<20); err != nil || len(records) != 1 {
		t.Errorf("next got %d records (error %v)", len(records), err)
	}
}

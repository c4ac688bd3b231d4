package spoolfile

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/internal/modeltest"
)

// childFile is the environment variable that turns this test binary into a process that spools
// until it is killed.
const childFile = "HOOKGATE_SPOOL_CHILD"

func TestMain(m *testing.M) {
	if path := os.Getenv(childFile); path != "" {
		spoolForEver(path)
	}
	modeltest.Checks(10)
	goleak.VerifyTestMain(m)
}

// waitFor bounds the wait for something that must happen. It only ends tests that fail.
const waitFor = 3 * time.Minute

var errInjected = errors.New("injected write error")

// faults makes the transactions of one file fail, before they take effect (commits) or afterwards
// (committed). It bounds the pages of the file if pages is not 0.
type faults struct {
	when  atomic.Pointer[moment]
	pages atomic.Int64
}

func (f *faults) hook(at moment, conn *sqlite.Conn) error {
	if pages := f.pages.Load(); pages > 0 && at == begins {
		return sqlitex.ExecuteTransient(conn, fmt.Sprintf("PRAGMA max_page_count = %d", pages), nil)
	}
	if when := f.when.Load(); when != nil && *when == at {
		return errInjected
	}
	return nil
}

func (f *faults) fail(at moment) { f.when.Store(&at) }
func (f *faults) end()           { f.when.Store(nil) }

func testRequest(key string, n int) *hookgate.Request {
	now := time.Now().UTC().Truncate(time.Microsecond)
	return &hookgate.Request{
		RequestID: hookgate.NewRequestID(now),
		Identity: hookgate.Identity{Source: "default", EventType: "order.paid",
			MessageID: fmt.Sprintf("%s-%d", key, n)},
		OrderingKey: key,
		Sequence:    int64(n),
		Headers:     []hookgate.Header{{Name: "X-Trace", Value: key}},
		Body:        []byte(strings.Repeat(fmt.Sprint(n), 300)),
		RemoteAddr:  "127.0.0.1:4711",
		ReceivedAt:  now,
		SpooledAt:   now,
	}
}

type tb interface {
	Helper()
	Fatalf(format string, args ...any)
}

func mustAppend(t tb, q *File, d *hookgate.Request) hookgate.Receipt {
	t.Helper()
	r, err := q.Append(context.Background(), d)
	if err != nil {
		t.Fatalf("append: %v", err)
	}
	return r
}

func mustOpen(t *testing.T, path string, o Options) (*File, *faults) {
	t.Helper()
	f := &faults{}
	q, err := open(t.Context(), path, o, f.hook)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { q.Close() })
	return q, f
}

func newPath(t *testing.T) string { return filepath.Join(t.TempDir(), "spool.db") }

func mustOpenReader(t tb, q *File) hookgate.PartitionReader {
	t.Helper()
	c, err := q.OpenReader(context.Background())
	if err != nil {
		t.Fatalf("open reader: %v", err)
	}
	return c
}

// mustNext reads exactly n records.
func mustNext(t tb, c hookgate.PartitionReader, n int) (all []hookgate.Record) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), waitFor)
	defer cancel()
	for len(all) < n {
		records, err := c.Next(ctx, n-len(all), 1<<30)
		if err != nil {
			t.Fatalf("next after %d of %d records: %v", len(all), n, err)
		}
		all = append(all, records...)
	}
	return all
}

func mustCommit(t tb, c hookgate.PartitionReader, records []hookgate.Record) {
	t.Helper()
	if err := c.Commit(context.Background(), hookgate.LastOffsets(records)); err != nil {
		t.Fatalf("commit: %v", err)
	}
}

func stats(t tb, q *File) hookgate.QueueStats {
	t.Helper()
	s, err := q.Stats(context.Background())
	if err != nil {
		t.Fatalf("stats: %v", err)
	}
	return s
}

// edit runs statements on a file without its owner.
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

func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for end := time.Now().Add(waitFor); !condition(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not in time: %s", what)
		}
	}
}

// TestAppendAndNext: Next returns every field of each request, in order across all keys. A
// repetition is kept like a first request. A duplicate that another queue has found has no body.
func TestAppendAndNext(t *testing.T) {
	q, _ := mustOpen(t, newPath(t), Options{})
	sent := []*hookgate.Request{testRequest("a", 0), testRequest("b", 0), testRequest("a", 0),
		testRequest("a", 1)}
	for i, d := range sent {
		if r := mustAppend(t, q, d); r.Duplicate() || r.Position != position(int64(i+1)) {
			t.Errorf("the receipt of request %d is %+v", i, r)
		}
	}
	of := sent[0].RequestID
	duplicate := testRequest("a", 0)
	if r, err := q.AppendDuplicate(t.Context(), duplicate, of); err != nil || r.DuplicateOf != of {
		t.Errorf("the receipt of a duplicate is %+v (error %v)", r, err)
	}
	records := mustNext(t, mustOpenReader(t, q), 5)
	for i, d := range sent {
		if r := records[i]; !reflect.DeepEqual(&r.Request, d) || !r.DuplicateOf.IsZero() {
			t.Errorf("record %d is %+v, want %+v", i, r.Request, d)
		}
	}
	if r := records[4]; r.RequestID != duplicate.RequestID || r.DuplicateOf != of || len(r.Body) != 0 {
		t.Errorf("the duplicate came as %+v", r)
	}
}

// TestCallersBytes: the file has its own copy of a request, even if the caller has given up.
func TestCallersBytes(t *testing.T) {
	q, _ := mustOpen(t, newPath(t), Options{})
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	taken := 0
	for n := range 200 {
		d := testRequest("k", n)
		if _, err := q.Append(ended, d); err == nil {
			taken++
		}
		clear(d.Body)
	}
	mustAppend(t, q, testRequest("k", 200))
	records := mustNext(t, mustOpenReader(t, q), int(stats(t, q).Depth))
	if len(records) < taken+1 {
		t.Errorf("%d records are there, want %d at least", len(records), taken+1)
	}
	for _, r := range records {
		if string(r.Body) != strings.Repeat(fmt.Sprint(r.Sequence), 300) {
			t.Fatalf("%s has another body", r.MessageID)
		}
	}
}

// TestNextLimits: Next respects both limits, but returns a record that is larger than the byte
// limit.
func TestNextLimits(t *testing.T) {
	q, _ := mustOpen(t, newPath(t), Options{})
	for n := range 10 {
		mustAppend(t, q, testRequest("k", n)) // 300 bytes each
	}
	c := mustOpenReader(t, q)
	for _, step := range []struct{ max, maxBytes, want int }{{3, 1 << 20, 3}, {100, 700, 2},
		{100, 10, 1}, {100, 1 << 20, 4}} {
		if records, err := c.Next(t.Context(), step.max, step.maxBytes); err != nil ||
			len(records) != step.want {
			t.Fatalf("Next(%d, %d) returned %d records and %v, want %d", step.max, step.maxBytes,
				len(records), err, step.want)
		}
	}
}

// TestOneReader: there is one reader at a time. The next one gets the records that the previous one
// has not released, under another lease.
func TestOneReader(t *testing.T) {
	q, _ := mustOpen(t, newPath(t), Options{})
	for n := range 4 {
		mustAppend(t, q, testRequest("k", n))
	}
	c := mustOpenReader(t, q)
	if _, err := q.OpenReader(t.Context()); err == nil {
		t.Error("a second reader was opened")
	}
	first := mustNext(t, c, 4)
	mustCommit(t, c, first[:1])
	c.Close()
	if _, err := c.Next(t.Context(), 1, 1); !errors.Is(err, hookgate.ErrClosed) {
		t.Errorf("next of a closed reader: %v", err)
	}
	second := mustNext(t, mustOpenReader(t, q), 3)
	if second[0].MessageID != "k-1" || second[0].Lease == first[0].Lease {
		t.Errorf("%s came next under lease %d, after lease %d", second[0].MessageID, second[0].Lease,
			first[0].Lease)
	}
}

// TestNextWaits: Next waits for a record, until its context or the reader ends.
func TestNextWaits(t *testing.T) {
	q, _ := mustOpen(t, newPath(t), Options{})
	c := mustOpenReader(t, q)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Next(ended, 1, 1); !errors.Is(err, context.Canceled) {
		t.Errorf("next with an ended context: %v", err)
	}
	got := make(chan error)
	next := func() { _, err := c.Next(context.Background(), 1, 1<<20); got <- err }
	go next()
	mustAppend(t, q, testRequest("k", 1))
	if err := <-got; err != nil {
		t.Errorf("next: %v", err)
	}
	go next()
	c.Close()
	if err := <-got; !errors.Is(err, hookgate.ErrClosed) {
		t.Errorf("next of a reader that was closed: %v", err)
	}
}

// TestHighWater: at the mark appends are rejected, even those of one group. A release makes room.
func TestHighWater(t *testing.T) {
	q, _ := mustOpen(t, newPath(t), Options{HighWater: 20})
	var refused, taken atomic.Int64
	var all sync.WaitGroup
	for n := range 60 {
		all.Go(func() {
			switch _, err := q.Append(context.Background(), testRequest("k", n)); {
			case err == nil:
				taken.Add(1)
			case errors.Is(err, hookgate.ErrFull):
				refused.Add(1)
			default:
				t.Errorf("append: %v", err)
			}
		})
	}
	all.Wait()
	if s := stats(t, q); taken.Load() != 20 || refused.Load() != 40 || s.Depth != 20 ||
		s.HighWater != 20 {
		t.Errorf("%d taken and %d refused, stats %+v", taken.Load(), refused.Load(), s)
	}
	c := mustOpenReader(t, q)
	mustCommit(t, c, mustNext(t, c, 20)[:1])
	mustAppend(t, q, testRequest("k", 60))
}

// TestStats: depth and oldest record follow the records in the file.
func TestStats(t *testing.T) {
	q, _ := mustOpen(t, newPath(t), Options{})
	if s := stats(t, q); s.Depth != 0 || !s.OldestEnqueuedAt.IsZero() || s.Err != nil {
		t.Errorf("an empty spool has %+v", s)
	}
	for n := range 3 {
		mustAppend(t, q, testRequest("k", n))
	}
	c := mustOpenReader(t, q)
	records := mustNext(t, c, 3)
	mustCommit(t, c, records[:1])
	if s := stats(t, q); s.Depth != 2 || !s.OldestEnqueuedAt.Equal(records[1].EnqueuedAt) {
		t.Errorf("stats are %+v, want 2, the oldest of %s", s, records[1].EnqueuedAt)
	}
	mustCommit(t, c, records)
	if s := stats(t, q); s.Depth != 0 || !s.OldestEnqueuedAt.IsZero() {
		t.Errorf("an emptied spool has %+v", s)
	}
}

// TestClosed: a closed file returns ErrClosed.
func TestClosed(t *testing.T) {
	q, _ := mustOpen(t, newPath(t), Options{})
	c := mustOpenReader(t, q)
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	_, appended := q.Append(t.Context(), testRequest("k", 1))
	_, next := c.Next(t.Context(), 1, 1)
	_, read := q.OpenReader(t.Context())
	for _, err := range []error{appended, next, read, c.Commit(t.Context(), nil),
		stats(t, q).Err} {
		if !errors.Is(err, hookgate.ErrClosed) {
			t.Errorf("got %v, want ErrClosed", err)
		}
	}
}

// TestCorruptEntry: a damaged entry comes as corrupt with its bytes, the same each time. The
// entries around it are not affected.
func TestCorruptEntry(t *testing.T) {
	path := newPath(t)
	q, _ := mustOpen(t, path, Options{})
	for n := range 3 {
		mustAppend(t, q, testRequest("k", n))
	}
	q.Close()
	edit(t, path, "UPDATE records SET data = x'0102030405060708090a' WHERE id = 2")
	var ids []hookgate.RequestID
	for range 2 {
		q, _ = mustOpen(t, path, Options{})
		records := mustNext(t, mustOpenReader(t, q), 3)
		if r := records[1]; r.Corrupt == nil ||
			string(r.Body) != "\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a" || r.RequestID.IsZero() {
			t.Errorf("the damaged entry came as %+v", r)
		}
		if records[0].MessageID != "k-0" || records[2].MessageID != "k-2" {
			t.Errorf("around the damaged entry stand %s and %s", records[0].MessageID, records[2].MessageID)
		}
		ids = append(ids, records[1].RequestID)
		q.Close()
	}
	if ids[0] != ids[1] {
		t.Errorf("the damaged entry has request id %s and then %s", ids[0], ids[1])
	}
}

// TestRecoversWithoutTraffic: the file notices without appends that writes work again.
func TestRecoversWithoutTraffic(t *testing.T) {
	q, f := mustOpen(t, newPath(t), Options{})
	f.fail(commits)
	if _, err := q.Append(t.Context(), testRequest("k", 1)); !errors.Is(err, errInjected) {
		t.Fatalf("append: %v", err)
	}
	if s := stats(t, q); !errors.Is(s.Err, errInjected) {
		t.Fatalf("stats say %v", s.Err)
	}
	f.end()
	eventually(t, "the spool notices that it can write", func() bool { return stats(t, q).Err == nil })
}

// TestFileMoved: while the file is gone or another one is in its place, nothing is acknowledged or
// read, and Stats says why even without appends. When the file is back, everything works again.
func TestFileMoved(t *testing.T) {
	path := newPath(t)
	q, _ := mustOpen(t, path, Options{})
	mustAppend(t, q, testRequest("k", 1))
	c := mustOpenReader(t, q)
	for i, spoil := range []func() error{
		func() error { return nil },
		func() error { return os.WriteFile(path, nil, 0o600) },
	} {
		if err := errors.Join(os.Rename(path, path+".away"), spoil()); err != nil {
			t.Fatal(err)
		}
		var misconfigured *hookgate.MisconfiguredError
		eventually(t, "the stats say why", func() bool { return errors.As(stats(t, q).Err, &misconfigured) })
		if _, err := q.Append(t.Context(), testRequest("k", 2+i)); !errors.As(err, &misconfigured) {
			t.Errorf("an append got %v", err)
		}
		if records, err := c.Next(t.Context(), 10, 1<<20); !errors.As(err, &misconfigured) {
			t.Errorf("next got %d records, %v", len(records), err)
		}
		if err := os.Rename(path+".away", path); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the spool writes again", func() bool { return stats(t, q).Err == nil })
		mustAppend(t, q, testRequest("k", 2+i))
		mustNext(t, c, i+1)
		c.Close()
		c = mustOpenReader(t, q)
	}
	if s := stats(t, q); s.Depth != 3 {
		t.Errorf("the spool holds %d records, want 3", s.Depth)
	}
}

// TestReadOutlastsWait: Next returns records although its context ends during the read.
func TestReadOutlastsWait(t *testing.T) {
	q, _ := mustOpen(t, newPath(t), Options{})
	mustAppend(t, q, testRequest("k", 1))
	c := mustOpenReader(t, q)
	var busy []*sqlite.Conn
	for range readConnections {
		conn, err := q.connections.Take(t.Context())
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
			q.connections.Put(conn)
		}
	}()
	if records, err := c.Next(brief, 10, 1<<20); err != nil || len(records) != 1 {
		t.Errorf("next got %d records (error %v)", len(records), err)
	}
}

// TestDiskFull: while the disk is full, appends fail and no acknowledged request is lost. A release
// needs little room. When there is room again, everything works.
func TestDiskFull(t *testing.T) {
	path := newPath(t)
	q, f := mustOpen(t, path, Options{})
	f.pages.Store(60)
	acknowledged := 0
	for ; ; acknowledged++ {
		d := testRequest("k", acknowledged)
		d.Body = make([]byte, 5000)
		if _, err := q.Append(t.Context(), d); err != nil {
			if sqlite.ErrCode(err).ToPrimary() != sqlite.ResultFull {
				t.Fatalf("append: %v", err)
			}
			break
		}
	}
	if s := stats(t, q); s.Err == nil || s.Depth != int64(acknowledged) || acknowledged == 0 {
		t.Errorf("with a full disk, after %d appends, the stats are %+v", acknowledged, s)
	}
	c := mustOpenReader(t, q)
	mustCommit(t, c, mustNext(t, c, acknowledged)[:5])
	f.pages.Store(1 << 30)
	eventually(t, "the spool writes again", func() bool { return stats(t, q).Err == nil })
	mustAppend(t, q, testRequest("k", acknowledged))
	q.Close()
	q, _ = mustOpen(t, path, Options{})
	for i, r := range mustNext(t, mustOpenReader(t, q), acknowledged-4) {
		if r.Sequence != int64(i+5) {
			t.Fatalf("sequence %d came where %d was due", r.Sequence, i+5)
		}
	}
}

// TestFreeSpace: below MinFree appends are rejected, and Stats says why. The records can still be
// read and released.
func TestFreeSpace(t *testing.T) {
	var free atomic.Int64
	free.Store(100)
	q, _ := mustOpen(t, newPath(t),
		Options{MinFree: 100, Free: func() (int64, error) { return free.Load(), nil }})
	mustAppend(t, q, testRequest("k", 0))
	free.Store(99)
	eventually(t, "the spool is full", func() bool {
		return errors.Is(stats(t, q).Err,
			hookgate.ErrFull)
	})
	if _, err := q.Append(t.Context(), testRequest("k", 1)); !errors.Is(err, hookgate.ErrFull) {
		t.Errorf("append got %v, want ErrFull", err)
	}
	if stats(t, q).OldestEnqueuedAt.IsZero() {
		t.Error("the stats do not say how old the oldest record is")
	}
	c := mustOpenReader(t, q)
	mustCommit(t, c, mustNext(t, c, 1))
	free.Store(100)
	eventually(t, "the spool takes requests again", func() bool { return stats(t, q).Err == nil })
	mustAppend(t, q, testRequest("k", 1))
}

// TestShrinks: a large file shrinks when it is empty, and can still be used.
func TestShrinks(t *testing.T) {
	path := newPath(t)
	q, _ := mustOpen(t, path, Options{})
	const n, size = 40, 512 << 10
	for i := range n {
		d := testRequest("k", i)
		d.Body = make([]byte, size)
		mustAppend(t, q, d)
	}
	bytes := func() (sum int64) {
		for _, suffix := range []string{"", "-wal"} {
			if info, err := os.Stat(path + suffix); err == nil {
				sum += info.Size()
			}
		}
		return sum
	}
	if bytes() < n*size {
		t.Fatalf("the file has %d bytes", bytes())
	}
	c := mustOpenReader(t, q)
	records := mustNext(t, c, n)
	mustCommit(t, c, records)
	eventually(t, "the file is small", func() bool { return bytes() < size })
	if r := mustAppend(t, q, testRequest("k", n)); r.Position.Compare(records[n-1].Position) <= 0 {
		t.Errorf("position %s was given out again", r.Position)
	}
	if r := mustNext(t, c, 1)[0]; r.Sequence != n {
		t.Errorf("sequence %d came", r.Sequence)
	}
}

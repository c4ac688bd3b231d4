package redis

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/control"
	"github.com/hookgate/hookgate/control/settings"
	"github.com/hookgate/hookgate/internal/redistest"
)

func testRequest(key string, n int) *hookgate.Request {
	now := time.Now()
	return &hookgate.Request{
		RequestID: hookgate.NewRequestID(now),
		Identity: hookgate.Identity{Source: "default", EventType: "order.paid",
			MessageID: fmt.Sprintf("%s-%d", key, n)},
		OrderingKey: key,
		Sequence:    int64(n),
		Body:        make([]byte, 600),
		RemoteAddr:  "127.0.0.1:4711",
		ReceivedAt:  now,
	}
}

// mustOpen opens a queue. Unless c has an OpTimeout, its OpTimeout only ends tests that fail.
func mustOpen(t testing.TB, c Config) *Queue {
	t.Helper()
	c.LeaseTTL = cmp.Or(c.LeaseTTL, testLease)
	c.OpTimeout = cmp.Or(c.OpTimeout, 3*time.Minute)
	q, err := Open(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { q.Close() })
	return q
}

func mustAppend(t testing.TB, q *Queue, d *hookgate.Request) hookgate.Receipt {
	t.Helper()
	r, err := q.Append(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// appendAtLast appends to a queue whose OpTimeout a busy machine may exceed. The queue recognises
// the repetition.
func appendAtLast(t testing.TB, q *Queue, d *hookgate.Request) {
	t.Helper()
	eventually(t, "an append is taken", func() bool {
		_, err := q.Append(t.Context(), d)
		return err == nil
	})
}

// openAtLast opens a queue with an OpTimeout that a busy machine may exceed.
func openAtLast(t testing.TB, c Config) (q *Queue) {
	t.Helper()
	c.LeaseTTL = cmp.Or(c.LeaseTTL, testLease)
	eventually(t, "the queue is open", func() bool {
		var err error
		q, err = Open(context.Background(), c)
		return err == nil
	})
	t.Cleanup(func() { q.Close() })
	return q
}

// openReaderAtLast opens a reader of such a queue.
func openReaderAtLast(t testing.TB, q *Queue) (c hookgate.PartitionReader) {
	t.Helper()
	eventually(t, "a reader is open", func() bool {
		var err error
		c, err = q.OpenReader(t.Context())
		return err == nil
	})
	return c
}

func mustOpenReader(t testing.TB, q *Queue) hookgate.PartitionReader {
	t.Helper()
	c, err := q.OpenReader(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// mustNext reads n records.
func mustNext(t testing.TB, c hookgate.PartitionReader, n int) []hookgate.Record {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	var all []hookgate.Record
	for len(all) < n {
		records, err := c.Next(ctx, n-len(all), 1<<30)
		if err != nil {
			t.Fatalf("next after %d of %d records: %v", len(all), n, err)
		}
		all = append(all, records...)
	}
	return all
}

// eventually waits for a condition that must come true. It returns how long that took.
func eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	began := time.Now()
	for !condition() {
		if time.Since(began) > 3*time.Minute {
			t.Fatalf("not in time: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

func healthy(q *Queue) bool {
	s, err := q.Stats(context.Background())
	return err == nil && s.Err == nil
}

// held returns the number of partitions that the readers of a queue hold.
func held(q *Queue) int {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := 0
	for _, l := range q.lanes {
		if l.phase == laneHeld && time.Now().Before(l.lease.until) {
			n++
		}
	}
	return n
}

// TestKill: SIGKILL during many appends, with appendfsync always. After a restart from the file all
// acknowledged requests are there.
func TestKill(t *testing.T) {
	server := redistest.Start(t, redistest.Options{AppendFsync: "always"})
	q := mustOpen(t, Config{URL: server.URL()})
	var mu sync.Mutex
	acknowledged := map[string]bool{}
	count := func() int {
		mu.Lock()
		defer mu.Unlock()
		return len(acknowledged)
	}
	var senders sync.WaitGroup
	for i := range 20 {
		senders.Go(func() {
			for n := 0; ; n++ {
				d := testRequest(fmt.Sprint("k", i), n)
				if _, err := q.Append(context.Background(), d); err != nil {
					return
				}
				mu.Lock()
				acknowledged[d.MessageID] = true
				mu.Unlock()
			}
		})
	}
	eventually(t, "1000 appends", func() bool { return count() >= 1000 })
	server.Kill()
	senders.Wait()
	server.Restart()
	eventually(t, "the queue finds Redis well again without traffic",
		func() bool { return healthy(q) })
	mustAppend(t, q, testRequest("after", 0))

	c := mustOpenReader(t, q)
	for len(acknowledged) > 0 {
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
		records, err := c.Next(ctx, 1000, 1<<30)
		cancel()
		if err != nil {
			t.Fatalf("%d acknowledged records do not come: %v", len(acknowledged), err)
		}
		for _, r := range records {
			delete(acknowledged, r.MessageID)
		}
	}
}

// TestHang: while a server hangs, each call ends with an error after OpTimeout. When the server
// goes on, so does the queue.
func TestHang(t *testing.T) {
	server := redistest.Start(t, redistest.Options{})
	q := openAtLast(t, Config{URL: server.URL(), OpTimeout: 200 * time.Millisecond})
	appendAtLast(t, q, testRequest("k", 0))
	other := openReaderAtLast(t, q)
	server.Hang()
	began := time.Now()
	_, err := q.Append(t.Context(), testRequest("k", 1))
	if err == nil || errors.Is(err, hookgate.ErrFull) || time.Since(began) > 5*time.Second {
		t.Errorf("append to a hanging server took %v and returned %v", time.Since(began), err)
	}
	if healthy(q) {
		t.Error("the stats do not tell that Redis hangs")
	}
	began = time.Now()
	if err := other.Close(); err == nil || time.Since(began) > 5*time.Second {
		t.Errorf("giving leases back to a hanging server took %v and returned %v", time.Since(began), err)
	}
	server.Resume()
	eventually(t, "the queue finds Redis well again without traffic",
		func() bool { return healthy(q) })
	appendAtLast(t, q, testRequest("k", 1))
	c := openReaderAtLast(t, q)
	eventually(t, "the first record comes", func() bool {
		records, err := c.Next(t.Context(), 1, 1<<20)
		if err == nil && records[0].Sequence != 0 {
			t.Fatalf("the first record is %d", records[0].Sequence)
		}
		return err == nil
	})
}

// TestCloseWhileHanging: Close does not wait for a server that hangs.
func TestCloseWhileHanging(t *testing.T) {
	server := redistest.Start(t, redistest.Options{})
	q := openAtLast(t, Config{URL: server.URL(), OpTimeout: 200 * time.Millisecond})
	openReaderAtLast(t, q)
	server.Hang()
	began := time.Now()
	if err := q.Close(); err == nil {
		t.Error("close tells nothing of the leases that it could not give back")
	}
	if took := time.Since(began); took > time.Minute {
		t.Errorf("close took %v", took)
	}
}

// ledger checks the records that several readers return: a key may have repetitions, but never a
// gap.
type ledger struct {
	mu   sync.Mutex
	next map[string]int64
	err  error
}

func (l *ledger) see(records []hookgate.Record) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range records {
		switch next := l.next[r.OrderingKey]; {
		case r.Sequence > next:
			l.err = fmt.Errorf("key %s: %d came where %d was due", r.OrderingKey, r.Sequence, next)
		case r.Sequence == next:
			l.next[r.OrderingKey]++
		}
	}
}

func (l *ledger) seen() (n int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, next := range l.next {
		n += next
	}
	return n
}

// work reads and releases like a worker until the queue is closed.
func (l *ledger) work(q *Queue) {
	for {
		c, err := q.OpenReader(context.Background())
		if errors.Is(err, hookgate.ErrClosed) {
			return
		}
		for err == nil {
			var records []hookgate.Record
			if records, err = c.Next(context.Background(), 50, 1<<20); err == nil {
				l.see(records)
				err = c.Commit(context.Background(), hookgate.LastOffsets(records))
			}
		}
		if c != nil {
			_ = c.Close()
		}
		if errors.Is(err, hookgate.ErrClosed) || q.isClosed() {
			return
		}
	}
}

// TestShare: processes divide the partitions evenly. When one closes or dies, the others take over,
// and no record of a key overtakes another.
func TestShare(t *testing.T) {
	const keys, partitions = 40, 16
	server := redistest.Start(t, redistest.Options{})
	config := Config{URL: server.URL(), Partitions: partitions}
	sender := mustOpen(t, config)
	stop := make(chan struct{})
	sent := make([]int64, keys)
	var sending sync.WaitGroup
	for k := range keys {
		sending.Go(func() {
			for {
				select {
				case <-stop:
					return
				case <-time.After(5 * time.Millisecond):
				}
				if _, err := sender.Append(context.Background(), testRequest(fmt.Sprint("k", k),
					int(sent[k]))); err != nil {
					t.Errorf("append: %v", err)
					return
				}
				sent[k]++
			}
		})
	}
	l := &ledger{next: map[string]int64{}}
	var working sync.WaitGroup
	process := func() *Queue {
		q := mustOpen(t, config)
		working.Go(func() { l.work(q) })
		return q
	}
	a, b := process(), process()
	even := func() bool { return held(a) == partitions/2 && held(b) == partitions/2 }
	eventually(t, "two share evenly", even)
	third := process()
	eventually(t, "three share", func() bool { return held(third) == partitions/3 })
	if err := third.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	eventually(t, "the two take over from the one that closed", even)
	b.abandon()
	eventually(t, "the last takes over from the dead", func() bool { return held(a) == partitions })
	close(stop)
	sending.Wait()
	total := int64(0)
	for _, n := range sent {
		total += n
	}
	eventually(t, "everything has come", func() bool { return l.seen() == total })
	a.Close()
	working.Wait()
	if l.err != nil {
		t.Error(l.err)
	}
}

// TestPausedBeyondLease: a reader that cannot reach Redis for longer than its lease releases
// nothing afterwards, not even records that the next owner has in hand.
func TestPausedBeyondLease(t *testing.T) {
	server := redistest.Start(t, redistest.Options{})
	p := newProxy(t, server.Addr())
	defer p.close()
	q := mustOpen(t, Config{URL: p.url(), Partitions: 1})
	other := mustOpen(t, Config{URL: server.URL(), Partitions: 1})
	for n := range 3 {
		mustAppend(t, other, testRequest("k", n))
	}
	paused := mustOpenReader(t, q)
	// Next has returned one record, and the reader has read another.
	had, err := paused.Next(t.Context(), 3, 1000)
	if err != nil || len(had) != 1 || len(q.lanes[0].unread) != 1 {
		t.Fatalf("next returned %d records and %v, and %d are in memory", len(had), err,
			len(q.lanes[0].unread))
	}
	next := mustOpenReader(t, other)
	p.hold()
	has := mustNext(t, next, 3)
	moment, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if stale, _ := paused.Next(moment, 3, 1<<20); len(stale) > 0 {
		t.Errorf("the paused reader goes on with record %d", stale[0].Sequence)
	}
	if has[0].Sequence != 0 || has[0].Lease <= had[0].Lease {
		t.Errorf("the next owner begins with %d under lease %d, after lease %d", has[0].Sequence,
			has[0].Lease, had[0].Lease)
	}
	p.release()
	if err := paused.Commit(t.Context(), hookgate.LastOffsets(had)); err == nil {
		t.Error("the paused reader's commit succeeded")
	}
	if s, err := other.Stats(t.Context()); err != nil || s.Depth != 3 {
		t.Errorf("depth is %d, %v, want 3", s.Depth, err)
	}
	if err := next.Commit(t.Context(), hookgate.LastOffsets(has)); err != nil {
		t.Errorf("the next owner's commit: %v", err)
	}
	if s, err := other.Stats(t.Context()); err != nil || s.Depth != 0 {
		t.Errorf("depth is %d, %v, want 0", s.Depth, err)
	}
}

// TestInHandStays: another process gets a partition only after its owner has released the records
// in hand, however long that takes.
func TestInHandStays(t *testing.T) {
	server := redistest.Start(t, redistest.Options{})
	config := Config{URL: server.URL(), Partitions: 1}
	q, other := mustOpen(t, config), mustOpen(t, config)
	mustAppend(t, q, testRequest("k", 0))
	first := mustOpenReader(t, q)
	records := mustNext(t, first, 1)
	// Add a reader of the other process that sorts before the owner, so that the partition is due to
	// it.
	c := &reader{q: other, id: "0", woken: make(chan struct{}, 1)}
	other.mu.Lock()
	other.readers = append(other.readers, c)
	other.mu.Unlock()
	other.kick()
	briefly, cancel := context.WithTimeout(t.Context(), 3*testLease)
	defer cancel()
	if early, _ := c.Next(briefly, 1, 1<<20); len(early) > 0 {
		t.Fatalf("record %d came while it was in hand elsewhere", early[0].Sequence)
	}
	if err := first.Commit(t.Context(), hookgate.LastOffsets(records)); err != nil {
		t.Fatal(err)
	}
	mustAppend(t, q, testRequest("k", 1))
	if r := mustNext(t, c, 1)[0]; r.Sequence != 1 || r.Lease <= records[0].Lease {
		t.Errorf("then record %d came under lease %d, after lease %d", r.Sequence, r.Lease,
			records[0].Lease)
	}
}

// TestRestartEndsLeases: another run of the server may have lost positions and used them again.
// Records in hand from before are not released; they come again under a higher lease.
func TestRestartEndsLeases(t *testing.T) {
	server := redistest.Start(t, redistest.Options{AppendFsync: "always"})
	q := mustOpen(t, Config{URL: server.URL(), Partitions: 1, LeaseTTL: time.Minute})
	for n := range 3 {
		mustAppend(t, q, testRequest("k", n))
	}
	c := mustOpenReader(t, q)
	had := mustNext(t, c, 3)
	script := bindingOf(q, 0).release.sha
	if got := server.MustDo("SCRIPT", "EXISTS", script); !strings.Contains(got, "1") {
		t.Errorf("the server says %s of the script that is bound to it", got)
	}
	server.Kill()
	server.Restart()
	if got := server.MustDo("SCRIPT", "EXISTS", script); strings.Contains(got, "1") {
		t.Error("another run of the server knows the script that was bound to the run before")
	}
	eventually(t, "the queue is well again", func() bool { return healthy(q) })
	if err := c.Commit(t.Context(), hookgate.LastOffsets(had)); !errors.Is(err, errLost) {
		t.Errorf("commit under a lease of the run before: %v", err)
	}
	has := mustNext(t, c, 3)
	if has[0].Sequence != 0 || has[0].Lease <= had[0].Lease {
		t.Errorf("it goes on with %d under lease %d, after lease %d", has[0].Sequence, has[0].Lease,
			had[0].Lease)
	}
	if err := c.Commit(t.Context(), hookgate.LastOffsets(has)); err != nil {
		t.Error(err)
	}
}

// bindingOf returns the binding of a partition's lease.
func bindingOf(q *Queue, p int) *binding {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.lanes[p].lease.scripts
}

// TestScriptsForgotten: a server whose scripts were flushed rejects the leases. The reader acquires
// new ones, and the records in hand come again.
func TestScriptsForgotten(t *testing.T) {
	server := redistest.Start(t, redistest.Options{})
	q := mustOpen(t, Config{URL: server.URL(), Partitions: 2, LeaseTTL: time.Minute})
	mustAppend(t, q, testRequest("k", 0))
	c := mustOpenReader(t, q)
	had := mustNext(t, c, 1)
	server.MustDo("SCRIPT", "FLUSH")
	if err := c.Commit(t.Context(), hookgate.LastOffsets(had)); !errors.Is(err, errLost) {
		t.Errorf("commit by a script that the server does not know: %v", err)
	}
	has := mustNext(t, c, 1)
	if has[0].RequestID != had[0].RequestID || has[0].Lease <= had[0].Lease {
		t.Errorf("it goes on with %s under lease %d, after %s under lease %d", has[0].RequestID,
			has[0].Lease, had[0].RequestID, had[0].Lease)
	}
	if err := c.Commit(t.Context(), hookgate.LastOffsets(has)); err != nil {
		t.Error(err)
	}
}

// TestBindToAnotherRun: a binding is not used if its script finds another run of the server.
func TestBindToAnotherRun(t *testing.T) {
	server := redistest.Start(t, redistest.Options{})
	q := mustOpen(t, Config{URL: server.URL(), Partitions: 1})
	q.round.Lock()
	defer q.round.Unlock()
	token := strings.Repeat("0", 40)
	if b, err := q.bind(t.Context(), 0, "owner/1/"+token); err == nil || b != nil ||
		q.bindings[token] != nil {
		t.Errorf("bound to a run that is not the server's: %v", err)
	}
}

// TestFlushAll: an emptied database is a new queue, which works at once.
func TestFlushAll(t *testing.T) {
	server := redistest.Start(t, redistest.Options{})
	q := mustOpen(t, Config{URL: server.URL(), Partitions: 2})
	c := mustOpenReader(t, q)
	before := mustAppend(t, q, testRequest("k", 0))
	mustNext(t, c, 1)
	server.MustDo("FLUSHALL")
	server.MustDo("SCRIPT", "FLUSH")
	eventually(t, "a later millisecond",
		func() bool { return uint64(time.Now().UnixMilli()) > before.Position.Major })
	after := mustAppend(t, q, testRequest("k", 0))
	if after.Duplicate() || after.Position.Compare(before.Position) <= 0 {
		t.Errorf("append is a duplicate of %s, at %s after %s", after.DuplicateOf, after.Position,
			before.Position)
	}
	if r := mustNext(t, c, 1)[0]; r.Position != after.Position {
		t.Errorf("next is at %s, want %s", r.Position, after.Position)
	}
	eventually(t, "the number of partitions is kept again", func() bool {
		have, err := server.Do("HGET", "hookgate:{meta}:settings", "partitions")
		return err == nil && have == "2"
	})
}

// TestOutOfMemory: a full Redis rejects requests. Readers, new ones too, can still empty it, and
// then it accepts requests again.
func TestOutOfMemory(t *testing.T) {
	server := redistest.Start(t, redistest.Options{MaxMemory: "6mb", MaxMemoryPolicy: "noeviction"})
	q := mustOpen(t, Config{URL: server.URL(), Partitions: 1})
	n := 0
	var err error
	for ; err == nil && n < 2000; n++ {
		d := testRequest("k", n)
		d.Body = make([]byte, 20_000)
		_, err = q.Append(t.Context(), d)
	}
	if err == nil || !strings.Contains(err.Error(), "OOM") {
		t.Fatalf("append to a full Redis: %v", err)
	}
	if healthy(q) {
		t.Error("the stats do not tell that Redis is full")
	}
	// A new reader must be able to lease, read and release now.
	c := mustOpenReader(t, mustOpen(t, Config{URL: server.URL(), Partitions: 1}))
	records := mustNext(t, c, n-1)
	if err := c.Commit(t.Context(), hookgate.LastOffsets(records)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the queue finds room without traffic", func() bool { return healthy(q) })
	mustAppend(t, q, testRequest("k", n))
}

// TestReadOnly: a server that has become a replica rejects requests until it is a master again.
func TestReadOnly(t *testing.T) {
	server := redistest.Start(t, redistest.Options{})
	q := mustOpen(t, Config{URL: server.URL(), Partitions: 1})
	server.MustDo("REPLICAOF", "127.0.0.1", "1")
	if _, err := q.Append(t.Context(), testRequest("k", 0)); err == nil {
		t.Error("append to a replica succeeded")
	}
	if healthy(q) {
		t.Error("the stats do not tell of it")
	}
	server.MustDo("REPLICAOF", "NO", "ONE")
	eventually(t, "the queue finds Redis well again without traffic",
		func() bool { return healthy(q) })
	mustAppend(t, q, testRequest("k", 0))
}

// TestSentinel: when the master dies, appends fail until the replica is promoted. Then they succeed
// again.
func TestSentinel(t *testing.T) {
	s := redistest.StartSentinel(t, redistest.Options{})
	q := mustOpen(t, Config{URL: s.URL(), Partitions: 2})
	if worth := q.Durability().Worth; !strings.Contains(worth, "a failover to a replica loses") {
		t.Errorf("worth is %q", worth)
	}
	c := mustOpenReader(t, q)
	for n := range 10 {
		mustAppend(t, q, testRequest("k", n))
	}
	mustNext(t, c, 10)
	eventually(t, "the replica has it all", func() bool {
		return s.Replica.MustDo("XLEN", q.keys.log[hookgate.Partition("k", 2)]) == "10"
	})
	if got := s.Replica.MustDo("SCRIPT", "EXISTS", bindingOf(q, 0).read.sha); strings.Contains(got,
		"1") {
		t.Error("the replica has got a script that is bound to the master")
	}
	s.Master.Kill()
	if _, err := q.Append(t.Context(), testRequest("k", 10)); err == nil {
		t.Error("append without a master succeeded")
	}
	eventually(t, "appends go on", func() bool {
		_, err := q.Append(context.Background(), testRequest("k", 10))
		return err == nil
	})
	seen := map[int64]bool{}
	for len(seen) < 11 {
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
		records, err := c.Next(ctx, 100, 1<<20)
		if ctx.Err() != nil {
			t.Fatalf("of 11 records %d come from the new master", len(seen))
		}
		cancel()
		if err != nil {
			continue
		}
		for _, r := range records {
			seen[r.Sequence] = true
		}
	}
	eventually(t, "the queue is well", func() bool { return healthy(q) })
}

// TestWorth: the text on what a 202 is worth follows the settings of Redis.
func TestWorth(t *testing.T) {
	for _, test := range []struct {
		options  redistest.Options
		worth    string
		warnings []string
	}{
		{redistest.Options{AppendFsync: "always"}, "survives a crash of Redis and of its machine", nil},
		{redistest.Options{AppendFsync: "everysec"}, "loses the last second", nil},
		{redistest.Options{AppendFsync: "no"}, "about the last 30 seconds",
			[]string{"appendfsync is no"}},
		{redistest.Options{}, "does not survive a crash of Redis", []string{"appendonly is no"}},
		{redistest.Options{Extra: []string{`rename-command CONFIG ""`}}, "CONFIG is hidden",
			[]string{"CONFIG is hidden"}},
		{redistest.Options{AppendFsync: "always", MaxMemory: "100mb", MaxMemoryPolicy: "allkeys-lru"},
			"survives a crash of Redis and of its machine", []string{"allkeys-lru"}},
	} {
		server := redistest.Start(t, test.options)
		d := mustOpen(t, Config{URL: server.URL(), AllowEviction: true}).Durability()
		if !strings.Contains(d.Worth, test.worth) {
			t.Errorf("%+v: worth is %q, want %q in it", test.options, d.Worth, test.worth)
		}
		if len(d.Warnings) != len(test.warnings) || len(d.Warnings) > 0 &&
			!strings.Contains(d.Warnings[0], test.warnings[0]) {
			t.Errorf("%+v: warnings are %q, want %q", test.options, d.Warnings, test.warnings)
		}
	}
}

// TestEvictionRejected: Open rejects a Redis that may evict keys.
func TestEvictionRejected(t *testing.T) {
	server := redistest.Start(t, redistest.Options{MaxMemory: "100mb",
		MaxMemoryPolicy: "volatile-lru"})
	q, err := Open(t.Context(), Config{URL: server.URL()})
	if err == nil {
		q.Close()
		t.Fatal("open succeeded")
	}
	if !strings.Contains(err.Error(), "volatile-lru") {
		t.Errorf("open: %v", err)
	}
}

// TestMode: a mode is stored, and other processes see it.
func TestMode(t *testing.T) {
	server := redistest.Start(t, redistest.Options{})
	open := func() *settings.Keeper {
		k, err := settings.Open(t.Context(), mustOpen(t, Config{URL: server.URL()}),
			settings.Options{Poll: 10 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { k.Close() })
		return k
	}
	one, other := open(), open()
	for _, mode := range []control.Mode{control.ModeBuffer, control.ModeReadOnly,
		control.ModeNormal} {
		if err := one.SetMode(t.Context(), mode); err != nil || one.Mode() != mode {
			t.Fatalf("set mode %s: it is %s, %v", mode, one.Mode(), err)
		}
		eventually(t, "the other sees the mode", func() bool { return other.Mode() == mode })
		if later := open(); later.Mode() != mode {
			t.Errorf("a later start has mode %s, want %s", later.Mode(), mode)
		}
	}
}

// TestPartitionsFixed: the number of partitions cannot change while records are queued, and can
// when there are none. A process that still has the old number then rejects requests.
func TestPartitionsFixed(t *testing.T) {
	server := redistest.Start(t, redistest.Options{})
	q := mustOpen(t, Config{URL: server.URL(), Partitions: 4})
	mustAppend(t, q, testRequest("k", 1))
	if _, err := Open(t.Context(), Config{URL: server.URL(), Partitions: 8}); err == nil ||
		!strings.Contains(err.Error(), "set it back to 4") {
		t.Fatalf("open with another number of partitions: %v", err)
	}
	c := mustOpenReader(t, q)
	if err := c.Commit(t.Context(), hookgate.LastOffsets(mustNext(t, c, 1))); err != nil {
		t.Fatal(err)
	}
	mustAppend(t, mustOpen(t, Config{URL: server.URL(), Partitions: 8}), testRequest("k", 2))
	eventually(t, "the process of before refuses", func() bool {
		_, err := q.Append(t.Context(), testRequest("k", 3))
		return err != nil && !healthy(q)
	})
}

// TestHighWaterOfAll: the appends of another process count too, a little later.
func TestHighWaterOfAll(t *testing.T) {
	server := redistest.Start(t, redistest.Options{})
	config := Config{URL: server.URL(), HighWater: 10}
	q, other := mustOpen(t, config), mustOpen(t, config)
	for n := range 10 {
		mustAppend(t, other, testRequest("k", n))
	}
	n := 10
	eventually(t, "this process knows of it", func() bool {
		n++
		_, err := q.Append(t.Context(), testRequest("k", n))
		return errors.Is(err, hookgate.ErrFull)
	})
	// A release by another process makes room at once: no old count rejects a request.
	c := mustOpenReader(t, other)
	s, err := other.Stats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Commit(t.Context(), hookgate.LastOffsets(mustNext(t, c, int(s.Depth)))); err != nil {
		t.Fatal(err)
	}
	mustAppend(t, q, testRequest("k", n))
}

// TestHealth: a failure counts until the next success. It does not count if it began before the
// last success.
func TestHealth(t *testing.T) {
	c, err := Config{Partitions: 2}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	h := newHealth(c)
	begun := h.begin(0)
	h.wrote(0)
	if h.failed(0, begun, errLost); h.err() != nil {
		t.Error("a failure from before a success counts")
	}
	for range 2 {
		if h.failed(0, h.begin(0), errLost); h.err() == nil || !slices.Equal(h.sick(), []int{0}) {
			t.Errorf("after a failure the health is %v, sick are %v", h.err(), h.sick())
		}
		if h.wrote(1); h.err() == nil {
			t.Error("a success elsewhere ends the error")
		}
		if h.wrote(0); h.err() != nil || h.sick() != nil {
			t.Errorf("after a success the health is %v, sick are %v", h.err(), h.sick())
		}
	}
}

// TestLaneChangesDuringCommit: a release fails if its partition goes to another reader meanwhile.
func TestLaneChangesDuringCommit(t *testing.T) {
	server := redistest.Start(t, redistest.Options{})
	q := mustOpen(t, Config{URL: server.URL(), Partitions: 1})
	mustAppend(t, q, testRequest("k", 0))
	c := mustOpenReader(t, q).(*reader)
	calls, _, err := c.planRelease(hookgate.LastOffsets(mustNext(t, c, 1)))
	if err != nil {
		t.Fatal(err)
	}
	q.mu.Lock()
	q.lanes[0] = lane{}
	q.mu.Unlock()
	if err := q.lease(t.Context(), calls, func(*lane, leaseCall,
		rueidis.RedisResult) error {
		return nil
	}); !errors.Is(err, errLost) {
		t.Errorf("release: %v", err)
	}
}

// TestCorruptEntry: an entry that is not a record comes as corrupt with its bytes, the same each
// time. The records around it are not affected.
func TestCorruptEntry(t *testing.T) {
	server := redistest.Start(t, redistest.Options{})
	for i, fields := range [][]string{{"r", "\x01\x02\x03\x04"}, {"x", "\x01\x02", "y", "\x03"},
		{"r", "", "of", "short"}} {
		q := mustOpen(t, Config{URL: server.URL(), Prefix: fmt.Sprint("q", i), Partitions: 1})
		mustAppend(t, q, testRequest("k", 0))
		server.MustDo(append([]string{"XADD", q.keys.log[0], "*"}, fields...)...)
		mustAppend(t, q, testRequest("k", 1))
		var ids []hookgate.RequestID
		for range 2 {
			c := mustOpenReader(t, q)
			records := mustNext(t, c, 3)
			r := records[1]
			if r.Corrupt == nil || r.RequestID.IsZero() || len(r.Body) == 0 ||
				!strings.Contains(strings.Join(fields, ""), string(r.Body)) {
				t.Errorf("%q came as %+v", fields, r)
			}
			if records[0].MessageID != "k-0" || records[2].MessageID != "k-1" {
				t.Errorf("around %q stand %s and %s", fields, records[0].MessageID, records[2].MessageID)
			}
			ids = append(ids, r.RequestID)
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		}
		if ids[0] != ids[1] {
			t.Errorf("%q has request id %s and then %s", fields, ids[0], ids[1])
		}
	}
}

// TestNextBytes: a backlog of large bodies is read in pieces. A read of all partitions together
// exceeds the byte limit only a little.
func TestNextBytes(t *testing.T) {
	server := redistest.Start(t, redistest.Options{})
	q := mustOpen(t, Config{URL: server.URL(), Partitions: 1})
	for n := range 40 {
		d := testRequest("k", n)
		d.Body = make([]byte, 1<<16)
		mustAppend(t, q, d)
	}
	c := mustOpenReader(t, q)
	for n := 0; n < 40; {
		records, err := c.Next(t.Context(), 1000, 3<<16)
		if err != nil || len(records) > 3 {
			t.Fatalf("next returned %d records and %v", len(records), err)
		}
		if waiting := len(q.lanes[0].unread); waiting > 1 {
			t.Fatalf("%d records wait in memory", waiting)
		}
		n += len(records)
	}
}

// TestURL: the client gets the options in the URL, and errors name the invalid ones.
func TestURL(t *testing.T) {
	for _, test := range []struct {
		url, addrs, user, password, master string
		db                                 int
		tls, single                        bool
	}{
		{url: "redis://localhost", addrs: "localhost:6379"},
		{url: "redis://u:p%40ss@h:1/3", addrs: "h:1", user: "u", password: "p@ss", db: 3},
		{url: "rediss://:p@h:1", addrs: "h:1", password: "p", tls: true},
		{url: "redis://a:1,b,[::1]:3", addrs: "a:1 b:6379 [::1]:3"},
		{url: "redis://u:p@a:1,b:2/1?master=m", addrs: "a:1 b:2", user: "u", password: "p", db: 1,
			master: "m"},
		{url: "redis://a:1?cluster=true", addrs: "a:1"},
		{url: "redis://a:1?cluster=false", addrs: "a:1", single: true},
	} {
		o, err := Config{URL: test.url}.clientOption()
		if err != nil {
			t.Errorf("%s: %v", test.url, err)
			continue
		}
		if got := strings.Join(o.InitAddress, " "); got != test.addrs || o.Username != test.user ||
			o.Password != test.password ||
			o.SelectDB != test.db || o.Sentinel.MasterSet != test.master ||
			(o.TLSConfig != nil) != test.tls || o.ForceSingleClient != test.single {
			t.Errorf("%s is read as %+v", test.url, o)
		}
	}
	for _, url := range []string{
		"", "http://h", "redis://", "redis://a,,b", "redis://:secret@h/x", "redis://:secret@h?maste=x",
		"redis://:secret@h?cluster=perhaps",
		"redis://:secret@a,b/1", "redis://:secret@a,b?cluster=false",
		"redis://:secret@a?master=m&cluster=true", "redis://:%zzsecret@h",
		"redis://:1/secret@h", "redis://u:secret/2@h", "redis://u:secret?x@h", "redis://u:secret#x@h",
		"redis://u:%secret@h",
	} {
		if _, err := (Config{URL: url}).clientOption(); err == nil {
			t.Errorf("%q is accepted", url)
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: the error shows the password: %v", url, err)
		}
	}
}

// TestKeysDiffer: identities whose parts join to the same text have different claims.
func TestKeysDiffer(t *testing.T) {
	k := newKeys("hookgate", 1)
	var all []string
	for _, id := range []hookgate.Identity{{Source: "a", EventType: "bc"},
		{Source: "ab", EventType: "c"}, {Source: "abc"}, {MessageID: "abc"}} {
		all = append(all, string(k.appendClaim(nil, 0, 0, &hookgate.Request{Identity: id})))
	}
	slices.Sort(all)
	if len(slices.Compact(all)) != 4 {
		t.Error("two identities have one claim")
	}
}

// TestClaimOutlivesRelease: the claim of a released record lives for its full time.
func TestClaimOutlivesRelease(t *testing.T) {
	server := redistest.Start(t, redistest.Options{})
	q := mustOpen(t, Config{URL: server.URL(), Partitions: 1, ClaimTTL: time.Hour})
	d := testRequest("k", 0)
	mustAppend(t, q, d)
	c := mustOpenReader(t, q)
	if err := c.Commit(t.Context(), hookgate.LastOffsets(mustNext(t, c, 1))); err != nil {
		t.Fatal(err)
	}
	ttl, err := strconv.Atoi(server.MustDo("PTTL", string(q.keys.appendClaim(nil, 0, 0, d))))
	if err != nil || ttl < 3_500_000 || ttl > 3_600_000 {
		t.Errorf("the claim lives for %d ms, %v", ttl, err)
	}
}

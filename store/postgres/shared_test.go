package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/internal/pgtest"
	"github.com/hookgate/hookgate/store/storetest"
)

// load lets workers store rounds batches each at the same time. Half of the identities are also
// another worker's. It then checks through several connections that everything is stored once.
func load(t *testing.T, url string, workers, rounds int) {
	t.Helper()
	const size = 20
	var all sync.WaitGroup
	for p := range workers {
		// Each worker has its own store, as separate processes do.
		s, err := Open(t.Context(), Config{URL: url, MaxConns: 3})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		w := newWorker(t, s, p)
		all.Go(func() {
			for range rounds {
				b := w.batch(size)
				for i := range b.Records {
					if r := &b.Records[i]; i%2 == 0 {
						// The same event in several partitions.
						r.MessageID, r.EventType = fmt.Sprint("shared-", r.Sequence), "shared"
					}
				}
				if _, err := s.Apply(t.Context(), b); err != nil {
					t.Errorf("worker %d: %v", p, err)
					return
				}
				if _, err := s.Trace(t.Context(), b.Records[0].MessageID, hookgate.RequestID{},
					1000); err != nil {
					t.Errorf("worker %d: %v", p, err)
				}
			}
		})
	}
	all.Wait()
	s, err := Open(t.Context(), Config{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	half := int64(rounds * size / 2)
	want := hookgate.StoreCounts{Events: half*int64(workers) + half,
		Duplicates: half * int64(workers-1)}
	if got, err := s.Counts(t.Context()); err != nil || got != want {
		t.Errorf("counts are %+v (error %v), want %+v", got, err, want)
	}
	ids := messageIDs(t, s, hookgate.EventFilter{})
	if slices.Sort(ids); len(slices.Compact(ids)) != int(want.Events) {
		t.Errorf("%d different events are listed, want %d", len(slices.Compact(ids)), want.Events)
	}
	if err := verified(url); err != nil {
		t.Error(err)
	}
}

// TestManyProcesses: of gates that start at the same time with a new database one creates the
// schema. Events that reach several of them are stored once.
func TestManyProcesses(t *testing.T) {
	url := newEmptyDatabase(t)
	openAtOnce(t, url, 12)
	load(t, url, 6, 5)
}

// openAtOnce opens n stores on a new database at the same time.
func openAtOnce(t *testing.T, url string, n int) {
	t.Helper()
	var all sync.WaitGroup
	start := make(chan struct{})
	for range n {
		all.Go(func() {
			<-start
			s, err := Open(t.Context(), Config{URL: url, MaxConns: 1})
			if err != nil {
				t.Error(err)
				return
			}
			defer s.Close()
			if _, err := s.Acquire(t.Context(), 0); err != nil {
				t.Error(err)
			}
		})
	}
	close(start)
	all.Wait()
}

// behindBouncer returns the URL of a new database behind PgBouncer in transaction mode, which has
// two sessions.
func behindBouncer(t *testing.T) string {
	t.Helper()
	c, err := pgtest.Shared()
	if err != nil {
		t.Fatal(err)
	}
	b, err := pgtest.StartBouncer(t.Context(), c, 2)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	name, err := c.NewDatabase(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return b.URL(name)
}

// TestBouncer: everything works behind a pooler that gives each transaction another session and has
// fewer sessions than connections.
func TestBouncer(t *testing.T) {
	url := behindBouncer(t)
	openAtOnce(t, url, 8)
	load(t, url, 8, 5)

	s := instance(t, url)
	defer s.Close()
	// After a rejection or a time-out another client gets the session, so it must not be in a
	// transaction.
	bad := storetest.Sample(20, 1)
	bad.MessageID = "zero\x00"
	w := newWorker(t, s.Store.(*Store), 20)
	all := w.batch(1)
	all.Records = append(all.Records, bad)
	for n := range 5 {
		o, err := s.Apply(t.Context(), all)
		if err != nil || o.Stored != map[bool]int{true: 1}[n == 0] || !errors.Is(o.Results[1].Rejected,
			hookgate.ErrRejected) {
			t.Errorf("apply %d got %+v (error %v), want the second record rejected", n, o, err)
		}
	}
	for range s.DeadLetters(t.Context(), hookgate.DeadLetterFilter{}) {
		break
	}
	if err := s.Verify(); err != nil {
		t.Error(err)
	}
}

// TestNothingMissed: a reader that continues after the last event it saw, while several processes
// store, sees every event. If ids were given out before the lock, they would not be in the order of
// commits.
func TestNothingMissed(t *testing.T) {
	url := newDatabase(t)
	s, _ := openStore(t, url)
	defer s.Close()
	const workers, rounds, size = 4, 40, 5
	var all sync.WaitGroup
	for p := range workers {
		other, _ := openStore(t, url)
		defer other.Close()
		w := newWorker(t, other, p)
		all.Go(func() {
			for range rounds {
				if _, err := other.Apply(context.Background(), w.batch(size)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	written := make(chan struct{})
	go func() {
		all.Wait()
		close(written)
	}()
	seen, after := 0, ""
	for last := false; ; {
		for e, err := range s.Events(t.Context(), hookgate.EventFilter{After: after}) {
			if err != nil {
				t.Fatal(err)
			}
			after = e.ID
			seen++
		}
		if last {
			break
		}
		select {
		case <-written:
			last = true // one more look
		default:
		}
	}
	if seen != workers*rounds*size {
		t.Errorf("the reader saw %d events, want %d", seen, workers*rounds*size)
	}
}

// TestDurable: a database that does not wait for its disk still waits for what Apply stores, and
// the time-outs of a transaction do not stay in its session.
func TestDurable(t *testing.T) {
	url := newDatabase(t)
	outsider := connect(t, url)
	if err := execute(outsider, "DO $$ BEGIN EXECUTE 'ALTER DATABASE ' || current_database() ||"+
		" ' SET synchronous_commit = off'; END $$"); err != nil {
		t.Fatal(err)
	}
	s, _ := openStore(t, url)
	defer s.Close()
	settings := func(inside bool) (got string) {
		t.Helper()
		query := statement{
			sql: "SELECT current_setting('synchronous_commit') || ' ' ||" +
				" current_setting('statement_timeout')",
			row: func(r row) error { got = r.Text(0); return nil },
		}
		var err error
		if inside {
			err = s.tx(t.Context(), []statement{query}, func() ([]statement, error) { return nil, nil })
		} else {
			conn, acquireErr := s.pool.Acquire(t.Context())
			if acquireErr != nil {
				t.Fatal(acquireErr)
			}
			defer conn.Release()
			_, err = exchange(t.Context(), conn.Conn().PgConn(), []statement{query})
		}
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	if got := settings(true); got != "on 30s" {
		t.Errorf("in a transaction the settings are %s, want on 30s", got)
	}
	if got := settings(false); got != "off 0" {
		t.Errorf("outside the settings are %s, want those of the database, off 0", got)
	}
}

// TestReadOnly: Ping fails for a database that can be reached but takes no writes.
func TestReadOnly(t *testing.T) {
	url := newDatabase(t)
	s, _ := openStore(t, url)
	s.Close()
	if err := execute(connect(t, url),
		"DO $$ BEGIN EXECUTE 'ALTER DATABASE ' || current_database() ||"+
			" ' SET default_transaction_read_only = on'; END $$"); err != nil {
		t.Fatal(err)
	}
	s, _ = openStore(t, url)
	defer s.Close()
	if err := s.Ping(t.Context()); err == nil || !strings.Contains(err.Error(), "read-only") {
		t.Errorf("ping of a read-only database got %v", err)
	}
	if _, err := s.Acquire(t.Context(), 0); err == nil {
		t.Error("acquire wrote to a read-only database")
	}
}

// TestLookAfterConflict: a batch with a stored event is still stored correctly, and the next
// batches look up events before they write.
func TestLookAfterConflict(t *testing.T) {
	s, _ := openStore(t, newDatabase(t))
	defer s.Close()
	epochs := storetest.AcquireBench(t, s, 0)
	apply := func(records ...hookgate.Record) hookgate.Outcome {
		t.Helper()
		o, err := s.Apply(t.Context(), &hookgate.Batch{Records: records, Epochs: epochs, Worker: "w",
			ProcessedAt: time.Now(), Attempts: 1})
		if err != nil {
			t.Fatal(err)
		}
		return o
	}
	var records []hookgate.Record
	for n := range 15 {
		records = append(records, storetest.Sample(0, n))
	}
	if o := apply(records[:10]...); o.Stored != 10 || s.lookUpFirst != 0 {
		t.Errorf("a first batch: %+v, %d looks", o, s.lookUpFirst)
	}
	again := slices.Clone(records)
	for n := range 5 {
		again[n].RequestID = hookgate.NewRequestID(time.Now())
	}
	if o := apply(again...); o.Stored != 5 || !slices.Equal(storetest.Duplicates(o),
		[]int{0, 1, 2, 3, 4}) || s.lookUpFirst != lookUpFirstAfterMiss {
		t.Errorf("five duplicates, five stored before, five new: %+v, %d looks", o, s.lookUpFirst)
	}
	if o := apply(again...); o.Stored != 0 || len(storetest.Duplicates(o)) != 5 ||
		s.lookUpFirst != lookUpFirstAfterMiss-1 {
		t.Errorf("the same once more: %+v, %d looks", o, s.lookUpFirst)
	}
	if c, err := s.Counts(t.Context()); err != nil || c.Events != 15 || c.Duplicates != 5 {
		t.Errorf("counts are %+v (%v)", c, err)
	}
	if err := s.Ping(t.Context()); err != nil {
		t.Errorf("a conflict is taken for a failure of the store: %v", err)
	}
}

// TestPruneInTurn: one of two processes removes, and Prune returns Busy in the other. The other
// takes over when the first has not removed for holdTime.
func TestPruneInTurn(t *testing.T) {
	url := newDatabase(t)
	first, _ := openStore(t, url)
	defer first.Close()
	second, _ := openStore(t, url)
	defer second.Close()
	epoch, err := first.Acquire(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	b := &hookgate.Batch{Epochs: map[int]hookgate.Epoch{0: epoch}, Worker: "w", Attempts: 1}
	for n := range 10 {
		b.Records = append(b.Records, storetest.Sample(0, n))
	}
	mustApply(t, first, b, 10)
	prune := func(s *Store) hookgate.Pruned {
		t.Helper()
		p, err := s.Prune(t.Context(), hookgate.Cutoffs{Events: time.Now().Add(time.Hour)}, 2)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	first.holdTime = time.Hour
	if p := prune(first); p.Busy || p.Events != 2 {
		t.Errorf("the first did %+v, want 2 events", p)
	}
	if p := prune(second); !p.Busy || p.Events != 0 {
		t.Errorf("the second did %+v, want nothing", p)
	}
	first.holdTime = 0
	if p := prune(first); p.Busy || p.Events != 2 {
		t.Errorf("the first did %+v, want 2 events", p)
	}
	if p := prune(second); p.Busy || p.Events != 2 {
		t.Errorf("after its time the second did %+v, want 2 events", p)
	}
}

// TestBodiesCompressed: large bodies are compressed with lz4 if the server supports it, and
// otherwise with the server's default.
func TestBodiesCompressed(t *testing.T) {
	url := newDatabase(t)
	s, _ := openStore(t, url)
	defer s.Close()
	conn := connect(t, url)
	for _, table := range []string{"webhook_events", "webhook_dead_letters"} {
		var has bool
		var method string
		err := conn.QueryRow(t.Context(),
			`SELECT 'lz4' = ANY (c.enumvals), a.attcompression::text FROM pg_settings c, pg_attribute a
			WHERE c.name = 'default_toast_compression' AND a.attrelid = $1::regclass AND a.attname = 'payload'`, table).Scan(&has, &method)
		if err != nil {
			t.Fatal(err)
		}
		if want := map[bool]string{true: "l", false: ""}[has]; method != want {
			t.Errorf("bodies of %s are compressed by %q, want %q (the server has lz4: %v)", table, method,
				want, has)
		}
	}
}

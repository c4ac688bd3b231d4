package persist

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/internal/redistest"
	"github.com/hookgate/hookgate/queue/redis"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// faultyStore keeps its batches in memory and fails on demand. storetest tests the real stores, and
// e2e the whole gate.
type faultyStore struct {
	// fail is called before each Apply. If it returns an error, nothing is stored.
	fail func(b *hookgate.Batch) error
	// reject is the message id of a record that becomes a dead letter.
	reject string

	mu      sync.Mutex // guards all below
	epochs  map[int]hookgate.Epoch
	batches []hookgate.Batch
	changed chan struct{} // closed and replaced at each Apply that stored something
}

func newFaultyStore() *faultyStore {
	return &faultyStore{epochs: map[int]hookgate.Epoch{}, changed: make(chan struct{}),
		fail: func(*hookgate.Batch) error { return nil }}
}

func (s *faultyStore) Acquire(_ context.Context, p int) (hookgate.Epoch, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.epochs[p]++
	return s.epochs[p], nil
}

func (s *faultyStore) Close() error { return nil }

func (s *faultyStore) Apply(_ context.Context, b *hookgate.Batch) (hookgate.Outcome, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for p, epoch := range b.Epochs {
		if epoch < s.epochs[p] {
			return hookgate.Outcome{}, fmt.Errorf("partition %d: %w", p, hookgate.ErrFenced)
		}
	}
	if err := s.fail(b); err != nil {
		return hookgate.Outcome{}, err
	}
	s.batches = append(s.batches, *b)
	close(s.changed)
	s.changed = make(chan struct{})
	outcome := hookgate.Outcome{Stored: len(b.Records), Results: make([]hookgate.Result,
		len(b.Records))}
	for i := range b.Records {
		if b.Records[i].MessageID == s.reject {
			outcome.Results[i].Rejected = errors.New("no")
		}
	}
	return outcome, nil
}

// stored returns the message ids of the events and dead letters stored so far.
func (s *faultyStore) stored() (events, dead []string, changed <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range s.batches {
		for _, r := range b.Records {
			events = append(events, r.MessageID)
		}
		for _, d := range b.Dead {
			dead = append(dead, d.MessageID)
		}
	}
	return events, dead, s.changed
}

// await waits until n records in all are stored.
func (s *faultyStore) await(t *testing.T, n int) (events, dead []string) {
	t.Helper()
	timeout := time.After(3 * time.Minute)
	for {
		events, dead, changed := s.stored()
		if len(events)+len(dead) >= n {
			return events, dead
		}
		select {
		case <-changed:
		case <-timeout:
			t.Fatalf("%d events and %d dead letters stored, want %d in all", len(events), len(dead), n)
		}
	}
}

// counts counts the reports of the workers.
type counts struct {
	mu                                     sync.Mutex
	persisted, duplicate, dead, failed, of int
	fenced, gaps, inversions, storing      int
	workers                                []int // each change of their number
}

func (m *counts) add(n *int, by int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	*n += by
}
func (m *counts) Persisted(string, time.Duration)    { m.add(&m.persisted, 1) }
func (m *counts) Duplicate(string, time.Duration)    { m.add(&m.duplicate, 1) }
func (m *counts) DeadLettered(string, time.Duration) { m.add(&m.dead, 1) }
func (m *counts) Batch(n int, _ time.Duration)       { m.add(&m.of, n) }
func (m *counts) ApplyFailed()                       { m.add(&m.failed, 1) }
func (m *counts) Fenced()                            { m.add(&m.fenced, 1) }
func (m *counts) SequenceGap(string)                 { m.add(&m.gaps, 1) }
func (m *counts) SequenceInversion(string)           { m.add(&m.inversions, 1) }
func (m *counts) Storing(n int)                      { m.add(&m.storing, n) }
func (m *counts) Workers(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if k := len(m.workers); k == 0 || m.workers[k-1] != n {
		m.workers = append(m.workers, n)
	}
}

func newRequest(key string, n int) *hookgate.Request {
	now := time.Now()
	return &hookgate.Request{
		RequestID: hookgate.NewRequestID(now),
		Identity: hookgate.Identity{Source: "default", EventType: "t", MessageID: fmt.Sprintf("%s-%d",
			key, n)},
		OrderingKey: key, Sequence: int64(n), Body: []byte("{}"), ReceivedAt: now,
	}
}

func openQueue(t *testing.T) *redis.Queue {
	t.Helper()
	server := redistest.Start(t, redistest.Options{})
	q, err := redis.Open(context.Background(), redis.Config{URL: server.URL(), Prefix: "t",
		Partitions: 2})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { q.Close() })
	return q
}

func appendAll(t *testing.T, q hookgate.Queue, requests ...*hookgate.Request) {
	t.Helper()
	for _, d := range requests {
		if _, err := q.Append(context.Background(), d); err != nil {
			t.Fatal(err)
		}
	}
}

// start runs workers until the test ends or stop is called. stop waits for them.
func start(t *testing.T, c Config, q hookgate.BufferedQueue, s hookgate.Store,
	m Metrics) (stop func()) {
	t.Helper()
	c.BackoffMin, c.BackoffMax = time.Millisecond, 4*time.Millisecond
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		Run(ctx, c, q, s, m)
	}()
	stop = func() { cancel(); <-done }
	t.Cleanup(stop)
	return stop
}

func waitEmpty(t *testing.T, q hookgate.Queue) {
	t.Helper()
	for end := time.Now().Add(3 * time.Minute); ; time.Sleep(time.Millisecond) {
		s, err := q.Stats(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if s.Depth == 0 {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("the queue still holds %d records", s.Depth)
		}
	}
}

// TestOrderAndRelease: several workers store everything, each key in order, and release it.
func TestOrderAndRelease(t *testing.T) {
	q, s, m := openQueue(t), newFaultyStore(), &counts{}
	const keys, each = 6, 40
	start(t, Config{Workers: 2, MinWorkers: 2, MaxRecords: 7}, q, s, m)
	for n := range each {
		for key := range keys {
			appendAll(t, q, newRequest(string(rune('a'+key)), n))
		}
	}
	appendAll(t, q, newRequest("a", 0)) // a duplicate
	events, dead := s.await(t, keys*each+1)
	waitEmpty(t, q)
	next := map[string]int{}
	for _, id := range events[:len(events)-1] {
		key, n, _ := strings.Cut(id, "-")
		if n == "0" && next[key] > 0 {
			continue // the duplicate
		}
		if n != fmt.Sprint(next[key]) {
			t.Fatalf("%s is stored where %s-%d is due", id, key, next[key])
		}
		next[key]++
	}
	if m.persisted != keys*each || m.duplicate != 1 || m.of != len(events) || len(dead) != 0 ||
		m.failed != 0 {
		t.Errorf("counted %d persisted, %d duplicates, %d in batches, %d dead, %d failures", m.persisted,
			m.duplicate, m.of, len(dead), m.failed)
	}
}

// TestOutage: while the store is away, no record is dropped, dead-lettered or overtaken, however
// many attempts fail. The batch that succeeds has their number and the last error.
func TestOutage(t *testing.T) {
	q, s, m := openQueue(t), newFaultyStore(), &counts{}
	attempts := 0
	s.fail = func(*hookgate.Batch) error {
		if attempts++; attempts <= 20 {
			return errors.New("store is away")
		}
		return nil
	}
	appendAll(t, q, newRequest("a", 0), newRequest("a", 1), newRequest("a", 2))
	start(t, Config{}, q, s, m)
	events, dead := s.await(t, 3)
	waitEmpty(t, q)
	if want := []string{"a-0", "a-1", "a-2"}; !slices.Equal(events, want) || len(dead) > 0 {
		t.Errorf("stored %v and dead letters %v, want %v", events, dead, want)
	}
	if b := s.batches[0]; b.Attempts != 21 || b.LastError != "store is away" {
		t.Errorf("the batch tells of %d attempts, the last error %q", b.Attempts, b.LastError)
	}
	if m.failed != 20 {
		t.Errorf("%d failures counted, want 20", m.failed)
	}
}

// lines is a log that workers write and the test reads.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// TestPaused: paused workers do not call the store, neither between two batches nor between two
// attempts at one. Afterwards they store everything in order.
func TestPaused(t *testing.T) {
	q, s, m := openQueue(t), newFaultyStore(), &counts{}
	var paused, asked atomic.Int64
	paused.Store(1)
	calls := 0 // of Apply; written under s.mu
	s.fail = func(*hookgate.Batch) error {
		if calls++; calls == 3 {
			paused.Store(1)
			return errors.New("store is away")
		}
		return nil
	}
	// stays waits until a worker has asked several times whether it may go on.
	stays := func(wantCalls int) {
		t.Helper()
		for before := asked.Load(); asked.Load() < before+5; time.Sleep(time.Millisecond) {
			if t.Context().Err() != nil {
				t.Fatal("no worker asks whether to pause")
			}
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if calls != wantCalls {
			t.Errorf("%d calls of the store, want %d", calls, wantCalls)
		}
	}
	appendAll(t, q, newRequest("a", 0))
	start(t, Config{Linger: time.Nanosecond,
		Paused: func() bool { asked.Add(1); return paused.Load() == 1 }}, q, s, m)
	stays(0)
	if len(s.epochs) != 0 {
		t.Error("a worker that pauses has acquired a partition")
	}
	paused.Store(0)
	s.await(t, 1)
	appendAll(t, q, newRequest("a", 1))
	s.await(t, 2)
	appendAll(t, q, newRequest("a", 2)) // the third call fails and begins a pause
	for paused.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	appendAll(t, q, newRequest("a", 3))
	stays(3)
	paused.Store(0)
	events, _ := s.await(t, 4)
	waitEmpty(t, q)
	if want := []string{"a-0", "a-1", "a-2", "a-3"}; !slices.Equal(events, want) {
		t.Errorf("stored %v, want %v", events, want)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.storing != 0 {
		t.Errorf("%d calls of the store are said to be under way", m.storing)
	}
}

// TestRejected: if the store rejects a record even as a dead letter, the worker retries the batch
// until the store accepts it, and logs an error. Nothing is lost or overtaken. The worker releases
// a record that the store has made a dead letter.
func TestRejected(t *testing.T) {
	q, s, m := openQueue(t), newFaultyStore(), &counts{}
	attempts := 0
	s.fail = func(b *hookgate.Batch) error {
		if attempts++; attempts <= 5 {
			return fmt.Errorf("record 4: %w", hookgate.ErrRejected)
		}
		return nil
	}
	s.reject = "a-7"
	var want []string
	for n := range 10 {
		d := newRequest("a", n)
		appendAll(t, q, d)
		want = append(want, d.MessageID)
	}
	log := &lines{}
	start(t, Config{Logger: slog.New(slog.NewJSONHandler(log, nil))}, q, s, m)
	events, dead := s.await(t, 10)
	waitEmpty(t, q)
	if !slices.Equal(events, want) || len(dead) > 0 {
		t.Errorf("the store was given %v and dead letters %v, want %v", events, dead, want)
	}
	if !strings.Contains(log.String(),
		`"level":"ERROR","msg":"store batch failed; the worker retries"`) {
		t.Errorf("the log does not say that the store rejects a batch:\n%s", log)
	}
	if m.persisted != 9 || m.dead != 1 {
		t.Errorf("counted %d persisted and %d dead letters, want 9 and 1", m.persisted, m.dead)
	}
}

// TestParts: the events of one request are stored in order, over several transactions if there are
// many. The record is released only after the last of them.
func TestParts(t *testing.T) {
	q, s, m := openQueue(t), newFaultyStore(), &counts{}
	var away atomic.Bool
	away.Store(true)
	s.fail = func(b *hookgate.Batch) error {
		for _, r := range b.Records {
			if r.Sequence == 8 && away.Load() {
				return errors.New("the store is away")
			}
		}
		return nil
	}
	d := newRequest("a", 0)
	d.RequestID = d.RequestID.WithoutPart()
	var parts []hookgate.Part
	var want []string
	for n := range 10 {
		d.Body = fmt.Appendf(d.Body, "<%d>", n)
		parts = append(parts, hookgate.Part{MessageID: fmt.Sprint("m", n), EventType: "t",
			OrderingKey: "k", Sequence: int64(n), Start: len(d.Body) - 3, End: len(d.Body)})
		want = append(want, fmt.Sprint("m", n))
	}
	d.SetParts("several", parts)
	appendAll(t, q, d)
	start(t, Config{MaxRecords: 4, BackoffMin: time.Millisecond, BackoffMax: time.Millisecond}, q, s,
		m)
	s.await(t, 8)
	if stats, err := q.Stats(t.Context()); err != nil || stats.Depth != 1 {
		t.Errorf("with 8 of 10 events stored the queue holds %d records (error %v), want 1", stats.Depth,
			err)
	}
	away.Store(false)
	events, dead := s.await(t, 10)
	waitEmpty(t, q)
	if !slices.Equal(events, want) || len(dead) > 0 {
		t.Errorf("stored %v, dead %v; want %v", events, dead, want)
	}
}

// TestFenced: a worker whose partition was taken over stores nothing under its old epoch. It opens
// a new reader and then stores everything once.
func TestFenced(t *testing.T) {
	q, s := openQueue(t), newFaultyStore()
	usurped := false
	s.fail = func(b *hookgate.Batch) error {
		if usurped {
			return nil
		}
		usurped = true
		s.epochs[b.Records[0].Partition]++ // the caller holds s.mu
		return hookgate.ErrFenced
	}
	appendAll(t, q, newRequest("a", 0), newRequest("a", 1))
	m := &counts{}
	start(t, Config{}, q, s, m)
	events, _ := s.await(t, 2)
	waitEmpty(t, q)
	if m.fenced != 1 {
		t.Errorf("counted %d fenced batches, want 1", m.fenced)
	}
	if want := []string{"a-0", "a-1"}; !slices.Equal(events, want) {
		t.Errorf("stored %v, want %v", events, want)
	}
}

// TestStopDuringOutage: the workers stop although the store is away, and their records are still
// queued.
func TestStopDuringOutage(t *testing.T) {
	q, s := openQueue(t), newFaultyStore()
	tried := make(chan struct{})
	var once sync.Once
	s.fail = func(*hookgate.Batch) error {
		once.Do(func() { close(tried) })
		return errors.New("store is away")
	}
	appendAll(t, q, newRequest("a", 0))
	stop := start(t, Config{}, q, s, &counts{})
	<-tried
	stop()
	if st, _ := q.Stats(context.Background()); st.Depth != 1 {
		t.Fatalf("the queue holds %d records, want 1", st.Depth)
	}
	s.mu.Lock()
	s.fail = func(*hookgate.Batch) error { return nil }
	s.mu.Unlock()
	start(t, Config{}, q, s, &counts{})
	if events, _ := s.await(t, 1); events[0] != "a-0" {
		t.Errorf("stored %v", events)
	}
}

// scriptedReader returns records at set moments of a fake clock.
type scriptedReader struct {
	begin time.Time
	at    []time.Duration // when the n-th record is there
	next  int
}

func (c *scriptedReader) Next(ctx context.Context, _, _ int) ([]hookgate.Record, error) {
	if c.next == len(c.at) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	select {
	case <-time.After(time.Until(c.begin.Add(c.at[c.next]))):
		c.next++
		return []hookgate.Record{{Request: *newRequest("a", c.next)}}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
func (c *scriptedReader) Commit(context.Context, []hookgate.Offset) error { return nil }
func (c *scriptedReader) Close() error                                    { return nil }

// TestLinger: a batch has the records that come within the linger after its first one, and none
// that come later. A full batch does not wait. The clock is that of synctest.
func TestLinger(t *testing.T) {
	for _, test := range []struct {
		name string
		at   []time.Duration
		max  int
		want int
		took time.Duration
	}{
		{"alone", []time.Duration{time.Second}, 10, 1, time.Second + 5*time.Millisecond},
		{"within", []time.Duration{0, 2 * time.Millisecond, 4 * time.Millisecond, 6 * time.Millisecond},
			10, 3, 5 * time.Millisecond},
		{"full", []time.Duration{0, time.Millisecond, 2 * time.Millisecond}, 2, 2, time.Millisecond},
		{"full between looks", []time.Duration{0, 1500 * time.Microsecond, 2 * time.Millisecond}, 2, 2,
			1500 * time.Microsecond},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := &scriptedReader{begin: time.Now(), at: test.at}
				w := &worker{Config: Config{Linger: 5 * time.Millisecond}.withDefaults(),
					size: newSizer(test.max, time.Second)}
				records, err := w.fetchBatch(t.Context(), c)
				if took := time.Since(c.begin); err != nil || len(records) != test.want || took != test.took {
					t.Errorf("fetched %d records in %v (%v), want %d in %v", len(records), took, err, test.want,
						test.took)
				}
			})
		})
	}
}

// TestScaler: depth and lag add workers one by one up to the maximum. Only a long calm removes
// them, one by one down to the minimum.
func TestScaler(t *testing.T) {
	now := time.Now()
	s := &scaler{min: 2, max: 5, batch: 100, active: 2}
	busy := hookgate.QueueStats{Depth: 10_000}
	late := hookgate.QueueStats{Depth: 1, OldestEnqueuedAt: now.Add(-2 * lag)}
	for i, stats := range []hookgate.QueueStats{busy, late, busy, busy, late} {
		if got, want := s.decide(stats, now), min(5, 3+i); got != want {
			t.Fatalf("look %d wants %d workers, want %d", i, got, want)
		}
	}
	calm := hookgate.QueueStats{Depth: 10, OldestEnqueuedAt: now.Add(-lag / 2)}
	for want := 4; want >= 2; want-- {
		for i := range calmDecisions {
			if got := s.decide(calm, now); (got == want) != (i == calmDecisions-1) {
				t.Fatalf("after %d calm looks there are %d workers", i+1, got)
			}
		}
	}
	for range 2 * calmDecisions {
		if got := s.decide(calm, now); got != 2 {
			t.Fatalf("%d workers, fewer than the least", got)
		}
	}
	s.active = 4
	for i := range 4 * calmDecisions {
		stats := calm
		if i%(calmDecisions-1) == 0 {
			stats.Depth = 200 // now and then there is something to do
		}
		if got := s.decide(stats, now); got != 4 {
			t.Fatalf("a broken calm sent a worker home")
		}
	}
}

// TestCrewGrows: while the store is away, the lag and the number of workers grow. When the store is
// back, everything is stored in order.
func TestCrewGrows(t *testing.T) {
	q, s, m := openQueue(t), newFaultyStore(), &counts{}
	var away sync.Mutex
	away.Lock()
	s.fail = func(*hookgate.Batch) error {
		if away.TryLock() {
			away.Unlock()
			return nil
		}
		return errors.New("store is away")
	}
	for n := range 20 {
		appendAll(t, q, newRequest("a", n), newRequest("b", n), newRequest("c", n))
	}
	stop := start(t, Config{Workers: 3, MaxRecords: 5}, q, s, m)
	for end := time.Now().Add(3 * time.Minute); ; time.Sleep(10 * time.Millisecond) {
		m.mu.Lock()
		workers := slices.Clone(m.workers)
		m.mu.Unlock()
		if slices.Contains(workers, 3) {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("the number of workers went %v, want up to 3", workers)
		}
	}
	away.Unlock()
	events, _ := s.await(t, 60)
	waitEmpty(t, q)
	stop()
	next := map[string]int{}
	for _, id := range events {
		key, n, _ := strings.Cut(id, "-")
		if n != fmt.Sprint(next[key]) {
			t.Fatalf("%s is stored where %s-%d is due", id, key, next[key])
		}
		next[key]++
	}
	if want := []int{1, 2, 3, 0}; !slices.Equal(m.workers, want) {
		t.Errorf("the number of workers went %v, want %v", m.workers, want)
	}
}

// TestSizer: slow batches halve the size down to the minimum; fast full ones let it grow to the
// maximum.
func TestSizer(t *testing.T) {
	s := newSizer(500, 100*time.Millisecond)
	for range 10 {
		s.applied(s.records(), time.Second)
	}
	if s.records() != leastBatch {
		t.Errorf("after slow batches the size is %d, want %d", s.records(), leastBatch)
	}
	s.applied(1, time.Millisecond)
	if s.records() != leastBatch {
		t.Errorf("a batch that was not full let the size grow to %d", s.records())
	}
	for range 100 {
		s.applied(s.records(), time.Millisecond)
	}
	if s.records() != 500 {
		t.Errorf("after quick batches the size is %d, want 500", s.records())
	}
	small := newSizer(4, time.Millisecond)
	small.applied(4, time.Second)
	if small.records() > 4 || small.records() < 1 {
		t.Errorf("a size of at most 4 became %d", small.records())
	}
}

// TestMaxRate: all workers together store at most MaxRate records per second, in batches of at most
// that many. They stop while they wait, and their records are still queued. The clock is fake.
func TestMaxRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var times []time.Time
		s := newFaultyStore()
		s.fail = func(b *hookgate.Batch) error {
			if len(b.Records) > 20 {
				t.Errorf("a batch has %d records", len(b.Records))
			}
			for range b.Records {
				times = append(times, time.Now())
			}
			return nil
		}
		q := &endlessQueue{}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			Run(ctx, Config{Workers: 3, MinWorkers: 3, MaxRate: 20}, q, s, &counts{})
		}()
		time.Sleep(10 * time.Second)
		synctest.Wait()
		s.mu.Lock()
		n := len(times)
		for i := 40; i < n; i++ {
			if apart := times[i].Sub(times[i-40]); apart < time.Second {
				t.Errorf("40 records are stored within %v", apart)
			}
		}
		s.mu.Unlock()
		if n < 180 || n > 220 {
			t.Errorf("%d records are stored in ten seconds at 20 a second", n)
		}
		end := time.Now()
		cancel()
		<-done
		if took := time.Since(end); took > 0 {
			t.Errorf("the workers take %v to end", took)
		}
	})
}

// endlessQueue always has another record.
type endlessQueue struct{ opened atomic.Int64 }

func (q *endlessQueue) Append(context.Context, *hookgate.Request) (hookgate.Receipt, error) {
	return hookgate.Receipt{}, hookgate.ErrFull
}
func (q *endlessQueue) Stats(context.Context) (hookgate.QueueStats, error) {
	return hookgate.QueueStats{}, nil
}
func (q *endlessQueue) OpenReader(context.Context) (hookgate.PartitionReader, error) {
	return &endlessReader{partition: int(q.opened.Add(1))}, nil
}

func (q *endlessQueue) Close() error { return nil }

type endlessReader struct {
	partition int
	n         uint64
}

func (c *endlessReader) Next(ctx context.Context, max, _ int) (records []hookgate.Record,
	err error) {
	for range max {
		c.n++
		records = append(records, hookgate.Record{
			Request: *newRequest("k", int(c.n)), Partition: c.partition,
			Position: hookgate.Position{Minor: c.n}, Lease: 1,
		})
	}
	return records, ctx.Err()
}
func (c *endlessReader) Commit(context.Context, []hookgate.Offset) error { return nil }
func (c *endlessReader) Close() error                                    { return nil }

// TestSequencesAreCounted: a late duplicate that a worker stores is no inversion.
func TestSequencesAreCounted(t *testing.T) {
	q, s, m := openQueue(t), newFaultyStore(), &counts{}
	for _, n := range []int{1, 2, 5, 4, 2, 6} {
		appendAll(t, q, newRequest("a", n))
	}
	start(t, Config{}, q, s, m)
	s.await(t, 6)
	waitEmpty(t, q)
	if m.gaps != 1 || m.inversions != 1 || m.duplicate != 1 {
		t.Errorf("counted %d gaps, %d inversions and %d duplicates, want one of each", m.gaps,
			m.inversions, m.duplicate)
	}
}

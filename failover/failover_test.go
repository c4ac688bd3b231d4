package failover

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/internal/modeltest"
	"github.com/hookgate/hookgate/queue/queuetest"
	"github.com/hookgate/hookgate/queue/sqlite"
)

func TestMain(m *testing.M) {
	modeltest.Checks(10)
	goleak.VerifyTestMain(m)
}

// The ways in which a primary can be away.
const (
	well    int32 = iota
	refuses       // an error at once, nothing done
	hangs         // nothing until the context ends or, for an append, its own time is up
	lies          // done, but reported as failed
)

const (
	// waitFor is how long a test waits for what must happen. It only ends tests that fail.
	waitFor = 3 * time.Minute
	// impatient is a time-out that even a primary that is well may miss; the outcome must not depend on that.
	impatient = 20 * time.Millisecond
)

var errAway = errors.New("primary is away")

// fickle is a primary that can be made to fail.
type fickle struct {
	hookgate.BufferedQueue
	mood atomic.Int32
}

func (f *fickle) Append(ctx context.Context, d *hookgate.Delivery) (hookgate.Receipt, error) {
	switch f.mood.Load() {
	case refuses:
		return hookgate.Receipt{}, errAway
	case hangs:
		select {
		case <-ctx.Done():
			return hookgate.Receipt{}, ctx.Err()
		case <-time.After(impatient):
			return hookgate.Receipt{}, errAway
		}
	case lies:
		if _, err := f.BufferedQueue.Append(context.WithoutCancel(ctx), d); err != nil {
			return hookgate.Receipt{}, err
		}
		return hookgate.Receipt{}, errAway
	}
	return f.BufferedQueue.Append(ctx, d)
}

func (f *fickle) Stats(ctx context.Context) (hookgate.QueueStats, error) {
	switch f.mood.Load() {
	case refuses:
		return hookgate.QueueStats{}, errAway
	case hangs:
		<-ctx.Done()
		return hookgate.QueueStats{}, ctx.Err()
	}
	return f.BufferedQueue.Stats(ctx)
}

// pair is a failover queue with what it was made of.
type pair struct {
	*Queue
	fickle *fickle
	spool  *sqlite.Queue
	aside  []hookgate.Record // what was quarantined
	close  func() error
}

func openPair(t queuetest.TB, dir string, o sqlite.Options, spoolHighWater int64, timeout time.Duration) *pair {
	t.Helper()
	open := func(name string, o sqlite.Options) *sqlite.Queue {
		q, err := sqlite.Open(context.Background(), filepath.Join(dir, name), o)
		if err != nil {
			t.Fatalf("%v", err)
		}
		return q
	}
	inner := open("primary.db", o)
	p := &pair{fickle: &fickle{BufferedQueue: inner}}
	p.spool = open("spool.db", sqlite.Options{Partitions: o.Partitions, HighWater: spoolHighWater, KeepDuplicates: true})
	q, err := New(context.Background(), p.fickle, p.spool, Options{
		Timeout: timeout, RetryMin: time.Millisecond, RetryMax: 5 * time.Millisecond,
		Quarantine: func(r hookgate.Record) error { p.aside = append(p.aside, r); return nil },
	})
	if err != nil {
		t.Fatalf("%v", err)
	}
	p.Queue = q
	var once sync.Once
	var closeErr error
	p.close = func() error {
		once.Do(func() { closeErr = errors.Join(q.Close(), inner.Close(), p.spool.Close()) })
		return closeErr
	}
	return p
}

func newPair(t *testing.T, spoolHighWater int64, timeout time.Duration) *pair {
	t.Helper()
	p := openPair(t, t.TempDir(), sqlite.Options{Partitions: 4}, spoolHighWater, timeout)
	t.Cleanup(func() { p.close() })
	return p
}

// TestConformance: with a primary that is well, the suite of the port holds.
func TestConformance(t *testing.T) {
	root := t.TempDir()
	queuetest.Run(t, queuetest.Backend{
		NewPlace: func(t queuetest.TB) string {
			dir, err := os.MkdirTemp(root, "")
			if err != nil {
				t.Fatalf("%v", err)
			}
			return dir
		},
		Open: func(t queuetest.TB, place string, o queuetest.Options) queuetest.Instance {
			p := openPair(t, place, sqlite.Options{Partitions: o.Partitions, HighWater: o.HighWater, ClaimTTL: o.ClaimTTL}, 0, waitFor)
			// What Append has answered is on disk, so that an orderly end loses as little as a crash.
			return queuetest.Instance{BufferedQueue: p, Close: p.close, Crash: func() { p.close() }}
		},
	})
}

func delivery(key string, n int) *hookgate.Delivery {
	now := time.Now().UTC().Truncate(time.Microsecond)
	return &hookgate.Delivery{
		RequestID:   hookgate.NewRequestID(now),
		Identity:    hookgate.Identity{Source: "default", EventType: "t", MessageID: fmt.Sprintf("%s-%d", key, n)},
		OrderingKey: key, Sequence: int64(n), Body: fmt.Appendf(nil, `{"n":%d}`, n), ReceivedAt: now,
	}
}

func mustAppend(t *testing.T, q hookgate.Queue, d *hookgate.Delivery) hookgate.Receipt {
	t.Helper()
	r, err := q.Append(t.Context(), d)
	if err != nil {
		t.Fatalf("append %s: %v", d.Identity, err)
	}
	return r
}

func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for end := time.Now().Add(waitFor); !condition(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", waitFor, what)
		}
	}
}

func (p *pair) isDirect() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.state == direct
}

// all reads n records from the primary.
func (p *pair) all(t *testing.T, n int) (records []hookgate.Record) {
	t.Helper()
	c, err := p.Consume(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), waitFor)
	defer cancel()
	for len(records) < n {
		more, err := c.Next(ctx, n-len(records), 1<<30)
		if err != nil {
			t.Fatalf("after %d of %d records: %v", len(records), n, err)
		}
		records = append(records, more...)
	}
	return records
}

// TestOutages: senders that wait for each answer go on while the primary fails in all its ways and comes back, again and
// again. Every delivery gets its receipt, and in the end the primary has each once and each key in order.
func TestOutages(t *testing.T) {
	p := newPair(t, 0, impatient)
	const senders, each = 8, 400
	var sending sync.WaitGroup
	for s := range senders {
		sending.Go(func() {
			for n := range each {
				if _, err := p.Append(t.Context(), delivery(string(rune('a'+s)), n)); err != nil {
					t.Errorf("sender %d, delivery %d: %v", s, n, err)
					return
				}
			}
		})
	}
	sent := make(chan struct{})
	go func() { sending.Wait(); close(sent) }()
	moods, changes := []int32{refuses, well, hangs, well, lies, well}, 0
	for done := false; !done; changes++ {
		p.fickle.mood.Store(moods[changes%len(moods)])
		select {
		case <-sent:
			done = true
		case <-time.After(time.Duration(5+rand.IntN(40)) * time.Millisecond):
		}
	}
	p.fickle.mood.Store(well)
	eventually(t, "the queue is direct again", p.isDirect)
	next := map[string]int64{}
	for _, r := range p.all(t, senders*each) {
		if !r.DuplicateOf.IsZero() || r.Sequence != next[r.OrderingKey] || len(r.Body) == 0 {
			t.Fatalf("%s (duplicate of %s, %d bytes) came where %d was due", r.MessageID, r.DuplicateOf, len(r.Body), next[r.OrderingKey])
		}
		next[r.OrderingKey]++
	}
	if s, err := p.Stats(t.Context()); err != nil || s.Depth != senders*each || s.Spooled != 0 || s.Degraded != nil {
		t.Errorf("after the outages the stats are %+v (error %v)", s, err)
	}
	t.Logf("the primary changed its mood %d times", changes)
}

// TestReplaysAreSpooled: a replay goes through the spool like any delivery, and the primary, when it is back, takes it although the
// identity is claimed; one that the primary had taken after all is there once.
func TestReplaysAreSpooled(t *testing.T) {
	for name, mood := range map[string]int32{"refused": refuses, "taken and reported failed": lies} {
		t.Run(name, func(t *testing.T) {
			p := newPair(t, 0, waitFor)
			dead := delivery("k", 1)
			mustAppend(t, p, dead)
			p.fickle.mood.Store(mood)
			replay := *dead
			replay.ReplayedAt = dead.ReceivedAt.Add(time.Hour)
			replay.RequestID, replay.ReplayOf = hookgate.NewRequestID(replay.ReplayedAt), dead.RequestID
			want := replay
			if receipt := mustAppend(t, p, &replay); receipt.Duplicate() {
				t.Errorf("the replay is a duplicate of %s", receipt.DuplicateOf)
			}
			p.fickle.mood.Store(well)
			eventually(t, "the queue is direct again", p.isDirect)
			mustAppend(t, p, delivery("k", 2))
			records := p.all(t, 3)
			got := records[1].Delivery
			if got.SpooledAt.IsZero() == (mood == refuses) {
				t.Errorf("spooled at %s", got.SpooledAt)
			}
			got.SpooledAt = time.Time{}
			if !reflect.DeepEqual(got, want) || !records[1].DuplicateOf.IsZero() || records[2].MessageID != "k-2" {
				t.Errorf("behind the first came %+v (duplicate of %s), and then %s, want %+v", got, records[1].DuplicateOf, records[2].MessageID, want)
			}
		})
	}
}

// TestBackUnderLoad: a stream that never pauses does not keep the queue from going back to its
// primary. The time-out leaves room for a slow disk: a primary that misses each of them is away.
func TestBackUnderLoad(t *testing.T) {
	p := newPair(t, 0, 500*time.Millisecond)
	p.fickle.mood.Store(refuses)
	stop := make(chan struct{})
	var sending sync.WaitGroup
	for s := range 4 {
		sending.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := p.Append(context.Background(), delivery(string(rune('a'+s)), n)); err != nil {
					t.Errorf("append: %v", err)
					return
				}
			}
		})
	}
	eventually(t, "something is spooled", func() bool { s, err := p.Stats(context.Background()); return err == nil && s.Spooled > 100 })
	p.fickle.mood.Store(well)
	eventually(t, "the queue is direct again", p.isDirect)
	close(stop)
	sending.Wait()
}

// TestStages: what went through the spool says when, what did not says nothing; the caller's delivery is left alone.
func TestStages(t *testing.T) {
	p := newPair(t, 0, waitFor)
	mustAppend(t, p, delivery("k", 0))
	p.fickle.mood.Store(refuses)
	d := delivery("k", 1)
	mustAppend(t, p, d)
	if !d.SpooledAt.IsZero() {
		t.Error("the caller's delivery was changed")
	}
	p.fickle.mood.Store(well)
	eventually(t, "the queue is direct again", p.isDirect)
	mustAppend(t, p, delivery("k", 2))
	for i, r := range p.all(t, 3) {
		if r.SpooledAt.IsZero() == (i == 1) || i == 1 && r.SpooledAt.Before(r.ReceivedAt) {
			t.Errorf("record %d was spooled at %v", i, r.SpooledAt)
		}
	}
}

// TestDuplicatesAreFoundOnDraining: a repetition that was spooled is recognised by the primary, whether the first came
// before the outage or in it.
func TestDuplicatesAreFoundOnDraining(t *testing.T) {
	p := newPair(t, 0, waitFor)
	before := delivery("k", 0)
	mustAppend(t, p, before)
	p.fickle.mood.Store(refuses)
	during := delivery("k", 1)
	mustAppend(t, p, during)
	mustAppend(t, p, delivery("k", 0))
	mustAppend(t, p, delivery("k", 1))
	p.fickle.mood.Store(well)
	eventually(t, "the queue is direct again", p.isDirect)
	records := p.all(t, 4)
	for i, want := range []hookgate.RequestID{{}, {}, before.RequestID, during.RequestID} {
		if records[i].DuplicateOf != want {
			t.Errorf("record %d is a duplicate of %s, want %s", i, records[i].DuplicateOf, want)
		}
	}
}

// TestRestart: what is in the spool when the process ends is drained after the next start, before anything new.
func TestRestart(t *testing.T) {
	dir := t.TempDir()
	o := sqlite.Options{Partitions: 1}
	p := openPair(t, dir, o, 0, waitFor)
	p.fickle.mood.Store(refuses)
	for n := range 10 {
		mustAppend(t, p, delivery("k", n))
	}
	if err := p.close(); err != nil {
		t.Fatal(err)
	}
	p = openPair(t, dir, o, 0, waitFor)
	defer p.close()
	mustAppend(t, p, delivery("k", 10))
	for i, r := range p.all(t, 11) {
		if r.Sequence != int64(i) {
			t.Fatalf("sequence %d came where %d was due", r.Sequence, i)
		}
	}
}

// TestFull: beyond the bound of the spool, and when the primary is full itself, the caller is told so and nothing is kept.
func TestFull(t *testing.T) {
	p := newPair(t, 3, waitFor)
	p.fickle.mood.Store(refuses)
	for n := range 3 {
		mustAppend(t, p, delivery("k", n))
	}
	if _, err := p.Append(t.Context(), delivery("k", 3)); !errors.Is(err, hookgate.ErrFull) {
		t.Errorf("append to a full spool got %v, want ErrFull", err)
	}
	s, err := p.Stats(t.Context())
	if err != nil || s.Depth != 3 || s.Spooled != 3 || !errors.Is(s.Err, hookgate.ErrFull) || !strings.Contains(fmt.Sprint(s.Degraded), "primary is away") {
		t.Errorf("stats %+v (error %v)", s, err)
	}
	p.fickle.mood.Store(well)
	eventually(t, "the queue is direct again", p.isDirect)
	mustAppend(t, p, delivery("k", 3))

	full := openPair(t, t.TempDir(), sqlite.Options{Partitions: 1, HighWater: 1}, 0, waitFor)
	defer full.close()
	mustAppend(t, full, delivery("k", 0))
	if _, err := full.Append(t.Context(), delivery("k", 1)); !errors.Is(err, hookgate.ErrFull) || !full.isDirect() {
		t.Errorf("append to a full primary got %v, direct %v; want ErrFull and no spooling", err, full.isDirect())
	}
}

// TestAwayAndUnused: a primary that is away although nothing has been sent yet is told of, and is no reason to send nothing.
func TestAwayAndUnused(t *testing.T) {
	p := newPair(t, 0, impatient)
	for _, mood := range []int32{refuses, hangs} {
		p.fickle.mood.Store(mood)
		if s, err := p.Stats(t.Context()); err != nil || s.Err != nil || s.Degraded == nil || s.HighWater == 0 {
			t.Errorf("while the primary is away the stats are %+v (error %v)", s, err)
		}
	}
	p.Timeout = waitFor // longer than the caller has time
	soon, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if s, err := p.Stats(soon); err != nil || s.Degraded == nil {
		t.Errorf("to a caller with less time than an operation may take the stats are %+v (error %v)", s, err)
	}
	p.fickle.mood.Store(well)
	eventually(t, "the stats are well", func() bool { s, err := p.Stats(t.Context()); return err == nil && s.Degraded == nil })
}

// TestOwnTimeIsUp: a caller that gives up is no reason to leave the primary.
func TestOwnTimeIsUp(t *testing.T) {
	p := newPair(t, 0, waitFor)
	p.fickle.mood.Store(hangs)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.Append(ctx, delivery("k", 0)); !errors.Is(err, context.Canceled) || !p.isDirect() {
		t.Errorf("append got %v, direct %v", err, p.isDirect())
	}
	p.fickle.mood.Store(well)
}

// TestCorruptEntry: what cannot be decoded is put aside and holds up nothing.
func TestCorruptEntry(t *testing.T) {
	c := &listConsumer{records: []hookgate.Record{
		{Delivery: *delivery("k", 0)}, {Delivery: hookgate.Delivery{Body: []byte("raw")}, Corrupt: errors.New("checksum")}, {Delivery: *delivery("k", 2)},
	}}
	p := newPair(t, 0, waitFor)
	if n, err := p.moveBatch(t.Context(), c); n != 3 || err != nil {
		t.Fatalf("moved %d records, error %v", n, err)
	}
	if len(p.aside) != 1 || string(p.aside[0].Body) != "raw" {
		t.Errorf("put aside are %+v", p.aside)
	}
	if records := p.all(t, 2); records[0].MessageID != "k-0" || records[1].MessageID != "k-2" {
		t.Errorf("moved are %s and %s", records[0].MessageID, records[1].MessageID)
	}
	if c.released != 3 {
		t.Errorf("%d records are released, want 3", c.released)
	}
}

// listConsumer hands out a list of one partition at once.
type listConsumer struct {
	records  []hookgate.Record
	released int
}

func (c *listConsumer) Next(context.Context, int, int) ([]hookgate.Record, error) {
	return c.records, nil
}
func (c *listConsumer) Commit(context.Context, []hookgate.Offset) error {
	c.released = len(c.records)
	return nil
}
func (c *listConsumer) Close() error { return nil }

// Consume consumes the primary, whose records are those of the pair.
func (p *pair) Consume(ctx context.Context) (hookgate.Consumer, error) { return p.fickle.Consume(ctx) }

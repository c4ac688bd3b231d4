package spool

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/internal/modeltest"
	"github.com/hookgate/hookgate/internal/sqlitetest"
	"github.com/hookgate/hookgate/queue/direct"
	"github.com/hookgate/hookgate/queue/queuetest"
	"github.com/hookgate/hookgate/queue/spool/spoolfile"
	"github.com/hookgate/hookgate/store/sqlite"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		child(dir)
	}
	modeltest.Checks(4)
	goleak.VerifyTestMain(m)
}

// The ways in which a store can fail.
const (
	well     int32 = iota
	refuses        // an error at once, nothing done
	hangs          // nothing until the context ends
	lies           // done, but reported as failed
	late           // done, but only when nobody waits any more
	sluggish       // done, after a while
)

const (
	// waitFor bounds the wait for something that must happen. It only ends tests that fail.
	waitFor = 3 * time.Minute
	// impatient is a time-out that even a store that works may exceed. The outcome must not depend on
	// that.
	impatient = 20 * time.Millisecond
)

var errAway = errors.New("store is away")

// fickle is the embedded store, which fails on demand.
type fickle struct {
	*sqlite.Store
	mood atomic.Int32
	// reject, if set, is called for each record; its error rejects the batch.
	reject atomic.Pointer[func(*hookgate.Record) error]
	// largest is the number of records of the largest batch.
	largest atomic.Int64
}

func (f *fickle) Apply(ctx context.Context, b *hookgate.Batch) (hookgate.Outcome, error) {
	f.largest.Store(max(f.largest.Load(), int64(len(b.Records))))
	if reject := f.reject.Load(); reject != nil {
		for i := range b.Records {
			if err := (*reject)(&b.Records[i]); err != nil {
				return hookgate.Outcome{}, fmt.Errorf("%w: %w", hookgate.ErrRejected, err)
			}
		}
	}
	switch f.mood.Load() {
	case refuses:
		return hookgate.Outcome{}, errAway
	case hangs:
		<-ctx.Done()
		return hookgate.Outcome{}, ctx.Err()
	case lies:
		if _, err := f.Store.Apply(context.WithoutCancel(ctx), b); err != nil {
			return hookgate.Outcome{}, err
		}
		return hookgate.Outcome{}, errAway
	case late:
		<-ctx.Done()
		if _, err := f.Store.Apply(context.WithoutCancel(ctx), b); err != nil {
			return hookgate.Outcome{}, err
		}
		return hookgate.Outcome{}, ctx.Err()
	case sluggish:
		time.Sleep(time.Duration(rand.IntN(int(2 * impatient))))
	}
	return f.Store.Apply(ctx, b)
}

// oneByOne hides that a queue is a BulkAppender, so that records move one by one, as to Redis.
type oneByOne struct {
	Appender
}

// pair is a failover queue with its parts.
type pair struct {
	*Queue
	store   *fickle
	primary *direct.Queue
	spool   *spoolfile.File
	paused  atomic.Bool
	free    atomic.Int64

	mu    sync.Mutex
	aside []hookgate.Record // quarantined records, guarded by mu

	close func() error
}

// setup describes a pair. Zero fields: time-outs that a store that works never exceeds, and the
// default bound of the spool.
type setup struct {
	oneByOne  bool
	highWater int64
	timeout   time.Duration
	// spoolFile is the name of the spool's file; default spool.db.
	spoolFile string
	leftover  bool
	reject    bool
	emptied   func()
}

// emptyStore is a store without events.
var emptyStore = sqlitetest.Template{Create: func(path string) error {
	s, err := sqlite.Open(context.Background(), path)
	if err != nil {
		return err
	}
	return s.Close()
}}

func openPair(t queuetest.TB, dir string, s setup) *pair {
	t.Helper()
	p, err := tryOpen(dir, s)
	if err != nil {
		t.Fatalf("%v", err)
	}
	return p
}

func tryOpen(dir string, s setup) (*pair, error) {
	ctx := context.Background()
	if s.timeout == 0 {
		s.timeout = waitFor
	}
	if s.spoolFile == "" {
		s.spoolFile = "spool.db"
	}
	path := filepath.Join(dir, "store.db")
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		if err := emptyStore.Copy(path); err != nil {
			return nil, err
		}
	}
	store, err := sqlite.Open(ctx, path)
	if err != nil {
		return nil, err
	}
	p := &pair{store: &fickle{Store: store}}
	p.free.Store(1 << 40)
	p.primary, err = direct.New(p.store, direct.Options{
		Partitions: 4, Timeout: s.timeout, MinFree: 1 << 20,
		Free: func() (int64, error) { return p.free.Load(), nil },
	})
	if err != nil {
		return nil, err
	}
	p.spool, err = spoolfile.Open(ctx, filepath.Join(dir, s.spoolFile),
		spoolfile.Options{HighWater: s.highWater})
	if err != nil {
		return nil, err
	}
	o := p.options(s)
	primary := Appender(p.primary)
	if s.oneByOne {
		primary = oneByOne{p.primary}
	}
	if p.Queue, err = New(ctx, primary, p.spool, o); err != nil {
		return nil, err
	}
	var once sync.Once
	var closeErr error
	p.close = func() error {
		once.Do(func() {
			closeErr = errors.Join(p.Close(), p.primary.Close(), p.spool.Close(), p.store.Close())
		})
		return closeErr
	}
	return p, nil
}

func (p *pair) options(s setup) Options {
	o := Options{
		Timeout: s.timeout, RetryMin: time.Millisecond, RetryMax: 5 * time.Millisecond,
		Paused: p.paused.Load,
		Quarantine: func(r hookgate.Record) error {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.aside = append(p.aside, r)
			return nil
		},
		Reject: s.reject, Emptied: s.emptied,
	}
	if s.leftover {
		o.Leftover = s.spoolFile
	}
	return o
}

func newPair(t *testing.T, s setup) *pair {
	t.Helper()
	p := openPair(t, t.TempDir(), s)
	t.Cleanup(func() { p.close() })
	return p
}

func newRequest(key string, n int) *hookgate.Request {
	now := time.Now().UTC().Truncate(time.Microsecond)
	return &hookgate.Request{
		RequestID: hookgate.NewRequestID(now),
		Identity: hookgate.Identity{Source: "default", EventType: "t", MessageID: fmt.Sprintf("%s-%d",
			key, n)},
		OrderingKey: key, Sequence: int64(n), Body: fmt.Appendf(nil, `{"n":%d}`, n), ReceivedAt: now,
	}
}

func mustAppend(t *testing.T, q hookgate.Queue, d *hookgate.Request) hookgate.Receipt {
	t.Helper()
	r, err := q.Append(t.Context(), d)
	if err != nil {
		t.Fatalf("append %s: %v", d.Identity, err)
	}
	return r
}

func mustStats(t *testing.T, q hookgate.Queue) hookgate.QueueStats {
	t.Helper()
	s, err := q.Stats(context.Background())
	if err != nil {
		t.Fatalf("stats: %v", err)
	}
	return s
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
	p.Queue.mu.Lock()
	defer p.Queue.mu.Unlock()
	return p.phase == phasePrimary
}

// events returns the stored events, oldest first.
func (f *fickle) events(t queuetest.TB) (all []hookgate.StoredEvent) {
	t.Helper()
	for e, err := range f.Events(context.Background(), hookgate.EventFilter{}) {
		if err != nil {
			t.Fatalf("read events: %v", err)
		}
		all = append(all, e)
	}
	return all
}

// mustHold checks that so many events of each key are stored, each once and in the order of their
// sequences.
func (f *fickle) mustHold(t queuetest.TB, want map[string]int) {
	t.Helper()
	next := map[string]int{}
	for _, e := range f.events(t) {
		if e.Sequence != int64(next[e.OrderingKey]) {
			t.Fatalf("%s is stored where %d was due", e.MessageID, next[e.OrderingKey])
		}
		next[e.OrderingKey]++
	}
	for key, n := range want {
		if next[key] != n {
			t.Fatalf("of %s there are %d events, want %d", key, next[key], n)
		}
	}
}

// stages returns the stages of a request.
func (f *fickle) stages(t *testing.T, id hookgate.RequestID) (stages []hookgate.Stage) {
	t.Helper()
	trail, err := f.Request(t.Context(), id)
	if err != nil {
		t.Fatalf("request %s: %v", id, err)
	}
	for _, e := range trail.Entries {
		stages = append(stages, e.Stage)
	}
	return stages
}

// bothWays runs a test with a primary that is a BulkAppender, and with one that is not.
func bothWays(t *testing.T, test func(t *testing.T, oneByOne bool)) {
	t.Run("in bulk", func(t *testing.T) { test(t, false) })
	t.Run("one by one", func(t *testing.T) { test(t, true) })
}

// TestConformance runs the suite of every queue with a primary that works.
func TestConformance(t *testing.T) {
	root := t.TempDir()
	queuetest.RunQueue(t, queuetest.QueueBackend{
		NewPlace: func(t queuetest.TB) string {
			dir, err := os.MkdirTemp(root, "")
			if err != nil {
				t.Fatalf("%v", err)
			}
			return dir
		},
		Open: func(t queuetest.TB, place string) queuetest.QueueInstance {
			p := openPair(t, place, setup{})
			return queuetest.QueueInstance{
				Queue: p, End: p.close,
				// Every acknowledged request is on disk, so a clean end loses as little as a crash.
				Crash: func() { p.close() },
				Kept:  func(t queuetest.TB, _ int) []hookgate.Record { return p.store.kept(t) },
			}
		},
	})
}

// kept returns everything that is stored as records: the events and then the duplicates.
func (f *fickle) kept(t queuetest.TB) (all []hookgate.Record) {
	t.Helper()
	ids := map[string]bool{}
	events := f.events(t)
	for _, e := range events {
		body, err := f.Body(context.Background(), e.ID)
		if err != nil {
			t.Fatalf("read body of event %s: %v", e.ID, err)
		}
		all = append(all, hookgate.Record{Request: hookgate.Request{
			RequestID: e.RequestID, Identity: e.Identity, OrderingKey: e.OrderingKey, Sequence: e.Sequence,
			Headers: e.Headers, Body: body, RemoteAddr: e.RemoteAddr, ReceivedAt: e.ReceivedAt,
		}})
	}
	for _, e := range events {
		if ids[e.MessageID] {
			continue
		}
		ids[e.MessageID] = true
		trails, err := f.Trace(context.Background(), e.MessageID, hookgate.RequestID{}, 10_000)
		if err != nil {
			t.Fatalf("trace %s: %v", e.MessageID, err)
		}
		for _, trail := range trails {
			for _, entry := range trail.Entries {
				if first := firstRequest(t, entry); !first.IsZero() {
					r := hookgate.Record{DuplicateOf: first}
					r.RequestID, r.Identity = trail.RequestID, trail.Identity
					all = append(all, r)
				}
			}
		}
	}
	return all
}

// TestOutages: senders that wait for each answer go on while the store fails in all its ways and
// recovers, repeatedly. Every request gets its receipt. In the end each is stored once, and each
// key is in order.
func TestOutages(t *testing.T) {
	bothWays(t, func(t *testing.T, oneByOne bool) {
		p := newPair(t, setup{timeout: impatient, oneByOne: oneByOne})
		const senders, each = 8, 200
		var sending sync.WaitGroup
		want := map[string]int{}
		for s := range senders {
			key := string(rune('a' + s))
			want[key] = each
			sending.Go(func() {
				for n := range each {
					if _, err := p.Append(t.Context(), newRequest(key, n)); err != nil {
						t.Errorf("sender %d, request %d: %v", s, n, err)
						return
					}
				}
			})
		}
		sent := make(chan struct{})
		go func() { sending.Wait(); close(sent) }()
		moods, changes := []int32{refuses, well, hangs, well, lies, sluggish, late, well}, 0
		for done := false; !done; changes++ {
			p.store.mood.Store(moods[changes%len(moods)])
			select {
			case <-sent:
				done = true
			case <-time.After(time.Duration(5+rand.IntN(40)) * time.Millisecond):
			}
		}
		p.store.mood.Store(well)
		eventually(t, "the queue is direct again", p.isDirect)
		p.store.mustHold(t, want)
		if s := mustStats(t, p); s.Depth != 0 || s.Spooled != 0 || !s.SpoolingSince.IsZero() {
			t.Errorf("after the outages the stats are %+v", s)
		}
		if n := mustStats(t, p.spool).Depth; n != 0 {
			t.Errorf("%d records are forgotten in the spool", n)
		}
		t.Logf("the store changed its mood %d times", changes)
	})
}

// TestRetriesAreSpooled: a retry is spooled like any request. One that the primary had stored after
// all is stored once.
func TestRetriesAreSpooled(t *testing.T) {
	for name, mood := range map[string]int32{"refused": refuses, "stored and reported failed": lies} {
		t.Run(name, func(t *testing.T) {
			p := newPair(t, setup{})
			dead := newRequest("k", 0)
			p.store.mood.Store(mood)
			retry := *dead
			retry.RetriedAt = dead.ReceivedAt.Add(time.Hour)
			retry.RequestID, retry.RetryOf = hookgate.NewRequestID(retry.RetriedAt), dead.RequestID
			mustAppend(t, p, &retry)
			p.store.mood.Store(well)
			eventually(t, "the queue is direct again", p.isDirect)
			mustAppend(t, p, newRequest("k", 1))
			p.store.mustHold(t, map[string]int{"k": 2})
			stages := p.store.stages(t, retry.RequestID)
			if !slices.Contains(stages, hookgate.StageReplayed) ||
				slices.Contains(stages, hookgate.StageSpooled) != (mood == refuses) {
				t.Errorf("the stages of the retry are %v", stages)
			}
		})
	}
}

// TestBackUnderLoad: the queue returns to its primary although appends never pause. The time-out
// leaves room for a slow disk.
func TestBackUnderLoad(t *testing.T) {
	bothWays(t, func(t *testing.T, oneByOne bool) {
		p := newPair(t, setup{timeout: 500 * time.Millisecond, oneByOne: oneByOne})
		p.store.mood.Store(refuses)
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
					if _, err := p.Append(context.Background(), newRequest(string(rune('a'+s)), n)); err != nil {
						t.Errorf("append: %v", err)
						return
					}
				}
			})
		}
		eventually(t, "something is spooled", func() bool { return mustStats(t, p).Spooled > 100 })
		p.store.mood.Store(well)
		eventually(t, "the queue is direct again", p.isDirect)
		close(stop)
		sending.Wait()
	})
}

// TestStages: the lineage of a spooled request says so, that of others does not. The caller's
// request does not change.
func TestStages(t *testing.T) {
	p := newPair(t, setup{})
	before, during, after := newRequest("k", 0), newRequest("k", 1), newRequest("k", 2)
	mustAppend(t, p, before)
	p.store.mood.Store(refuses)
	mustAppend(t, p, during)
	if !during.SpooledAt.IsZero() {
		t.Error("the caller's request was changed")
	}
	p.store.mood.Store(well)
	eventually(t, "the queue is direct again", p.isDirect)
	mustAppend(t, p, after)
	p.store.mustHold(t, map[string]int{"k": 3})
	for _, d := range []*hookgate.Request{before, during, after} {
		if stages := p.store.stages(t, d.RequestID); slices.Contains(stages,
			hookgate.StageSpooled) != (d == during) {
			t.Errorf("the stages of %s are %v", d.MessageID, stages)
		}
	}
}

// TestDuplicatesAreFoundOnDraining: a spooled repetition is recognised when it is stored, whether
// its first request came before the outage or during it.
func TestDuplicatesAreFoundOnDraining(t *testing.T) {
	bothWays(t, func(t *testing.T, oneByOne bool) {
		p := newPair(t, setup{oneByOne: oneByOne})
		firsts := []*hookgate.Request{newRequest("k", 0), newRequest("k", 1)}
		again := []*hookgate.Request{newRequest("k", 0), newRequest("k", 1)}
		mustAppend(t, p, firsts[0])
		p.store.mood.Store(refuses)
		for _, d := range []*hookgate.Request{firsts[1], again[0], again[1]} {
			if r := mustAppend(t, p, d); r.Duplicate() {
				t.Errorf("the spool found a duplicate of %s", r.DuplicateOf)
			}
		}
		p.store.mood.Store(well)
		eventually(t, "the queue is direct again", p.isDirect)
		// A duplicate that another queue has found has no body and needs no first event.
		known, of := newRequest("z", 0), hookgate.NewRequestID(time.Now())
		p.store.mood.Store(refuses)
		mustAppend(t, p, newRequest("k", 2))
		if _, err := p.AppendDuplicate(t.Context(), known, of); err != nil {
			t.Fatal(err)
		}
		p.store.mood.Store(well)
		eventually(t, "the queue is direct again", p.isDirect)
		p.store.mustHold(t, map[string]int{"k": 3, "z": 0})
		if stages := p.store.stages(t, known.RequestID); !slices.Contains(stages,
			hookgate.StageDuplicate) {
			t.Errorf("the stages of a duplicate are %v", stages)
		}
		found := map[hookgate.RequestID]hookgate.RequestID{}
		for _, r := range p.store.kept(t) {
			found[r.RequestID] = r.DuplicateOf
		}
		for i, d := range again {
			if found[d.RequestID] != firsts[i].RequestID || !found[firsts[i].RequestID].IsZero() {
				t.Errorf("repetition %d is a duplicate of %s, want %s", i, found[d.RequestID],
					firsts[i].RequestID)
			}
		}
	})
}

// TestRestart: records in the spool at the end of the process are drained after the next start,
// before anything new.
func TestRestart(t *testing.T) {
	dir := t.TempDir()
	p := openPair(t, dir, setup{})
	p.store.mood.Store(refuses)
	for n := range 10 {
		mustAppend(t, p, newRequest("k", n))
	}
	if err := p.close(); err != nil {
		t.Fatal(err)
	}
	p = openPair(t, dir, setup{})
	defer p.close()
	mustAppend(t, p, newRequest("k", 10))
	eventually(t, "the queue is direct", p.isDirect)
	p.store.mustHold(t, map[string]int{"k": 11})
}

// TestFull: when the spool is at its bound, or the primary's disk is full, the caller gets ErrFull
// and nothing is kept. A full disk does not make the queue spool onto it.
func TestFull(t *testing.T) {
	p := newPair(t, setup{highWater: 3})
	p.store.mood.Store(refuses)
	for n := range 3 {
		mustAppend(t, p, newRequest("k", n))
	}
	if _, err := p.Append(t.Context(), newRequest("k", 3)); !errors.Is(err, hookgate.ErrFull) {
		t.Errorf("append to a full spool got %v, want ErrFull", err)
	}
	s := mustStats(t, p)
	if s.Depth != 3 || s.Spooled != 3 || !errors.Is(s.Err, hookgate.ErrFull) ||
		!strings.Contains(fmt.Sprint(s.Degraded), "store is away") ||
		s.SpoolingSince.IsZero() || s.OldestEnqueuedAt.Before(s.SpoolingSince) {
		t.Errorf("stats are %+v", s)
	}
	p.store.mood.Store(well)
	eventually(t, "the queue is direct again", p.isDirect)
	mustAppend(t, p, newRequest("k", 3))
	p.store.mustHold(t, map[string]int{"k": 4})

	full := newPair(t, setup{})
	full.free.Store(1)
	if _, err := full.Append(t.Context(), newRequest("k", 0)); !errors.Is(err, hookgate.ErrFull) ||
		!full.isDirect() {
		t.Errorf("append with a full disk got %v, direct %v; want ErrFull and no spooling", err,
			full.isDirect())
	}
	if s := mustStats(t, full); s.Depth != 0 || !errors.Is(s.Err, hookgate.ErrFull) {
		t.Errorf("with a full disk the stats are %+v", s)
	}
}

// TestFullDiskEmptiesTheSpool: spooled records are stored although the disk is nearly full. Only
// new requests are rejected.
func TestFullDiskEmptiesTheSpool(t *testing.T) {
	p := newPair(t, setup{})
	p.store.mood.Store(refuses)
	for n := range 10 {
		mustAppend(t, p, newRequest("k", n))
	}
	p.free.Store(1)
	p.store.mood.Store(well)
	eventually(t, "the queue is direct again", p.isDirect)
	p.store.mustHold(t, map[string]int{"k": 10})
	eventually(t, "the disk is known to be full", func() bool {
		return errors.Is(mustStats(t, p).Err, hookgate.ErrFull)
	})
	if _, err := p.Append(t.Context(), newRequest("k", 10)); !errors.Is(err, hookgate.ErrFull) {
		t.Errorf("append with a full disk got %v, want ErrFull", err)
	}
}

// TestAwayAndUnused: a store that is away shows in Stats although nothing was appended, and the
// queue accepts requests.
func TestAwayAndUnused(t *testing.T) {
	p := newPair(t, setup{timeout: impatient})
	p.store.mood.Store(refuses)
	mustAppend(t, p, newRequest("k", 0)) // direct knows of the store from an append
	for _, mood := range []int32{refuses, hangs} {
		p.store.mood.Store(mood)
		if s := mustStats(t, p); s.Err != nil || s.Degraded == nil || s.HighWater == 0 {
			t.Errorf("while the store is away the stats are %+v", s)
		}
	}
	p.store.mood.Store(well)
	eventually(t, "the stats are well", func() bool { return mustStats(t, p).Degraded == nil })
}

// TestOwnTimeIsUp: a caller whose context ends does not make the queue leave its primary.
func TestOwnTimeIsUp(t *testing.T) {
	p := newPair(t, setup{timeout: time.Second})
	p.store.mood.Store(hangs)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.Append(ctx, newRequest("k", 0)); !errors.Is(err, context.Canceled) ||
		!p.isDirect() {
		t.Errorf("append got %v, direct %v", err, p.isDirect())
	}
}

// TestPaused: while paused, appends go to the spool and nothing is drained, although the store
// works. Afterwards everything is stored in order.
func TestPaused(t *testing.T) {
	bothWays(t, func(t *testing.T, oneByOne bool) {
		p := newPair(t, setup{oneByOne: oneByOne})
		mustAppend(t, p, newRequest("k", 0))
		p.paused.Store(true)
		for n := 1; n < 20; n++ {
			mustAppend(t, p, newRequest("k", n))
		}
		s := mustStats(t, p)
		if s.Spooled != 19 || s.Depth != 19 || s.SpoolingSince.IsZero() || s.Err != nil ||
			!errors.Is(s.Degraded, errPaused) {
			t.Errorf("in the pause the stats are %+v", s)
		}
		time.Sleep(3 * pausePoll) // the drainer would have moved everything
		p.store.mustHold(t, map[string]int{"k": 1})
		p.paused.Store(false)
		eventually(t, "the queue is direct again", p.isDirect)
		mustAppend(t, p, newRequest("k", 20))
		p.store.mustHold(t, map[string]int{"k": 21})
	})
}

// TestRejected: a request that the store rejects, even as a dead letter, is not spooled. One that
// is already in the spool holds up later ones, but none before it. When the store accepts it,
// draining goes on.
func TestRejected(t *testing.T) {
	p := newPair(t, setup{})
	reject := func(r *hookgate.Record) error {
		if r.MessageID == "k-3" {
			return errors.New("no")
		}
		return nil
	}
	p.store.reject.Store(&reject)
	if _, err := p.Append(t.Context(), newRequest("k", 3)); !errors.Is(err, hookgate.ErrRejected) ||
		!p.isDirect() {
		t.Errorf("append got %v, direct %v; want ErrRejected and no spooling", err, p.isDirect())
	}
	p.store.mood.Store(refuses)
	p.store.reject.Store(nil)
	for n := range 10 {
		mustAppend(t, p, newRequest("k", n))
	}
	p.store.reject.Store(&reject)
	p.store.mood.Store(well)
	eventually(t, "what came before is stored", func() bool { return len(p.store.events(t)) == 3 })
	p.store.reject.Store(nil)
	eventually(t, "the queue is direct again", p.isDirect)
	p.store.mustHold(t, map[string]int{"k": 10})
}

// gated is a file whose appends wait until a gate opens.
type gated struct {
	Buffered
	gate chan struct{}
}

func (g gated) AppendDuplicate(ctx context.Context, r *hookgate.Request,
	of hookgate.RequestID) (hookgate.Receipt, error) {
	<-g.gate
	return g.Buffered.AppendDuplicate(ctx, r, of)
}

// heldBack returns a queue that is about to go back to its primary, while the append of an event of
// the key k to the file waits until the gate opens. It returns the channel for that append's error.
func heldBack(t *testing.T) (*pair, gated, <-chan error) {
	p := newPair(t, setup{})
	g := gated{p.spool, make(chan struct{})}
	p.Close() // another one takes its place
	q, err := New(t.Context(), p.primary, g, p.options(setup{timeout: waitFor}))
	if err != nil {
		t.Fatal(err)
	}
	p.Queue = q
	p.store.mood.Store(refuses)
	appended := make(chan error, 1)
	go func() {
		_, err := q.Append(context.Background(), newRequest("k", 0))
		appended <- err
	}()
	eventually(t, "the append is on its way to the spool", func() bool {
		q.mu.Lock()
		defer q.mu.Unlock()
		return q.inFile == 1
	})
	p.store.mood.Store(well)
	eventually(t, "the queue is about to go back", func() bool { return !q.inPhase(phaseSpooling) })
	return p, g, appended
}

// TestSwitchingWaits: while an append to the file is in flight, appends do not go to the primary
// again. Otherwise nobody would drain its record.
func TestSwitchingWaits(t *testing.T) {
	p, g, appended := heldBack(t)
	time.Sleep(5 * emptyWait) // to do it, if it does not wait
	if p.isDirect() {
		t.Error("the queue has gone back")
	}
	close(g.gate)
	if err := <-appended; err != nil {
		t.Fatal(err)
	}
	eventually(t, "the queue is direct again", p.isDirect)
	p.store.mustHold(t, map[string]int{"k": 1})
}

// TestCloseWaits: Close waits for an append to the file. An append that waits for the change of
// phase ends instead, because there will be none.
func TestCloseWaits(t *testing.T) {
	p, g, appended := heldBack(t)
	waiting := make(chan error, 1)
	go func() {
		_, err := p.Append(context.Background(), newRequest("k", 1))
		waiting <- err
	}()
	eventually(t, "the second append waits", func() bool {
		p.Queue.mu.Lock()
		defer p.Queue.mu.Unlock()
		return p.inFlight == 2
	})
	closed := make(chan error, 1)
	go func() { closed <- p.Close() }()
	if err := <-waiting; !errors.Is(err, hookgate.ErrClosed) {
		t.Errorf("the append that waited got %v, want ErrClosed", err)
	}
	select {
	case err := <-closed:
		t.Errorf("close did not wait for the append: %v", err)
	case <-time.After(5 * emptyWait): // to return, if it does not wait
	}
	close(g.gate)
	if err := <-appended; err != nil {
		t.Errorf("the append in flight: %v", err)
	}
	if err := <-closed; err != nil {
		t.Errorf("close: %v", err)
	}
	if _, err := p.Append(context.Background(), newRequest("k", 2)); !errors.Is(err,
		hookgate.ErrClosed) {
		t.Errorf("append to a closed queue: %v, want ErrClosed", err)
	}
}

// TestInBulk: a spool is drained in large transactions, even if all records have one key.
func TestInBulk(t *testing.T) {
	p := newPair(t, setup{})
	p.paused.Store(true)
	for n := range 300 {
		mustAppend(t, p, newRequest("k", n))
	}
	p.paused.Store(false)
	eventually(t, "the queue is direct again", p.isDirect)
	if n := p.store.largest.Load(); n < 100 {
		t.Errorf("the largest batch had %d records", n)
	}
	p.store.mustHold(t, map[string]int{"k": 300})
}

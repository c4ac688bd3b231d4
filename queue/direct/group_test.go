package direct

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hookgate/hookgate"
)

func newRequest(key string, n int) *hookgate.Request {
	now := time.Now().UTC().Truncate(time.Microsecond)
	return &hookgate.Request{
		RequestID: hookgate.NewRequestID(now),
		Identity: hookgate.Identity{Source: "default", EventType: "order.paid",
			MessageID: fmt.Sprintf("%s-%d", key, n)},
		OrderingKey: key,
		Keyed:       true,
		Sequence:    int64(n),
		Headers:     []hookgate.Header{{Name: "X-Trace", Value: key}},
		Body:        fmt.Appendf(nil, `{"key":%q,"n":%d}`, key, n),
		RemoteAddr:  "127.0.0.1:4711",
		ReceivedAt:  now,
	}
}

// partsOf returns a request with that many events.
func partsOf(source string, events int) *hookgate.Request {
	d := newRequest(source, 0)
	d.Source, d.RequestID = source, d.RequestID.WithoutPart()
	d.Body = bytes.Repeat([]byte("x"), events)
	parts := make([]hookgate.Part, events)
	for i := range parts {
		parts[i] = hookgate.Part{
			EventType: "t", MessageID: fmt.Sprint(source, "-", i), OrderingKey: "k", Keyed: true,
			Sequence: hookgate.NoSequence, Start: i, End: i + 1,
		}
	}
	d.SetParts(source, parts)
	return d
}

// gate is a store that records its batches and whose calls wait until the test opens it.
type gate struct {
	faults
	arrived chan struct{} // one for each call that has come to the gate
	through chan struct{} // one lets one call through; closed, all
	mu      sync.Mutex
	batches []batchSize
}

type batchSize struct {
	records, bytes int
	requests       map[hookgate.RequestID]int // number of records of each
	attempts       int
	lastError      string
	worker         string
}

func newGate(t *testing.T) *gate {
	return gateTo(t, openStore(t, filepath.Join(t.TempDir(), "store.db")))
}

func gateTo(t *testing.T, s backing) *gate {
	g := &gate{arrived: make(chan struct{}, 1000), through: make(chan struct{})}
	g.backing = s
	g.apply = func(ctx context.Context, b *hookgate.Batch) (hookgate.Outcome, error) {
		g.note(b)
		g.arrived <- struct{}{}
		<-g.through
		return s.Apply(ctx, b)
	}
	t.Cleanup(func() { s.Close() })
	return g
}

func (g *gate) note(b *hookgate.Batch) {
	size := batchSize{len(b.Records), 0, map[hookgate.RequestID]int{}, b.Attempts, b.LastError,
		b.Worker}
	for i := range b.Records {
		size.bytes += len(b.Records[i].Body)
		size.requests[b.Records[i].RequestID.WithoutPart()]++
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.batches = append(g.batches, size)
}

func open(t *testing.T, s hookgate.Store, o Options) *Queue {
	t.Helper()
	q, err := New(s, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { q.Close() })
	return q
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

func (q *Queue) inLine() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.waiting)
}

// poison overwrites the memory that a caller may use again after Append has returned.
func poison(d *hookgate.Request) {
	for i := range d.Body {
		d.Body[i] = '!'
	}
	for i := range d.Headers {
		d.Headers[i] = hookgate.Header{Name: "poison", Value: "poison"}
	}
	for i := range d.Parts {
		d.Parts[i] = 0xff
	}
	*d = hookgate.Request{OrderingKey: "poison"}
}

// Goal: Append never reads a request after it has returned, and the store gets the original.
// Method: callers give up while their group is in the store and while they wait, and overwrite
// their requests at once. The race detector finds a later read.
func TestRequestIsItsCallersAgain(t *testing.T) {
	g := newGate(t)
	q := open(t, g, Options{})
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	var kept, inLine hookgate.RequestID
	leave := func(d *hookgate.Request) {
		all.Go(func() {
			if _, err := q.Append(ctx, d); !errors.Is(err, context.Canceled) {
				t.Errorf("append of a caller that left: %v", err)
			}
			poison(d)
		})
	}
	taken := newRequest("k", 1)
	kept = taken.RequestID
	leave(taken)
	<-g.arrived
	waits := newRequest("k", 2)
	inLine = waits.RequestID
	leave(waits)
	leave(partsOf("several", 3))
	eventually(t, "two calls in line", func() bool { return q.inLine() == 2 })
	cancel()
	all.Wait()
	close(g.through)
	if _, err := q.Append(t.Context(), newRequest("k", 3)); err != nil {
		t.Fatal(err)
	}
	events := stored(t, g)
	if len(events) != 2 || events[0].RequestID != kept ||
		string(events[0].Body) != `{"key":"k","n":1}` || events[0].Headers[0].Value != "k" {
		t.Errorf("stored are %+v, want the one that was in the store when its caller left, as it was,"+
			" and the last", events)
	}
	for _, e := range events {
		if e.RequestID == inLine {
			t.Error("the call whose caller left the line was stored")
		}
	}
}

// Goal: the same under load. Method: many callers whose contexts end at random moments, and who
// overwrite their requests.
func TestManyCallersComeAndGo(t *testing.T) {
	s := openStore(t, filepath.Join(t.TempDir(), "store.db"))
	defer s.Close()
	q := open(t, s, Options{})
	const callers, each = 32, 40
	var all sync.WaitGroup
	var left atomic.Int64
	for caller := range callers {
		all.Go(func() {
			for n := range each {
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(rand.IntN(2000))*time.Microsecond)
				d := newRequest(fmt.Sprint("caller-", caller), n)
				if n%8 == 7 {
					d = partsOf(fmt.Sprint("caller-", caller, "-", n), 5)
				}
				if _, err := q.Append(ctx, d); err != nil {
					left.Add(1)
				}
				poison(d)
				cancel()
			}
		})
	}
	all.Wait()
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	for _, e := range stored(t, s) {
		want := fmt.Sprintf(`{"key":%q,"n":%d}`, e.OrderingKey, e.Sequence)
		if e.Sequence == hookgate.NoSequence {
			want = "x"
		}
		if string(e.Body) != want {
			t.Fatalf("event %s has the body %q", e.MessageID, e.Body)
		}
	}
	t.Logf("%d of %d callers left early", left.Load(), callers*each)
}

// Goal: Append times out although the store hangs. Stats shows that until the store works. The
// event may be stored, and the queue recognises the same request again.
func TestStoreHangs(t *testing.T) {
	g := newGate(t)
	q := open(t, g, Options{Timeout: 20 * time.Millisecond})
	d := newRequest("k", 1)
	_, err := q.Append(t.Context(), d)
	var timeout interface{ Timeout() bool }
	if !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Fatalf("append to a store that hangs: %v", err)
	}
	if s, _ := q.Stats(t.Context()); s.Err == nil {
		t.Error("the stats do not say that the store hangs")
	}
	close(g.through)
	eventually(t, "the stats say that the store works", func() bool {
		s, _ := q.Stats(t.Context())
		return s.Err == nil
	})
	if r, err := q.Append(t.Context(), d); err != nil || r.Duplicate() {
		t.Errorf("the same request again: %+v, %v", r, err)
	}
	if events := stored(t, g); len(events) != 1 || events[0].RequestID != d.RequestID {
		t.Errorf("stored are %+v", events)
	}
}

// Goal: after a failure Stats asks whether the store could store as many bytes as the failed group,
// and shows the failure until it could. A smaller event that fits proves nothing.
func TestStatsProbe(t *testing.T) {
	f := &faults{backing: openStore(t, filepath.Join(t.TempDir(), "store.db"))}
	defer f.Close()
	var probed []int
	full := errors.New("disk is full")
	q := open(t, f, Options{Probe: func(_ context.Context, bytes int) error {
		probed = append(probed, bytes)
		return full
	}})
	notDone := false
	f.when.Store(&notDone)
	large := newRequest("k", 1)
	large.Body = make([]byte, 1000)
	if _, err := q.Append(t.Context(), large); err == nil {
		t.Error("append to a store that fails")
	}
	f.when.Store(nil)
	if _, err := q.Append(t.Context(), newRequest("k", 2)); err != nil {
		t.Errorf("append of a smaller event: %v", err)
	}
	if s, _ := q.Stats(t.Context()); !errors.Is(s.Err, full) {
		t.Errorf("the stats say %v while the probe fails", s.Err)
	}
	full = nil
	for range 2 {
		if s, _ := q.Stats(t.Context()); s.Err != nil {
			t.Errorf("the stats say %v after the probe", s.Err)
		}
	}
	if fmt.Sprint(probed) != "[1000 1000]" {
		t.Errorf("probed %v bytes, want 1000 twice", probed)
	}
}

// Goal: groups are bounded in number and bytes. The events of one request stay in one transaction,
// even if they exceed the bound. Method: calls wait while the store holds one.
func TestGroupsAreBounded(t *testing.T) {
	g := newGate(t)
	q := open(t, g, Options{Name: "gate-7", Timeout: time.Minute})
	var all sync.WaitGroup
	send := func(d *hookgate.Request) {
		all.Go(func() {
			if _, err := q.Append(t.Context(), d); err != nil {
				t.Errorf("append: %v", err)
			}
		})
	}
	send(newRequest("first", 0))
	<-g.arrived
	large, several := partsOf("large", 2*maxRecords), partsOf("several", maxRecords/2+1)
	send(large)
	send(several)
	send(partsOf("others", maxRecords/2+1))
	for n := range 2 * maxRecords {
		send(newRequest("small", n))
	}
	for n := range 5 {
		d := newRequest("big", n)
		d.Body = make([]byte, maxBytes/4+1)
		send(d)
	}
	waiting := 3 + 2*maxRecords + 5
	eventually(t, "all in line", func() bool { return q.inLine() == waiting })
	close(g.through)
	all.Wait()
	records := 0
	for i, b := range g.batches {
		records += b.records
		if len(b.requests) > 1 && (b.records > maxRecords || b.bytes > maxBytes) {
			t.Errorf("batch %d of %d requests has %d records of %d bytes", i, len(b.requests), b.records,
				b.bytes)
		}
		for _, d := range []*hookgate.Request{large, several} {
			if n := b.requests[d.RequestID]; n != 0 && n != strings.Count(string(d.Body), "x") {
				t.Errorf("batch %d has %d events of a request of %d", i, n, len(d.Body))
			}
		}
		if b.worker != "gate-7" || b.attempts != 1 || b.lastError != "" {
			t.Errorf("batch %d is of worker %q, attempt %d after %q", i, b.worker, b.attempts, b.lastError)
		}
	}
	if want := 1 + 2*maxRecords + 2*(maxRecords/2+1) + 2*maxRecords + 5; records != want {
		t.Errorf("the batches have %d records, want %d", records, want)
	}
	if most := 1 + 1 + 2 + 3 + 3; len(g.batches) > most {
		t.Errorf("%d batches, want %d at most", len(g.batches), most)
	}
}

// Goal: a request that cannot be split is acknowledged and kept whole, with the reason.
func TestIndivisible(t *testing.T) {
	s := openStore(t, filepath.Join(t.TempDir(), "store.db"))
	defer s.Close()
	m := &counts{}
	q := open(t, s, Options{Metrics: m})
	d := partsOf("several", 2)
	d.Parts = []byte{0xff}
	id, body := d.RequestID, string(d.Body)
	var all sync.WaitGroup
	all.Go(func() {
		if _, err := q.Append(t.Context(), newRequest("k", 1)); err != nil {
			t.Errorf("append beside it: %v", err)
		}
	})
	if r, err := q.Append(t.Context(), d); err != nil || r.Duplicate() ||
		r.Partition != hookgate.Partition("several", 16) {
		t.Fatalf("append: %+v, %v", r, err)
	}
	all.Wait()
	dead, err := s.DeadLetter(t.Context(), id.String())
	if err != nil || dead.Reason == "" {
		t.Fatalf("dead letter: %+v, %v", dead, err)
	}
	if got, err := s.DeadLetterBody(t.Context(), dead.ID); err != nil || string(got) != body {
		t.Errorf("its body is %q, %v", got, err)
	}
	q.Close()
	if m.dead.Load() != 1 || m.persisted.Load() != 1 {
		t.Errorf("counted %d dead letters and %d events, want one of each", m.dead.Load(),
			m.persisted.Load())
	}
}

// Goal: below MinFree nothing is stored, and Stats says why. The queue asks for the free space at
// most once per second.
func TestFreeSpace(t *testing.T) {
	s := openStore(t, filepath.Join(t.TempDir(), "store.db"))
	defer s.Close()
	var free, asked atomic.Int64
	q := open(t, s, Options{MinFree: 100,
		Free: func() (int64, error) { asked.Add(1); return free.Load(), nil }})
	began := time.Now()
	for range 100 {
		if _, err := q.Append(t.Context(), newRequest("k", 1)); !errors.Is(err, hookgate.ErrFull) {
			t.Fatalf("append without space: %v", err)
		}
	}
	if most := int64(time.Since(began)/freeEvery) + 1; asked.Load() > most {
		t.Errorf("asked %d times, want %d at most", asked.Load(), most)
	}
	if s, _ := q.Stats(t.Context()); !errors.Is(s.Err, hookgate.ErrFull) {
		t.Errorf("the stats say %v", s.Err)
	}
	free.Store(100)
	q.askAt.Store(0)
	if _, err := q.Append(t.Context(), newRequest("k", 1)); err != nil {
		t.Errorf("append with space: %v", err)
	}
	if s, err := q.Stats(t.Context()); s.Err != nil || err != nil || s.Depth != 0 ||
		s.Partitions != 16 {
		t.Errorf("stats %+v, %v", s, err)
	}
}

// Goal: a request that another queue has found to be a duplicate is stored as a duplicate.
func TestAppendDuplicate(t *testing.T) {
	s := openStore(t, filepath.Join(t.TempDir(), "store.db"))
	defer s.Close()
	q := open(t, s, Options{})
	first, d := newRequest("k", 1), newRequest("k", 1)
	if _, err := q.Append(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	d.Body = nil
	for range 2 { // the second time as after an unknown outcome
		r, err := q.AppendDuplicate(t.Context(), d, first.RequestID)
		if err != nil || r.DuplicateOf != first.RequestID {
			t.Errorf("receipt %+v, %v", r, err)
		}
	}
	all := stored(t, s)
	if len(all) != 2 || all[1].DuplicateOf != first.RequestID || all[1].RequestID != d.RequestID {
		t.Errorf("stored are %+v", all)
	}
}

// counts counts the reports of the queue.
type counts struct {
	persisted, duplicate, dead, batches, records, failed, gaps, inversions atomic.Int64
}

func (m *counts) Persisted(string, time.Duration)    { m.persisted.Add(1) }
func (m *counts) Duplicate(string, time.Duration)    { m.duplicate.Add(1) }
func (m *counts) DeadLettered(string, time.Duration) { m.dead.Add(1) }
func (m *counts) Batch(n int, _ time.Duration)       { m.batches.Add(1); m.records.Add(int64(n)) }
func (m *counts) ApplyFailed()                       { m.failed.Add(1) }
func (m *counts) SequenceGap(string)                 { m.gaps.Add(1) }
func (m *counts) SequenceInversion(string)           { m.inversions.Add(1) }

// Goal: each event and each group is counted; gaps only if no other process stores events.
func TestMetrics(t *testing.T) {
	for _, shared := range []bool{false, true} {
		s := openStore(t, filepath.Join(t.TempDir(), "store.db"))
		defer s.Close()
		f := &faults{backing: s}
		m := &counts{}
		q := open(t, f, Options{Metrics: m, Shared: shared})
		for _, n := range []int{1, 2, 5, 4, 2} {
			if _, err := q.Append(t.Context(), newRequest("a", n)); err != nil {
				t.Fatal(err)
			}
		}
		notDone := false
		f.when.Store(&notDone)
		if _, err := q.Append(t.Context(), newRequest("a", 6)); !errors.Is(err, errInjected) {
			t.Errorf("append: %v", err)
		}
		q.Close()
		gaps := int64(1)
		if shared {
			gaps = 0
		}
		got := []int64{m.persisted.Load(), m.duplicate.Load(), m.batches.Load(), m.records.Load(),
			m.failed.Load(), m.gaps.Load(), m.inversions.Load()}
		if want := []int64{4, 1, 5, 5, 1, gaps, 1}; fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("shared %v: counted %v, want %v", shared, got, want)
		}
	}
}

// Goal: an event counts as stored once, even if its append had timed out when the store committed
// it, so that the spool brings it again. Method: a store that commits after the time-out, and the
// calls that the spool makes then: one by one, and in bulk.
func TestMetricsOfLateCommits(t *testing.T) {
	for name, again := range map[string]func(q *Queue, d *hookgate.Request) error{
		"one by one": func(q *Queue, d *hookgate.Request) error {
			r, err := q.Append(context.Background(), d)
			if err == nil && r.Duplicate() {
				err = fmt.Errorf("the receipt is %+v", r)
			}
			return err
		},
		"in bulk": func(q *Queue, d *hookgate.Request) error {
			return q.AppendAll(context.Background(), []hookgate.Record{{Request: *d}})
		},
	} {
		s := openStore(t, filepath.Join(t.TempDir(), "store.db"))
		defer s.Close()
		arrived, through := make(chan struct{}, 100), make(chan struct{})
		m := &counts{}
		q := open(t, &faults{backing: s, apply: func(ctx context.Context,
			b *hookgate.Batch) (hookgate.Outcome, error) {
			arrived <- struct{}{}
			<-through
			return s.Apply(context.WithoutCancel(ctx), b) // too late, and done
		}}, Options{Timeout: 20 * time.Millisecond, Metrics: m})
		d := newRequest("a", 1)
		if _, err := q.Append(t.Context(), d); !errors.As(err, new(errTimeout)) {
			t.Fatalf("%s: append: %v", name, err)
		}
		<-arrived
		close(through)
		eventually(t, name+": it is stored", func() bool { return again(q, d) == nil })
		other := newRequest("a", 2)
		eventually(t, name+": another one is stored", func() bool { return again(q, other) == nil })
		q.Close()
		if got := m.persisted.Load(); got != 2 {
			t.Errorf("%s: 2 events are stored, and %d were counted", name, got)
		}
	}
}

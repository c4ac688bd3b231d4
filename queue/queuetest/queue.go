package queuetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/hookgate/hookgate"
)

// QueueBackend opens queues of one kind, buffered or not.
type QueueBackend struct {
	// Open opens the queue at a place, with 4 partitions. After End or Crash the same place has the
	// same queue.
	Open func(t TB, place string) QueueInstance
	// NewPlace returns a place without a queue.
	NewPlace func(t TB) string
	// FailsWrites reports whether instances have FailWrites. Without it the suite skips the tests with
	// failing writes.
	FailsWrites bool
}

// QueueInstance is one open queue, with the faults that the suite needs.
type QueueInstance struct {
	hookgate.Queue
	// Kept returns everything that was ever appended at the place of the queue, with requests of
	// several events split. The order is that of the store, now or later. Duplicates are marked and
	// may be anywhere. appends is the number of calls that added a record.
	Kept func(t TB, appends int) []hookgate.Record
	// End, Crash and FailWrites are those of Instance.
	End        func() error
	Crash      func()
	FailWrites func(done *bool)
}

// RunQueue runs the tests for every queue.
func RunQueue(t *testing.T, b QueueBackend) {
	tests := []struct {
		name string
		run  func(*testing.T, QueueBackend)
	}{
		{"AsItWas", testAsItWas},
		{"Bytes", testBytes},
		{"IdentityHasThreeParts", testIdentity},
		{"Repetitions", testRepetitions},
		{"SameRequest", testSameRequest},
		{"RepetitionsOfSeveralEvents", testRepeatedParts},
		{"RetryIsKept", testRetryIsKept},
		{"ManyCallers", testManyCallers},
		{"ConcurrentDuplicates", testConcurrentDuplicates},
		{"OrderWithinKey", testOrder},
		{"EndedContext", testEndedContext},
		{"RequestIsTheCallers", testOwnership},
		{"CrashKeepsWhatWasAppended", testCrash},
		{"CloseWhileAppending", testCloseWhileAppending},
		{"QueueModel", testQueueModel},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) { test.run(t, b) })
	}
	if !b.FailsWrites {
		return
	}
	for name, done := range map[string]bool{"NotDone": false, "Done": true} {
		t.Run("AppendFails"+name, func(t *testing.T) { testAppendFails(t, b, done) })
		t.Run("ManyFail"+name, func(t *testing.T) { testManyFail(t, b, done) })
	}
}

// everyQueue makes a buffered queue fit RunQueue.
func (b Backend) everyQueue() QueueBackend {
	return QueueBackend{
		NewPlace:    b.NewPlace,
		FailsWrites: b.FailsWrites,
		Open: func(t TB, place string) QueueInstance {
			q := b.Open(t, place, Options{}.withDefaults())
			return QueueInstance{
				Queue: q, End: q.End, Crash: q.Crash, FailWrites: q.FailWrites,
				Kept: func(t TB, appends int) []hookgate.Record { return unreleased(t, q, appends) },
			}
		},
	}
}

// unreleased returns the events of the records that a queue holds.
func unreleased(t TB, q hookgate.BufferedQueue, records int) (events []hookgate.Record) {
	t.Helper()
	c := mustOpenReader(t, q)
	defer c.Close()
	all := mustNext(t, c, records)
	mustBeEmpty(t, c)
	for i := range all {
		parts, err := all[i].Split()
		if err != nil {
			t.Fatalf("split record %d: %v", i, err)
		}
		events = append(events, parts...)
	}
	return events
}

func openQueue(t *testing.T, b QueueBackend) QueueInstance {
	t.Helper()
	q := b.Open(t, b.NewPlace(t))
	t.Cleanup(func() { q.End() })
	return q
}

// split returns the events among records, and for each duplicate its first request.
func split(records []hookgate.Record) (events []hookgate.Record,
	duplicates map[hookgate.RequestID]hookgate.RequestID) {
	duplicates = map[hookgate.RequestID]hookgate.RequestID{}
	for _, r := range records {
		if r.DuplicateOf.IsZero() {
			events = append(events, r)
		} else {
			duplicates[r.RequestID] = r.DuplicateOf
		}
	}
	return events, duplicates
}

// mustKeep checks that the queue has these requests and no other event, each key in order. It
// returns for each duplicate its first request. appends is the number of calls that added a record.
func mustKeep(t TB, q QueueInstance, appends int,
	want ...*hookgate.Request) map[hookgate.RequestID]hookgate.RequestID {
	t.Helper()
	events, duplicates := split(q.Kept(t, appends))
	due := map[string][]*hookgate.Request{}
	for _, d := range want {
		due[d.OrderingKey] = append(due[d.OrderingKey], d)
	}
	for _, e := range events {
		next := due[e.OrderingKey]
		if len(next) == 0 {
			t.Fatalf("of key %s there is %s at the end, which was not appended", e.OrderingKey, e.Identity)
		}
		if d := next[0]; e.RequestID != d.RequestID || e.Identity != d.Identity ||
			!bytes.Equal(e.Body, d.Body) {
			t.Fatalf("of key %s there is %s of request %s, want %s of %s", e.OrderingKey, e.Identity,
				e.RequestID, d.Identity, d.RequestID)
		}
		due[e.OrderingKey] = next[1:]
	}
	if len(events) != len(want) {
		t.Fatalf("%d events are kept, want %d", len(events), len(want))
	}
	return duplicates
}

// testAsItWas: the queue keeps every field of a request.
func testAsItWas(t *testing.T, b QueueBackend) {
	q := openQueue(t, b)
	d := newRequest("k", 1)
	receipt := mustAppend(t, q, d)
	if receipt.Duplicate() || receipt.Partition != hookgate.Partition("k", 4) ||
		receipt.Position.Compare(hookgate.Position{}) <= 0 {
		t.Errorf("receipt is %+v, want a position in the partition of the key, of a first request",
			receipt)
	}
	r := q.Kept(t, 1)[0]
	want := fmt.Sprint(d.RequestID, d.Identity, d.OrderingKey, d.Sequence, d.Headers, string(d.Body),
		d.RemoteAddr, d.ReceivedAt)
	got := fmt.Sprint(r.RequestID, r.Identity, r.OrderingKey, r.Sequence, r.Headers, string(r.Body),
		r.RemoteAddr, r.ReceivedAt)
	if got != want {
		t.Errorf("kept is %s, want %s", got, want)
	}
}

// testBytes: bodies of all kinds are kept byte for byte, with extreme values of the other fields.
func testBytes(t *testing.T, b QueueBackend) {
	q := openQueue(t, b)
	big := make([]byte, 1<<20)
	for i := range big {
		big[i] = byte(rand.IntN(256))
	}
	bodies := [][]byte{{}, {0}, []byte("not JSON"), []byte("{\"a\":\"\xff\xfe\"}"),
		bytes.Repeat([]byte{0}, 4096), big}
	for i, body := range bodies {
		d := newRequest("k", i)
		d.Body = body
		d.Headers = nil
		d.MessageID = strings.Repeat("ü", 127) + string(rune('a'+i))
		d.Sequence = hookgate.NoSequence
		mustAppend(t, q, d)
	}
	for i, r := range q.Kept(t, len(bodies)) {
		if !bytes.Equal(r.Body, bodies[i]) {
			t.Errorf("body %d of %d bytes came back as %d other bytes", i, len(bodies[i]), len(r.Body))
		}
		if r.Sequence != hookgate.NoSequence || len(r.Headers) != 0 {
			t.Errorf("record %d has sequence %d and headers %v", i, r.Sequence, r.Headers)
		}
	}
}

// testIdentity: the identity is source, event type and message id together, without the type if
// nothing proves it. No two identities are confused, however their parts are joined.
func testIdentity(t *testing.T, b QueueBackend) {
	q := openQueue(t, b)
	for _, id := range []hookgate.Identity{
		{Source: "a", EventType: "b", MessageID: "c"},
		{Source: "a", EventType: "c", MessageID: "b"},
		{Source: "x", EventType: "b", MessageID: "c"},
		{Source: "a", EventType: "x", MessageID: "c"},
		{Source: "ab", EventType: "", MessageID: "c"},
		{Source: "a", EventType: "b/c", MessageID: "d"},
		{Source: "a", EventType: "b", MessageID: "c/d"},
		{Source: "a/b", EventType: "c", MessageID: "d"},
		{Source: "a", EventType: "b:c", MessageID: "d"},
		{Source: "a", EventType: "b", MessageID: "c:d"},
		{Source: "a", EventType: "B", MessageID: "c"},
	} {
		d := newRequest("k", 1)
		d.Identity = id
		if receipt := mustAppend(t, q, d); receipt.Duplicate() {
			t.Errorf("%+v is taken for a duplicate", id)
		}
	}
	first := newRequest("k", 1)
	first.TypeUnproven = true
	mustAppend(t, q, first)
	again := newRequest("k", 1)
	again.EventType, again.TypeUnproven = "another", true
	if receipt := mustAppend(t, q, again); receipt.DuplicateOf != first.RequestID {
		t.Errorf("another type that nothing proves is a duplicate of %s, want %s", receipt.DuplicateOf,
			first.RequestID)
	}
}

// testRepetitions: the receipt of each repetition names the first request, and the queue keeps the
// repetition as its duplicate.
func testRepetitions(t *testing.T, b QueueBackend) {
	q := openQueue(t, b)
	first := newRequest("k", 1)
	mustAppend(t, q, first)
	var again []*hookgate.Request
	for i := range 3 {
		d := newRequest("k", 1)
		d.Body = []byte("another body")
		if receipt := mustAppend(t, q, d); receipt.DuplicateOf != first.RequestID {
			t.Fatalf("repetition %d is a duplicate of %s, want %s", i, receipt.DuplicateOf, first.RequestID)
		}
		again = append(again, d)
	}
	duplicates := mustKeep(t, q, 4, first)
	for i, d := range again {
		if duplicates[d.RequestID] != first.RequestID {
			t.Errorf("repetition %d is kept as a duplicate of %s, want %s", i, duplicates[d.RequestID],
				first.RequestID)
		}
	}
}

// testSameRequest: appending the same request again, as after an unknown outcome, adds nothing.
func testSameRequest(t *testing.T, b QueueBackend) {
	q := openQueue(t, b)
	d := newRequest("k", 1)
	for i := range 3 {
		if receipt := mustAppend(t, q, d); receipt.Duplicate() {
			t.Fatalf("append %d of the same request is called a duplicate", i+1)
		}
	}
	mustKeep(t, q, 1, d)
}

// testRepeatedParts: a request that carries several events is a duplicate if all of its events are.
// Each event is kept once.
func testRepeatedParts(t *testing.T, b QueueBackend) {
	q := openQueue(t, b)
	first, again := severalEvents("12", "1", "2"), severalEvents("xy", "1", "2")
	other := severalEvents("34", "3", "4")
	for _, d := range []*hookgate.Request{first, other} {
		if r := mustAppend(t, q, d); r.Duplicate() || r.Partition != hookgate.Partition("several", 4) {
			t.Errorf("receipt is %+v, want a first request in the partition of the source", r)
		}
	}
	if r := mustAppend(t, q, again); r.DuplicateOf != first.RequestID {
		t.Errorf("a repetition of all events is a duplicate of %s, want %s", r.DuplicateOf,
			first.RequestID)
	}
	if r := mustAppend(t, q, first); r.Duplicate() {
		t.Errorf("this very request, whose first outcome was unknown, is a duplicate of %s",
			r.DuplicateOf)
	}
	events, duplicates := split(q.Kept(t, 3))
	var got []string
	for _, e := range events {
		got = append(got, fmt.Sprintf("%s %s", e.MessageID, e.Body))
	}
	if want := "[1 1 2 2 3 3 4 4]"; fmt.Sprint(got) != want {
		t.Errorf("kept are %v, want %s", got, want)
	}
	for i := range 2 {
		if of := duplicates[again.RequestID.Part(i)]; of != first.RequestID.Part(i) {
			t.Errorf("event %d of the repetition is a duplicate of %s, want %s", i, of,
				first.RequestID.Part(i))
		}
	}
}

// testRetryIsKept: the retry of a request whose event is not stored is kept as an event. The same
// retry again adds nothing, and a repetition by the sender is its duplicate.
func testRetryIsKept(t *testing.T, b QueueBackend) {
	q := openQueue(t, b)
	d := retryOf(newRequest("k", 1))
	for i := range 2 {
		if receipt := mustAppend(t, q, d); receipt.Duplicate() {
			t.Fatalf("append %d of a retry is a duplicate of %s", i, receipt.DuplicateOf)
		}
	}
	if receipt := mustAppend(t, q, newRequest("k", 1)); receipt.DuplicateOf != d.RequestID {
		t.Errorf("a repetition is a duplicate of %s, want of the retry %s", receipt.DuplicateOf,
			d.RequestID)
	}
	mustKeep(t, q, 2, d)
}

// testManyCallers: of many concurrent appends, each has a position of its own and is kept once.
func testManyCallers(t *testing.T, b QueueBackend) {
	q := openQueue(t, b)
	const callers, each = 64, 20
	var mu sync.Mutex
	places := map[hookgate.Offset]bool{}
	all := make([]*hookgate.Request, callers*each)
	var wg sync.WaitGroup
	for caller := range callers {
		wg.Go(func() {
			for n := range each {
				d := newRequest(fmt.Sprint("caller-", caller), n)
				all[caller*each+n] = d
				receipt, err := q.Append(context.Background(), d)
				if err != nil || receipt.Duplicate() {
					t.Errorf("append: %v, duplicate of %s", err, receipt.DuplicateOf)
					return
				}
				mu.Lock()
				places[hookgate.Offset{Partition: receipt.Partition, Position: receipt.Position}] = true
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	if len(places) != len(all) {
		t.Errorf("%d appends have %d places", len(all), len(places))
	}
	mustKeep(t, q, len(all), all...)
}

// testConcurrentDuplicates: of many concurrent requests with one identity, exactly one is the
// first, and the others name it.
func testConcurrentDuplicates(t *testing.T, b QueueBackend) {
	q := openQueue(t, b)
	const callers, identities = 16, 20
	for n := range identities {
		firsts := make([]hookgate.RequestID, callers)
		var wg sync.WaitGroup
		for i := range callers {
			wg.Go(func() {
				d := newRequest("k", n)
				receipt, err := q.Append(context.Background(), d)
				if err != nil {
					t.Errorf("append: %v", err)
				}
				if firsts[i] = receipt.DuplicateOf; !receipt.Duplicate() {
					firsts[i] = d.RequestID
				}
			})
		}
		wg.Wait()
		for _, id := range firsts[1:] {
			if id != firsts[0] {
				t.Fatalf("identity %d has the first requests %s and %s", n, firsts[0], id)
			}
		}
	}
	events, duplicates := split(q.Kept(t, callers*identities))
	if len(events) != identities || len(duplicates) != (callers-1)*identities {
		t.Errorf("%d events and %d duplicates are kept, want %d and %d", len(events), len(duplicates),
			identities, (callers-1)*identities)
	}
}

// testOrder: if each sender waits for its answer, its events are kept in the order sent, although
// many send at once.
func testOrder(t *testing.T, b QueueBackend) {
	q := openQueue(t, b)
	const keys, each = 12, 30
	var wg sync.WaitGroup
	for key := range keys {
		wg.Go(func() {
			for n := range each {
				if _, err := q.Append(context.Background(), newRequest(string(rune('a'+key)), n)); err != nil {
					t.Errorf("append: %v", err)
				}
			}
		})
	}
	wg.Wait()
	next := map[string]int64{}
	for _, r := range q.Kept(t, keys*each) {
		if r.Sequence != next[r.OrderingKey] {
			t.Fatalf("key %s: sequence %d comes where %d is due", r.OrderingKey, r.Sequence,
				next[r.OrderingKey])
		}
		next[r.OrderingKey]++
	}
}

// testEndedContext: an append whose context has ended returns the context's error or a receipt.
// After an error the same request again is kept once.
func testEndedContext(t *testing.T, b QueueBackend) {
	q := openQueue(t, b)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	var all []*hookgate.Request
	for n := range 20 {
		d := newRequest("k", n)
		all = append(all, d)
		given := *d
		given.Body = bytes.Clone(d.Body)
		if _, err := q.Append(ctx, &given); err != nil && !errors.Is(err, context.Canceled) {
			t.Fatalf("append with an ended context: %v", err)
		}
		clear(given.Body) // it is the caller's again
		given = hookgate.Request{}
		if receipt := mustAppend(t, q, d); receipt.Duplicate() {
			t.Fatalf("the same request again is a duplicate of %s", receipt.DuplicateOf)
		}
	}
	mustKeep(t, q, len(all), all...)
}

// testCrash: after a crash the appended requests are kept, in order, and their repetitions
// recognised.
func testCrash(t *testing.T, b QueueBackend) {
	place := b.NewPlace(t)
	q := b.Open(t, place)
	var all []*hookgate.Request
	for n := range 50 {
		d := newRequest("k", n)
		all = append(all, d)
		mustAppend(t, q, d)
	}
	q.Crash()
	q = b.Open(t, place)
	defer q.End()
	if receipt := mustAppend(t, q, newRequest("k", 7)); receipt.DuplicateOf != all[7].RequestID {
		t.Errorf("after the crash a repetition is a duplicate of %s, want %s", receipt.DuplicateOf,
			all[7].RequestID)
	}
	mustKeep(t, q, 51, all...)
}

// testCloseWhileAppending: when the queue closes, each append in flight is either kept or returns
// an error. None waits forever.
func testCloseWhileAppending(t *testing.T, b QueueBackend) {
	place := b.NewPlace(t)
	q := b.Open(t, place)
	const callers = 32
	all := make([]*hookgate.Request, callers) // those that were acknowledged
	begun := make(chan struct{}, callers)
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() {
			for n := 0; ; n++ {
				d := newRequest(fmt.Sprint("caller-", i), n)
				if _, err := q.Append(context.Background(), d); err != nil {
					return
				}
				if all[i] == nil {
					begun <- struct{}{}
				}
				all[i] = d
			}
		})
	}
	for range callers {
		<-begun
	}
	if err := q.End(); err != nil {
		t.Errorf("close: %v", err)
	}
	wg.Wait()
	if _, err := q.Append(context.Background(), newRequest("k", 1)); !errors.Is(err,
		hookgate.ErrClosed) {
		t.Errorf("append after the end: %v, want ErrClosed", err)
	}
	q = b.Open(t, place)
	defer q.End()
	for _, d := range all {
		again := *d
		again.RequestID = hookgate.NewRequestID(d.ReceivedAt)
		if receipt := mustAppend(t, q, &again); receipt.DuplicateOf != d.RequestID {
			t.Errorf("%s was acknowledged, and its repetition is a duplicate of %s", d.Identity,
				receipt.DuplicateOf)
		}
	}
}

// testAppendFails: a write fails, before or after it took effect. The caller gets an error, and its
// retry is safe. The event is kept once and in its place, and Stats shows the error.
func testAppendFails(t *testing.T, b QueueBackend, done bool) {
	place := b.NewPlace(t)
	q := b.Open(t, place)
	before, sameRequest, anotherRequest := newRequest("k", 0), newRequest("k", 1), newRequest("k", 2)
	mustAppend(t, q, before)
	q.FailWrites(&done)
	for _, d := range []*hookgate.Request{sameRequest, anotherRequest} {
		if _, err := q.Append(context.Background(), d); err == nil {
			t.Fatal("append whose write failed returned no error")
		}
	}
	if s, err := q.Stats(context.Background()); s.Err == nil && err == nil {
		t.Error("the stats do not tell that writing fails")
	}
	q.FailWrites(nil)
	if receipt := mustAppend(t, q, sameRequest); receipt.Duplicate() {
		t.Errorf("the same request again is a duplicate of %s", receipt.DuplicateOf)
	}
	retry := newRequest("k", 2)
	receipt := mustAppend(t, q, retry)
	want, appends := anotherRequest, 4
	if !done {
		want, appends = retry, 3
	}
	if done && receipt.DuplicateOf != anotherRequest.RequestID || !done && receipt.Duplicate() {
		t.Errorf("the retry is a duplicate of %s; that the first was written is %v", receipt.DuplicateOf,
			done)
	}
	last := newRequest("k", 3)
	mustAppend(t, q, last)
	if s, err := q.Stats(context.Background()); s.Err != nil || err != nil {
		t.Errorf("the stats still tell of an error: %v", errors.Join(s.Err, err))
	}
	mustKeep(t, q, appends+1, before, sameRequest, want, last)
	q.Crash()
	q = b.Open(t, place)
	defer q.End()
	mustKeep(t, q, appends+1, before, sameRequest, want, last)
}

// testManyFail: one write of many appends fails. Each of them returns an error, and the same
// requests again are kept once each.
func testManyFail(t *testing.T, b QueueBackend, done bool) {
	q := openQueue(t, b)
	q.FailWrites(&done)
	all := make([]*hookgate.Request, 100)
	var wg sync.WaitGroup
	for i := range all {
		all[i] = newRequest(fmt.Sprint("k", i), i)
		wg.Go(func() {
			given := copyOf(all[i])
			if _, err := q.Append(context.Background(), given); err == nil {
				t.Error("append whose write failed returned no error")
			}
			overwrite(given)
		})
	}
	wg.Wait()
	q.FailWrites(nil)
	for _, d := range all {
		wg.Go(func() {
			if receipt := mustAppend(t, q, d); receipt.Duplicate() {
				t.Errorf("the same request again is a duplicate of %s", receipt.DuplicateOf)
			}
		})
	}
	wg.Wait()
	mustKeep(t, q, len(all), all...)
}

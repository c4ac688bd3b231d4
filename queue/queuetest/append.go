package queuetest

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hookgate/hookgate"
)

// testAppendAndNext: everything a delivery says comes back, with its place and times.
func testAppendAndNext(t *testing.T, b Backend) {
	q := open(t, b, Options{})
	d := delivery("k", 1)
	want := *d
	want.Body = slices.Clone(d.Body)
	before := time.Now().Truncate(time.Microsecond)
	receipt := mustAppend(t, q, d)
	if receipt.Duplicate() {
		t.Fatalf("first delivery is a duplicate of %s", receipt.DuplicateOf)
	}
	r := mustNext(t, mustConsume(t, q), 1)[0]
	if !reflect.DeepEqual(r.Delivery, want) {
		t.Errorf("delivery came back as %+v, want %+v", r.Delivery, want)
	}
	if r.Partition != receipt.Partition || r.Position != receipt.Position {
		t.Errorf("record stands at %d:%s, receipt said %d:%s", r.Partition, r.Position, receipt.Partition, receipt.Position)
	}
	if r.Partition != hookgate.Partition("k", 4) {
		t.Errorf("partition is %d, want that of the ordering key, %d", r.Partition, hookgate.Partition("k", 4))
	}
	if r.EnqueuedAt.Before(before) || r.EnqueuedAt.After(time.Now()) {
		t.Errorf("enqueued at %s, want between %s and now", r.EnqueuedAt, before)
	}
	if r.Lease == 0 || r.Corrupt != nil || !r.DuplicateOf.IsZero() {
		t.Errorf("lease %d, corrupt %v, duplicate of %s", r.Lease, r.Corrupt, r.DuplicateOf)
	}
}

// testBytes: bodies of all kinds come back byte for byte, and extreme fields do.
func testBytes(t *testing.T, b Backend) {
	q := open(t, b, Options{Partitions: 1})
	big := make([]byte, 1<<20)
	for i := range big {
		big[i] = byte(rand.IntN(256))
	}
	bodies := [][]byte{{}, {0}, []byte("not JSON"), []byte("{\"a\":\"\xff\xfe\"}"), bytes.Repeat([]byte{0}, 4096), big}
	for i, body := range bodies {
		d := delivery("k", i)
		d.Body = body
		d.Headers = nil
		d.MessageID = strings.Repeat("ü", 127) + string(rune('a'+i))
		d.Sequence = hookgate.NoSequence
		mustAppend(t, q, d)
	}
	for i, r := range mustNext(t, mustConsume(t, q), len(bodies)) {
		if !bytes.Equal(r.Body, bodies[i]) {
			t.Errorf("body %d of %d bytes came back as %d other bytes", i, len(bodies[i]), len(r.Body))
		}
		if r.Sequence != hookgate.NoSequence || len(r.Headers) != 0 {
			t.Errorf("record %d has sequence %d and headers %v", i, r.Sequence, r.Headers)
		}
	}
}

// testDuplicates: a second delivery of an identity is told which request was first, before and after the
// first is released, and is queued without its body.
func testDuplicates(t *testing.T, b Backend) {
	q := open(t, b, Options{Partitions: 1})
	c := mustConsume(t, q)
	first := delivery("k", 1)
	mustAppend(t, q, first)
	for i := range 3 {
		again := delivery("k", 1)
		receipt := mustAppend(t, q, again)
		if receipt.DuplicateOf != first.RequestID {
			t.Fatalf("repetition %d is a duplicate of %s, want %s", i, receipt.DuplicateOf, first.RequestID)
		}
		records := mustNext(t, c, 2-min(i, 1))
		r := records[len(records)-1]
		if r.DuplicateOf != first.RequestID || r.RequestID != again.RequestID || len(r.Body) != 0 || r.MessageID != "k-1" {
			t.Fatalf("repetition %d came as %+v", i, r)
		}
		mustCommit(t, c, records)
		mustReachDepth(t, q, 0)
	}
}

// testIdentity: source, event type and message id together are the identity; no way of joining them
// makes two identities one.
func testIdentity(t *testing.T, b Backend) {
	q := open(t, b, Options{})
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
		d := delivery("k", 1)
		d.Identity = id
		if receipt := mustAppend(t, q, d); receipt.Duplicate() {
			t.Errorf("%+v is taken for a duplicate", id)
		}
	}
}

// testUnprovenType: the type of an event does not tell it from another if nothing proves the type, and
// it comes out of the queue as it was put in.
func testUnprovenType(t *testing.T, b Backend) {
	q := open(t, b, Options{Partitions: 1})
	c := mustConsume(t, q)
	unproven := func(eventType string) *hookgate.Delivery {
		d := delivery("k", 1)
		d.EventType, d.TypeUnproven = eventType, true
		return d
	}
	first := unproven("a")
	mustAppend(t, q, first)
	if receipt := mustAppend(t, q, unproven("b")); receipt.DuplicateOf != first.RequestID {
		t.Errorf("another type is no duplicate: %+v", receipt)
	}
	proven := delivery("k", 1)
	proven.EventType = "c"
	if mustAppend(t, q, proven).Duplicate() {
		t.Error("another type that is proved is a duplicate")
	}
	for i, r := range mustNext(t, c, 3) {
		if want := i < 2; r.TypeUnproven != want || r.EventType != string(rune('a'+i)) {
			t.Errorf("record %d: type %s, unproven: %v", i, r.EventType, r.TypeUnproven)
		}
	}
}

// testSameDelivery: appending one delivery again, as after an unknown outcome, adds nothing.
func testSameDelivery(t *testing.T, b Backend) {
	q := open(t, b, Options{Partitions: 1})
	c := mustConsume(t, q)
	d := delivery("k", 1)
	for i := range 2 {
		if receipt := mustAppend(t, q, d); receipt.Duplicate() {
			t.Fatalf("append %d of the same request is called a duplicate", i+1)
		}
	}
	mustCommit(t, c, mustNext(t, c, 1))
	mustBeEmpty(t, c)
	mustReachDepth(t, q, 0)
}

// testConcurrentAppends: many callers at once; every receipt is unique, everything comes out once.
func testConcurrentAppends(t *testing.T, b Backend) {
	q := open(t, b, Options{})
	const callers, each = 20, 25
	var mu sync.Mutex
	places := map[hookgate.Offset]hookgate.RequestID{}
	var wg sync.WaitGroup
	for caller := range callers {
		wg.Go(func() {
			for n := range each {
				d := delivery(string(rune('A'+caller)), n)
				receipt, err := q.Append(context.Background(), d)
				if err != nil || receipt.Duplicate() {
					t.Errorf("append: %v, duplicate of %s", err, receipt.DuplicateOf)
					return
				}
				mu.Lock()
				places[hookgate.Offset{Partition: receipt.Partition, Position: receipt.Position}] = d.RequestID
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	if len(places) != callers*each {
		t.Fatalf("%d appends have %d places", callers*each, len(places))
	}
	for _, r := range mustNext(t, mustConsume(t, q), callers*each) {
		place := hookgate.Offset{Partition: r.Partition, Position: r.Position}
		if places[place] != r.RequestID {
			t.Fatalf("at %v stands request %s, want %s", place, r.RequestID, places[place])
		}
		delete(places, place)
	}
}

// testConcurrentDuplicates: of many deliveries of one identity at once, exactly one is the first, and the
// others name it.
func testConcurrentDuplicates(t *testing.T, b Backend) {
	q := open(t, b, Options{})
	const callers, identities = 16, 20
	for n := range identities {
		firsts := make([]hookgate.RequestID, callers)
		var wg sync.WaitGroup
		for i := range callers {
			wg.Go(func() {
				d := delivery("k", n)
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
	originals := 0
	for _, r := range mustNext(t, mustConsume(t, q), callers*identities) {
		if r.DuplicateOf.IsZero() {
			originals++
		}
	}
	if originals != identities {
		t.Errorf("%d records are first deliveries, want %d", originals, identities)
	}
}

// testOrder: senders that wait for each answer find the records of their key in the order sent, although
// many send at once.
func testOrder(t *testing.T, b Backend) {
	q := open(t, b, Options{})
	const keys, each = 12, 30
	var wg sync.WaitGroup
	for key := range keys {
		wg.Go(func() {
			for n := range each {
				if _, err := q.Append(context.Background(), delivery(string(rune('a'+key)), n)); err != nil {
					t.Errorf("append: %v", err)
				}
			}
		})
	}
	wg.Wait()
	next := map[string]int64{}
	last := map[int]hookgate.Position{}
	for _, r := range mustNext(t, mustConsume(t, q), keys*each) {
		if r.Sequence != next[r.OrderingKey] {
			t.Fatalf("key %s: sequence %d comes where %d is due", r.OrderingKey, r.Sequence, next[r.OrderingKey])
		}
		next[r.OrderingKey]++
		if before, ok := last[r.Partition]; ok && r.Position.Compare(before) <= 0 {
			t.Fatalf("partition %d: position %s follows %s", r.Partition, r.Position, before)
		}
		last[r.Partition] = r.Position
	}
}

// testHighWater: at the mark Append answers ErrFull and stores nothing; what was there stays; a release
// makes room; nothing is trimmed.
func testHighWater(t *testing.T, b Backend) {
	const mark = 10
	q := open(t, b, Options{Partitions: 1, HighWater: mark})
	for n := range mark {
		mustAppend(t, q, delivery("k", n))
	}
	refused := delivery("k", mark)
	if _, err := q.Append(context.Background(), refused); !errors.Is(err, hookgate.ErrFull) {
		t.Fatalf("append at the mark: %v, want ErrFull", err)
	}
	c := mustConsume(t, q)
	records := mustNext(t, c, mark)
	mustBeEmpty(t, c)
	mustCommit(t, c, records[:1])
	mustReachDepth(t, q, mark-1)
	if receipt := mustAppend(t, q, refused); receipt.Duplicate() {
		t.Errorf("what was refused had claimed its identity")
	}
	if r := mustNext(t, c, 1)[0]; r.MessageID != refused.MessageID {
		t.Errorf("behind the mark comes %s, want %s", r.MessageID, refused.MessageID)
	}
}

// testClaimExpires: after its time to live a claim is gone, whether its record is released or not.
func testClaimExpires(t *testing.T, b Backend) {
	const ttl = 50 * time.Millisecond
	q := open(t, b, Options{Partitions: 1, ClaimTTL: ttl})
	c := mustConsume(t, q)
	for range 3 {
		d := delivery("k", 1)
		receipt := mustAppend(t, q, d)
		for end := time.Now().Add(waitFor); receipt.Duplicate() && time.Now().Before(end); {
			d = delivery("k", 1)
			receipt = mustAppend(t, q, d)
		}
		if receipt.Duplicate() {
			t.Fatalf("claim of %v still stands after %v", ttl, waitFor)
		}
		mustCommit(t, c, nextNow(t, c, 1000))
	}
}

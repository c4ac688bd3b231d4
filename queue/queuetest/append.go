package queuetest

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/hookgate/hookgate"
)

// testAppendAndNext: Next returns every field of a request, with its position and times.
func testAppendAndNext(t *testing.T, b Backend) {
	q := open(t, b, Options{})
	d := newRequest("k", 1)
	want := *d
	want.Body = slices.Clone(d.Body)
	before := time.Now().Truncate(time.Microsecond)
	receipt := mustAppend(t, q, d)
	if receipt.Duplicate() {
		t.Fatalf("first request is a duplicate of %s", receipt.DuplicateOf)
	}
	r := mustNext(t, mustOpenReader(t, q), 1)[0]
	if !reflect.DeepEqual(r.Request, want) {
		t.Errorf("request came back as %+v, want %+v", r.Request, want)
	}
	if r.Partition != receipt.Partition || r.Position != receipt.Position {
		t.Errorf("record stands at %d:%s, receipt said %d:%s", r.Partition, r.Position, receipt.Partition,
			receipt.Position)
	}
	if r.Partition != hookgate.Partition("k", 4) {
		t.Errorf("partition is %d, want that of the ordering key, %d", r.Partition,
			hookgate.Partition("k", 4))
	}
	if r.EnqueuedAt.Before(before) || r.EnqueuedAt.After(time.Now()) {
		t.Errorf("enqueued at %s, want between %s and now", r.EnqueuedAt, before)
	}
	if r.Lease == 0 || r.Corrupt != nil || !r.DuplicateOf.IsZero() {
		t.Errorf("lease %d, corrupt %v, duplicate of %s", r.Lease, r.Corrupt, r.DuplicateOf)
	}
}

// testDuplicates: the receipt of a repetition names the first request, before and after that is
// released. The repetition is queued without its body.
func testDuplicates(t *testing.T, b Backend) {
	q := open(t, b, Options{Partitions: 1})
	c := mustOpenReader(t, q)
	first := newRequest("k", 1)
	mustAppend(t, q, first)
	for i := range 3 {
		again := newRequest("k", 1)
		receipt := mustAppend(t, q, again)
		if receipt.DuplicateOf != first.RequestID {
			t.Fatalf("repetition %d is a duplicate of %s, want %s", i, receipt.DuplicateOf, first.RequestID)
		}
		records := mustNext(t, c, 2-min(i, 1))
		r := records[len(records)-1]
		if r.DuplicateOf != first.RequestID || r.RequestID != again.RequestID || len(r.Body) != 0 ||
			r.MessageID != "k-1" {
			t.Fatalf("repetition %d came as %+v", i, r)
		}
		mustCommit(t, c, records)
		mustReachDepth(t, q, 0)
	}
}

// testUnprovenType: if nothing proves the event type, two requests that differ only in it are
// repetitions. The type itself comes back as it was appended.
func testUnprovenType(t *testing.T, b Backend) {
	q := open(t, b, Options{Partitions: 1})
	c := mustOpenReader(t, q)
	unproven := func(eventType string) *hookgate.Request {
		d := newRequest("k", 1)
		d.EventType, d.TypeUnproven = eventType, true
		return d
	}
	first := unproven("a")
	mustAppend(t, q, first)
	if receipt := mustAppend(t, q, unproven("b")); receipt.DuplicateOf != first.RequestID {
		t.Errorf("another type is no duplicate: %+v", receipt)
	}
	proven := newRequest("k", 1)
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

// testSameRequestTwice: appending the same request again, as after an unknown outcome, adds
// nothing.
func testSameRequestTwice(t *testing.T, b Backend) {
	q := open(t, b, Options{Partitions: 1})
	c := mustOpenReader(t, q)
	d := newRequest("k", 1)
	for i := range 2 {
		if receipt := mustAppend(t, q, d); receipt.Duplicate() {
			t.Fatalf("append %d of the same request is called a duplicate", i+1)
		}
	}
	mustCommit(t, c, mustNext(t, c, 1))
	mustBeEmpty(t, c)
	mustReachDepth(t, q, 0)
}

// testHighWater: at the high-water mark Append returns ErrFull and stores nothing. The queued
// records stay, and a release makes room.
func testHighWater(t *testing.T, b Backend) {
	const mark = 10
	q := open(t, b, Options{Partitions: 1, HighWater: mark})
	for n := range mark {
		mustAppend(t, q, newRequest("k", n))
	}
	refused := newRequest("k", mark)
	if _, err := q.Append(context.Background(), refused); !errors.Is(err, hookgate.ErrFull) {
		t.Fatalf("append at the mark: %v, want ErrFull", err)
	}
	c := mustOpenReader(t, q)
	records := mustNext(t, c, mark)
	mustBeEmpty(t, c)
	mustCommit(t, c, records[:1])
	mustReachDepth(t, q, mark-1)
	if receipt := mustAppend(t, q, refused); receipt.Duplicate() {
		t.Errorf("the rejected request had claimed its identity")
	}
	if r := mustNext(t, c, 1)[0]; r.MessageID != refused.MessageID {
		t.Errorf("behind the mark comes %s, want %s", r.MessageID, refused.MessageID)
	}
}

// testClaimExpires: a claim expires after its time to live, whether its record is released or not.
func testClaimExpires(t *testing.T, b Backend) {
	const ttl = 50 * time.Millisecond
	q := open(t, b, Options{Partitions: 1, ClaimTTL: ttl})
	c := mustOpenReader(t, q)
	for range 3 {
		d := newRequest("k", 1)
		receipt := mustAppend(t, q, d)
		for end := time.Now().Add(waitFor); receipt.Duplicate() && time.Now().Before(end); {
			d = newRequest("k", 1)
			receipt = mustAppend(t, q, d)
		}
		if receipt.Duplicate() {
			t.Fatalf("claim of %v still stands after %v", ttl, waitFor)
		}
		mustCommit(t, c, nextNow(t, c, 1000))
	}
}

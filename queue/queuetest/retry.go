package queuetest

import (
	"context"
	"errors"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/hookgate/hookgate"
)

// retryOf returns a retry of the dead letter of d.
func retryOf(d *hookgate.Request) *hookgate.Request {
	at := time.Now().UTC().Truncate(time.Microsecond)
	r := *d
	r.RequestID, r.RetryOf, r.RetriedAt = hookgate.NewRequestID(at), d.RequestID, at
	return &r
}

// mustBeRetry checks that a record is the retry, with its body.
func mustBeRetry(t TB, r hookgate.Record, want *hookgate.Request) {
	t.Helper()
	if !r.DuplicateOf.IsZero() || !reflect.DeepEqual(r.Request, *want) {
		t.Errorf("the retry came as %+v, duplicate of %s, want %+v", r.Request, r.DuplicateOf, *want)
	}
}

// testRetry: the claim of the dead-lettered request does not reject its retry. The retry has the
// body and all fields of the dead letter. The same retry again adds nothing. A repetition by the
// sender is a duplicate of the retry.
func testRetry(t *testing.T, b Backend) {
	q := open(t, b, Options{Partitions: 1})
	c := mustOpenReader(t, q)
	first := newRequest("k", 1)
	mustAppend(t, q, first)
	mustCommit(t, c, mustNext(t, c, 1))
	mustReachDepth(t, q, 0)
	for range 2 {
		again := retryOf(first)
		want := *again
		for i := range 3 {
			if receipt := mustAppend(t, q, again); receipt.Duplicate() {
				t.Fatalf("append %d of a retry is a duplicate of %s", i, receipt.DuplicateOf)
			}
		}
		r := mustNext(t, c, 1)
		mustBeRetry(t, r[0], &want)
		mustBeEmpty(t, c)
		if receipt := mustAppend(t, q, newRequest("k", 1)); receipt.DuplicateOf != again.RequestID {
			t.Errorf("a repetition after the retry is a duplicate of %s, want %s", receipt.DuplicateOf,
				again.RequestID)
		}
		mustCommit(t, c, append(r, mustNext(t, c, 1)...))
		mustReachDepth(t, q, 0)
		if receipt := mustAppend(t, q, again); receipt.Duplicate() {
			t.Errorf("the same retry after its release is a duplicate of %s", receipt.DuplicateOf)
		}
		mustBeEmpty(t, c)
	}
}

// testRetryWhileQueued: a retry is appended although a record with its identity is queued. Neither
// changes the other.
func testRetryWhileQueued(t *testing.T, b Backend) {
	q := open(t, b, Options{Partitions: 1})
	dead, other := newRequest("k", 1), newRequest("k", 1)
	mustAppend(t, q, other)
	again, twice := retryOf(dead), retryOf(dead)
	mustAppend(t, q, again)
	mustAppend(t, q, twice)
	if receipt := mustAppend(t, q, newRequest("k", 1)); receipt.DuplicateOf != twice.RequestID {
		t.Errorf("a repetition is a duplicate of %s, want of the last retry, %s", receipt.DuplicateOf,
			twice.RequestID)
	}
	c := mustOpenReader(t, q)
	records := mustNext(t, c, 4)
	if records[0].RequestID != other.RequestID || !records[0].DuplicateOf.IsZero() ||
		records[0].IsRetry() {
		t.Errorf("the record that was queued came as %+v", records[0])
	}
	mustBeRetry(t, records[1], again)
	mustBeRetry(t, records[2], twice)
	if records[3].DuplicateOf != twice.RequestID || len(records[3].Body) != 0 {
		t.Errorf("the repetition came as %+v", records[3])
	}
	mustCommit(t, c, records)
	mustReachDepth(t, q, 0)
	if receipt := mustAppend(t, q, newRequest("k", 1)); receipt.DuplicateOf != twice.RequestID {
		t.Errorf("after the release a repetition is a duplicate of %s, want %s", receipt.DuplicateOf,
			twice.RequestID)
	}
}

// testConcurrentRetries: many concurrent retries of one dead letter are all appended, each with its
// body.
func testConcurrentRetries(t *testing.T, b Backend) {
	q := open(t, b, Options{})
	const callers = 16
	dead := newRequest("k", 1)
	mustAppend(t, q, dead)
	var all sync.WaitGroup
	for range callers {
		all.Go(func() {
			if receipt, err := q.Append(context.Background(), retryOf(dead)); err != nil ||
				receipt.Duplicate() {
				t.Errorf("retry: %v, duplicate of %s", err, receipt.DuplicateOf)
			}
		})
	}
	all.Wait()
	seen := map[hookgate.RequestID]bool{}
	for _, r := range mustNext(t, mustOpenReader(t, q), callers+1)[1:] {
		if r.RetryOf != dead.RequestID || string(r.Body) != string(dead.Body) || seen[r.RequestID] {
			t.Errorf("a retry came as %+v", r.Request)
		}
		seen[r.RequestID] = true
	}
}

// testRetryFull: the high-water mark holds for retries too.
func testRetryFull(t *testing.T, b Backend) {
	q := open(t, b, Options{Partitions: 1, HighWater: 2})
	dead := newRequest("k", 1)
	mustAppend(t, q, dead)
	mustAppend(t, q, newRequest("k", 2))
	if _, err := q.Append(context.Background(), retryOf(dead)); !errors.Is(err, hookgate.ErrFull) {
		t.Errorf("a retry at the mark got %v, want ErrFull", err)
	}
	if receipt := mustNext(t, mustOpenReader(t, q), 2); len(receipt) != 2 {
		t.Errorf("%d records, want 2", len(receipt))
	}
}

// testRetrySurvives: after a crash the retry is unchanged and holds the claim.
func testRetrySurvives(t *testing.T, b Backend) {
	place := b.NewPlace(t)
	o := Options{Partitions: 1}.withDefaults()
	q := b.Open(t, place, o)
	dead := newRequest("k", 1)
	mustAppend(t, q, dead)
	c := mustOpenReader(t, q)
	mustCommit(t, c, mustNext(t, c, 1))
	again := retryOf(dead)
	mustAppend(t, q, again)
	q.Crash()
	q = b.Open(t, place, o)
	defer q.End()
	if receipt := mustAppend(t, q, again); receipt.Duplicate() {
		t.Errorf("after the crash the same retry is a duplicate of %s", receipt.DuplicateOf)
	}
	if receipt := mustAppend(t, q, newRequest("k", 1)); receipt.DuplicateOf != again.RequestID {
		t.Errorf("after the crash a repetition is a duplicate of %s, want %s", receipt.DuplicateOf,
			again.RequestID)
	}
	// Released records may come again first, because the release may have been lost.
	c = mustOpenReader(t, q)
	r := mustNext(t, c, 1)[0]
	if r.RequestID == dead.RequestID {
		r = mustNext(t, c, 1)[0]
	}
	mustBeRetry(t, r, again)
	if r := mustNext(t, c, 1)[0]; r.DuplicateOf != again.RequestID {
		t.Errorf("behind the retry comes %+v, want the repetition", r.Request)
	}
}

// testRetryFails: the append of a retry fails, before or after it took effect. The same request
// again is appended once.
func testRetryFails(t *testing.T, b Backend, done bool) {
	place := b.NewPlace(t)
	o := Options{Partitions: 1}.withDefaults()
	q := b.Open(t, place, o)
	dead := newRequest("k", 1)
	mustAppend(t, q, dead)
	q.FailWrites(&done)
	again := retryOf(dead)
	if _, err := q.Append(context.Background(), again); err == nil {
		t.Fatal("append whose write failed returned no error")
	}
	q.FailWrites(nil)
	if receipt := mustAppend(t, q, again); receipt.Duplicate() {
		t.Errorf("the repetition of a retry is a duplicate of %s", receipt.DuplicateOf)
	}
	for _, reopened := range []bool{false, true} {
		if reopened {
			q.Crash()
			q = b.Open(t, place, o)
			defer q.End()
		}
		c := mustOpenReader(t, q)
		records := mustNext(t, c, 2)
		if records[0].RequestID != dead.RequestID {
			t.Errorf("reopened %v: first comes %s", reopened, records[0].RequestID)
		}
		mustBeRetry(t, records[1], again)
		mustBeEmpty(t, c)
		c.Close()
	}
}

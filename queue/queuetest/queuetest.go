// Package queuetest is the conformance suite of hookgate.Queue and hookgate.BufferedQueue. Each
// backend runs it in its own tests:
//
//	queuetest.RunQueue(t, queuetest.QueueBackend{Open: …}) // any queue
//	queuetest.Run(t, queuetest.Backend{Open: …})           // a buffered one
package queuetest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/hookgate/hookgate"
)

// Options are the options that a test needs.
type Options struct {
	Partitions int
	HighWater  int64
	ClaimTTL   time.Duration
}

func (o Options) withDefaults() Options {
	if o.Partitions == 0 {
		o.Partitions = 4
	}
	if o.HighWater == 0 {
		o.HighWater = 100_000
	}
	if o.ClaimTTL == 0 {
		o.ClaimTTL = time.Hour
	}
	return o
}

// Backend opens queues of one kind.
type Backend struct {
	// Open opens the queue at a place. After End or Crash the same place has the same queue.
	Open func(t TB, place string, o Options) Instance
	// NewPlace returns a place without a queue.
	NewPlace func(t TB) string
	// FailsWrites reports whether instances have FailWrites. Without it the suite skips the tests with
	// failing writes.
	FailsWrites bool
}

// Instance is one open queue, with the faults that the suite needs.
type Instance struct {
	hookgate.BufferedQueue
	// End closes the queue and what the backend opened for it.
	End func() error
	// Crash ends the queue like a crash of its process: everything in memory is lost.
	Crash func()
	// FailWrites makes each following write fail: with done false before it takes effect, with done
	// true afterwards. nil ends that.
	FailWrites func(done *bool)
}

// TB is the part of testing.TB that the suite and the tests of rapid share.
type TB interface {
	Helper()
	Fatalf(format string, args ...any)
	Errorf(format string, args ...any)
	Logf(format string, args ...any)
	Cleanup(func())
}

// waitFor bounds the wait for something that must happen. It only ends tests that fail.
const waitFor = 3 * time.Minute

// Run runs the suite for buffered queues, and that for every queue.
func Run(t *testing.T, b Backend) {
	RunQueue(t, b.everyQueue())
	tests := []struct {
		name string
		run  func(*testing.T, Backend)
	}{
		{"AppendAndNext", testAppendAndNext},
		{"Duplicates", testDuplicates},
		{"UnprovenTypeIsNoPart", testUnprovenType},
		{"RequestOfSeveralEvents", testParts},
		{"SameRequestTwice", testSameRequestTwice},
		{"HighWater", testHighWater},
		{"ClaimExpires", testClaimExpires},
		{"Retry", testRetry},
		{"RetryWhileQueued", testRetryWhileQueued},
		{"ConcurrentRetries", testConcurrentRetries},
		{"RetryIsHeldUpByTheMark", testRetryFull},
		{"RetrySurvivesCrash", testRetrySurvives},
		{"NextLimits", testNextLimits},
		{"NextWaits", testNextWaits},
		{"CommitIsCumulative", testCommit},
		{"NothingReleasedUncommitted", testUncommitted},
		{"PositionsNeverReused", testPositions},
		{"Rebalance", testRebalance},
		{"CloseWhileNext", testCloseWhileNext},
		{"ClaimSurvivesReleaseAndCrash", testClaimSurvives},
		{"Stats", testStats},
		{"Closed", testClosed},
		{"Model", testModel},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) { test.run(t, b) })
	}
	if !b.FailsWrites {
		return
	}
	for name, done := range map[string]bool{"NotDone": false, "Done": true} {
		t.Run("RetryFails"+name, func(t *testing.T) { testRetryFails(t, b, done) })
		t.Run("CommitFails"+name, func(t *testing.T) { testCommitFails(t, b, done) })
	}
}

// open opens a queue at a new place and closes it after the test.
func open(t *testing.T, b Backend, o Options) Instance {
	t.Helper()
	q := b.Open(t, b.NewPlace(t), o.withDefaults())
	t.Cleanup(func() { q.End() })
	return q
}

// newRequest returns the n-th request of a key; n makes the message id.
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

func mustAppend(t TB, q hookgate.Queue, d *hookgate.Request) hookgate.Receipt {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), waitFor)
	defer cancel()
	r, err := q.Append(ctx, d)
	if err != nil {
		t.Fatalf("append %s: %v", d.Identity, err)
	}
	return r
}

func mustOpenReader(t TB, q hookgate.BufferedQueue) hookgate.PartitionReader {
	t.Helper()
	c, err := q.OpenReader(context.Background())
	if err != nil {
		t.Fatalf("open reader: %v", err)
	}
	return c
}

// mustNext reads exactly n records.
func mustNext(t TB, c hookgate.PartitionReader, n int) []hookgate.Record {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), waitFor)
	defer cancel()
	var all []hookgate.Record
	for len(all) < n {
		records, err := c.Next(ctx, n-len(all), 1<<30)
		if err != nil {
			t.Fatalf("next after %d of %d records: %v", len(all), n, err)
		}
		if len(records) == 0 {
			t.Fatalf("next returned neither a record nor an error")
		}
		all = append(all, records...)
	}
	return all
}

// mustBeEmpty checks that there is no record now.
func mustBeEmpty(t TB, c hookgate.PartitionReader) {
	t.Helper()
	if records := nextNow(t, c, 1000); len(records) > 0 {
		t.Fatalf("next returned %s at %s, want nothing", records[0].Identity, records[0].Position)
	}
}

// nextNow returns the records that are there, after a short wait for backends that ask another
// process. A test must never conclude from an empty result that an acknowledged record is missing.
func nextNow(t TB, c hookgate.PartitionReader, max int) []hookgate.Record {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	records, err := c.Next(ctx, max, 1<<30)
	if err != nil && ctx.Err() == nil {
		t.Fatalf("next: %v", err)
	}
	return records
}

func mustCommit(t TB, c hookgate.PartitionReader, records []hookgate.Record) {
	t.Helper()
	if err := c.Commit(context.Background(), hookgate.LastOffsets(records)); err != nil {
		t.Fatalf("commit: %v", err)
	}
}

// mustReachDepth waits until the queue reports want records.
func mustReachDepth(t TB, q hookgate.Queue, want int64) {
	t.Helper()
	var got int64
	for end := time.Now().Add(waitFor); time.Now().Before(end); time.Sleep(time.Millisecond) {
		s, err := q.Stats(context.Background())
		if err != nil {
			t.Fatalf("stats: %v", err)
		}
		if got = s.Depth; got == want {
			return
		}
	}
	t.Fatalf("depth stays at %d, want %d", got, want)
}

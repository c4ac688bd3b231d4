// Package storetest has two conformance suites: one of hookgate.Store and hookgate.Reader, and one
// of the ports of delivery. A backend runs them from its own tests:
//
//	storetest.Run(t, storetest.Backend{Open: …})
//	storetest.RunDelivery(t, storetest.DeliveryBackend{Open: …})
package storetest

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/control"
	"github.com/hookgate/hookgate/history"
	"github.com/hookgate/hookgate/refused"
)

// Backend creates stores of one kind.
type Backend struct {
	// Open opens the store at a place. The same place is the same store.
	Open func(t TB, place string) Instance
	// NewPlace returns a place that has no store yet.
	NewPlace func(t TB) string
	// FailsWrites reports that instances have FailWrites. Without it the tests of failing
	// transactions do not run.
	FailsWrites bool
	// Rejected returns a record that the store rejects because of its contents. It is nil if the
	// store takes everything that a queue can hold.
	Rejected func() hookgate.Record
	// Refuse makes the store at a place reject events of a type, but accept them as dead letters.
	// It is nil if the store has no way to do that.
	Refuse func(t TB, place, eventType string)
}

// Instance is one open store with what the suite needs.
type Instance struct {
	hookgate.Store
	hookgate.Reader
	hookgate.Purger
	Pruner
	Access
	History
	RefusedStore
	// Verify audits the store.
	Verify func() error
	// FailWrites makes all later transactions fail: before they take effect if done is false, after
	// that if done is true. Nil ends this.
	FailWrites func(done *bool)
}

// History is the port of package history.
type History = history.Store

// RefusedStore is the port of package refused.
type RefusedStore = refused.Store

// Access are the methods for the admin API: tokens, the admin trail and approvals.
type Access interface {
	CreateToken(context.Context, control.Token) error
	Token(ctx context.Context, hash [32]byte) (control.Token, error)
	Tokens(context.Context) ([]control.Token, error)
	RevokeToken(ctx context.Context, name string, at time.Time) (control.Token, error)
	RecordAction(context.Context, control.AdminAction) error
	Actions(ctx context.Context, f control.ActionFilter) ([]control.AdminAction, error)
	RequestApproval(ctx context.Context, a control.Approval, maxPending int) (control.Approval,
		error)
	DecideApproval(context.Context, control.ApprovalDecision) (control.Approval, error)
	UseApproval(ctx context.Context, id int64, by hookgate.RequestID, at time.Time) (control.Approval,
		error)
	Approval(ctx context.Context, id int64) (control.Approval, error)
	Approvals(context.Context, control.ApprovalFilter) ([]control.Approval, error)
}

// TB is the part of testing.TB that rapid's tests have too.
type TB interface {
	Helper()
	Fatalf(format string, args ...any)
	Errorf(format string, args ...any)
	Logf(format string, args ...any)
	Cleanup(func())
}

// Run runs the suite. After each test the store's audit chain must hold.
func Run(t *testing.T, b Backend) {
	tests := []struct {
		name string
		run  func(*testing.T, Instance)
	}{
		{"EventAsItWas", testEvent},
		{"Bodies", testBodies},
		{"IdentityHasThreeParts", testIdentity},
		{"UnprovenTypeIsNoPart", testUnprovenType},
		{"OneRowForEachIdentity", testDuplicates},
		{"RepeatedBatch", testRepeated},
		{"PartlyRepeatedBatch", testPartlyRepeated},
		{"SameRequestTwice", testSameRequest},
		{"ManyPartitionsInABatch", testPartitions},
		{"Fence", testFence},
		{"NoEpoch", testNoEpoch},
		{"DeadLetters", testDeadLetters},
		{"DeadLetterStates", testDeadLetterStates},
		{"DeadLetterComesAgain", testDeadLetterComesAgain},
		{"DeadLetterFilters", testDeadLetterFilters},
		{"DeadLetterPages", testDeadLetterPages},
		{"Replays", testReplays},
		{"Purge", testPurge},
		{"PurgeWhileWriting", testPurgeWhileWriting},
		{"PruneBodies", testPruneBodies},
		{"PruneTrail", testPruneTrail},
		{"PruneStoredDeadLetter", testPruneStoredDeadLetter},
		{"PruneSteps", testPruneSteps},
		{"PruneNothing", testPruneNothing},
		{"PruneWhileWriting", testPruneWhileWriting},
		{"PurgeTests", testPurgeTests},
		{"PurgeTestsAtTheEnd", testPurgeTestsAtTheEnd},
		{"PurgeTestsRequestBodies", testPurgeTestsRequestBodies},
		{"PurgeTestsWhileWriting", testPurgeTestsWhileWriting},
		{"CorruptRecord", testCorrupt},
		{"LateTimes", testTimes},
		{"TracePages", testTracePages},
		{"ListingEnds", testListingEnds},
		{"Trail", testTrail},
		{"TrailOfARetry", testTrailRetried},
		{"TrailOfTheSpool", testTrailSpooled},
		{"TrailOfAReplay", testTrailReplayed},
		{"Order", testOrder},
		{"Filters", testFilters},
		{"Pages", testPages},
		{"Search", testSearch},
		{"SearchIsPatient", testSearchTimeout},
		{"RequestOfSeveralEvents", testParts},
		{"PruneRequestBodies", testPruneRequestBodies},
		{"Tail", testTail},
		{"Cursors", testCursors},
		{"Request", testRequest},
		{"NotFound", testNotFound},
		{"StopReading", testStopReading},
		{"ReadWhileWriting", testReadWhileWriting},
		{"ConcurrentWorkers", testConcurrent},
		{"Direct", testDirect},
		{"DirectConcurrent", testDirectConcurrent},
		{"OneLog", testOneLog},
		{"EmptyBatch", testEmpty},
		{"Tokens", testTokens},
		{"TokenNames", testTokenNames},
		{"TokenRevokedTwice", testTokenRevokedTwice},
		{"AdminTrail", testAdminTrail},
		{"AdminTrailConcurrent", testAdminTrailConcurrent},
		{"Approvals", testApprovals},
		{"ApprovalStates", testApprovalStates},
		{"ApprovalRequests", testApprovalRequests},
		{"ApprovalList", testApprovalList},
		{"ApprovalsConcurrent", testApprovalsConcurrent},
		{"Minutes", testMinutes},
		{"Refused", testRefused},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := open(t, b)
			test.run(t, s)
			mustVerify(t, s)
		})
	}
	t.Run("IDs", func(t *testing.T) { testIDs(t, b) })
	t.Run("Reopen", func(t *testing.T) { testReopen(t, b) })
	t.Run("Closed", func(t *testing.T) { testClosed(t, b) })
	t.Run("Model", func(t *testing.T) { testModel(t, b) })
	if b.Rejected != nil {
		t.Run("Rejected", func(t *testing.T) { testRejected(t, b) })
	}
	if b.Refuse != nil {
		t.Run("Isolated", func(t *testing.T) { testIsolated(t, b) })
	}
	if b.FailsWrites {
		for name, done := range map[string]bool{"NotDone": false, "Done": true} {
			t.Run("ApplyFails"+name, func(t *testing.T) { testApplyFails(t, b, done) })
			t.Run("PurgeFails"+name, func(t *testing.T) { testPurgeFails(t, b, done) })
			t.Run("PruneFails"+name, func(t *testing.T) { testPruneFails(t, b, done) })
			t.Run("PurgeTestsFails"+name, func(t *testing.T) { testPurgeTestsFails(t, b, done) })
			t.Run("AccessFails"+name, func(t *testing.T) { testAccessFails(t, b, done) })
			t.Run("ApprovalFails"+name, func(t *testing.T) { testApprovalFails(t, b, done) })
			t.Run("RefusedFails"+name, func(t *testing.T) { testRefusedFails(t, b, done) })
			t.Run("MinutesFail"+name, func(t *testing.T) { testMinutesFail(t, b, done) })
			t.Run("AcquireFails"+name, func(t *testing.T) { testAcquireFails(t, b, done) })
		}
	}
}

func open(t *testing.T, b Backend) Instance {
	t.Helper()
	s := b.Open(t, b.NewPlace(t))
	t.Cleanup(func() { s.Close() })
	return s
}

// start is the time of the first record. Record n is received n seconds later.
var start = time.Date(2026, 11, 23, 10, 0, 0, 123_456_000, time.UTC)

// record returns record n of a key in partition 0. n determines the message id and the position.
func record(key string, n int) hookgate.Record {
	at := start.Add(time.Duration(n) * time.Second)
	return hookgate.Record{
		Request: hookgate.Request{
			RequestID: hookgate.NewRequestID(at),
			Identity: hookgate.Identity{Source: "default", EventType: "order.paid",
				MessageID: fmt.Sprintf("%s-%d", key, n)},
			OrderingKey: key,
			Sequence:    int64(n),
			Headers:     []hookgate.Header{{Name: "X-Trace", Value: "a\"b"}, {Name: "X-Trace", Value: "ü"}},
			Body:        fmt.Appendf(nil, `{"key":%q,"n":%d}`, key, n),
			RemoteAddr:  "192.0.2.1:4711",
			ReceivedAt:  at,
		},
		Position:   hookgate.Position{Major: 7, Minor: uint64(n)},
		EnqueuedAt: at.Add(time.Millisecond),
		Lease:      1,
	}
}

// again returns a new request with the identity of r.
func again(r hookgate.Record) hookgate.Record {
	r.RequestID = hookgate.NewRequestID(r.ReceivedAt)
	r.Position.Minor += 1000
	return r
}

// replayOf returns a retry of a dead letter, n minutes after its receipt.
func replayOf(dead hookgate.Record, n int) hookgate.Record {
	at := dead.ReceivedAt.Add(time.Duration(n) * time.Minute)
	r := dead
	r.RequestID, r.RetryOf, r.RetriedAt = hookgate.NewRequestID(at), dead.RequestID, at
	r.Position.Minor += uint64(2000 + n)
	r.EnqueuedAt = at.Add(time.Millisecond)
	return r
}

// owner applies batches in the way a worker does that owns partitions.
type owner struct {
	Instance
	epochs map[int]hookgate.Epoch
}

// own acquires the partitions.
func own(t TB, s Instance, partitions ...int) *owner {
	t.Helper()
	o := &owner{s, map[int]hookgate.Epoch{}}
	for _, p := range partitions {
		epoch, err := s.Acquire(context.Background(), p)
		if err != nil {
			t.Fatalf("acquire partition %d: %v", p, err)
		}
		o.epochs[p] = epoch
	}
	return o
}

func (o *owner) batch(records ...hookgate.Record) *hookgate.Batch {
	return &hookgate.Batch{
		Records: records, Epochs: o.epochs, Worker: "gate/1", ProcessedAt: start.Add(time.Hour),
		Attempts: 1,
	}
}

func (o *owner) apply(records ...hookgate.Record) (hookgate.Outcome, error) {
	return o.Apply(context.Background(), o.batch(records...))
}

func (o *owner) mustApply(t TB, records ...hookgate.Record) hookgate.Outcome {
	t.Helper()
	return mustApply(t, o, o.batch(records...))
}

// Duplicates returns the indexes of the duplicates, whether the queue or the store found them, in
// ascending order.
func Duplicates(o hookgate.Outcome) (indexes []int) {
	for i, r := range o.Results {
		if !r.DuplicateOf.IsZero() {
			indexes = append(indexes, i)
		}
	}
	return indexes
}

func mustApply(t TB, s hookgate.Store, b *hookgate.Batch) hookgate.Outcome {
	t.Helper()
	outcome, err := s.Apply(context.Background(), b)
	if err != nil {
		t.Fatalf("apply: %v", err)
	}
	return outcome
}

// mustHave checks the message ids of the events in stored order, and the counts.
func mustHave(t TB, s Instance, c hookgate.StoreCounts, messageIDs ...string) {
	t.Helper()
	var got []string
	for _, e := range list(t, s, hookgate.EventFilter{}) {
		got = append(got, e.MessageID)
	}
	if strings.Join(got, " ") != strings.Join(messageIDs, " ") {
		t.Errorf("stored are %v, want %v", got, messageIDs)
	}
	c.Events = int64(len(messageIDs))
	if counts, err := s.Counts(context.Background()); err != nil || counts != c {
		t.Errorf("counts are %+v (error %v), want %+v", counts, err, c)
	}
}

// list returns all events that match.
func list(t TB, s hookgate.Reader, f hookgate.EventFilter) (events []hookgate.StoredEvent) {
	t.Helper()
	for e, err := range s.Events(context.Background(), f) {
		if err != nil {
			t.Fatalf("list events: %v", err)
		}
		events = append(events, e)
	}
	return events
}

// stages returns the stages of each request of a message id, in order.
func stages(t TB, s hookgate.Reader, messageID string) (all []string) {
	t.Helper()
	trails, err := s.Trace(context.Background(), messageID, hookgate.RequestID{}, 1000)
	if err != nil {
		t.Fatalf("trace %q: %v", messageID, err)
	}
	for _, trail := range trails {
		var names []string
		for _, e := range trail.Entries {
			names = append(names, string(e.Stage))
		}
		all = append(all, strings.Join(names, " "))
	}
	return all
}

func mustVerify(t TB, s Instance) {
	t.Helper()
	if err := s.Verify(); err != nil {
		t.Errorf("the audit chain does not hold: %v", err)
	}
}

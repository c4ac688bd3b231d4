package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/internal/modeltest"
)

// DeliveryBackend creates stores that have the ports of delivery. A backend runs their suite from
// its own tests:
//
//	storetest.RunDelivery(t, storetest.DeliveryBackend{Open: …})
type DeliveryBackend struct {
	// Open opens the store at a place. The same place is the same store.
	Open func(t TB, place string) DeliveryStore
	// NewPlace returns a place that has no store yet.
	NewPlace func(t TB) string
	// Leases reports that several processes may use the store at the same time.
	Leases bool
}

// DeliveryStore is one open store with what the suite needs.
type DeliveryStore struct {
	Events  hookgate.Log
	Owner   hookgate.Subscriptions
	Pull    hookgate.Leases
	Reader  hookgate.SubscriptionReader
	Control hookgate.SubscriptionControl
	// Append stores events in one commit and returns their ids. AppendTo makes one of a store.
	Append func(t TB, events ...hookgate.Event) []int64
	// Other stores an entry of the log that is no event. OtherIn makes one of a store. It is nil if
	// the log has nothing but events.
	Other func(t TB)
	// Remove removes the events up to an id in the way retention does. It is nil if the suite shall
	// not test retention.
	Remove func(t TB, until int64)
	// FailWrites makes all later transactions fail: before they take effect if done is false, after
	// that if done is true. Nil ends this.
	FailWrites func(done *bool)
	Close      func() error
}

// AppendTo returns a DeliveryStore.Append that applies batches to a store.
func AppendTo(s hookgate.Store) func(TB, ...hookgate.Event) []int64 {
	return func(t TB, events ...hookgate.Event) (ids []int64) {
		t.Helper()
		b := &hookgate.Batch{Worker: "gate/1", ProcessedAt: start, Attempts: 1}
		for _, e := range events {
			b.Records = append(b.Records, hookgate.Record{Request: hookgate.Request{
				RequestID: e.RequestID, Identity: e.Identity, OrderingKey: e.OrderingKey, Keyed: e.Keyed,
				Headers: e.Headers, Body: e.Body, ReceivedAt: e.ReceivedAt,
			}})
		}
		for _, r := range mustApply(t, s, b).Results {
			ids = append(ids, r.ID)
		}
		return ids
	}
}

// OtherIn returns a DeliveryStore.Other that stores a dead letter.
func OtherIn(s hookgate.Store) func(TB) {
	return func(t TB) {
		t.Helper()
		r := record("other", 1)
		r.RequestID = hookgate.NewRequestID(start)
		mustApply(t, s, &hookgate.Batch{Worker: "gate/1", ProcessedAt: start, Attempts: 1,
			Dead: []hookgate.DeadLetter{{Record: r, Reason: "at fault"}}})
	}
}

// RemoveFrom returns a DeliveryStore.Remove that lets retention remove everything from a store.
func RemoveFrom(s Pruner) func(TB, int64) {
	return func(t TB, _ int64) {
		t.Helper()
		// Each step examines a part of the events that are kept.
		for idle := 0; idle < 4; idle++ {
			p, err := s.Prune(context.Background(),
				hookgate.Cutoffs{Events: time.Now().Add(time.Second)}, 10_000)
			if err != nil {
				t.Fatalf("remove events: %v", err)
			}
			if p.More {
				idle = 0
			}
		}
	}
}

// RunDelivery runs the suite of Log, Subscriptions, Leases, SubscriptionReader and
// SubscriptionControl.
// The tests of what an owner does run three times; outside of make soak the second and third time
// only those of Save. The second time each write of the owner fails
// once, without effect, and is repeated. The third time it fails after it has taken effect, and is
// repeated. All tests of a run share one store, as subscriptions do.
func RunDelivery(t *testing.T, b DeliveryBackend) {
	type test struct {
		name string
		run  func(*deliveryTest)
	}
	owner := []test{
		{"Define", testDefine},
		{"DefineStarts", testDefineStarts},
		{"DefineChanged", testDefineChanged},
		{"DefineComplete", testDefineComplete},
		{"DefineOrder", testDefineOrder},
		{"DefineTogether", testDefineTogether},
		{"Acquire", testAcquire},
		{"Fence", testDeliveryFence},
		{"Roster", testRoster},
		{"Owners", testOwners},
		{"LeaseRunsOut", testLeaseRunsOut},
		{"LeaseRenewed", testLeaseRenewed},
		{"SaveCursor", testSaveCursor},
		{"SaveAttempts", testSaveAttempts},
		{"SaveExceptions", testSaveExceptions},
		{"SaveLate", testSaveLate},
		{"SaveAfterPerson", testSaveAfterPerson},
		{"SaveHolds", testSaveHolds},
		{"SaveAgain", testSaveAgain},
		{"SavePause", testSavePause},
		{"SaveVersion", testSaveVersion},
		{"SaveMany", testSaveMany},
		{"Due", testDue},
		{"DueHolds", testDueHolds},
		{"DueMany", testDueMany},
		{"State", testState},
	}
	others := []test{
		{"SeekBack", testSeekBack},
		{"SeekForward", testSeekForward},
		{"SeekAfterSeek", testSeekAfterSeek},
		{"SeekPlaces", testSeekPlaces},
		{"SeekAhead", testSeekAhead},
		{"Pause", testPause},
		{"Retry", testRetry},
		{"Skip", testSkip},
		{"DeadLetter", testBury},
		{"ExceptionFilters", testExceptionFilters},
		{"ExceptionEvents", testExceptionEvents},
		{"ResolveFilters", testResolveFilters},
		{"Jobs", testJobs},
		{"JobEvents", testJobEvents},
		{"Forget", testForget},
		{"NoSubscription", testNobody},
		{"ReadLog", testReadLog},
		{"ReadLogPages", testReadLogPages},
		{"ReadLogKey", testReadLogKey},
		{"ReadLogGaps", testReadLogGaps},
		{"ReadEvents", testReadEvents},
		{"Grown", testGrown},
		{"ReadLogWhileWriting", testReadLogWhileWriting},
		{"Lease", testLease},
		{"LeaseEnds", testLeaseEnds},
		{"LeaseMax", testLeaseMax},
		{"CommitFenced", testCommitFenced},
		{"CommitOwner", testCommitOwner},
		{"CommitTogether", testCommitTogether},
		{"CommitFails", testCommitFails},
		{"LeasesOut", testLeasesOut},
		{"Temporary", testTemporary},
		{"LeasedKept", testLeasedKept},
		{"Removed", testRemoved}, // the last one, because it removes what others stored
	}
	no, yes := false, true
	for _, mode := range []struct {
		name string
		done *bool
	}{{"Plain", nil}, {"WritesFailNotDone", &no}, {"WritesFailDone", &yes}} {
		t.Run(mode.name, func(t *testing.T) {
			place := b.NewPlace(t)
			s := b.Open(t, place)
			t.Cleanup(func() { s.Close() })
			if mode.done != nil {
				s.Owner = &twice{s.Owner, s.FailWrites, mode.done}
			}
			tests := owner
			switch {
			case mode.done == nil:
				tests = slices.Concat(owner, others)
			case !modeltest.Soak():
				tests = slices.DeleteFunc(slices.Clone(owner),
					func(t test) bool { return !strings.HasPrefix(t.name, "Save") })
			}
			for _, test := range tests {
				t.Run(test.name, func(t *testing.T) {
					test.run(&deliveryTest{T: t, DeliveryStore: s, leases: b.Leases,
						prefix: strings.ToLower(test.name),
						open:   func() DeliveryStore { return b.Open(t, place) }})
				})
			}
		})
	}
	for name, done := range map[string]bool{"NotDone": false, "Done": true} {
		t.Run("ControlFails"+name, func(t *testing.T) { testControlFails(t, b, done) })
	}
	t.Run("Reopen", func(t *testing.T) { testDeliveryReopen(t, b) })
	t.Run("Model", func(t *testing.T) { testDeliveryModel(t, b) })
}

// deliveryTest is a test of the suite. Its subscriptions have names of its own.
type deliveryTest struct {
	*testing.T
	DeliveryStore
	leases bool
	prefix string // of the names of subscriptions
	// open opens the store once more, as another process does.
	open func() DeliveryStore
}

// twice makes every write fail once before it succeeds. Reads pass.
type twice struct {
	hookgate.Subscriptions
	failWrites func(*bool)
	done       *bool
}

// fails runs a write that must fail.
func (w *twice) fails(write func() error) {
	w.failWrites(w.done)
	defer w.failWrites(nil)
	_ = write() // Define, Renew and an empty Save may have nothing to write
}

// day is a time before all tests. Stores keep times in microseconds.
var day = time.Date(2026, 11, 20, 8, 0, 0, 250_000_000, time.UTC)

// message returns event n of a key. Without a key it is an event that has none of its own.
func message(key string, n int) hookgate.Event {
	at := time.Now().UTC().Truncate(time.Microsecond)
	id := hookgate.NewRequestID(at)
	return hookgate.Event{
		Identity:  hookgate.Identity{Source: "default", EventType: "order.paid", MessageID: id.String()},
		RequestID: id, OrderingKey: orElse(key, "order.paid"), Keyed: key != "",
		Headers:    []hookgate.Header{{Name: "X-Trace", Value: "a\"b"}, {Name: "X-Trace", Value: "ü"}},
		ReceivedAt: at, Body: fmt.Appendf(nil, `{"key":%q,"n":%d}`, key, n),
	}
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// append stores one event of each key in one commit.
func (d *deliveryTest) append(keys ...string) (ids []int64) {
	d.Helper()
	var events []hookgate.Event
	for n, key := range keys {
		events = append(events, message(key, n))
	}
	return d.Append(d, events...)
}

// appendEach stores one event of each key, each in its own commit.
func (d *deliveryTest) appendEach(keys ...string) (ids []int64) {
	d.Helper()
	for _, key := range keys {
		ids = append(ids, d.append(key)...)
	}
	return ids
}

// definition returns a definition whose text has all its parts.
func definition(name string, order hookgate.Order,
	f hookgate.Filter) hookgate.SubscriptionDefinition {
	return hookgate.SubscriptionDefinition{Name: name, Order: order, Filter: f,
		Start:      hookgate.Start{At: hookgate.StartNow},
		Definition: fmt.Sprintf(`{"order":%q,"sources":"%v","types":"%v"}`, order, f.Sources, f.Types)}
}

func (d *deliveryTest) mustDefine(complete bool, defs ...hookgate.SubscriptionDefinition) []int64 {
	d.Helper()
	revisions, err := d.Owner.Define(d.Context(), defs, complete)
	if err != nil || len(revisions) != len(defs) {
		d.Fatalf("define returned the revisions %v, error %v", revisions, err)
	}
	return revisions
}

// subject is a subscription with its owner.
type subject struct {
	*deliveryTest
	hookgate.SubscriptionDefinition
	revision int64
	*hookgate.SubscriptionState
}

// subscribe defines a subscription from now on, with the order key, and acquires it.
func (d *deliveryTest) subscribe(name string) *subject {
	d.Helper()
	def := definition(d.prefix+"-"+name, hookgate.OrderKey, hookgate.Filter{})
	s := &subject{deliveryTest: d, SubscriptionDefinition: def, revision: d.mustDefine(false, def)[0]}
	s.acquire()
	return s
}

// acquire acquires the subscription again and returns its state.
func (s *subject) acquire() *hookgate.SubscriptionState {
	s.Helper()
	state, err := s.Owner.Acquire(s.Context(), s.Name, "owner", time.Hour, s.revision)
	if err != nil {
		s.Fatalf("acquire %s: %v", s.Name, err)
	}
	s.SubscriptionState = state
	return state
}

// save saves results.
func (s *subject) save(r *hookgate.Results) (version int64) {
	s.Helper()
	version, err := s.Owner.Save(s.Context(), s.Name, s.Epoch, r)
	if err != nil {
		s.Fatalf("save: %v", err)
	}
	return version
}

// info returns how the reader shows the subscription.
func (s *subject) info() hookgate.SubscriptionInfo {
	s.Helper()
	info, ok := s.find(s.Name)
	if !ok {
		s.Fatalf("the reader does not have subscription %s", s.Name)
	}
	return info
}

// find returns how the reader shows a subscription.
func (d *deliveryTest) find(name string) (hookgate.SubscriptionInfo, bool) {
	d.Helper()
	all, err := d.Reader.Subscriptions(d.Context())
	if err != nil {
		d.Fatalf("%v", err)
	}
	for _, info := range all {
		if info.Name == name {
			return info, true
		}
	}
	return hookgate.SubscriptionInfo{}, false
}

// entry returns the subscription's entry of the roster.
func (s *subject) entry() hookgate.RosterEntry {
	s.Helper()
	for _, e := range s.roster("onlooker").Subscriptions {
		if e.Name == s.Name {
			return e
		}
	}
	s.Fatalf("the roster does not have subscription %s", s.Name)
	return hookgate.RosterEntry{}
}

func (d *deliveryTest) roster(owner string) hookgate.Roster {
	d.Helper()
	r, err := d.Owner.Renew(d.Context(), owner, time.Hour)
	if err != nil {
		d.Fatalf("renew: %v", err)
	}
	return r
}

// exceptions returns all exceptions of the subscription.
func (s *subject) exceptions() (all []hookgate.Exception) {
	s.Helper()
	stored, err := s.Reader.Exceptions(s.Context(), hookgate.ExceptionFilter{Subscription: s.Name,
		Limit: 1_000_000})
	if err != nil {
		s.Fatalf("list exceptions: %v", err)
	}
	for _, e := range stored {
		all = append(all, inUTC(e.Exception))
	}
	return all
}

func inUTC(e hookgate.Exception) hookgate.Exception {
	e.Due, e.Changed = e.Due.UTC(), e.Changed.UTC()
	return e
}

// attempts returns the attempts of an event, in UTC.
func (d *deliveryTest) attempts(event int64) (all []hookgate.StoredAttempt) {
	d.Helper()
	all, err := d.Reader.Attempts(d.Context(), event)
	if err != nil {
		d.Fatalf("list attempts: %v", err)
	}
	for i := range all {
		all[i].At = all[i].At.UTC()
	}
	return all
}

// read returns the ids of all events after an id.
func (d *deliveryTest) read(after int64) (ids []int64) {
	d.Helper()
	page, err := d.Events.ReadLog(d.Context(), hookgate.LogQuery{After: after, Max: 1_000_000,
		MaxBytes: 1 << 30})
	if err != nil || page.More {
		d.Fatalf("read the log: more is %v, error %v", page.More, err)
	}
	return logIDs(page.Events)
}

func logIDs(events []hookgate.Event) (ids []int64) {
	for _, e := range events {
		ids = append(ids, e.ID)
	}
	return ids
}

// same reports a difference between two values that print alike if they are equal.
func same(t TB, what string, got, want any) {
	t.Helper()
	if g, w := fmt.Sprintf("%+v", got), fmt.Sprintf("%+v", want); g != w {
		t.Errorf("%s:\n got %s\nwant %s", what, g, w)
	}
}

// isError reports an error that is not the wanted one.
func isError(t TB, what string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("%s returned %v, want %v", what, got, want)
	}
}

// waiting returns an exception after one failed attempt.
func waiting(event int64, key string, due time.Time) hookgate.Exception {
	return hookgate.Exception{Event: event, OrderingKey: key, State: hookgate.ExceptionWaiting,
		Attempts: 1, Due: due, Since: time.Minute, Wait: time.Second, Reason: "503: \"busy\"",
		Status: 503, Changed: day}
}

// parked returns an exception that is out of time.
func parked(event int64, key string) hookgate.Exception {
	e := waiting(event, key, time.Time{})
	e.State, e.Wait = hookgate.ExceptionParked, 0
	return e
}

// dead returns an exception that is a dead letter.
func dead(event int64) hookgate.Exception {
	e := parked(event, "")
	e.State = hookgate.ExceptionDead
	return e
}

// tried returns an attempt that ended n seconds after day.
func tried(event int64, n int, o hookgate.AttemptOutcome) hookgate.Attempt {
	a := hookgate.Attempt{Event: event, Number: n, Outcome: o, Status: 200,
		At: day.Add(time.Duration(n) * time.Second), Took: 25 * time.Millisecond}
	if o != hookgate.AttemptDelivered {
		a.Status, a.Reason = 503, "503: \"busy\""
	}
	return a
}

// person is who changes subscriptions.
var person = hookgate.Person{By: "ada", Reason: "because"}

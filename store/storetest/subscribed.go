package storetest

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/store/sqlstore"
)

// subscriber is the owner of a subscription in a store with all of its other ports.
type subscriber struct {
	testing.TB
	Instance
	*sqlstore.Subscriptions
	name  string
	epoch hookgate.Epoch
}

// subscribeTo defines a subscription of everything that a store will store, and acquires it.
func subscribeTo(t testing.TB, s Instance, subs *sqlstore.Subscriptions, name string) *subscriber {
	t.Helper()
	def := definition(name, hookgate.OrderKey, hookgate.Filter{})
	def.Start.At = hookgate.StartBeginning
	if _, err := subs.Define(t.Context(), []hookgate.SubscriptionDefinition{def}, false); err != nil {
		t.Fatal(err)
	}
	state, err := subs.Acquire(t.Context(), name, "me", time.Hour, 1)
	if err != nil {
		t.Fatal(err)
	}
	return &subscriber{t, s, subs, name, state.Epoch}
}

func (s *subscriber) save(r *hookgate.Results) {
	s.Helper()
	if _, err := s.Save(s.Context(), s.name, s.epoch, r); err != nil {
		s.Fatal(err)
	}
}

// attempts returns the number of attempts of each event.
func (s *subscriber) attempts(ids []int64) (counts []int) {
	s.Helper()
	for _, id := range ids {
		all, err := s.Attempts(s.Context(), id)
		if err != nil {
			s.Fatal(err)
		}
		counts = append(counts, len(all))
	}
	return counts
}

// appendKeys stores one event of each key, each in its own commit.
func appendKeys(t testing.TB, s Instance, keys ...string) (ids []int64) {
	t.Helper()
	for n, key := range keys {
		ids = append(ids, AppendTo(s)(t, message(key, n))...)
	}
	return ids
}

// Subscribed tests what a store does with its events because of subscriptions. open returns a new
// store.
func Subscribed(t *testing.T, open func(t *testing.T) (Instance, *sqlstore.Subscriptions)) {
	for name, test := range map[string]func(*testing.T, Instance, *sqlstore.Subscriptions){
		"HoldsRetentionUp": testHoldsRetentionUp,
		"PassedOver":       testPassedOver,
		"OldAttempts":      testOldAttempts,
		"KeptNotDone": func(t *testing.T, s Instance, subs *sqlstore.Subscriptions) {
			testKeptFails(t, s, subs, false)
		},
		"KeptDone": func(t *testing.T, s Instance, subs *sqlstore.Subscriptions) {
			testKeptFails(t, s, subs, true)
		},
		"LineageAttempts": testLineageAttempts,
		"LineageMany":     testLineageMany,
	} {
		t.Run(name, func(t *testing.T) {
			s, subs := open(t)
			defer s.Close()
			test(t, s, subs)
			mustVerify(t, s)
		})
	}
}

// testHoldsRetentionUp: the body of an event stays until the last configured subscription has
// passed it, and the step names that subscription. Removed subscriptions hold nothing up.
func testHoldsRetentionUp(t *testing.T, s Instance, subs *sqlstore.Subscriptions) {
	slow, fast := subscribeTo(t, s, subs, "slow"), subscribeTo(t, s, subs, "fast")
	ids := appendKeys(t, s, "a", "b", "c", "d")
	c := hookgate.Cutoffs{Events: cut(), Trail: cut()}
	fast.save(&hookgate.Results{Cursor: ids[3]})
	check := func(removed int64, by string) {
		t.Helper()
		events := int64(0)
		for more := true; more; {
			p, err := s.Prune(t.Context(), c, 2)
			if err != nil {
				t.Fatal(err)
			}
			events, more = events+p.Events, p.More
			if !more && p.HeldUpBy != by {
				t.Errorf("%q holds retention up, want %q", p.HeldUpBy, by)
			}
		}
		if events != removed {
			t.Errorf("retention removed %d bodies, want %d", events, removed)
		}
	}
	check(0, "slow")
	// A leased event is not done, although the cursor has passed it.
	lease := hookgate.Lease{ID: "1", Until: time.Now(), Events: []hookgate.LeasedEvent{
		{Event: ids[0], Excepted: true}, {Event: ids[1]}, {Event: ids[2]}}}
	slow.save(&hookgate.Results{Cursor: ids[2], Leases: []hookgate.Lease{lease}})
	check(1, "slow")
	slow.save(&hookgate.Results{Expired: []string{"1"}})
	check(2, "slow")
	if left := list(t, s, hookgate.EventFilter{}); len(left) != 1 || left[0].ID != fmt.Sprint(ids[3]) {
		t.Errorf("left are %+v, want event %d", left, ids[3])
	}
	if _, err := subs.Define(t.Context(), []hookgate.SubscriptionDefinition{
		definition("fast", hookgate.OrderKey, hookgate.Filter{})}, true); err != nil {
		t.Fatal(err)
	}
	check(1, "")
}

// testPassedOver: with Cutoffs.PassSubscriptions retention removes what no subscription has passed.
// A subscription cannot go back there.
func testPassedOver(t *testing.T, s Instance, subs *sqlstore.Subscriptions) {
	slow := subscribeTo(t, s, subs, "slow")
	ids := appendKeys(t, s, "a", "b", "c")
	slow.save(&hookgate.Results{Cursor: ids[0]})
	p := mustPrune(t, s, hookgate.Cutoffs{Events: cut(), PassSubscriptions: true}, 10)
	if p.Events != 3 || p.HeldUpBy != "" {
		t.Errorf("retention removed %+v, want three bodies", p)
	}
	var horizon *hookgate.HorizonError
	if _, err := subs.Seek(t.Context(), "slow", hookgate.Start{At: hookgate.StartAfter, After: ids[0]},
		false, person); !errors.As(err, &horizon) || horizon.Horizon != ids[2] {
		t.Errorf("a seek behind the horizon %d returned %v", ids[2], err)
	}
	if err := s.Ping(t.Context()); err != nil {
		t.Errorf("a seek that is answered made the store fail: %v", err)
	}
}

// testOldAttempts: attempts go with the lineage of their event. Those of an event that a
// subscription still needs stay as long as its copy does.
func testOldAttempts(t *testing.T, s Instance, subs *sqlstore.Subscriptions) {
	a := subscribeTo(t, s, subs, "a")
	ids := appendKeys(t, s, "a", "b", "c")
	a.save(&hookgate.Results{Cursor: ids[1], Created: []hookgate.Exception{parked(ids[1], "b")},
		Attempts: []hookgate.Attempt{tried(ids[0], 1, hookgate.AttemptDelivered),
			tried(ids[1], 1, hookgate.AttemptParked)},
		Holds: []hookgate.Hold{{OrderingKey: "b", After: ids[1] - 1}}})
	at := cut()
	c := hookgate.Cutoffs{Events: at, Trail: at}
	if p := mustPrune(t, s, hookgate.Cutoffs{Events: at}, 10); p.Events != 2 {
		t.Errorf("retention removed %+v, want two bodies", p)
	}
	same(t, "attempts without bodies", a.attempts(ids), []int{1, 1, 0})
	mustPrune(t, s, c, 10)
	same(t, "attempts without lineage", a.attempts(ids), []int{0, 1, 0})
	a.save(&hookgate.Results{Attempts: []hookgate.Attempt{tried(ids[1], 2, hookgate.AttemptDelivered)},
		Freed: []string{"b"}})
	mustPrune(t, s, c, 10)
	same(t, "attempts that nothing needs", a.attempts(ids), []int{0, 0, 0})
}

// testKeptFails: a step of retention fails, before or after it took effect, and is repeated. The
// event that a subscription needs can be read, and goes when it is settled.
func testKeptFails(t *testing.T, s Instance, subs *sqlstore.Subscriptions, done bool) {
	a := subscribeTo(t, s, subs, "a")
	ids := appendKeys(t, s, "a", "b", "c")
	a.save(&hookgate.Results{Cursor: ids[2], Created: []hookgate.Exception{parked(ids[1], "b")},
		Holds: []hookgate.Hold{{OrderingKey: "b", After: ids[1] - 1}}})
	c := hookgate.Cutoffs{Events: cut()}
	step := func(want ...int64) {
		t.Helper()
		s.FailWrites(&done)
		_, err := s.Prune(t.Context(), c, 10)
		if err == nil || !strings.Contains(err.Error(), "injected") {
			t.Fatalf("prune got %v, want the injected error", err)
		}
		s.FailWrites(nil)
		mustPrune(t, s, c, 10)
		events, err := s.Store.(hookgate.Log).ReadEvents(t.Context(), ids)
		if err != nil {
			t.Fatal(err)
		}
		same(t, "events", logIDs(events), want)
		for _, e := range events {
			if len(e.Body) == 0 {
				t.Errorf("event %d has no body", e.ID)
			}
		}
	}
	step(ids[1])
	if n, err := subs.Resolve(t.Context(), hookgate.ExceptionFilter{Subscription: "a"},
		hookgate.ResolveSkip, false, person); n != 1 || err != nil {
		t.Fatalf("skipped %d events, error %v", n, err)
	}
	step()
}

// testLineageAttempts: the trail of a request shows the attempts of its event in all subscriptions,
// in the order of time, also when the body is gone.
func testLineageAttempts(t *testing.T, s Instance, subs *sqlstore.Subscriptions) {
	a, b := subscribeTo(t, s, subs, "a"), subscribeTo(t, s, subs, "b")
	e := message("k", 1)
	other := message("k", 2)
	other.MessageID = e.MessageID
	other.EventType = "order.refunded"
	ids := AppendTo(s)(t, e, other)
	later := time.Now().UTC().Truncate(time.Microsecond).Add(time.Minute)
	attempt := func(seconds, number int, outcome hookgate.AttemptOutcome) hookgate.Attempt {
		return hookgate.Attempt{Event: ids[0], Number: number, Outcome: outcome, Status: 503,
			At: later.Add(time.Duration(seconds) * time.Second), Took: 1500 * time.Microsecond,
			Reason: "busy"}
	}
	again := attempt(5, 1, hookgate.AttemptDelivered)
	again.Redelivery, again.Status, again.Reason = 3, 204, ""
	dead := attempt(4, 1, hookgate.AttemptDeadLettered)
	dead.Event = ids[1]
	a.save(&hookgate.Results{Cursor: ids[1], Attempts: []hookgate.Attempt{
		attempt(1, 1, hookgate.AttemptFailed), attempt(3, 2, hookgate.AttemptParked), again, dead}})
	b.save(&hookgate.Results{Cursor: ids[1], Attempts: []hookgate.Attempt{
		attempt(2, 1, hookgate.AttemptDelivered)}})
	want := []string{"received enqueued processed persisted attempt_failed delivered parked redelivered",
		"received enqueued processed persisted dead_lettered"}
	same(t, "stages", sorted(stages(t, s, e.MessageID)), sorted(want))
	trail, err := s.Request(t.Context(), e.RequestID)
	if err != nil || len(trail.Entries) != 8 {
		t.Fatalf("the request is %+v, error %v", trail, err)
	}
	for i, want := range map[int]map[string]any{
		4: {"subscription": "a", "attempt": 1.0, "status": 503.0, "durationMs": 1.5, "reason": "busy"},
		5: {"subscription": "b", "attempt": 1.0, "status": 503.0, "durationMs": 1.5, "reason": "busy"},
		7: {"subscription": "a", "attempt": 1.0, "redelivery": 3.0, "status": 204.0, "durationMs": 1.5},
	} {
		var got map[string]any
		if err := json.Unmarshal(trail.Entries[i].Metadata, &got); err != nil {
			t.Error(err)
		}
		same(t, "metadata", got, want)
	}
	mustPrune(t, s, hookgate.Cutoffs{Events: cut()}, 10)
	same(t, "stages without the body", sorted(stages(t, s, e.MessageID)), sorted([]string{
		"received enqueued processed persisted removed attempt_failed delivered parked redelivered",
		"received enqueued processed persisted removed dead_lettered"}))
}

func sorted(texts []string) []string { return slices.Sorted(slices.Values(texts)) }

// testLineageMany: a trail has the last attempts of each subscription, and says how many it leaves
// out.
func testLineageMany(t *testing.T, s Instance, subs *sqlstore.Subscriptions) {
	const more = 7
	a, b := subscribeTo(t, s, subs, "a"), subscribeTo(t, s, subs, "b")
	e := message("k", 1)
	id := AppendTo(s)(t, e)[0]
	var attempts []hookgate.Attempt
	for n := range hookgate.MaxTrailAttempts + more {
		one := tried(id, n+1, hookgate.AttemptFailed)
		one.At = one.At.Add(time.Duration(n) * time.Second)
		attempts = append(attempts, one)
	}
	a.save(&hookgate.Results{Attempts: attempts})
	b.save(&hookgate.Results{Attempts: attempts[:hookgate.MaxTrailAttempts]})
	trail, err := s.Request(t.Context(), e.RequestID)
	if err != nil || len(trail.Entries) != 4+2*hookgate.MaxTrailAttempts {
		t.Fatalf("the trail has %d entries, error %v", len(trail.Entries), err)
	}
	omitted := 0
	for _, entry := range trail.Entries {
		if strings.Contains(string(entry.Metadata), "omitted") {
			omitted++
			var m struct {
				Subscription string
				Attempt      int
				Omitted      int
			}
			if err := json.Unmarshal(entry.Metadata, &m); err != nil || m.Subscription != "a" ||
				m.Attempt != more+1 || m.Omitted != more {
				t.Errorf("an entry says %s, error %v", entry.Metadata, err)
			}
		}
	}
	if omitted != 1 {
		t.Errorf("%d entries say that earlier ones are omitted, want one", omitted)
	}
}

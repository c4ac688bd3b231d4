package storetest

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/hookgate/hookgate"
)

// testDefine creates a subscription and reads back everything that the reader shows of it.
func testDefine(d *deliveryTest) {
	d.append("a", "b")
	before := time.Now().Add(-time.Minute) // the store may have another clock
	s := d.subscribe("new")
	after := time.Now().Add(time.Minute)
	info := s.info()
	if !info.OldestStoredAt.IsZero() || info.Backlog != 0 {
		d.Errorf("a new subscription has a backlog of %d since %v", info.Backlog, info.OldestStoredAt)
	}
	ids := d.append("a", "")
	info = s.info()
	if info.CreatedAt.Before(before) || info.CreatedAt.After(after) {
		d.Errorf("created at %v, not between %v and %v", info.CreatedAt, before, after)
	}
	same(d, "events after the cursor", d.read(info.Cursor), ids)
	oldest, err := d.Events.ReadEvents(d.Context(), ids[:1])
	if err != nil || len(oldest) != 1 || !oldest[0].StoredAt.Equal(info.OldestStoredAt) {
		d.Errorf("the oldest event is %+v (error %v), and the reader says %v", oldest, err,
			info.OldestStoredAt)
	}
	want := hookgate.SubscriptionInfo{SubscriptionDefinition: s.SubscriptionDefinition,
		Revision: s.revision, Cursor: s.Cursor, End: ids[1], Backlog: 2, CreatedAt: info.CreatedAt,
		OldestStoredAt: info.OldestStoredAt, Owner: "owner"}
	want.Start, info.Start = hookgate.Start{}, hookgate.Start{}
	same(d, "the subscription", info, want)
	if s.revision < 1 {
		d.Errorf("the first revision is %d", s.revision)
	}
}

// testDefineStarts creates subscriptions with each kind of start.
func testDefineStarts(d *deliveryTest) {
	ids := d.appendEach("a", "b", "c", "d")
	events, err := d.Events.ReadEvents(d.Context(), ids)
	if err != nil || len(events) != 4 {
		d.Fatalf("read %d events, error %v", len(events), err)
	}
	third := events[2].StoredAt
	since := ids[slices.IndexFunc(events, func(e hookgate.Event) bool {
		return !e.StoredAt.Before(third)
	}):]
	for name, test := range map[string]struct {
		start hookgate.Start
		want  []int64
	}{
		"now":       {hookgate.Start{At: hookgate.StartNow}, nil},
		"beginning": {hookgate.Start{At: hookgate.StartBeginning}, d.read(0)},
		"time":      {hookgate.Start{At: hookgate.StartTime, Time: third}, since},
		"early":     {hookgate.Start{At: hookgate.StartTime, Time: time.Unix(1, 0)}, d.read(0)},
		"future": {hookgate.Start{At: hookgate.StartTime, Time: time.Now().Add(time.Hour)},
			nil},
		"id":  {hookgate.Start{At: hookgate.StartAfter, After: ids[1]}, ids[2:]},
		"gap": {hookgate.Start{At: hookgate.StartAfter, After: ids[3] - 1}, ids[3:]},
		"end": {hookgate.Start{At: hookgate.StartAfter, After: ids[3]}, nil},
	} {
		def := definition("starts-"+name, hookgate.OrderKey, hookgate.Filter{})
		def.Start = test.start
		d.mustDefine(false, def)
		info, _ := d.find(def.Name)
		same(d, "events of a start at "+name, d.read(info.Cursor), test.want)
	}
}

// testDefineChanged stores definitions again: the same ones keep their revision, changed ones get
// the next, and neither loses state.
func testDefineChanged(d *deliveryTest) {
	s, other := d.subscribe("a"), d.subscribe("b")
	ids := d.append("k", "l")
	s.save(&hookgate.Results{Cursor: ids[0], Created: []hookgate.Exception{waiting(ids[0], "k", day)},
		Holds: []hookgate.Hold{{OrderingKey: "k", After: ids[0] - 1}}})
	s.Start = hookgate.Start{At: hookgate.StartBeginning} // it is used once
	same(d, "revisions of the same definitions",
		d.mustDefine(false, s.SubscriptionDefinition, other.SubscriptionDefinition),
		[]int64{s.revision, other.revision})
	changed := definition(s.Name, hookgate.OrderKey, hookgate.Filter{Sources: []string{"default"},
		Types: []string{"order.*", "invoice.paid"}})
	revisions := d.mustDefine(false, other.SubscriptionDefinition, changed)
	if revisions[0] != other.revision || revisions[1] <= s.revision {
		d.Errorf("revisions are %v after %d and %d", revisions, other.revision, s.revision)
	}
	info := s.info()
	same(d, "filter", info.Filter, changed.Filter)
	same(d, "text", info.Definition, changed.Definition)
	if info.Cursor != ids[0] || info.Waiting != 1 || info.Held != 1 || info.Revision != revisions[1] {
		d.Errorf("after a changed definition the subscription is %+v", info)
	}
	if other := other.info(); other.Revision != revisions[0] {
		d.Errorf("the other one has revision %d, want %d", other.Revision, revisions[0])
	}
}

// testDefineComplete removes a subscription from the configuration and adds it again.
func testDefineComplete(d *deliveryTest) {
	s, other := d.subscribe("a"), d.subscribe("b")
	ids := d.append("k", "l")
	s.save(&hookgate.Results{Cursor: ids[0], Created: []hookgate.Exception{parked(ids[0], "k")},
		Attempts: []hookgate.Attempt{tried(ids[0], 1, hookgate.AttemptParked)}})
	d.mustDefine(false, other.SubscriptionDefinition)
	if at := s.info().RemovedAt; !at.IsZero() {
		d.Errorf("an incomplete list removed a subscription at %v", at)
	}
	d.mustDefine(true, other.SubscriptionDefinition)
	removed := s.info()
	if removed.RemovedAt.IsZero() || !other.info().RemovedAt.IsZero() {
		d.Errorf("removed at %v, and the other one at %v", removed.RemovedAt, other.info().RemovedAt)
	}
	d.mustDefine(true, other.SubscriptionDefinition)
	if at := s.info().RemovedAt; !at.Equal(removed.RemovedAt) {
		d.Errorf("removed at %v, and then at %v", removed.RemovedAt, at)
	}
	s.revision = d.mustDefine(true, s.SubscriptionDefinition, other.SubscriptionDefinition)[0]
	s.acquire()
	info := s.info()
	if !info.RemovedAt.IsZero() || info.Cursor != ids[0] || info.Parked != 1 || s.Cursor != ids[0] {
		d.Errorf("defined again, the subscription is %+v", info)
	}
	same(d, "attempts", len(d.attempts(ids[0])), 1)
	d.mustDefine(true) // none at all
	if s.info().RemovedAt.IsZero() || other.info().RemovedAt.IsZero() {
		d.Errorf("an empty complete list left subscriptions")
	}
}

// testDefineOrder changes the order of a subscription that has exceptions or holds. The call fails
// as a whole.
func testDefineOrder(d *deliveryTest) {
	s, other := d.subscribe("a"), d.subscribe("b")
	ids := d.append("k", "l", "m")
	order := definition(s.Name, hookgate.OrderAll, hookgate.Filter{})
	changed := definition(other.Name, hookgate.OrderKey, hookgate.Filter{Types: []string{"x"}})
	fresh := definition(s.Name+"-fresh", hookgate.OrderKey, hookgate.Filter{})
	refused := func(what string, exceptions int) {
		d.Helper()
		_, err := d.Owner.Define(d.Context(), []hookgate.SubscriptionDefinition{changed, fresh, order},
			true)
		var failed *hookgate.OrderError
		if !errors.As(err, &failed) || failed.Subscription != s.Name || failed.Exceptions != exceptions {
			d.Errorf("%s: got error %#v", what, err)
		}
		if _, ok := d.find(fresh.Name); ok || other.info().Definition == changed.Definition ||
			s.info().Order != hookgate.OrderKey || s.info().Revision != s.revision {
			d.Errorf("%s: something has changed", what)
		}
	}
	s.save(&hookgate.Results{Cursor: ids[1], Holds: []hookgate.Hold{{OrderingKey: "k", After: 1}}})
	refused("a hold", 0)
	gone := tried(ids[2], 1, hookgate.AttemptDeadLettered)
	s.save(&hookgate.Results{Freed: []string{"k"}, Attempts: []hookgate.Attempt{gone},
		Created: []hookgate.Exception{waiting(ids[0], "", day), parked(ids[1], ""), dead(ids[2])}})
	refused("exceptions", 2)
	if _, err := d.Control.Resolve(d.Context(), hookgate.ExceptionFilter{Subscription: s.Name,
		Events: ids[:2]}, hookgate.ResolveDeadLetter, false, person); err != nil {
		d.Fatal(err)
	}
	d.mustDefine(false, order)
	if info := s.info(); info.Order != hookgate.OrderAll || info.Dead != 3 {
		d.Errorf("with dead letters alone, the order cannot change: %+v", info)
	}
}

// testDefineTogether lets three processes define the same new subscription at the same time. Each
// stores an event afterwards. All agree on the revision, and none of the events is missed.
func testDefineTogether(d *deliveryTest) {
	def := definition(d.prefix, hookgate.OrderKey, hookgate.Filter{})
	var revisions, ids [3]int64
	var wg sync.WaitGroup
	owner := d.Owner
	if w, ok := owner.(*twice); ok {
		owner = w.Subscriptions // FailWrites would hit the others too
	}
	for i := range revisions {
		wg.Go(func() {
			defined, err := owner.Define(d.Context(), []hookgate.SubscriptionDefinition{def}, false)
			if err != nil || len(defined) != 1 {
				d.Errorf("define: %v", err)
				return
			}
			revisions[i] = defined[0]
			ids[i] = d.Append(d, message(fmt.Sprint(i), 1))[0]
		})
	}
	wg.Wait()
	info, ok := d.find(def.Name)
	if !ok || revisions != [3]int64{info.Revision, info.Revision, info.Revision} {
		d.Errorf("revisions are %v, and the reader shows %+v", revisions, info)
	}
	for _, id := range ids {
		if id <= info.Cursor {
			d.Errorf("event %d came after Define, and the cursor is %d", id, info.Cursor)
		}
	}
}

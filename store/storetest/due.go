package storetest

import (
	"slices"
	"testing"
	"time"

	"github.com/hookgate/hookgate"
)

// due asks for at most max exceptions and holds that are due at a time.
func (s *subject) due(q hookgate.DueQuery) hookgate.Due {
	s.Helper()
	due, err := s.Owner.Due(s.Context(), s.Name, q)
	if err != nil {
		s.Fatalf("due: %v", err)
	}
	for i := range due.Exceptions {
		due.Exceptions[i] = inUTC(due.Exceptions[i])
	}
	if entry := s.entry(); due.Version != entry.Version {
		s.Errorf("Due returned version %d, and Renew %d", due.Version, entry.Version)
	}
	due.Next, due.Version = due.Next.UTC(), 0
	due.Holds = byKey(due.Holds)
	return due
}

// testDue asks for due exceptions at several times, with limits and with some left out.
func testDue(d *deliveryTest) {
	s := d.subscribe("a")
	ids := d.append("a", "b", "c", "d", "e", "f")
	at := func(minutes int) time.Time { return day.Add(time.Duration(minutes) * time.Minute) }
	// Due in an order that is not that of their ids.
	first, second, third, last := waiting(ids[3], "d", at(1)), waiting(ids[0], "a", at(2)),
		waiting(ids[2], "", at(3)), waiting(ids[1], "b", at(10))
	second.Redelivery = 4
	s.save(&hookgate.Results{Cursor: ids[5], Created: []hookgate.Exception{last, third, second, first,
		parked(ids[4], "e"), dead(ids[5])}})
	for name, test := range map[string]struct {
		query hookgate.DueQuery
		want  hookgate.Due
	}{
		"none is due": {hookgate.DueQuery{Now: at(1).Add(-time.Microsecond), Max: 10},
			hookgate.Due{Next: at(1)}},
		"one is due":   {hookgate.DueQuery{Now: at(1), Max: 10}, hookgate.Due{Next: at(2)}},
		"three are":    {hookgate.DueQuery{Now: at(5), Max: 10}, hookgate.Due{Next: at(10)}},
		"all are":      {hookgate.DueQuery{Now: at(10), Max: 10}, hookgate.Due{}},
		"limit":        {hookgate.DueQuery{Now: at(10), Max: 2}, hookgate.Due{Next: at(3)}},
		"limit is met": {hookgate.DueQuery{Now: at(10), Max: 4}, hookgate.Due{}},
		"some are left out": {hookgate.DueQuery{Now: at(3), Max: 10,
			NotEvents: []hookgate.EventRedelivery{{Event: ids[3]}, {Event: ids[0], Redelivery: 4},
				{Event: ids[2], Redelivery: 1}}}, hookgate.Due{Next: at(10)}},
		"the next is left out": {hookgate.DueQuery{Now: at(5), Max: 10,
			NotEvents: []hookgate.EventRedelivery{{Event: ids[1]}}}, hookgate.Due{}},
	} {
		d.Run(name, func(*testing.T) {
			test.want.Count = 5
			for _, e := range []hookgate.Exception{first, second, third, last} {
				id := hookgate.EventRedelivery{Event: e.Event, Redelivery: e.Redelivery}
				if !e.Due.After(test.query.Now) && len(test.want.Exceptions) < test.query.Max &&
					!slices.Contains(test.query.NotEvents, id) {
					test.want.Exceptions = append(test.want.Exceptions, e)
				}
			}
			same(d, name, s.due(test.query), test.want)
		})
	}
}

// testDueHolds asks for holds. Only those count whose first event has no exception.
func testDueHolds(d *deliveryTest) {
	s := d.subscribe("a")
	ids := d.append("a", "b", "c", "d", "e")
	hold := func(i int, key string) hookgate.Hold {
		return hookgate.Hold{OrderingKey: key, After: ids[i] - 1}
	}
	s.save(&hookgate.Results{Cursor: ids[4], Created: []hookgate.Exception{
		waiting(ids[0], "a", day.Add(time.Hour)), parked(ids[1], "b")},
		Holds: []hookgate.Hold{hold(0, "a"), hold(1, "b"), hold(2, "c"), hold(3, "d"), hold(4, "e")}})
	want := hookgate.Due{Next: day.Add(time.Hour), Count: 2, Held: 5,
		Holds: []hookgate.Hold{hold(2, "c"), hold(3, "d"), hold(4, "e")}}
	same(d, "all", s.due(hookgate.DueQuery{Now: day, Max: 10}), want)
	if some := s.due(hookgate.DueQuery{Now: day, Max: 2}); len(some.Holds) != 2 || some.Held != 5 {
		d.Errorf("at most two are %+v", some)
	}
	if some := s.due(hookgate.DueQuery{Now: day, Max: 1, MaxHolds: 2}); len(some.Holds) != 2 {
		d.Errorf("at most two holds are %+v", some)
	}
	if none := s.due(hookgate.DueQuery{Now: day, Max: 10, MaxHolds: -1}); len(none.Holds) != 0 {
		d.Errorf("without holds came %+v", none)
	}
	want.Holds = []hookgate.Hold{hold(3, "d")}
	same(d, "some left out", s.due(hookgate.DueQuery{Now: day, Max: 10,
		NotKeys: []string{"c", "e", "nobody"}}), want)
	// A person settles the first event of a key. The key goes on after it.
	s.resolve(hookgate.ResolveSkip, ids[0])
	s.resolve(hookgate.ResolveDeadLetter, ids[1])
	same(d, "after a person settled two", s.due(hookgate.DueQuery{Now: day, Max: 10,
		NotKeys: []string{"c", "d", "e"}}), hookgate.Due{Held: 5, Holds: []hookgate.Hold{
		{OrderingKey: "a", After: ids[0]}, {OrderingKey: "b", After: ids[1]}}})
	s.pause(true)
	job := s.redeliver(hookgate.RedeliveryJob{Events: ids[:1]})
	due := s.due(hookgate.DueQuery{Now: day, Max: 10})
	if !due.Paused || len(due.Jobs) != 1 {
		d.Fatalf("of a paused subscription with a job came %+v", due)
	}
	same(d, "job", due.Jobs[0], job.RedeliveryJob)
}

// testDueMany asks page by page for many exceptions that are due, leaving out those seen before.
func testDueMany(d *deliveryTest) {
	const many, page = 1500, 400
	s := d.subscribe("a")
	var events []hookgate.Event
	for n := range many {
		events = append(events, message("", n))
	}
	r := &hookgate.Results{}
	for n, id := range d.Append(d, events...) {
		// Many are due at the same time.
		r.Created = append(r.Created, waiting(id, "", day.Add(time.Duration(n/100)*time.Second)))
	}
	s.save(r)
	q := hookgate.DueQuery{Now: day.Add(time.Hour), Max: page}
	for {
		due := s.due(q)
		for _, e := range due.Exceptions {
			q.NotEvents = append(q.NotEvents, hookgate.EventRedelivery{Event: e.Event})
		}
		if due.Count != many || due.Next.IsZero() != (len(q.NotEvents) == many) {
			d.Fatalf("after %d exceptions Count is %d and Next is %v", len(q.NotEvents), due.Count,
				due.Next)
		}
		if due.Next.IsZero() {
			break
		}
		if len(due.Exceptions) != page {
			d.Fatalf("%d exceptions came, although more are due", len(due.Exceptions))
		}
	}
	slices.SortFunc(q.NotEvents, func(a, b hookgate.EventRedelivery) int {
		return int(a.Event - b.Event)
	})
	if len(slices.Compact(q.NotEvents)) != many {
		d.Errorf("some exceptions came twice")
	}
}

// testState compares the state that a new owner finds with what was saved.
func testState(d *deliveryTest) {
	s := d.subscribe("a")
	ids := d.append("a", "b", "c", "d", "e", "f")
	again := tried(ids[2], 1, hookgate.AttemptDelivered)
	again.Redelivery = 9 // of a job: the event is not settled in the normal course
	job := waiting(ids[5], "", day)
	job.Redelivery = 9
	s.save(&hookgate.Results{Cursor: ids[0], Clock: time.Minute,
		Attempts: []hookgate.Attempt{tried(ids[0], 1, hookgate.AttemptDelivered),
			tried(ids[4], 1, hookgate.AttemptDelivered), tried(ids[3], 1, hookgate.AttemptDeadLettered),
			tried(ids[1], 1, hookgate.AttemptFailed), again},
		Created: []hookgate.Exception{waiting(ids[1], "b", day), dead(ids[3]), parked(ids[5], ""), job},
		Holds: []hookgate.Hold{{OrderingKey: "b", After: ids[1] - 1}, {OrderingKey: "z",
			After: ids[0]}}})
	state := s.acquire()
	state.Holds = byKey(state.Holds)
	same(d, "state", *state, hookgate.SubscriptionState{Epoch: state.Epoch, Version: state.Version,
		Cursor: ids[0], Settled: []int64{ids[3], ids[4]}, Excepted: []int64{ids[1], ids[5]},
		Holds: []hookgate.Hold{{OrderingKey: "b", After: ids[1] - 1, Excepted: true},
			{OrderingKey: "z", After: ids[0]}}, Exceptions: 3, Clock: time.Minute})
	s.pause(true)
	s.save(&hookgate.Results{Cursor: ids[3]})
	state = s.acquire()
	if !state.Paused || !slices.Equal(state.Settled, ids[4:5]) ||
		!slices.Equal(state.Excepted, ids[5:]) {
		d.Errorf("after the cursor has moved, the state is %+v", *state)
	}
	if other := d.subscribe("b"); len(other.Settled)+len(other.Excepted)+len(other.Holds) > 0 {
		d.Errorf("another subscription finds %+v", other.SubscriptionState)
	}
}

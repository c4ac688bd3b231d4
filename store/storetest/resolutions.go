package storetest

import (
	"fmt"
	"time"

	"github.com/hookgate/hookgate"
)

// testPause pauses and resumes a subscription.
func testPause(d *deliveryTest) {
	s := d.subscribe("a")
	before := time.Now().Add(-time.Minute)
	s.pause(true)
	info := s.info()
	if info.PausedAt.Before(before) || info.PausedBy != person.By ||
		info.PauseReason != person.Reason || !s.acquire().Paused {
		d.Errorf("paused, the subscription is %+v", info)
	}
	set := func(paused bool) {
		d.Helper()
		changed, err := d.Control.SetPaused(d.Context(), s.Name, paused, hookgate.Person{By: "bob"})
		if err != nil || changed {
			d.Errorf("doing it again changed something: %v, error %v", changed, err)
		}
	}
	s.mustStay("pausing again", func() { set(true) })
	s.pause(false)
	info = s.info()
	if !info.PausedAt.IsZero() || info.PausedBy != "" || info.PauseReason != "" || s.acquire().Paused {
		d.Errorf("resumed, the subscription is %+v", info)
	}
	s.mustStay("resuming again", func() { set(false) })
	s.save(&hookgate.Results{Pause: "410"})
	s.pause(false)
	if !s.info().PausedAt.IsZero() {
		d.Errorf("a person cannot resume what the owner paused")
	}
}

// three creates one exception of each state, with holds.
func (d *deliveryTest) three() (s *subject, ids []int64, all []hookgate.Exception) {
	d.Helper()
	s = d.subscribe("a")
	ids = d.append("k", "l", "m")
	all = []hookgate.Exception{waiting(ids[0], "k", day.Add(72*time.Hour)), parked(ids[1], "l"),
		dead(ids[2])}
	all[2].OrderingKey = "m"
	s.save(&hookgate.Results{Cursor: ids[2], Clock: time.Hour, Created: all,
		Attempts: []hookgate.Attempt{tried(ids[2], 1, hookgate.AttemptDeadLettered)},
		Holds: []hookgate.Hold{{OrderingKey: "k", After: ids[0] - 1}, {OrderingKey: "l",
			After: ids[1] - 1}, {OrderingKey: "m", After: ids[0]}}})
	return s, ids, all
}

// testRetry retries exceptions of each state.
func testRetry(d *deliveryTest) {
	s, ids, all := d.three()
	before := time.Now().Add(-time.Minute)
	s.resolve(hookgate.ResolveRetry, ids...)
	after := time.Now().Add(time.Minute)
	for i, e := range s.exceptions() {
		if e.Due.Before(before) || e.Due.After(after) || e.Changed.Before(before) ||
			e.Changed.After(after) {
			d.Errorf("exception %d is due at %v and was changed at %v", i, e.Due, e.Changed)
		}
		all[i].State, all[i].Due, all[i].Changed = hookgate.ExceptionWaiting, e.Due, e.Changed
		all[i].Since, all[i].Wait = time.Hour, 0
		if i == 2 {
			all[i].OrderingKey = "" // it does not hold its key again
		}
		same(d, "retried", e, all[i])
	}
	same(d, "due", len(s.due(hookgate.DueQuery{Now: after, Max: 10}).Exceptions), 3)
	same(d, "holds", byKey(s.acquire().Holds), []hookgate.Hold{{OrderingKey: "k", After: ids[0] - 1,
		Excepted: true}, {OrderingKey: "l", After: ids[1] - 1, Excepted: true}, {OrderingKey: "m",
		After: ids[0]}})
	same(d, "attempts", len(d.attempts(ids[0])), 0)
}

// testSkip skips exceptions of each state.
func testSkip(d *deliveryTest) {
	s, ids, _ := d.three()
	before := time.Now().Add(-time.Minute)
	s.resolve(hookgate.ResolveSkip, ids...)
	same(d, "exceptions", len(s.exceptions()), 0)
	for _, id := range ids {
		s.skipped(id, 2, before)
	}
	same(d, "holds", byKey(s.acquire().Holds), []hookgate.Hold{{OrderingKey: "k", After: ids[0]},
		{OrderingKey: "l", After: ids[1]}, {OrderingKey: "m", After: ids[0]}})
}

// testBury makes dead letters of exceptions. A dead letter is left alone.
func testBury(d *deliveryTest) {
	s, ids, all := d.three()
	before := time.Now().Add(-time.Minute)
	n, err := d.Control.Resolve(d.Context(), hookgate.ExceptionFilter{Subscription: s.Name},
		hookgate.ResolveDeadLetter, false, person)
	if err != nil || n != 2 {
		d.Fatalf("changed %d exceptions, error %v", n, err)
	}
	for i, e := range s.exceptions() {
		if i < 2 {
			if e.Changed.Before(before) || e.Changed.After(time.Now().Add(time.Minute)) {
				d.Errorf("changed at %v", e.Changed)
			}
			all[i].State, all[i].Due, all[i].Wait = hookgate.ExceptionDead, time.Time{}, 0
			all[i].Attempts, all[i].Changed = 2, e.Changed
			a := d.attempts(ids[i])
			if len(a) != 1 || a[0].At.Before(before) {
				d.Fatalf("attempts are %+v", a)
			}
			a[0].At = time.Time{}
			same(d, "attempt", a[0].Attempt, hookgate.Attempt{Event: ids[i], Number: 2,
				Outcome: hookgate.AttemptDeadLettered, By: person.By, Reason: person.Reason})
		}
		same(d, "dead", e, all[i])
	}
	state := s.acquire()
	same(d, "holds", byKey(state.Holds), []hookgate.Hold{{OrderingKey: "k", After: ids[0]},
		{OrderingKey: "l", After: ids[1]}, {OrderingKey: "m", After: ids[0]}})
	same(d, "exceptions", state.Exceptions, 0)
}

// many creates exceptions of all states, keys and redeliveries, and returns them by id.
func (d *deliveryTest) many() (s *subject, all []hookgate.Exception) {
	d.Helper()
	s = d.subscribe("a")
	ids := d.append("k", "l", "m", "k", "l", "m")
	for i, id := range ids {
		key := []string{"k", "l", "m"}[i%3]
		again := waiting(id, key, day)
		again.Redelivery = 2
		all = append(all, []hookgate.Exception{waiting(id, key, day), parked(id, key), dead(id)}[i/2],
			again)
	}
	s.save(&hookgate.Results{Cursor: ids[5], Created: all})
	return s, all
}

// filters are filters for the exceptions of many, with the indexes that they select.
func filters(name string, all []hookgate.Exception) map[string]struct {
	hookgate.ExceptionFilter
	want []int
} {
	id := func(i int) hookgate.EventRedelivery {
		return hookgate.EventRedelivery{Event: all[i].Event, Redelivery: all[i].Redelivery}
	}
	filters := map[string]struct {
		hookgate.ExceptionFilter
		want []int
	}{
		"all": {hookgate.ExceptionFilter{}, []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}},
		"waiting": {hookgate.ExceptionFilter{State: hookgate.ExceptionWaiting},
			[]int{0, 1, 2, 3, 5, 7, 9, 11}},
		"parked": {hookgate.ExceptionFilter{State: hookgate.ExceptionParked}, []int{4, 6}},
		"dead":   {hookgate.ExceptionFilter{State: hookgate.ExceptionDead}, []int{8, 10}},
		"key":    {hookgate.ExceptionFilter{OrderingKey: "k"}, []int{0, 1, 6, 7}},
		"key and state": {hookgate.ExceptionFilter{OrderingKey: "k", State: hookgate.ExceptionParked},
			[]int{6}},
		"events": {hookgate.ExceptionFilter{Events: []int64{all[4].Event, all[8].Event, 3}},
			[]int{4, 5, 8, 9}},
		"after":       {hookgate.ExceptionFilter{After: id(8)}, []int{9, 10, 11}},
		"after event": {hookgate.ExceptionFilter{After: id(9)}, []int{10, 11}},
		"limit":       {hookgate.ExceptionFilter{Limit: 3, After: id(1)}, []int{2, 3, 4}},
		"nothing":     {hookgate.ExceptionFilter{OrderingKey: "nobody"}, nil},
	}
	for n, f := range filters {
		f.Subscription = name
		filters[n] = f
	}
	return filters
}

// testExceptionFilters lists exceptions with each filter.
func testExceptionFilters(d *deliveryTest) {
	s, all := d.many()
	for name, f := range filters(s.Name, all) {
		got, err := d.Reader.Exceptions(d.Context(), f.ExceptionFilter)
		if err != nil || len(got) != len(f.want) {
			d.Fatalf("%s: got %d exceptions, error %v, want %d", name, len(got), err, len(f.want))
		}
		for i, e := range got {
			same(d, name, inUTC(e.Exception), all[f.want[i]])
		}
	}
}

// testExceptionEvents lists exceptions with what is shown of their events, 100 if nothing else is
// asked for.
func testExceptionEvents(d *deliveryTest) {
	s := d.subscribe("a")
	var events []hookgate.Event
	for n := range 105 {
		events = append(events, message("k", n))
	}
	r := &hookgate.Results{}
	for _, id := range d.Append(d, events...) {
		r.Created = append(r.Created, parked(id, ""))
	}
	s.save(r)
	page, err := d.Reader.Exceptions(d.Context(), hookgate.ExceptionFilter{Subscription: s.Name})
	if err != nil || len(page) != 100 {
		d.Fatalf("a page has %d exceptions, error %v", len(page), err)
	}
	for i, e := range page {
		e.ReceivedAt, e.Exception = e.ReceivedAt.UTC(), inUTC(e.Exception)
		same(d, "exception", e, hookgate.StoredException{Exception: r.Created[i],
			Identity: events[i].Identity, RequestID: events[i].RequestID,
			ReceivedAt: events[i].ReceivedAt, Size: int64(len(events[i].Body))})
	}
	last := page[99]
	page, err = d.Reader.Exceptions(d.Context(), hookgate.ExceptionFilter{Subscription: s.Name,
		After: hookgate.EventRedelivery{Event: last.Event, Redelivery: last.Redelivery}})
	if err != nil || len(page) != 5 {
		d.Errorf("the last page has %d exceptions, error %v", len(page), err)
	}
	// Without a limit all are resolved.
	n, err := d.Control.Resolve(d.Context(), hookgate.ExceptionFilter{Subscription: s.Name},
		hookgate.ResolveSkip, false, person)
	if err != nil || n != len(events) || len(s.exceptions()) != 0 {
		d.Errorf("skipped %d of %d exceptions, and %d are left, error %v", n, len(events),
			len(s.exceptions()), err)
	}
}

// testResolveFilters resolves exceptions with each filter, and first as a dry run.
func testResolveFilters(d *deliveryTest) {
	for _, a := range []hookgate.Resolution{hookgate.ResolveSkip, hookgate.ResolveDeadLetter,
		hookgate.ResolveRetry} {
		prefix := d.prefix
		s, all := d.many()
		n := 0
		for name := range filters(s.Name, all) {
			if a != hookgate.ResolveSkip && name != "all" && name != "events" && name != "limit" {
				continue // the resolutions have the filter in common
			}
			n++
			d.prefix = fmt.Sprintf("%s-%s-%d", prefix, a, n)
			d.resolveOne(a, name)
		}
		d.prefix = prefix + "-" + string(a)
	}
}

// resolveOne resolves fresh exceptions with the filter of a name.
func (d *deliveryTest) resolveOne(a hookgate.Resolution, name string) {
	s, all := d.many()
	f := filters(s.Name, all)[name]
	selected := map[int]bool{}
	for _, i := range f.want {
		selected[i] = a != hookgate.ResolveDeadLetter || all[i].State != hookgate.ExceptionDead
		if !selected[i] {
			delete(selected, i)
		}
	}
	if a == hookgate.ResolveDeadLetter && f.Limit > 0 {
		return // whether a dead letter counts for the limit is open
	}
	n, err := d.Control.Resolve(d.Context(), f.ExceptionFilter, a, true, person)
	if err != nil || n != len(selected) {
		d.Errorf("dry run of %s of %s: %d, error %v, want %d", a, name, n, err, len(selected))
	}
	same(d, "exceptions after a dry run", s.exceptions(), all)
	n, err = d.Control.Resolve(d.Context(), f.ExceptionFilter, a, false, person)
	if err != nil || n != len(selected) {
		d.Errorf("%s of %s: %d, error %v, want %d", a, name, n, err, len(selected))
	}
	left := map[hookgate.EventRedelivery]hookgate.Exception{}
	for _, e := range s.exceptions() {
		left[hookgate.EventRedelivery{Event: e.Event, Redelivery: e.Redelivery}] = e
	}
	for i, e := range all {
		got, ok := left[hookgate.EventRedelivery{Event: e.Event, Redelivery: e.Redelivery}]
		changed := !ok || fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", e)
		if changed != selected[i] || ok == (selected[i] && a == hookgate.ResolveSkip) {
			d.Errorf("%s of %s: exception %d is there: %v, changed: %v, want %v", a, name, i, ok,
				changed, selected[i])
		}
	}
}

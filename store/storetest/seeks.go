package storetest

import (
	"errors"
	"slices"
	"time"

	"github.com/hookgate/hookgate"
)

// mustStay runs a call that must not change the subscription.
func (s *subject) mustStay(what string, call func()) {
	s.Helper()
	before := s.snapshot()
	call()
	s.save(&hookgate.Results{}) // its epoch holds
	if after := s.snapshot(); after != before {
		s.Errorf("%s changed the subscription:\n%s\nbefore\n%s", what, after, before)
	}
}

// mustSeek seeks, first as a dry run that changes nothing. It returns the result.
func (s *subject) mustSeek(to hookgate.Start, want hookgate.SeekResult) {
	s.Helper()
	s.mustStay("a dry run", func() {
		r, err := s.Control.Seek(s.Context(), s.Name, to, true, person)
		if err != nil {
			s.Fatalf("dry run of seek: %v", err)
		}
		same(s, "dry run", r, want)
	})
	old := s.Epoch
	same(s, "seek", s.seek(to), want)
	_, err := s.Owner.Save(s.Context(), s.Name, old, &hookgate.Results{Cursor: want.From + 1})
	isError(s, "a save of the owner before the seek", err, hookgate.ErrFenced)
	if s.acquire(); s.Epoch <= old || s.Cursor != want.To {
		s.Errorf("after a seek to %d the epoch is %d and the cursor %d", want.To, s.Epoch, s.Cursor)
	}
}

// testSeekBack moves the cursor back over exceptions, holds and settled events.
func testSeekBack(d *deliveryTest) {
	s := d.subscribe("a")
	ids := d.append("a", "b", "c", "d", "e", "f")
	again := waiting(ids[2], "", day)
	again.Redelivery = s.redeliver(hookgate.RedeliveryJob{Events: ids[2:3]}).Redelivery
	s.save(&hookgate.Results{Cursor: ids[4], Created: []hookgate.Exception{waiting(ids[1], "b", day),
		dead(ids[2]), again, parked(ids[3], "d")},
		Attempts: []hookgate.Attempt{tried(ids[1], 1, hookgate.AttemptFailed),
			tried(ids[4], 1, hookgate.AttemptDelivered), tried(ids[5], 1, hookgate.AttemptDelivered)},
		Holds: []hookgate.Hold{{OrderingKey: "b", After: ids[1] - 1}, {OrderingKey: "d",
			After: ids[3] - 1}, {OrderingKey: "x", After: ids[1] - 1}, {OrderingKey: "y", After: ids[1]}}})
	number := again.Redelivery + 1
	s.mustSeek(hookgate.Start{At: hookgate.StartAfter, After: ids[1]}, hookgate.SeekResult{
		From: ids[4], To: ids[1], Deleted: 3, Events: 3, Redelivery: number})
	same(d, "exceptions", s.exceptions(), []hookgate.Exception{waiting(ids[1], "b", day)})
	same(d, "holds", byKey(s.Holds), []hookgate.Hold{{OrderingKey: "b", After: ids[1] - 1,
		Excepted: true}, {OrderingKey: "x", After: ids[1] - 1}})
	if s.Redelivery != number || s.RedeliverUntil != ids[5] || len(s.Settled)+len(s.Excepted) > 0 {
		d.Errorf("the next owner finds %+v", *s.SubscriptionState)
	}
	same(d, "attempts stay", len(d.attempts(ids[4])), 1)

	// Up to RedeliverUntil only attempts with the new number settle events, and after it those with 0.
	next := d.append("g", "h")
	done, old := tried(ids[3], 1, hookgate.AttemptDelivered), tried(next[1], 1,
		hookgate.AttemptDelivered)
	done.Redelivery, old.Redelivery = number, number
	failed := waiting(ids[4], "e", day)
	failed.Redelivery = number
	s.save(&hookgate.Results{Attempts: []hookgate.Attempt{done, tried(next[0], 1,
		hookgate.AttemptDelivered), old}, Created: []hookgate.Exception{failed}})
	s.acquire()
	same(d, "settled", s.Settled, []int64{ids[3], next[0]})
	same(d, "excepted", s.Excepted, ids[4:5])

	// The next seek back has the next number, and covers what the first one has not yet done.
	s.save(&hookgate.Results{Cursor: ids[2]})
	s.mustSeek(hookgate.Start{At: hookgate.StartAfter, After: ids[0]}, hookgate.SeekResult{
		From: ids[2], To: ids[0], Deleted: 2, Events: 2, Redelivery: number + 1})
	if s.Redelivery != number+1 || s.RedeliverUntil != next[1] || len(s.exceptions()) != 0 {
		d.Errorf("after the second seek the next owner finds %+v", *s.SubscriptionState)
	}
}

// testSeekForward moves the cursor forward over exceptions, holds and settled events.
func testSeekForward(d *deliveryTest) {
	s := d.subscribe("a")
	ids := d.append("a", "b", "c", "d", "e", "f")
	second := waiting(ids[1], "b", day)
	second.Attempts = 2
	s.save(&hookgate.Results{Cursor: ids[1], Created: []hookgate.Exception{parked(ids[0], "a"), second,
		dead(ids[2]), parked(ids[3], "d")},
		Attempts: []hookgate.Attempt{tried(ids[1], 2, hookgate.AttemptFailed),
			tried(ids[4], 1, hookgate.AttemptDelivered)},
		Holds: []hookgate.Hold{{OrderingKey: "a", After: ids[0] - 1}, {OrderingKey: "b",
			After: ids[1] - 1}, {OrderingKey: "d", After: ids[0]}, {OrderingKey: "x", After: ids[0]}}})
	before := time.Now().Add(-time.Minute)
	s.mustSeek(hookgate.Start{At: hookgate.StartAfter, After: ids[2]}, hookgate.SeekResult{
		From: ids[1], To: ids[2], Skipped: 2, Events: 1})
	same(d, "exceptions", s.exceptions(), []hookgate.Exception{dead(ids[2]), parked(ids[3], "d")})
	same(d, "holds", s.Holds, []hookgate.Hold{{OrderingKey: "d", After: ids[0], Excepted: true}})
	same(d, "settled", s.Settled, ids[4:5])
	same(d, "excepted", s.Excepted, ids[3:4])
	s.skipped(ids[0], 2, before)
	s.skipped(ids[1], 3, before)
	if s.Redelivery != 0 || s.RedeliverUntil != 0 {
		d.Errorf("a seek forward has the redelivery number %d up to %d", s.Redelivery,
			s.RedeliverUntil)
	}
	// To the same cursor: what waits is skipped.
	again := waiting(ids[0], "c", day)
	again.Redelivery = 5
	s.save(&hookgate.Results{Created: []hookgate.Exception{again},
		Holds: []hookgate.Hold{{OrderingKey: "c", After: ids[0] - 1}}})
	s.mustSeek(hookgate.Start{At: hookgate.StartAfter, After: ids[2]}, hookgate.SeekResult{
		From: ids[2], To: ids[2], Skipped: 1})
	same(d, "holds", s.Holds, []hookgate.Hold{{OrderingKey: "d", After: ids[0], Excepted: true}})
	s.mustSeek(hookgate.Start{At: hookgate.StartAfter, After: ids[5]}, hookgate.SeekResult{
		From: ids[2], To: ids[5], Skipped: 1, Events: 3})
	same(d, "exceptions", s.exceptions(), []hookgate.Exception{dead(ids[2])})
	same(d, "holds", len(s.Holds), 0)
}

// skipped checks that the last attempt of an event is the skip by a person.
func (s *subject) skipped(event int64, number int, since time.Time) {
	s.Helper()
	all := s.attempts(event)
	if len(all) == 0 {
		s.Fatalf("event %d has no attempts", event)
	}
	a := all[len(all)-1]
	if a.At.Before(since) || a.At.After(time.Now().Add(time.Minute)) {
		s.Errorf("skipped at %v", a.At)
	}
	a.At = time.Time{}
	same(s, "skip", a, hookgate.StoredAttempt{Subscription: s.Name, Attempt: hookgate.Attempt{
		Event: event, Number: number, Outcome: hookgate.AttemptSkipped, By: person.By,
		Reason: person.Reason}})
}

// testSeekAfterSeek moves forward after back: events keep the number of the seek back.
func testSeekAfterSeek(d *deliveryTest) {
	s := d.subscribe("a")
	ids := d.append("a", "b", "c", "d")
	s.save(&hookgate.Results{Cursor: ids[3]})
	s.mustSeek(hookgate.Start{At: hookgate.StartAfter, After: ids[0]}, hookgate.SeekResult{
		From: ids[3], To: ids[0], Events: 3, Redelivery: 1})
	e := waiting(ids[1], "b", day)
	e.Redelivery = 1
	s.save(&hookgate.Results{Cursor: ids[1], Created: []hookgate.Exception{e}})
	s.mustSeek(hookgate.Start{At: hookgate.StartAfter, After: ids[2]}, hookgate.SeekResult{
		From: ids[1], To: ids[2], Skipped: 1, Events: 1})
	if s.Redelivery != 1 || s.RedeliverUntil != ids[3] {
		d.Errorf("the next owner finds %+v", *s.SubscriptionState)
	}
	if a := d.attempts(ids[1]); len(a) != 1 || a[0].Redelivery != 1 ||
		a[0].Outcome != hookgate.AttemptSkipped {
		d.Errorf("attempts are %+v", a)
	}
	job := s.redeliver(hookgate.RedeliveryJob{Events: ids[:1]})
	back := s.seek(hookgate.Start{At: hookgate.StartBeginning})
	if job.Redelivery != 2 || back.Redelivery != 3 {
		d.Errorf("the job has number %d and the next seek back %d", job.Redelivery, back.Redelivery)
	}
}

// testSeekPlaces seeks to each kind of place.
func testSeekPlaces(d *deliveryTest) {
	s := d.subscribe("a")
	ids := d.appendEach("a", "b", "c", "d")
	events, err := d.Events.ReadEvents(d.Context(), ids)
	if err != nil || len(events) != 4 {
		d.Fatalf("read %d events, error %v", len(events), err)
	}
	second := events[1].StoredAt
	since := ids[slices.IndexFunc(events, func(e hookgate.Event) bool {
		return !e.StoredAt.Before(second)
	}):]
	for _, test := range []struct {
		to   hookgate.Start
		want []int64
	}{
		{hookgate.Start{At: hookgate.StartNow}, nil},
		{hookgate.Start{At: hookgate.StartTime, Time: second}, since},
		{hookgate.Start{At: hookgate.StartTime, Time: time.Now().Add(time.Hour)}, nil},
		{hookgate.Start{At: hookgate.StartBeginning}, d.read(0)},
		{hookgate.Start{At: hookgate.StartAfter, After: ids[2]}, ids[3:]},
		{hookgate.Start{At: hookgate.StartTime, Time: time.Unix(1, 0)}, d.read(0)},
	} {
		r := s.seek(test.to)
		same(d, "events after a seek to "+string(test.to.At), d.read(r.To), test.want)
		if s.acquire(); s.Cursor != r.To {
			d.Errorf("the cursor is %d, not %d", s.Cursor, r.To)
		}
	}
}

// testSeekAhead seeks to the end of the log and after it.
func testSeekAhead(d *deliveryTest) {
	s := d.subscribe("a")
	d.append("a")
	end := s.info().End
	s.mustStay("a seek after the end", func() {
		for _, dry := range []bool{true, false} {
			_, err := d.Control.Seek(d.Context(), s.Name, hookgate.Start{At: hookgate.StartAfter,
				After: end + 1}, dry, person)
			var ahead *hookgate.AheadError
			if !errors.As(err, &ahead) || ahead.End != end {
				d.Errorf("got error %v, want the end %d", err, end)
			}
		}
	})
	if r := s.seek(hookgate.Start{At: hookgate.StartAfter, After: end}); r.To != end {
		d.Errorf("moved to %d, want %d", r.To, end)
	}
}

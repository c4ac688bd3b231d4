package storetest

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hookgate/hookgate"
)

// snapshot returns everything about a subscription that readers and the next owner see, as text,
// but its epoch and owner. It acquires the subscription.
func (s *subject) snapshot(events ...int64) string {
	s.Helper()
	info, state := s.info(), *s.acquire()
	info.Owner, state.Epoch = "", 0
	jobs, err := s.Reader.RedeliveryJobs(s.Context(), s.Name, 1000)
	if err != nil {
		s.Fatalf("list jobs: %v", err)
	}
	text := fmt.Sprintf("%+v\n%+v\n%+v\n%+v", info, state, s.exceptions(), jobs)
	for _, event := range events {
		for _, a := range s.attempts(event) {
			if a.Subscription == s.Name {
				text += fmt.Sprintf("\n%+v", a)
			}
		}
	}
	return text
}

// testSaveCursor saves cursors and clocks. Neither goes back.
func testSaveCursor(d *deliveryTest) {
	s := d.subscribe("a")
	ids := d.append("a", "b", "c")
	for _, save := range []struct{ cursor, want int64 }{{ids[0], ids[0]}, {ids[2], ids[2]},
		{ids[1], ids[2]}, {0, ids[2]}} {
		s.save(&hookgate.Results{Cursor: save.cursor})
		if got := s.info(); got.Cursor != save.want {
			d.Errorf("after a save with cursor %d it is %d, want %d", save.cursor, got.Cursor, save.want)
		}
	}
	s.save(&hookgate.Results{Clock: 3*time.Hour + 5*time.Microsecond})
	s.save(&hookgate.Results{Clock: time.Hour})
	s.save(&hookgate.Results{})
	if s.acquire(); s.Clock != 3*time.Hour+5*time.Microsecond || s.Cursor != ids[2] {
		d.Errorf("the next owner finds the clock at %v and the cursor at %d", s.Clock, s.Cursor)
	}
}

// testSaveAttempts saves attempts of two subscriptions and reads them back by event.
func testSaveAttempts(d *deliveryTest) {
	a, b := d.subscribe("a"), d.subscribe("b")
	ids := d.append("k", "l")
	failed, delivered := tried(ids[0], 1, hookgate.AttemptFailed), tried(ids[0], 3,
		hookgate.AttemptDelivered)
	again := tried(ids[0], 4, hookgate.AttemptDelivered)
	again.Redelivery = 7
	other := tried(ids[0], 2, hookgate.AttemptParked)
	a.save(&hookgate.Results{Attempts: []hookgate.Attempt{delivered, again}})
	if at := a.info().LastDeliveredAt; !at.Equal(again.At) {
		d.Errorf("last delivered at %v, want %v", at, again.At)
	}
	a.save(&hookgate.Results{Attempts: []hookgate.Attempt{failed}})
	b.save(&hookgate.Results{Attempts: []hookgate.Attempt{other, tried(ids[1], 5,
		hookgate.AttemptFailed)}})
	want := []hookgate.StoredAttempt{{Subscription: a.Name, Attempt: failed},
		{Subscription: b.Name, Attempt: other}, {Subscription: a.Name, Attempt: delivered},
		{Subscription: a.Name, Attempt: again}}
	same(d, "attempts", d.attempts(ids[0]), want)
	changed := failed
	changed.Outcome, changed.Reason = hookgate.AttemptParked, "another one"
	a.save(&hookgate.Results{Attempts: []hookgate.Attempt{changed}})
	same(d, "attempts after one that the history has", d.attempts(ids[0]), want)
	same(d, "attempts of no event", len(d.attempts(1)), 0)
	recentAttempts(a, again, delivered, failed)
	if !a.info().LastDeliveredAt.Equal(again.At) || !b.info().LastDeliveredAt.IsZero() {
		d.Errorf("last delivered at %v and %v", a.info().LastDeliveredAt, b.info().LastDeliveredAt)
	}
}

// recentAttempts lists attempts of one key, which are all of the subscription, the last first.
func recentAttempts(s *subject, all ...hookgate.Attempt) {
	s.Helper()
	last := len(all) - 1
	filter := func(change func(*hookgate.AttemptFilter)) hookgate.AttemptFilter {
		f := hookgate.AttemptFilter{Subscription: s.Name}
		change(&f)
		return f
	}
	for name, test := range map[string]struct {
		filter hookgate.AttemptFilter
		want   []hookgate.Attempt
	}{
		"all": {filter(func(*hookgate.AttemptFilter) {}), all},
		"outcome": {filter(func(f *hookgate.AttemptFilter) {
			f.Outcomes = []hookgate.AttemptOutcome{hookgate.AttemptFailed, hookgate.AttemptSkipped}
		}), all[last:]},
		"status": {filter(func(f *hookgate.AttemptFilter) {
			f.Status = &hookgate.StatusRange{From: all[0].Status, To: all[0].Status}
		}), all[:last]},
		"another status": {filter(func(f *hookgate.AttemptFilter) {
			f.Status = &hookgate.StatusRange{From: 1, To: 99}
		}), nil},
		"key":         {filter(func(f *hookgate.AttemptFilter) { f.OrderingKey = "k" }), all},
		"another key": {filter(func(f *hookgate.AttemptFilter) { f.OrderingKey = "l" }), nil},
		"from":        {filter(func(f *hookgate.AttemptFilter) { f.From = all[0].At }), all[:1]},
		"to":          {filter(func(f *hookgate.AttemptFilter) { f.To = all[0].At }), all[1:]},
		"after":       {filter(func(f *hookgate.AttemptFilter) { f.After = all[0].Place() }), all[1:]},
	} {
		var got []hookgate.Attempt
		for f := test.filter; ; {
			f.Limit = 1
			page, err := s.Reader.RecentAttempts(s.Context(), f)
			if err != nil {
				s.Fatalf("recent attempts: %v", err)
			}
			for _, a := range page.Attempts {
				if a.OrderingKey != "k" || a.MessageID == "" {
					s.Errorf("%s: the event of attempt %+v is unknown", name, a)
				}
				a.At = a.At.UTC()
				got = append(got, a.Attempt)
			}
			if f.After = page.Next; f.After == (hookgate.AttemptPlace{}) {
				break
			}
		}
		same(s.deliveryTest, "recent attempts by "+name, got, test.want)
	}
	page, err := s.Reader.RecentAttempts(s.Context(), hookgate.AttemptFilter{Subscription: s.Name,
		OrderingKey: "k\x00\xff"})
	if err != nil || len(page.Attempts) > 0 {
		s.Errorf("recent attempts of a key that is no text: %+v, error %v", page, err)
	}
	if _, err := s.Reader.RecentAttempts(s.Context(), hookgate.AttemptFilter{
		Subscription: "none"}); !errors.Is(err, hookgate.ErrNotFound) {
		s.Errorf("recent attempts of no subscription: %v", err)
	}
}

// testSaveExceptions takes exceptions from the first failure to each end.
func testSaveExceptions(d *deliveryTest) {
	s := d.subscribe("a")
	ids := d.append("k", "l", "m", "n")
	all := []hookgate.Exception{waiting(ids[0], "k", day), waiting(ids[1], "", day.Add(time.Hour)),
		parked(ids[2], "m")}
	again := waiting(ids[3], "", day)
	again.Redelivery = 3
	all = append(all, again)
	attempts := []hookgate.Attempt{tried(ids[0], 1, hookgate.AttemptFailed), tried(ids[1], 1,
		hookgate.AttemptFailed), tried(ids[2], 1, hookgate.AttemptParked)}
	s.save(&hookgate.Results{Cursor: ids[3], Created: all, Attempts: attempts})
	same(d, "created", s.exceptions(), all)
	if got, err := d.Reader.Exceptions(d.Context(), hookgate.ExceptionFilter{Subscription: s.Name,
		OrderingKey: "k\x00\xff"}); err != nil || len(got) > 0 {
		d.Errorf("exceptions of a key that is no text: %+v, error %v", got, err)
	}
	held, err := d.Reader.Exceptions(d.Context(), hookgate.ExceptionFilter{Subscription: s.Name,
		Held: true})
	if err != nil || len(held) != 2 || held[0].Event != ids[0] || held[1].Event != ids[2] {
		d.Errorf("those that hold a key are %+v (error %v)", held, err)
	}
	info := s.info()
	if info.Waiting != 3 || info.Parked != 1 || info.Dead != 0 || info.Held != 0 {
		d.Errorf("created exceptions count as %+v", info)
	}
	all[0].Attempts, all[0].Due, all[0].Wait, all[0].Since = 2, day.Add(time.Minute), 2*time.Second, 0
	all[0].Reason, all[0].Status, all[0].Changed = "", 0, day.Add(time.Second)
	all[1].State, all[1].Due, all[1].Attempts = hookgate.ExceptionParked, time.Time{}, 2
	all[3].Attempts = 2 // and no attempt in the history: it was not the consumer's failure
	s.save(&hookgate.Results{Updated: []hookgate.Exception{all[0], all[1], all[3]},
		Attempts: []hookgate.Attempt{tried(ids[0], 2, hookgate.AttemptFailed), tried(ids[1], 2,
			hookgate.AttemptParked)}})
	same(d, "updated", s.exceptions(), all)
	// One is delivered, one is dead, and one is dead although the store did not know it.
	buried := all[2]
	buried.State, buried.Attempts, buried.OrderingKey = hookgate.ExceptionDead, 2, ""
	s.save(&hookgate.Results{
		Attempts: []hookgate.Attempt{tried(ids[0], 3, hookgate.AttemptDelivered), tried(ids[2], 2,
			hookgate.AttemptDeadLettered), tried(ids[3], 1, hookgate.AttemptDeadLettered)},
		Updated: []hookgate.Exception{buried}, Created: []hookgate.Exception{dead(ids[3])},
	})
	same(d, "left", s.exceptions(), []hookgate.Exception{all[1], buried, dead(ids[3]), all[3]})
	info = s.info()
	if info.Waiting != 1 || info.Parked != 1 || info.Dead != 2 {
		d.Errorf("the exceptions that are left count as %+v", info)
	}
	if s.acquire(); s.Exceptions != 2 {
		d.Errorf("the next owner finds %d exceptions", s.Exceptions)
	}
	// A retry of a dead letter succeeds after all.
	s.save(&hookgate.Results{Attempts: []hookgate.Attempt{tried(ids[3], 2,
		hookgate.AttemptDelivered)}})
	same(d, "after a delivered dead letter", s.exceptions(), []hookgate.Exception{all[1], buried,
		all[3]})
}

// testSaveLate saves exceptions that came too late: the event is settled, or the store has one.
func testSaveLate(d *deliveryTest) {
	s, other := d.subscribe("a"), d.subscribe("b")
	ids := d.append("k", "l", "m")
	s.save(&hookgate.Results{Attempts: []hookgate.Attempt{tried(ids[0], 1, hookgate.AttemptDelivered),
		tried(ids[1], 1, hookgate.AttemptFailed)},
		Created: []hookgate.Exception{waiting(ids[1], "l", day)}})
	late, again, nobody := waiting(ids[1], "l", day.Add(time.Hour)), waiting(ids[0], "", day),
		waiting(ids[2], "m", day)
	again.Redelivery = 1
	s.save(&hookgate.Results{
		Created: []hookgate.Exception{waiting(ids[0], "k", day), late, again},
		Updated: []hookgate.Exception{nobody, dead(ids[0])},
	})
	same(d, "exceptions", s.exceptions(), []hookgate.Exception{again, waiting(ids[1], "l", day)})
	// Another subscription has its own history.
	other.save(&hookgate.Results{Created: []hookgate.Exception{waiting(ids[0], "k", day)}})
	same(d, "exceptions of the other one", other.exceptions(),
		[]hookgate.Exception{waiting(ids[0], "k", day)})
}

// testSaveAfterPerson saves results of attempts that were under way when a person settled or
// retried their events.
func testSaveAfterPerson(d *deliveryTest) {
	s := d.subscribe("a")
	ids := d.append("k", "l", "m", "n")
	created := &hookgate.Results{Cursor: ids[3]}
	for i, id := range ids {
		created.Created = append(created.Created, waiting(id, []string{"k", "l", "m", "n"}[i], day))
		created.Attempts = append(created.Attempts, tried(id, 1, hookgate.AttemptFailed))
	}
	s.save(created)
	s.resolve(hookgate.ResolveSkip, ids[0])
	s.resolve(hookgate.ResolveDeadLetter, ids[1], ids[3])
	s.resolve(hookgate.ResolveRetry, ids[2])
	before := s.exceptions()
	s.save(created) // as if its outcome had been unknown
	same(d, "exceptions after the same results", s.exceptions(), before)

	late := &hookgate.Results{}
	for _, id := range ids[:2] {
		e := parked(id, "")
		e.Attempts = 2
		late.Updated = append(late.Updated, e)
		late.Attempts = append(late.Attempts, tried(id, 2, hookgate.AttemptParked))
	}
	s.save(late)
	same(d, "exceptions after late failures", s.exceptions(), before)
	s.save(&hookgate.Results{Attempts: []hookgate.Attempt{tried(ids[0], 2, hookgate.AttemptDelivered),
		tried(ids[3], 2, hookgate.AttemptDelivered)}})
	same(d, "exceptions after late successes", s.exceptions(), before[:2])

	// The retried event fails once more, and a person retries it again before the owner knows that
	// this was stored.
	failed := waiting(ids[2], "m", day.Add(time.Hour))
	failed.Attempts = 2
	r := &hookgate.Results{Updated: []hookgate.Exception{failed},
		Attempts: []hookgate.Attempt{tried(ids[2], 2, hookgate.AttemptFailed)}}
	s.save(r)
	s.resolve(hookgate.ResolveRetry, ids[2])
	before = s.exceptions()
	s.save(r)
	same(d, "exceptions after the same failure", s.exceptions(), before)
}

// testSaveHolds sets, raises and frees holds.
func testSaveHolds(d *deliveryTest) {
	s := d.subscribe("a")
	ids := d.append("k", "l", "m")
	s.save(&hookgate.Results{Cursor: ids[2], Created: []hookgate.Exception{waiting(ids[0], "k", day),
		parked(ids[1], "l"), waiting(ids[2], "", day)},
		Holds: []hookgate.Hold{{OrderingKey: "k", After: ids[0] - 1}, {OrderingKey: "l",
			After: ids[1] - 1}, {OrderingKey: "m", After: ids[2] - 1, Excepted: true}}})
	want := []hookgate.Hold{{OrderingKey: "k", After: ids[0] - 1, Excepted: true},
		{OrderingKey: "l", After: ids[1] - 1, Excepted: true}, {OrderingKey: "m", After: ids[2] - 1}}
	same(d, "holds", byKey(s.acquire().Holds), want)
	same(d, "held", s.info().Held, 3)
	s.save(&hookgate.Results{Holds: []hookgate.Hold{{OrderingKey: "k", After: ids[2]},
		{OrderingKey: "l", After: 1}}, Attempts: []hookgate.Attempt{tried(ids[0], 2,
		hookgate.AttemptDelivered)}})
	want[0] = hookgate.Hold{OrderingKey: "k", After: ids[2]}
	same(d, "raised holds", byKey(s.acquire().Holds), want)
	s.save(&hookgate.Results{Freed: []string{"k", "m", "nobody"}})
	same(d, "holds that are left", byKey(s.acquire().Holds), want[1:2])
	same(d, "held", s.info().Held, 1)
	// The exception dies and names its key no more. The hold has none any more.
	buried := dead(ids[1])
	buried.Attempts = 2
	s.save(&hookgate.Results{Updated: []hookgate.Exception{buried},
		Attempts: []hookgate.Attempt{tried(ids[1], 2, hookgate.AttemptDeadLettered)}})
	want[1].Excepted = false
	same(d, "hold of a dead letter", byKey(s.acquire().Holds), want[1:2])
	// The next event of the key fails.
	next := d.append("l")[0]
	s.save(&hookgate.Results{Created: []hookgate.Exception{waiting(next, "l", day)},
		Holds: []hookgate.Hold{{OrderingKey: "l", After: next - 1}}})
	same(d, "hold of the next event", byKey(s.acquire().Holds), []hookgate.Hold{{OrderingKey: "l",
		After: next - 1, Excepted: true}})
}

func byKey(holds []hookgate.Hold) []hookgate.Hold {
	slices.SortFunc(holds, func(a, b hookgate.Hold) int {
		return cmp.Compare(a.OrderingKey, b.OrderingKey)
	})
	return holds
}

// testSaveAgain saves results with everything in them twice. The second time changes nothing.
func testSaveAgain(d *deliveryTest) {
	s := d.subscribe("a")
	ids := d.append("k", "l", "m", "n", "o")
	s.save(&hookgate.Results{Created: []hookgate.Exception{waiting(ids[0], "k", day),
		waiting(ids[1], "l", day)}, Holds: []hookgate.Hold{{OrderingKey: "k", After: ids[0] - 1},
		{OrderingKey: "l", After: ids[1] - 1}}})
	job := s.redeliver(hookgate.RedeliveryJob{Events: ids[:3]})
	buried, broken := waiting(ids[1], "l", day.Add(time.Minute)), day.Add(time.Second)
	buried.Attempts = 2
	r := &hookgate.Results{Cursor: ids[3], Clock: time.Hour,
		Attempts: []hookgate.Attempt{tried(ids[0], 2, hookgate.AttemptDelivered), tried(ids[1], 2,
			hookgate.AttemptFailed), tried(ids[2], 1, hookgate.AttemptDeadLettered),
			tried(ids[3], 1, hookgate.AttemptParked), tried(ids[4], 1, hookgate.AttemptDelivered)},
		Created: []hookgate.Exception{dead(ids[2]), parked(ids[3], "n")},
		Updated: []hookgate.Exception{buried},
		Holds:   []hookgate.Hold{{OrderingKey: "n", After: ids[3] - 1}},
		Freed:   []string{"k"},
		Jobs: []hookgate.JobProgress{{ID: job.ID, Position: ids[1], Delivered: 1, Failed: 1,
			Done: true}},
		Pause: "410", BrokenSince: &broken}
	s.save(r)
	want := s.snapshot(ids...)
	s.save(r)
	if got := s.snapshot(ids...); got != want {
		d.Errorf("the same results changed something:\n%s\nbefore\n%s", got, want)
	}
	same(d, "settled above the cursor", s.Settled, ids[4:])
}

// testSavePause lets the owner pause the subscription and report its breaker.
func testSavePause(d *deliveryTest) {
	s := d.subscribe("a")
	broken, closed := day, time.Time{}
	s.save(&hookgate.Results{Pause: "the consumer is gone", BrokenSince: &broken})
	info := s.info()
	if info.PausedAt.IsZero() || info.PausedBy != "" || info.PauseReason != "the consumer is gone" ||
		!info.BrokenSince.Equal(day) {
		d.Errorf("paused by its owner, the subscription is %+v", info)
	}
	s.save(&hookgate.Results{})
	s.save(&hookgate.Results{Pause: "another reason"})
	if again := s.info(); !again.PausedAt.Equal(info.PausedAt) ||
		again.PauseReason != info.PauseReason || !again.BrokenSince.Equal(day) {
		d.Errorf("paused twice, the subscription is %+v", again)
	}
	if !s.acquire().Paused {
		d.Errorf("the next owner does not find the pause")
	}
	s.save(&hookgate.Results{BrokenSince: &closed})
	if at := s.info().BrokenSince; !at.IsZero() {
		d.Errorf("the breaker is open since %v", at)
	}
}

// testSaveVersion checks that each change by a person, and no save, raises the version.
func testSaveVersion(d *deliveryTest) {
	s := d.subscribe("a")
	id := d.append("k")[0]
	version := s.save(&hookgate.Results{Cursor: id, Created: []hookgate.Exception{parked(id, "k")}})
	if version != s.Version || s.entry().Version != version {
		d.Errorf("a save has changed the version from %d to %d", s.Version, version)
	}
	rises := func(what string, change func()) {
		d.Helper()
		change()
		next := s.entry().Version
		if next <= version {
			d.Errorf("%s: version %d came after %d", what, next, version)
		}
		version = next
		if got := s.save(&hookgate.Results{}); got != next {
			d.Errorf("%s: Save returned version %d, and Renew %d", what, got, next)
		}
	}
	rises("pause", func() { s.pause(true) })
	rises("resume", func() { s.pause(false) })
	rises("retry", func() { s.resolve(hookgate.ResolveRetry, id) })
	var job hookgate.StoredJob
	rises("redeliver", func() { job = s.redeliver(hookgate.RedeliveryJob{Events: []int64{id}}) })
	rises("cancel", func() {
		if _, err := d.Control.CancelJob(d.Context(), s.Name, job.ID, person); err != nil {
			d.Fatal(err)
		}
	})
	rises("skip", func() { s.resolve(hookgate.ResolveSkip, id) })
	rises("seek", func() {
		s.seek(hookgate.Start{At: hookgate.StartAfter, After: id})
		s.acquire()
	})
	if s.Version != version {
		d.Errorf("the next owner finds version %d, want %d", s.Version, version)
	}
}

// testSaveMany saves more of everything in one call than one statement may take.
func testSaveMany(d *deliveryTest) {
	const many = 2000
	s := d.subscribe("a")
	var events []hookgate.Event
	for n := range many {
		events = append(events, message(fmt.Sprint(n), n))
	}
	ids := d.Append(d, events...)
	r, next := &hookgate.Results{Cursor: ids[many-1]}, &hookgate.Results{}
	for n, id := range ids {
		key := fmt.Sprint(n)
		outcome := hookgate.AttemptDelivered
		if n%2 == 0 {
			outcome = hookgate.AttemptFailed
			r.Created = append(r.Created, waiting(id, key, day.Add(time.Duration(n)*time.Second)))
			r.Holds = append(r.Holds, hookgate.Hold{OrderingKey: key, After: id - 1})
			updated := waiting(id, key, day)
			updated.Attempts = 2
			next.Updated = append(next.Updated, updated)
			next.Attempts = append(next.Attempts, tried(id, 2, hookgate.AttemptFailed))
			next.Freed = append(next.Freed, key)
		}
		r.Attempts = append(r.Attempts, tried(id, 1, outcome))
	}
	s.save(r)
	if got := s.exceptions(); len(got) != many/2 || len(s.acquire().Holds) != many/2 {
		d.Fatalf("stored %d exceptions and %d holds", len(got), len(s.Holds))
	}
	s.save(next)
	same(d, "exceptions", s.exceptions(), next.Updated)
	same(d, "holds", len(s.acquire().Holds), 0)
}

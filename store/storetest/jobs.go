package storetest

import (
	"time"

	"github.com/hookgate/hookgate"
)

// jobs lists the jobs of the subscription.
func (s *subject) jobs(limit int) []hookgate.StoredJob {
	s.Helper()
	jobs, err := s.Reader.RedeliveryJobs(s.Context(), s.Name, limit)
	if err != nil {
		s.Fatalf("list jobs: %v", err)
	}
	for i := range jobs {
		jobs[i].CreatedAt, jobs[i].EndedAt = jobs[i].CreatedAt.UTC(), jobs[i].EndedAt.UTC()
	}
	return jobs
}

// testJobs stores redelivery jobs of both kinds and takes them to their ends.
func testJobs(d *deliveryTest) {
	s := d.subscribe("a")
	ids := d.append("k", "l", "k", "")
	before := time.Now().Add(-time.Minute)
	ask := hookgate.RedeliveryJob{ID: 99, Redelivery: 98, Events: []int64{ids[2], ids[0], ids[2], 3},
		Rate: 5, Position: 97, Delivered: 96, Failed: 95}
	want := hookgate.StoredJob{RedeliveryJob: hookgate.RedeliveryJob{Redelivery: 1,
		Events: []int64{3, ids[0], ids[2]}, Rate: 5}, Subscription: s.Name, By: person.By,
		Reason: person.Reason}
	s.mustStay("a dry run", func() {
		_, n, err := d.Control.Redeliver(d.Context(), s.Name, ask, true, person)
		if err != nil || n != 2 {
			d.Errorf("a dry run covers %d events, error %v", n, err)
		}
	})
	first := s.redeliver(ask)
	if first.ID == 0 || first.CreatedAt.Before(before) {
		d.Errorf("the job is %+v", first)
	}
	want.ID, want.CreatedAt = first.ID, first.CreatedAt
	same(d, "by ids", first, want)

	second := s.redeliver(hookgate.RedeliveryJob{After: ids[0], Filter: hookgate.Filter{
		Sources: []string{"default"}, Types: []string{"order.*"}}, OrderingKey: "k"})
	end := s.info().End
	want.RedeliveryJob = hookgate.RedeliveryJob{ID: second.ID, Redelivery: 2, After: ids[0],
		Until: end, Position: ids[0], OrderingKey: "k",
		Filter: hookgate.Filter{Sources: []string{"default"}, Types: []string{"order.*"}}}
	want.CreatedAt = second.CreatedAt
	same(d, "by range", second, want)
	state := s.acquire()
	same(d, "jobs of the next owner", state.Jobs, []hookgate.RedeliveryJob{first.RedeliveryJob,
		second.RedeliveryJob})

	s.save(&hookgate.Results{Jobs: []hookgate.JobProgress{{ID: first.ID, Position: ids[0],
		Delivered: 1}, {ID: second.ID, Position: ids[2], Failed: 1, Done: true},
		{ID: second.ID + 100, Done: true}}})
	first.Position, first.Delivered = ids[0], 1
	second.Position, second.Failed = ids[2], 1
	list := s.jobs(10)
	if len(list) != 2 || list[0].EndedAt.Before(before) || list[0].Cancelled {
		d.Fatalf("jobs are %+v", list)
	}
	second.EndedAt = list[0].EndedAt
	first.CreatedAt, second.CreatedAt = first.CreatedAt.UTC(), second.CreatedAt.UTC()
	same(d, "jobs", list, []hookgate.StoredJob{second, first})
	same(d, "the newest one", s.jobs(1), []hookgate.StoredJob{second})
	same(d, "running", s.acquire().Jobs, []hookgate.RedeliveryJob{first.RedeliveryJob})

	cancel := func(id int64, want bool) {
		d.Helper()
		cancelled, err := d.Control.CancelJob(d.Context(), s.Name, id, person)
		if err != nil || cancelled != want {
			d.Errorf("cancelled: %v, error %v, want %v", cancelled, err, want)
		}
	}
	cancel(first.ID, true)
	s.mustStay("cancelling what has ended", func() {
		cancel(first.ID, false)
		cancel(second.ID, false)
		cancel(second.ID+100, false)
		s.save(&hookgate.Results{Jobs: []hookgate.JobProgress{{ID: first.ID, Position: ids[3],
			Delivered: 7, Done: true}, {ID: second.ID, Position: ids[3]}}})
	})
	if list = s.jobs(10); !list[1].Cancelled || list[1].EndedAt.Before(before) || list[0].Cancelled {
		d.Errorf("after cancelling, jobs are %+v", list)
	}
	same(d, "running", len(s.acquire().Jobs), 0)
}

// testJobEvents counts the events of jobs.
func testJobEvents(d *deliveryTest) {
	def := definition(d.prefix+"-a", hookgate.OrderKey, hookgate.Filter{Types: []string{"order.*",
		"invoice.*"}})
	s := &subject{deliveryTest: d, SubscriptionDefinition: def, revision: d.mustDefine(false, def)[0]}
	s.acquire()
	var events []hookgate.Event
	for i, kind := range []string{"order.paid", "order.sent", "invoice.paid", "other.paid",
		"order.paid"} {
		e := message([]string{"k", "", "k", "k", "l"}[i], i)
		e.EventType = kind
		events = append(events, e)
	}
	events[4].Source = "shop"
	ids := d.Append(d, events...)
	base := ids[0] - 1
	paid := hookgate.Filter{Types: []string{"*.paid"}}
	shop := hookgate.Filter{Sources: []string{"shop"}}
	for name, test := range map[string]struct {
		hookgate.RedeliveryJob
		want int
	}{
		"all":          {hookgate.RedeliveryJob{After: base}, 4},
		"range":        {hookgate.RedeliveryJob{After: ids[0], Until: ids[3]}, 2},
		"until ahead":  {hookgate.RedeliveryJob{After: ids[3], Until: ids[4] + 1000}, 1},
		"key":          {hookgate.RedeliveryJob{After: base, OrderingKey: "k"}, 2},
		"types":        {hookgate.RedeliveryJob{After: base, Filter: paid}, 3},
		"sources":      {hookgate.RedeliveryJob{After: base, Filter: shop}, 1},
		"events":       {hookgate.RedeliveryJob{Events: []int64{ids[0], ids[3], ids[4] + 1000}}, 2},
		"empty range":  {hookgate.RedeliveryJob{After: ids[4]}, 0},
		"nothing here": {hookgate.RedeliveryJob{After: base, OrderingKey: "nobody"}, 0},
	} {
		job, n, err := d.Control.Redeliver(d.Context(), s.Name, test.RedeliveryJob, true, person)
		if err != nil || n != test.want {
			d.Errorf("%s covers %d events, error %v, want %d", name, n, err, test.want)
		}
		if end := s.info().End; len(test.Events) == 0 && (job.Until == 0 || job.Until > end) {
			d.Errorf("%s ends at %d, and the log at %d", name, job.Until, end)
		}
	}
}

// testForget forgets a subscription and creates it again.
func testForget(d *deliveryTest) {
	s, other := d.subscribe("a"), d.subscribe("b")
	ids := d.append("k", "l")
	s.save(&hookgate.Results{Cursor: ids[1], Created: []hookgate.Exception{parked(ids[0], "k"),
		dead(ids[1])}, Holds: []hookgate.Hold{{OrderingKey: "k", After: ids[0] - 1}},
		Attempts: []hookgate.Attempt{tried(ids[0], 1, hookgate.AttemptParked),
			tried(ids[1], 1, hookgate.AttemptDelivered)}})
	other.save(&hookgate.Results{Cursor: ids[1], Created: []hookgate.Exception{parked(ids[0], "k")}})
	s.redeliver(hookgate.RedeliveryJob{Events: ids})
	s.mustStay("forgetting what is in use", func() {
		isError(d, "forget", d.Control.Forget(d.Context(), s.Name, person), hookgate.ErrInUse)
	})
	old := s.Epoch
	s.pause(true)
	if err := d.Control.Forget(d.Context(), s.Name, person); err != nil {
		d.Fatalf("forget: %v", err)
	}
	if _, ok := d.find(s.Name); ok {
		d.Errorf("the reader shows a forgotten subscription")
	}
	isError(d, "forgetting again", d.Control.Forget(d.Context(), s.Name, person), hookgate.ErrNotFound)
	_, err := d.Owner.Save(d.Context(), s.Name, old, &hookgate.Results{Cursor: ids[1]})
	isError(d, "a save for a forgotten subscription", err, hookgate.ErrFenced)
	_, err = d.Owner.Acquire(d.Context(), s.Name, "owner", time.Hour, s.revision)
	isError(d, "acquiring a forgotten subscription", err, hookgate.ErrNotFound)
	same(d, "attempts", len(d.attempts(ids[0])), 1)
	same(d, "exceptions of another one", len(other.exceptions()), 1)

	// It begins again, and the old owner and the old history do not get in its way.
	def := s.SubscriptionDefinition
	def.Start = hookgate.Start{At: hookgate.StartAfter, After: ids[0] - 1}
	s.revision = d.mustDefine(false, def)[0]
	s.acquire()
	if s.Cursor != ids[0]-1 || s.Exceptions+len(s.Holds)+len(s.Jobs)+len(s.Settled) > 0 || s.Paused ||
		s.Clock != 0 || len(s.jobs(10)) != 0 {
		d.Errorf("created again, the subscription is %+v", *s.SubscriptionState)
	}
	_, err = d.Owner.Save(d.Context(), s.Name, old, &hookgate.Results{Cursor: ids[1]})
	isError(d, "a save of the owner before", err, hookgate.ErrFenced)
	s.save(&hookgate.Results{Cursor: ids[1], Created: []hookgate.Exception{parked(ids[1], "l")}})
	same(d, "exceptions", s.exceptions(), []hookgate.Exception{parked(ids[1], "l")})
	if a := d.attempts(ids[1]); len(a) != 1 || a[0].Subscription != s.Name {
		d.Errorf("attempts of the forgotten subscription are %+v", a)
	}

	d.mustDefine(true, other.SubscriptionDefinition)
	if err := d.Control.Forget(d.Context(), s.Name, person); err != nil {
		d.Errorf("forgetting a removed subscription: %v", err)
	}
}

// testNobody asks about a subscription that does not exist.
func testNobody(d *deliveryTest) {
	ctx, name := d.Context(), "nobody"
	_, paused := d.Control.SetPaused(ctx, name, true, person)
	_, seek := d.Control.Seek(ctx, name, hookgate.Start{At: hookgate.StartNow}, false, person)
	_, dry := d.Control.Seek(ctx, name, hookgate.Start{At: hookgate.StartNow}, true, person)
	_, resolve := d.Control.Resolve(ctx, hookgate.ExceptionFilter{Subscription: name},
		hookgate.ResolveSkip, false, person)
	_, _, redeliver := d.Control.Redeliver(ctx, name, hookgate.RedeliveryJob{}, false, person)
	_, cancel := d.Control.CancelJob(ctx, name, 1, person)
	_, list := d.Reader.Exceptions(ctx, hookgate.ExceptionFilter{Subscription: name})
	for what, err := range map[string]error{"SetPaused": paused, "Seek": seek, "a dry run": dry,
		"Resolve": resolve, "Redeliver": redeliver, "CancelJob": cancel, "Exceptions": list,
		"Forget": d.Control.Forget(ctx, name, person)} {
		isError(d, what, err, hookgate.ErrNotFound)
	}
}

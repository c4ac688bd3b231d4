package storetest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/deliver/memory"
)

// deliveryModel drives the store under test and one in memory with the same calls. Each answer, and
// everything that can be read, must be the same.
type deliveryModel struct {
	backend  DeliveryBackend
	place    string
	real     *side
	memory   *side
	state    *memory.Store
	defined  map[string]hookgate.SubscriptionDefinition
	revision map[string]int64
	keys     []string // of the events
	clock    time.Duration
	minutes  int
}

// modelNames are the subscriptions of the model.
var modelNames = []string{"x", "y"}

// testDeliveryModel makes random calls of all ports. Writes fail now and then, without effect or
// after they have taken effect. The store under test is closed and opened in between.
func testDeliveryModel(t *testing.T, b DeliveryBackend) {
	rapid.Check(t, func(t *rapid.T) {
		m := &deliveryModel{backend: b, place: b.NewPlace(t), state: memory.New(),
			defined:  map[string]hookgate.SubscriptionDefinition{},
			revision: map[string]int64{}}
		m.real = newSide(b.Open(t, m.place))
		m.memory = newSide(DeliveryStore{Events: m.state, Owner: m.state, Reader: m.state,
			Control: m.state, FailWrites: func(*bool) {},
			Append: func(_ TB, events ...hookgate.Event) []int64 { return m.state.Append(events...) }})
		defer func() { m.real.Close() }()
		m.append(t)
		m.define(t)
		m.define(t)
		t.Repeat(map[string]func(*rapid.T){
			"append":    m.append,
			"define":    m.define,
			"acquire":   m.acquire,
			"release":   m.release,
			"save":      m.save,
			"saveAgain": m.save, // most calls are saves
			"saveMore":  m.save,
			"due":       m.due,
			"pause":     m.pause,
			"seek":      m.seek,
			"resolve":   m.resolve,
			"retry":     m.resolve,
			"redeliver": m.redeliver,
			"cancel":    m.cancel,
			"forget":    m.forget,
			"read":      m.read,
			"reopen":    m.reopen,
			"": func(t *rapid.T) {
				m.both(t, "overview", (*side).overview)
			},
		})
		for _, name := range modelNames {
			m.both(t, "details", func(s *side) string { return s.details(name) })
		}
		m.both(t, "history", (*side).history)
	})
}

// both makes the same call on both sides and compares the answers.
func (m *deliveryModel) both(t *rapid.T, what string, call func(*side) string) string {
	t.Helper()
	got, want := call(m.real), call(m.memory)
	if got != want {
		t.Fatalf("%s:\n%s\nwant\n%s", what, got, want)
	}
	return want
}

// write makes the same change on both sides. On the store under test it may fail first. It is
// repeated then: repeats says whether that is harmless if it had taken effect.
func (m *deliveryModel) write(t *rapid.T, what string, repeats bool, call func(*side) string) {
	t.Helper()
	switch rapid.SampledFrom([]string{"", "", "not done", "done"}).Draw(t, "fails") {
	case "not done":
		done := false
		m.real.FailWrites(&done)
		call(m.real)
		m.real.FailWrites(nil)
	case "done":
		done := true
		m.real.FailWrites(&done)
		answer := call(m.real)
		m.real.FailWrites(nil)
		if !repeats {
			if want := call(m.memory); answer != want && !injected(answer) {
				t.Fatalf("%s whose write failed:\n%s\nwant\n%s", what, answer, want)
			}
			return
		}
	}
	m.both(t, what, call)
}

// injected reports whether an answer is an error that FailWrites made.
func injected(answer string) bool { return strings.Contains(answer, "unexpected: ") }

func (m *deliveryModel) name(t *rapid.T) string {
	return rapid.SampledFrom(modelNames).Draw(t, "subscription")
}

// event returns the number of an event, or with none the number 0 too.
func (m *deliveryModel) event(t *rapid.T, none bool) int {
	least := 1
	if none {
		least = 0
	}
	return rapid.IntRange(least, len(m.keys)).Draw(t, "event")
}

// at returns the next time of the model.
func (m *deliveryModel) at() time.Time {
	m.minutes++
	return time.Date(2020, 2, 3, 4, m.minutes, 5, 6000, time.UTC)
}

// job returns the number of a job, or -1 if there is none. A job whose id was used again is none.
func (m *deliveryModel) job(t *rapid.T) int {
	jobs := m.real.jobs
	if len(jobs) == 0 {
		return -1
	}
	n := rapid.IntRange(0, len(jobs)-1).Draw(t, "number of the job")
	if slices.Contains(jobs[n+1:], jobs[n]) {
		return -1
	}
	return n
}

func (m *deliveryModel) append(t *rapid.T) {
	var events []hookgate.Event
	for range rapid.IntRange(1, 4).Draw(t, "events") {
		e := message(rapid.SampledFrom([]string{"", "a", "a", "b"}).Draw(t, "key"), len(m.keys))
		e.EventType = rapid.SampledFrom([]string{"order.paid", "invoice.paid"}).Draw(t, "type")
		if !e.Keyed {
			e.OrderingKey = e.EventType
		}
		key := ""
		if e.Keyed {
			key = e.OrderingKey
		}
		events, m.keys = append(events, e), append(m.keys, key)
	}
	for _, s := range []*side{m.real, m.memory} {
		s.ids = append(s.ids, s.Append(t, events...)...)
	}
}

func (m *deliveryModel) define(t *rapid.T) {
	type definition struct {
		hookgate.SubscriptionDefinition
		after int
	}
	var defs []definition
	for _, name := range modelNames {
		if rapid.IntRange(0, 3).Draw(t, "defined") == 0 {
			continue
		}
		d := definition{SubscriptionDefinition: hookgate.SubscriptionDefinition{Name: name,
			Order: hookgate.OrderKey}}
		if rapid.IntRange(0, 5).Draw(t, "order") == 0 {
			d.Order = hookgate.OrderAll
		}
		if rapid.Bool().Draw(t, "filter") {
			d.Filter.Types = []string{"order.*"}
		}
		d.Definition = fmt.Sprint(d.Order, d.Filter)
		d.Start.At = rapid.SampledFrom([]hookgate.StartAt{hookgate.StartNow, hookgate.StartBeginning,
			hookgate.StartAfter}).Draw(t, "start")
		d.after = m.event(t, true)
		defs = append(defs, d)
	}
	complete := rapid.IntRange(0, 3).Draw(t, "complete") == 0
	var revisions []int64
	m.write(t, "define", true, func(s *side) string {
		var all []hookgate.SubscriptionDefinition
		for _, d := range defs {
			d.Start.After = s.id(d.after)
			all = append(all, d.SubscriptionDefinition)
		}
		defined, err := s.Owner.Define(context.Background(), all, complete)
		if err != nil {
			return s.failure(err)
		}
		revisions = defined
		return fmt.Sprint(defined)
	})
	for i, d := range defs {
		if len(revisions) == len(defs) {
			m.defined[d.Name], m.revision[d.Name] = d.SubscriptionDefinition, revisions[i]
		}
	}
}

func (m *deliveryModel) acquire(t *rapid.T) {
	name := m.name(t)
	owner := "one"
	if m.backend.Leases && rapid.IntRange(0, 3).Draw(t, "other") == 0 {
		owner = "two"
	}
	revision := m.revision[name]
	if rapid.IntRange(0, 9).Draw(t, "old") == 0 {
		revision--
	}
	m.write(t, "acquire", true, func(s *side) string {
		state, err := s.Owner.Acquire(context.Background(), name, owner, time.Hour, revision)
		if err != nil {
			return s.failure(err)
		}
		return s.state(name, state)
	})
	m.both(t, "details", func(s *side) string { return s.details(name) })
}

// epochOf returns the place of an epoch of a subscription: mostly the last one.
func (m *deliveryModel) epochOf(t *rapid.T, name string) int {
	n := len(m.memory.epochs[name])
	if n > 1 && rapid.IntRange(0, 9).Draw(t, "old") == 0 {
		return rapid.IntRange(0, n-1).Draw(t, "epoch")
	}
	return n - 1
}

func (m *deliveryModel) release(t *rapid.T) {
	name := m.name(t)
	epoch := m.epochOf(t, name)
	if epoch < 0 {
		return
	}
	m.write(t, "release", true, func(s *side) string {
		return s.failure(s.Owner.Release(context.Background(), name, s.epochs[name][epoch]))
	})
}

// modelResults are results with numbers of events in place of ids.
type modelResults struct {
	hookgate.Results
	// attempts, created and updated have an event each, and holds an After. If before is set, it is
	// the id before the event.
	attempts, created, updated, holds, before []int
	jobs                                      []int
	cursor                                    int
}

// on returns the results for a side.
func (r *modelResults) on(s *side) *hookgate.Results {
	results := r.Results
	results.Cursor = s.id(r.cursor)
	results.Attempts = slices.Clone(r.Attempts)
	for i, n := range r.attempts {
		results.Attempts[i].Event = s.id(n)
	}
	results.Created, results.Updated = slices.Clone(r.Created), slices.Clone(r.Updated)
	for i, n := range r.created {
		results.Created[i].Event = s.id(n)
	}
	for i, n := range r.updated {
		results.Updated[i].Event = s.id(n)
	}
	results.Holds = slices.Clone(r.Holds)
	for i, n := range r.holds {
		results.Holds[i].After = s.id(n) - int64(r.before[i])
	}
	results.Jobs = slices.Clone(r.Jobs)
	for i, n := range r.jobs {
		results.Jobs[i].ID, results.Jobs[i].Position = s.jobs[n], s.id(r.cursor)
	}
	return &results
}

// save saves random results. They are such as an owner can have, but their events may be in any
// state.
func (m *deliveryModel) save(t *rapid.T) {
	name := m.name(t)
	epoch := m.epochOf(t, name)
	if epoch < 0 {
		return
	}
	r := &modelResults{cursor: m.event(t, true)}
	m.clock += time.Minute
	if rapid.Bool().Draw(t, "clock") {
		r.Clock = m.clock
	}
	excepted := map[string]hookgate.EventRedelivery{}
	exceptions, _ := m.state.Exceptions(context.Background(), hookgate.ExceptionFilter{
		Subscription: name, Limit: 1000})
	for _, e := range exceptions {
		if e.OrderingKey != "" && e.State != hookgate.ExceptionDead {
			excepted[e.OrderingKey] = hookgate.EventRedelivery{Event: int64(m.memory.upTo(e.Event)),
				Redelivery: e.Redelivery}
		}
	}
	seen := map[hookgate.EventRedelivery]bool{}
	for range rapid.IntRange(0, 4).Draw(t, "deliveries") {
		n, number := m.event(t, false), int64(rapid.SampledFrom([]int{0, 0, 0, 1, 2}).Draw(t, "number"))
		id := hookgate.EventRedelivery{Event: int64(n), Redelivery: number}
		if seen[id] {
			continue
		}
		seen[id] = true
		m.deliver(t, r, n, number, excepted)
	}
	for _, key := range []string{"a", "b"} {
		switch rapid.SampledFrom([]string{"", "", "hold", "free"}).Draw(t, "key") {
		case "hold":
			r.Holds = append(r.Holds, hookgate.Hold{OrderingKey: key})
			r.holds = append(r.holds, m.event(t, false))
			r.before = append(r.before, rapid.IntRange(0, 1).Draw(t, "before"))
		case "free":
			r.Freed = append(r.Freed, key)
		}
	}
	if job := m.job(t); job >= 0 && rapid.Bool().Draw(t, "job") {
		r.jobs = []int{job}
		r.Jobs = []hookgate.JobProgress{{Delivered: int64(m.minutes), Failed: 1,
			Done: rapid.IntRange(0, 3).Draw(t, "done") == 0}}
	}
	if rapid.IntRange(0, 9).Draw(t, "pause") == 0 {
		r.Pause = "410"
	}
	switch rapid.IntRange(0, 9).Draw(t, "breaker") {
	case 0:
		at := m.at()
		r.BrokenSince = &at
	case 1:
		r.BrokenSince = &time.Time{}
	}
	m.write(t, "save", true, func(s *side) string {
		version, err := s.Owner.Save(context.Background(), name, s.epochs[name][epoch], r.on(s))
		if err != nil {
			return s.failure(err)
		}
		return fmt.Sprint(s.version(name, version))
	})
}

// deliver adds the result of a delivery. excepted has the exception of each key: the owner never
// makes a second one.
func (m *deliveryModel) deliver(t *rapid.T, r *modelResults, n int, number int64,
	excepted map[string]hookgate.EventRedelivery) {
	kind := rapid.SampledFrom([]string{"delivered", "failed", "failed", "parked", "dead", "own"}).
		Draw(t, "kind")
	at := m.at()
	attempts := rapid.IntRange(1, 3).Draw(t, "attempts")
	e := waiting(0, "", at.Add(time.Minute))
	e.Redelivery, e.Attempts, e.Changed, e.Since = number, attempts, at, m.clock
	id := hookgate.EventRedelivery{Event: int64(n), Redelivery: number}
	if key := m.keys[n-1]; key != "" && kind != "dead" && kind != "delivered" {
		if holder, found := excepted[key]; !found || holder == id {
			e.OrderingKey, excepted[key] = key, id
		}
	}
	a := tried(0, attempts, hookgate.AttemptFailed)
	a.Redelivery, a.At = number, at
	switch kind {
	case "delivered":
		a.Outcome, a.Reason = hookgate.AttemptDelivered, ""
	case "parked":
		a.Outcome, e.State, e.Due, e.Wait = hookgate.AttemptParked, hookgate.ExceptionParked,
			time.Time{}, 0
	case "dead":
		a.Outcome, e.State, e.Due, e.Wait = hookgate.AttemptDeadLettered, hookgate.ExceptionDead,
			time.Time{}, 0
	}
	if kind != "own" {
		r.Attempts, r.attempts = append(r.Attempts, a), append(r.attempts, n)
	}
	switch {
	case kind == "delivered":
	case rapid.Bool().Draw(t, "new"):
		r.Created, r.created = append(r.Created, e), append(r.created, n)
	default:
		r.Updated, r.updated = append(r.Updated, e), append(r.updated, n)
	}
}

func (m *deliveryModel) due(t *rapid.T) {
	name := m.name(t)
	now := time.Now().Add(time.Hour)
	if rapid.Bool().Draw(t, "early") {
		now = time.Date(2020, 2, 3, 4, rapid.IntRange(0, m.minutes+1).Draw(t, "minutes"), 5, 6000,
			time.UTC)
	}
	q := hookgate.DueQuery{Now: now, Max: 1000}
	not := []int{}
	for range rapid.IntRange(0, 2).Draw(t, "left out") {
		not = append(not, m.event(t, false))
	}
	if rapid.Bool().Draw(t, "not a") {
		q.NotKeys = []string{"a"}
	}
	few := rapid.IntRange(1, 3).Draw(t, "max")
	answer := m.both(t, "due", func(s *side) string {
		q := q
		for _, n := range not {
			q.NotEvents = append(q.NotEvents, hookgate.EventRedelivery{Event: s.id(n)})
		}
		due, err := s.Owner.Due(context.Background(), name, q)
		if err != nil {
			return s.failure(err)
		}
		return s.due(name, due)
	})
	if answer == hookgate.ErrNotFound.Error() {
		return
	}
	q.Max = few
	m.both(t, "a few that are due", func(s *side) string {
		due, err := s.Owner.Due(context.Background(), name, q)
		if err != nil {
			return s.failure(err)
		}
		held := len(due.Holds)
		due.Holds = nil // any of them
		return fmt.Sprint(s.due(name, due), held)
	})
}

func (m *deliveryModel) pause(t *rapid.T) {
	name, paused := m.name(t), rapid.Bool().Draw(t, "paused")
	m.write(t, "pause", false, func(s *side) string {
		changed, err := s.Control.SetPaused(context.Background(), name, paused, person)
		return fmt.Sprint(changed, s.failure(err))
	})
}

func (m *deliveryModel) seek(t *rapid.T) {
	name := m.name(t)
	to := hookgate.Start{At: rapid.SampledFrom([]hookgate.StartAt{hookgate.StartNow,
		hookgate.StartBeginning, hookgate.StartAfter, hookgate.StartAfter}).Draw(t, "to")}
	n, ahead := m.event(t, true), rapid.IntRange(0, 9).Draw(t, "ahead") == 0
	move := func(s *side, dryRun bool) string {
		to := to
		if to.After = s.id(n); ahead {
			to.After = s.ids[len(s.ids)-1] + 1
		}
		r, err := s.Control.Seek(context.Background(), name, to, dryRun, person)
		return fmt.Sprintf("%d %d skipped %d deleted %d events %d number %d %s", s.upTo(r.From),
			s.upTo(r.To), r.Skipped, r.Deleted, r.Events, r.Redelivery, s.failure(err))
	}
	m.both(t, "dry run of a seek", func(s *side) string { return move(s, true) })
	m.write(t, "seek", false, func(s *side) string { return move(s, false) })
	m.both(t, "details after a seek", func(s *side) string { return s.details(name) })
}

func (m *deliveryModel) resolve(t *rapid.T) {
	a := rapid.SampledFrom([]hookgate.Resolution{hookgate.ResolveRetry, hookgate.ResolveSkip,
		hookgate.ResolveDeadLetter}).Draw(t, "resolution")
	f := hookgate.ExceptionFilter{Subscription: m.name(t),
		State: rapid.SampledFrom([]hookgate.ExceptionState{"", hookgate.ExceptionWaiting,
			hookgate.ExceptionParked, hookgate.ExceptionDead}).Draw(t, "state"),
		OrderingKey: rapid.SampledFrom([]string{"", "", "a"}).Draw(t, "key")}
	events := []int{}
	for range rapid.IntRange(0, 2).Draw(t, "events") {
		events = append(events, m.event(t, false))
	}
	if a != hookgate.ResolveDeadLetter {
		f.Limit = rapid.IntRange(0, 2).Draw(t, "limit")
	}
	change := func(s *side, dryRun bool) string {
		f := f
		for _, n := range events {
			f.Events = append(f.Events, s.id(n))
		}
		changed, err := s.Control.Resolve(context.Background(), f, a, dryRun, person)
		return fmt.Sprint(changed, s.failure(err))
	}
	m.both(t, "dry run of "+string(a), func(s *side) string { return change(s, true) })
	m.write(t, string(a), false, func(s *side) string { return change(s, false) })
	m.both(t, "details after "+string(a), func(s *side) string { return s.details(f.Subscription) })
}

func (m *deliveryModel) redeliver(t *rapid.T) {
	name := m.name(t)
	job := hookgate.RedeliveryJob{Rate: rapid.IntRange(0, 5).Draw(t, "rate")}
	events, after, until := []int{}, 0, 0
	if rapid.Bool().Draw(t, "by id") {
		events = append(events, m.event(t, false), m.event(t, false))
	} else {
		after, until = m.event(t, true), m.event(t, true)
		job.OrderingKey = rapid.SampledFrom([]string{"", "a"}).Draw(t, "key")
		if rapid.Bool().Draw(t, "filter") {
			job.Filter.Types = []string{"invoice.*"}
		}
	}
	dryRun := rapid.IntRange(0, 3).Draw(t, "dry run") == 0
	// A job that was stored in spite of an error could not be named later, so this never fails.
	m.both(t, "redeliver", func(s *side) string {
		job := job
		job.After, job.Until = s.id(after), s.id(until)
		for _, n := range events {
			job.Events = append(job.Events, s.id(n))
		}
		stored, n, err := s.Control.Redeliver(context.Background(), name, job, dryRun, person)
		if err != nil {
			return s.failure(err)
		}
		if !dryRun {
			s.jobs = append(s.jobs, stored.ID)
		}
		return fmt.Sprint(s.job(&stored.RedeliveryJob), n)
	})
}

func (m *deliveryModel) cancel(t *rapid.T) {
	name, n := m.name(t), m.job(t)
	if n < 0 {
		return
	}
	m.write(t, "cancel", false, func(s *side) string {
		cancelled, err := s.Control.CancelJob(context.Background(), name, s.jobs[n], person)
		return fmt.Sprint(cancelled, s.failure(err))
	})
}

func (m *deliveryModel) forget(t *rapid.T) {
	if rapid.IntRange(0, 2).Draw(t, "really") != 0 {
		return
	}
	name := m.name(t)
	m.write(t, "forget", false, func(s *side) string {
		return s.failure(s.Control.Forget(context.Background(), name, person))
	})
}

// read reads the log with random bounds.
func (m *deliveryModel) read(t *rapid.T) {
	after, until := m.event(t, true), m.event(t, true)
	q := hookgate.LogQuery{Max: rapid.IntRange(1, 5).Draw(t, "max"),
		MaxBytes:    rapid.IntRange(1, 100).Draw(t, "bytes"),
		OrderingKey: rapid.SampledFrom([]string{"", "a", "b"}).Draw(t, "key")}
	m.both(t, "the log", func(s *side) string {
		q := q
		q.After, q.Until = s.id(after), s.id(until)
		text := ""
		for {
			page, err := s.Events.ReadLog(context.Background(), q)
			if err != nil {
				return s.failure(err)
			}
			for _, e := range page.Events {
				text += fmt.Sprintf("%d %s %v %s %s\n", s.upTo(e.ID), e.OrderingKey, e.Keyed, e.EventType,
					e.Body)
			}
			if q.After = page.Next; !page.More {
				return fmt.Sprint(text, s.upTo(page.Next))
			}
		}
	})
}

// reopen closes the store under test and opens it again. An embedded store has no owners then.
func (m *deliveryModel) reopen(t *rapid.T) {
	if err := m.real.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
	m.real.DeliveryStore = m.backend.Open(t, m.place)
	if m.backend.Leases {
		return
	}
	for _, e := range m.entries(t) {
		if err := m.state.Release(context.Background(), e.Name, e.Epoch); err != nil {
			t.Fatalf("release: %v", err)
		}
	}
}

// entries returns the roster of the store in memory.
func (m *deliveryModel) entries(t *rapid.T) []hookgate.RosterEntry {
	roster, err := m.state.Renew(context.Background(), "onlooker", time.Hour)
	if err != nil {
		t.Fatalf("renew: %v", err)
	}
	return roster.Subscriptions
}

package adminapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/api"
	"github.com/hookgate/hookgate/control"
	delivery "github.com/hookgate/hookgate/deliver/memory"
)

// subscribed is a gate with the subscription billing, whose events are those of the type paid.
type subscribed struct {
	*gate
	memory *delivery.Store
	woken  atomic.Int64
	epoch  hookgate.Epoch
	ids    []int64
}

// newSubscribed appends n events with the keys k0, k1, k2 in turn. The subscription has passed
// none of them. required are the actions that need an approval.
func newSubscribed(t *testing.T, n int, required ...string) *subscribed {
	t.Helper()
	s := &subscribed{memory: delivery.New()}
	s.gate = newGate(t, func(c *setup) {
		c.queue, c.subscriptions = &fakeQueue{}, s.memory
		c.config.Approvals = ApprovalRules{Required: required, Expiry: time.Hour, MaxPending: 3}
		c.wake = func() { s.woken.Add(1) }
		c.delivering = func() []LiveSubscription {
			return []LiveSubscription{{Name: "billing", InFlight: 2, Limit: 32, Breaker: "closed"}}
		}
	})
	_, err := s.memory.Define(t.Context(), []hookgate.SubscriptionDefinition{{Name: "billing",
		Start: hookgate.Start{At: hookgate.StartBeginning}, Order: hookgate.OrderKey,
		Filter: hookgate.Filter{Types: []string{"paid"}}, Definition: `{"types":["paid"]}`}}, true)
	must(t, err)
	for i := range n {
		s.ids = append(s.ids, s.memory.Append(hookgate.Event{
			Identity: hookgate.Identity{Source: "shop", EventType: "paid",
				MessageID: fmt.Sprint("evt-", i)}, Keyed: true, OrderingKey: fmt.Sprint("k", i%3),
			RequestID: hookgate.NewRequestID(time.Now()), Body: []byte("{}")})...)
	}
	state, err := s.memory.Acquire(t.Context(), "billing", "gate-1", time.Hour, 1)
	must(t, err)
	s.epoch = state.Epoch
	return s
}

// except passes all events, with exceptions of a state for those numbered.
func (s *subscribed) except(t *testing.T, state hookgate.ExceptionState, events ...int) {
	t.Helper()
	r := &hookgate.Results{Cursor: s.ids[len(s.ids)-1]}
	for _, i := range events {
		r.Created = append(r.Created, hookgate.Exception{Event: s.ids[i], State: state, Attempts: 2,
			OrderingKey: fmt.Sprint("k", i%3), Due: time.Now().Add(time.Hour), Reason: "500: no",
			Status: 500, Changed: time.Now()})
	}
	_, err := s.memory.Save(t.Context(), "billing", s.epoch, r)
	must(t, err)
}

// get reads an answer.
func get[T any](t *testing.T, s *subscribed, path string) (answer T) {
	t.Helper()
	must(t, json.Unmarshal(s.admin(t, "GET", path, "").want(t, 200).body, &answer))
	return answer
}

// change makes a call on the subscription and reads the answer.
func change[T any](t *testing.T, s *subscribed, status int, path, body string) (answer T) {
	t.Helper()
	a := s.admin(t, "POST", "/api/subscriptions/billing/"+path, body, "X-Reason", "tests")
	must(t, json.Unmarshal(a.want(t, status).body, &answer))
	return answer
}

// id is the id of an event as the API writes it.
func (s *subscribed) id(event int) string { return api.EventID(s.ids[event]) }

// states describes the exceptions as "number:state".
func (s *subscribed) states(t *testing.T, query string) string {
	t.Helper()
	var all []string
	page := get[api.Exceptions](t, s, "/api/subscriptions/billing/exceptions?"+query)
	for _, e := range page.Exceptions {
		for i := range s.ids {
			if e.Event == s.id(i) {
				all = append(all, fmt.Sprintf("%d:%s", i, e.State))
			}
		}
	}
	return strings.Join(all, " ")
}

// TestSubscriptionShown: a subscription is shown with its definition, state and live status.
func TestSubscriptionShown(t *testing.T) {
	s := newSubscribed(t, 6)
	_, err := s.memory.Save(t.Context(), "billing", s.epoch, &hookgate.Results{Cursor: s.ids[3],
		Created: []hookgate.Exception{{Event: s.ids[0], OrderingKey: "k0", Reason: "500: no",
			State: hookgate.ExceptionParked, Status: 500, Attempts: 9, Changed: time.Now()}}})
	must(t, err)
	sub := get[api.Subscription](t, s, "/api/subscriptions/billing")
	if sub.Name != "billing" || sub.State != api.SubscriptionDelivering || sub.Order != "key" ||
		len(sub.Filter.Types) != 1 || string(sub.Definition) != `{"types":["paid"]}` ||
		sub.Revision != 1 || sub.Cursor != s.id(3) || sub.End != s.id(5) || sub.Backlog != 2 ||
		sub.LagSeconds <= 0 || sub.LagSeconds > 60 || sub.Parked != 1 || sub.Owner != "gate-1" ||
		sub.LastDeliveredAt != nil || sub.CreatedAt.IsZero() ||
		sub.Live == nil || *sub.Live != (api.LiveSubscription{InFlight: 2, Limit: 32,
		Breaker: "closed"}) {
		t.Errorf("shown is %+v", sub)
	}
	all := get[api.Subscriptions](t, s, "/api/subscriptions").Subscriptions
	if len(all) != 1 || all[0].Cursor != sub.Cursor {
		t.Errorf("listed are %+v", all)
	}
	e := get[api.Exceptions](t, s, "/api/subscriptions/billing/exceptions").Exceptions
	if len(e) != 1 || e[0].Event != s.id(0) || e[0].State != "parked" || e[0].Key != "k0" ||
		e[0].Attempts != 9 || e[0].Status != 500 || e[0].Reason != "500: no" ||
		e[0].MessageID != "evt-0" || e[0].Size != 2 || !e[0].Due.IsZero() || e[0].ReceivedAt.IsZero() {
		t.Errorf("exceptions are %+v", e)
	}
	for _, path := range []string{"", "/exceptions", "/attempts", "/jobs", "/jobs/1"} {
		text := s.admin(t, "GET", "/api/subscriptions/none"+path, "").want(t, 404).errorText(t)
		if text != "no subscription none" {
			t.Errorf("%q is answered %q", path, text)
		}
	}
}

// TestSubscriptionAttempts lists attempts with each filter, the last first, in pages and as a
// stream.
func TestSubscriptionAttempts(t *testing.T) {
	s := newSubscribed(t, 6)
	begin := time.Now().UTC().Truncate(time.Second)
	r := &hookgate.Results{Cursor: s.ids[5]}
	for i, outcome := range []hookgate.AttemptOutcome{hookgate.AttemptDelivered,
		hookgate.AttemptFailed, hookgate.AttemptParked, hookgate.AttemptDeadLettered,
		hookgate.AttemptSkipped, hookgate.AttemptDelivered} {
		r.Attempts = append(r.Attempts, hookgate.Attempt{Event: s.ids[i], Number: 1, Outcome: outcome,
			Status: []int{200, 0, 503, 422, 0, 204}[i], At: begin.Add(time.Duration(i) * time.Second),
			Took: 1500 * time.Microsecond, Reason: "why", By: "olga"})
	}
	_, err := s.memory.Save(t.Context(), "billing", s.epoch, r)
	must(t, err)
	list := func(query string) (text string) {
		t.Helper()
		for _, a := range get[api.Attempts](t, s, "/api/subscriptions/billing/attempts?limit=9&"+
			query).Attempts {
			for i := range s.ids {
				if a.Event == s.id(i) {
					text += fmt.Sprint(i)
				}
			}
		}
		return text
	}
	at := func(i int) string { return begin.Add(time.Duration(i) * time.Second).Format(time.RFC3339) }
	for query, want := range map[string]string{"": "543210", "outcome=failed": "1",
		"outcome=undelivered": "4321", "status=503": "2", "status=4xx": "3", "status=none": "41",
		"status=200&outcome=failed": "", "key=k1": "41", "from=" + at(4): "54", "to=" + at(2): "10"} {
		if got := list(query); got != want {
			t.Errorf("%q lists %s, want %s", query, got, want)
		}
	}
	page := get[api.Attempts](t, s, "/api/subscriptions/billing/attempts?limit=1")
	if want := (api.Attempt{Event: s.id(5), Number: 1, Outcome: "delivered", Status: 204,
		At: api.At(begin.Add(5 * time.Second)), DurationMs: 1.5, Reason: "why", By: "olga",
		Source: "shop", EventType: "paid", MessageID: "evt-5", Key: "k2"}); len(page.Attempts) != 1 ||
		page.Attempts[0] != want || page.Next == "" || page.Partial {
		t.Errorf("the first page is %+v, want %+v", page, want)
	}
	if got := list("after=" + page.Next); got != "43210" {
		t.Errorf("the rest is %s", got)
	}
	stream := s.admin(t, "GET", "/api/subscriptions/billing/attempts", "", "Accept",
		ndjson).want(t, 200)
	if n := strings.Count(string(stream.body), "\n"); n != 6 {
		t.Errorf("the stream has %d lines", n)
	}
	for _, query := range []string{"outcome=x", "status=1", "status=0xx", "status=+50", "from=x",
		"to=x", "after=1.2.3", "after=1.2.3.4x", "limit=0", "x=1"} {
		s.admin(t, "GET", "/api/subscriptions/billing/attempts?"+query, "").want(t, 400)
	}
}

// TestSubscriptionStates: the state that matters most is shown.
func TestSubscriptionStates(t *testing.T) {
	now := time.Now()
	i := hookgate.SubscriptionInfo{Owner: "gate-1"}
	for _, step := range []struct {
		change func()
		want   string
	}{
		{func() {}, "delivering"}, {func() { i.BrokenSince = now }, "broken"},
		{func() { i.Owner = "" }, "unowned"}, {func() { i.PausedAt = now }, "paused"},
		{func() { i.RemovedAt = now }, "removed"},
	} {
		step.change()
		if got := subscriptionOf(&i, nil, now); got.State != step.want || got.Definition != nil {
			t.Errorf("%+v has the state %s, want %s", i, got.State, step.want)
		}
	}
}

// TestNoSubscriptions: a gate that can have none answers an empty list, and 404 for each.
func TestNoSubscriptions(t *testing.T) {
	g := newGate(t, func(s *setup) { s.queue = &fakeQueue{} })
	body := string(g.admin(t, "GET", "/api/subscriptions", "").want(t, 200).body)
	if body != `{"subscriptions":[]}`+"\n" {
		t.Errorf("the answer is %s", body)
	}
	for _, verb := range []string{"pause", "seek", "skip", "redeliver", "jobs/1/cancel"} {
		g.admin(t, "POST", "/api/subscriptions/billing/"+verb, "{}").want(t, 404)
	}
	g.admin(t, "DELETE", "/api/subscriptions/billing", "").want(t, 404)
}

// TestPauseAndForget: a pause has a person and a reason, wakes the process, and is in the trail. A
// subscription is forgotten only if it is paused or removed.
func TestPauseAndForget(t *testing.T) {
	s := newSubscribed(t, 1)
	before := len(s.trail(t))
	a := s.admin(t, "DELETE", "/api/subscriptions/billing", "").want(t, 409)
	if text := a.errorText(t); text != hookgate.ErrInUse.Error() {
		t.Errorf("in use is answered %q", text)
	}
	if p := change[api.PausedSubscription](t, s, 200, "pause", ""); !p.Paused || !p.Changed {
		t.Errorf("paused: %+v", p)
	}
	if p := change[api.PausedSubscription](t, s, 200, "pause", "{}"); !p.Paused || p.Changed {
		t.Errorf("paused again: %+v", p)
	}
	sub := get[api.Subscription](t, s, "/api/subscriptions/billing")
	if sub.State != "paused" || sub.PausedBy != "configured-2" || sub.PauseReason != "tests" ||
		sub.PausedAt.IsZero() {
		t.Errorf("paused is %+v", sub)
	}
	if p := change[api.PausedSubscription](t, s, 200, "resume", ""); p.Paused || !p.Changed {
		t.Errorf("resumed: %+v", p)
	}
	change[api.PausedSubscription](t, s, 200, "pause", "")
	s.admin(t, "DELETE", "/api/subscriptions/billing", "").want(t, 200)
	s.admin(t, "GET", "/api/subscriptions/billing", "").want(t, 404)
	if n := s.woken.Load(); n != 5 {
		t.Errorf("woken %d times, want 5", n)
	}
	target := fmt.Sprintf("billing (cursor %d, 0 waiting, 0 parked, 0 dead)", 0)
	want := strings.Join([]string{
		"configured-2 subscription_forget " + target + "|begun|",
		"configured-2 subscription_forget " + target + "|failed: " + hookgate.ErrInUse.Error() + "|",
		"configured-2 subscription_pause billing|begun|tests",
		"configured-2 subscription_pause billing|done|tests",
		"configured-2 subscription_pause billing|begun|tests",
		"configured-2 subscription_pause billing|done: it was so before|tests",
		"configured-2 subscription_resume billing|begun|tests",
		"configured-2 subscription_resume billing|done|tests",
		"configured-2 subscription_pause billing|begun|tests",
		"configured-2 subscription_pause billing|done|tests",
		"configured-2 subscription_forget " + target + "|begun|",
		"configured-2 subscription_forget " + target + "|done|",
	}, "\n")
	if got := s.rows(t, before); got != want {
		t.Errorf("the trail is\n%s\nwant\n%s", got, want)
	}
}

// TestSeek: a dry run counts, changes nothing and leaves no row in the trail. A place that is gone
// gets 410 with the horizon, one ahead of the log 409.
func TestSeek(t *testing.T) {
	s := newSubscribed(t, 6)
	s.except(t, hookgate.ExceptionWaiting, 1, 4)
	before := len(s.trail(t))
	dry := change[api.Sought](t, s, 200, "seek", `{"to":"`+s.id(2)+`","dryRun":true}`)
	want := api.Sought{From: s.id(5), To: s.id(2), Events: 3, Deleted: 1, Redelivery: 1, DryRun: true}
	if dry != want {
		t.Errorf("the dry run is %+v, want %+v", dry, want)
	}
	if s.states(t, "") != "1:waiting 4:waiting" || len(s.trail(t)) != before || s.woken.Load() != 0 {
		t.Error("the dry run changed something")
	}
	want.DryRun = false
	if got := change[api.Sought](t, s, 200, "seek", `{"to":"`+s.id(2)+`"}`); got != want {
		t.Errorf("the seek is %+v, want %+v", got, want)
	}
	at := time.UnixMicro(s.ids[0]).Add(-time.Hour).UTC().Format(time.RFC3339Nano)
	if got := change[api.Sought](t, s, 200, "seek", `{"to":"`+at+`"}`); got.Events != 3 {
		t.Errorf("the seek to a time is %+v", got)
	}
	if got := change[api.Sought](t, s, 200, "seek", `{"to":"now"}`); got.To != s.id(5) ||
		got.Events != 6 {
		t.Errorf("the seek to the end is %+v", got)
	}
	horizon := s.memory.Remove(s.ids[3])
	for _, dry := range []string{"false", "true"} {
		var gone api.ErrorAnswer
		a := s.admin(t, "POST", "/api/subscriptions/billing/seek", `{"to":"`+s.id(1)+
			`","dryRun":`+dry+`}`)
		must(t, json.Unmarshal(a.want(t, 410).body, &gone))
		if gone.Horizon != api.EventID(horizon) || !strings.Contains(gone.Error, gone.Horizon) {
			t.Errorf("what is gone is answered %+v", gone)
		}
		a = s.admin(t, "POST", "/api/subscriptions/billing/seek", `{"to":"9007199254740991","dryRun":`+
			dry+`}`).want(t, 409)
		if text := a.errorText(t); !strings.Contains(text, "log ends at id "+s.id(5)) {
			t.Errorf("what is ahead is answered %q", text)
		}
	}
	for _, body := range []string{"", "{}", `{"to":"yesterday"}`, `{"to":""}`, `{"to":"-1"}`,
		`{"to":"+1"}`, `{"to":1}`, `{"to":"now","dryRun":"yes"}`, `{"to":"now","from":"x"}`, `[]`} {
		checkRefusal(t, s.admin(t, "POST", "/api/subscriptions/billing/seek", body).want(t, 400))
	}
}

// TestSeekNeedsApproval: a seek is done once with an approval for its place, and a dry run needs
// none. Equal times are one place.
func TestSeekNeedsApproval(t *testing.T) {
	s := newSubscribed(t, 2, approveSeek)
	p := &people{s.gate, map[string]string{}}
	p.join(t, "alice", control.RoleOperator)
	p.join(t, "bob", control.RoleOperator)
	const path = "/api/subscriptions/billing/seek"
	p.as(t, "alice", "POST", path, `{"to":"now","dryRun":true}`).want(t, 200)
	id := p.asks(t, "alice", path, `{"to":"2020-01-01T01:00:00+01:00"}`)
	p.decide(t, "bob", "approve", id).want(t, 200)
	p.as(t, "alice", "POST", path, `{"to":"now"}`, "X-Approval", id).want(t, 403)
	p.as(t, "alice", "POST", path, `{"to":"2020-01-01T00:00:00Z"}`, "X-Approval", id).want(t, 200)
	p.as(t, "alice", "POST", path, `{"to":"2020-01-01T00:00:00Z"}`, "X-Approval", id).want(t, 403)
}

// TestResolve retries, skips and dead-letters by ids, state, key and all.
func TestResolve(t *testing.T) {
	s := newSubscribed(t, 8)
	s.except(t, hookgate.ExceptionParked, 0, 1, 2, 3)
	s.except(t, hookgate.ExceptionWaiting, 4)
	for _, body := range []string{"", "{}", `{"all":true,"state":"parked"}`, `{"ids":["x"]}`,
		`{"ids":[1]}`, `{"ids":["1"],"key":"k0"}`, `{"state":"open"}`, `{"all":false}`,
		`{"all":true,"after":"x"}`, `{"all":true,"reason":"x"}`} {
		checkRefusal(t, s.admin(t, "POST", "/api/subscriptions/billing/skip", body).want(t, 400))
	}
	before := len(s.trail(t))
	dry := change[api.Resolved](t, s, 200, "retry", `{"state":"parked","dryRun":true}`)
	if dry.Changed != 4 || !dry.DryRun || len(s.trail(t)) != before || s.woken.Load() != 0 {
		t.Errorf("the dry run is %+v", dry)
	}
	r := change[api.Resolved](t, s, 200, "dead-letter", fmt.Sprintf(`{"ids":[%q,%q,"7",%q]}`, s.id(2),
		s.id(0), s.id(5)))
	if r.Changed != 2 || strings.Join(r.Missing, " ") != "7 "+s.id(5) {
		t.Errorf("dead-lettered %+v", r)
	}
	r = change[api.Resolved](t, s, 200, "dead-letter", `{"all":true,"dryRun":true}`)
	if r.Changed != 3 {
		t.Errorf("of dead ones %+v would be dead-lettered", r)
	}
	if got := s.states(t, ""); got != "0:dead 1:parked 2:dead 3:parked 4:waiting" {
		t.Errorf("exceptions are %s", got)
	}
	if got := s.states(t, "held=true"); got != "1:parked 3:parked 4:waiting" {
		t.Errorf("held are %s", got)
	}
	letters := get[api.Exceptions](t, s, "/admin/dlq?subscription=billing&limit=1")
	if len(letters.Exceptions) != 1 || letters.Exceptions[0].Event != s.id(0) ||
		letters.Next != s.id(0) {
		t.Errorf("the first dead letter is %+v", letters)
	}
	for query, want := range map[string]int{"billing&state=open": 400, "billing&type=paid": 400,
		"billing&x=1": 400, "none": 404, "": 404} {
		s.admin(t, "GET", "/admin/dlq?subscription="+query, "").want(t, want)
	}
	if r := change[api.Resolved](t, s, 200, "retry", `{"key":"k0","state":"dead"}`); r.Changed != 1 {
		t.Errorf("retried %+v", r)
	}
	if got := s.states(t, "state=waiting"); got != "0:waiting 4:waiting" {
		t.Errorf("waiting are %s", got)
	}
	r = change[api.Resolved](t, s, 200, "skip", fmt.Sprintf(`{"ids":[%q,%q],"state":"dead",`+
		`"dryRun":true}`, s.id(1), s.id(2)))
	if r.Changed != 1 || strings.Join(r.Missing, " ") != s.id(1) {
		t.Errorf("of dead ones, %+v would be skipped", r)
	}
	if r := change[api.Resolved](t, s, 200, "skip", `{"all":true}`); r.Changed != 5 || r.Next != "" {
		t.Errorf("skipped %+v", r)
	}
	if got := s.states(t, ""); got != "" {
		t.Errorf("exceptions are %s", got)
	}
	if r := change[api.Resolved](t, s, 200, "skip", `{"all":true}`); r.Changed != 0 {
		t.Errorf("of nothing, %+v was skipped", r)
	}
	rows := s.rows(t, before)
	for _, want := range []string{
		"subscription_dead_letter billing events=7," + s.id(0) + "," + s.id(2) + "," + s.id(5) +
			"|done: 2 dead-lettered|tests",
		`subscription_retry billing state=dead key="k0"|done: 1 retried|tests`,
		"subscription_skip billing all|done: 5 skipped|tests",
	} {
		if !strings.Contains(rows, want) {
			t.Errorf("the trail lacks %s:\n%s", want, rows)
		}
	}
}

// TestResolveInBatches: one call changes a bounded number, says where to continue, and what it
// retried does not come again. The listing has all, by pages and as a stream.
func TestResolveInBatches(t *testing.T) {
	const n = 2*resolveBatch + 5
	s := newSubscribed(t, n)
	numbers := make([]int, n)
	for i := range numbers {
		numbers[i] = i
	}
	s.except(t, hookgate.ExceptionParked, numbers...)
	for want, body := range map[int]string{n: "", 7: "&limit=7"} {
		lines := s.admin(t, "GET", "/api/subscriptions/billing/exceptions?state=parked"+body, "",
			"Accept", ndjson).want(t, 200).body
		if got := strings.Count(string(lines), "\n"); got != want {
			t.Errorf("the stream has %d exceptions, want %d", got, want)
		}
	}
	listed, next := 0, ""
	for next != "" || listed == 0 {
		path := "/api/subscriptions/billing/exceptions?limit=1000"
		if next != "" {
			path += "&after=" + next
		}
		page := get[api.Exceptions](t, s, path)
		listed, next = listed+len(page.Exceptions), page.Next
	}
	if listed != n {
		t.Errorf("listed are %d exceptions, want %d", listed, n)
	}
	client := &api.Client{URL: s.url, Token: adminToken}
	changed, calls := 0, 0
	must(t, client.ResolveAll(t.Context(), "billing", hookgate.ResolveRetry,
		api.ExceptionSelection{All: true}, func(r api.Resolved) {
			changed += r.Changed
			calls++
		}))
	if changed != n || calls != 3 {
		t.Errorf("%d exceptions were retried in %d calls, want %d in 3", changed, calls, n)
	}
}

// TestSkipNeedsApproval: a skip of many needs an approval and concerns those that were parked when
// it was given; a skip of one needs none, and neither does a retry.
func TestSkipNeedsApproval(t *testing.T) {
	s := newSubscribed(t, 8, approveSkip)
	p := &people{s.gate, map[string]string{}}
	p.join(t, "alice", control.RoleOperator)
	p.join(t, "bob", control.RoleOperator)
	s.except(t, hookgate.ExceptionParked, 0, 1, 2)
	const path, all = "/api/subscriptions/billing/skip", `{"state":"parked"}`
	p.as(t, "alice", "POST", path, `{"ids":["`+s.id(0)+`"]}`).want(t, 200)
	p.as(t, "alice", "POST", path, `{"all":true,"dryRun":true}`).want(t, 200)
	id := p.asks(t, "alice", path, all)
	p.decide(t, "bob", "approve", id).want(t, 200)
	s.except(t, hookgate.ExceptionParked, 4)
	p.as(t, "alice", "POST", path, `{"all":true}`, "X-Approval", id).want(t, 403)
	p.as(t, "alice", "POST", path, all, "X-Approval", id).want(t, 200)
	if got := s.states(t, ""); got != "4:parked" {
		t.Errorf("exceptions are %s", got)
	}
	p.as(t, "alice", "POST", path, all, "X-Approval", id).want(t, 403)
	p.as(t, "alice", "POST", "/api/subscriptions/billing/retry", all).want(t, 200)
}

// TestRedeliver makes jobs by ids, by ids of a range, and by times; none reaches beyond the cursor.
func TestRedeliver(t *testing.T) {
	s := newSubscribed(t, 9)
	_, err := s.memory.Save(t.Context(), "billing", s.epoch, &hookgate.Results{Cursor: s.ids[5]})
	must(t, err)
	for body, want := range map[string]string{
		`{"from":"` + s.id(2) + `","to":"` + s.id(4) + `"}`: fmt.Sprint("3 ", s.ids[2]-1, " ", s.ids[4]),
		`{"from":"` + s.id(3) + `"}`:                        fmt.Sprint("3 ", s.ids[3]-1, " ", s.ids[5]),
		`{"from":"` + s.id(3) + `","key":"k0"}`:             fmt.Sprint("1 ", s.ids[3]-1, " ", s.ids[5]),
		`{"from":"` + s.id(3) + `","types":["open*"]}`:      fmt.Sprint("0 ", s.ids[3]-1, " ", s.ids[5]),
		`{"from":"` + s.id(3) + `","to":"` + s.id(8) + `"}`: fmt.Sprint("3 ", s.ids[3]-1, " ", s.ids[5]),
		`{"from":"beginning"}`:                              fmt.Sprint("6 0 ", s.ids[5]),
		`{"from":"2020-01-01T00:00:00Z"}`:                   fmt.Sprint("6 0 ", s.ids[5]),
	} {
		r := change[api.Redelivery](t, s, 200, "redeliver", strings.TrimSuffix(body, "}")+
			`,"dryRun":true}`)
		if got := fmt.Sprint(r.Events, " ", r.Job.After, " ", r.Job.Until); got != want || !r.DryRun ||
			r.Job.ID != "" {
			t.Errorf("%s would be %+v, want %s", body, r, want)
		}
	}
	before := len(s.trail(t))
	r := change[api.Redelivery](t, s, 201, "redeliver", fmt.Sprintf(`{"ids":[%q,%q],"rate":5}`,
		s.id(4), s.id(1)))
	if r.Events != 2 || r.Job.ID != "1" || r.Job.State != "running" || r.Job.Redelivery != 1 ||
		strings.Join(r.Job.Events, " ") != s.id(1)+" "+s.id(4) || r.Job.Rate != 5 ||
		r.Job.By != "configured-2" || r.Job.Reason != "tests" || s.woken.Load() != 1 {
		t.Errorf("the job is %+v", r)
	}
	change[api.Redelivery](t, s, 201, "redeliver",
		`{"from":"beginning","sources":["shop"],"key":"k1"}`)
	jobs := get[api.RedeliveryJobs](t, s, "/api/subscriptions/billing/jobs").Jobs
	if len(jobs) != 2 || jobs[0].ID != "2" || jobs[1].ID != "1" {
		t.Errorf("the jobs are %+v", jobs)
	}
	jobs = get[api.RedeliveryJobs](t, s, "/api/subscriptions/billing/jobs?limit=1").Jobs
	if len(jobs) != 1 {
		t.Errorf("one job is %+v", jobs)
	}
	if j := change[api.RedeliveryJob](t, s, 200, "jobs/1/cancel", ""); j.State != "cancelled" ||
		j.EndedAt.IsZero() {
		t.Errorf("cancelled is %+v", j)
	}
	s.admin(t, "POST", "/api/subscriptions/billing/jobs/1/cancel", "").want(t, 409)
	s.admin(t, "POST", "/api/subscriptions/billing/jobs/3/cancel", "").want(t, 404)
	s.admin(t, "GET", "/api/subscriptions/billing/jobs/3", "").want(t, 404)
	if j := get[api.RedeliveryJob](t, s, "/api/subscriptions/billing/jobs/1"); j.State != "cancelled" {
		t.Errorf("it is shown as %+v", j)
	}
	rows := s.rows(t, before)
	for _, want := range []string{"subscription_redeliver billing events=" + s.id(1) + "," + s.id(4) +
		"|done: job 1 of 2 events|tests",
		fmt.Sprintf(`subscription_redeliver billing after 0 until %d sources=shop key="k1"|done: job 2`+
			` of 2 events|tests`, s.ids[5]),
		"subscription_job_cancel billing job 1|failed: it has ended before|"} {
		if !strings.Contains(rows, want) {
			t.Errorf("the trail lacks %s:\n%s", want, rows)
		}
	}
	s.memory.Remove(s.ids[3])
	s.admin(t, "POST", "/api/subscriptions/billing/redeliver", `{"from":"`+s.id(1)+`"}`).want(t, 410)
	for _, body := range []string{"", "{}", `{"from":"now"}`, `{"from":"x"}`, `{"ids":[]}`,
		`{"ids":["1"],"from":"beginning"}`, `{"ids":["1"],"to":"2"}`, `{"ids":["1"],"types":["a"]}`,
		`{"from":"beginning","to":"beginning"}`, `{"ids":["1"],"rate":-1}`, `{"ids":["1"],"rate":"x"}`,
		`{"from":"` + s.id(7) + `"}`, `{"from":"` + s.id(5) + `","to":"` + s.id(4) + `"}`} {
		checkRefusal(t, s.admin(t, "POST", "/api/subscriptions/billing/redeliver", body).want(t, 400))
	}
}

// TestSubscriptionStoreFails: a change that failed, or was done and reported as failed, is answered
// 503 and is failed in the trail. The same call again completes it.
func TestSubscriptionStoreFails(t *testing.T) {
	s := newSubscribed(t, 4)
	s.except(t, hookgate.ExceptionParked, 0, 1)
	for _, done := range []bool{false, true} {
		s.memory.SetFail(func(_ context.Context, op, _ string) (bool, error) {
			switch op {
			case "SetPaused", "Resolve", "Seek", "Redeliver", "Forget", "CancelJob":
				return done, errInjected
			}
			return false, nil
		})
		for _, call := range []struct{ path, body string }{{"pause", ""},
			{"skip", `{"ids":["` + s.id(0) + `"]}`}, {"seek", `{"to":"now"}`},
			{"redeliver", `{"ids":["` + s.id(1) + `"]}`}} {
			before := len(s.trail(t))
			a := s.admin(t, "POST", "/api/subscriptions/billing/"+call.path, call.body).want(t, 503)
			if text := a.errorText(t); !strings.HasSuffix(text, "see the log for the reason") {
				t.Errorf("%s is answered %q", call.path, text)
			}
			want := "|failed: " + errInjected.Error() + "|"
			if rows := s.rows(t, before); !strings.HasSuffix(rows, want) {
				t.Errorf("%s: the trail is\n%s", call.path, rows)
			}
		}
		s.memory.SetFail(nil)
	}
	change[api.PausedSubscription](t, s, 200, "pause", "")
	r := change[api.Resolved](t, s, 200, "skip", `{"ids":["`+s.id(0)+`"]}`)
	if strings.Join(r.Missing, " ") != s.id(0) {
		t.Errorf("what was skipped before is answered %+v", r)
	}
	s.memory.SetFail(func(_ context.Context, op, _ string) (bool, error) {
		return false, map[bool]error{true: errors.New("away")}[op == "Subscriptions"]
	})
	s.admin(t, "GET", "/api/subscriptions", "").want(t, 503)
	s.admin(t, "POST", "/api/subscriptions/billing/pause", "").want(t, 503)
}

package adminapi

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/api"
	"github.com/hookgate/hookgate/control"
)

// people is a gate where purges and retries of many need an approval, and people with tokens: alice
// and bob are admins, olga is an operator.
type people struct {
	*gate
	tokens map[string]string
}

// newPeople is a gate where purges, the retry of all, and more need an approval.
func newPeople(t *testing.T, more ...string) *people {
	g := newGate(t, func(s *setup) {
		s.config.Approvals = ApprovalRules{Required: append([]string{approvePurge, approveRetryAll},
			more...), Expiry: time.Hour, MaxPending: 3}
	})
	p := &people{g, map[string]string{"configured-1": "admin-token-older-9910",
		"configured-2": adminToken}}
	p.join(t, "alice", control.RoleAdmin)
	p.join(t, "bob", control.RoleAdmin)
	p.join(t, "olga", control.RoleOperator)
	return p
}

func (p *people) join(t *testing.T, name string, role control.Role) {
	t.Helper()
	p.tokens[name] = p.create(t, fmt.Sprintf(`{"name":%q,"role":%q}`, name, role)).Text
}

// as makes a call as someone, with a reason.
func (p *people) as(t testing.TB, who, method, path, body string, headers ...string) *answer {
	t.Helper()
	return p.do(t, method, path, strings.NewReader(body), append(headers, "Authorization", "Bearer "+
		p.tokens[who], "X-Reason", who+" has a reason")...)
}

// asks makes a call that needs an approval, and returns the id of what it asked for.
func (p *people) asks(t testing.TB, who, path, body string) string {
	t.Helper()
	var a api.ApprovalRequired
	must(t, json.Unmarshal(p.as(t, who, "POST", path, body).want(t, 202).body, &a))
	if a.Status != "approval_required" || a.Approval.ID == "" || a.Approval.RequestedBy != who ||
		a.Approval.Reason != who+" has a reason" {
		t.Fatalf("asked for %+v", a)
	}
	return a.Approval.ID
}

// decide approves or denies as someone.
func (p *people) decide(t testing.TB, who, verb, id string) *answer {
	t.Helper()
	return p.as(t, who, "POST", "/admin/approvals/"+id+"/"+verb, "")
}

// state returns the state of an approval.
func (p *people) state(t testing.TB, id string) control.ApprovalState {
	t.Helper()
	var a api.Approval
	must(t, json.Unmarshal(p.admin(t, "GET", "/admin/approvals/"+id, "").want(t, 200).body, &a))
	return a.State
}

// rows describes the rows of the trail behind the first n.
func (g *gate) rows(t *testing.T, n int) string {
	t.Helper()
	var rows []string
	for _, r := range g.trail(t)[n:] {
		rows = append(rows, fmt.Sprintf("%s %s %s|%s|%s", r.By, r.Action, r.Target, r.Result, r.Reason))
	}
	return strings.Join(rows, "\n")
}

const (
	purgePath = "/admin/dlq/purge"
	purgeAll  = `{"all":true,"loseEvents":true}`
)

// TestApproval: what needs an approval is not done without, is done once with it, and the trail and
// the approval tell of everything.
func TestApproval(t *testing.T) {
	p := newPeople(t)
	p.deadLetterAll(t, 2)
	before := len(p.trail(t))
	id := p.asks(t, "alice", purgePath, purgeAll)
	if again := p.asks(t, "alice", purgePath, purgeAll); again != id {
		t.Errorf("the same request again is number %s, and was %s", again, id)
	}
	if all, _ := p.letters(t, ""); states(all) != "evt-0:open evt-1:open" {
		t.Fatalf("without an approval it was done: %s", states(all))
	}
	refused := p.as(t, "alice", "POST", purgePath, purgeAll, "X-Approval", id).want(t, 403)
	checkRefusal(t, refused)
	if told := refused.errorText(t); !strings.Contains(told, "still pending") {
		t.Errorf("told %q", told)
	}
	p.decide(t, "bob", "approve", id).want(t, 200)
	if again := p.asks(t, "alice", purgePath, purgeAll); again != id {
		t.Errorf("what is approved is asked for again, as %s", again)
	}
	var purged api.Purged
	must(t, json.Unmarshal(p.as(t, "alice", "POST", purgePath, purgeAll, "X-Approval", id).want(t,
		200).body, &purged))
	if len(purged.Purged) != 2 {
		t.Errorf("purged %+v", purged)
	}
	if told := p.as(t, "alice", "POST", purgePath, purgeAll, "X-Approval", id).want(t,
		403).errorText(t); !strings.Contains(told, " used it") {
		t.Errorf("told %q", told)
	}
	if again := p.asks(t, "alice", purgePath, purgeAll); again == id {
		t.Error("what is used up is not asked for anew")
	}
	var shown api.Approval
	must(t, json.Unmarshal(p.admin(t, "GET", "/admin/approvals/"+id, "").want(t, 200).body, &shown))
	if shown.State != "used" || shown.Action != "dlq_purge" || shown.Target != "all losing events" ||
		shown.Needs != "admin" || *shown.DecidedBy != "bob" ||
		*shown.DecisionReason != "bob has a reason" || shown.UsedBy == nil || shown.UsedAt == nil ||
		shown.DecidedAt == nil {
		t.Errorf("it is %+v", shown)
	}
	want := `alice approval_request dlq_purge: all losing events|begun|alice has a reason
alice approval_request dlq_purge: all losing events|done: approval 1 is pending|alice has a reason
alice approval_request dlq_purge: all losing events|begun|alice has a reason
alice approval_request dlq_purge: all losing events|done: approval 1 is pending|alice has a reason
bob approval_approve 1 (dlq_purge by alice: all losing events)|begun|bob has a reason
bob approval_approve 1 (dlq_purge by alice: all losing events)|done|bob has a reason
alice approval_request dlq_purge: all losing events|begun|alice has a reason
alice approval_request dlq_purge: all losing events|done: approval 1 is approved|alice has a reason
alice dlq_purge all losing events (approval 1)|begun|alice has a reason
alice dlq_purge all losing events (approval 1)|done: 2 purged|alice has a reason
alice approval_request dlq_purge: all losing events|begun|alice has a reason
alice approval_request dlq_purge: all losing events|done: approval 2 is pending|alice has a reason`
	if got := p.rows(t, before); got != want {
		t.Errorf("the trail is\n%s\nwant\n%s", got, want)
	}
}

// TestNobodyApprovesTheirOwn: nor does one who has a second token of the configuration, or makes
// another after asking, or whose role does not go as far as the action.
func TestNobodyApprovesTheirOwn(t *testing.T) {
	p := newPeople(t)
	p.deadLetterAll(t, 1)
	ids := map[string]string{}
	for _, who := range []string{"alice", "configured-2"} {
		ids[who] = p.asks(t, who, purgePath, purgeAll)
	}
	p.join(t, "alice-again", control.RoleAdmin)
	for _, c := range []struct{ asked, decides, why string }{
		{"alice", "alice", "nobody may approve their own request"},
		{"alice", "olga", "needs the role admin"},
		{"alice", "alice-again", "created after the request"},
		{"configured-2", "configured-2", "one person"},
		{"configured-2", "configured-1", "one person"},
	} {
		a := p.decide(t, c.decides, "approve", ids[c.asked]).want(t, 403)
		checkRefusal(t, a)
		if told := a.errorText(t); !strings.Contains(told, c.why) {
			t.Errorf("%s on a request of %s: told %q, want %q", c.decides, c.asked, told, c.why)
		}
		if s := p.state(t, ids[c.asked]); s != control.ApprovalPending {
			t.Fatalf("after %s it is %s", c.decides, s)
		}
		p.as(t, c.asked, "POST", purgePath, purgeAll, "X-Approval", ids[c.asked]).want(t, 403)
	}
	p.decide(t, "olga", "deny", ids["alice"]).want(t, 403)
	p.decide(t, "alice-again", "deny", ids["alice"]).want(t, 403)
	if all, _ := p.letters(t, ""); states(all) != "evt-0:open" {
		t.Errorf("it was done: %s", states(all))
	}
	// Each may approve the other's.
	p.decide(t, "configured-1", "approve", ids["alice"]).want(t, 200)
	p.decide(t, "alice", "approve", ids["configured-2"]).want(t, 200)
	p.as(t, "configured-1", "POST", purgePath, purgeAll, "X-Approval", ids["configured-2"]).want(t,
		200)
	// An operator may approve actions of operators.
	retry := p.asks(t, "alice", "/admin/dlq/retry", `{"all":true}`)
	p.decide(t, "olga", "approve", retry).want(t, 200)
}

// TestApprovalOfALostAnnouncement: the answer to the announcement of a roll-back can be lost. The
// one who announced it announces it again with the same approval, which permits no other roll-back.
func TestApprovalOfALostAnnouncement(t *testing.T) {
	p := newPeople(t, approveRollback)
	const path = "/admin/rollback"
	announce := func(id, version string) string {
		return fmt.Sprintf(`{"id":%q,"expectedVersion":%q}`,
			id, version)
	}
	id := p.asks(t, "alice", path, announce("one", "v1"))
	// nobody has decided
	p.as(t, "alice", "POST", path, announce("one", "v1"), "X-Approval", id).want(t, 403)
	p.decide(t, "bob", "approve", id).want(t, 200)
	for range 2 {
		p.as(t, "alice", "POST", path, announce("one", "v1"), "X-Approval", id).want(t, 200)
	}
	for _, other := range []string{announce("two", "v1"), announce("one", "v2")} {
		p.as(t, "alice", "POST", path, other, "X-Approval", id).want(t, 403)
	}
	p.as(t, "olga", "POST", path, announce("one", "v1"), "X-Approval", id).want(t, 403)
}

// TestApprovalIsExact: an approval allows exactly its action on its target, to the person who
// asked.
func TestApprovalIsExact(t *testing.T) {
	p := newPeople(t)
	p.deadLetterAll(t, 2)
	letters, _ := p.letters(t, "")
	// The comparison includes the part of a target that the trail truncates.
	long := strings.Repeat("x", maxReason)
	body := func(key string) string {
		return fmt.Sprintf(`{"filter":{"type":"t0","key":"%s"},"loseEvents":true}`, key)
	}
	id := p.asks(t, "alice", purgePath, body(long+"1"))
	p.decide(t, "bob", "approve", id).want(t, 200)
	for _, c := range []struct{ who, path, body, why string }{
		{"alice", purgePath, body(long + "2"), "it is for dlq_purge of "},
		{"alice", purgePath, strings.Replace(body(long+"1"), "t0", "t1", 1), "it is for dlq_purge of "},
		{"alice", purgePath, strings.Replace(body(long+"1"), `,"loseEvents":true`, "", 1),
			"it is for dlq_purge of "},
		{"alice", purgePath, purgeAll, "it is for dlq_purge of "},
		{"alice", "/admin/dlq/" + letters[0].ID + "/purge", `{"loseEvents":true}`,
			"it is for dlq_purge of "},
		{"alice", "/admin/dlq/retry", strings.Replace(body(long+"1"), `,"loseEvents":true`, "", 1),
			"this is dlq_retry_all of "},
		{"bob", purgePath, body(long + "1"), "it was requested by alice"},
		{"configured-2", purgePath, body(long + "1"), "it was requested by alice"},
	} {
		a := p.as(t, c.who, "POST", c.path, c.body, "X-Approval", id).want(t, 403)
		checkRefusal(t, a)
		if told := a.errorText(t); !strings.Contains(told, c.why) {
			t.Errorf("%s %s: told %.200q, want %q", c.who, c.body, told, c.why)
		}
	}
	p.as(t, "alice", "POST", purgePath, body(long+"1"), "X-Approval", "2").want(t, 403)
	for _, header := range []string{"x", "1 ", "1,1", "99999999999999999999"} {
		p.as(t, "alice", "POST", purgePath, body(long+"1"), "X-Approval", header+"?").want(t, 400)
	}
	if s := p.state(t, id); s != control.ApprovalApproved {
		t.Errorf("it is %s", s)
	}
	p.as(t, "alice", "POST", purgePath, body(long+"1"), "X-Approval", id).want(t, 200)
	// A single dead letter is named with its state, so that an approval to purge what is stored does
	// not lose what is open.
	one := p.asks(t, "alice", "/admin/dlq/"+letters[0].ID+"/purge", `{"loseEvents":true}`)
	p.decide(t, "bob", "approve", one).want(t, 200)
	p.as(t, "alice", "POST", "/admin/dlq/"+letters[1].ID+"/purge", `{"loseEvents":true}`, "X-Approval",
		one).want(t, 403)
	p.as(t, "alice", "POST", "/admin/dlq/"+letters[0].ID+"/purge", `{"loseEvents":true}`, "X-Approval",
		one).want(t, 200)
	if all, _ := p.letters(t, ""); states(all) != "evt-1:open" {
		t.Errorf("left are %s", states(all))
	}
}

// TestApprovalExpires: an expired approval can neither be decided nor used; it must be requested
// again.
func TestApprovalExpires(t *testing.T) {
	p := newPeople(t)
	p.deadLetterAll(t, 1)
	asked := time.Now().Add(-2 * time.Hour).Truncate(time.Microsecond)
	expired := func(target string) control.Approval {
		a, err := p.access.RequestApproval(t.Context(), control.Approval{Action: approvePurge,
			Target: target, Needs: control.RoleAdmin, RequestedBy: "alice",
			Role: control.RoleAdmin, RequestID: hookgate.NewRequestID(asked), RequestedAt: asked,
			Reason: "x", ExpiresAt: asked.Add(time.Hour)}, 10)
		must(t, err)
		return a
	}
	pending, approved := expired("pending"), expired("all losing events")
	_, err := p.access.DecideApproval(t.Context(), control.ApprovalDecision{ID: approved.ID,
		State: control.ApprovalApproved, By: "bob", Reason: "x", At: asked})
	must(t, err)
	for _, a := range []control.Approval{pending, approved} {
		id := fmt.Sprint(a.ID)
		if s := p.state(t, id); s != control.ApprovalExpired {
			t.Errorf("%s is %s", a.Target, s)
		}
		for _, verb := range []string{"approve", "deny"} {
			// The configured token has no age, so that it is the expiry that keeps it from deciding.
			if told := p.decide(t, "configured-1", verb, id).want(t,
				409).errorText(t); !strings.Contains(told,
				"expired at "+a.ExpiresAt.Format(time.RFC3339)) {
				t.Errorf("%s: told %q", verb, told)
			}
		}
	}
	used := p.as(t, "alice", "POST", purgePath, purgeAll, "X-Approval", fmt.Sprint(approved.ID)).
		want(t, 403)
	checkRefusal(t, used)
	if told := used.errorText(t); !strings.Contains(told, "expired at ") {
		t.Errorf("told %q", told)
	}
	if all, _ := p.letters(t, ""); states(all) != "evt-0:open" {
		t.Errorf("it was done: %s", states(all))
	}
	if id := p.asks(t, "alice", purgePath, purgeAll); id == fmt.Sprint(approved.ID) {
		t.Error("what has expired is not asked for anew")
	}
}

// TestApprovalDenied: what was denied, taken back or withdrawn permits nothing, and says who did it
// and why.
func TestApprovalDenied(t *testing.T) {
	p := newPeople(t)
	p.deadLetterAll(t, 1)
	for _, c := range []struct {
		approved bool
		denies   string
	}{{false, "bob"}, {true, "bob"}, {false, "alice"}, {true, "alice"}} {
		id := p.asks(t, "alice", purgePath, purgeAll)
		if c.approved {
			p.decide(t, "bob", "approve", id).want(t, 200)
		}
		p.decide(t, c.denies, "deny", id).want(t, 200)
		if told := p.as(t, "alice", "POST", purgePath, purgeAll, "X-Approval", id).want(t,
			403).errorText(t); !strings.Contains(told, c.denies+" denied it: "+c.denies+" has a reason") {
			t.Errorf("told %q", told)
		}
		p.decide(t, "bob", "approve", id).want(t, 409)
	}
	if all, _ := p.letters(t, ""); states(all) != "evt-0:open" {
		t.Errorf("it was done: %s", states(all))
	}
}

// TestApprovalUsedOnce: of calls that come at the same time with one approval, one does it.
func TestApprovalUsedOnce(t *testing.T) {
	p := newPeople(t)
	p.deadLetterAll(t, 1)
	id := p.asks(t, "alice", purgePath, purgeAll)
	p.decide(t, "bob", "approve", id).want(t, 200)
	var mu sync.Mutex // guards count
	count := map[int]int{}
	var calls sync.WaitGroup
	for range 8 {
		calls.Go(func() {
			a, err := p.try("POST", purgePath, strings.NewReader(purgeAll), "Authorization", "Bearer "+
				p.tokens["alice"], "X-Approval", id)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Error(err)
			} else {
				count[a.status]++
			}
		})
	}
	calls.Wait()
	if count[200] != 1 || count[403] != 7 {
		t.Errorf("the answers are %v", count)
	}
}

// TestApprovalGoesOn: an approval of many dead letters holds for all calls that it takes, and for
// none that came after the decision.
func TestApprovalGoesOn(t *testing.T) {
	p := newPeople(t)
	p.deadLetterAll(t, 5)
	const body = `{"all":true,"limit":2,"loseEvents":true%s}`
	id := p.asks(t, "alice", purgePath, fmt.Sprintf(body, ""))
	p.decide(t, "bob", "approve", id).want(t, 200)
	p.post(t, envelope("late", "t0", "")).want(t, 202)
	p.settleBut(t, func(*hookgate.Record) bool { return true })
	purged, after := 0, ""
	for n := 0; ; n++ {
		var page api.Purged
		must(t, json.Unmarshal(p.as(t, "alice", "POST", purgePath, fmt.Sprintf(body, after), "X-Approval",
			id).want(t, 200).body, &page))
		if purged += len(page.Purged); page.Next == "" {
			break
		}
		if after = `,"after":"` + page.Next + `"`; n > 5 {
			t.Fatal("it comes to no end")
		}
	}
	if all, _ := p.letters(t, ""); purged != 5 || states(all) != "late:open" {
		t.Errorf("%d were purged, and left are %s", purged, states(all))
	}
	// From the start again it takes another approval; to go on needs what was begun.
	p.as(t, "alice", "POST", purgePath, fmt.Sprintf(body, ""), "X-Approval", id).want(t, 403)
	p.as(t, "bob", "POST", purgePath, fmt.Sprintf(body, after), "X-Approval", id).want(t, 403)

	retry := p.asks(t, "olga", "/admin/dlq/retry", `{"all":true}`)
	p.decide(t, "bob", "approve", retry).want(t, 200)
	p.post(t, envelope("later", "t0", "")).want(t, 202)
	p.settleBut(t, func(*hookgate.Record) bool { return true })
	var r retryResult
	must(t, json.Unmarshal(p.as(t, "olga", "POST", "/admin/dlq/retry", `{"all":true}`, "X-Approval",
		retry).want(t, 202).body, &r))
	if len(r.Retried) != 1 || r.Next != "" {
		t.Errorf("retried %+v", r)
	}
	// a single one needs none
	p.as(t, "olga", "POST", "/admin/dlq/"+r.Retried[0].ID+"/retry", "").want(t, 202)
}

// TestApprovalRequests: a request needs a reason; there is a bound on those of one person; and a
// decision needs a reason.
func TestApprovalRequests(t *testing.T) {
	p := newPeople(t)
	before := len(p.trail(t))
	a := p.do(t, "POST", purgePath, strings.NewReader(purgeAll), "Authorization", "Bearer "+
		p.tokens["alice"]).want(t, 400)
	if told := a.errorText(t); !strings.Contains(told, "X-Reason") {
		t.Errorf("told %q", told)
	}
	// No approval is requested for an impossible action.
	p.as(t, "alice", "POST", purgePath, `{"filter":{"nothing":"x"}}`).want(t, 400)
	if rows := p.rows(t, before); rows != "" {
		t.Errorf("the trail has %s", rows)
	}
	filter := func(n int) string { return fmt.Sprintf(`{"filter":{"key":"%d"}}`, n) }
	for n := range 3 {
		p.asks(t, "alice", purgePath, filter(n))
	}
	full := p.as(t, "alice", "POST", purgePath, filter(3)).want(t, 429)
	checkRefusal(t, full)
	if full.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	p.asks(t, "alice", purgePath, filter(0)) // waits already
	p.asks(t, "bob", purgePath, filter(3))
	p.do(t, "POST", "/admin/approvals/1/approve", nil, "Authorization", "Bearer "+p.tokens["bob"]).
		want(t, 400)
	p.decide(t, "bob", "approve", "1").want(t, 200)
	p.asks(t, "alice", purgePath, filter(3))
	for _, id := range []string{"0", "99", "-1", "x", "1.0"} {
		p.as(t, "bob", "GET", "/admin/approvals/"+id, "").want(t, 404)
		p.decide(t, "bob", "approve", id).want(t, 404)
	}
}

// TestApprovalListing: pages and states, as certify and people read them.
func TestApprovalListing(t *testing.T) {
	p := newPeople(t)
	p.API.config.Approvals.MaxPending = 100
	for n := range 5 {
		p.asks(t, "alice", purgePath, fmt.Sprintf(`{"filter":{"key":"%d"}}`, n))
	}
	p.decide(t, "bob", "approve", "2").want(t, 200)
	p.decide(t, "bob", "deny", "4").want(t, 200)
	for query, want := range map[string]string{
		"":        "1 pending,2 approved,3 pending,4 denied,5 pending next=",
		"limit=2": "1 pending,2 approved next=2", "limit=2&after=3": "4 denied,5 pending next=",
		"state=pending":                 "1 pending,3 pending,5 pending next=",
		"state=pending&limit=1&after=1": "3 pending next=3", "state=denied": "4 denied next=",
		"state=expired": " next=", "state=used": " next=",
	} {
		var page api.Approvals
		must(t, json.Unmarshal(p.admin(t, "GET", "/admin/approvals?"+query, "").want(t, 200).body, &page))
		var all []string
		for _, a := range page.Approvals {
			all = append(all, a.ID+" "+string(a.State))
		}
		if got := strings.Join(all, ",") + " next=" + page.Next; got != want || page.Approvals == nil {
			t.Errorf("%q lists %s, want %s", query, got, want)
		}
	}
	for _, query := range []string{"state=none", "state=", "after=x", "after=-1", "limit=0",
		"limit=1001", "a=1", "limit=1&limit=2"} {
		checkRefusal(t, p.admin(t, "GET", "/admin/approvals?"+query, "").want(t, 400))
	}
}

// failingApprovals is a real Access whose approvals fail where the test says so.
type failingApprovals struct {
	*failingAccess
	use, decide, request bool
}

func (f *failingApprovals) UseApproval(ctx context.Context, id int64, by hookgate.RequestID,
	at time.Time) (control.Approval, error) {
	if f.use {
		return control.Approval{}, errInjected
	}
	return f.failingAccess.UseApproval(ctx, id, by, at)
}

func (f *failingApprovals) DecideApproval(ctx context.Context,
	d control.ApprovalDecision) (control.Approval, error) {
	if f.decide {
		return control.Approval{}, errInjected
	}
	return f.failingAccess.DecideApproval(ctx, d)
}

func (f *failingApprovals) RequestApproval(ctx context.Context, a control.Approval,
	most int) (control.Approval, error) {
	if f.request {
		return control.Approval{}, errInjected
	}
	return f.failingAccess.RequestApproval(ctx, a, most)
}

// TestApprovalsFail: what cannot be kept is answered 503, nothing is done by it, and an approval
// whose use is in doubt permits nothing.
func TestApprovalsFail(t *testing.T) {
	p := newPeople(t)
	p.deadLetterAll(t, 1)
	f := &failingApprovals{failingAccess: withFailures(p.gate)}
	p.API.access = f
	fails := func(switched *bool, call func() *answer) {
		t.Helper()
		*switched = true
		checkRefusal(t, call().want(t, 503))
		*switched = false
		// And if the trail cannot be written.
		f.records.Store(0)
		checkRefusal(t, call().want(t, 503))
		f.records.Store(-1000)
		if all, _ := p.letters(t, ""); states(all) != "evt-0:open" {
			t.Errorf("it was done: %s", states(all))
		}
	}
	fails(&f.request, func() *answer { return p.as(t, "alice", "POST", purgePath, purgeAll) })
	if n := len(p.admin(t, "GET", "/admin/approvals", "").json(t)["approvals"].([]any)); n != 0 {
		t.Errorf("%d were asked for", n)
	}
	id := p.asks(t, "alice", purgePath, purgeAll)
	fails(&f.decide, func() *answer { return p.decide(t, "bob", "approve", id) })
	if s := p.state(t, id); s != control.ApprovalPending {
		t.Errorf("it is %s", s)
	}
	p.decide(t, "bob", "approve", id).want(t, 200)
	fails(&f.use, func() *answer {
		return p.as(t, "alice", "POST", purgePath, purgeAll, "X-Approval",
			id)
	})
	if s := p.state(t, id); s != control.ApprovalUsed { // it was used up before the trail failed
		t.Errorf("it is %s", s)
	}
	p.as(t, "alice", "POST", purgePath, purgeAll, "X-Approval", id).want(t, 403)
}

// TestApprovalOfSomebodyWhoLeft: the person who asked can use the approval as long as their token
// is valid.
func TestApprovalOfSomebodyWhoLeft(t *testing.T) {
	p := newPeople(t)
	p.deadLetterAll(t, 1)
	id := p.asks(t, "alice", purgePath, purgeAll)
	p.decide(t, "bob", "approve", id).want(t, 200)
	p.admin(t, "DELETE", "/admin/tokens/alice", "").want(t, 200)
	p.as(t, "alice", "POST", purgePath, purgeAll, "X-Approval", id).want(t, 401)
	for _, who := range []string{"bob", "configured-2"} {
		p.as(t, who, "POST", purgePath, purgeAll, "X-Approval", id).want(t, 403)
	}
}

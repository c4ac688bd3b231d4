package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/hookgate/hookgate/control"
	"github.com/hookgate/hookgate/internal/redistest"
)

// press clicks by script on an element once it exists. It is for elements that the page may replace
// between finding and clicking.
func (b *tab) press(selector string) {
	b.t.Helper()
	b.whole()
	b.await("there is "+selector, fmt.Sprintf("document.querySelector(%q) != null", selector))
	eval[any](b, fmt.Sprintf("document.querySelector(%q).click()", selector))
}

// answer gives the reason that a dialog asks for, and confirms.
func (b *tab) answer(reason string) {
	b.t.Helper()
	b.fill("dialog [name=reason]", reason)
	b.shoot("dialog")
	b.click("dialog button[value=yes]")
}

// takenAt returns an ordering key that the gate takes at a percentage.
func takenAt(percent int) string {
	for i := 0; ; i++ {
		if key := fmt.Sprintf("key-%d", i); control.CanaryIncludes(key, percent) {
			return key
		}
	}
}

// TestDashboardRelease takes a canary from 0 to 10 percent and back with two people in two
// sessions. One asks and cannot approve; the other approves; the first sees it and continues. A
// denied action does not happen. A purge of all matches needs one approval, however many calls it
// takes. When a release trigger fires, the overview shows it at once, with the canary going back.
func TestDashboardRelease(t *testing.T) {
	t.Parallel()
	g := startGate(t, startOptions{env: startBefore(t).env("HOOKGATE_CANARY_PLAN=20:30m,50:1h,100",
		"HOOKGATE_GUARD_P95_LIMIT=0s",
		"HOOKGATE_APPROVALS_REQUIRED=canary,dlq_purge,dlq_retry_all,rollback,promote",
		// a slow machine is not a problem here
		"HOOKGATE_RELEASE_TRIGGERS_P95_LIMIT=0s", "HOOKGATE_RELEASE_TRIGGERS_ERROR_RATE_LIMIT=0",
		"REDIS_URL="+redistest.Start(t, redistest.Options{}).URL(),
		"HOOKGATE_RELEASE_TRIGGERS_QUEUE_DEPTH_LIMIT=5", "HOOKGATE_RELEASE_TRIGGERS_SUSTAIN=1s",
		"HOOKGATE_RELEASE_TRIGGERS_QUEUE_DEPTH_ACTION=canary_back",
	)})
	bobs, carols := g.newToken("bob", control.RoleAdmin, ""), g.newToken("carol", control.RoleAdmin,
		"")
	decide := func(token, id, decision, reason string) {
		t.Helper()
		g.mustRequest(200, http.MethodPost, "/admin/approvals/"+id+"/"+decision, "", "Authorization",
			"Bearer "+token, "X-Reason", reason)
	}
	alice, bob := newBrowser(t, g), newBrowser(t, g)
	alice.signIn(g.newToken("alice", control.RoleOperator, ""), "/ui/control")
	bob.signIn(bobs, "/ui/control")

	ask := func() {
		t.Helper()
		alice.fill("#canary-set [name=percent]", "10")
		alice.press("#canary-set button")
		alice.answer("release 7")
		alice.await("it waits", `document.querySelector("#approval-told")?.textContent.includes`+
			`("Request 1 waits until")`)
	}
	ask()
	alice.check("approval")
	alice.click("#approval-later") // no approval now
	alice.await("her request is listed",
		`document.querySelector("[data-approval='1']")?.textContent`+
			`.includes("nobody may approve their own request")`)
	if eval[bool](alice, `document.querySelector("[data-decide=approve]") != null`) {
		t.Error("who has asked is offered to approve it")
	}
	ask() // the same request waits for the same approval
	bob.await("it is shown to the other",
		`/canary 10 percent.*alice asks: release 7/s.test(document.querySelector`+
			`("[data-approval='1']")?.textContent)`)
	bob.check("control-approvals")
	bob.press("[data-approval='1'] [data-decide=approve]")
	bob.answer("looked at its certification")
	alice.await("she sees that", `!document.querySelector("#approval-go").disabled`)
	if told := alice.text("#approval-told"); told != "bob has approved it: looked at its certification" || g.canary().Percent != 0 {
		t.Errorf("she is told %q, and the canary is at %d percent", told, g.canary().Percent)
	}
	alice.click("#approval-go")
	alice.await("the canary is set",
		`document.querySelector("#canary[data-percent='10']")?.textContent.includes("Set by alice")`)
	alice.awaitToast("The canary is at 10%.")
	if s := g.canary(); s.Percent != 10 || s.Reason != "release 7" {
		t.Errorf("the canary is %+v", s)
	}

	alice.press("[data-plan=start]")
	alice.answer("all the way")
	alice.await("it waits", `document.querySelector("#approval-told")?.textContent.includes`+
		`("Request 2 waits until")`)
	decide(bobs, "2", "deny", "not on a Friday")
	alice.await("it is denied", `document.querySelector("#approval-told").textContent == "bob has`+
		` denied request 2: not on a Friday"`)
	alice.click("#approval-later")
	alice.await("that is told", `document.querySelector("#toasts").textContent.includes("not on a`+
		` Friday")`)
	if s := g.canary(); s.Step != 0 {
		t.Errorf("what was denied is done: %+v", s)
	}

	// Make each call purge only two.
	key := takenAt(10)
	changeFile(t, g, `CREATE TRIGGER poison BEFORE INSERT ON webhook_events WHEN NEW.message_id`+
		` GLOB 'bad*' BEGIN SELECT raise(ABORT, 'the customer is not known'); END`)
	for i := range 5 {
		g.accept(fmt.Sprintf(`{"messageId":"bad-%d","eventType":"t","orderingKey":%q}`, i, key))
	}
	g.awaitDrained()
	bob.open("/ui/dead-letters")
	eval[any](bob, `(() => { const real = fetch; window.fetch = (path, o) => real(path,`+
		` path == "/admin/dlq/purge" ? {...o, body: JSON.stringify({...JSON.parse(o.body), limit:`+
		` 2})} : o); })()`)
	bob.click("#purge-all")
	bob.fill("dialog input", "purge")
	bob.answer("tests of the sender")
	bob.await("it waits", `document.querySelector("#approval-told")?.textContent.includes("Request`+
		` 3 waits until")`)
	alice.await("an operator may not approve it",
		`document.querySelector("[data-approval='3']")?.textContent.includes("needs the role admin")`)
	if eval[bool](alice, `document.querySelector("[data-approval='3'] button") != null`) {
		t.Error("an operator is offered to decide on what takes an admin")
	}
	decide(carols, "3", "approve", "they are tests")
	bob.await("it is approved", `!document.querySelector("#approval-go").disabled`)
	bob.click("#approval-go")
	bob.await("all are purged", `document.querySelector("#toasts").textContent.includes("5 dead`+
		` letters purged.")`)
	if trail := g.mustRequest(200, http.MethodGet, "/admin/actions", ""); strings.Count(trail,
		" losing events (approval 3)") != 6 {
		t.Errorf("the trail does not have three purges by the approval: %s", trail)
	}

	viewer := newBrowser(t, g)
	viewer.signIn(g.newToken("wall", control.RoleViewer, ""), "/ui/guard")
	if share, word := viewer.text("#canary-share"), viewer.text("#go"); share != "canary 10%" ||
		word != "go" {
		t.Errorf("the page of the guard says %q and %q", share, word)
	}
	// From now on the store fails with all events, so that the queue does not shrink.
	changeFile(t, g, `CREATE TRIGGER stuck BEFORE INSERT ON webhook_events`+
		` BEGIN SELECT abs(-9223372036854775808); END`)
	for i := range 20 {
		body := fmt.Sprintf(`{"messageId":"m-%d","eventType":"t","orderingKey":%q}`, i, key)
		status, answer := g.request(http.MethodPost, "/webhooks", body, "Authorization", "Bearer "+
			g.key(bearerKeyName))
		if status == 200 && answer == "theirs" {
			break // the trigger has fired already and the canary is back
		} else if status != 202 {
			t.Fatalf("webhook %s got %d: %s", body, status, answer)
		}
	}
	viewer.await("the trigger fires",
		`document.querySelector("[data-trigger=queue_depth][data-state=fired]") != null`)
	viewer.await("what it did is shown",
		`/queue depth.*canary back to 0%: done.*queue depth.*fired at .*,`+
			` above 5/s.test(document.querySelector("#release .alarms").textContent)`)
	viewer.await("that is the state",
		`document.querySelector("#go").textContent == "no-go" &&`+
			` document.querySelector("#canary-share").textContent == "canary 0%"`)
	viewer.check("release")
	viewer.open("/ui/")
	viewer.await("the overview leads there",
		`document.querySelector("#problems a[href='/ui/guard#release']")?.textContent.includes(`+
			`"release trigger queue depth has fired")`)
	alice.await("the canary is shown to be back",
		`/Set by guard.*No-go: queue depth/s.test(document.querySelector("#canary[data-percent='0']")`+
			`?.textContent)`)
	alice.check("control-release")
	alice.press("[data-plan=start]")
	alice.expect("status of 409")
	alice.answer("once more")
	alice.await("it is refused", `document.querySelector(".toast.bad")?.textContent.includes`+
		`("release triggers have fired")`)
	alice.click(".toast.bad button")
	alice.await("she closes that", `document.querySelector(".toast.bad") == null`)
}

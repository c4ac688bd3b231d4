package main

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"

	"github.com/hookgate/hookgate"
)

// traffic sends webhooks of all kinds, a few a second, until the test ends.
func (g *gate) traffic() {
	key := g.key(bearerKeyName)
	stop, ended := make(chan struct{}), make(chan struct{})
	g.t.Cleanup(func() { close(stop); <-ended })
	go func() {
		defer close(ended)
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			case <-tick.C:
			}
			auth := "Bearer " + key
			if n%10 == 9 {
				auth = "Bearer wrong"
			}
			g.request(http.MethodPost, "/webhooks", fmt.Sprintf(`{"messageId":"evt-%d","eventType":"order.paid"}`, n-n%7), "Authorization", auth)
		}
	}()
}

// TestDashboardSession signs in and out: the cookie, the form's answers, a link from another site, and a token that is revoked
// while a page is open.
func TestDashboardSession(t *testing.T) {
	g := startGate(t, startOptions{})
	viewer := g.newToken("wall", hookgate.RoleViewer, "")
	b := newBrowser(t, g)
	b.expect(`status of 401`)
	b.open("/")
	b.fill("#token", "hgt_guess")
	b.click("button.main")
	b.await("the guess is refused", `document.querySelector("#told")?.textContent.includes("not known")`)
	if b.holds("hgt_guess") {
		t.Error("the page shows the token that was typed")
	}
	b.check("sign-in")
	b.signIn(viewer, "/ui/?from=a-link")
	if at := eval[string](b, "location.pathname + location.search"); at != "/ui/?from=a-link" {
		t.Errorf("signing in leads to %s", at)
	}
	if b.holds(viewer) {
		t.Error("the page holds the token")
	}
	cookies := b.cookies()
	if len(cookies) != 1 || !cookies[0].HTTPOnly || cookies[0].SameSite != network.CookieSameSiteStrict || strings.Contains(cookies[0].Value, viewer) {
		t.Errorf("cookies are %+v", cookies)
	}

	// A link elsewhere leads to the page, although the browser withholds the cookie at first: localhost is another site than 127.0.0.1.
	other := *g
	other.url = strings.Replace(g.url, "127.0.0.1", "localhost", 1)
	b.g = &other
	b.open("/ui/sign-in")
	eval[any](b, fmt.Sprintf(`(() => { const a = document.createElement("a"); a.href = %q; document.body.append(a); a.click() })()`, g.url+"/ui/?linked"))
	b.await("the link leads to the page", `location.search == "?linked" && document.querySelector("header.bar") != null`)
	b.g = g

	// A copy of the cookie changes nothing without what a page knows, and nothing at all after signing out.
	cookie := cookies[0].Name + "=" + cookies[0].Value
	if status, body := g.request(http.MethodPost, "/admin/maintenance", `{"mode":"read_only"}`, "Authorization", "", "Cookie", cookie); status != 403 {
		t.Errorf("a call without the header got %d: %s", status, body)
	}
	if status, _ := g.request(http.MethodGet, "/api/sources", "", "Authorization", "", "Cookie", cookie); status != 200 {
		t.Errorf("reading with a session got %d", status)
	}
	b.click(".who form button")
	b.await("the form to sign in is there", `location.pathname == "/ui/sign-in"`)
	if left := b.cookies(); len(left) != 0 {
		t.Errorf("after signing out there are %d cookies", len(left))
	}
	if status, _ := g.request(http.MethodGet, "/api/sources", "", "Authorization", "", "Cookie", cookie); status != 401 {
		t.Errorf("after signing out a copy of the cookie got %d", status)
	}

	b.signIn(viewer, "/ui/")
	g.mustRequest(200, http.MethodDelete, "/admin/tokens/wall", "")
	b.open("/ui/")
	if told := b.text("#told"); !strings.Contains(told, "revoked") {
		t.Errorf("a page after the token was revoked tells %q", told)
	}
}

// TestDashboardOverview: on an empty gate the first page shows how to send a webhook, and what it shows works; with traffic its numbers
// move; what is wrong is said in words; and it is small.
func TestDashboardOverview(t *testing.T) {
	g := startGate(t, startOptions{})
	b := newBrowser(t, g)
	b.signIn(g.newToken("wall", hookgate.RoleViewer, ""), "/ui/")
	command := b.text("#send-default")
	if !strings.Contains(command, "curl") || !strings.Contains(command, g.url+"/webhooks") {
		t.Errorf("the first page shows the command %q", command)
	}
	b.check("first-webhook")
	sendAs(t, g, command)
	b.await("the first webhook ends that", `document.querySelector("#first") == null`)

	g.traffic()
	b.open("/ui/")
	b.await("the rate moves", `parseFloat(document.querySelector("[data-live=rate]").textContent) > 5`)
	b.await("the latency is known", `parseFloat(document.querySelector("[data-live=p95]").textContent) > 0`)
	b.await("refusals show", `parseFloat(document.querySelector("[data-live=refused]").textContent) > 0`)
	b.await("the source was seen", `document.querySelector("[data-source=default] time") != null`)
	b.await("the charts are drawn", `document.querySelectorAll(".chart canvas").length == 3`)
	was := eval[float64](b, `performance.now()`)
	b.await("numbers go on moving", fmt.Sprintf(`performance.now() > %f + 1500 && document.querySelector("#fresh").textContent == "live"`, was))
	if verdict := b.text("#verdict"); verdict != "All well" {
		t.Errorf("the verdict is %q: %s", verdict, b.text("#problems"))
	}
	b.check("overview")
	if b.holds("/admin/maintenance") || eval[int](b, `document.querySelectorAll("nav a[href='/ui/control']").length`) != 0 {
		t.Error("a viewer sees controls")
	}

	g.mustRequest(200, http.MethodPost, "/admin/maintenance", `{"mode":"read_only"}`)
	b.await("maintenance is told", `document.querySelector("#problems").textContent.includes("Maintenance")`)
	b.await("503 shows", `parseFloat(document.querySelector("[data-live=unavailable]").textContent) > 0`)
	g.mustRequest(200, http.MethodPost, "/admin/maintenance", `{"mode":"normal"}`)
	b.await("all is well again", `document.querySelector("#verdict").textContent == "All well"`)

	// The first page with everything that it loads, as it goes over the wire.
	type load struct {
		Bytes int
		Took  float64
	}
	l := eval[load](b, `(() => { const all = [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource").filter((e) => !e.name.endsWith("/ui/live"))];
		return {Bytes: all.reduce((n, e) => n + e.encodedBodySize, 0), Took: performance.getEntriesByType("navigation")[0].domContentLoadedEventEnd} })()`)
	if l.Bytes == 0 || l.Bytes > 150<<10 {
		t.Errorf("the first page has %d bytes, at most %d are allowed", l.Bytes, 150<<10)
	}
	t.Logf("first page: %d bytes, ready after %.0f ms", l.Bytes, l.Took)
}

// sendAs runs a command that a page shows, with the key that it asks for.
func sendAs(t *testing.T, g *gate, command string) {
	t.Helper()
	cmd := exec.Command("bash", "-c", command)
	cmd.Env = append(os.Environ(), "KEY="+g.key(bearerKeyName))
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "202") {
		t.Errorf("the command that the page shows ended with %v: %s\n%s", err, out, command)
	}
}

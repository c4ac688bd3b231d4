package e2e

import (
	"crypto/ed25519"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"

	"github.com/hookgate/hookgate/control"
	"github.com/hookgate/hookgate/evidence"
)

// traffic sends webhooks of all kinds, a few per second, until the test ends.
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
			g.request(http.MethodPost, "/webhooks",
				fmt.Sprintf(`{"messageId":"evt-%d","eventType":"order.paid"}`, n-n%7), "Authorization", auth)
		}
	}()
}

// TestDashboardSession signs in and out. It checks the cookie, the answers of the form, a link from
// another site, and a token that is revoked while a page is open.
func TestDashboardSession(t *testing.T) {
	t.Parallel()
	g := startGate(t, startOptions{})
	viewer := g.newToken("wall", control.RoleViewer, "")
	b := newBrowser(t, g)
	b.moves = true
	b.theme("light")
	b.expect(`status of 401`)
	b.open("/")
	b.fill("#token", "hgt_guess")
	b.click("button.main")
	b.await("the guess is refused",
		`document.querySelector("#told")?.textContent.includes("is unknown")`)
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
	if len(cookies) != 1 || !cookies[0].HTTPOnly ||
		cookies[0].SameSite != network.CookieSameSiteStrict || strings.Contains(cookies[0].Value,
		viewer) {
		t.Errorf("cookies are %+v", cookies)
	}

	// A link from another site leads to the page, although the browser withholds the cookie on the
	// first request. localhost is another site than 127.0.0.1.
	other := *g
	other.url = strings.Replace(g.url, "127.0.0.1", "localhost", 1)
	b.g = &other
	b.open("/ui/sign-in")
	eval[any](b, fmt.Sprintf(`(() => { const a = document.createElement("a"); a.href = %q;`+
		` document.body.append(a); a.click() })()`, g.url+"/ui/?linked"))
	b.await("the link leads to the page",
		`location.search == "?linked" && document.querySelector("header.bar") != null`)
	b.g = g

	// A stolen cookie changes nothing without the token in the page, and stops working after the
	// sign-out.
	cookie := cookies[0].Name + "=" + cookies[0].Value
	if status, body := g.request(http.MethodPost, "/admin/maintenance", `{"mode":"read_only"}`,
		"Authorization", "", "Cookie", cookie); status != 403 {
		t.Errorf("a call without the header got %d: %s", status, body)
	}
	if status, _ := g.request(http.MethodGet, "/api/sources", "", "Authorization", "", "Cookie",
		cookie); status != 200 {
		t.Errorf("reading with a session got %d", status)
	}
	b.click(".who form button")
	b.await("the form to sign in is there", `location.pathname == "/ui/sign-in"`)
	if left := b.cookies(); len(left) != 0 {
		t.Errorf("after signing out there are %d cookies", len(left))
	}
	if status, _ := g.request(http.MethodGet, "/api/sources", "", "Authorization", "", "Cookie",
		cookie); status != 401 {
		t.Errorf("after signing out a copy of the cookie got %d", status)
	}

	b.signIn(viewer, "/ui/")
	g.mustRequest(200, http.MethodDelete, "/admin/tokens/wall", "")
	b.open("/ui/")
	if told := b.text("#told"); !strings.Contains(told, "revoked") {
		t.Errorf("a page after the token was revoked tells %q", told)
	}
}

// TestDashboardOverview checks the first page. An empty gate shows a command that sends a webhook,
// and the command works. With traffic the numbers move. Problems are described in words. The page
// is small.
func TestDashboardOverview(t *testing.T) {
	t.Parallel()
	// a slow machine is not a problem here
	g := startGate(t, startOptions{env: []string{"HOOKGATE_GUARD_P95_LIMIT=0s",
		"HOOKGATE_RELEASE_TRIGGERS_P95_LIMIT=0s", "HOOKGATE_RELEASE_TRIGGERS_ERROR_RATE_LIMIT=0"}})
	b := newBrowser(t, g)
	b.signIn(g.newToken("wall", control.RoleViewer, ""), "/ui/")
	command := b.textContent("#send-default")
	if !strings.Contains(command, "curl") || !strings.Contains(command, g.url+"/webhooks") {
		t.Errorf("the first page shows the command %q", command)
	}
	b.check("first-webhook")
	sendAs(t, g, command, g.key(bearerKeyName))
	b.await("the first webhook ends that", `document.querySelector("#first") == null`)

	g.traffic()
	b.open("/ui/")
	b.await("the rate moves", `parseFloat(document.querySelector("[data-live=rate]").textContent) > 0`)
	b.await("the latency is known",
		`parseFloat(document.querySelector("[data-live=p95]").textContent) > 0`)
	b.await("refusals show", `parseFloat(document.querySelector`+
		`("[data-live=refused]").textContent) > 0`)
	b.await("the source was seen", `document.querySelector("[data-source=default] time") != null`)
	b.await("the charts are drawn", `document.querySelectorAll(".chart canvas").length == 3`)
	was := eval[float64](b, `performance.now()`)
	b.await("numbers go on moving",
		fmt.Sprintf(`performance.now() > %f + 1500 && document.querySelector("#fresh").textContent ==`+
			` "live"`, was))
	b.await("all is well", `document.querySelector("#verdict").textContent == "All well"`)
	b.check("overview")
	b.press(".ranges a[href='/ui/?range=1h']")
	b.await("the totals of the day are there", `location.search == "?range=1h" &&`+
		` /Accepted[1-9]/.test(document.querySelector("#totals")?.textContent)`)
	b.await("the history is drawn",
		`document.querySelectorAll("#chart-deliveries canvas").length == 1`)
	b.check("overview-hour")
	b.open("/ui/guard")
	if text := b.text("#workers"); !strings.Contains(text, "no workers and partitions") ||
		!strings.Contains(b.text("#guard"), "breaker closed") {
		t.Errorf("the page of the guard says %q", text)
	}
	b.check("guard")
	b.open("/ui/")
	b.do("press the tabulator", chromedp.KeyEvent("\t"))
	if first := eval[string](b, `document.activeElement.textContent`); first != "Skip to the content" {
		t.Errorf("the keyboard reaches %q first", first)
	}
	b.click("#theme")
	b.open("/ui/")
	if theme := eval[string](b, `document.documentElement.dataset.theme`); theme != "dark" {
		t.Errorf("the theme that was chosen is %q", theme)
	}
	if b.holds("/admin/maintenance") ||
		eval[int](b, `document.querySelectorAll("nav a[href='/ui/control']").length`) != 0 {
		t.Error("a viewer sees controls")
	}

	g.mustRequest(200, http.MethodPost, "/admin/maintenance", `{"mode":"read_only"}`)
	b.await("maintenance is told",
		`document.querySelector("#problems").textContent.includes("Maintenance")`)
	b.check("overview-trouble")
	b.await("503 shows", `parseFloat(document.querySelector`+
		`("[data-live=unavailable]").textContent) > 0`)
	g.mustRequest(200, http.MethodPost, "/admin/maintenance", `{"mode":"normal"}`)
	b.await("all is well again", `document.querySelector("#verdict").textContent == "All well"`)

	// The sizes of the page and its resources, as transferred.
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

// sendAs runs a command that a page shows, with the key that the command asks for.
func sendAs(t *testing.T, g *gate, command, key string) {
	t.Helper()
	cmd := exec.Command("bash", "-c", command)
	cmd.Env = append(os.Environ(), "KEY="+key)
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "202") {
		t.Errorf("the command that the page shows ended with %v: %s\n%s", err, out, command)
	}
}

// TestDashboardSources checks that each source has its URL, a command that works as shown, its
// traffic, and the reasons of failed authentications.
func TestDashboardSources(t *testing.T) {
	t.Parallel()
	config := filepath.Join(t.TempDir(), "hookgate.yaml")
	text := `sources:
  github: {kind: github, secrets: [github-secret-1]}
  shop: {kind: bearer, secrets: [shop-secret-12], message_id: ["json:messageId"], event_type: ["json:eventType"]}
`
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	g := startGate(t, startOptions{args: []string{"--config", config}})
	for range 3 {
		g.request(http.MethodPost, "/webhooks/github", `{}`)
	}
	g.request(http.MethodPost, "/webhooks/github", `{}`, "X-Hub-Signature-256", "sha256="+
		strings.Repeat("0", 64))
	b := newBrowser(t, g)
	b.signIn(g.newToken("wall", control.RoleViewer, ""), "/ui/sources")
	sendAs(t, g, b.textContent("#send-default"), g.key(bearerKeyName))
	sendAs(t, g, b.textContent("#send-shop"), "shop-secret-12")
	if command := b.textContent("#send-github"); !strings.Contains(command,
		"hookgate sources send --source github") {
		t.Errorf("the command for a sender that signs is %q", command)
	}
	g.await("the day has them", func() bool {
		b.open("/ui/sources")
		return strings.Contains(b.text("#source-shop"), "1 accepted · 0 refused") &&
			strings.Contains(b.text("#source-github"), "4 refused")
	})
	failures := b.text("#source-github table")
	if !strings.Contains(failures, "X-Hub-Signature-256 is missing") ||
		!strings.Contains(failures, "does not match the body with any of the configured secrets") {
		t.Errorf("failures are %q", failures)
	}
	for _, secret := range []string{"github-secret-1", "shop-secret-12", g.key(bearerKeyName),
		g.key(adminTokenName)} {
		if b.holds(secret) {
			t.Error("the page holds a secret")
		}
	}
	b.check("sources")

	b.open(eval[string](b, `document.querySelector("#source-github a[href^='/ui/refused']")`+
		`.getAttribute("href")`))
	b.await("the reason comes first", `document.querySelectorAll("#refused summary").length == 2 &&`+
		` document.querySelector("#refused summary").textContent.includes("does not match the body")`)
	b.click("#refused summary")
	if text := b.text("#refused details[open]"); !strings.Contains(text, "What to check") ||
		!strings.Contains(text, "X-Hub-Signature-256") || !strings.Contains(text, "127.0.0.1") {
		t.Errorf("the refused request shows %q", text)
	}
	b.check("refused")
	b.click("#refused li:last-child summary")
	b.await("equal ones are one", `document.querySelector("#refused li:last-child summary")`+
		`.textContent.includes("3 times")`)
	b.click("#refused li:last-child a")
	b.await("each is shown", `document.querySelectorAll("#refused summary").length == 3 &&`+
		` document.querySelectorAll(".chips li").length == 4`)
	b.open("/ui/refused?status=403")
	b.check("refused-none")
}

// TestDashboardEvidence hands in a bundle and checks that the page shows its verdict. Text from the
// sender stays text, and the report runs no script.
func TestDashboardEvidence(t *testing.T) {
	t.Parallel()
	const hostile = `<img src=x onerror=alert(1)><script>alert(2)</script>`
	g := startGate(t, startOptions{env: []string{"EVIDENCE_TOKEN=an-evidence-token"}})
	b := newBrowser(t, g)
	b.signIn(g.newToken("wall", control.RoleViewer, ""), "/ui/evidence")
	b.check("no-evidence")

	dir := t.TempDir()
	for name, text := range map[string]string{
		"verdict.json": `{"status":"PASS"}`,
		"report.html": `<!doctype html><title>Report</title><style>h1{color:green}</style>` +
			`<h1 id="r">PASS</h1><script>document.title = "ran"</script>` + hostile,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	_, key, err := ed25519.GenerateKey(nil)
	if err == nil {
		err = evidence.Seal(dir, key)
	}
	if err != nil {
		t.Fatal(err)
	}
	submit := []string{"evidence", "submit", dir, "--url", g.url + "/api/intake", "--gate",
		"release-7", "--application", hostile}
	if code, out, errs := runBinary(t, []string{"EVIDENCE_TOKEN=an-evidence-token"},
		submit...); code != 0 {
		t.Fatalf("submit: %d %s%s", code, out, errs)
	}
	b.open("/ui/evidence")
	if row := b.text("tbody tr"); !strings.Contains(row, "PASS") ||
		!strings.Contains(row, "release-7") || !strings.Contains(row, hostile) {
		t.Errorf("the row is %q", row)
	}
	b.check("evidence")
	report := eval[string](b, `document.querySelector("tbody a").getAttribute("href")`)
	// The browser reports the scripts that it blocked.
	b.expect(`Blocked script execution|Content Security Policy|request failed:  csp`)
	b.open(report)
	if title := eval[string](b, "document.title"); title != "Report" || b.text("#r") != "PASS" {
		t.Errorf("the title of the report is %q", title)
	}
}

// TestDashboardControl switches maintenance on (webhooks get 503) and off, drains, and makes and
// revokes a token. The admin trail has all of it with the reasons. A viewer sees no controls.
func TestDashboardControl(t *testing.T) {
	t.Parallel()
	g := startGate(t, startOptions{})
	viewer := newBrowser(t, g)
	viewer.expect("status of 403")
	viewer.signIn(g.newToken("wall", control.RoleViewer, ""), "/ui/")
	viewer.open("/ui/control")
	if text := viewer.text("main"); !strings.Contains(text, "403") ||
		!strings.Contains(text, "operator") {
		t.Errorf("a viewer gets %q", text)
	}

	b := newBrowser(t, g)
	b.signIn(g.newToken("olga", control.RoleOperator, ""), "/ui/control")
	if eval[int](b, `document.querySelectorAll("#tokens").length`) != 0 {
		t.Error("an operator is shown the tokens")
	}
	b.confirm("buffer", "#mode [data-set=buffer]", "the database moves: ü")
	b.await("webhooks are buffered",
		`document.querySelector("#mode").dataset.mode == "buffer" &&`+
			` document.querySelector("#toasts").textContent.includes("does not use the store")`)
	if status, _ := g.send(`{"messageId":"buffered","eventType":"t"}`); status != 202 {
		t.Errorf("in buffer a webhook gets %d", status)
	}
	b.confirm("refuse webhooks", "#mode [data-set=read_only]", "the database moves: ü")
	b.await("webhooks are refused",
		`document.querySelector("#mode").dataset.mode == "read_only" &&`+
			` document.querySelector("#toasts").textContent.includes("rejects webhooks")`)
	if status, _ := g.send(`{"messageId":"a","eventType":"t"}`); status != 503 {
		t.Errorf("in maintenance a webhook gets %d", status)
	}
	b.check("control")
	b.confirm("end maintenance", "#mode [data-set=normal]", "")
	b.awaitToast("Maintenance has ended.")
	b.await("that is the mode", `document.querySelector("#mode").dataset.mode == "normal"`)
	if status, _ := g.send(`{"messageId":"a","eventType":"t"}`); status != 202 {
		t.Errorf("after maintenance a webhook gets %d", status)
	}
	b.confirm("drain", "#drain-begin", "before the update")
	b.await("the gate is drained",
		`document.querySelector("#drain-told").textContent.startsWith("Drained")`)

	admin := newBrowser(t, g)
	admin.signIn(g.key(adminTokenName), "/ui/control")
	admin.fill("[name=name]", "deploy")
	admin.confirm("make a token", "#token-create button", "for the pipeline")
	admin.await("the token is shown",
		`document.querySelector("#token-text")?.value.startsWith("hgt_")`)
	token := eval[string](admin, `document.querySelector("#token-text").value`)
	if status, _ := g.request(http.MethodGet, "/api/sources", "", "Authorization", "Bearer "+
		token); status != 200 {
		t.Errorf("the new token gets %d", status)
	}
	admin.click("dialog .main")
	admin.await("the token is listed",
		`document.querySelector("[data-token=deploy]") != null && document.querySelector("dialog") ==`+
			` null`)
	if admin.holds(token) {
		t.Error("the page holds the token")
	}
	admin.check("control-admin")
	admin.confirm("revoke it", "[data-token=deploy] button", "")
	admin.await("the token is revoked",
		`document.querySelector("[data-token=deploy]").textContent.includes("revoked")`)
	if status, _ := g.request(http.MethodGet, "/api/sources", "", "Authorization", "Bearer "+
		token); status != 401 {
		t.Errorf("the revoked token gets %d", status)
	}

	var done []string
	for _, a := range g.trail() {
		if a.By == "olga" && a.Result == control.ResultDone {
			done = append(done, a.Action+" "+a.Target+" "+a.Reason)
		}
	}
	want := []string{"maintenance buffer the database moves: ü",
		"maintenance read_only the database moves: ü", "maintenance normal ",
		"drain within 10m0s before the update"}
	if !slices.Equal(done, want) {
		t.Errorf("the trail has %q, want %q", done, want)
	}
}

// confirm presses a button that asks for a reason, gives the reason, and confirms.
func (b *tab) confirm(what, selector, reason string) {
	b.t.Helper()
	b.click(selector)
	if reason != "" {
		b.fill("dialog [name=reason]", reason)
	}
	b.shoot("dialog")
	b.click("dialog button[value=yes]")
}

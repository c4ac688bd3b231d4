package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/hookgate/hookgate/control"
	embedded "github.com/hookgate/hookgate/gate"
)

// hostile is a text that would run or break out if a page inserted it without escaping.
const hostile = `"><img src=x onerror=alert(1)><script>alert(2)</script>'{{7*7}}</pre>` +
	`<a href=javascript:alert(3)>`

// startRecords starts a gate with a source that keeps headers, and one that takes any body.
func startRecords(t *testing.T) *gate {
	t.Helper()
	return startGate(t, startOptions{args: []string{"--config", writeConfig(t, `
sources:
  default: {kind: envelope, keep_headers: [X-Trace-Id]}
  any: {kind: bearer, secrets: [a-key-of-any], message_id: ["header:X-Id"], event_type: ["header:X-Type"], keep_headers: [X-Note]}
`)}})
}

// accept sends an envelope with a trace header, expects 202, and returns the request id.
func (g *gate) accept(body string) string {
	g.t.Helper()
	status, text := g.request(http.MethodPost, "/webhooks", body, "Authorization", "Bearer "+
		g.key(bearerKeyName), "X-Trace-Id", hostile)
	var a struct{ RequestID string }
	if err := json.Unmarshal([]byte(text), &a); status != 202 || err != nil {
		g.t.Fatalf("webhook %s got %d: %s", body, status, text)
	}
	return a.RequestID
}

func quoted(text string) string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false) // neither does a sender
	e.Encode(text)         // a string always has a JSON form
	return strings.TrimSpace(b.String())
}

// ids returns the message ids in the table of the page.
func (b *tab) ids() []string {
	b.t.Helper()
	b.whole()
	return eval[[]string](b, `[...document.querySelectorAll(".records td.mono a")].map((a) =>`+
		` a.textContent)`)
}

// harmless checks that text from senders is only text.
func (b *tab) harmless() {
	b.t.Helper()
	b.whole()
	if n := eval[int](b, `document.querySelectorAll("main img, main script,`+
		` main a[href^='javascript'], main [onerror]").length`); n != 0 {
		b.t.Errorf("%s: %d elements come from a sender", b.path, n)
	}
	if !strings.Contains(eval[string](b, `document.querySelector("main").textContent`), hostile) {
		b.t.Errorf("%s does not show the hostile text as it is", b.path)
	}
}

// TestDashboardEvents finds an event by every field, opens a shared link, pages, opens an event,
// downloads its body, and follows new events live. Text from senders stays text.
func TestDashboardEvents(t *testing.T) {
	t.Parallel()
	g := startRecords(t)
	b := newBrowser(t, g)
	b.signIn(g.newToken("reader", control.RoleViewer, ""), "/ui/events")
	if empty := b.text("#events .empty"); !strings.Contains(empty, "Nothing is stored yet") {
		t.Errorf("an empty store shows %q", empty)
	}
	const n = 120
	requests := make([]string, n)
	body := func(i int) string {
		return fmt.Sprintf("{\"messageId\":\"evt-%03d\", \"eventType\":\"order.%s\",\n"+
			" \"orderingKey\":\"customer-%d\",\"note\":\"Zoë & <b>%d</b>\",\"n\":1.0e2}",
			i, []string{"paid", "made"}[i%2], i%5, i)
	}
	for i := range n {
		requests[i] = g.accept(body(i))
		if i%40 == 0 {
			g.awaitDrained()
		}
	}
	g.awaitDrained()
	duplicate := g.accept(body(7))
	g.accept(`{"messageId":` + quoted(hostile) + `,"eventType":` + quoted("type"+hostile) +
		`,"orderingKey":` + quoted("key"+hostile) + `,"x":` + quoted(hostile) + `}`)
	if status, text := g.request(http.MethodPost, "/webhooks/any", "\x00\x01binary\xff",
		"Authorization", "Bearer a-key-of-any", "X-Id", "raw-1", "X-Type", "raw"); status != 202 {
		t.Fatalf("a binary webhook got %d: %s", status, text)
	}
	g.awaitDrained()

	// The search box finds an event by any of its ids.
	for q, want := range map[string][]string{
		"evt-042": {"evt-042"}, requests[17]: {"evt-017"}, "evt-11": {"evt-119", "evt-118", "evt-117",
			"evt-116", "evt-115", "evt-114", "evt-113", "evt-112", "evt-111", "evt-110"},
	} {
		b.open("/ui/events")
		b.fill("#q", q)
		b.click(".find button")
		b.await("something is found", `document.querySelector("#found-events") != null`)
		if got := b.ids(); !slices.Equal(got, want) {
			t.Errorf("%s finds %v, want %v", q, got, want)
		}
	}
	b.check("found")
	b.open("/ui/events?q=" + duplicate)
	if told := b.text("#found-requests"); !strings.Contains(told, "found to be a duplicate of") ||
		!strings.Contains(told, requests[7]) {
		t.Errorf("a duplicate is told as %q", told)
	}
	b.open("/ui/events?q=evt-none")
	if told := b.text("#nothing"); !strings.Contains(told, "Nothing with this id") ||
		!strings.Contains(told, "not acknowledged here") {
		t.Errorf("an unknown id is told as %q", told)
	}
	b.check("not-found")

	// Filters are part of the address, so a copy of it shows another person the same.
	b.open("/ui/events")
	if got := b.ids(); len(got) != 50 || got[0] != "raw-1" && got[1] != "raw-1" {
		t.Errorf("the first page shows %d events, first %v", len(got), got[:2])
	}
	b.click(".filters summary")
	b.fill("[name=type]", "order.made")
	b.fill("[name=body]", "<b>4")
	b.click(".fields button.main")
	want := []string{"evt-049", "evt-047", "evt-045", "evt-043", "evt-041"}
	b.await("the filters are on", `document.querySelectorAll(".chips li").length == 3`)
	if got := b.ids(); !slices.Equal(got, want) {
		t.Errorf("type and text show %v, want %v", got, want)
	}
	address := eval[string](b, "location.pathname + location.search")
	other := newBrowser(t, g)
	other.signIn(g.newToken("another", control.RoleViewer, ""), address)
	if got := other.ids(); !slices.Equal(got, want) {
		t.Errorf("the shared address %s shows %v, want %v", address, got, want)
	}
	b.click(".chips li:last-child a")
	b.await("the filters are off", `location.search == "" && document.querySelector(".chips") == null`)

	// Page back in time, and forward again.
	first := b.ids()
	var walked []string
	for page := 0; ; page++ {
		walked = append(walked, b.ids()...)
		if !eval[bool](b, `document.querySelector("[rel=next]") != null`) {
			break
		}
		was := eval[string](b, "location.href")
		b.click("[rel=next]")
		b.await("there are older ones", fmt.Sprintf("location.href != %q", was))
	}
	slices.Sort(walked)
	if len(walked) != n+2 || len(slices.Compact(walked)) != n+2 {
		t.Errorf("all pages show %d events, want %d", len(walked), n+2)
	}
	for range 2 {
		was := eval[string](b, "location.href")
		b.click("[rel=prev]")
		b.await("there are newer ones", fmt.Sprintf("location.href != %q", was))
		b.whole()
	}
	if got := b.ids(); !slices.Equal(got, first) {
		t.Errorf("back at the beginning are %v, want %v", got, first)
	}
	b.open("/ui/events?from=" + url.QueryEscape("2000-01-01 00:00") + "&to=2000-01-02&key=customer-1")
	if told := b.text("#events .empty"); !strings.Contains(told, "No stored event matches") ||
		b.text(".chips") == "" {
		t.Errorf("a time without events shows %q", told)
	}

	// The page of one event.
	b.open("/ui/events?q=evt-007")
	b.click(".records a")
	b.await("the event is there", `document.querySelector("#raw") != null`)
	if raw := eval[string](b, `document.querySelector("#raw").textContent`); raw != body(7) {
		t.Errorf("the body is shown as %q, want %q", raw, body(7))
	}
	if pretty := eval[string](b, `document.querySelector("#pretty").textContent`); !strings.Contains(
		pretty, "  \"n\": 1.0e2") {
		t.Errorf("the body is laid out as %q", pretty)
	}
	lineage := b.textContent("[aria-label=Lineage]")
	for _, part := range []string{requests[7], duplicate, "received", "stored",
		"found to be a duplicate", "first was request " + requests[7]} {
		if !strings.Contains(lineage, part) {
			t.Errorf("the lineage does not tell %q: %s", part, lineage)
		}
	}
	b.await("its neighbours are there", `document.querySelector("#neighbours[data-ready]") != null`)
	neighbours := eval[[]string](b,
		`[...document.querySelectorAll(".neighbours .mono")].map((e) => e.textContent)`)
	if want := []string{"evt-022", "evt-017", "evt-012", "evt-007",
		"evt-002"}; !slices.Equal(neighbours, want) {
		t.Errorf("neighbours are %v, want %v", neighbours, want)
	}
	type download struct{ Text, Kind, Disposition, Sniff string }
	d := eval[download](b, `fetch(document.querySelector("a[download]").href).then(async (r) => ({Text: await r.text(), Kind: r.headers.get("content-type"),
		Disposition: r.headers.get("content-disposition"), Sniff: r.headers.get("x-content-type-options")}))`)
	if d.Text != body(7) || d.Kind != "application/octet-stream" || !strings.HasPrefix(d.Disposition,
		"attachment") || d.Sniff != "nosniff" {
		t.Errorf("the download is %+v", d)
	}
	b.check("event")
	b.open("/ui/events?q=raw-1")
	b.click(".records a")
	b.await("the binary event is there", `document.querySelector("pre.body") != null`)
	b.whole()
	if text := b.text("pre.body"); !strings.Contains(text, "00 01 62 69 6e 61 72 79  ff") {
		t.Errorf("a binary body is shown as %q", text)
	}

	// Text from a sender is escaped everywhere.
	b.open("/ui/events?q=" + url.QueryEscape(hostile))
	b.harmless()
	b.click(".records a")
	b.await("the hostile event is there", `document.querySelector("#raw") != null`)
	b.harmless()
	if headers := b.text(".headers"); !strings.Contains(headers, hostile) {
		t.Errorf("headers are shown as %q", headers)
	}
	for _, name := range []string{"type", "key", "body", "source", "messageId"} {
		b.open("/ui/events?" + url.Values{name: {hostile}}.Encode())
		b.harmless()
	}

	// Live updates.
	b.open("/ui/events?key=customer-3")
	b.click("#tail")
	b.await("it follows", `document.querySelector("#tail").getAttribute("aria-pressed") == "true"`)
	g.accept(`{"messageId":"live-other","eventType":"t","orderingKey":"customer-4"}`)
	g.accept(`{"messageId":"live-1","eventType":` + quoted(hostile) + `,"orderingKey":"customer-3"}`)
	b.await("the new event is there", `document.querySelector(".fresh a")?.textContent == "live-1"`)
	b.harmless()
	if got := b.ids(); slices.Contains(got, "live-other") ||
		!strings.Contains(eval[string](b, "location.search"), "live=1") {
		t.Errorf("the tail shows %v", got)
	}
	b.check("events")
}

// TestDashboardSearchGoesOn checks that a search that runs out of time shows how far it came, and
// continues until it finds something.
func TestDashboardSearchGoesOn(t *testing.T) {
	t.Parallel()
	g := startEmbedded(t, func(o *embedded.Options) { o.Admin.SearchTime = 1 })
	for i := range 300 {
		g.accept(fmt.Sprintf(`{"messageId":"evt-%d","eventType":"t","note":"note-%d."}`, i, i))
	}
	g.awaitDrained()
	list := func(args ...string) []string {
		code, out, errs := runBinary(t, nil, append([]string{"events", "--target", g.url, "--data-dir",
			g.dir, "--json", "--newest"}, args...)...)
		if code != 0 {
			t.Fatalf("hookgate events --newest %v: %s", args, errs)
		}
		var ids []string
		for line := range strings.Lines(out) {
			var e struct{ MessageID string }
			if err := json.Unmarshal([]byte(line), &e); err != nil {
				t.Fatal(err)
			}
			ids = append(ids, e.MessageID)
		}
		return ids
	}
	if ids := list("--body", "note-3."); !slices.Equal(ids, []string{"evt-3"}) {
		t.Errorf("the command finds %v", ids)
	}
	if ids := list("--limit", "2", "--type", "t"); !slices.Equal(ids, []string{"evt-299", "evt-298"}) {
		t.Errorf("the newest are %v", ids)
	}
	if ids := list("--limit", "0"); len(ids) != 300 {
		t.Errorf("all are %d", len(ids))
	}
	b := newBrowser(t, g)
	b.signIn(g.newToken("reader", control.RoleViewer, ""), "/ui/events?body=note-3.")
	if told := b.text("#partial"); !strings.Contains(told, "Searched back to what was received at") {
		t.Errorf("a search that was broken off tells %q", told)
	}
	b.click("#partial a")
	b.await("it is found", `document.querySelector(".records a")?.textContent == "evt-3"`)
	b.open("/ui/events?body=nowhere")
	b.check("partial")
	b.click("#partial a")
	b.await("it has come to the end",
		`document.querySelector("#events .empty")?.textContent.includes("Nothing older matches")`)
}

// TestDashboardDeadLetters retries one dead letter and many, and purges; each role sees the
// controls that it may use, and no more.
func TestDashboardDeadLetters(t *testing.T) {
	t.Parallel()
	g := startRecords(t)
	viewer := newBrowser(t, g)
	viewer.signIn(g.newToken("reader", control.RoleViewer, ""), "/ui/dead-letters")
	if empty := viewer.text("#letters .empty"); !strings.Contains(empty, "No dead letter is open") {
		t.Errorf("without dead letters the page shows %q", empty)
	}
	reason := strings.ReplaceAll(hostile, "'", "''")
	changeFile(t, g, `CREATE TRIGGER poison BEFORE INSERT ON webhook_events WHEN NEW.message_id GLOB 'bad*'
		BEGIN SELECT raise(ABORT, '`+reason+`'); END`)
	for i := range 6 {
		g.accept(fmt.Sprintf(`{"messageId":"bad-%d","eventType":%s,"orderingKey":"k","x":%s}`, i,
			quoted("t"+hostile), quoted(hostile)))
	}
	g.awaitDrained()

	viewer.open("/ui/dead-letters")
	viewer.harmless()
	all := []string{"bad-0", "bad-1", "bad-2", "bad-3", "bad-4", "bad-5"}
	if got := viewer.ids(); !slices.Equal(got, all) {
		t.Errorf("dead letters are %v, want %v", got, all)
	}
	viewer.click(".records a")
	viewer.await("the dead letter is there", `document.querySelector("#reason") != null`)
	viewer.harmless()
	if n := eval[int](viewer, `document.querySelectorAll("main input[type=checkbox], #retry,`+
		` #purge").length`); n != 0 {
		t.Errorf("a viewer sees %d controls", n)
	}

	b := newBrowser(t, g)
	b.signIn(g.newToken("on-call", control.RoleOperator, ""), "/ui/dead-letters")
	if eval[bool](b, `document.querySelector("#purge-all, #purge-chosen") != null`) {
		t.Error("an operator sees the purge")
	}
	b.check("dead-letters")
	b.click(".records a")
	b.await("the dead letter is there",
		`document.querySelector("#retry") != null && document.querySelector("#purge") == null`)
	b.check("dead-letter")

	// An event that is still at fault fails again. After the repair it is stored.
	path := eval[string](b, "location.pathname")
	b.click("#retry")
	b.fill("dialog [name=reason]", "the address is mended")
	b.click("dialog [value=yes]")
	b.await("it is retried", `document.querySelector(".toast")?.textContent.startsWith("Retried")`)
	g.awaitDrained()
	b.open(path)
	if state := b.text("#state"); state != "superseded" {
		t.Errorf("a dead letter whose retry failed is %s", state)
	}
	cureFile(t, g)
	b.open("/ui/dead-letters")
	b.click("[aria-label='Choose bad-1']")
	b.click("[aria-label='Choose bad-2']")
	b.await("two are chosen", `document.querySelector("#chosen").textContent == "2 chosen"`)
	b.click("#retry-chosen")
	b.await("it asks", `document.querySelector("dialog h2")?.textContent == "Retry 2 dead letters?"`)
	b.click("dialog button[type=button]") // no
	b.await("nothing happens", `document.querySelector("dialog") == null`)
	b.click("#retry-chosen")
	b.click("dialog [value=yes]")
	b.await("two are retried", `document.querySelector(".toast")?.textContent == "2 of 2 dead`+
		` letters retried."`)
	g.awaitDrained()
	b.open("/ui/dead-letters?state=stored")
	if got := b.ids(); !slices.Equal(got, []string{"bad-1", "bad-2"}) {
		t.Errorf("stored are %v", got)
	}
	b.click(".records a")
	b.await("its event is linked",
		`document.querySelector("[aria-label=Reason] a[href^='/ui/events/']") != null`)

	// A purge of open dead letters loses events, so the dialog asks for a typed word.
	a := newBrowser(t, g)
	a.signIn(g.key(adminTokenName), "/ui/dead-letters")
	a.click("[aria-label='Choose bad-3']")
	a.click("#purge-chosen")
	a.fill("dialog [name=reason]", "a test of the sender")
	a.click("dialog [value=yes]")
	if !eval[bool](a, `document.querySelector("dialog")?.open &&`+
		` !document.querySelector("dialog form").checkValidity()`) {
		t.Error("a purge that loses an event needs no more than a click")
	}
	a.fill("dialog input", "purge")
	a.click("dialog [value=yes]")
	a.await("it is purged", `document.querySelector(".toast")?.textContent == "1 dead letter purged."`)
	a.open("/ui/dead-letters?state=purged")
	a.click(".records a")
	a.await("who purged it is told",
		`document.querySelector("[aria-label=Reason]")?.textContent.includes("a test of the sender")`)

	// The purge of all other matches.
	a.open("/ui/dead-letters?prefix=bad")
	a.click("#retry-all")
	a.answer("the customers are known now")
	a.await("all are retried", `document.querySelector(".toast")?.textContent == "3 dead letters`+
		` retried."`)
	g.awaitDrained()
	a.open("/ui/dead-letters")
	if told := a.text("#letters .empty"); !strings.Contains(told, "No dead letter is open") {
		t.Errorf("in the end the page shows %q", told)
	}
	if got := g.health().Store.Events; got != 5 {
		t.Errorf("%d events are stored, want 5", got)
	}
	trail := g.mustRequest(200, http.MethodGet, "/admin/actions", "")
	for _, part := range []string{"the address is mended", "a test of the sender", `"on-call"`} {
		if !strings.Contains(trail, part) {
			t.Errorf("the admin trail does not have %q: %s", part, trail)
		}
	}
}

package e2e

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/hookgate/hookgate/api"
	"github.com/hookgate/hookgate/control"
)

// repaired is a consumer that fails for the events of one key until it is repaired.
type repaired struct {
	*httptest.Server
	// unanswered ends the wait of the requests of redelivery 3 when it is closed.
	unanswered chan struct{}

	mu     sync.Mutex // guards the fields below
	broken bool
	// seen has a line for each request that succeeded: subscription, message id, redelivery.
	seen []string
}

func newRepaired(t *testing.T) *repaired {
	r := &repaired{broken: true, unanswered: make(chan struct{})}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if q.Header.Get("hookgate-redelivery") == "3" {
			select {
			case <-r.unanswered:
			case <-q.Context().Done():
				return
			}
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.broken && q.Header.Get("hookgate-key") == "k:customer-7" && q.URL.Path != "/search" {
			w.WriteHeader(http.StatusUnprocessableEntity)
			io.WriteString(w, `{"error":"no such customer <b>7</b>"}`)
			return
		}
		r.seen = append(r.seen, strings.Join([]string{q.Header.Get("hookgate-subscription"),
			q.Header.Get("hookgate-message-id"), q.Header.Get("hookgate-redelivery")}, " "))
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *repaired) repair() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.broken = false
}

// count returns how often a line was seen.
func (r *repaired) count(line string) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.seen {
		if s == line {
			n++
		}
	}
	return n
}

// TestDashboardDeliveries has a consumer that fails for one key and is then repaired. On the pages
// a person finds out why, and does with it everything that one can do: skip, dead-letter, retry,
// redeliver, pause, resume, seek, cancel. A viewer sees the same pages without a button.
func TestDashboardDeliveries(t *testing.T) {
	t.Parallel()
	c := newRepaired(t)
	config := filepath.Join(t.TempDir(), "hookgate.yaml")
	must(t, os.WriteFile(config, fmt.Appendf(nil, `subscriptions:
  billing:
    start: beginning
    retry: {first: 50ms, max: 100ms, for: 200ms}
    push: {url: "%s/billing", timeout: 1h, signing: ["env:BILLING_SECRET"],
      headers: {X-Tenant: shop-1}}
  search: {start: beginning, types: ["t.*"], push: {url: "%s/search"}}
  warehouse: {start: beginning, pull: {}}
  ledger:
    start: beginning
    retry: {first: 8760h, max: 8760h, for: 8760h}
    push: {url: "%s/ledger"}
  mirror: {start: beginning, push: {url: "http://127.0.0.1:1/"}}
`, c.URL, c.URL, c.URL), 0o600))
	g := startGate(t, startOptions{args: []string{"--config", config},
		env: []string{"BILLING_SECRET=whsec_c2VjcmV0LXNlY3JldC1zZWNyZXQtMTI="}})
	olga := g.newToken("olga", control.RoleOperator, "")
	b := newBrowser(t, g)
	b.signIn(olga, "/ui/deliveries/search")
	if text := b.text("#rows"); !strings.Contains(text, "No event was attempted yet") {
		t.Errorf("without events the attempts are %s", text)
	}
	b.check("subscription-empty")
	b.open("/ui/deliveries")
	g.sendKey("customer-7", 1, 3)
	g.sendKey("customer-8", 1, 12)
	parked := func() {
		t.Helper()
		g.awaitSubscription("billing", "an event is parked", func(s api.Subscription) bool {
			return s.Parked == 1 && s.Waiting == 0 && s.Backlog == 0
		})
	}
	parked()
	b.await("the list shows it",
		`/1 parked/.test(document.querySelector("#subscription-billing").textContent)`)
	b.check("deliveries-trouble")

	// The page of the subscription shows what was answered, and no secret.
	b.open("/ui/deliveries/billing")
	if text := b.text("#rows"); !strings.Contains(text, `no such customer <b>7</b>`) {
		t.Errorf("the attempts are %s", text)
	}
	if b.holds("c2VjcmV0LXNlY3JldC1zZWNyZXQtMTI=") || b.holds("shop-1") {
		t.Error("the page holds a secret")
	}
	b.check("subscription-attempts")
	rows := func(query string) int {
		t.Helper()
		b.open("/ui/deliveries/billing?" + query)
		return eval[int](b, `document.querySelectorAll("#rows tbody tr").length`)
	}
	if n := rows("status=4xx&key=customer-7"); n < 2 {
		t.Errorf("%d attempts were answered 4xx", n)
	}
	if n := rows("outcome=delivered&key=customer-7"); n != 0 {
		t.Errorf("%d attempts of the key succeeded", n)
	}
	if n := rows("state=held"); n != 1 {
		t.Errorf("%d keys are held", n)
	}

	// One subscription waits before it retries, and at the address of the last one nobody listens.
	g.awaitSubscription("ledger", "an event waits", func(s api.Subscription) bool {
		return s.Waiting == 1 && s.Held == 1
	})
	b.open("/ui/deliveries/ledger?state=waiting")
	if text := b.text("#rows"); !strings.Contains(text, "customer-7-1") ||
		!regexp.MustCompile(`in \d+ days`).MatchString(text) {
		t.Errorf("the event that waits is shown as %s", text)
	}
	b.check("subscription-waiting")
	b.open("/ui/deliveries/mirror")
	b.await("the breaker is open, and the last error is shown",
		`/Last error: .*connection refused/.test(document.querySelector("#standing").textContent)`)
	b.check("subscription-outage")

	// One is skipped, one is a dead letter, and after the repair one is retried.
	resolve := func(state, verb, question string) {
		t.Helper()
		b.open("/ui/deliveries/billing?state=" + state)
		if verb == "skip" {
			b.click("#choose-all")
		}
		b.click("[data-resolve=" + verb + "]")
		b.await("it asks: "+question, fmt.Sprintf(
			`document.querySelector("dialog h2")?.textContent == %q`, question))
		b.answer("because of 7")
		b.awaitToast("1 event ")
	}
	b.open("/ui/deliveries/billing?state=parked")
	b.check("subscription-parked")
	resolve("parked", "skip", "Skip 1 parked event?")
	parked()
	resolve("parked", "dead-letter", "Dead-letter 1 parked event?")
	parked()
	c.repair()
	resolve("parked", "retry", "Retry 1 parked event?")
	g.await("customer-7-3 is delivered", func() bool { return c.count("billing customer-7-3 0") == 1 })
	resolve("dead", "retry", "Retry 1 dead letter?")
	g.await("customer-7-2 is delivered", func() bool { return c.count("billing customer-7-2 0") == 1 })

	// Pause and resume.
	b.open("/ui/deliveries/billing")
	b.confirm("pause", "#pause", "the ledger moves")
	b.await("it is paused", `document.querySelector("#resume") != null &&`+
		` document.querySelector("#standing").textContent.includes("the ledger moves")`)
	b.awaitToast("billing is paused.")
	g.sendKey("customer-9", 1, 1)
	b.await("it is behind",
		`document.querySelector("#standing").textContent.includes("1 event after")`)
	b.check("subscription-paused")
	b.confirm("resume", "#resume", "")
	b.await("it is resumed", `document.querySelector("#pause") != null`)
	g.await("it goes on", func() bool { return c.count("billing customer-9-1 0") == 1 })

	// One event again, a range again, and a job that is cancelled.
	b.open("/ui/deliveries/billing")
	b.confirm("redeliver one", "[data-message=customer-9-1]", "asked for")
	b.awaitToast("Job 1 delivers 1 event")
	g.await("it is delivered again", func() bool { return c.count("billing customer-9-1 1") == 1 })
	b.open("/ui/deliveries/billing")
	b.click("#redeliver")
	b.set("dialog [name=from]", "2020-01-01T00:00:00")
	b.plan("Redeliver 16 events")
	g.await("the range is delivered again", func() bool {
		return c.count("billing customer-8-12 2") == 1 && c.count("billing customer-7-1 2") == 1
	})
	b.awaitToast("Job 2 delivers 16 events")
	b.click("#redeliver")
	b.set("dialog [name=rate]", "1")
	b.set("dialog [name=from]", "2020-01-01T00:00:00")
	b.plan("Redeliver 16 events")
	b.awaitToast("Job 3 delivers 16 events")
	b.confirm("cancel", "[data-cancel='3']", "once is enough")
	b.awaitToast("Job 3 is cancelled.")
	b.await("that is its state", `document.querySelector("[data-state=cancelled]") != null`)
	close(c.unanswered)
	b.check("subscription-jobs")

	// Back to the beginning.
	b.click("#seek")
	b.set("dialog [name=place]", "beginning")
	b.plan("Deliver 16 events again")
	b.awaitToast("The cursor moved")
	g.await("everything is delivered again", func() bool {
		return c.count("billing customer-7-1 4") == 1 && c.count("billing customer-9-1 4") == 1
	})

	// The way of an event, and one to another subscription.
	b.open(fmt.Sprint("/ui/events/", g.ids()["customer-7-2"]))
	way := b.text("#lineage")
	for _, part := range []string{"received", "stored", "billing", "search", "failed",
		"failed, then parked", `no such customer <b>7</b>`, "delivered", "warehouse",
		"not pulled yet"} {
		if !strings.Contains(way, part) {
			t.Errorf("the way of the event does not tell %q: %s", part, way)
		}
	}
	b.check("event-way")
	b.set("#resend-to", "search")
	b.confirm("resend", "#resend button", "search lost it")
	b.awaitToast("again to search")
	g.await("it is delivered again", func() bool { return c.count("search customer-7-2 1") == 1 })

	// The admin trail has all of it.
	b.open("/ui/admin-trail?actor=olga")
	var want []string
	for _, a := range g.trail() {
		if a.By == "olga" && a.Result != control.ResultBegun {
			want = append(want, strings.ReplaceAll(a.Action, "_", " "))
		}
	}
	slices.Reverse(want)
	if got := eval[[]string](b, `[...document.querySelectorAll("tbody b")].map((e) =>`+
		` e.textContent)`); !slices.Equal(got, want) || len(want) != 12 {
		t.Errorf("the admin trail has %q, want %q", got, want)
	}
	b.open("/ui/admin-trail?action=subscription_skip&from=2020-01-01")
	if text := b.text("tbody"); strings.Count(text, "because of 7") != 1 {
		t.Errorf("the skips are %s", text)
	}
	b.check("admin-trail")
	b.open("/ui/deliveries")
	b.check("deliveries")

	viewer := newBrowser(t, g)
	viewer.signIn(g.newToken("wall", control.RoleViewer, ""), "/ui/deliveries/billing?state=dead")
	for _, path := range []string{"/ui/deliveries/billing",
		fmt.Sprint("/ui/events/", g.ids()["customer-7-2"])} {
		viewer.open(path)
		if n := eval[int](viewer, `document.querySelectorAll("main button:not([data-copy]):not(form"+`+
			`" button), [data-redeliver], #resend").length`); n != 0 {
			t.Errorf("a viewer of %s sees %d buttons", path, n)
		}
	}
}

// set sets the value of a field that typing does not fill, as a person does who chooses it.
func (b *tab) set(selector, value string) {
	b.t.Helper()
	b.await(selector+" is there", fmt.Sprintf("document.querySelector(%q) != null", selector))
	eval[any](b, fmt.Sprintf(`(() => { const e = document.querySelector(%q); e.value = %q;`+
		` e.dispatchEvent(new Event("input", {bubbles: true})) })()`, selector, value))
}

// awaitToast waits until the page is loaded again and tells what was done.
func (b *tab) awaitToast(text string) {
	b.t.Helper()
	b.await("the page tells: "+text, fmt.Sprintf(
		`document.querySelector("#toasts")?.textContent.includes(%q)`, text))
}

// plan waits until a dialog has counted what it would do, gives a reason and confirms it. action
// has the count.
func (b *tab) plan(action string) {
	b.t.Helper()
	b.await("the dialog offers: "+action, fmt.Sprintf(
		`document.querySelector("dialog [value=yes]:not([disabled])")?.textContent == %q`, action))
	b.answer("on purpose")
}

package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hookgate/hookgate/admit"
	"github.com/hookgate/hookgate/api"
	"github.com/hookgate/hookgate/control"
)

// pictureTime is how long TestPictures sends webhooks, so that the charts have something to show.
const pictureTime = 3 * time.Minute

// TestPictures takes the pictures of the documentation, of a gate that three senders use for some
// minutes: two whose webhooks are delivered, and one whose secret is wrong. A consumer fails for
// one customer. It runs only if SCREENSHOTS names the folder for the pictures. On a machine that
// does nothing else the figures on them are honest.
func TestPictures(t *testing.T) {
	if os.Getenv("SCREENSHOTS") == "" {
		t.Skip("takes pictures only for SCREENSHOTS=folder")
	}
	var sent atomic.Int64
	c := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		broken := strings.HasSuffix(r.Header.Get("hookgate-key"), "gid7")
		if broken && r.URL.Path == "/billing" {
			w.WriteHeader(http.StatusInternalServerError)
			fmt.Fprint(w, `{"error":"customer gid7 is unknown"}`)
		}
	}))
	t.Cleanup(c.Close)
	config := writeConfig(t, fmt.Sprintf(`sources:
  stripe: {kind: stripe, secrets: [env:SENDER_SECRET]}
  shopify: {kind: shopify, secrets: [env:SENDER_SECRET]}
  github: {kind: github, secrets: [env:SENDER_SECRET]}
subscriptions:
  billing: {sources: [stripe], push: {url: "%s/billing"}, retry: {first: 1s, max: 5s, for: 20s}}
  search: {sources: [stripe, shopify], push: {url: "%s/search"}}
  warehouse: {sources: [shopify], push: {url: "%s/warehouse"}}
`, c.URL, c.URL, c.URL))
	const secret = "whsec_c2VjcmV0IG9mIGFsbCBzZW5kZXJz"
	g := startGate(t, startOptions{args: []string{"--config", config},
		env: []string{"SENDER_SECRET=" + secret}})
	send := func(kind, secret, body string, header ...string) int {
		r := admit.Request{Method: http.MethodPost, Header: http.Header{}, Time: time.Now(),
			Body: []byte(body)}
		for i := 0; i+1 < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		must(t, admit.Sign(kind, admit.Options{Secrets: []string{secret}}, nil, &r))
		pairs := []string{"Content-Type", "application/json"}
		for name, values := range r.Header {
			pairs = append(pairs, name, values[0])
		}
		status, _ := g.request(http.MethodPost, "/webhooks/"+kind, body, pairs...)
		return status
	}
	stripe := func(customer string) int {
		n := sent.Add(1)
		return send("stripe", secret, fmt.Sprintf(`{"id":"evt_1Pq%06d","object":"event",`+
			`"type":"invoice.paid","created":%d,"data":{"object":{"id":"in_1Pq%06d","object":"invoice",`+
			`"customer":"cus_%s","amount_paid":%d,"currency":"eur"}}}`, n, time.Now().Unix(), n, customer,
			990+n%37*100))
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	end := time.Now().Add(pictureTime)
	for i := 0; time.Now().Before(end); i++ {
		<-tick.C
		if status := stripe(fmt.Sprint("Q", i%40)); status != http.StatusAccepted {
			t.Fatalf("stripe got %d", status)
		}
		if i%3 == 0 {
			order := fmt.Sprintf(`{"id":%d,"order_number":%d,"total_price":"%d.90"}`, 820_000_000+i,
				1000+i, 10+i%90)
			status := send("shopify", secret, order, "X-Shopify-Topic", "orders/paid", "X-Shopify-Shop-Domain",
				"shop.example", "X-Shopify-Webhook-Id", fmt.Sprint("b54557e4-", i), "X-Shopify-Event-Id",
				fmt.Sprint("98880550-", i))
			if status != http.StatusOK && status != http.StatusAccepted {
				t.Fatalf("shopify got %d", status)
			}
		}
		left := time.Until(end)
		if i%20 == 0 && left < time.Minute {
			if status := send("github", "not-that-secret", `{"action":"opened","number":12}`,
				"X-GitHub-Event", "pull_request", "X-GitHub-Delivery",
				fmt.Sprintf("72d3162e-cc78-11e3-%012d", i), "User-Agent",
				"GitHub-Hookshot/5f2b9c1"); status != http.StatusUnauthorized {
				t.Fatalf("github got %d", status)
			}
		}
		if i%100 == 0 && left < time.Minute && left > 30*time.Second {
			stripe("gid7")
		}
	}
	g.awaitSubscription("billing", "the event is parked", func(s api.Subscription) bool {
		return s.Parked == 1
	})
	b := newBrowser(t, g)
	b.signIn(g.newToken("olga", control.RoleOperator, ""), "/ui/?range=15m")
	b.desk()
	b.await("live numbers", `document.querySelectorAll(".chart canvas").length >= 3`)
	b.shoot("overview")
	b.phone()
	b.shoot("phone")
	b.desk()
	b.open("/ui/deliveries/billing?state=parked")
	b.shoot("deliveries")
	b.open(eval[string](b, `document.querySelector("#rows a.mono").getAttribute("href")`))
	b.shoot("event")
	b.open("/ui/refused?source=github")
	b.click("details summary")
	b.shoot("refused")
}

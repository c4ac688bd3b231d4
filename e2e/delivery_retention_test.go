package e2e

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hookgate/hookgate"
)

// TestDeliveryRetention has a parked event, which retention must keep together with those behind
// it, and a cursor far behind, which holds retention up. A seek before the horizon gets 410.
func TestDeliveryRetention(t *testing.T) {
	onBothStores(t, func(t *testing.T, env []string) {
		c := startConsumer(t)
		s := subscribed{name: "billing", first: 20 * time.Millisecond, max: 50 * time.Millisecond,
			retryFor: 100 * time.Millisecond}
		c.behave(behaviour{Key: "poison", Status: http.StatusInternalServerError})
		env = append(env, "HOOKGATE_QUEUE_CLAIM_TTL=1s", "HOOKGATE_RETENTION_EVENTS=1s",
			"HOOKGATE_RETENTION_TRAIL=2s")
		g := startGate(t, startOptions{env: append(env, c.subscribe("gate", s)...)})
		g.sendKey("poison", 1, 2)
		g.sendKey("fine", 1, 5)
		g.await("poison-1 is parked", func() bool {
			return len(g.exceptions("billing", hookgate.ExceptionParked)) == 1
		})
		g.await("the events have gone from the log", func() bool { return len(g.ids()) == 0 })
		if status, body := g.request(http.MethodPost, "/api/subscriptions/billing/seek",
			`{"to":"1"}`); status != http.StatusGone || !strings.Contains(body, `"horizon"`) {
			t.Errorf("a seek before the horizon is answered %d %s", status, body)
		}
		c.behave()
		g.change("billing/retry", `{"all":true}`, nil)
		g.await("the key is delivered", func() bool { return c.count("billing") == 7 })
		digests := map[string]string{}
		for _, r := range requestsOf(c.seen(), "billing") {
			if digest, known := digests[r.Message]; known && digest != r.SHA256 {
				t.Errorf("%s comes with another body", r.Message)
			}
			digests[r.Message] = r.SHA256
		}
		g.awaitIdle("billing")

		g.change("billing/pause", "", nil)
		sent := 0
		g.await("the health tells subscription_holds_retention", func() bool {
			sent++ // the gate delivers events until it notices the pause
			g.sendKey("late", sent, sent)
			_, health := g.request(http.MethodGet, "/api/health", "")
			return strings.Contains(health, "subscription_holds_retention")
		})
		// An attempt can end before its result is stored.
		if n, delivered := len(g.ids()), c.count("billing")-7; n+delivered < sent || n > sent {
			t.Errorf("the log has %d of %d events that the subscription still needs, and %d were delivered",
				n, sent, delivered)
		}
		g.change("billing/resume", "", nil)
		g.await("the others are delivered", func() bool { return c.count("billing") == 7+sent })
		g.await("they have gone from the log", func() bool { return len(g.ids()) == 0 })
		g.stop()
	})
}

package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/api"
	"github.com/hookgate/hookgate/internal/modeltest"
)

// TestDeliveryIsolation has five subscriptions in one gate: one hangs, one has a consumer that is
// away, one is slow, and one has a key that fails for ever. The fifth gets everything in order, and
// so does the fourth but for that key. The memory of the gate stays bounded.
func TestDeliveryIsolation(t *testing.T) {
	t.Parallel()
	f := &fleet{t: t, consumer: startConsumer(t)}
	hang, away, slow := subscribed{name: "hang", timeout: time.Minute},
		subscribed{name: "away", url: "http://127.0.0.1:1/"}, subscribed{name: "slow", concurrency: 1}
	poor, well := subscribed{name: "poor"}, subscribed{name: "well"}
	f.subscriptions = []subscribed{hang, away, slow, poor, well}
	f.consumer.behave(
		behaviour{Subscription: "hang", Before: forever},
		behaviour{Subscription: "slow", Before: 50 * time.Millisecond},
		behaviour{Subscription: "poor", Key: "customer-13", Status: http.StatusInternalServerError},
	)
	gate := &member{role: roleAll}
	f.start(gate)
	stream := startStreamOf(t, gate.gate, 1000, &stream{mixed: true})
	want := modeltest.Pick(500, 50_000)
	gate.await("the fifth gets many", func() bool { return f.consumer.count("well") >= want })
	stream.end()
	gate.awaitDelivered(f.consumer, well)
	events, _ := gate.logBehind("")
	poisoned := 0
	for _, e := range events {
		if e.OrderingKey == "customer-13" {
			poisoned++
		}
	}
	gate.await("the fourth gets all but one key", func() bool {
		return f.consumer.count("poor") == len(events)-poisoned
	})
	(&deliveryAudit{t: t, gate: gate.gate, consumer: f.consumer, faults: &f.faults}).run(well)
	if n := f.consumer.count("hang"); n > 0 {
		t.Errorf("the one that hangs has done %d", n)
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", gate.cmd.Process.Pid))
	must(t, err)
	_, text, _ := strings.Cut(string(status), "VmHWM:")
	var kilobytes int
	if _, err := fmt.Sscan(text, &kilobytes); err != nil {
		t.Fatal(err)
	}
	t.Logf("the gate took %d MiB at most", kilobytes>>10)
	if limit := modeltest.Pick(400, 2000); kilobytes>>10 > limit {
		t.Errorf("the gate took %d MiB, want %d at most", kilobytes>>10, limit)
	}
}

// TestDeliveryRestored replaces the store by an older copy. The subscription continues at the
// cursor of the copy, with the original ids. Events that are stored again have higher ids than any
// before.
func TestDeliveryRestored(t *testing.T) {
	t.Parallel()
	c := startConsumer(t)
	s := subscribed{name: "billing"}
	env := c.subscribe("gate", s)
	dir := filepath.Join(t.TempDir(), "data")
	start := func() *gate { return startGate(t, startOptions{dir: dir, env: env}) }
	count := func(g *gate, n int) {
		t.Helper()
		g.await(fmt.Sprintf("%d are delivered", n), func() bool { return c.count("billing") == n })
		g.awaitIdle("billing")
	}
	g := start()
	g.sendKey("k", 1, 5)
	count(g, 5)
	g.change("billing/pause", "", nil)
	g.stop() // a running gate may deliver some more before it notices the pause
	g = start()
	g.sendKey("k", 6, 10)
	g.stop()
	file := dataDir(dir).storeFile()
	older, err := os.ReadFile(file)
	must(t, err)
	g = start()
	g.change("billing/resume", "", nil)
	g.sendKey("k", 11, 15)
	count(g, 15)
	before := g.ids()
	g.stop()
	files, err := filepath.Glob(file + "*")
	must(t, err)
	for _, file := range files {
		must(t, os.Remove(file))
	}
	must(t, os.WriteFile(file, older, 0o600))
	g = start()
	g.change("billing/resume", "", nil)
	g.sendKey("k", 1, 15) // the sender repeats everything
	count(g, 20)
	var last int64
	for _, id := range before {
		last = max(last, id)
	}
	got := map[string][]*request{}
	for _, r := range requestsOf(c.seen(), "billing") {
		got[r.Message] = append(got[r.Message], r)
	}
	for n := 1; n <= 15; n++ {
		message := fmt.Sprint("k-", n)
		r := got[message]
		switch {
		case n <= 5 && len(r) == 1:
		case n > 5 && n <= 10 && len(r) == 2 && r[0].WebhookID == r[1].WebhookID &&
			r[0].Event == r[1].Event && r[1].Event == before[message]:
		case n > 10 && len(r) == 2 && r[0].WebhookID != r[1].WebhookID && r[1].Event > last:
		default:
			t.Errorf("%s came %d times", message, len(r))
		}
	}
	g.stop()
}

// TestDeliveryChanges restarts a gate with a changed filter, order and URL, and without the
// subscription.
func TestDeliveryChanges(t *testing.T) {
	t.Parallel()
	c := startConsumer(t)
	s := subscribed{name: "billing", types: []string{"t.a"}}
	env := c.subscribe("gate", s)
	file := strings.TrimPrefix(env[0], "HOOKGATE_CONFIG=")
	dir := filepath.Join(t.TempDir(), "data")
	start := func(all ...subscribed) *gate {
		c.resubscribe(file, all...)
		return startGate(t, startOptions{dir: dir, env: env})
	}
	got := func(g *gate, want ...string) {
		t.Helper()
		var all []string
		g.await(fmt.Sprint("the consumer gets ", want), func() bool {
			all = nil
			for _, r := range requestsOf(c.seen(), "billing") {
				if r.status == http.StatusOK {
					all = append(all, r.Message)
				}
			}
			return len(all) >= len(want)
		})
		slices.Sort(all)
		if !slices.Equal(all, want) {
			t.Errorf("the consumer got %v, want %v", all, want)
		}
	}
	g := start(s)
	g.sendKey("a", 1, 1)
	g.sendKey("b", 1, 1)
	got(g, "a-1")
	c.behave(behaviour{Message: "a-2", Status: http.StatusInternalServerError})
	g.sendKey("a", 2, 2)
	g.awaitSubscription("billing", "a-2 waits", func(s api.Subscription) bool { return s.Waiting == 1 })
	g.stop()

	s.types = []string{"t.b"} // applies after the cursor; the exception stays
	g = start(s)
	g.sendKey("a", 3, 3)
	g.sendKey("b", 2, 2)
	got(g, "a-1", "b-2")
	g.stop()

	s.order = hookgate.OrderAll
	c.resubscribe(file, s)
	code, _, errs := runBinary(t, env, "serve", "--data-dir", dir, "--listen", "127.0.0.1:0")
	if code == 0 || !strings.Contains(errs, "its order cannot change") {
		t.Errorf("with another order and an exception the start ends with %d: %s", code, errs)
	}
	s.order = hookgate.OrderKey
	g = start(s)
	c.behave()
	g.change("billing/retry", `{"all":true}`, nil)
	got(g, "a-1", "a-2", "b-2")
	g.awaitIdle("billing")
	g.stop()

	s.order = hookgate.OrderAll
	g = start(s)
	g.sendKey("b", 3, 3)
	got(g, "a-1", "a-2", "b-2", "b-3")
	g.stop()

	g = start() // without it
	g.sendKey("b", 4, 5)
	g.awaitDrained()
	g.stop()
	s.url = c.url("elsewhere")
	g = start(s) // it goes on at its cursor, at another URL
	at := "billing at /elsewhere"
	g.await("it goes on", func() bool { return c.count(at) == 2 })
	if all := c.messages(at); !slices.Equal(all, []string{"b-4", "b-5"}) {
		t.Errorf("at the other URL the consumer got %v", all)
	}
	g.stop()
}

// TestDeliveryStartsNow starts three processes at once on an empty database, with a subscription
// that starts now. It gets everything that any of them has acknowledged.
func TestDeliveryStartsNow(t *testing.T) {
	t.Parallel()
	cluster, database := sharedPostgres(t)
	c := startConsumer(t)
	s := subscribed{name: "billing", start: "now"}
	var gates []*gate
	for n := range 3 {
		env := append(c.subscribe(fmt.Sprint("gate-", n), s), "DB_URL="+cluster.URL(database))
		gates = append(gates, spawnGate(t, startOptions{env: env}))
	}
	for n, g := range gates {
		g.awaitListening()
		g.sendKey(fmt.Sprint("k", n), 1, 20)
	}
	g := gates[0]
	g.awaitDelivered(c, s)
	if n := c.count("billing"); n != 60 {
		t.Errorf("of 60 events %d are delivered", n)
	}
	g.awaitIdle("billing")
	(&deliveryAudit{t: t, gate: g, consumer: c, faults: &faults{}}).run(s)
}

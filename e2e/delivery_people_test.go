package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/api"
)

// sendKey sends events of a key, which is also the beginning of their message ids, with the numbers
// from first to last. An empty key makes events that have none.
func (g *gate) sendKey(key string, first, last int) {
	g.t.Helper()
	for n := first; n <= last; n++ {
		body := fmt.Sprintf(`{"messageId":"%s-%d","eventType":"t.%s","orderingKey":%q}`, key, n, key, key)
		if key == "" {
			body = fmt.Sprintf(`{"messageId":"none-%d","eventType":"t.none"}`, n)
		}
		if status, answer := g.send(body); status != http.StatusAccepted {
			g.t.Fatalf("%s is answered %d %s", body, status, answer)
		}
	}
}

// ids returns the event ids by message id.
func (g *gate) ids() map[string]int64 {
	g.t.Helper()
	events, ok := g.logBehind("")
	if !ok {
		g.t.Fatal("the log cannot be read")
	}
	all := map[string]int64{}
	for _, e := range events {
		all[e.MessageID], _ = strconv.ParseInt(e.ID, 10, 64)
	}
	return all
}

// exceptions returns the exceptions of a subscription in a state, by message id.
func (g *gate) exceptions(name string, state hookgate.ExceptionState) map[string]api.Exception {
	g.t.Helper()
	status, body := g.request(http.MethodGet, "/api/subscriptions/"+name+"/exceptions?state="+
		string(state), "")
	var page api.Exceptions
	if status != http.StatusOK || json.Unmarshal([]byte(body), &page) != nil {
		g.t.Fatalf("exceptions of %s: %d %s", name, status, body)
	}
	all := map[string]api.Exception{}
	for _, e := range page.Exceptions {
		all[e.MessageID] = e
	}
	return all
}

// run runs a command on the gate that must succeed.
func (g *gate) run(args ...string) {
	g.t.Helper()
	if code, out, errs := g.hookgate(args...); code != 0 {
		g.t.Fatalf("%v ended with %d\n%s%s", args, code, out, errs)
	}
}

// messages returns the message ids of the requests for a subscription, in order.
func (r *consumer) messages(subscription string) (all []string) {
	r.t.Helper()
	for _, q := range requestsOf(r.seen(), subscription) {
		all = append(all, q.Message)
	}
	return all
}

// onBothStores runs a test with each store. env are the settings of the store.
func onBothStores(t *testing.T, test func(t *testing.T, env []string)) {
	t.Parallel()
	t.Run("embedded", func(t *testing.T) {
		t.Parallel()
		test(t, nil)
	})
	t.Run("PostgreSQL", func(t *testing.T) {
		t.Parallel()
		cluster, database := sharedPostgres(t)
		test(t, []string{"DB_URL=" + cluster.URL(database)})
	})
}

// TestDeliveryPoisoned has a key whose events fail. Its first event is parked when its time is
// over, and the others of its key wait; other keys go on. A person skips one, dead-letters one and
// retries one. With "then: dead_letter" all of them become dead letters, and are delivered late.
func TestDeliveryPoisoned(t *testing.T) {
	onBothStores(t, func(t *testing.T, env []string) {
		c := startConsumer(t)
		impatient := subscribed{first: 20 * time.Millisecond, max: 50 * time.Millisecond,
			retryFor: 200 * time.Millisecond}
		park, dead := impatient, impatient
		park.name, dead.name, dead.deadLetter = "park", "dead", true
		c.behave(behaviour{Key: "poison", Status: http.StatusInternalServerError})
		g := startGate(t, startOptions{env: append(env, c.subscribe("gate", park, dead)...)})
		g.sendKey("poison", 1, 3)
		g.sendKey("fine", 1, 5)
		g.sendKey("", 1, 3)
		parked := func(message string) string {
			t.Helper()
			g.await(message+" is parked", func() bool {
				_, ok := g.exceptions("park", hookgate.ExceptionParked)[message]
				return ok
			})
			return g.exceptions("park", hookgate.ExceptionParked)[message].Event
		}
		first := parked("poison-1")
		g.awaitSubscription("dead", "all three are dead letters", func(s api.Subscription) bool {
			return s.Dead == 3 && s.Parked == 0 && s.Held == 0
		})
		g.await("the others are delivered", func() bool {
			return c.count("park") == 8 && c.count("dead") == 8
		})
		if slices.Contains(c.messages("park"), "poison-2") {
			t.Error("poison-2 is attempted while poison-1 is parked")
		}
		if s, _ := g.subscription("park"); s.Held != 1 || s.Parked != 1 || s.Waiting != 0 {
			t.Errorf("the subscription is %+v", s)
		}
		g.run("subscriptions", "skip", "park", first, "--reason", "not ours")
		second := parked("poison-2")
		g.run("subscriptions", "dead-letter", "park", second, "--reason", "broken")
		parked("poison-3")
		c.behave()
		g.run("subscriptions", "retry", "park", "--state", "parked", "--reason", "fixed")
		g.await("poison-3 is delivered", func() bool { return c.count("park") == 9 })
		g.sendKey("poison", 4, 4)
		g.await("poison-4 is delivered", func() bool { return c.count("park") == 10 })
		g.run("dlq", "retry", "--subscription", "park", "--all", "--reason", "fixed")
		g.run("subscriptions", "retry", "dead", "--state", "dead", "--reason", "fixed")
		g.await("the dead letters are delivered", func() bool {
			return c.count("park") == 11 && c.count("dead") == 12
		})
		for _, name := range []string{"park", "dead"} {
			g.awaitSubscription(name, "nothing is left", func(s api.Subscription) bool {
				return s.Parked+s.Waiting+s.Held+s.Dead == 0
			})
		}
		ids := g.ids()
		audit := deliveryAudit{t: t, gate: g, consumer: c, faults: &faults{}, notShort: true,
			late:    map[int64]bool{},
			skipped: map[string]map[int64]bool{"park": {ids["poison-1"]: true}}}
		for n := 1; n <= 3; n++ {
			audit.late[ids[fmt.Sprint("poison-", n)]] = true
		}
		audit.run(park, dead)
		if _, trace := g.request(http.MethodGet, "/api/trace/poison-1", ""); !strings.Contains(trace,
			`"skipped"`) || !strings.Contains(trace, "not ours") {
			t.Errorf("the trace does not tell of the skip: %s", trace)
		}
	})
}

// TestDeliveryGone answers 410, which pauses the subscription, and resumes it. It answers with
// Retry-After, and the next attempt of that event comes no earlier, although its time to retry is
// shorter.
func TestDeliveryGone(t *testing.T) {
	onBothStores(t, func(t *testing.T, env []string) {
		c := startConsumer(t)
		s := subscribed{name: "billing", first: 20 * time.Millisecond, retryFor: 500 * time.Millisecond}
		c.behave(behaviour{Message: "gone-2", Status: http.StatusGone},
			behaviour{Message: "later-1", UpTo: 1, Status: http.StatusInternalServerError, RetryAfter: "2"})
		g := startGate(t, startOptions{env: append(env, c.subscribe("gate", s)...)})
		g.sendKey("gone", 1, 3)
		g.awaitSubscription("billing", "the gate pauses it", func(s api.Subscription) bool {
			return s.State == api.SubscriptionPaused && s.PausedBy == "" &&
				strings.Contains(s.PauseReason, "410")
		})
		g.sendKey("other", 1, 2)
		if got := c.messages("billing"); !slices.Equal(got, []string{"gone-1", "gone-2"}) {
			t.Errorf("before the resumption the consumer got %v", got)
		}
		c.behave(c.behaviours()[1:]...)
		g.run("subscriptions", "resume", "billing", "--reason", "it is back")
		g.await("it goes on", func() bool { return c.count("billing") == 5 })
		g.sendKey("later", 1, 2)
		g.await("later-1 is delivered", func() bool { return c.count("billing") == 7 })
		var asked, came time.Time
		for _, r := range requestsOf(c.seen(), "billing") {
			if r.Message == "later-1" && r.Attempt == 1 {
				asked = r.At
			} else if r.Message == "later-1" && came.IsZero() {
				came = r.At
			}
		}
		if came.Sub(asked) < 2*time.Second {
			t.Errorf("after Retry-After: 2 the next attempt comes after %v", came.Sub(asked))
		}
		g.awaitIdle("billing")
		(&deliveryAudit{t: t, gate: g, consumer: c, faults: &faults{}}).run(s)
	})
}

// TestDeliveryInbox has every reason for which an event comes again: requests that the gate gives
// up and that still do their work, before and after the next one; kills of both sides; dead letters
// that are retried late; a seek back; and a redelivery job. Each delivery has one effect.
func TestDeliveryInbox(t *testing.T) {
	t.Parallel()
	f := &fleet{t: t, consumer: startConsumer(t)}
	s := subscribed{name: "ledger", timeout: 400 * time.Millisecond, first: 20 * time.Millisecond,
		retryFor: 2 * time.Second, deadLetter: true}
	f.subscriptions = []subscribed{s}
	f.consumer.behave(
		behaviour{Key: "poison", Status: http.StatusInternalServerError},
		behaviour{Key: "late", UpTo: 1, Before: time.Second, Stubborn: true},
		behaviour{Key: "lost", UpTo: 1, After: time.Second, Stubborn: true},
		behaviour{Key: "slow", Before: 20 * time.Millisecond},
	)
	gate := &member{role: roleAll}
	f.start(gate)
	count := func(n int) {
		t.Helper()
		gate.await(fmt.Sprintf("%d deliveries", n), func() bool {
			return f.consumer.count("ledger") >= n
		})
	}
	for _, key := range []string{"poison", "late", "lost", "slow", "fine", ""} {
		gate.sendKey(key, 1, 3)
	}
	count(4)
	f.restart(gate)
	count(10)
	f.consumer.kill()
	f.consumer.start()
	count(15)
	gate.awaitSubscription("ledger", "there are dead letters", func(s api.Subscription) bool {
		return s.Dead == 3 && s.Waiting == 0 && s.Held == 0
	})
	f.consumer.behave(f.consumer.behaviours()[1:]...)
	gate.sendKey("poison", 4, 5)
	count(17)
	gate.change("ledger/retry", `{"state":"dead"}`, nil)
	count(20)
	ids := gate.ids()
	audit := deliveryAudit{t: t, gate: gate.gate, consumer: f.consumer, faults: &f.faults, again: 100,
		notShort: true, late: map[int64]bool{}, redelivered: map[string][]hookgate.EventRedelivery{}}
	for n := 1; n <= 3; n++ {
		audit.late[ids[fmt.Sprint("poison-", n)]] = true
	}
	gate.awaitIdle("ledger")

	var sought api.Sought
	gate.change("ledger/seek", fmt.Sprintf(`{"to":"%d"}`, ids["lost-1"]), &sought)
	more := 0
	for _, id := range ids {
		if id > ids["lost-1"] {
			more++
			audit.redelivered["ledger"] = append(audit.redelivered["ledger"],
				hookgate.EventRedelivery{Event: id, Redelivery: sought.Redelivery})
		}
	}
	count(22)
	f.restart(gate)
	count(20 + more)
	var job api.Redelivery
	gate.change("ledger/redeliver", fmt.Sprintf(`{"ids":["%d","%d"]}`, ids["late-1"], ids["slow-2"]),
		&job)
	for _, message := range []string{"late-1", "slow-2"} {
		audit.redelivered["ledger"] = append(audit.redelivered["ledger"],
			hookgate.EventRedelivery{Event: ids[message], Redelivery: job.Job.Redelivery})
	}
	if job.Job.Redelivery <= sought.Redelivery {
		t.Errorf("the seek has redelivery %d and the job %d", sought.Redelivery, job.Job.Redelivery)
	}
	count(22 + more)
	gate.sendKey("fine", 4, 4)
	count(23 + more)
	gate.awaitIdle("ledger")
	audit.gate = gate.gate
	audit.run(s)
}

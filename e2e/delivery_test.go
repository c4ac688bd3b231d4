package e2e

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/api"
)

// subscribed is a subscription of a test, whose consumer is a consumer.
type subscribed struct {
	name        string
	order       hookgate.Order // default: key
	types       []string       // default: all
	start       string         // default: beginning
	concurrency int            // default: 8
	timeout     time.Duration  // default: 10 s
	// url is the consumer; default: the consumer.
	url string
	// pull makes it a pull subscription, for pullers.
	pull bool
	// first, max and retryFor are the settings of retry; default: 100 ms, 1 s and 1 h.
	first, max, retryFor time.Duration
	deadLetter           bool
	// more are further settings, lines of YAML.
	more string
}

func (s subscribed) filled() subscribed {
	s.order = cmp.Or(s.order, hookgate.OrderKey)
	s.start = cmp.Or(s.start, "beginning")
	s.concurrency = cmp.Or(s.concurrency, 8)
	s.timeout = cmp.Or(s.timeout, 10*time.Second)
	s.first = cmp.Or(s.first, 100*time.Millisecond)
	s.max = cmp.Or(s.max, max(s.first, time.Second))
	s.retryFor = cmp.Or(s.retryFor, time.Hour)
	return s
}

// subscribe writes a configuration with these subscriptions, and returns the environment with which
// a gate uses it. name names the process to the consumer.
func (r *consumer) subscribe(name string, all ...subscribed) []string {
	r.t.Helper()
	file := filepath.Join(r.t.TempDir(), "hookgate.yaml")
	r.resubscribe(file, all...)
	return []string{"HOOKGATE_CONFIG=" + file, "PROCESS=" + name}
}

// resubscribe writes the configuration again.
func (r *consumer) resubscribe(file string, all ...subscribed) {
	r.t.Helper()
	var b strings.Builder
	b.WriteString("subscriptions:\n")
	for _, s := range all {
		s = s.filled()
		then := "park"
		if s.deadLetter {
			then = "dead_letter"
		}
		fmt.Fprintf(&b, "  %s:\n    start: %q\n    order: %s\n    then: %s\n", s.name, s.start,
			s.order, then)
		if len(s.types) > 0 {
			types, _ := json.Marshal(s.types)
			fmt.Fprintf(&b, "    types: %s\n", types)
		}
		fmt.Fprintf(&b, "    retry: {first: %v, max: %v, for: %v}\n", s.first, s.max, s.retryFor)
		if s.pull {
			b.WriteString("    pull: {}\n")
		} else {
			fmt.Fprintf(&b, "    push:\n      url: %s\n      timeout: %v\n", cmp.Or(s.url, r.url(s.name)),
				s.timeout)
			b.WriteString("      headers: {X-Process: \"env:PROCESS\"}\n")
			if s.order != hookgate.OrderAll {
				fmt.Fprintf(&b, "      concurrency: %d\n", s.concurrency)
			}
		}
		b.WriteString(s.more)
	}
	if err := os.WriteFile(file, []byte(b.String()), 0o600); err != nil {
		r.t.Fatal(err)
	}
}

// subscription returns a subscription as the API shows it. ok is false if the gate does not answer.
func (g *gate) subscription(name string) (s api.Subscription, ok bool) {
	g.t.Helper()
	status, body := g.request(http.MethodGet, "/api/subscriptions/"+name, "")
	return s, status == http.StatusOK && json.Unmarshal([]byte(body), &s) == nil
}

// change makes a call on a subscription, such as "billing/skip", that must succeed. The answer is
// decoded into answer unless it is nil.
func (g *gate) change(call, body string, answer any) {
	g.t.Helper()
	status, text := g.request(http.MethodPost, "/api/subscriptions/"+call, body)
	if status/100 != 2 {
		g.t.Fatalf("%s is answered %d %s", call, status, text)
	}
	if answer != nil {
		if err := json.Unmarshal([]byte(text), answer); err != nil {
			g.t.Fatalf("%s is answered %s: %v", call, text, err)
		}
	}
}

// awaitSubscription waits until the condition holds for a subscription.
func (g *gate) awaitSubscription(name, what string, condition func(api.Subscription) bool) {
	g.t.Helper()
	var last api.Subscription
	defer func() {
		if g.t.Failed() {
			g.t.Logf("subscription %s: %+v", name, last)
		}
	}()
	g.await(name+": "+what, func() bool {
		s, ok := g.subscription(name)
		last = s
		return ok && condition(s)
	})
}

// awaitIdle waits until a subscription has passed the whole log and nothing waits.
func (g *gate) awaitIdle(name string) {
	g.t.Helper()
	g.awaitSubscription(name, "everything is settled", func(s api.Subscription) bool {
		return s.Cursor == s.End && s.Waiting == 0 && s.Parked == 0 && s.Held == 0
	})
}

// faults are what a test has done to the processes of gates, named as the consumer sees them.
type faults struct {
	mu  sync.Mutex
	all []fault
}

type fault struct {
	process string
	at      time.Time
}

// on records a fault that follows.
func (f *faults) on(process string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.all = append(f.all, fault{process, time.Now()})
}

// before reports whether a process had a fault before a time.
func (f *faults) before(process string, at time.Time) bool {
	return slices.ContainsFunc(f.all, func(f fault) bool {
		return f.process == process && f.at.Before(at)
	})
}

// deliveryAudit compares what a consumer has seen with the log of a gate. Every test that harms
// deliveries ends with it:
//
//   - each event that a subscription selects had its effect exactly once, with either inbox rule,
//     and no other event had one;
//   - the requests have the bytes that were sent, and the webhook-id of their event;
//   - an event is attempted only after the earlier ones of its key are done, and first effects of a
//     key are in the order of ids;
//   - the gate never waits for two requests of a key;
//   - the store has exactly one settling attempt of each delivery;
//   - few events came again.
type deliveryAudit struct {
	t        *testing.T
	gate     *gate
	consumer *consumer
	faults   *faults
	// again is how many requests of a subscription may come after the event was done.
	again int
	// redelivered are the deliveries, beside the first ones, that people have asked for, by
	// subscription.
	redelivered map[string][]hookgate.EventRedelivery
	// late are events that were dead letters, by id: the order of keys goes on without them.
	late map[int64]bool
	// skipped are events that a person has skipped, by subscription.
	skipped map[string]map[int64]bool
	// notShort leaves out the short rule. It does not hold for late and redelivered events.
	notShort bool
}

// run audits subscriptions that are idle.
func (a *deliveryAudit) run(all ...subscribed) {
	a.t.Helper()
	events, ok := a.gate.logBehind("")
	if !ok {
		a.t.Fatal("the log cannot be read")
	}
	idsRise(a.t, events)
	seen, effects := a.consumer.seen(), a.consumer.effects()
	for _, s := range all {
		s = s.filled()
		selected := map[int64]storedEvent{}
		for _, e := range events {
			if s.selects(e.EventType) {
				id, _ := strconv.ParseInt(e.ID, 10, 64)
				selected[id] = e
			}
		}
		problems := &problems{t: a.t, of: s.name}
		a.auditEffects(s, selected, effects, problems)
		again := a.auditRequests(s, selected, seen, problems)
		a.auditStore(s, selected, problems)
		problems.end()
		a.t.Logf("%s: audited %d events; %d requests came after the event was done", s.name,
			len(selected), again)
	}
}

func (s subscribed) selects(eventType string) bool {
	f := hookgate.Filter{Types: s.types}
	return f.Match("default", eventType)
}

// problems reports the first few of many.
type problems struct {
	t  *testing.T
	of string
	n  int
}

func (p *problems) add(format string, args ...any) {
	p.t.Helper()
	if p.n++; p.n <= 10 {
		p.t.Errorf(p.of+": "+format, args...)
	}
}

func (p *problems) end() {
	if p.n > 10 {
		p.t.Errorf("%s: and %d more problems", p.of, p.n-10)
	}
}

// deliveries returns what a subscription had to deliver.
func (a *deliveryAudit) deliveries(s subscribed,
	selected map[int64]storedEvent) map[hookgate.EventRedelivery]bool {
	want := map[hookgate.EventRedelivery]bool{}
	for id := range selected {
		if a.skipped[s.name][id] {
			continue
		}
		want[hookgate.EventRedelivery{Event: id}] = true
	}
	for _, id := range a.redelivered[s.name] {
		want[id] = true
	}
	return want
}

func (a *deliveryAudit) auditEffects(s subscribed, selected map[int64]storedEvent, effects []effect,
	p *problems) {
	a.t.Helper()
	want := a.deliveries(s, selected)
	for _, rule := range []string{ruleGeneral, ruleShort} {
		if rule == ruleShort && (a.notShort || s.order != hookgate.OrderKey) {
			continue
		}
		done := map[hookgate.EventRedelivery]bool{}
		last := map[string]int64{} // the last event of each key
		for _, e := range effects {
			if e.Subscription != s.name || e.Rule != rule {
				continue
			}
			id := hookgate.EventRedelivery{Event: e.Event, Redelivery: e.Redelivery}
			switch {
			case !want[id]:
				p.add("rule %s: an effect of %+v, which it must not get", rule, e)
			case done[id]:
				p.add("rule %s: a second effect of %+v", rule, e)
			}
			done[id] = true
			if e.Redelivery > 0 || a.late[e.Event] || s.order == hookgate.OrderNone {
				continue
			}
			key := e.Key
			if s.order == hookgate.OrderAll {
				key = ""
			}
			if e.Event < last[key] {
				p.add("rule %s: the effect of %+v comes after that of %d", rule, e, last[key])
			}
			last[key] = e.Event
		}
		for id := range want {
			if !done[id] {
				p.add("rule %s: no effect of %+v (%s)", rule, id, selected[id.Event].MessageID)
			}
		}
	}
}

// request is a request of the gate as a consumer saw it.
type request struct {
	seen
	// from and to are the lines with which it began and was over. The end of the consumer ends it.
	from, to int
	status   int  // of the answer; 0: the consumer ended before
	gone     bool // the gate has given it up
}

func (r *request) delivery() hookgate.EventRedelivery {
	return hookgate.EventRedelivery{Event: r.Event, Redelivery: r.Redelivery}
}

// requestsOf returns the requests of a subscription in the order of their beginnings.
func requestsOf(lines []seen, subscription string) (all []*request) {
	type number struct{ boot, n int }
	open := map[number]*request{}
	for i, line := range lines {
		r := open[number{line.Boot, line.N}]
		switch {
		case line.Kind == "boot":
			for _, r := range open {
				r.to = i
			}
			clear(open)
		case line.Kind == "begin" && line.Subscription == subscription:
			r = &request{seen: line, from: i, to: len(lines)}
			open[number{line.Boot, line.N}] = r
			all = append(all, r)
		case line.Kind == "gone" && r != nil:
			r.gone = true
		case line.Kind == "end" && r != nil:
			r.to, r.status = i, line.Status
			delete(open, number{line.Boot, line.N})
		}
	}
	return all
}

// auditRequests returns the number of requests for an event that was done.
func (a *deliveryAudit) auditRequests(s subscribed, selected map[int64]storedEvent, lines []seen,
	p *problems) (again int) {
	a.t.Helper()
	requests := requestsOf(lines, s.name)
	starts, ends := map[int]*request{}, map[int]*request{}
	for _, r := range requests {
		e, ok := selected[r.Event]
		if !ok {
			p.add("a request for event %d (%s), which it does not select", r.Event, r.Message)
			continue
		}
		if r.WebhookID != e.RequestID || r.SHA256 != e.SHA256 || r.Message != e.MessageID ||
			r.Attempt < 1 {
			p.add("a request has webhook-id %s, digest %s, message %s and attempt %d; the event is %+v",
				r.WebhookID, r.SHA256, r.Message, r.Attempt, e)
		}
		starts[r.from] = r
		if r.status/100 == 2 {
			ends[r.to] = r
		}
	}
	// waits are the events of each key that are not done, in order.
	waits := map[string][]int64{}
	keyOf := func(id int64) string {
		switch e := selected[id]; {
		case s.order == hookgate.OrderAll:
			return "all"
		case s.order == hookgate.OrderKey && e.keyed():
			return "k:" + e.OrderingKey
		}
		return fmt.Sprint("e:", id)
	}
	for _, id := range slices.Sorted(maps.Keys(selected)) {
		if !a.late[id] {
			waits[keyOf(id)] = append(waits[keyOf(id)], id)
		}
	}
	done, settled := map[hookgate.EventRedelivery]bool{}, map[int64]bool{}
	byKey := map[string][]*request{} // those that were not over at the last beginning
	for i := range lines {
		if r := ends[i]; r != nil {
			done[r.delivery()], settled[r.Event] = true, true
			key := keyOf(r.Event)
			for len(waits[key]) > 0 && settled[waits[key][0]] {
				waits[key] = waits[key][1:]
			}
		}
		r := starts[i]
		if r == nil {
			continue
		}
		if done[r.delivery()] {
			again++
		}
		key := keyOf(r.Event)
		if first := waits[key]; len(first) > 0 && first[0] < r.Event && !a.late[r.Event] {
			p.add("%s (event %d) is attempted before event %d of its key is done", r.Message, r.Event,
				first[0])
		}
		byKey[key] = slices.DeleteFunc(byKey[key], func(o *request) bool { return o.to < i })
		for _, o := range byKey[key] {
			// The gate does not wait for a request that it has given up, nor does a process that was killed
			// or stopped. The lease of a puller can end while its request runs.
			if !s.pull && !o.gone && !(o.Process != r.Process && a.faults.before(o.Process, r.At)) {
				p.add("event %d (attempt %d, process %s) is attempted while the gate waits for event %d"+
					" (attempt %d, process %s) of its key", r.Event, r.Attempt, r.Process, o.Event, o.Attempt,
					o.Process)
			}
		}
		byKey[key] = append(byKey[key], r)
	}
	if again > a.again {
		p.add("%d requests came after the event was done, want %d at most", again, a.again)
	}
	return again
}

// auditStore checks the attempts in the store.
func (a *deliveryAudit) auditStore(s subscribed, selected map[int64]storedEvent, p *problems) {
	a.t.Helper()
	rows, err := openStore(a.t, a.gate).QueryContext(a.t.Context(), "SELECT d.event, d.redelivery,"+
		" count(*) FROM webhook_deliveries d JOIN webhook_subscriptions s ON s.id = d.subscription"+
		" WHERE s.name = '"+s.name+"' AND outcome IN ('delivered', 'skipped') GROUP BY 1, 2")
	if err != nil {
		a.t.Fatal(err)
	}
	defer rows.Close()
	left := a.deliveries(s, selected)
	for id := range a.skipped[s.name] {
		left[hookgate.EventRedelivery{Event: id}] = true
	}
	for rows.Next() {
		var id hookgate.EventRedelivery
		var n int
		if err := rows.Scan(&id.Event, &id.Redelivery, &n); err != nil {
			a.t.Fatal(err)
		}
		if n != 1 || !left[id] {
			p.add("the store has %d attempts that settle %+v", n, id)
		}
		delete(left, id)
	}
	if err := rows.Err(); err != nil {
		a.t.Fatal(err)
	}
	for id := range left {
		p.add("the store has no attempt that settles %+v", id)
	}
}

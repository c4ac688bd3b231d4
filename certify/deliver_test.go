package certify

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/hookgate/hookgate/load"
)

// deliverProfile is short, and its limits on times only end what hangs. An attempt that hangs ends
// when the consumer restarts.
func deliverProfile() Profile {
	p := DefaultProfile()
	p.AuditTimeoutSeconds, p.SettleSeconds = 60, 0
	p.Phases = map[string]Phase{Deliver: {
		Events: 300, Rate: 500, Concurrency: 50, Duplicates: 4, Keys: 30, Size: 400, Gzip: 10,
		TimeoutSeconds:    60,
		AcceptancePercent: 99.9, ErrorPercent: 0.1, DrainSeconds: 120, LagP99MS: 600_000,
		LatencyGapMS: 600_000,
		Consumer: &Consumer{Errors: 5, Hangs: 1, Resets: 2, Slow: 2, SlowSeconds: 0.05, Restarts: 1,
			OutageSeconds: 0.5, UnreadySeconds: 1.5, RetryAfterSeconds: 3, LeaseSeconds: 10,
			PromptMS: 600_000, RecoverSeconds: 600, PullRecoverSeconds: 600, ReadySeconds: 600,
			ProbesPerSecond: 100, HealedSeconds: 120, StormFactor: 1e9, OthersMS: 600_000,
			ClockSeconds: 600, LagMS: 600_000},
	}}
	return p
}

// freePort returns an address on loopback to which nobody listens.
func freePort(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// delivering is a certification of a deliverer.
type delivering struct {
	name    string
	pull    bool
	faults  deliverFaults
	profile func(*Phase)
	final   []int
	then    string // empty: park
	// fail has the criteria that fail, each with a part of its note or of its first finding.
	fail map[string]string
	// instead has criteria of which one may fail in place of delivered: the run chooses the keys that
	// it spoils, and the fault may be in one of them.
	instead []string
	// also has criteria that may fail besides, if the machine stands still for a second.
	also []string
}

// certify certifies a gate with the faults.
func (c *delivering) certify(t *testing.T) (v Verdict, dir string, err error) {
	p := deliverProfile()
	if len(c.fail) > 0 {
		p.Phases[Deliver].Consumer.Hangs = 0 // it takes long
	}
	if c.profile != nil {
		phase := p.Phases[Deliver]
		c.profile(&phase)
		p.Phases[Deliver] = phase
	}
	o := Options{Profile: p, Phases: []string{Deliver}, Version: "test", Rules: testRules,
		Dir: filepath.Join(t.TempDir(), "evidence"), Token: gateToken,
		Credentials: load.Credentials{HMACSecret: gateSecret, BearerKey: gateKey}}
	push := ""
	if !c.pull {
		push = "http://" + freePort(t) + "/hooks"
		o.Subscription, o.SubscriptionSecret = "certify", "raw:"+pushSecret
	}
	o.Target = newDeliverer(t, c.faults, push, orElse(c.then, "park"),
		c.final...).URL
	v, err = Run(t.Context(), o)
	if text, readErr := os.ReadFile(filepath.Join(o.Dir, Deliver, deliveryFile)); readErr == nil &&
		bytes.Contains(text, []byte("/hooks")) {
		t.Errorf("the evidence has the path of the consumer: %s", text)
	}
	return v, o.Dir, err
}

// slowAnswer is a pause of the consumer in which a gate can do what it must not.
const slowAnswer = 3 * time.Second

// Goal: a gate whose delivery has a fault fails for that reason and no other. One without a fault
// passes, by push and by pull. Method: one small deliverer, and saboteurs. Where several faults show
// in different criteria, one saboteur has them all: exactly these criteria must fail, each by its
// own finding. All run at once, because they mostly wait.
func TestDeliverySaboteurs(t *testing.T) {
	// Before the consumer fails, each event has one attempt.
	calm := func(wanted int) func(int) bool { return func(n int) bool { return n == wanted } }
	slowConsumer := func(restarts int) func(*Phase) {
		return func(p *Phase) {
			c := p.Consumer
			c.Errors, c.Hangs, c.Resets, c.Slow = 0, 0, 0, 50
			c.SlowSeconds, c.LeaseSeconds, c.Restarts = slowAnswer.Seconds(), 20, restarts
			c.UnreadySeconds = 0
		}
	}
	tests := []*delivering{
		{name: "honest push", final: []int{422},
			profile: func(p *Phase) { p.Events, p.Consumer.StormFactor = 150, 4 }},
		{name: "honest pull", pull: true, profile: func(p *Phase) { p.Consumer.LeaseSeconds = 5 }},
		{name: "faults of one event", final: []int{422}, faults: deliverFaults{
			repeats: calm(11), twice: calm(12), insists: true,
			body: func(n int, body []byte) []byte {
				if n == 13 {
					return flip(body)
				}
				return body
			},
			header: func(n, _ int, h http.Header) {
				switch n {
				case 14:
					h.Del(senderHeaderName)
				case 15:
					h.Set("Hookgate-Key", "e:"+h.Get("Hookgate-Event-Id"))
				}
			}},
			fail: map[string]string{"once": "delivered again", "in_flight": "was under way since",
				"bytes": "are not those that were sent", "sender_headers": "signature is missing",
				"headers": "the key is", "dead_letter": "after it had been refused"}},
		{name: "faults of a retry", final: []int{422}, then: "dead_letter",
			profile: func(p *Phase) { p.Consumer.UnreadySeconds = 0 }, faults: deliverFaults{
				skips: true, parks: true,
				time: func(now time.Time, attempt int) time.Time {
					if attempt > 1 {
						return now.Add(-time.Hour)
					}
					return now
				},
				header: func(_, attempt int, h http.Header) {
					h.Set("Hookgate-Attempt", "1")
					h.Del("Content-Encoding")
					if attempt > 1 {
						h.Set("Webhook-Id", h.Get("Webhook-Id")+"-2")
					}
				}},
			fail: map[string]string{"key_order": "before it only at", "signature": "the timestamp",
				"attempt_numbers": "follows attempt 1", "webhook_id": "not that of the first request",
				"dead_letter": "did not show it as dead", "sender_headers": "content encoding"}},
		{name: "drops what a restart cuts, and hides parked events", profile: slowConsumer(1),
			faults: deliverFaults{hides: true,
				forgets: func(attempt int, o outcome) bool {
					return o.seen && o.status == 0 && attempt == 1
				}},
			fail: map[string]string{"retried": "was not delivered again", "parked": "neither as waiting"}},
		{name: "forgets parked events, loses dead letters, and unpacks bodies",
			final: []int{422}, then: "dead_letter", profile: func(p *Phase) {
				p.Consumer.Errors, p.Consumer.Hangs, p.Consumer.Resets = 0, 0, 0
			},
			faults: deliverFaults{loses: true,
				body: func(_ int, body []byte) []byte { // unpacks what is compressed
					if content := unpacked(body); content != nil {
						return content
					}
					return body
				},
				forgets: func(attempt int, o outcome) bool { // of the key that fails
					return o.status == 500 && attempt >= 2
				}},
			fail: map[string]string{"parked": "neither as waiting", "dead_letter": "show it as dead",
				"bytes": "are not those that were sent"}},
		{name: "is not patient", final: []int{422}, then: "dead_letter",
			profile: func(p *Phase) {
				p.Consumer.StormFactor, p.Consumer.OthersMS, p.Consumer.HealedSeconds = 2, 1000, 3
				p.Consumer.ProbesPerSecond, p.DrainSeconds = 3, 5
			},
			faults: deliverFaults{rushes: true, hastens: true, delays: 5 * time.Second, backlog: 1},
			fail: map[string]string{"no_storm": "", "probes": "", "retry_after": "asked for 3 s",
				"others": "", "lag_drained": "in time"}},
		{name: "drops an event, shares others, and comes back early", pull: true,
			faults:  deliverFaults{drop: calm(11), shares: true, hastens: true},
			profile: func(p *Phase) { slowConsumer(0)(p); p.Consumer.UnreadySeconds = 1.5 },
			fail: map[string]string{"delivered": "never delivered", "in_flight": "was under way since",
				"retry_after": "asked for 3 s"},
			instead: []string{"parked", "dead_letter"},
			also:    []string{"once", "attempt_numbers", "dead_letter"}},
	}
	type result struct {
		v   Verdict
		dir string
		err error
	}
	results := make([]result, len(tests))
	var all errgroup.Group
	for i, test := range tests {
		test.faults.hammers = test.name != "honest push" // a slow start takes long
		all.Go(func() error {
			results[i].v, results[i].dir, results[i].err = test.certify(t)
			return nil
		})
	}
	all.Wait()
	for i, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := &results[i]
			if r.err != nil {
				t.Fatal(r.err)
			}
			left := maps.Clone(test.fail)
			for _, c := range r.v.Criteria {
				if c.Status == Pass {
					continue
				}
				id := strings.TrimPrefix(c.ID, Deliver+"/")
				if _, failed := left["delivered"]; failed && slices.Contains(test.instead, id) {
					id = "delivered"
				}
				if slices.Contains(test.also, id) ||
					id == "recovered" && c.Status == Invalid { // all was sent before the outage
					continue
				}
				part, expected := left[id]
				said := strings.Join(append([]string{c.Note}, c.Findings...), "\n")
				if !expected || c.Status != Fail || !strings.Contains(said, part) {
					t.Errorf("%s %s: %s, limit %s; %q; want %t, %q", c.Status, c.ID, c.ValueText(),
						c.LimitText(), said, expected, part)
				}
				delete(left, id)
			}
			if len(left) > 0 {
				t.Errorf("%s, but not by %q", r.v.Status, left)
			}
			if _, err := Recheck(r.dir); err != nil {
				t.Errorf("judged again: %v", err)
			}
		})
	}
	t.Run("consumer lags", func(t *testing.T) {
		editOnce(t, filepath.Join(results[0].dir, profileFile), `"lag_ms": 600000`, `"lag_ms": 0.000001`)
		v, err := Recheck(results[0].dir)
		var invalid []string
		for _, c := range v.Criteria {
			if c.Status == Invalid {
				invalid = append(invalid, strings.TrimPrefix(c.ID, Deliver+"/"))
			}
		}
		want := []string{"consumer_lag", "signature", "headers", "prompt", "probes", "ready_again",
			"recovered", "no_storm", "others"}
		if v.Status != Invalid || !slices.Equal(invalid, want) || !errors.Is(err, ErrNotDerived) {
			t.Errorf("the verdict is %s by %q, the error %v", v.Status, invalid, err)
		}
	})
	t.Run("a ledger without a failed attempt", func(t *testing.T) {
		editOnce(t, filepath.Join(results[0].dir, Deliver, attemptsFile), `"did":"failed","status":500`,
			`"did":"took","status":200`)
		v, err := Recheck(results[0].dir)
		if v.Status != Fail || !errors.Is(err, ErrNotDerived) {
			t.Errorf("the verdict is %s, the error %v", v.Status, err)
		}
	})
}

// editOnce replaces a text in a file, once.
func editOnce(t *testing.T, file, old, changed string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err == nil && !strings.Contains(string(text), old) {
		err = fmt.Errorf("%s does not have %s", file, old)
	}
	if err == nil {
		err = os.WriteFile(file, []byte(strings.Replace(string(text), old, changed, 1)), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}

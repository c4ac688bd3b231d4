package certify

import (
	"bytes"
	"errors"
	"fmt"
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
	p.AuditTimeoutSeconds = 60
	p.Phases = map[string]Phase{Deliver: {
		Events: 300, Rate: 500, Concurrency: 50, Duplicates: 4, Keys: 30, Size: 400, Gzip: 10,
		TimeoutSeconds:    60,
		AcceptancePercent: 99.9, ErrorPercent: 0.1, DrainSeconds: 120, LagP99MS: 600_000,
		LatencyGapMS: 600_000,
		Consumer: &Consumer{Errors: 5, Hangs: 1, Resets: 2, Slow: 2, SlowSeconds: 0.05, Restarts: 1,
			OutageSeconds: 0.5, LeaseSeconds: 10, RecoverSeconds: 600, StormFactor: 1e9, OthersMS: 600_000,
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

// atOnce is the number of certifications at a time.
const atOnce = 7

// delivering is a certification of a deliverer.
type delivering struct {
	name    string
	pull    bool
	faults  deliverFaults
	profile func(*Phase)
	final   []int
	status  Status
	fail    []string // criteria
	// instead has criteria of which one may fail in place of fail: the run chooses the keys that it
	// spoils, and the fault may be in one of them.
	instead []string
	// timed means that the result depends on the speed of the machine, so that only make soak, which
	// has it for itself, certifies the gate.
	timed bool
}

func (d *delivering) skipped() bool { return d.timed && os.Getenv("HOOKGATE_SOAK") == "" }

// certifyDelivery certifies a gate with the faults.
func (c *delivering) certify(t *testing.T) (v Verdict, dir string, err error) {
	p := deliverProfile()
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
	o.Target = newDeliverer(t, c.faults, push, c.final...).URL
	v, err = Run(t.Context(), o)
	if text, readErr := os.ReadFile(filepath.Join(o.Dir, Deliver, deliveryFile)); readErr == nil &&
		bytes.Contains(text, []byte("/hooks")) {
		t.Errorf("the evidence has the path of the consumer: %s", text)
	}
	return v, o.Dir, err
}

// Goal: a gate whose delivery has one fault fails for that reason and no other. One without a fault
// passes, by push and by pull. Method: one small deliverer, and a saboteur for each fault. Several
// run at once, because they mostly wait.
func TestDeliverySaboteurs(t *testing.T) {
	only := func(wanted int) func(int) bool { return func(n int) bool { return n == wanted } }
	healthy := func(p *Phase) {
		c := p.Consumer
		c.Errors, c.Hangs, c.Resets, c.Slow, c.Restarts = 0, 0, 0, 0, 0
	}
	// So many attempts are slow that some are under way when the consumer restarts.
	slowConsumer := func(p *Phase) {
		healthy(p)
		c := p.Consumer
		c.Slow, c.SlowSeconds, c.Restarts = 50, 2, 1
	}
	tests := []*delivering{
		{name: "honest push", final: []int{422}, status: Pass,
			profile: func(p *Phase) { p.Events, p.Consumer.StormFactor = 150, 4 }},
		{name: "honest pull", pull: true, status: Pass},
		{name: "drops one event", faults: deliverFaults{drop: only(123)}, fail: []string{"delivered"},
			instead: []string{"parked"}},
		{name: "drops one event of a pull", pull: true, faults: deliverFaults{drop: only(123)},
			fail: []string{"delivered"}, instead: []string{"parked", "dead_letter"}},
		{name: "delivers the second of a key before the first retries",
			faults: deliverFaults{skips: true}, fail: []string{"key_order"}},
		{name: "delivers twice at a time", faults: deliverFaults{twice: only(123)}, profile: healthy,
			fail: []string{"in_flight"}},
		{name: "delivers again what was taken", faults: deliverFaults{repeats: only(123)},
			fail: []string{"once"}},
		{name: "changes a byte", faults: deliverFaults{body: func(n int, body []byte) []byte {
			if n == 123 {
				return flip(body)
			}
			return body
		}}, fail: []string{"bytes"}},
		{name: "signs the time of another attempt", faults: deliverFaults{
			time: func(now time.Time, attempt int) time.Time {
				if attempt > 1 {
					return now.Add(-time.Hour)
				}
				return now
			}}, fail: []string{"signature"}},
		{name: "drops what a restart cuts", faults: deliverFaults{
			forgets: func(attempt int, cut bool) bool { return cut && attempt == 1 }},
			profile: slowConsumer, fail: []string{"retried"}},
		{name: "hammers after an outage", faults: deliverFaults{hammers: true},
			profile: func(p *Phase) { p.Consumer.StormFactor = 2 }, fail: []string{"no_storm"}},
		{name: "forgets parked events", faults: deliverFaults{
			forgets: func(attempt int, _ bool) bool { return attempt >= 6 }}, fail: []string{"parked"}},
		{name: "hides parked events", faults: deliverFaults{hides: true}, fail: []string{"parked"}},
		{name: "changes the webhook-id at a retry", faults: deliverFaults{
			header: func(_, attempt int, h http.Header) {
				if attempt > 1 {
					h.Set("Webhook-Id", h.Get("Webhook-Id")+"-2")
				}
			}}, fail: []string{"webhook_id"}},
		{name: "drops the sender's signature", faults: deliverFaults{
			header: func(n, _ int, h http.Header) {
				if n == 123 {
					h.Del(senderHeaderName)
				}
			}}, fail: []string{"sender_headers"}},
		{name: "unpacks compressed bodies", faults: deliverFaults{body: func(_ int, body []byte) []byte {
			if content := unpacked(body); content != nil {
				return content
			}
			return body
		}}, fail: []string{"bytes"}},
		{name: "drops the content encoding", faults: deliverFaults{
			header: func(_, _ int, h http.Header) { h.Del("Content-Encoding") }},
			fail: []string{"sender_headers"}},
		{name: "counts attempts from the start at each retry", faults: deliverFaults{
			header: func(_, _ int, h http.Header) { h.Set("Hookgate-Attempt", "1") }},
			fail: []string{"attempt_numbers"}},
		{name: "names another key", faults: deliverFaults{header: func(n, _ int, h http.Header) {
			if n == 123 {
				h.Set("Hookgate-Key", "e:"+h.Get("Hookgate-Event-Id"))
			}
		}}, fail: []string{"headers"}},
		{name: "lets one subscription slow another", faults: deliverFaults{blocks: true},
			profile: func(p *Phase) { p.Consumer.OutageSeconds, p.Consumer.OthersMS = 6, 1000 },
			fail:    []string{"others"}, timed: true},
		{name: "never says that it has drained", faults: deliverFaults{backlog: 1},
			profile: func(p *Phase) { p.DrainSeconds = 5 }, fail: []string{"lag_drained"}},
		{name: "retries what was refused", faults: deliverFaults{insists: true}, final: []int{422},
			fail: []string{"dead_letter"}},
		{name: "consumer lags", profile: func(p *Phase) { p.Consumer.LagMS = 1e-6 }, status: Invalid,
			fail: []string{"consumer_lag", "headers", "no_storm", "others", "recovered", "signature"}},
	}
	type result struct {
		v   Verdict
		dir string
		err error
	}
	results := make([]result, len(tests))
	var all errgroup.Group
	all.SetLimit(atOnce)
	for i, test := range tests {
		if test.name != "honest push" {
			test.faults.hammers = true // a slow start takes long
		}
		all.Go(func() error {
			if test.skipped() {
				return nil
			}
			results[i].v, results[i].dir, results[i].err = test.certify(t)
			return nil
		})
	}
	all.Wait()
	for i, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if test.skipped() {
				t.Skip("make soak certifies it: it depends on the speed of the machine")
			}
			r := &results[i]
			if r.err != nil {
				t.Fatal(r.err)
			}
			var ids []string
			text := ""
			for _, c := range r.v.Criteria {
				if c.Status != Pass {
					ids = append(ids, strings.TrimPrefix(c.ID, Deliver+"/"))
					text += fmt.Sprintf("%s %s: %s, limit %s; %s %q\n", c.Status, c.ID, c.ValueText(),
						c.LimitText(), c.Note, c.Findings)
				}
			}
			slices.Sort(ids)
			want := test.status
			if want == "" {
				want = Fail
			}
			if len(ids) == 1 && slices.Contains(test.instead, ids[0]) {
				ids = test.fail
			}
			if r.v.Status != want || !slices.Equal(ids, test.fail) {
				t.Errorf("%s by %q, want %s by %q\n%s", r.v.Status, ids, want, test.fail, text)
			}
			if _, err := Recheck(r.dir); err != nil {
				t.Errorf("judged again: %v", err)
			}
		})
	}
	t.Run("a ledger without a failed attempt", func(t *testing.T) {
		file := filepath.Join(results[0].dir, Deliver, attemptsFile)
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		changed := strings.Replace(string(text), `"did":"failed","status":500`,
			`"did":"took","status":200`, 1)
		if err := os.WriteFile(file, []byte(changed), 0o644); err != nil {
			t.Fatal(err)
		}
		v, err := Recheck(results[0].dir)
		if v.Status != Fail || !errors.Is(err, ErrNotDerived) {
			t.Errorf("the verdict is %s, the error %v", v.Status, err)
		}
	})
}

package gatetest_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/gate"
	"github.com/hookgate/hookgate/gatetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	secret   = "a-secret-of-the-sender"
	standard = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
)

// TestSend: the gate accepts what Send sends for senders of every form: signatures of header, body
// and URL, tokens, the envelope with the gate's own keys. Headers of the caller count.
func TestSend(t *testing.T) {
	twilio := gate.Twilio(secret)
	twilio.PublicURL = "https://app.example.com/webhooks/twilio"
	sources := gate.Sources{"default": gate.Envelope(), "github": gate.GitHub(secret),
		"stripe": gate.Stripe(standard), "svix": gate.Svix(standard), "slack": gate.Slack(secret),
		"mailgun": gate.Mailgun(secret), "telegram": gate.Telegram(secret), "twilio": twilio,
		"shop": gate.Shopify(secret)}
	g := gatetest.New(t, gate.Options{Sources: sources})
	var mu sync.Mutex
	got := map[string]string{}
	g.Handle("all", gate.Filter{}, func(_ context.Context, e *hookgate.Event) error {
		mu.Lock()
		defer mu.Unlock()
		got[e.Source] = e.EventType
		return nil
	})
	for name := range sources {
		if name != "github" {
			gatetest.Send(t, g, name, "")
		}
	}
	gatetest.Send(t, g, "github", `{"action":"opened"}`, "X-GitHub-Event: issues")
	gatetest.Wait(t, g)
	mu.Lock()
	defer mu.Unlock()
	if len(got) != len(sources) || got["github"] != "issues" || got["stripe"] != "test" {
		t.Errorf("the handler got %v", got)
	}
}

// TestWait: Wait returns when retries have succeeded, dead letters are there, and the cursor has
// not yet passed what no subscription selects.
func TestWait(t *testing.T) {
	g := gatetest.New(t, gate.Options{Sources: gate.Sources{"stripe": gate.Stripe(standard)}})
	var mu sync.Mutex
	var got []string
	g.Handle("billing", gate.Filter{Types: []string{"invoice.*"}},
		func(ctx context.Context, e *hookgate.Event) error {
			d, _ := gate.DeliveryOf(ctx)
			mu.Lock()
			defer mu.Unlock()
			got = append(got, fmt.Sprint(e.MessageID, d.Attempt))
			switch {
			case e.EventType == "invoice.bad":
				return gate.Dead(errors.New("unreadable"))
			case d.Attempt < 3:
				return gate.RetryAfter(0, errors.New("busy"))
			}
			return nil
		})
	for i, kind := range []string{"invoice.paid", "invoice.bad", "charge.paid"} {
		gatetest.Send(t, g, "stripe", fmt.Sprintf(
			`{"id":"evt_%d","type":%q,"data":{"object":{"customer":"cus_1"}}}`, i, kind))
	}
	gatetest.Wait(t, g)
	mu.Lock()
	defer mu.Unlock()
	if want := []string{"evt_01", "evt_02", "evt_03", "evt_11"}; !slices.Equal(got, want) {
		t.Errorf("the handler got %q, want %q", got, want)
	}
}

// recorder is a test that fails without the test that has it.
type recorder struct {
	testing.TB
	failed   string
	cleanups []func()
}

func (r *recorder) Helper() {}

func (r *recorder) Cleanup(f func()) { r.cleanups = append(r.cleanups, f) }

func (r *recorder) Errorf(format string, args ...any) { r.failed += fmt.Sprintf(format, args...) }

func (r *recorder) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	runtime.Goexit()
}

// TestFailures: a test fails with a text that says what is wrong, at once if waiting is useless.
func TestFailures(t *testing.T) {
	handle := func(tb testing.TB, err error) *gate.Gate {
		g := gatetest.New(tb, gate.Options{Sources: gate.Sources{"stripe": gate.Stripe(standard),
			"discord": gate.Discord(strings.Repeat("ab", 32))}})
		g.Handle("billing", gate.Filter{},
			func(context.Context, *hookgate.Event) error { return err },
			func(s *gate.SubscriptionOptions) { s.Retry.For = 0 })
		return g
	}
	for name, c := range map[string]struct {
		test func(testing.TB)
		want []string
	}{
		"parked": {func(tb testing.TB) {
			g := handle(tb, errors.New("no such customer"))
			gatetest.Send(tb, g, "stripe", `{"id":"evt_1","type":"invoice.paid"}`)
			gatetest.Wait(tb, g)
		}, []string{"stay unsettled", "subscription billing: event ",
			"(stripe/invoice.paid/evt_1) is parked after 1 failed attempts: no such customer"}},
		"paused": {func(tb testing.TB) {
			g := handle(tb, gate.Pause(errors.New("we are moving")))
			gatetest.Send(tb, g, "stripe", "")
			gatetest.Wait(tb, g)
		}, []string{"stay unsettled", "subscription billing: event ", "is in flight, or waits",
			"subscription billing: it is paused by the gate: we are moving"}},
		"no source": {func(tb testing.TB) {
			gatetest.Send(tb, handle(tb, nil), "nobody", "")
		}, []string{"has no source nobody"}},
		"no private key": {func(tb testing.TB) {
			gatetest.Send(tb, handle(tb, nil), "discord", "")
		}, []string{"pass its private key"}},
		"rejected": {func(tb testing.TB) {
			gatetest.Send(tb, handle(tb, nil), "stripe", "[]")
		}, []string{"source stripe answers 400"}},
		"bad header": {func(tb testing.TB) {
			gatetest.Send(tb, handle(tb, nil), "stripe", "", "X-Any")
		}, []string{`the header "X-Any" has no colon`}},
		"bad handler": {func(tb testing.TB) {
			g := handle(tb, nil)
			g.Handle("billing", gate.Filter{}, nil)
			gatetest.Wait(tb, g)
		}, []string{"handlers.billing has no function"}},
		"bad options": {func(tb testing.TB) {
			gatetest.New(tb, gate.Options{Sources: gate.Sources{"a": {Kind: "nobody"}}})
		}, []string{`sources.a.kind "nobody" is unknown`}},
	} {
		t.Run(name, func(t *testing.T) {
			r := &recorder{TB: t}
			var running sync.WaitGroup
			running.Go(func() { c.test(r) })
			running.Wait()
			for _, f := range slices.Backward(r.cleanups) {
				f()
			}
			for _, want := range c.want {
				if !strings.Contains(r.failed, want) {
					t.Errorf("the failure is %q, want %q in it", r.failed, want)
				}
			}
		})
	}
}

package gate

import (
	"strings"
	"testing"
	"time"

	"github.com/hookgate/hookgate"
)

// TestDefinition: the definition in the store has the settings under their names and no secret. A
// change of a secret does not change it; a change of any other setting does.
func TestDefinition(t *testing.T) {
	make := func(change func(*SubscriptionOptions)) string {
		s := PushTo("https://hunter2:hunter2@app.example.com/hooks/" +
			"hunter2hunter2hunter2?token=hunter2")
		s.Sources, s.Types = []string{"stripe"}, []string{"invoice.*"}
		s.Push.Signing = Secrets{"env:BILLING_SECRET", "whsec_hunter2", "exact:hunter2"}
		s.Push.Headers = map[string]string{"X-Tenant": "hunter2", "authorization": "env:TOKEN",
			"X-Other": "Bearer hunter2${X}"}
		change(&s)
		d, err := s.definition("billing")
		if err != nil {
			t.Fatal(err)
		}
		if d.Name != "billing" || d.Order != s.Order || d.Start.At != s.Start.At ||
			!d.Filter.Match("stripe", "invoice.paid") || d.Filter.Match("stripe", "x") {
			t.Errorf("the definition is %+v", d)
		}
		return d.Definition
	}
	first := make(func(*SubscriptionOptions) {})
	const want = `{"sources":["stripe"],"types":["invoice.*"],"order":"key","push":{` +
		`"url":"https://app.example.com/hooks/…?…","signed":true,"signing":["env:BILLING_SECRET"],` +
		`"timeout":"30s","concurrency":32,"egress":"any","headers":{"Authorization":"env:TOKEN",` +
		`"X-Other":"","X-Tenant":""}},"retry":{"first":"1s","max":"5m0s","for":"72h0m0s"},"then":"park"}`
	if first != want {
		t.Errorf("got  %s\nwant %s", first, want)
	}
	for _, test := range []struct {
		same   bool
		change func(*SubscriptionOptions)
	}{
		{true, func(s *SubscriptionOptions) { s.Start.At = hookgate.StartBeginning }},
		{true, func(s *SubscriptionOptions) { s.Push.Signing[1] = "whsec_other" }},
		{true, func(s *SubscriptionOptions) { s.Push.Headers["X-Tenant"] = "other" }},
		{true, func(s *SubscriptionOptions) {
			s.Push.URL = "https://app.example.com/hooks/0123456789abcdef?token=x"
		}},
		{false, func(s *SubscriptionOptions) { s.Push.Signing[0] = "env:OTHER" }},
		{false, func(s *SubscriptionOptions) { s.Push.URL = "https://app.example.com/other" }},
		{false, func(s *SubscriptionOptions) { s.Push.Rate = 1 }},
		{false, func(s *SubscriptionOptions) { s.Push.Timeout = time.Second }},
		{false, func(s *SubscriptionOptions) { s.Push.TLSCA = "ca.pem" }},
		{false, func(s *SubscriptionOptions) { s.Order = hookgate.OrderNone }},
		{false, func(s *SubscriptionOptions) { s.Retry.For = 0 }},
		{false, func(s *SubscriptionOptions) { s.Retry.Final = []int{400} }},
		{false, func(s *SubscriptionOptions) { s.Then = ThenDeadLetter }},
	} {
		if got := make(test.change); (got == first) != test.same || strings.Contains(got, "hunter2") {
			t.Errorf("got %s", got)
		}
	}
}

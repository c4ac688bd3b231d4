package admit

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"
)

// Goal: a test request that its sender does not sign is known by exactly its shape, and never
// becomes an event. Method: the senders' requests, and others that differ in one thing.
func TestPings(t *testing.T) {
	const form = "application/x-www-form-urlencoded"
	for _, c := range []struct {
		name, kind, method, contentType, body string
		headers                               []string
		ping                                  bool
	}{
		{"WooCommerce", "woocommerce", "POST", form, "webhook_id=10", nil, true},
		{"with a charset", "woocommerce", "POST", form + "; charset=UTF-8", "webhook_id=10", nil, true},
		{"id of 20 digits", "woocommerce", "POST", form, "webhook_id=12345678901234567890", nil, true},
		{"id of 21 digits", "woocommerce", "POST", form, "webhook_id=123456789012345678901", nil, false},
		{"no id", "woocommerce", "POST", form, "webhook_id=", nil, false},
		{"not a number", "woocommerce", "POST", form, "webhook_id=1a", nil, false},
		{"another field", "woocommerce", "POST", form, "webhook_id=10&x=1", nil, false},
		{"a line behind it", "woocommerce", "POST", form, "webhook_id=10\n", nil, false},
		{"no body", "woocommerce", "POST", form, "", nil, false},
		{"not a form", "woocommerce", "POST", "application/json", "webhook_id=10", nil, false},
		{"JSON", "woocommerce", "POST", "application/json", `{"webhook_id":10}`, nil, false},
		{"a signature", "woocommerce", "POST", form, "webhook_id=10", []string{"X-WC-Webhook-Signature",
			"x"}, false},
		{"an empty signature", "woocommerce", "POST", form, "webhook_id=10",
			[]string{"X-WC-Webhook-Signature", ""}, false},
		{"another method", "woocommerce", "PUT", form, "webhook_id=10", nil, false},
		{"Bitbucket", "bitbucket", "POST", "application/json", `{"test":true}`, []string{"X-Event-Key",
			"diagnostics:ping"}, true},
		{"white space", "bitbucket", "POST", "application/json", "{ \"test\": true }\n",
			[]string{"X-Event-Key", "diagnostics:ping"}, true},
		{"another event", "bitbucket", "POST", "application/json", `{"test":true}`,
			[]string{"X-Event-Key", "repo:push"}, false},
		{"two events", "bitbucket", "POST", "application/json", `{"test":true}`, []string{"X-Event-Key",
			"diagnostics:ping", "X-Event-Key", "repo:push"}, false},
		{"another body", "bitbucket", "POST", "application/json", `{"test":true,"a":1}`,
			[]string{"X-Event-Key", "diagnostics:ping"}, false},
		{"not true", "bitbucket", "POST", "application/json", `{"test":false}`, []string{"X-Event-Key",
			"diagnostics:ping"}, false},
		{"too long", "bitbucket", "POST", "application/json", `{"test":true}` + strings.Repeat(" ",
			MaxPing), []string{"X-Event-Key", "diagnostics:ping"}, false},
		{"a wrong signature", "bitbucket", "POST", "application/json", `{"test":true}`,
			[]string{"X-Event-Key", "diagnostics:ping", "X-Hub-Signature", "sha256=" + strings.Repeat("0",
				64)}, false},
		{"another kind", "github", "POST", form, "webhook_id=10", nil, false},
		{"another kind", "intercom", "POST", "application/json", `{"topic":"ping"}`, nil, false},
	} {
		s, err := New(c.kind, Options{Secrets: []string{"a-secret"}})
		if err != nil {
			t.Fatal(err)
		}
		r := &Request{Method: c.method, Header: header(append(c.headers, "Content-Type",
			c.contentType)...), Time: time.Now()}
		h, shakes := s.(Handshaker)
		may := shakes && h.MayPing(r)
		r.Body = []byte(c.body)
		if ping := shakes && h.Ping(r) != nil; ping != c.ping || ping && !may {
			t.Errorf("%s, %s: ping is %t, by the header %t", c.kind, c.name, ping, may)
		}
		if err := errors.Join(s.CheckHeader(r), s.Authenticate(r)); !errors.Is(err, ErrUnauthenticated) {
			t.Errorf("%s, %s: %v", c.kind, c.name, err)
		}
	}
}

// Goal: a signed test request is answered 200 and is no event. Method: sign each, and one that
// resembles it.
func TestSignedPings(t *testing.T) {
	for _, c := range []struct {
		kind, body string
		headers    []string
		ping       bool
	}{
		{"intercom", `{"type":"notification_event","topic":"ping","id":null,` +
			`"data":{"item":{"type":"ping"}}}`, nil, true},
		{"intercom", `{"type":"notification_event","topic":"contact.created","id":"n1",` +
			`"data":{"topic":"ping"}}`, nil, false},
		{"bitbucket", `{"test":true}`, []string{"X-Event-Key", "diagnostics:ping"}, true},
		{"bitbucket", `{"test":true}`, []string{"X-Event-Key", "repo:push"}, false},
	} {
		o := Options{Secrets: []string{"a-secret"}}
		s, err := New(c.kind, o)
		if err != nil {
			t.Fatal(err)
		}
		r := &Request{Method: http.MethodPost, Header: header(c.headers...), Time: time.Now(),
			Body: []byte(c.body)}
		if err := Sign(c.kind, o, nil, r); err != nil {
			t.Fatal(err)
		}
		answer, err := greetOrReply(t, s, r)
		if err != nil || (answer != nil) != c.ping || answer != nil && (answer.Status != 200 ||
			len(answer.Body) > 0) {
			t.Errorf("%s %s: %v, %v", c.kind, c.body, answer, err)
		}
		r.Body = append(r.Body, ' ')
		if answer, err := greetOrReply(t, s, r); answer != nil || !errors.Is(err, ErrUnauthenticated) {
			t.Errorf("%s, changed: %v, %v", c.kind, answer, err)
		}
	}
}

// Goal: a test of a webhook that Zendesk has not created is refused, with the reason for the log.
// Method: sign with the secret that Zendesk publishes.
func TestZendeskTestSecret(t *testing.T) {
	s, err := New("zendesk", Options{Secrets: []string{"the-right-secret"}})
	if err != nil {
		t.Fatal(err)
	}
	for secret, reason := range map[string]string{"the-right-secret": "",
		"another-secret": "any of the configured", zendeskTestSecret: "Test button"} {
		r := &Request{Method: http.MethodPost, Header: header("X-Id", "1"), Time: time.Now(),
			Body: []byte(`{"id":"1"}`)}
		if err := Sign("zendesk", Options{Secrets: []string{secret}}, nil, r); err != nil {
			t.Fatal(err)
		}
		err := errors.Join(s.CheckHeader(r), s.Authenticate(r))
		switch {
		case reason == "":
			if err != nil || r.Credential.Position != 1 {
				t.Errorf("%v, %v", r.Credential, err)
			}
		case !errors.Is(err, ErrUnauthenticated) || !strings.Contains(err.Error(), reason) ||
			r.Credential.Position != 0:
			t.Errorf("%s: %v, %v", secret, r.Credential, err)
		}
	}
}

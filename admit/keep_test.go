package admit

import (
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
)

// keptOf returns the headers of h that KeptHeaders names.
func keptOf(s Scheme, h http.Header) http.Header {
	kept := http.Header{}
	for name, values := range h {
		if slices.ContainsFunc(KeptHeaders(s), func(pattern string) bool {
			start, all := strings.CutSuffix(pattern, "*")
			return name == pattern || all && strings.HasPrefix(name, start)
		}) {
			kept[name] = values
		}
	}
	return kept
}

// Goal: an application that verifies and identifies webhooks itself works behind the gate, and the
// gate keeps no secret. Method: for the vectors of every preset, a request with only the kept
// headers passes verification and has the same identity. If the secret itself is in a header, it is
// not kept.
func TestKeptHeaders(t *testing.T) {
	for _, v := range vectors() {
		t.Run(v.name, func(t *testing.T) {
			s, r := v.scheme(t), v.request()
			r.Header.Set("Cookie", "a")
			r.Header.Set("X-Other", "a")
			if !v.token {
				r.Header.Set("Authorization", "Bearer a")
			}
			r.Header = keptOf(s, r.Header)
			for name, values := range r.Header {
				if strings.Contains(strings.Join(values, ","), v.secret) || name == "Authorization" ||
					name == "Cookie" || name == "X-Other" {
					t.Errorf("%s is kept", name)
				}
			}
			if v.token {
				v.wantRefused(t, "without its secret", s, r)
				got, err := identifyOnce(s, r)
				wantMessage(t, got, err, v.want)
				return
			}
			got, err := admitOnce(s, r)
			wantMessage(t, got, err, v.want)
		})
	}
}

// TestKeptHeadersOf checks the headers of some kinds by name, and that no kind keeps a header in
// which senders send secrets.
func TestKeptHeadersOf(t *testing.T) {
	for _, c := range []struct {
		kind    string
		options Options
		want    string
	}{
		{"stripe", Options{Secrets: []string{"whsec_a"}}, "Content-Type Stripe-Signature"},
		{"github", Options{Secrets: []string{"a"}}, "Content-Type X-Github-Delivery X-Github-Event" +
			" X-Github-Hook-Id X-Github-Hook-Installation-Target-Id" +
			" X-Github-Hook-Installation-Target-Type X-Hub-Signature X-Hub-Signature-256"},
		{"shopify", Options{Secrets: []string{"a"}}, "Content-Type X-Shopify-Api-Version" +
			" X-Shopify-Event-Id X-Shopify-Hmac-Sha256 X-Shopify-Shop-Domain X-Shopify-Sub-Topic" +
			" X-Shopify-Topic X-Shopify-Triggered-At X-Shopify-Webhook-Id"},
		{"gitlab", Options{Secrets: []string{"a", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}},
			"Content-Type Idempotency-Key Webhook-Id Webhook-Signature Webhook-Timestamp X-Gitlab-Event" +
				" X-Gitlab-Event-Uuid X-Gitlab-Instance X-Gitlab-Webhook-Uuid"},
		{"telegram", Options{Secrets: []string{"a"}}, "Content-Type"},
		{"envelope", Options{BearerKeys: []string{"a"}}, "Content-Type X-Webhook-Signature"},
		{"cloudevents", Options{Secrets: []string{"a"}}, "Ce-* Ce-Id Ce-Source Ce-Type Content-Type"},
		// the setting wins over the kind, and a place in the header with the secret is not kept
		{"api_key", Options{Secrets: []string{"a"}, Header: "x-key",
			Places: Places{MessageID: list("header:x-id"), OrderingKey: list("header:X-Key")}},
			"Content-Type X-Id"},
		{"hmac", Options{Secrets: []string{"a"}, Signature: Rule{Header: "x-sig",
			Signed: "{header:x-v}{timestamp}{body}", Timestamp: "header:x-time"},
			Places: Places{MessageID: list("header:x-id")}}, "Content-Type X-Id X-Sig X-Time X-V"},
	} {
		s, err := New(c.kind, c.options)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(KeptHeaders(s), " "); got != c.want {
			t.Errorf("%s keeps %s, want %s", c.kind, got, c.want)
		}
	}
	for kind, names := range moreHeaders {
		if kinds[kind] == nil {
			t.Errorf("there is no kind %s", kind)
		}
		for _, name := range names {
			if slices.Contains([]string{"X-Gitlab-Token", telegramHeader, DefaultKeyHeader,
				"Authorization"}, http.CanonicalHeaderKey(name)) {
				t.Errorf("%s keeps %s", kind, name)
			}
		}
	}
}

// TestKeptHeadersAreDocumented checks that docs/reference/senders.md has a row with exactly the
// headers of each kind in moreHeaders.
func TestKeptHeadersAreDocumented(t *testing.T) {
	text, err := os.ReadFile("../docs/reference/senders.md")
	if err != nil {
		t.Fatal(err)
	}
	for kind, names := range moreHeaders {
		if row := "| `" + kind + "` | `" + strings.Join(names, "`, `") + "`"; !strings.Contains(
			string(text), row) {
			t.Errorf("docs/reference/senders.md has no row %s", row)
		}
	}
}

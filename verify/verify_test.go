package verify

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hookgate/hookgate/admit"
)

const (
	secret = "a-secret-of-the-sender"
	url    = "https://app.example.com/hooks"
)

// keys are the private keys of the senders that sign with one.
var keys = map[string]crypto.Signer{}

// all returns a preset of each kind.
func all(t *testing.T) []Preset {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	curve, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(&curve.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	keys["discord"], keys["sendgrid"] = private, curve
	standard := "whsec_" + base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{7}, 32))
	return []Preset{
		HMAC(admit.Rule{Header: "X-Sig", Signed: "{url}{body}"}, secret), APIKey("", secret),
		Meta("a-verify-token", secret), Basic("user:" + secret), HubSpot(url, secret),
		Square(url, secret), Twilio(url, secret), Discord(hex.EncodeToString(public)),
		SendGrid(base64.StdEncoding.EncodeToString(der)), StandardWebhooks(standard), Svix(standard),
		Bitbucket(secret), Calendly(secret), CloudEvents(secret), Dropbox(secret), GitHub(secret),
		GitLab(secret), Intercom(secret), Linear(secret), Mailgun(secret), MicrosoftGraph(secret),
		Okta(secret), Paddle(secret), PagerDuty(secret), Sentry(secret), Shopify(secret),
		Slack(secret), Stripe("whsec_" + secret), Telegram(secret), Typeform(secret), WooCommerce(secret),
		Zendesk(secret), Zoom(secret), Envelope(secret), Bearer(secret),
	}
}

// TestAllSenders: there is a preset for each kind, and each accepts what its sender signs and
// nothing else. The body comes back unchanged, and can be read again.
func TestAllSenders(t *testing.T) {
	kinds := map[string]bool{"none": true, "sns": true} // nothing to verify; a test of its own
	for _, p := range all(t) {
		kinds[p.kind] = true
		if p.kind == "hmac" {
			p.URL = url
		}
		v, err := New(p)
		if err != nil {
			t.Errorf("%s: %v", p.kind, err)
			continue
		}
		p.options.PublicURL = p.URL
		sample, err := admit.SampleOf(p.kind, p.options, "evt-1")
		if err != nil {
			t.Fatal(err)
		}
		signed := &admit.Request{Method: http.MethodPost, Header: sample.Header, Body: sample.Body,
			Time: time.Now()}
		if err := admit.Sign(p.kind, p.options, keys[p.kind], signed); err != nil {
			t.Errorf("%s: %v", p.kind, err)
			continue
		}
		r := request(signed, signed.Body)
		body, err := v.Verify(r)
		again, _ := io.ReadAll(r.Body)
		if err != nil || !bytes.Equal(body, signed.Body) || !bytes.Equal(again, body) {
			t.Errorf("%s: Verify returns %q, %v; the body has %q after it", p.kind, body, err, again)
		}
		bare := &admit.Request{Header: http.Header{"Content-Type": signed.Header["Content-Type"]}}
		if _, err := v.Verify(request(bare, []byte("{}"))); !errors.Is(err, ErrUnauthenticated) ||
			strings.Contains(err.Error(), secret) {
			t.Errorf("%s: a request without a signature: %v", p.kind, err)
		}
	}
	if got := slices.Sorted(maps.Keys(kinds)); !slices.Equal(got, admit.Names()) {
		t.Errorf("there are presets for %q, and the kinds are %q", got, admit.Names())
	}
	if _, err := New(SNS(nil, "arn:aws:sns:us-east-1:123456789012:orders")); err == nil {
		t.Error("SNS without a client is accepted")
	}
	if _, err := New(Preset{}); err == nil {
		t.Error("an empty preset is accepted")
	}
}

// request returns a request as the program receives it.
func request(signed *admit.Request, body []byte) *http.Request {
	target := "/hooks"
	if signed.Query != "" {
		target += "?" + signed.Query
	}
	r := httptest.NewRequest(http.MethodPost, target, bytes.NewReader(body))
	r.Header = signed.Header.Clone()
	return r
}

// TestHandler: the handler calls the next one for authentic webhooks only, and answers handshakes.
func TestHandler(t *testing.T) {
	sign := func(kind string, o admit.Options, body string) *admit.Request {
		r := &admit.Request{Method: http.MethodPost, Header: http.Header{"Content-Type": {
			"application/json"}}, Body: []byte(body), Time: time.Now()}
		if err := admit.Sign(kind, o, nil, r); err != nil {
			t.Fatal(err)
		}
		return r
	}
	o := admit.Options{Secrets: []string{secret}}
	good := sign("github", o, `{"a":1}`)
	challenge := sign("slack", o, `{"type":"url_verification","challenge":"c"}`)
	long := request(good, good.Body)
	long.ContentLength = -1
	long.Body = io.NopCloser(strings.NewReader(strings.Repeat(" ", 101)))
	get := httptest.NewRequest(http.MethodGet, "/hooks", nil)
	greet := httptest.NewRequest(http.MethodGet,
		"/hooks?hub.mode=subscribe&hub.verify_token=a-verify-token&hub.challenge=42", nil)
	ping := httptest.NewRequest(http.MethodPost, "/hooks", strings.NewReader(`{"test": true}`))
	ping.Header.Set("Content-Type", "application/json")
	ping.Header.Set("X-Event-Key", "diagnostics:ping")
	for _, c := range []struct {
		name   string
		preset Preset
		r      *http.Request
		status int
		body   string
	}{
		{"webhook", GitHub(secret), request(good, good.Body), 299, `{"a":1}`},
		{"changed body", GitHub(secret), request(good, []byte(`{"a":2}`)), 401, "Unauthorized\n"},
		{"another secret", GitHub("another-secret"), request(good, good.Body), 401, "Unauthorized\n"},
		{"two secrets", GitHub("another-secret", secret), request(good, good.Body), 299, `{"a":1}`},
		{"long body", GitHub(secret), long, 413, "Request Entity Too Large\n"},
		{"method", GitHub(secret), get, 405, "Method Not Allowed\n"},
		{"handshake with GET", Meta("a-verify-token", secret), greet, 200, "42"},
		{"handshake with POST", Slack(secret), request(challenge, challenge.Body), 200, "c"},
		{"unsigned ping", Bitbucket(secret), ping, 200, ""},
	} {
		c.preset.MaxBody = 100
		v, err := New(c.preset)
		if err != nil {
			t.Fatal(err)
		}
		w := httptest.NewRecorder()
		v.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(299)
			io.Copy(w, r.Body)
		})).ServeHTTP(w, c.r)
		if w.Code != c.status || w.Body.String() != c.body {
			t.Errorf("%s is answered %d %q, want %d %q", c.name, w.Code, w.Body, c.status, c.body)
		}
	}
	announced := request(good, good.Body)
	announced.ContentLength = DefaultMaxBody + 1
	v, err := New(GitHub(secret))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v.Verify(announced); !errors.Is(err, ErrTooLarge) {
		t.Errorf("a body that is announced as too large: %v", err)
	}
}

// TestTolerance: an old signature is rejected.
func TestTolerance(t *testing.T) {
	signed := &admit.Request{Method: http.MethodPost, Header: http.Header{}, Body: []byte(`{}`),
		Time: time.Now()}
	o := admit.Options{Secrets: []string{"whsec_" + secret}}
	if err := admit.Sign("stripe", o, nil, signed); err != nil {
		t.Fatal(err)
	}
	v, err := New(Stripe("whsec_" + secret))
	if err != nil {
		t.Fatal(err)
	}
	v.now = func() time.Time { return signed.Time.Add(time.Hour) }
	if _, err := v.Verify(request(signed, signed.Body)); !errors.Is(err, ErrUnauthenticated) {
		t.Errorf("an old signature: %v", err)
	}
}

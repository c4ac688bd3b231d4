package admit

import (
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Goal: while a secret is being replaced every way in which senders write two signatures is
// understood, and the gate knows which of its secrets made one. Method: headers made by the
// senders' formulas.
func TestRotation(t *testing.T) {
	const body = `{"id":"a"}`
	now := time.Unix(1_700_000_000, 0)
	at := func(d time.Duration) string { return strconv.FormatInt(now.Add(d).Unix(), 10) }
	mac := func(secret, timestamp string) string {
		return strings.TrimPrefix(sign(secret, []byte(timestamp+"."+body)), "sha256=")
	}
	rule := Rule{Header: "X-Signature", Separator: ",", Prefix: Prefixes{"v1="},
		Signed: "{timestamp}.{body}", Timestamp: "element:t="}
	both := rule
	both.Prefix = Prefixes{"v1=", "v2="}
	const older, newer = "the-older-secret", "the-newer-secret"
	t0 := at(0)
	garbage := strings.Repeat("0", 64)
	for _, c := range []struct {
		name    string
		rule    Rule
		secrets []string
		value   string
		which   int // 0: refused
	}{
		{"TabaPay, old secret", both, []string{older}, "t=" + t0 + ",v1=" + mac(newer, t0) + ",v2=" +
			mac(older, t0), 1},
		{"TabaPay, new secret", both, []string{newer}, "t=" + t0 + ",v1=" + mac(newer, t0) + ",v2=" +
			mac(older, t0), 1},
		{"TabaPay, both", both, []string{newer, older}, "t=" + t0 + ",v1=" + mac(newer, t0) + ",v2=" +
			mac(older, t0), 1},
		{"TabaPay, another prefix", both, []string{older}, "t=" + t0 + ",v3=" + mac(older, t0), 0},
		{"one prefix", rule, []string{older}, "t=" + t0 + ",v1=" + mac(newer, t0) + ",v2=" +
			mac(older, t0), 0},
		{"Persona, old secret", rule, []string{older}, "t=" + t0 + ",v1=" + mac(newer, t0) + " t=" + t0 +
			",v1=" + mac(older, t0), 1},
		{"Persona, new secret", rule, []string{older, newer}, "t=" + t0 + ",v1=" + mac(newer, t0) +
			" t=" + t0 + ",v1=" + mac("x", t0), 2},
		{"each set has its own time", rule, []string{older}, "t=" + at(-time.Minute) + ",v1=" +
			mac(older, at(-time.Minute)) + " t=" + t0 + ",v1=" + mac(newer, t0), 1},
		{"a time of another set", rule, []string{older}, "t=" + at(-time.Minute) + ",v1=" + garbage +
			" t=" + t0 + ",v1=" + mac(older, at(-time.Minute)), 0},
		{"late set beside a good one", rule, []string{older}, "t=" + at(-time.Hour) + ",v1=" + garbage +
			" t=" + t0 + ",v1=" + mac(older, t0), 1},
		{"right signature in a late set", rule, []string{older}, "t=" + at(-time.Hour) + ",v1=" +
			mac(older, at(-time.Hour)) + " t=" + t0 + ",v1=" + garbage, 0},
		{"all late", rule, []string{older}, "t=" + at(-time.Hour) + ",v1=" + mac(older, at(-time.Hour)),
			0},
		{"set without a time", rule, []string{older}, "t=" + t0 + ",v1=" + garbage + " v1=" +
			mac(older, t0), 0},
		{"four sets", rule, []string{older}, strings.Repeat("t="+t0+",v1="+garbage+" ", 3) + "t=" + t0 +
			",v1=" + mac(older, t0), 1},
		{"five sets", rule, []string{older}, strings.Repeat("t="+t0+",v1="+garbage+" ", 4) + "t=" + t0 +
			",v1=" + mac(older, t0), 0},
		{"malformed beside good", rule, []string{older}, "t=" + t0 + ",v1=abc,v1=" + mac(older, t0), 1},
		{"malformed in the other set", rule, []string{older}, "t=" + t0 + ",v1=abc t=" + t0 + ",v1=" +
			mac(older, t0), 1},
		{"second and third secret", rule, []string{"x", newer, older}, "t=" + t0 + ",v1=" +
			mac(older, t0) + ",v1=" + mac(newer, t0), 2},
	} {
		s, err := New("hmac", Options{Secrets: c.secrets, Signature: c.rule,
			Places: Places{MessageID: list("json:id")}})
		if err != nil {
			t.Fatal(err)
		}
		r := &Request{Header: header("X-Signature", c.value), Time: now, Body: []byte(body)}
		_, err = admitOnce(s, r)
		if (err == nil) != (c.which > 0) || err != nil && !errors.Is(err, ErrUnauthenticated) {
			t.Errorf("%s: %v", c.name, err)
		}
		if want := (Credential{Secrets, c.which}); r.Credential != want {
			t.Errorf("%s: credential %v, want %v", c.name, r.Credential, want)
		}
	}
}

// Goal: each kind of proof says which of the configured secrets a request was proved with, by its
// position in the configuration. Method: sign with each in turn.
func TestCredentialIsKnown(t *testing.T) {
	public, _, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	whpk := "whpk_" + base64.StdEncoding.EncodeToString(public)
	const w1, w2 = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_plJ3nmyCDGBKInavdOK15jsl"
	for _, c := range []struct {
		kind    string
		secrets []string
		signing []int // the secrets that can sign here
		body    string
	}{
		{"github", []string{"aaaaaaaa", "bbbbbbbb", "cccccccc"}, []int{1, 2, 3}, `{}`},
		{"standard_webhooks", []string{whpk, w1, whpk, w2}, []int{2, 4}, `{}`},
		{"gitlab", []string{"aaaaaaaa", w1, "bbbbbbbb", w2}, []int{1, 2, 3, 4}, `{}`},
		{"twilio", []string{"aaaaaaaa", "bbbbbbbb"}, []int{1, 2}, `{}`},
		{"mailgun", []string{"aaaaaaaa", "bbbbbbbb"}, []int{1, 2}, `{}`},
		{"microsoft_graph", []string{"aaaaaaaa", "bbbbbbbb"}, []int{1, 2}, `{"value":[{},{}]}`},
		{"basic", []string{"a:b", "c:d"}, []int{1, 2}, `{}`},
		{"bearer", []string{"aaaaaaaa", "bbbbbbbb"}, []int{1, 2}, `{}`},
		{"telegram", []string{"aaaaaaaa", "bbbbbbbb"}, []int{1, 2}, `{}`},
		{"envelope", []string{"aaaaaaaa", "bbbbbbbb"}, []int{1, 2}, `{}`},
	} {
		o := Options{Secrets: c.secrets, PublicURL: "https://example.com/x"}
		if _, preset := Find(c.kind); preset && (c.kind == "basic" || c.kind == "bearer") {
			o.Places.MessageID = list("sha256:body")
		}
		s, err := New(c.kind, o)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range c.signing {
			one := o
			one.Secrets = c.secrets[i-1 : i]
			r := &Request{Method: http.MethodPost, Header: header("Content-Type", "application/json"),
				Time: time.Now(), Body: []byte(c.body)}
			if err := Sign(c.kind, one, nil, r); err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(s.CheckHeader(r), s.Authenticate(r)); err != nil ||
				r.Credential != (Credential{Secrets, i}) {
				t.Errorf("%s, secret %d: %v, %v", c.kind, i, r.Credential, err)
			}
		}
	}
	s := newEnvelopeForTest(t, EnvelopeConfig{BearerKeys: []string{key1, key2}})
	r := &Request{Header: header("Authorization", "Bearer "+key2)}
	if err := s.Authenticate(r); err != nil || r.Credential != (Credential{BearerKeys, 2}) {
		t.Errorf("%v, %v", r.Credential, err)
	}
}

// Goal: one authentic notification lets no other in. Method: a batch of which the second has a
// wrong clientState, or none.
func TestGraphChecksEveryNotification(t *testing.T) {
	s, err := New("microsoft_graph", Options{Secrets: []string{"the-state"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, second := range []string{`{}`, `{"clientState":"x"}`, `{"clientState":7}`,
		`{"clientState":null}`} {
		r := &Request{Body: fmt.Appendf(nil, `{"value":[{"clientState":"the-state"},%s]}`, second)}
		if err := s.Authenticate(r); !errors.Is(err, ErrUnauthenticated) {
			t.Errorf("%s: %v", second, err)
		}
	}
}

// Goal: Twilio's signature is recognised in each form in which it writes a URL, and in no other.
// Method: twilio/twilio-node#1059 (a raw quote), #621 (a raw SIP address), both, and a port.
func TestTwilioURLForms(t *testing.T) {
	const url = "https://hooks.example.com/webhooks/twilio"
	const fields = "CallSid=CA1"
	s, err := New("twilio", Options{Secrets: []string{"12345678"}, PublicURL: url})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		signed, query string
		ok            bool
	}{
		{url + "?s=Forli'", "s=Forli%27", true},
		{url + "?s=Forli%27", "s=Forli%27", true},
		{url + "?s=Forli'", "s=Forli'", true},
		{url + "?s=(a)*!~'", "s=%28a%29%2a%21%7E%27", true},
		{url + "?c=sip:1@2.3.4.5", "c=sip%3A1%402.3.4.5", true},
		{url + "?c=sip:1@2.3.4.5", "c=sip%3a1%402.3.4.5", true},
		{url + "?c=sip:o'neil@2.3.4.5", "c=sip%3Ao%27neil%402.3.4.5", true},
		{url + "?c=sip:o%27neil@2.3.4.5", "c=sip%3Ao%27neil%402.3.4.5", true},
		{"https://hooks.example.com:443/webhooks/twilio?s='", "s=%27", true},
		{url + "?s=a b", "s=a%20b", false},
		{url + "?s=a&t=b", "s=a%26t=b", false},
		{url + "?s='", "s=%2527", false},
		{url + "?s=", "s=%2", false},
		{url + "?s=%", "s=%", true},
	} {
		r := &Request{Method: http.MethodPost, Query: c.query, Header: header("Content-Type",
			"application/x-www-form-urlencoded"),
			Time: time.Now(), Body: []byte(fields)}
		setHeader(r, twilioHeader, base64.StdEncoding.EncodeToString(twilioSum("12345678", c.signed,
			[]byte("CallSidCA1"))))
		if err := s.Authenticate(r); (err == nil) != c.ok {
			t.Errorf("signed %s, called with %s: %v", c.signed, c.query, err)
		}
	}
	worst := (&twilio{url: url}).urls(&Request{Slash: true, Query: strings.Repeat("%27%40%3A", 1000)},
		true)
	if len(worst) > 16 {
		t.Errorf("%d forms", len(worst))
	}
}

// Goal: the log says which URL a signature was checked for, and no password that stands in it.
func TestMismatchNamesTheURL(t *testing.T) {
	for _, kind := range []string{"twilio", "square", "hubspot"} {
		s, err := New(kind, Options{Secrets: []string{"12345678"},
			PublicURL: "https://user:a-password@hooks.example.com/x"})
		if err != nil {
			t.Fatal(err)
		}
		r := &Request{Method: http.MethodPost, Header: http.Header{}, Time: time.Now(),
			Body: []byte(`{}`)}
		if err := Sign(kind, Options{Secrets: []string{"another-secret"},
			PublicURL: "https://hooks.example.com/x"}, nil, r); err != nil {
			t.Fatal(err)
		}
		err = s.Authenticate(r)
		if err == nil || !strings.Contains(err.Error(), "@hooks.example.com/x") ||
			strings.Contains(err.Error(), "a-password") {
			t.Errorf("%s: %v", kind, err)
		}
	}
}

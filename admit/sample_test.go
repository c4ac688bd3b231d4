package admit

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hookgate/hookgate"
)

// Goal: a sample of every kind is what its sender could have sent: signed, it becomes an event with
// the sample's id, or with one that another sample does not share. Method: all kinds, and places of
// all forms.
func TestSamples(t *testing.T) {
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ecPublic, err := x509.MarshalPKIXPublicKey(ec.Public())
	if err != nil {
		t.Fatal(err)
	}
	edPublic, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	secrets := map[string]string{"basic": "user:password", "stripe": "whsec_of_theirs",
		"standard_webhooks": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
		"svix":              "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
		"discord":           hex.EncodeToString(edPublic),
		"sendgrid":          base64.StdEncoding.EncodeToString(ecPublic)}
	keys := map[string]crypto.Signer{"discord": ed, "sendgrid": ec}
	check := func(name string, o Options) {
		t.Helper()
		o.PublicURL = "https://hooks.example.com/x"
		if secret := secrets[name]; secret != "" {
			o.Secrets = []string{secret}
		} else if name != "none" {
			o.Secrets = []string{"a-secret-of-theirs"}
		}
		s, err := New(name, o)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var ids []string
		for _, id := range []string{"test-1", "test-2"} {
			sample, err := SampleOf(name, o, id)
			if err != nil {
				t.Fatal(err)
			}
			r := &Request{Method: http.MethodPost, ID: hookgate.NewRequestID(time.Now()).String(),
				Header: sample.Header, Time: time.Now(), Body: sample.Body}
			if err := Sign(name, o, keys[name], r); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if h, ok := s.(Handshaker); ok {
				if a, err := h.Greet(r); a != nil || err != nil {
					t.Errorf("%s: the sample is a handshake: %v, %v", name, a, err)
				}
			}
			m, err := admitOnce(s, r)
			if splitter, ok := s.(Splitter); err == nil && ok && splitter.Splits() {
				parts, err := splitter.Split(r)
				if err != nil || len(parts) != 1 {
					t.Fatalf("%s: %v, %v", name, parts, err)
				}
				m = Message{MessageID: parts[0].MessageID, EventType: parts[0].EventType}
			}
			if err != nil || m.MessageID == "" || m.EventType == "" || !strings.Contains(string(r.Body),
				id) {
				t.Errorf("%s: %+v, %v\n%v\n%s", name, m, err, r.Header, r.Body)
			}
			if h, ok := s.(Handshaker); ok {
				if a, err := h.Reply(r); a != nil || err != nil {
					t.Errorf("%s: the sample is a handshake: %v, %v", name, a, err)
				}
			}
			ids = append(ids, m.MessageID)
		}
		if ids[0] == ids[1] {
			t.Errorf("%s: two samples have the id %s", name, ids[0])
		}
	}
	for _, name := range Names() {
		var o Options
		switch name {
		case "sns": // only Amazon can sign
			continue
		case "meta":
			o.VerifyTokens = []string{"a-verify-token"}
		case "hmac":
			o.Signature = Rule{Header: "X-Sig", Signed: "{header:X-Other}{timestamp}{body}",
				Timestamp: "header:X-Time"}
		}
		if slices.Contains([]string{"hmac", "bearer", "basic", "api_key", "none"}, name) {
			o.Places.MessageID = list("json:data.items.0.id")
		}
		check(name, o)
	}
	for _, places := range []Places{
		{MessageID: list("header:X-Id"), EventType: list("json:type")},
		{MessageID: list("form:id"), EventType: list("header:X-Type")},
		{MessageID: []Place{{"json:order.id", "json:order.line"}}, EventType: list("json:order.id.type"),
			OrderingKey: list("json:order")},
		{MessageID: list("sha256:body")}, {MessageID: list("request:id")}, {MessageID: list("json:1.id")},
	} {
		check("none", Options{Places: places})
	}
	check("none", Options{Places: Places{MessageID: list("json:id")}, Split: "json:data.events"})
}

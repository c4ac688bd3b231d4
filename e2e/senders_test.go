package e2e

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// packagesDir has the libraries of the senders. make test installs them.
const packagesDir = "../.cache/npm"

// TestSendersOwnPackages sends webhooks that the libraries of Standard Webhooks, Svix, Stripe,
// Twilio, GitHub and SendGrid sign, correctly and wrongly. The gate answers each with the status
// that the sender expects.
func TestSendersOwnPackages(t *testing.T) {
	t.Parallel()
	private, public := ecdsaKeys(t)
	secrets := map[string]string{
		"standard": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "svix": "whsec_plJ3nmyCDGBKInavdOK15jsl",
		"gitlab": "whsec_dGVzdHRlc3R0ZXN0dGVzdHRlc3R0ZXN0dGVzdHRlc3Q=",
		"stripe": "whsec_stripe_test", "twilio": "twilio-auth-token", "github": githubSecret,
		"sendgridPrivate": private,
	}
	g := startGate(t, startOptions{args: []string{"--config", writeConfig(t, fmt.Sprintf(`
public_url: https://hooks.example.com
sources:
  standard: {kind: standard_webhooks, secrets: [%q]}
  svix: {kind: svix, secrets: [%q]}
  gitlab: {kind: gitlab, secrets: [a-plain-secret-token, %q]}
  stripe: {kind: stripe, secrets: [whsec_an_old_secret, %q]}
  twilio: {kind: twilio, secrets: [%q]}
  github: {kind: github, secrets: [%q]}
  sendgrid: {kind: sendgrid, secrets: [%q]}
`, secrets["standard"], secrets["svix"], secrets["gitlab"], secrets["stripe"], secrets["twilio"], secrets["github"], public))}})
	accepted := 0
	for _, r := range signedBySenders(t, secrets, "https://hooks.example.com") {
		status, answer := g.request(http.MethodPost, r.path(), r.Body, r.headers()...)
		if status != r.Status {
			t.Errorf("%s is answered %d %s, want %d\n%v\n%s", r.path(), status, answer, r.Status, r.Headers,
				r.Body)
		}
		if r.Status/100 == 2 {
			var several struct{ Events *int }
			if json.Unmarshal([]byte(answer), &several) == nil && several.Events != nil {
				accepted += *several.Events
			} else {
				accepted++
			}
		}
	}
	if accepted < 8 {
		t.Fatalf("the packages made %d webhooks to accept", accepted)
	}
	g.awaitDrained()
	_, body := g.request(http.MethodGet, "/api/events", "", "Accept", "application/x-ndjson")
	if n := strings.Count(body, "\n"); n != accepted {
		t.Errorf("%d events are stored, want %d:\n%s", n, accepted, body)
	}
}

// senderRequest is a webhook that a sender's own package has signed, and the status of its answer.
type senderRequest struct {
	Source, Query, Body string
	Headers             map[string]string
	Status              int
}

func (r senderRequest) path() string {
	if r.Query == "" {
		return "/webhooks/" + r.Source
	}
	return "/webhooks/" + r.Source + "?" + r.Query
}

func (r senderRequest) headers() (pairs []string) {
	for name, value := range r.Headers {
		pairs = append(pairs, name, value)
	}
	return pairs
}

// signedBySenders runs testdata/sign.mjs. base is the public URL of the gate.
func signedBySenders(t *testing.T, secrets map[string]string, base string) (all []senderRequest) {
	t.Helper()
	arguments, err := json.Marshal(secrets)
	if err != nil {
		t.Fatal(err)
	}
	node := exec.Command("node", "testdata/sign.mjs", packagesDir, string(arguments), base)
	node.Stderr = os.Stderr
	out, err := node.Output()
	if err != nil {
		t.Fatalf("sign with the senders' packages (run `make test`, which installs them): %v", err)
	}
	for lines := json.NewDecoder(bytes.NewReader(out)); ; {
		var r senderRequest
		if err := lines.Decode(&r); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, r)
	}
}

// ecdsaKeys returns a private key as SEC 1 in PEM, and its public key in the form that SendGrid
// shows.
func ecdsaKeys(t *testing.T) (private, public string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})),
		base64.StdEncoding.EncodeToString(spki)
}

// TestSourceCommands checks that send signs for every kind of secret and the gate accepts it, that
// sources shows the webhooks, and that check finds problems. No output has a secret.
func TestSourceCommands(t *testing.T) {
	t.Parallel()
	seed := filepath.Join(t.TempDir(), "seed")
	if err := os.WriteFile(seed, []byte(strings.Repeat("00", 32)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	env := []string{"STRIPE_SECRET=whsec_a-secret-of-stripe", "BASIC_PASSWORD=a-secret-password"}
	file := writeConfig(t, `
public_url: https://hooks.example.com
sources:
  stripe: {kind: stripe, secrets: ["${STRIPE_SECRET}"]}
  linear: {kind: linear, secrets: [a-secret-of-linear]}
  mailgun: {kind: mailgun, secrets: [a-secret-of-mailgun]}
  twilio: {kind: twilio, secrets: [a-secret-of-twilio]}
  basic: {kind: basic, secrets: ["user:${BASIC_PASSWORD}"], message_id: ["header:X-Id"], event_type: [json:type]}
  discord: {kind: discord, secrets: [3b6a27bcceb6a42d62a3a8d02a6f0d73653215771de243a63ac048a18b59da29]}
  open: {kind: none, message_id: ["sha256:body"], success_status: 200, success_body: "ok"}
  own: {kind: hmac, secrets: [a-secret-of-mine], message_id: ["header:X-Id"], signature: {header: X-Sig, signed: "{timestamp}.{body}", timestamp: "header:X-Time"}}
`)
	g := startGate(t, startOptions{env: env, args: []string{"--config", file}})
	send := func(source, body string, args ...string) (int, string, string) {
		path := filepath.Join(t.TempDir(), "body")
		if err := os.WriteFile(path, []byte(body), 0o600); err != nil {
			t.Fatal(err)
		}
		return runBinary(t, append(env, "HOOKGATE_DATA_DIR="+g.dir),
			append([]string{"sources", "send", "--target", g.url, "--config", file, "--source", source, "--file", path},
				args...)...)
	}
	for _, c := range []struct {
		source, body string
		args         []string
		answer       string
	}{
		{"default", `{"messageId":"a","eventType":"t"}`, nil, "202 Accepted"},
		{"stripe", `{"id":"evt_1","type":"t"}`, nil, "202 Accepted"},
		{"linear", `{"action":"create","data":{"id":"1"},"webhookTimestamp":1}`, nil, "200 OK"},
		{"mailgun", `{"event-data":{"id":"1","event":"opened"}}`, nil, "200 OK"},
		{"twilio", "MessageSid=SM1", []string{"--content-type", "application/x-www-form-urlencoded"},
			"200 OK"},
		{"twilio", `{"a":1}`, nil, "200 OK"},
		{"basic", `{"type":"t"}`, []string{"--header", "X-Id: 7"}, "202 Accepted"},
		{"discord", `{"id":"1","type":2}`, []string{"--key", seed}, "204 No Content"},
		{"open", "anything", nil, "200 OK\nok"},
		{"own", `{}`, nil, "202 Accepted"},
	} {
		if code, out, errs := send(c.source, c.body, c.args...); code != 0 ||
			!strings.HasPrefix(out, c.answer) {
			t.Errorf("send to %s ends with %d: %s%s", c.source, code, out, errs)
		}
	}
	if code, out, errs := send("stripe", `{"type":"t"}`); code != exitFail ||
		!strings.HasPrefix(out, "400 Bad Request") || !strings.Contains(errs, "rejects") {
		t.Errorf("send of what has no id ends with %d: %s%s", code, out, errs)
	}
	if code, _, errs := send("stripe", `{"id":1}`, "--header", "nonsense"); code != exitNoResult ||
		!strings.Contains(errs, "nonsense") {
		t.Errorf("send with a bad header ends with %d: %s", code, errs)
	}
	if code, _, errs := send("discord", `{}`); code != exitNoResult ||
		!strings.Contains(errs, "private key") {
		t.Errorf("send without the private key ends with %d: %s", code, errs)
	}
	code, out, errs := runBinary(t, nil, "sources", "--target", g.url, "--data-dir", g.dir)
	if code != 0 || !strings.Contains(out, "https://hooks.example.com/webhooks/stripe") ||
		!strings.Contains(out, "HMAC-SHA256 of {timestamp}.{body} in X-Sig") {
		t.Errorf("sources ends with %d:\n%s%s", code, out, errs)
	}
	all := out + errs + g.out.String() + g.logs.String()
	code, out, errs = runBinary(t, env, "sources", "check", "--config", file)
	if code != 0 || !strings.Contains(out, "OK: 9 sources") {
		t.Errorf("sources check ends with %d:\n%s%s", code, out, errs)
	}
	all += out + errs
	code, out, errs = runBinary(t, env[:1], "sources", "check", "--config", file)
	if code != exitFail || !strings.Contains(errs, "sources.basic.secrets") ||
		!strings.Contains(errs, "BASIC_PASSWORD") {
		t.Errorf("sources check without a secret ends with %d:\n%s%s", code, out, errs)
	}
	if all += out + errs; strings.Contains(all, "a-secret-") {
		t.Errorf("a secret shows:\n%s", all)
	}
}

package e2e

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/admit"
	"github.com/hookgate/hookgate/api"
	"github.com/hookgate/hookgate/deliver/push"
)

// Goal: an application that verifies its senders itself works unchanged behind the gate, and
// verifies the gate with any library of Standard Webhooks. Method: packages of the senders sign
// webhooks, and a gate stores them. The push client sends what is stored, headers and body, to an
// application that verifies with those packages. A changed body fails, and so does another secret.
func TestApplicationBehindTheGate(t *testing.T) {
	t.Parallel()
	const base, slackSecret = "https://hooks.example.com", "slack-signing-secret"
	const gateSecret = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
	const rawSecret = "a raw key of 32 characters, or so"
	const oldSecret = "whsec_dGhlLW9sZC1zZWNyZXQtb2YtdGhlLWdhdGU="
	private, public := ecdsaKeys(t)
	secrets := map[string]string{
		"standard": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "svix": "whsec_plJ3nmyCDGBKInavdOK15jsl",
		"gitlab": "whsec_dGVzdHRlc3R0ZXN0dGVzdHRlc3R0ZXN0dGVzdHRlc3Q=",
		"stripe": "whsec_stripe_test", "twilio": "twilio-auth-token", "github": githubSecret,
		"sendgridPrivate": private,
	}
	g := startGate(t, startOptions{args: []string{"--config", writeConfig(t, fmt.Sprintf(`
public_url: %s
sources:
  standard: {kind: standard_webhooks, secrets: [%q]}
  svix: {kind: svix, secrets: [%q]}
  gitlab: {kind: gitlab, secrets: [%q]}
  stripe: {kind: stripe, secrets: [%q]}
  twilio: {kind: twilio, secrets: [%q]}
  github: {kind: github, secrets: [%q]}
  sendgrid: {kind: sendgrid, secrets: [%q]}
  slack: {kind: slack, secrets: [%q]}
`, base, secrets["standard"], secrets["svix"], secrets["gitlab"], secrets["stripe"],
		secrets["twilio"], secrets["github"], public, slackSecret))}})
	requests := signedBySenders(t, secrets, base)
	slack := admit.Request{Method: http.MethodPost, Time: time.Now(),
		Header: http.Header{"Content-Type": {"application/x-www-form-urlencoded"}},
		Body:   []byte("command=%2Fweather&text=94070+%F0%9F%98%80&trigger_id=13345224609.738474920")}
	if err := admit.Sign("slack", admit.Options{Secrets: []string{slackSecret}}, nil,
		&slack); err != nil {
		t.Fatal(err)
	}
	forSlack := senderRequest{Source: "slack", Body: string(slack.Body), Status: 200,
		Headers: map[string]string{}}
	for name := range slack.Header {
		forSlack.Headers[name] = slack.Header.Get(name)
	}
	sent := map[string]int{}
	var twilioHash string
	for _, r := range append(requests, forSlack) {
		if r.Status/100 != 2 || r.Source == "sendgrid" || r.Source == "gitlab" {
			continue // the body of an event of SendGrid is a part of what is signed
		}
		if status, answer := g.request(http.MethodPost, r.path(), r.Body, r.headers()...); status !=
			r.Status {
			t.Fatalf("%s is answered %d %s", r.path(), status, answer)
		}
		sent[r.Source]++
		if strings.HasPrefix(r.Query, "bodySHA256=") {
			sum := sha256.Sum256([]byte(r.Body))
			twilioHash = hex.EncodeToString(sum[:])
		}
	}
	g.awaitDrained()

	application := startApplication(t, map[string]any{
		"stripe": secrets["stripe"], "github": secrets["github"], "slack": slackSecret,
		"twilio": secrets["twilio"], "svix": secrets["svix"], "standard": secrets["standard"],
		"base": base, "twilioHash": twilioHash,
		"gate": []string{gateSecret, oldSecret}, "raw": rawSecret,
	})
	open := func(signing ...string) *push.Consumer {
		c, err := push.New(push.Config{Name: "application", URL: application, Signing: signing,
			Egress: "private"})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.CloseIdleConnections)
		return c
	}
	consumer := open(gateSecret, oldSecret, "raw:"+rawSecret, secrets["standard"])
	delivered := map[string]int{}
	for _, e := range storedEvents(t, g) {
		d := &hookgate.Delivery{Subscription: "application", Event: e, Attempt: 1}
		if a := consumer.Deliver(t.Context(), d); a.Verdict != hookgate.VerdictDelivered {
			t.Errorf("%s: %+v\n%v\n%s", e.Identity, a, e.Headers, e.Body)
			continue
		}
		delivered[e.Source]++
		if a := open(gateSecret).Deliver(t.Context(), d); a.Status != 400 ||
			!strings.Contains(a.Reason, "No matching signature") {
			t.Errorf("%s without two of the signatures: %+v", e.Identity, a)
		}
		if e.Source == "standard" { // the gate's own signature is valid for any body
			continue
		}
		changed := *e
		changed.Body = append([]byte(" "), e.Body...)
		d.Event = &changed
		if a := consumer.Deliver(t.Context(), d); a.Status != 400 {
			t.Errorf("%s with another body: %+v", e.Identity, a)
		}
	}
	for _, source := range []string{"standard", "svix", "stripe", "twilio", "github", "slack"} {
		if sent[source] == 0 || delivered[source] != sent[source] {
			t.Errorf("%s: %d sent, %d delivered", source, sent[source], delivered[source])
		}
	}
}

// startApplication starts testdata/app.mjs and returns its URL.
func startApplication(t *testing.T, secrets map[string]any) string {
	t.Helper()
	text, err := json.Marshal(secrets)
	if err != nil {
		t.Fatal(err)
	}
	node := exec.Command("node", "testdata/app.mjs", packagesDir, string(text))
	node.Stderr = os.Stderr
	out, err := node.StdoutPipe()
	if err == nil {
		err = node.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { node.Process.Kill(); node.Wait() })
	port, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("start the application (run `make test`, which installs its packages): %v", err)
	}
	return "http://127.0.0.1:" + strings.TrimSpace(port) + "/"
}

// storedEvents returns the stored events of a gate as its log has them.
func storedEvents(t *testing.T, g *gate) (all []*hookgate.LogEvent) {
	t.Helper()
	_, text := g.request(http.MethodGet, "/api/events", "", "Accept", "application/x-ndjson")
	for line := range strings.Lines(text) {
		var e api.Event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		status, body := g.request(http.MethodGet, "/api/events/"+e.ID+"/body", "")
		id, err1 := strconv.ParseInt(e.ID, 10, 64)
		request, err2 := hookgate.ParseRequestID(e.RequestID)
		if err1 != nil || err2 != nil || status != 200 {
			t.Fatalf("event %s of request %s: %v %v %d", e.ID, e.RequestID, err1, err2, status)
		}
		all = append(all, &hookgate.LogEvent{ID: id, Identity: hookgate.Identity{Source: e.Source,
			EventType: e.EventType, MessageID: e.MessageID}, OrderingKey: e.OrderingKey, Keyed: true,
			RequestID: request, Headers: e.Headers, ReceivedAt: e.ReceivedAt.Time,
			Body: []byte(body)})
	}
	return all
}

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
	"slices"
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
// webhooks, and a subscription of a gate delivers them to an application that verifies with those
// packages. Then the push client sends what is stored: a changed body fails, and so does a request
// without one of the signatures.
func TestApplicationBehindTheGate(t *testing.T) {
	t.Parallel()
	const base, slackSecret = "https://hooks.example.com", "slack-signing-secret"
	const gateSecret = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
	const rawSecret = "a raw key of 32 characters or so"
	const oldSecret = "whsec_dGhlLW9sZC1zZWNyZXQtb2YtdGhlLWdhdGU="
	private, _ := ecdsaKeys(t)
	secrets := map[string]string{
		"standard": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "svix": "whsec_plJ3nmyCDGBKInavdOK15jsl",
		"gitlab": "whsec_dGVzdHRlc3R0ZXN0dGVzdHRlc3R0ZXN0dGVzdHRlc3Q=",
		"stripe": "whsec_stripe_test", "twilio": "twilio-auth-token", "github": githubSecret,
		"sendgridPrivate": private,
	}
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
	requests = slices.DeleteFunc(append(requests, forSlack), func(r senderRequest) bool {
		// The body of an event of SendGrid is a part of the body that is signed.
		return r.Status/100 != 2 || r.Source == "sendgrid" || r.Source == "gitlab"
	})
	var twilioHash string
	for _, r := range requests {
		if strings.HasPrefix(r.Query, "bodySHA256=") {
			sum := sha256.Sum256([]byte(r.Body))
			twilioHash = hex.EncodeToString(sum[:])
		}
	}
	application, verified := startApplication(t, map[string]any{
		"stripe": secrets["stripe"], "github": secrets["github"], "slack": slackSecret,
		"twilio": secrets["twilio"], "svix": secrets["svix"], "standard": secrets["standard"],
		"base": base, "twilioHash": twilioHash,
		"gate": []string{gateSecret, oldSecret}, "raw": rawSecret,
	})
	g := startGate(t, startOptions{args: []string{"--config", writeConfig(t, fmt.Sprintf(`
public_url: %s
sources:
  standard: {kind: standard_webhooks, secrets: [%q]}
  svix: {kind: svix, secrets: [%q]}
  stripe: {kind: stripe, secrets: [%q]}
  twilio: {kind: twilio, secrets: [%q]}
  github: {kind: github, secrets: [%q]}
  slack: {kind: slack, secrets: [%q]}
subscriptions:
  behind:
    push: {url: %q, signing: [%q, %q, %q, %q], egress: private}
`, base, secrets["standard"], secrets["svix"], secrets["stripe"], secrets["twilio"],
		secrets["github"], slackSecret, application, gateSecret, oldSecret, "raw:"+rawSecret,
		secrets["standard"]))}})
	sent := map[string]int{}
	for _, r := range requests {
		status, answer := g.request(http.MethodPost, r.path(), r.Body, r.headers()...)
		if status != r.Status {
			t.Fatalf("%s is answered %d %s", r.path(), status, answer)
		}
		sent[r.Source]++
	}
	behind := map[string]int{}
	for range requests {
		line := <-verified
		if fields := strings.SplitN(line, " ", 3); len(fields) != 3 || fields[0] != "behind" ||
			fields[2] != "" {
			t.Errorf("behind the gate: %s", line)
		} else {
			behind[fields[1]]++
		}
	}
	g.awaitDrained()
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
		if sent[source] == 0 || behind[source] != sent[source] || delivered[source] != sent[source] {
			t.Errorf("%s: %d sent, %d verified behind the gate, %d by the push client", source,
				sent[source], behind[source], delivered[source])
		}
	}
}

// startApplication starts testdata/app.mjs and returns its URL. verified receives a line for each
// request.
func startApplication(t *testing.T, secrets map[string]any) (url string, verified chan string) {
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
	lines := bufio.NewScanner(out)
	if !lines.Scan() {
		t.Fatal("the application does not start (run `make test`, which installs its packages)")
	}
	port := lines.Text()
	verified = make(chan string, 1000)
	go func() {
		for lines.Scan() {
			verified <- lines.Text()
		}
		close(verified)
	}()
	return "http://127.0.0.1:" + port + "/", verified
}

// storedEvents returns the stored events of a gate as its log has them.
func storedEvents(t *testing.T, g *gate) (all []*hookgate.Event) {
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
		all = append(all, &hookgate.Event{ID: id, Identity: hookgate.Identity{Source: e.Source,
			EventType: e.EventType, MessageID: e.MessageID}, OrderingKey: e.OrderingKey, Keyed: true,
			RequestID: request, Headers: e.Headers, ReceivedAt: e.ReceivedAt.Time,
			Body: []byte(body)})
	}
	return all
}

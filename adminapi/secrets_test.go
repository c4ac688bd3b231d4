package adminapi

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/guard"
)

// TestLogHoldsNoSecrets logs at debug level while requests are accepted and rejected in every way,
// and while the read and admin API are used well and badly. The log must contain no configured
// secret, no credential that a client sent, wrong ones included, and no content of a body. Every
// line about a request must name it.
func TestLogHoldsNoSecrets(t *testing.T) {
	// payload stands in every body, beside the identity, which is logged on purpose.
	const payload = "payload-5d0e9c33ab17"
	forbidden := []string{bearerKey, hmacSecret, githubSecret, adminToken, "admin-token-older-9910",
		payload}
	shown := 0
	wrong := func() string { // a credential that is shown once
		shown++
		text := fmt.Sprintf("shown-credential-%03d-%x", shown, shown*7919)
		forbidden = append(forbidden, text)
		return text
	}
	sign := func(secret, body string) string {
		signature := hmacHex(secret, body)
		forbidden = append(forbidden, strings.TrimPrefix(signature, "sha256="))
		return signature
	}

	mode := &fakeMode{}
	var appendErr error
	first := hookgate.NewRequestID(time.Now())
	q := &fakeQueue{appended: func(_ context.Context, d *hookgate.Request) (hookgate.Receipt, error) {
		if d.MessageID == "panic" {
			panic("the queue is broken")
		}
		if d.MessageID == "again" {
			return hookgate.Receipt{DuplicateOf: first}, nil
		}
		return hookgate.Receipt{}, appendErr
	}}
	reader := &fakeReader{}
	g := newGate(t, func(s *setup) {
		s.queue, s.mode, s.reader = q, mode, reader
		s.config.MaxBodyBytes = 200_000
		s.guard = guard.New(guard.Config{BodyMemory: 187_000})
		s.config.ReadTimeout = 200 * time.Millisecond
	})

	rest := `,"pad":"` + payload + `"`
	sound := envelope("m-1", "t", rest)
	want := 0 // lines about requests, at least
	send := func(status int, path, body string, headers ...string) *answer {
		t.Helper()
		want++
		return g.do(t, "POST", path, strings.NewReader(body), headers...).want(t, status)
	}
	key := []string{"Authorization", "Bearer " + bearerKey}

	send(202, "/webhooks", sound, key...)
	send(202, "/webhooks", sound, "X-Webhook-Signature", sign(hmacSecret, sound))
	send(202, "/webhooks", envelope("again", "t", rest), key...)
	send(202, "/webhooks/github", `{"a":"`+payload+`"}`, "X-Hub-Signature-256",
		sign(githubSecret, `{"a":"`+payload+`"}`),
		"X-GitHub-Delivery", "d", "X-GitHub-Event", "push")
	// Credentials of all sorts and at all places.
	send(401, "/webhooks", sound)
	send(401, "/webhooks", sound, "Authorization", "Bearer "+wrong())
	send(401, "/webhooks", sound, "Authorization", wrong())
	send(401, "/webhooks", sound, "Authorization", "Basic "+wrong())
	send(401, "/webhooks", sound, "Authorization", "Bearer "+bearerKey, "Authorization", "Bearer "+
		wrong())
	send(401, "/webhooks", sound, "X-Webhook-Signature", sign("wrong secret", sound))
	send(401, "/webhooks", sound, "X-Webhook-Signature", wrong())
	send(401, "/webhooks", sound, "X-Webhook-Signature", "sha256="+wrong())
	send(401, "/webhooks", sound, "Authorization", "Bearer "+bearerKey, "X-Webhook-Signature",
		sign("wrong again", sound))
	send(401, "/webhooks/github", sound, "Authorization", "Bearer "+wrong())
	send(401, "/webhooks/github", sound, "X-Hub-Signature-256", sign("third", sound))
	send(404, "/webhooks/nobody", sound, "Authorization", "Bearer "+wrong())
	// Bodies of all sorts.
	send(413, "/webhooks", sound+strings.Repeat(payload, 12_000), key...)
	send(503, "/webhooks", envelope("m", "t", `,"p":"`+strings.Repeat(payload, 8_000)+`"`), key...)
	send(415, "/webhooks", sound, append(key, "Content-Type", "text/plain")...)
	send(415, "/webhooks", sound, append(key, "Content-Encoding", "br")...)
	for _, body := range []string{
		payload, `"` + payload + `"`, `{"` + payload, `{"` + payload + `":1}`,
		`{"messageId":"m","eventType":"t","a":` + payload + `}`,
		`{"messageId":{"x":"` + payload + `"},"eventType":"t"}`, `{"messageId":["` + payload +
			`"],"eventType":"t"}`,
		`{"messageId":"m` + "\x01" + payload + `","eventType":"t"}`, `{"messageId":"m","eventType":"` +
			strings.Repeat(payload, 20) + `"}`,
		envelope("m", "t", `,"messageId":"`+payload+`"`), envelope("m"+payload+`\ud800`, "t", ""), sound +
			payload, sound + sound,
	} {
		send(400, "/webhooks", body, key...)
	}
	hook := `{"repository":{"full_name":["` + payload + `"]}`
	send(400, "/webhooks/github", hook, "X-Hub-Signature-256", sign(githubSecret, hook),
		"X-GitHub-Delivery", "d", "X-GitHub-Event", "push")
	conn := g.raw(t, rawHead("Content-Length: 5000")+sound)
	readAnswer(t, conn).want(t, 408)
	conn = g.raw(t, rawHead("Content-Length: 5000")+sound)
	must(t, conn.CloseWrite())
	readAnswer(t, conn).want(t, 400)
	// Failures of the queue and of the process.
	for _, appendErr = range []error{hookgate.ErrFull, errInjected, context.DeadlineExceeded} {
		send(503, "/webhooks", sound, key...)
	}
	appendErr = nil
	if _, err := g.try("POST", "/webhooks", strings.NewReader(envelope("panic", "t", rest)),
		key...); err == nil {
		t.Error("a panicking queue was answered")
	}
	mode.readOnly.Store(true)
	send(503, "/webhooks", sound, key...)
	// The read API and the admin API.
	for _, path := range []string{"/api/events", "/api/events/1", "/api/events/1/body", "/api/trace/m",
		"/admin/maintenance"} {
		g.do(t, "GET", path, nil, "Authorization", "Bearer "+wrong()).want(t, 401)
		g.do(t, "GET", path+"?token="+wrong(), nil).want(t, 401)
		reader.err = errInjected
		if a := g.admin(t, "GET", path, ""); a.status != 200 && a.status != 503 {
			t.Errorf("%s: status %d", path, a.status)
		}
		reader.err = nil
	}
	g.admin(t, "POST", "/admin/maintenance", `{"mode":"normal"}`).want(t, 200)
	g.admin(t, "POST", "/admin/maintenance", `{"mode":"`+payload+`"}`).want(t, 400)
	g.admin(t, "POST", "/admin/maintenance", payload).want(t, 400)
	mode.err = errInjected
	g.admin(t, "POST", "/admin/maintenance", `{"mode":"normal"}`).want(t, 503)

	text := g.log.String()
	for _, secret := range forbidden {
		for form, s := range map[string]string{"": secret, " in capitals": strings.ToUpper(secret),
			" in hexadecimal": hex.EncodeToString([]byte(secret))} {
			if at := strings.Index(text, s); at >= 0 {
				t.Errorf("%q stands in the log%s: …%s…", secret, form,
					text[max(0, at-200):min(len(text), at+100)])
			}
		}
	}
	lines, ids := 0, map[string]bool{}
	for line := range strings.Lines(text) {
		lines++
		var entry map[string]any
		must(t, json.Unmarshal([]byte(line), &entry))
		id, _ := entry["request_id"].(string)
		if _, err := hookgate.ParseRequestID(id); err != nil {
			t.Errorf("line without the id of its request: %s", line)
		}
		ids[id] = true
	}
	if lines < want || len(ids) < want {
		t.Errorf("%d lines about %d requests, want at least %d of each", lines, len(ids), want)
	}
	for _, part := range []string{`"msg":"accepted"`, `"duplicate":true`, `"status":401`,
		`"status":404`, `"status":400`, `"status":408`,
		`"status":413`, `"status":415`, `"status":503`, `"msg":"admin action"`, `"msg":"call rejected"`,
		`"panic":"the queue is broken"`, "reading events failed"} {
		if !strings.Contains(text, part) {
			t.Errorf("the log has no %s: this test does not see what it should", part)
		}
	}
}

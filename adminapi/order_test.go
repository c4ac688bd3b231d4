package adminapi

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/admit"
	"github.com/hookgate/hookgate/ingest"
	"github.com/hookgate/hookgate/internal/metrics"
)

var errInjected = errors.New("injected cause that no sender may see")

// checkRefusal compares the parts that all refusals share.
func checkRefusal(t *testing.T, a *answer) {
	t.Helper()
	object := a.json(t)
	if len(object) != 3 || object["status"] != "error" || object["error"] == "" {
		t.Errorf("refusal %s, want the members status, error and requestId", a.body)
	}
	id, _ := object["requestId"].(string)
	if _, err := hookgate.ParseRequestID(id); err != nil {
		t.Error(err)
	}
	if h := a.header.Get("X-Request-Id"); h != id {
		t.Errorf("X-Request-Id %q, requestId %q", h, id)
	}
	if h := a.header.Get("Content-Type"); h != "application/json" {
		t.Errorf("Content-Type %q", h)
	}
}

// TestOrderOfChecks sends requests with several faults each; the answer must be that of the check
// that comes first. Each row mends the fault that the row above is about.
func TestOrderOfChecks(t *testing.T) {
	q, mode := &fakeQueue{}, &fakeMode{}
	g := newGate(t, func(s *setup) {
		s.queue, s.mode = q, mode
		s.config.MaxBodyBytes = 200
	})
	tooLong := envelopeOf("m", 201)
	const text = "text/plain"
	for _, c := range []struct {
		name, method, path, key, contentType, body string
		readOnly                                   bool
		status                                     int
		header, value, text                        string
	}{
		{"unknown source", "PUT", "/webhooks/nobody", "", text, tooLong, true, 404, "", "",
			"no such source"},
		{"source below a source", "PUT", "/webhooks/default/x", "", text, tooLong, true, 404, "", "",
			"no such source"},
		{"wrong method", "PUT", "/webhooks", "", text, tooLong, true, 405, "Allow", "POST, HEAD", "POST"},
		{"GET", "GET", "/webhooks/default", "", text, "", true, 405, "Allow", "POST, HEAD", "POST"},
		{"read only", "POST", "/webhooks", "", text, tooLong, true, 503, "Retry-After", "2",
			"maintenance"},
		{"no credentials", "POST", "/webhooks", "", text, tooLong, false, 401, "Www-Authenticate",
			"Bearer", "not authenticated"},
		{"wrong key", "POST", "/webhooks", "Bearer wrong", text, tooLong, false, 401, "Www-Authenticate",
			"Bearer", "not authenticated"},
		{"too large", "POST", "/webhooks", "Bearer " + bearerKey, text, tooLong, false, 413, "", "",
			"200 bytes"},
		{"media type", "POST", "/webhooks", "Bearer " + bearerKey, text, "{", false, 415, "", "",
			"media type"},
		{"not JSON", "POST", "/webhooks", "Bearer " + bearerKey, "application/json", "{", false, 400, "",
			"", "body"},
		{"no id", "POST", "/webhooks", "Bearer " + bearerKey, "application/json", `{"eventType":"t"}`,
			false, 400, "", "", "messageId"},
		{"no type", "POST", "/webhooks", "Bearer " + bearerKey, "application/json", `{"messageId":"m"}`,
			false, 400, "", "", "eventType"},
		{"two ids", "POST", "/webhooks", "Bearer " + bearerKey, "application/json",
			envelope("m", "t", `,"messageId":"n"`), false, 400, "", "", "messageId"},
	} {
		t.Run(c.name, func(t *testing.T) {
			mode.readOnly.Store(c.readOnly)
			headers := []string{"Content-Type", c.contentType}
			if c.key != "" {
				headers = append(headers, "Authorization", c.key)
			}
			a := g.do(t, c.method, c.path, strings.NewReader(c.body), headers...).want(t, c.status)
			checkRefusal(t, a)
			if c.header != "" && a.header.Get(c.header) != c.value {
				t.Errorf("%s is %q, want %q", c.header, a.header.Get(c.header), c.value)
			}
			if c.header != "Retry-After" && a.header.Get("Retry-After") != "" {
				t.Errorf("Retry-After with status %d", c.status)
			}
			if !strings.Contains(a.errorText(t), c.text) {
				t.Errorf("text %q, want it to hold %q", a.errorText(t), c.text)
			}
		})
	}
	if got := q.deliveries(); len(got) != 0 {
		t.Errorf("%d refused requests reached the queue: %v", len(got), got)
	}
}

// TestRequestIDEverywhere asks paths of all kinds and compares the header with the body.
func TestRequestIDEverywhere(t *testing.T) {
	g := newGate(t, func(s *setup) {
		s.sources[0].Scheme = brokenScheme{s.sources[0].Scheme}
	})
	seen := map[string]string{}
	for _, c := range []struct {
		method, path string
		status       int
		object       bool // the body is an error with the id in it
	}{
		{"GET", "/", 401, false},
		{"GET", "/ui/none", 401, false},
		{"GET", "/webhook", 404, true},
		{"GET", "/webhooksx", 404, true},
		{"POST", "/webhooks/", 500, true},
		{"GET", "/api/", 404, true},
		{"DELETE", "/livez", 405, true},
		{"POST", "/api/events", 405, true},
		{"PUT", "/admin/maintenance", 405, true},
		{"GET", "/webhooks", 405, true},
		{"GET", "/api/events", 401, true},
		{"POST", "/webhooks/github", 401, true},
		{"POST", "/webhooks", 500, true},
		{"GET", "/livez", 200, false},
		{"GET", "/readyz", 200, false},
		{"GET", "/api/health", 200, false},
		{"GET", "/metrics", 200, false},
		{"HEAD", "/livez", 200, false},
	} {
		a := g.do(t, c.method, c.path, nil).want(t, c.status)
		id := a.header.Get("X-Request-Id")
		if _, err := hookgate.ParseRequestID(id); err != nil {
			t.Errorf("%s %s: X-Request-Id: %v", c.method, c.path, err)
		}
		if other, ok := seen[id]; ok {
			t.Errorf("%s and %s have one request id", other, c.path)
		}
		seen[id] = c.path
		if c.object {
			checkRefusal(t, a)
		}
		if c.status == 405 && a.header.Get("Allow") == "" {
			t.Errorf("%s %s: no Allow", c.method, c.path)
		}
	}
	conn := g.raw(t, "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n")
	checkRefusal(t, readAnswer(t, conn).want(t, 404))
}

// brokenScheme fails in a way that a Scheme must not.
type brokenScheme struct{ admit.Scheme }

func (brokenScheme) CheckHeader(*admit.Request) error { return errInjected }

// readRecorder is a body that counts the calls of Read.
type readRecorder struct{ reads int }

func (r *readRecorder) Read([]byte) (int, error) { r.reads++; return 0, io.EOF }
func (r *readRecorder) Close() error             { return nil }

// TestUnauthenticatedBodyIsNotRead calls the handler with credentials that the header alone shows
// to be wrong.
func TestUnauthenticatedBodyIsNotRead(t *testing.T) {
	q := &fakeQueue{}
	g := newGate(t, func(s *setup) { s.queue = q })
	for name, c := range map[string]struct{ path, header, value string }{
		"nothing":             {"/webhooks", "X-Other", "x"},
		"wrong key":           {"/webhooks", "Authorization", "Bearer wrong"},
		"other scheme":        {"/webhooks", "Authorization", "Basic " + bearerKey},
		"misshapen signature": {"/webhooks", "X-Webhook-Signature", "sha256=12"},
		"GitHub, nothing":     {"/webhooks/github", "X-Other", "x"},
		"GitHub, bearer key":  {"/webhooks/github", "Authorization", "Bearer " + bearerKey},
		"GitHub, misshapen":   {"/webhooks/github", "X-Hub-Signature-256", "sha1=00"},
	} {
		body := &readRecorder{}
		r := httptest.NewRequest(http.MethodPost, c.path, body)
		r.Header.Set(c.header, c.value)
		w := httptest.NewRecorder()
		g.ServeHTTP(w, r)
		if w.Code != 401 || body.reads != 0 {
			t.Errorf("%s: status %d after %d reads of the body, want 401 after none", name, w.Code,
				body.reads)
		}
	}
	// A signature of the right form that is wrong can only be judged with the body; it must not get
	// further than that.
	sound := envelope("m", "t", "")
	a := g.do(t, "POST", "/webhooks", strings.NewReader(sound), "X-Webhook-Signature",
		hmacHex("another secret", sound))
	checkRefusal(t, a.want(t, 401))
	if got := q.deliveries(); len(got) != 0 {
		t.Errorf("%d unauthenticated requests reached the queue", len(got))
	}
	// The same recorder with sound credentials is read: the count above means something.
	body := &readRecorder{}
	r := httptest.NewRequest(http.MethodPost, "/webhooks", body)
	r.Header.Set("Authorization", "Bearer "+bearerKey)
	g.ServeHTTP(httptest.NewRecorder(), r)
	if body.reads == 0 {
		t.Error("an authenticated body was not read")
	}
}

// TestAppendErrors lets Append fail and checks what the sender and the log are text.
func TestAppendErrors(t *testing.T) {
	for name, c := range map[string]struct {
		err  error
		text string
		log  bool
	}{
		"full":    {hookgate.ErrFull, "full", false},
		"closed":  {hookgate.ErrClosed, "durably", true},
		"unknown": {errInjected, "durably", true},
	} {
		t.Run(name, func(t *testing.T) {
			q := &fakeQueue{appended: func(context.Context, *hookgate.Request) (hookgate.Receipt, error) {
				return hookgate.Receipt{}, c.err
			}}
			g := newGate(t, func(s *setup) { s.queue = q })
			a := g.post(t, envelope("m", "t", "")).want(t, 503)
			checkRefusal(t, a)
			if a.header.Get("Retry-After") != "2" {
				t.Errorf("Retry-After %q, want 1.5 s rounded up", a.header.Get("Retry-After"))
			}
			if !strings.Contains(a.errorText(t), c.text) || bytes.Contains(a.body, []byte("injected")) {
				t.Errorf("text %q", a.errorText(t))
			}
			if logged := strings.Contains(g.log.String(), `"cause":"`+c.err.Error()); logged != c.log {
				t.Errorf("cause in the log: %v, want %v; log: %s", logged, c.log, g.log)
			}
		})
	}
}

// TestRecordedDelivery compares what reaches Append with what was sent.
func TestRecordedDelivery(t *testing.T) {
	q := &fakeQueue{}
	g := newGate(t, func(s *setup) { s.queue = q })
	before := time.Now().Truncate(time.Microsecond)
	body := " {\"messageId\":\"m\u00e9 1\",\n" +
		"\"eventType\":\"t\",\"orderingKey\":\"k\",\"sequence\":7,\"raw\":\"\xff\xfe\"}\r\n"
	a := g.do(t, "POST", "/webhooks/default", strings.NewReader(body), "Authorization", "Bearer "+
		bearerKey,
		"X-Kept", "one", "x-kept", "two", "X-Not-Kept", "three").want(t, 202)
	hook := `{"repository":{"full_name":"a/b"}}`
	g.do(t, "POST", "/webhooks/github", strings.NewReader(hook), "X-Hub-Signature-256",
		hmacHex(githubSecret, hook),
		"X-GitHub-Delivery", "d-1", "X-GitHub-Event", "push", "X-Kept", "no",
		"Content-Type", "application/json; charset=utf-8").want(t, 202)
	got := q.deliveries()
	if len(got) != 2 {
		t.Fatalf("%d deliveries, want 2", len(got))
	}
	d, hub := got[0], got[1]
	if string(d.Body) != body || string(hub.Body) != hook {
		t.Errorf("bodies %q and %q, want them as sent", d.Body, hub.Body)
	}
	if d.Identity != (hookgate.Identity{Source: "default", EventType: "t", MessageID: "m\u00e9 1"}) ||
		d.OrderingKey != "k" || d.Sequence != 7 {
		t.Errorf("default: %v, key %q, sequence %d", d.Identity, d.OrderingKey, d.Sequence)
	}
	if hub.Identity != (hookgate.Identity{Source: "github", EventType: "push", MessageID: "d-1"}) ||
		hub.OrderingKey != "a/b" || hub.Sequence != hookgate.NoSequence {
		t.Errorf("github: %v, key %q, sequence %d", hub.Identity, hub.OrderingKey, hub.Sequence)
	}
	if want := []hookgate.Header{{Name: "X-Kept", Value: "one"},
		{Name: "X-Kept", Value: "two"}}; !slices.Equal(d.Headers, want) {
		t.Errorf("default keeps %v, want %v", d.Headers, want)
	}
	if want := []hookgate.Header{{Name: "Content-Type", Value: "application/json; charset=utf-8"},
		{Name: "X-Github-Delivery", Value: "d-1"}, {Name: "X-Github-Event", Value: "push"},
		{Name: "X-Hub-Signature-256", Value: hmacHex(githubSecret, hook)},
	}; !slices.Equal(hub.Headers, want) {
		t.Errorf("github keeps %v, want %v", hub.Headers, want)
	}
	if d.ReceivedAt != d.ReceivedAt.Truncate(time.Microsecond) || d.ReceivedAt.Before(before) ||
		d.ReceivedAt.After(time.Now()) {
		t.Errorf("ReceivedAt %v is not within the test", d.ReceivedAt)
	}
	if !strings.HasPrefix(d.RemoteAddr, "127.0.0.1:") {
		t.Errorf("RemoteAddr %q", d.RemoteAddr)
	}
	if id := a.header.Get("X-Request-Id"); d.RequestID.String() != id {
		t.Errorf("request %v was recorded as %v", id, d.RequestID)
	}
}

// TestSecretHeadersAreRefused configures headers that may hold a secret, in any spelling.
func TestSecretHeadersAreRefused(t *testing.T) {
	config := ingest.Config{Metrics: metrics.New(metrics.Config{}),
		Logger: slog.New(slog.DiscardHandler)}
	for _, name := range []string{"Authorization", "authorization", "COOKIE", "proxy-authorization"} {
		sources := testSources(t)
		sources[0].KeepHeaders = []string{"X-Fine", name}
		_, err := ingest.New(config, sources)
		if err == nil || !strings.Contains(err.Error(), http.CanonicalHeaderKey(name)) ||
			!strings.Contains(err.Error(), "default") {
			t.Errorf("%s: error %v, want one that names source and header", name, err)
		}
	}
	for name, source := range map[string]ingest.Source{
		"X-Partner-Key": {Scheme: newScheme(t, "api_key",
			admit.Options{Secrets: []string{hmacSecret}, Header: "x-partner-key",
				Places: admit.Places{MessageID: []admit.Place{{"sha256:body"}}}})},
		"X-Gitlab-Token": {Scheme: newScheme(t, "gitlab",
			admit.Options{Secrets: []string{hmacSecret, "whsec_" +
				base64.StdEncoding.EncodeToString([]byte(hmacSecret))}})},
		"X-Telegram-Bot-Api-Secret-Token": {Scheme: newScheme(t, "telegram",
			admit.Options{Secrets: []string{hmacSecret}})},
	} {
		source.Name, source.KeepHeaders = "partner", []string{strings.ToLower(name)}
		_, err := ingest.New(config, []ingest.Source{source})
		if err == nil || !strings.Contains(err.Error(), name) ||
			!strings.Contains(err.Error(), "partner") {
			t.Errorf("%s, which holds the secret of its source: error %v", name, err)
		}
	}
	if _, err := ingest.New(config, testSources(t)); err != nil {
		t.Errorf("sound sources: %v", err)
	}
}

package ingest

import (
	"bufio"
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/admit"
	"github.com/hookgate/hookgate/control"
	"github.com/hookgate/hookgate/guard"
	"github.com/hookgate/hookgate/internal/httpserver"
	"github.com/hookgate/hookgate/internal/metrics"
)

// These are the tests that need the inside of the handler. The tests of package adminapi send
// webhooks to a whole gate.

// nullQueue accepts everything and does nothing.
type nullQueue struct{ hookgate.Queue }

func (nullQueue) Append(context.Context, *hookgate.Request) (hookgate.Receipt, error) {
	return hookgate.Receipt{}, nil
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// newTestHandler returns a handler of a source "default", with the bearer key "bearer-key", and a
// source "github", with the secret "github-secret".
func newTestHandler(t testing.TB, bodyMemory int64, log io.Writer) *Handler {
	t.Helper()
	envelope, err := admit.New("envelope", admit.Options{BearerKeys: []string{"bearer-key"}})
	must(t, err)
	github, err := admit.New("github", admit.Options{Secrets: []string{"github-secret"}})
	must(t, err)
	h, err := New(Config{
		MaxBodyBytes: 1 << 20, RetryAfter: time.Second, Queue: nullQueue{},
		Mode:    func() control.Mode { return control.ModeNormal },
		Metrics: metrics.New(metrics.Config{}), Guard: guard.New(guard.Config{BodyMemory: bodyMemory}),
		Logger: slog.New(slog.NewJSONHandler(log, nil)),
	}, []Source{{Name: DefaultSource, Scheme: envelope}, {Name: "github", Scheme: github}})
	must(t, err)
	return h
}

// ServeHTTP implements http.Handler as the server does.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	now := time.Now()
	id := h.RequestID(r.URL.Path, now)
	h.ServeRequest(w, r, httpserver.Request{ID: id, IDText: id.String(), Received: now})
}

// TestLargeBuffersAreNotKept sends large bodies and checks the size of the buffers in the pool.
func TestLargeBuffersAreNotKept(t *testing.T) {
	h := newTestHandler(t, 64<<20, io.Discard)
	body := `{"messageId":"m","eventType":"t","pad":"` + strings.Repeat("p", 2*largeBody) + `"}`
	for range 20 {
		r := httptest.NewRequest(http.MethodPost, "/webhooks", strings.NewReader(body))
		r.Header.Set("Authorization", "Bearer bearer-key")
		w := httptest.NewRecorder()
		if h.ServeHTTP(w, r); w.Code != 202 {
			t.Fatalf("status %d", w.Code)
		}
		if x := h.exchanges.Get().(*exchange); cap(x.body) > largeBody {
			t.Errorf("a buffer of %d bytes is kept", cap(x.body))
		}
	}
}

// TestRejectionsAreLoggedWithinLimits rejects more requests than the log takes, and looks for the
// number of missing lines in the next line.
func TestRejectionsAreLoggedWithinLimits(t *testing.T) {
	log := &bytes.Buffer{}
	h := newTestHandler(t, 64<<20, log)
	send := func() {
		w := httptest.NewRecorder()
		if h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/webhooks", nil)); w.Code != 401 {
			t.Fatalf("status %d", w.Code)
		}
	}
	const rejected = 3 * rejectionBurst
	for range rejected {
		send()
	}
	text := log.String()
	lines := strings.Count(text, "webhook rejected")
	if lines >= rejected || lines < rejectionBurst {
		t.Fatalf("%d lines for %d rejections", lines, rejected)
	}
	for end := time.Now().Add(2 * time.Minute); log.Len() == len(text); time.Sleep(time.Millisecond) {
		if send(); time.Now().After(end) {
			t.Fatal("no line is logged any more")
		}
	}
	if last := strings.TrimPrefix(log.String(), text); !strings.Contains(last, `"suppressed":`) {
		t.Errorf("the next line is %s, want the number of those that are missing", last)
	}
}

// TestStrangersLeaveRoom: however much memory strangers hold, a sender that its header
// authenticates has room. A stranger whose body stalls loses its memory to one whose body arrives.
func TestStrangersLeaveRoom(t *testing.T) {
	const within = 2 * time.Minute
	h := newTestHandler(t, 32*firstRead, io.Discard)
	server := httptest.NewServer(h)
	defer server.Close()
	sign := func(secret, body string) string {
		mac := hmac.New(sha256.New, []byte(secret))
		mac.Write([]byte(body))
		return "sha256=" + hex.EncodeToString(mac.Sum(nil))
	}
	await := func(what string, done func() bool) {
		t.Helper()
		for end := time.Now().Add(within); !done(); time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%s: the bodies hold %d bytes", what, h.guard.Status().BodyMemory)
			}
		}
	}
	post := func(path, body string, header ...string) int {
		t.Helper()
		r, err := http.NewRequest(http.MethodPost, server.URL+path, strings.NewReader(body))
		must(t, err)
		for i := 0; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		resp, err := server.Client().Do(r)
		must(t, err)
		resp.Body.Close()
		return resp.StatusCode
	}
	const event = `{"id":"1"}`
	signed := func() int {
		return post("/webhooks/github", event, "X-Hub-Signature-256", sign("github-secret", event),
			"X-GitHub-Delivery", "d", "X-GitHub-Event", "push")
	}

	// Each body that stalls behind its first buffer holds twice its size.
	var stalled []net.Conn
	for i := range 12 {
		conn, err := net.Dial("tcp", server.Listener.Addr().String())
		must(t, err)
		defer conn.Close()
		fmt.Fprintf(conn, "POST /webhooks/github HTTP/1.1\r\nHost: gate\r\nX-Hub-Signature-256: %s\r\n"+
			"Content-Length: 100000\r\n\r\n%s", sign("another", ""), strings.Repeat("x", firstRead+1))
		stalled = append(stalled, conn)
		await("a body arrives", func() bool {
			return h.guard.Status().BodyMemory == int64(i+1)*2*firstRead
		})
	}
	h.slowBodies.Age(-time.Hour) // none of them is slow yet, however slow this test is
	if status := signed(); status != 503 {
		t.Errorf("a stranger without room is answered %d", status)
	}
	if status := post("/webhooks", `{"messageId":"m","eventType":"t"}`, "Authorization",
		"Bearer bearer-key"); status != 202 {
		t.Errorf("a sender that its header authenticates is answered %d", status)
	}

	h.slowBodies.Age(2 * time.Hour)
	signed() // makes room, perhaps too late for itself
	await("the slowest makes room",
		func() bool { return h.guard.Status().BodyMemory <= 11*2*firstRead })
	if status := signed(); status != 202 {
		t.Errorf("a stranger with room is answered %d", status)
	}
	answers := make(chan *http.Response, len(stalled))
	var reading sync.WaitGroup
	for _, conn := range stalled {
		reading.Go(func() {
			if answer, err := http.ReadResponse(bufio.NewReader(conn), nil); err == nil {
				answers <- answer
			}
		})
	}
	if answer := <-answers; answer.StatusCode != 503 || answer.Header.Get("Retry-After") == "" {
		t.Errorf("a body that was cut off is answered %s", answer.Status)
	}
	if left := h.guard.Status().BodyMemory; left < 8*2*firstRead {
		t.Errorf("the 12 bodies that stall hold %d bytes", left)
	}
	for _, conn := range stalled {
		conn.Close()
	}
	reading.Wait()
	await("all memory is given back", func() bool { return h.guard.Status().BodyMemory == 0 })
	if !h.guard.Bodies().ReserveForStranger(24*firstRead, false) {
		t.Error("strangers are still counted")
	}
}

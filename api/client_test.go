package api_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hookgate/hookgate/api"
	"github.com/hookgate/hookgate/control"
)

// answering returns a client of a server with this handler.
func answering(t *testing.T, handler http.HandlerFunc) *api.Client {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return &api.Client{URL: server.URL + "/", Token: "secret"}
}

func TestCallSendsTokenReasonAndApproval(t *testing.T) {
	var got *http.Request
	var body []byte
	c := answering(t, func(w http.ResponseWriter, r *http.Request) {
		got = r
		body, _ = io.ReadAll(r.Body)
		io.WriteString(w, `{"mode":"buffer","recorded":false}`)
	})
	answer, err := c.SetMode(t.Context(), control.ModeBuffer, api.WithReason("upgrade"),
		api.WithApproval("17"))
	if err != nil || answer.Mode != control.ModeBuffer || answer.Recorded == nil || *answer.Recorded {
		t.Fatalf("answer %+v, error %v", answer, err)
	}
	if string(body) != `{"mode":"buffer"}` || got.URL.Path != "/admin/maintenance" {
		t.Errorf("sent %s to %s", body, got.URL.Path)
	}
	for name, want := range map[string]string{"Authorization": "Bearer secret", "X-Reason": "upgrade",
		"X-Approval": "17", "Accept": "application/json", "Content-Type": "application/json"} {
		if got := got.Header.Get(name); got != want {
			t.Errorf("header %s is %q, not %q", name, got, want)
		}
	}
}

// The calls that are open to everyone must not give the token away.
func TestOpenCallsSendNoToken(t *testing.T) {
	c := answering(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" {
			t.Error("token was sent to", r.URL.Path)
		}
		io.WriteString(w, `{"status":"ok"}`)
	})
	_, live := c.Live(t.Context())
	_, ready := c.Ready(t.Context())
	_, health := c.Health(t.Context())
	if err := errors.Join(live, ready, health); err != nil {
		t.Error(err)
	}
}

func TestErrorAnswer(t *testing.T) {
	c := answering(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Request-Id", "r1")
		w.Header().Set("Retry-After", "7")
		w.WriteHeader(http.StatusServiceUnavailable)
		io.WriteString(w, `{"status":"error","error":"queue is full","requestId":"r1"}`)
	})
	_, err := c.Tokens(t.Context())
	var failed *api.Error
	if !errors.As(err, &failed) || failed.Status != 503 || failed.Message != "queue is full" ||
		failed.RequestID != "r1" || failed.RetryAfter != 7*time.Second {
		t.Errorf("error %+v", err)
	}
}

// A proxy in front of the gate answers with a page of its own.
func TestErrorAnswerOfAStranger(t *testing.T) {
	c := answering(t, func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, "<h1>Bad gateway</h1>", http.StatusBadGateway)
	})
	_, err := c.Tokens(t.Context())
	if err == nil || err.Error() != "the gate answers 502 Bad Gateway: <h1>Bad gateway</h1>" {
		t.Errorf("error %v", err)
	}
}

func TestURLWithPasswordIsNotRepeated(t *testing.T) {
	for _, url := range []string{"", "127.0.0.1:8080", "://u:hunter2@host"} {
		_, err := (&api.Client{URL: url}).Health(t.Context())
		if !errors.Is(err, api.ErrURL) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("URL %q: error %v", url, err)
		}
	}
}

func TestApprovalRequired(t *testing.T) {
	c := answering(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusAccepted)
		io.WriteString(w, `{"status":"approval_required","approval":{"id":"3","action":"dlq_purge"}}`)
	})
	_, err := c.PurgeDeadLetter(t.Context(), "1", true)
	var needed *api.ApprovalError
	if !errors.As(err, &needed) || needed.Approval.ID != "3" {
		t.Errorf("error %v", err)
	}
}

// After a failure in the middle, a retry of many says how far it came.
func TestRetryAnswerOfAnError(t *testing.T) {
	c := answering(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusServiceUnavailable)
		io.WriteString(w, `{"status":"error","error":"full","requestId":"r",`+
			`"retried":[{"id":"1"}],"skipped":[],"next":"1.5"}`)
	})
	answer, err := c.RetryDeadLetters(t.Context(), api.DeadLetterSelection{All: true})
	if err == nil || len(answer.Retried) != 1 || answer.Next != "1.5" {
		t.Errorf("answer %+v, error %v", answer, err)
	}
}

func TestStream(t *testing.T) {
	c := answering(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Accept") != "application/x-ndjson" ||
			r.URL.RawQuery != "limit=2&prefix=a%2Fb&tests=true" {
			t.Errorf("asked for %s with %s", r.Header.Get("Accept"), r.URL.RawQuery)
		}
		io.WriteString(w, "{\"id\":\"1\"}\n{\"id\":\"2\"}\n")
	})
	var ids []string
	query := api.EventQuery{Prefix: "a/b", Tests: true, Limit: 2}
	for e, err := range c.AllEvents(t.Context(), query) {
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, e.ID)
	}
	if !slices.Equal(ids, []string{"1", "2"}) {
		t.Error(ids)
	}
}

// A stream that breaks off must not look like a whole one.
func TestStreamThatBreaksOff(t *testing.T) {
	c := answering(t, func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "{\"id\":\"1\"}\n")
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	})
	var last error
	n := 0
	for _, err := range c.AllEvents(t.Context(), api.EventQuery{}) {
		last = err
		n++
	}
	if last == nil || n != 2 {
		t.Errorf("%d rows, then error %v", n, last)
	}
}

func TestStreamIsLeftEarly(t *testing.T) {
	ended := make(chan struct{})
	c := answering(t, func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "{\"id\":\"1\"}\n")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
		close(ended)
	})
	for range c.AllEvents(context.Background(), api.EventQuery{}) {
		break
	}
	<-ended // leaving the loop closed the connection
}

func TestPages(t *testing.T) {
	c := answering(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("after") == "" {
			io.WriteString(w, `{"approvals":[{"id":"1"},{"id":"2"}],"next":"2"}`)
			return
		}
		io.WriteString(w, `{"approvals":[{"id":"3"}]}`)
	})
	var ids []string
	for a, err := range c.Approvals(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, a.ID)
	}
	if !slices.Equal(ids, []string{"1", "2", "3"}) {
		t.Error(ids)
	}
}

func TestPathsAreEscaped(t *testing.T) {
	c := answering(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.EscapedPath() != "/api/trace/a%2Fb%20%3F" {
			t.Error(r.URL.EscapedPath())
		}
		io.WriteString(w, `{"messageId":"a/b ?","requests":[]}`)
	})
	if _, err := c.Trace(t.Context(), "a/b ?", ""); err != nil {
		t.Error(err)
	}
}

func TestTime(t *testing.T) {
	at := time.Date(2026, 11, 23, 13, 0, 0, 500_000_000, time.FixedZone("", 3600))
	text, err := json.Marshal(struct{ A, B any }{api.At(at), api.AtOrNull(time.Time{})})
	if err != nil || string(text) != `{"A":"2026-11-23T12:00:00.500000Z","B":null}` {
		t.Error(string(text), err)
	}
	var back api.Time
	if err := json.Unmarshal([]byte(`"2026-11-23T12:00:00.500000Z"`), &back); err != nil ||
		!back.Equal(at) {
		t.Error(back, err)
	}
}

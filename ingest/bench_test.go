package ingest

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/hookgate/hookgate/admit"
	"github.com/hookgate/hookgate/control"
	"github.com/hookgate/hookgate/guard"
	"github.com/hookgate/hookgate/internal/httpserver"
	"github.com/hookgate/hookgate/internal/metrics"
	"github.com/hookgate/hookgate/release/canary"
)

// nullWriter is an answer that is thrown away.
type nullWriter struct {
	header http.Header
	status int
}

func (w *nullWriter) Header() http.Header         { return w.header }
func (w *nullWriter) Write(p []byte) (int, error) { return len(p), nil }
func (w *nullWriter) WriteHeader(status int)      { w.status = status }

// benchmark hands one signed request of 500 bytes to a handler again and again.
func benchmark(b *testing.B, handler http.Handler) {
	b.Helper()
	body := `{"messageId":"message-0001","eventType":"sized","pad":"`
	body += strings.Repeat("p", 500-len(body)-2) + `"}`
	reader := bytes.NewReader([]byte(body))
	closer := io.NopCloser(reader)
	r := httptest.NewRequest(http.MethodPost, "/webhooks", closer)
	r.ContentLength = int64(len(body))
	r.Header.Set("Content-Type", "application/json")
	signature := hmac.New(sha256.New, []byte(benchSecret))
	signature.Write([]byte(body))
	r.Header.Set("X-Webhook-Signature", "sha256="+hex.EncodeToString(signature.Sum(nil)))
	w := &nullWriter{header: http.Header{}}
	b.ReportAllocs()
	for b.Loop() {
		reader.Seek(0, io.SeekStart)
		r.Body = closer // a canary puts another in its place
		clear(w.header)
		handler.ServeHTTP(w, r)
		if w.status != http.StatusAccepted {
			b.Fatalf("status %d", w.status)
		}
	}
}

// BenchmarkIngest is what the edge costs: everything but the connection and the queue.
func BenchmarkIngest(b *testing.B) { benchmark(b, benchServer(b, nil)) }

// BenchmarkShared is what it costs under a canary, for what is the gate's: at 100 percent, and at
// 99, where each delivery is looked at before.
func BenchmarkShared(b *testing.B) {
	for _, percent := range []int{100, 99} {
		b.Run(fmt.Sprint(percent), func(b *testing.B) {
			upstream := canary.Upstream{URL: &url.URL{Scheme: "http", Host: "127.0.0.1:1"},
				Timeout:        time.Second,
				MaxConnections: 1, Logger: slog.New(slog.DiscardHandler)}
			benchmark(b, benchServer(b, canary.New(canary.Config{Settings: neverSet{}, Percent: percent,
				Upstream: upstream, Logger: upstream.Logger})))
		})
	}
}

// neverSet is a canary that nobody has set.
type neverSet struct{ control.Settings }

func (neverSet) Canary() control.Canary { return control.Canary{} }

const benchSecret = "benchmark-secret"

func benchServer(b *testing.B, c *canary.Canary) http.Handler {
	b.Helper()
	scheme, err := admit.New("envelope", admit.Options{Secrets: []string{benchSecret}})
	must(b, err)
	log, counted := slog.New(slog.DiscardHandler), metrics.New(metrics.Config{})
	h, err := New(Config{
		MaxBodyBytes: 1 << 20, Queue: nullQueue{}, Metrics: counted, Canary: c, Logger: log,
		Mode:  func() control.Mode { return control.ModeNormal },
		Guard: guard.New(guard.Config{BodyMemory: 64 << 20}),
	}, []Source{{Name: DefaultSource, Scheme: scheme}})
	must(b, err)
	return httpserver.New(httpserver.Config{MaxHeaderBytes: 64 << 10, MaxHeaderMemory: 64 << 20,
		Metrics: counted, Logger: log}, httpserver.Handlers{Webhooks: h})
}

// BenchmarkBare is the least that a handler could do, written plainly: read, check, parse, answer.
func BenchmarkBare(b *testing.B) {
	benchmark(b, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		h := hmac.New(sha256.New, []byte(benchSecret))
		h.Write(body)
		if want := "sha256=" + hex.EncodeToString(h.Sum(nil)); !hmac.Equal([]byte(want),
			[]byte(r.Header.Get("X-Webhook-Signature"))) {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		var ids struct{ MessageID, EventType string }
		if err := json.Unmarshal(body, &ids); err != nil || ids.MessageID == "" || ids.EventType == "" {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusAccepted)
		io.WriteString(w, `{"status":"accepted"}`)
	}))
}

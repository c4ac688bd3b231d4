package adminapi

import (
	"bytes"
	"context"
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
	"testing"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/guard"
	"github.com/hookgate/hookgate/internal/httpserver"
	"github.com/hookgate/hookgate/internal/metrics"
	"github.com/hookgate/hookgate/release/canary"
)

// nullQueue accepts everything and does nothing.
type nullQueue struct{ hookgate.Queue }

func (nullQueue) Append(context.Context, *hookgate.Request) (hookgate.Receipt, error) {
	return hookgate.Receipt{}, nil
}

func (nullQueue) Stats(context.Context) (hookgate.QueueStats, error) {
	return hookgate.QueueStats{}, nil
}

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
	body := envelopeOf("message-0001", 500)
	reader := bytes.NewReader([]byte(body))
	closer := io.NopCloser(reader)
	r := httptest.NewRequest(http.MethodPost, "/webhooks", closer)
	r.ContentLength = int64(len(body))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("X-Webhook-Signature", hmacHex(hmacSecret, body))
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
			upstream := canary.Upstream{URL: &url.URL{Scheme: "http", Host: "127.0.0.1:1"}, Timeout: within,
				MaxConnections: 1, Logger: slog.New(slog.DiscardHandler)}
			benchmark(b, benchServer(b, canary.New(canary.Config{Settings: &memory{}, Percent: percent,
				Upstream: upstream, Logger: upstream.Logger})))
		})
	}
}

func benchServer(b *testing.B, share *canary.Canary) *httpserver.Server {
	b.Helper()
	c := testConfig(io.Discard)
	c.Logger = slog.New(slog.DiscardHandler)
	reader := &fakeReader{}
	s, _ := c.open(b, testSources(b), Parts{Queue: nullQueue{}, Reader: reader, Settings: &fakeMode{},
		Guard:   guard.New(guard.Config{BodyMemory: 64 << 20}),
		Metrics: metrics.New(metrics.Config{Queue: nullQueue{}.Stats, Store: reader.Counts}),
		Canary:  share})
	return s
}

// BenchmarkBare is the least that a handler could do, written plainly: read, check, parse, answer.
func BenchmarkBare(b *testing.B) {
	benchmark(b, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		h := hmac.New(sha256.New, []byte(hmacSecret))
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

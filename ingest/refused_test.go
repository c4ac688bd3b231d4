package ingest

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hookgate/hookgate/admit"
	"github.com/hookgate/hookgate/control"
	"github.com/hookgate/hookgate/guard"
	"github.com/hookgate/hookgate/internal/httpserver"
	"github.com/hookgate/hookgate/internal/metrics"
	"github.com/hookgate/hookgate/refused"
	"github.com/hookgate/hookgate/release/canary"
)

// noStore is a store of refused requests that is never called.
type noStore struct{ refused.Store }

func (noStore) SaveRefused(context.Context, []refused.Request, time.Time) error { return nil }

// lastSaved is a store of refused requests that has the last one.
type lastSaved struct {
	refused.Store
	last refused.Request
}

func (s *lastSaved) SaveRefused(_ context.Context, all []refused.Request, _ time.Time) error {
	if len(all) > 0 {
		s.last = all[len(all)-1]
	}
	return nil
}

// TestRefusedForgets: a refused request shows nothing of the request that had its buffers before,
// not even if it is refused before anything else is done, as a path with dots is during a canary.
func TestRefusedForgets(t *testing.T) {
	h := newTestHandler(t, 64<<20, io.Discard)
	h.config.Canary = canary.New(canary.Config{Settings: neverSet{}, Percent: 50,
		Upstream: canary.Upstream{URL: &url.URL{Scheme: "http", Host: "127.0.0.1:1"},
			Logger: slog.New(slog.DiscardHandler)}})
	s := &lastSaved{}
	recorder := refused.NewRecorder(s, slog.New(slog.DiscardHandler))
	h.unknown = recorder.Source()
	h.exchanges = sync.Pool{New: func() any { return &exchange{body: []byte("of another request")} }}
	w := httptest.NewRecorder()
	if h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/webhooks/../admin", nil)); w.Code != 404 {
		t.Fatalf("status %d", w.Code)
	}
	ended, end := context.WithCancel(t.Context())
	end()
	recorder.Run(ended)
	if s.last.Path != "/webhooks/../admin" || s.last.Size != 0 {
		t.Errorf("a request without a body is kept as %+v", s.last)
	}
}

// TestRefusedReason: a refused request has the reason by which its source counts it, so that the
// one leads to the other, however long it is.
func TestRefusedReason(t *testing.T) {
	h := newTestHandler(t, 64<<20, io.Discard)
	s := &lastSaved{}
	recorder := refused.NewRecorder(s, slog.New(slog.DiscardHandler))
	source := h.sources[webhookPath]
	source.refused = recorder.Source()
	r := httptest.NewRequest(http.MethodPost, webhookPath, http.NoBody)
	x := h.begin(httptest.NewRecorder(), r, httpserver.Request{Received: time.Now()})
	x.source = source
	h.reject(x, &rejection{status: http.StatusUnsupportedMediaType,
		text: "Content-Type is " + strings.Repeat("x", 300)})
	ended, end := context.WithCancel(t.Context())
	end()
	recorder.Run(ended)
	if all := source.rejections.all(); len(all) != 1 || all[0].Reason != s.last.Reason {
		t.Errorf("the source counts %+v, and the request has %q", all, s.last.Reason)
	}
}

// BenchmarkRefusal is the cost of a request with a wrong key, when refused requests are not kept
// and when the budget of their source is used up, as in a flood.
func BenchmarkRefusal(b *testing.B) {
	for name, recorder := range map[string]*refused.Recorder{"counted": nil,
		"flood": refused.NewRecorder(noStore{}, slog.New(slog.DiscardHandler))} {
		b.Run(name, func(b *testing.B) {
			scheme, err := admit.New("envelope", admit.Options{BearerKeys: []string{"the-right-key-of-all"}})
			must(b, err)
			log, counted := slog.New(slog.DiscardHandler), metrics.New(metrics.Config{})
			h, err := New(Config{MaxBodyBytes: 1 << 20, Queue: nullQueue{}, Metrics: counted, Logger: log,
				Mode: func() control.Mode { return control.ModeNormal }, Refused: recorder,
				Guard: guard.New(guard.Config{BodyMemory: 64 << 20})},
				[]Source{{Name: DefaultSource, Scheme: scheme}})
			must(b, err)
			server := httpserver.New(httpserver.Config{MaxHeaderBytes: 64 << 10, MaxHeaderMemory: 64 << 20,
				Metrics: counted, Logger: log}, httpserver.Handlers{Webhooks: h})
			r := httptest.NewRequest(http.MethodPost, "/webhooks", http.NoBody)
			r.Header.Set("Authorization", "Bearer a-wrong-key")
			w := &nullWriter{header: http.Header{}}
			b.ReportAllocs()
			for b.Loop() {
				clear(w.header)
				if server.ServeHTTP(w, r); w.status != http.StatusUnauthorized {
					b.Fatalf("status %d", w.status)
				}
			}
		})
	}
}

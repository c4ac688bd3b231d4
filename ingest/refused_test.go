package ingest

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/hookgate/hookgate/admit"
	"github.com/hookgate/hookgate/control"
	"github.com/hookgate/hookgate/guard"
	"github.com/hookgate/hookgate/internal/httpserver"
	"github.com/hookgate/hookgate/internal/metrics"
	"github.com/hookgate/hookgate/refused"
)

// noStore is a store of refused requests that is never called.
type noStore struct{ refused.Store }

func (noStore) SaveRefused(context.Context, []refused.Request, time.Time) error { return nil }

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

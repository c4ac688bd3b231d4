package ingest

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/admit"
	"github.com/hookgate/hookgate/control"
	"github.com/hookgate/hookgate/guard"
	"github.com/hookgate/hookgate/internal/httpserver"
	"github.com/hookgate/hookgate/internal/metrics"
)

// nullQueue accepts everything and does nothing.
type nullQueue struct{ hookgate.Queue }

func (nullQueue) Append(context.Context, *hookgate.Request) (hookgate.Receipt, error) {
	return hookgate.Receipt{}, nil
}

// TestLargeBuffersAreNotKept sends large bodies and looks at what the pool then has for the next
// delivery.
func TestLargeBuffersAreNotKept(t *testing.T) {
	scheme, err := admit.New("envelope", admit.Options{BearerKeys: []string{"bearer-key"}})
	if err != nil {
		t.Fatal(err)
	}
	h, err := New(Config{
		MaxBodyBytes: 1 << 20, Queue: nullQueue{},
		Mode:    func() control.Mode { return control.ModeNormal },
		Metrics: metrics.New(metrics.Config{}), Guard: guard.New(guard.Config{BodyMemory: 64 << 20}),
		Logger: slog.New(slog.DiscardHandler),
	}, []Source{{Name: DefaultSource, Scheme: scheme}})
	if err != nil {
		t.Fatal(err)
	}
	body := `{"messageId":"m","eventType":"t","pad":"` + strings.Repeat("p", 2*largeBody) + `"}`
	for range 20 {
		r := httptest.NewRequest(http.MethodPost, "/webhooks", strings.NewReader(body))
		r.Header.Set("Authorization", "Bearer bearer-key")
		w := httptest.NewRecorder()
		now := time.Now()
		id := h.RequestID("/webhooks", now)
		h.ServeRequest(w, r, httpserver.Request{ID: id, IDText: id.String(), Received: now})
		if w.Code != 202 {
			t.Fatalf("status %d", w.Code)
		}
		if x := h.exchanges.Get().(*exchange); cap(x.body) > largeBody {
			t.Errorf("a buffer of %d bytes is kept", cap(x.body))
		}
	}
}

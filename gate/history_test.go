package gate

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/api"
	"github.com/hookgate/hookgate/internal/datadir"
)

// askAdmin decodes the answer of a call with the admin token that the gate made.
func askAdmin(t *testing.T, g *Gate, path string, to any) {
	t.Helper()
	token, err := datadir.Dir(g.Options().DataDir).ReadKey(datadir.AdminToken)
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest(http.MethodGet, path, nil)
	r.Header.Set("Authorization", "Bearer "+token)
	w := httptest.NewRecorder()
	g.AdminHandler().ServeHTTP(w, r)
	if w.Code != http.StatusOK {
		t.Fatalf("GET %s is answered %d %s", path, w.Code, w.Body)
	}
	if err := json.Unmarshal(w.Body.Bytes(), to); err != nil {
		t.Fatal(err)
	}
}

// TestHistory: the traffic of a process is in the history at once, and after a restart.
func TestHistory(t *testing.T) {
	o := embedded(t)
	g, stop := running(t, o)
	event := `{"messageId":"a","eventType":"t"}`
	for _, body := range []string{event, event, `{}`} {
		send(t, g.Handler(), o, body)
	}
	w := httptest.NewRecorder()
	g.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/webhooks", nil))
	check := func(when string) {
		t.Helper()
		var all api.History
		askAdmin(t, g, "/api/history?kind=source", &all)
		if len(all.Series) != 1 || len(all.Series[0].Points) == 0 {
			t.Fatalf("%s the history is %+v", when, all)
		}
		got := all.Series[0].Total
		if got.Latency == nil || got.Latency.Count != 2 || got.Latency.P99 <= 0 {
			t.Errorf("%s the latency is %+v", when, got.Latency)
		}
		if got.Latency = nil; got != (api.HistoryCounts{Accepted: 2, Duplicates: 1, Unauthenticated: 1,
			Refused: 1}) {
			t.Errorf("%s the history has %+v", when, got)
		}
		var whole api.History
		if askAdmin(t, g, "/api/history?kind=gate", &whole); len(whole.Series) != 1 ||
			whole.Series[0].Total.Stored != 2 {
			t.Errorf("%s the gate stored %+v", when, whole.Series)
		}
	}
	check("before the restart")
	stop()
	if g, stop = running(t, o); !t.Failed() {
		check("after the restart")
	}
	stop()
}

// TestHistoryOfLastDelivery: an attempt that ends during the shutdown is in the history.
func TestHistoryOfLastDelivery(t *testing.T) {
	o := embedded(t)
	g, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	began, release := make(chan bool), make(chan bool)
	if err := g.Handle("slow", Filter{}, func(context.Context, *hookgate.Event) error {
		close(began)
		<-release
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	stop := run(t, g)
	sendIDs(t, g, "a")
	<-began
	time.AfterFunc(100*time.Millisecond, func() { close(release) }) // after the shutdown has begun
	stop()
	g, stop = running(t, o)
	defer stop()
	var all api.History
	askAdmin(t, g, "/api/history?kind=subscription", &all)
	if len(all.Series) != 1 || all.Series[0].Total.Delivered != 1 ||
		all.Series[0].Total.Attempts != 1 {
		t.Errorf("the history has %+v, want one delivery", all.Series)
	}
}

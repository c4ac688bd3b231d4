package gate

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/internal/datadir"
)

// embedded are the options of a gate that does not listen, in a folder of its own.
func embedded(t *testing.T) Options {
	o := DefaultOptions()
	o.Listen, o.DataDir, o.Version = "", filepath.Join(t.TempDir(), "data"), "v1.2.3"
	return o
}

// start opens a gate and runs it until the test ends, which also checks how it ended.
func start(t *testing.T, o Options) *Gate {
	t.Helper()
	g, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- g.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := errors.Join(<-ended, g.Close()); err != nil {
			t.Error(err)
		}
	})
	return g
}

// send sends a webhook to the default source with the bearer key that the gate made.
func send(t *testing.T, h http.Handler, o Options, body string) int {
	t.Helper()
	key, err := datadir.Dir(o.DataDir).ReadKey(datadir.BearerKey)
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest(http.MethodPost, "/webhooks", strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer "+key)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Code
}

// TestHandlers: Handler answers what senders need and nothing else; AdminHandler answers the rest.
// The caller's registry gets the metrics.
func TestHandlers(t *testing.T) {
	o := embedded(t)
	registry := prometheus.NewRegistry()
	o.Registerer = registry
	g := start(t, o)
	if status := send(t, g.Handler(), o, `{"messageId":"a","eventType":"t"}`); status != 202 {
		t.Errorf("the webhook is answered %d", status)
	}
	for _, test := range []struct {
		path          string
		public, admin int
	}{
		{"/readyz", 200, 404}, {"/livez", 200, 404}, {"/webhooks/nobody", 404, 404},
		{"/api/events", 404, 401}, {"/metrics", 404, 200}, {"/admin/maintenance", 404, 401},
		{"/api/health", 404, 200},
	} {
		for _, side := range []struct {
			name    string
			handler http.Handler
			want    int
		}{{"Handler", g.Handler(), test.public}, {"AdminHandler", g.AdminHandler(), test.admin}} {
			w := httptest.NewRecorder()
			side.handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, test.path, nil))
			if w.Code != side.want {
				t.Errorf("%s answers GET %s with %d, want %d", side.name, test.path, w.Code, side.want)
			}
		}
	}
	var ids []string
	for e, err := range g.Events().Events(t.Context(), hookgate.EventFilter{}) {
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, e.MessageID)
	}
	if len(ids) != 1 || ids[0] != "a" {
		t.Errorf("stored are %q, want a", ids)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() == "webhook_events_total" {
			return
		}
	}
	t.Errorf("the caller's registry has %d metrics, and not webhook_events_total", len(families))
}

// TestListeners: Run serves the addresses of the options, each with its own part, and Startup names
// them.
func TestListeners(t *testing.T) {
	o := embedded(t)
	o.Listen, o.Admin.Listen = "127.0.0.1:0", "127.0.0.1:0"
	s := start(t, o).Startup()
	if s.URL == s.AdminURL || len(s.KeysMade) != 3 || !s.OwnKeys || s.CanaryPercent != 100 ||
		!strings.Contains(s.Promise, "on disk (fsync)") {
		t.Errorf("the gate started with %+v", s)
	}
	for url, want := range map[string]int{s.URL + "/readyz": 200, s.URL + "/api/health": 404,
		s.AdminURL + "/api/health": 200, s.AdminURL + "/readyz": 404} {
		resp, err := http.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("GET %s is answered %s, want %d", url, resp.Status, want)
		}
	}
}

// TestOneGatePerFolder: a second gate cannot open the data directory; after Close it can, and finds
// the events of the first.
func TestOneGatePerFolder(t *testing.T) {
	o := embedded(t)
	first, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if status := send(t, first.Handler(), o, `{"messageId":"a","eventType":"t"}`); status != 202 {
		t.Errorf("the webhook is answered %d", status)
	}
	if second, err := Open(t.Context(), o); err == nil {
		second.Close()
		t.Error("two gates are open in one folder")
	} else if !strings.Contains(err.Error(), "in use by another hookgate") {
		t.Errorf("the second gate fails with %v", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	third := start(t, o)
	if counts, err := third.backends.reader.Counts(t.Context()); err != nil || counts.Events != 1 {
		t.Errorf("stored are %+v, %v", counts, err)
	}
}

// TestFailedOpen: an Open that fails after it has opened some parts closes them: the folder and the
// addresses are free again.
func TestFailedOpen(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	o := embedded(t)
	registry := prometheus.NewRegistry()
	o.Registerer = registry
	for _, fault := range []struct {
		names string
		do    func(*Options)
	}{
		{"admin.listen", func(o *Options) {
			o.Listen, o.Admin.Listen = "127.0.0.1:0",
				taken.Addr().String()
		}},
		{"retention.trail", func(o *Options) { o.Retention.Trail = time.Hour }},
		{"sources.github", func(o *Options) {
			o.Sources = map[string]SourceOptions{"github": {Kind: "github"}}
		}},
		{"evidence.public_keys", func(o *Options) { o.Evidence.PublicKeys = []string{"/no/such/file"} }},
		{"tls", func(o *Options) { o.TLS = TLSOptions{CertFile: "/no/cert", KeyFile: "/no/key"} }},
	} {
		broken := o
		fault.do(&broken)
		if g, err := Open(t.Context(), broken); err == nil {
			g.Close()
			t.Errorf("Open works with a broken %s", fault.names)
		} else if !strings.Contains(err.Error(), fault.names) {
			t.Errorf("the error %v does not name %s", err, fault.names)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	g, err := Open(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Close(); err != nil {
		t.Error(err)
	}
	if err := g.Close(); err != nil {
		t.Errorf("the second Close fails with %v", err)
	}
}

// TestRunOnce: a second Run returns an error and starts nothing.
func TestRunOnce(t *testing.T) {
	g := start(t, embedded(t))
	ran := func() bool {
		g.handlers.mu.Lock()
		defer g.handlers.mu.Unlock()
		return g.handlers.closed
	}
	for !ran() {
		runtime.Gosched()
	}
	if err := g.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "called before") {
		t.Errorf("the second Run returned %v", err)
	}
}

// TestListenerFails: if one of two listeners fails, Run returns its error and ends the other one.
func TestListenerFails(t *testing.T) {
	o := embedded(t)
	o.Listen, o.Admin.Listen = "127.0.0.1:0", "127.0.0.1:0"
	g, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	g.listeners.admin.Close()
	if err := g.Run(t.Context()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Run returned %v", err)
	}
	if c, err := net.Dial("tcp", addressOf(g.listeners.public)); err == nil {
		c.Close()
		t.Error("the other listener takes connections")
	}
}

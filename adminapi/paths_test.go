package adminapi

import (
	"bufio"
	"encoding/json"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/hookgate/hookgate/admit"
	"github.com/hookgate/hookgate/ingest"
	"github.com/hookgate/hookgate/internal/httpserver"
)

// TestHead: senders that check with HEAD whether there is an endpoint (Intercom, Mandrill) get 200
// without a body from every source, in maintenance too. Any other path answers HEAD like GET.
func TestHead(t *testing.T) {
	q, mode := &fakeQueue{}, &fakeMode{}
	g := newGate(t, func(s *setup) {
		s.queue, s.mode = q, mode
		s.sources = append(s.sources,
			ingest.Source{Name: "intercom", Scheme: newScheme(t, "intercom",
				admit.Options{Secrets: []string{hmacSecret}})},
			ingest.Source{Name: "dropbox", Scheme: newScheme(t, "dropbox",
				admit.Options{Secrets: []string{hmacSecret}})},
			ingest.Source{Name: "elsewhere", Scheme: newScheme(t, "dropbox",
				admit.Options{Secrets: []string{hmacSecret}}),
				AllowIPs: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}})
	})
	for _, readOnly := range []bool{false, true} {
		mode.readOnly.Store(readOnly)
		for path, status := range map[string]int{
			"/webhooks": 200, "/webhooks/": 200, "/webhooks/default": 200, "/webhooks/intercom": 200,
			"/webhooks/intercom/":           200,
			"/webhooks/dropbox?challenge=x": 200, "/webhooks/elsewhere": 403, "/webhooks/nobody": 404,
			"/webhooks/intercom/x": 404,
		} {
			a := g.do(t, "HEAD", path, nil).want(t, status)
			if len(a.body) > 0 || a.header.Get("X-Request-Id") == "" || status == 200 &&
				a.header.Get("Content-Type") != "" {
				t.Errorf("HEAD %s: %q with %v", path, a.body, a.header)
			}
		}
	}
	if a := g.do(t, "GET", "/webhooks/intercom", nil).want(t,
		405); a.header.Get("Allow") != "POST, HEAD" {
		t.Errorf("Allow is %q", a.header.Get("Allow"))
	}
	if n := len(q.deliveries()); n != 0 {
		t.Errorf("%d requests with HEAD became events", n)
	}
	for _, status := range []string{"200", "202"} {
		if n := g.scraped(t, `webhook_ingest_total{source="intercom",status="`+status+`"}`); n > 0 {
			t.Errorf("HEAD counts as a webhook of the source that was answered %s", status)
		}
	}
}

// TestTrailingSlash: a source has its path with and without a slash. The signed URL is the one that
// was called (Square, HubSpot, Twilio), whichever of the two is configured.
func TestTrailingSlash(t *testing.T) {
	const url = "https://hooks.example.com/webhooks/square"
	for _, configured := range []string{url, url + "/"} {
		q := &fakeQueue{}
		o := admit.Options{Secrets: []string{hmacSecret}, PublicURL: configured}
		g := newGate(t, func(s *setup) {
			s.queue = q
			s.sources = []ingest.Source{{Name: "square", Scheme: newScheme(t, "square", o)},
				{Name: "twilio", Scheme: newScheme(t, "twilio", o)}}
		})
		for _, c := range []struct {
			kind, signed, called string
			status               int
		}{
			{"square", url, "/webhooks/square", 202},
			{"square", url + "/", "/webhooks/square/", 202},
			{"square", url, "/webhooks/square//", 404},
			{"twilio", url, "/webhooks/twilio", 202},
			{"twilio", url + "/", "/webhooks/twilio/", 202},
			{"square", "https://hooks.example.com/webhooks/other", "/webhooks/square/", 401},
			{"twilio", "https://hooks.example.com/webhooks/other", "/webhooks/twilio/", 401},
		} {
			o := o
			o.PublicURL = c.signed
			r := &admit.Request{Method: http.MethodPost, Header: http.Header{},
				Body: []byte(`{"event_id":"` + c.called + `","type":"t"}`)}
			must(t, admit.Sign(c.kind, o, nil, r))
			headers := []string{"Content-Type", "application/json"}
			for name, values := range r.Header {
				headers = append(headers, name, values[0])
			}
			called := c.called
			if r.Query != "" {
				called += "?" + r.Query
			}
			if a := g.do(t, "POST", called, strings.NewReader(string(r.Body)),
				headers...); a.status != c.status {
				t.Errorf("public_url %s: %s signed for %s and sent to %s is answered %d %s, want %d",
					configured, c.kind, c.signed, c.called, a.status, a.body, c.status)
			}
		}
		if n := len(q.deliveries()); n != 4 {
			t.Errorf("%d events, want 4", n)
		}
	}
}

// TestStrayRequestsAreLogged: a request to a path of no source leaves a line that names the most
// similar source. The lines are bounded in length and number, and the answer reveals nothing.
func TestStrayRequestsAreLogged(t *testing.T) {
	g := newGate(t, func(s *setup) {
		s.sources = append(s.sources, ingest.Source{Name: "stripe", Scheme: newScheme(t, "stripe",
			admit.Options{Secrets: []string{"whsec_" + hmacSecret}})})
	})
	lines := func() (all []map[string]any) {
		for s := bufio.NewScanner(strings.NewReader(g.log.String())); s.Scan(); {
			var line map[string]any
			must(t, json.Unmarshal(s.Bytes(), &line))
			if line["msg"] == "request to a path that no source has" {
				all = append(all, line)
			}
		}
		return all
	}
	const all = "/webhooks, /webhooks/github, /webhooks/stripe"
	for i, c := range []struct {
		method, path     string
		status           int
		nearest, sources any
	}{
		{"POST", "/webhook/github", 404, "/webhooks/github", nil},
		{"POST", "//webhooks/github", 404, "/webhooks/github", nil},
		{"POST", "/Webhooks/GitHub", 404, "/webhooks/github", nil},
		{"POST", "/webhooks/githb", 404, "/webhooks/github", nil},
		{"POST", "/webhooks/github/x", 404, "/webhooks/github", nil},
		{"PUT", "/hooks/Stripe/", 404, "/webhooks/stripe", nil},
		{"GET", "/webhook", 404, "/webhooks", nil},
		{"POST", "/", 405, nil, all},
		{"POST", "/api/callback", 404, nil, all},
		{"POST", "/%0d%0alevel=ERROR%1b%5b2J%c2%9b%e2%80%ae" + strings.Repeat("%c3%a4", 5000), 404, nil,
			all},
	} {
		if body := string(g.do(t, c.method, c.path, strings.NewReader("{}")).want(t,
			c.status).body); strings.Contains(body, "github") || strings.Contains(body, "stripe") {
			t.Errorf("%s %s names a source: %s", c.method, c.path, body)
		}
		got := lines()
		if len(got) != i+1 {
			t.Fatalf("%d lines after %s %s, want %d", len(got), c.method, c.path, i+1)
		}
		line := got[i]
		if line["nearest"] != c.nearest || line["sources"] != c.sources || line["method"] != c.method {
			t.Errorf("%s %s: %v", c.method, c.path, line)
		}
		if path, _ := line["path"].(string); len(path) > 3*httpserver.MaxLogged ||
			strings.ContainsAny(path, "\r\n\x1b\u009b\u202e") {
			t.Errorf("%s %s is logged as %q", c.method, c.path, path)
		}
	}
	for range 100 {
		g.do(t, "POST", "/wp-login.php", nil).want(t, 404)
	}
	if n := len(lines()); n > 40 {
		t.Errorf("%d lines of 110 stray requests", n)
	}
}

// TestPingsAreNotStored: the test requests of WooCommerce and Bitbucket, which are not signed, get
// 200 and never reach the queue; similar requests get 401, however long they are.
func TestPingsAreNotStored(t *testing.T) {
	q := &fakeQueue{}
	g := newGate(t, func(s *setup) {
		s.queue = q
		s.sources = []ingest.Source{
			{Name: "woo", Scheme: newScheme(t, "woocommerce", admit.Options{Secrets: []string{hmacSecret}})},
			{Name: "bitbucket", Scheme: newScheme(t, "bitbucket",
				admit.Options{Secrets: []string{hmacSecret}})},
		}
	})
	const form, ping = "application/x-www-form-urlencoded", "diagnostics:ping"
	for _, c := range []struct {
		path, body string
		headers    []string
		status     int
	}{
		{"/webhooks/woo", "webhook_id=10", []string{"Content-Type", form}, 200},
		{"/webhooks/woo/", "webhook_id=10", []string{"Content-Type", form}, 200},
		{"/webhooks/woo", "webhook_id=10&a=b", []string{"Content-Type", form}, 401},
		{"/webhooks/woo", "webhook_id=" + strings.Repeat("1", 2<<20), []string{"Content-Type", form},
			401},
		{"/webhooks/woo", `{"id":1}`, []string{"Content-Type", "application/json"}, 401},
		{"/webhooks/bitbucket", `{"test": true}`, []string{"X-Event-Key", ping}, 200},
		{"/webhooks/bitbucket", `{"test": true, "repository": {"full_name": "a/b"}}`,
			[]string{"X-Event-Key", ping}, 401},
		{"/webhooks/bitbucket", `{"test": true}`, []string{"X-Event-Key", "repo:push"}, 401},
		{"/webhooks/bitbucket", `{"test": true}`, []string{"X-Event-Key", ping, "X-Hub-Signature",
			hmacHex("another", `{"test": true}`)}, 401},
		{"/webhooks/bitbucket", `{"test": true}`, []string{"X-Event-Key", ping, "X-Hub-Signature",
			hmacHex(hmacSecret, `{"test": true}`)}, 200},
	} {
		// the second without a length
		for _, body := range []io.Reader{strings.NewReader(c.body),
			io.MultiReader(strings.NewReader(c.body))} {
			if a := g.do(t, "POST", c.path, body, c.headers...); a.status != c.status || a.status == 200 &&
				len(a.body) > 0 {
				t.Errorf("POST %s %.60q %q: %d %s, want %d", c.path, c.body, c.headers, a.status, a.body,
					c.status)
			}
		}
	}
	if n := len(q.deliveries()); n != 0 {
		t.Errorf("%d pings became events", n)
	}
}

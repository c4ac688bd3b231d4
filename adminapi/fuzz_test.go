package adminapi

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hookgate/hookgate"
)

// FuzzParseFilter reads any query. A refusal must be a badParameter; what is accepted must be made
// of known parameters, each once and not empty, with a positive limit and times, and the filter
// must hold exactly what they say.
func FuzzParseFilter(f *testing.F) {
	for _, seed := range []string{
		"", "limit=10&after=5", "source=a&type=b&key=c&messageId=d&prefix=e",
		"from=2026-11-23T12:00:00Z&to=2026-11-23T12:00:00.5%2B01:00",
		"limit=0", "limit=+1", "limit=1&limit=2", "x=1", "source=", "a;b", "%zz", "&&&",
		"limit=9223372036854775808", "source=%ff%00",
		"order=newest&before=5", "order=stored&after=5&body=%00", "before=1", "order=up",
		"requestId=01a20b55-c078-7b8c-bf95-7665f4529acd", "requestId=%00",
	} {
		f.Add(seed)
	}
	known := []string{"source", "type", "key", "messageId", "prefix", "requestId", "body", "order",
		"before", "after", "from", "to", "limit"}
	f.Fuzz(func(t *testing.T, query string) {
		filter, err := parseEventQuery(query)
		if err != nil {
			var bad badParameter
			if !errors.As(err, &bad) || bad.name == "" || bad.reason == "" {
				t.Errorf("%q: error %#v", query, err)
			}
			return
		}
		values, err := url.ParseQuery(query)
		if err != nil {
			t.Fatalf("%q is accepted: %v", query, err)
		}
		for name, all := range values {
			if !slices.Contains(known, name) || len(all) != 1 || all[0] == "" {
				t.Errorf("%q: %s=%q is accepted", query, name, all)
			}
		}
		if filter.Limit < 0 || values.Has("limit") != (filter.Limit > 0) {
			t.Errorf("%q: limit %d", query, filter.Limit)
		}
		// The rest is compared with a filter made directly from the values.
		moment := func(name string) (at time.Time) {
			if values.Has(name) {
				var err error
				if at, err = time.Parse(time.RFC3339, values.Get(name)); err != nil {
					t.Errorf("%q: %s is accepted: %v", query, name, err)
				}
			}
			return at
		}
		want := hookgate.EventFilter{
			Source: values.Get("source"), EventType: values.Get("type"), OrderingKey: values.Get("key"),
			MessageID: values.Get("messageId"), MessageIDPrefix: values.Get("prefix"),
			BodyContains: values.Get("body"),
			After:        values.Get("after"), Limit: filter.Limit,
		}
		if values.Get("tests") != "true" && !values.Has("source") && !values.Has("messageId") &&
			!values.Has("prefix") && !values.Has("requestId") {
			want.ExceptSource = hookgate.TestSource
		}
		if values.Has("requestId") {
			if want.RequestID, err = hookgate.ParseRequestID(values.Get("requestId")); err != nil {
				t.Errorf("%q: requestId is accepted: %v", query, err)
			}
		}
		if filter.before != values.Get("before") || values.Has("order") &&
			filter.order != values.Get("order") ||
			filter.before != "" && (filter.order == oldestStored || filter.After != "") {
			t.Errorf("%q: order %q, before %q", query, filter.order, filter.before)
		}
		if from, to := moment("from"), moment("to"); !filter.From.Equal(from) || !filter.To.Equal(to) {
			t.Errorf("%q: from %v to %v, want %v and %v", query, filter.From, filter.To, from, to)
		}
		filter.From, filter.To = time.Time{}, time.Time{}
		if filter.EventFilter != want {
			t.Errorf("%q: filter %+v, want %+v", query, filter.EventFilter, want)
		}
	})
}

// FuzzPaths requests any path with any method and no token. Nothing may panic, only open calls may
// succeed, and every other answer must be a proper rejection.
func FuzzPaths(f *testing.F) {
	for _, r := range Routes() {
		f.Add(r.Method, r.Path)
	}
	for _, seed := range []string{"/", "//", "/api/events/%2F/body", "/api/events//body",
		"/api/trace/a%2Fb/c", "/debug/pprof/../..", "/admin/tokens/%zz", "/livez/",
		"/%6civez", "/ui/%63ontrol", "/ui", "/livez/..//livez"} {
		f.Add("GET", seed)
	}
	g := newGate(f, nil)
	f.Fuzz(func(t *testing.T, method, path string) {
		u, err := url.ParseRequestURI(path)
		if err != nil || !strings.HasPrefix(path, "/") || strings.HasPrefix(u.Path, "/webhooks") {
			return
		}
		w := httptest.NewRecorder()
		g.ServeHTTP(w, &http.Request{Method: method, URL: u, Header: http.Header{},
			RemoteAddr: "192.0.2.1:1", Body: http.NoBody})
		open := slices.Contains([]string{"/livez", "/readyz", "/metrics", "/api/health",
			"/api/openapi.yaml", signInPath}, u.Path)
		if page := u.Path == "/" || strings.HasPrefix(u.Path, pagePrefix); page &&
			w.Code != 200 {
			if signedOut := w.Code == 303 && u.Path == signOutPath; w.Code < 400 && !signedOut ||
				strings.HasPrefix(w.Body.String(), "{") {
				t.Errorf("%s %s gets %d, %s", method, path, w.Code, w.Body)
			}
			return
		}
		switch w.Code {
		case 200:
			if !open {
				t.Errorf("%s %s is answered to everyone", method, path)
			}
		case 401, 404, 405:
			if w.Code == 405 && w.Header().Get("Allow") == "" || w.Header().Get("X-Request-Id") == "" ||
				!strings.Contains(w.Body.String(), `"status":"error"`) {
				t.Errorf("%s %s is refused with %d, %v, %s", method, path, w.Code, w.Header(), w.Body)
			}
		default:
			t.Errorf("%s %s gets %d", method, path, w.Code)
		}
	})
}

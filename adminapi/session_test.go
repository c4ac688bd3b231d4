package adminapi

import (
	"bufio"
	"bytes"
	"context"
	"crypto/pbkdf2"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hookgate/hookgate/control"
	"github.com/hookgate/hookgate/evidence"
	"github.com/hookgate/hookgate/release/canary"
)

// form posts a form as a browser would, and returns the answer with its cookie.
func (g *gate) form(t *testing.T, path, fields string, header ...string) (*answer, *http.Cookie) {
	t.Helper()
	g.client.CheckRedirect = func(*http.Request,
		[]*http.Request) error {
		return http.ErrUseLastResponse
	}
	a := g.do(t, "POST", path, strings.NewReader(fields),
		append([]string{"Content-Type", "application/x-www-form-urlencoded"}, header...)...)
	for _, line := range a.header.Values("Set-Cookie") {
		cookie, err := http.ParseSetCookie(line)
		must(t, err)
		return a, cookie
	}
	return a, nil
}

// enter signs in and returns the header Cookie of the session, and what its pages send with
// changes.
func (g *gate) enter(t *testing.T, token string) (cookie, csrf string) {
	t.Helper()
	a, c := g.form(t, signInPath, "token="+url.QueryEscape(token))
	a.want(t, 303)
	cookie = c.Name + "=" + c.Value
	page := string(g.do(t, "GET", "/ui/sources", nil, "Cookie", cookie).want(t, 200).body)
	m := regexp.MustCompile(`<meta name="csrf" content="([^"]+)">`).FindStringSubmatch(page)
	if m == nil {
		t.Fatalf("the page has no token for changes:\n%s", page)
	}
	return cookie, m[1]
}

// TestSignIn: a token opens a session. Scripts cannot read its cookie, and other sites cannot send
// it. The next page is always one of this gate. An error page never contains the token.
func TestSignIn(t *testing.T) {
	g := newGate(t, nil)
	for next, want := range map[string]string{
		"/ui/sources?a=b": "/ui/sources?a=b", "": "/ui/", "/": "/ui/", "//evil.example/ui/": "/ui/",
		"https://evil.example/ui/": "/ui/", `/ui/\evil`: "/ui/",
		"/ui/sign-in?next=/ui/sign-in": "/ui/", "/admin/tokens": "/ui/",
		"/ui/x\r\nSet-Cookie: a=b": "/ui/",
	} {
		a, cookie := g.form(t, signInPath, url.Values{"token": {" " + adminToken + "\n"},
			"next": {next}}.Encode())
		if a.want(t, 303); a.header.Get("Location") != want {
			t.Errorf("next %q leads to %q, want %q", next, a.header.Get("Location"), want)
		}
		if !cookie.HttpOnly || cookie.SameSite != http.SameSiteStrictMode || cookie.Path != "/" ||
			cookie.Secure || cookie.Domain != "" || cookie.MaxAge != 36000 {
			t.Errorf("the cookie is %v", cookie)
		}
	}
	if _, cookie := g.form(t, signInPath, "token="+adminToken, "X-Forwarded-Proto",
		"https"); !cookie.Secure {
		t.Error("behind TLS the cookie is not for TLS alone")
	}
	for _, c := range []struct {
		fields string
		status int
		text   string
		header []string
	}{
		{"token=", 400, "Enter a token.", nil},
		{"token=guess-4711", 401, "is unknown", nil},
		{"token=" + control.NewTokenText(), 401, "is unknown", nil},
		{"%zz", 400, "could not be read", nil},
		{"token=" + adminToken, 403, "must come from a page of this gate", []string{"Sec-Fetch-Site",
			"cross-site"}},
		{"token=" + adminToken, 403, "must come from a page of this gate",
			[]string{"Origin", "https://evil.example"}},
	} {
		a, cookie := g.form(t, signInPath, c.fields, c.header...)
		if a.want(t, c.status); cookie != nil || !strings.Contains(string(a.body), c.text) ||
			strings.Contains(string(a.body), "guess-4711") {
			t.Errorf("%s: cookie %v, page\n%s", c.fields, cookie, a.body)
		}
	}
	if log := g.log.String(); strings.Contains(log, "guess-4711") ||
		strings.Contains(log, adminToken) {
		t.Error("the log has a token")
	}
}

// TestSignInIsLimited: the form counts failures as other calls do, so that it is no way around
// their limit. Sessions go on meanwhile: they are no guess.
func TestSignInIsLimited(t *testing.T) {
	g := newGate(t, func(s *setup) { s.config.FailedLogins = 3 })
	cookie, _ := g.enter(t, adminToken)
	for range 3 {
		a, _ := g.form(t, signInPath, "token=guess")
		a.want(t, 401)
	}
	a, made := g.form(t, signInPath, "token=guess")
	if a.want(t, 429); made != nil || a.header.Get("Retry-After") == "" {
		t.Errorf("blocked: cookie %v, header %v", made, a.header)
	}
	g.do(t, "GET", "/api/sources", nil, "Authorization", "Bearer guess").want(t, 429)
	g.do(t, "GET", "/api/sources", nil, "Authorization", "Bearer "+adminToken).want(t, 200)
	g.do(t, "GET", "/ui/", nil, "Cookie", cookie).want(t, 200)
	g.enter(t, adminToken)
}

// TestCookieIsNoOracle: who has a cookie must spend a slow computation on each guess at the admin
// token that it was made with. Method: neither the name nor the sealed content follows from the
// token by a hash of the usual speed, and nothing is derived for requests without a cookie of this
// gate.
func TestCookieIsNoOracle(t *testing.T) {
	const token = "a-token-of-16-or-more"
	s := newSessions([]string{token}, time.Hour, time.Hour)
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.AddCookie(&http.Cookie{Name: "another", Value: "x"})
	if _, ok := s.read(r, time.Now()); ok || s.keys != nil {
		t.Error("keys are derived for a request without a session")
	}
	w := httptest.NewRecorder()
	s.write(w, r, s.begin(control.HashToken(token), time.Now()))
	fast := derive([]byte(token), "cookie", 4)
	if name := w.Result().Cookies()[0].Name; name == canary.GateCookie+hex.EncodeToString(fast) {
		t.Error("the cookie's name follows from the token by a fast hash")
	}
	key, err := pbkdf2.Key(sha256.New, token, []byte("hookgate dashboard"), 600_000, 32)
	must(t, err)
	if !bytes.Equal(stretched(token), key) {
		t.Error("the key is not PBKDF2 of the token with 600,000 rounds:" +
			" processes of two releases share sessions")
	}
}

// TestSessionChanges: with a session a change takes what only a page of the gate knows, and no
// other site may cause it; the trail names the token. Without a session nothing of that matters.
func TestSessionChanges(t *testing.T) {
	g := newGate(t, nil)
	made := g.create(t, `{"name":"olga","role":"operator"}`)
	cookie, csrf := g.enter(t, made.Text)
	other, otherCSRF := g.enter(t, made.Text)
	if csrf == otherCSRF || cookie == other {
		t.Error("two sessions have the same secrets")
	}
	change := func(want int, header ...string) *answer {
		t.Helper()
		return g.do(t, "POST", "/admin/maintenance", strings.NewReader(`{"mode":"normal"}`),
			append(header, "Cookie", cookie)...).want(t, want)
	}
	change(200, csrfHeader, csrf, "X-Reason", "practice")
	change(200, csrfHeader, csrf, "Sec-Fetch-Site", "same-origin", "Origin", g.url)
	change(403)
	change(403, csrfHeader, otherCSRF)
	change(403, csrfHeader, csrf+"x")
	change(403, csrfHeader, csrf, "Sec-Fetch-Site", "cross-site")
	change(403, csrfHeader, csrf, "Sec-Fetch-Site", "same-site")
	change(403, csrfHeader, csrf, "Origin", "https://evil.example")
	change(200, "Authorization", "Bearer "+made.Text)
	change(401, "Authorization", "Bearer wrong") // the session does not make up for it
	g.do(t, "DELETE", "/admin/tokens/olga", nil, "Cookie", cookie, csrfHeader, csrf).want(t, 403)
	var by []string
	for _, row := range g.trail(t) {
		if row.Action == "maintenance" && row.Result == "done" {
			by = append(by, row.By+" "+row.Reason)
		}
	}
	if want := "olga practice,olga ,olga "; strings.Join(by, ",") != want {
		t.Errorf("the trail names %q, want %q", by, want)
	}

	// Signing out takes the form of a page, and ends the session but for no one else.
	if a, _ := g.form(t, signOutPath, "csrf=x", "Cookie", cookie); a.status != 403 {
		t.Errorf("signing out without the form's field got %d", a.status)
	}
	a, cleared := g.form(t, signOutPath, "csrf="+csrf, "Cookie", cookie)
	if a.want(t, 303); cleared == nil || cleared.MaxAge >= 0 || cleared.Value != "" {
		t.Errorf("the cookie afterwards is %v", cleared)
	}
	change(401, csrfHeader, csrf)
	g.do(t, "GET", "/ui/", nil, "Cookie", cookie).want(t, 401)
	g.do(t, "GET", "/ui/", nil, "Cookie", other).want(t, 200)

	// A token that is revoked takes its sessions with it.
	g.admin(t, "DELETE", "/admin/tokens/olga", "").want(t, 200)
	if page := string(g.do(t, "GET", "/ui/", nil, "Cookie", other).want(t,
		401).body); !strings.Contains(page, "was revoked at") {
		t.Errorf("the page does not say why:\n%s", page)
	}
}

// TestSessionOfOldToken: when a token is removed from the configuration, its sessions end. A
// browser that still has such a session is not blocked for guessing.
func TestSessionOfOldToken(t *testing.T) {
	g := newGate(t, func(s *setup) { s.config.FailedLogins = 2 })
	cookie, _ := g.enter(t, adminToken)
	g.configured = g.configured[:1] // the older one is left, with whose key the cookie is sealed
	for range 4 {
		if page := string(g.do(t, "GET", "/ui/", nil, "Cookie", cookie).want(t,
			401).body); !strings.Contains(page, "no longer valid for this gate") {
			t.Fatalf("the page does not say why:\n%s", page)
		}
	}
}

// TestSessionWithoutStore: while the store is away a token of the configuration works, also as a
// session; another is not taken for unknown.
func TestSessionWithoutStore(t *testing.T) {
	g := newGate(t, nil)
	made := g.create(t, `{"name":"wall","role":"viewer"}`)
	wall, _ := g.enter(t, made.Text)
	admin, _ := g.enter(t, adminToken)
	withFailures(g).away.Store(true)
	g.do(t, "GET", "/ui/sources", nil, "Cookie", wall).want(t, 503)
	r := httptest.NewRequest("GET", "/ui/live", nil)
	r.Header.Set("Cookie", wall)
	c := &call{ResponseWriter: newReply(), server: g.API, request: r,
		route: &route{Route: Route{Method: "GET", Path: "/ui/live", Role: control.RoleViewer}}}
	if !c.visitor().Renew(t.Context()) {
		t.Error("live numbers end because the store is away")
	}
	g.do(t, "GET", "/ui/sources", nil, "Cookie", admin).want(t, 200)
}

// plain is a request in the clear without a cookie.
var plain = httptest.NewRequest("GET", "/ui/", nil)

// carry returns a request with the cookie that was set.
func carry(w *httptest.ResponseRecorder) *http.Request {
	r := httptest.NewRequest("GET", "/ui/", nil)
	for _, c := range w.Result().Cookies() {
		r.AddCookie(c)
	}
	return r
}

// TestSecureCookie: over TLS, also at the first of several proxies, the cookie has the prefix with
// which browsers accept it from this host only. A cookie without the prefix is not accepted then.
func TestSecureCookie(t *testing.T) {
	g := newGate(t, nil)
	for _, proto := range []string{"https", "HTTPS", "https, http"} {
		if _, cookie := g.form(t, signInPath, "token="+adminToken, "X-Forwarded-Proto",
			proto); !cookie.Secure || !strings.HasPrefix(cookie.Name, "__Host-") {
			t.Errorf("%s: the cookie is %v", proto, cookie)
		}
	}
	if _, cookie := g.form(t, signInPath, "token="+adminToken, "X-Forwarded-Proto",
		"http, https"); cookie.Secure {
		t.Error("a cookie that the browser will not keep in the clear")
	}
	_, cookie := g.form(t, signInPath, "token="+adminToken, "X-Forwarded-Proto", "https")
	is := func(name string) string { return name + "=" + cookie.Value }
	bare := strings.TrimPrefix(cookie.Name, "__Host-")
	g.do(t, "GET", "/ui/sources", nil, "X-Forwarded-Proto", "https", "Cookie", is(cookie.Name)).want(t,
		200)
	g.do(t, "GET", "/ui/sources", nil, "X-Forwarded-Proto", "https", "Cookie", is(bare)+"; "+
		is(cookie.Name)).want(t, 200)
	g.do(t, "GET", "/ui/sources", nil, "X-Forwarded-Proto", "https", "Cookie", is(bare)).want(t, 401)
}

// TestPageByAnyAddress: a page takes its role however its address is written.
func TestPageByAnyAddress(t *testing.T) {
	g := newGate(t, nil)
	cookie, _ := g.enter(t, g.create(t, `{"name":"wall","role":"viewer"}`).Text)
	for _, path := range []string{"/ui/control", "/ui/%63ontrol", "/ui/contro%6C"} {
		if page := string(g.do(t, "GET", path, nil, "Cookie", cookie).want(t,
			403).body); !strings.Contains(page, "needs the role operator") {
			t.Errorf("%s: the page does not say why:\n%s", path, page)
		}
	}
	admin, _ := g.enter(t, adminToken)
	g.do(t, "GET", "/ui/%63ontrol", nil, "Cookie", admin).want(t, 200)
}

// TestSessions: a cookie holds for its times and its keys; nobody can make or change one.
func TestSessions(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	s := newSessions([]string{"new-token", "old-token"}, time.Hour, 10*time.Hour)
	n := s.begin(control.HashToken("a"), now)
	w := httptest.NewRecorder()
	s.write(w, plain, n)
	r := carry(w)
	if got, ok := s.read(r, now); !ok || got != n {
		t.Errorf("read %+v, %t; want %+v", got, ok, n)
	}
	if _, ok := s.read(r, now.Add(time.Hour)); !ok {
		t.Error("it ends before it was idle for too long")
	}
	if _, ok := s.read(r, now.Add(time.Hour+time.Second)); ok {
		t.Error("it goes on although it was idle for too long")
	}
	n.used = now.Add(10 * time.Hour)
	w = httptest.NewRecorder()
	s.write(w, r, n)
	if _, ok := s.read(carry(w), now.Add(10*time.Hour)); !ok {
		t.Error("it ends before its time")
	}
	if _, ok := s.read(carry(w), now.Add(10*time.Hour+time.Second)); ok {
		t.Error("it goes on for ever")
	}

	// Another process with the same tokens takes it, and one whose first token is new; a stranger does
	// not.
	w2 := httptest.NewRecorder()
	newSessions([]string{"old-token"}, time.Hour, 10*time.Hour).write(w2, plain, n)
	if got, ok := s.read(carry(w2), now); !ok || got.id != n.id {
		t.Error("after a token was put before it the session is over")
	}
	if !s.meant(plain, n, newSessions([]string{"old-token"}, time.Hour, time.Hour).csrf(n)) ||
		s.meant(plain, n, newSessions([]string{"strange"}, time.Hour, time.Hour).csrf(n)) {
		t.Error("a page from before cannot change anything, or a strange one can")
	}
	w3 := httptest.NewRecorder()
	s.clear(w3, carry(w2))
	if cleared := w3.Result().Cookies(); len(cleared) != 1 || cleared[0].Name != s.keys[1].name ||
		cleared[0].MaxAge >= 0 {
		t.Errorf("signing out then clears %v", cleared)
	}
	if _, ok := newSessions([]string{"new-token"}, time.Hour, 10*time.Hour).read(r, now); !ok {
		t.Error("another process does not take it")
	}
	old := newSessions([]string{"old-token"}, time.Hour, 10*time.Hour)
	w = httptest.NewRecorder()
	old.write(w, r, n)
	if _, ok := old.read(r, now); ok {
		t.Error("a cookie of another key is taken")
	}
	cookie, err := r.Cookie(s.keys[0].name)
	must(t, err)
	for i := range cookie.Value {
		changed := []byte(cookie.Value)
		if changed[i]++; changed[i] == '{' || changed[i] == '[' || changed[i] == ':' ||
			changed[i] == '.' || changed[i] == '`' {
			changed[i] = 'A'
		}
		r := httptest.NewRequest("GET", "/ui/", nil)
		r.AddCookie(&http.Cookie{Name: s.keys[0].name, Value: string(changed)})
		if _, ok := s.read(r, now); ok {
			t.Fatalf("a cookie that was changed at %d is taken", i)
		}
	}
	for i := range maxEnded + 10 {
		var id [16]byte
		copy(id[:], fmt.Sprint(i))
		s.end(session{id: id})
	}
	if len(s.ended) != maxEnded || len(s.order) != maxEnded {
		t.Errorf("%d and %d sessions that ended are remembered", len(s.ended), len(s.order))
	}
}

// TestSessionIsRenewed: while a session is used, its cookie is renewed once a minute.
func TestSessionIsRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &API{sessions: newSessions([]string{"token"}, time.Hour, 10*time.Hour),
			configured: newConfiguredTokens([]string{"token"})}
		w := httptest.NewRecorder()
		s.sessions.write(w, plain, s.sessions.begin(control.HashToken("token"), time.Now()))
		visit := func() *httptest.ResponseRecorder {
			w2 := httptest.NewRecorder()
			c := &call{ResponseWriter: w2, server: s, request: carry(w), route: &routes[0]}
			if _, found, err := c.bySession(); !found || err != nil {
				t.Fatalf("found %t, error %v", found, err)
			}
			return w2
		}
		time.Sleep(renewAfter - time.Second)
		if set := visit().Header().Get("Set-Cookie"); set != "" {
			t.Errorf("after less than a minute it is written: %s", set)
		}
		time.Sleep(30 * time.Minute)
		if w = visit(); w.Header().Get("Set-Cookie") == "" {
			t.Fatal("it is not written")
		}
		time.Sleep(50 * time.Minute) // more than an hour after it began
		visit()
	})
}

// stream opens the stream of live numbers and returns its lines.
func (g *gate) stream(t *testing.T, ctx context.Context, cookie string) (*http.Response,
	*bufio.Scanner) {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, "GET", g.url+"/ui/live", nil)
	must(t, err)
	req.Header.Set("Cookie", cookie)
	resp, err := (&http.Client{Transport: g.client.Transport}).Do(req)
	must(t, err)
	t.Cleanup(func() { resp.Body.Close() })
	return resp, bufio.NewScanner(resp.Body)
}

// TestLiveStreams: there are only so many at a time, one that ends makes room, and Shutdown ends
// them all at once.
func TestLiveStreams(t *testing.T) {
	g := newGate(t, nil)
	cookie, _ := g.enter(t, adminToken)
	ctx, leave := context.WithCancel(t.Context())
	first, lines := g.stream(t, ctx, cookie)
	for _, want := range []string{"event: history", "data: [", "", "event: state", "data: {"} {
		if !lines.Scan() || !strings.HasPrefix(lines.Text(), want) {
			t.Fatalf("the stream says %q, want %q", lines.Text(), want)
		}
	}
	if kind := first.Header.Get("Content-Type"); kind != "text/event-stream" {
		t.Errorf("its type is %q", kind)
	}
	second, _ := g.stream(t, t.Context(), cookie)
	if third, _ := g.stream(t, t.Context(), cookie); second.StatusCode != 200 ||
		third.StatusCode != 503 || third.Header.Get("Retry-After") == "" {
		t.Errorf("the second gets %d, the third %d", second.StatusCode, third.StatusCode)
	}
	leave()
	for end := time.Now().Add(within); ; time.Sleep(time.Millisecond) {
		if next, _ := g.stream(t, t.Context(), cookie); next.StatusCode == 200 {
			break
		} else if time.Now().After(end) {
			t.Fatal("one that has ended makes no room")
		}
	}
	g.do(t, "HEAD", "/ui/live", nil, "Cookie", cookie) // ends at once, whether there is room or not
	began := time.Now()
	must(t, g.Shutdown(t.Context()))
	if took := time.Since(began); took > within/2 {
		t.Errorf("shutting down took %v", took)
	}
}

// TestPagesAreGuarded: every page has the policy, is not cached, and contains no credential.
func TestPagesAreGuarded(t *testing.T) {
	depot, err := evidence.OpenDepot(t.TempDir(), evidence.Limits{Bundle: 1 << 20, Total: 1 << 30,
		Bundles: 10}, nil)
	must(t, err)
	g := newGate(t, func(s *setup) { s.intake = depot })
	cookie, _ := g.enter(t, adminToken)
	for _, path := range []string{"/ui/", "/ui/sources", "/ui/evidence", "/ui/control", "/ui/none",
		"/ui/sign-in", "/ui/evidence/none/report"} {
		for _, header := range [][]string{{"Cookie", cookie}, nil} {
			a := g.do(t, "GET", path, nil, header...)
			policy := a.header.Get("Content-Security-Policy")
			if !strings.HasPrefix(policy, "default-src 'none'; script-src 'self'; style-src 'self'") &&
				a.status != 303 || strings.Contains(policy, "unsafe") {
				t.Errorf("%s: the policy is %q", path, policy)
			}
			if a.header.Get("Cache-Control") != "no-store" ||
				a.header.Get("X-Content-Type-Options") != "nosniff" && a.status != 303 {
				t.Errorf("%s: the header is %v", path, a.header)
			}
			for _, secret := range []string{adminToken, bearerKey, hmacSecret, githubSecret} {
				if strings.Contains(string(a.body), secret) {
					t.Errorf("%s holds a secret", path)
				}
			}
		}
	}
}

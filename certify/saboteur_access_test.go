package certify

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/load"
)

// accessFaults are those of who may do what.
type accessFaults struct {
	// signed and keyed replace the comparison of a signature and of a bearer key.
	signed func(got, want string) bool
	keyed  func(got string) bool
	// unsigned takes webhooks without any credential.
	unsigned     bool
	takesRefused bool // answers 401 and stores it all the same
	refusal      int  // the status instead of 401
	// duplicatesFirst answers what it has before it checks the credential.
	duplicatesFirst bool
	// role changes the role that a caller gets.
	role func(r *http.Request, role string) string
	// keepsRevoked lets revoked tokens work.
	keepsRevoked bool
	// wellFormedFirst checks the role only for bodies that it cannot use.
	wellFormedFirst bool
	// unbound lets a consumer pull from any subscription.
	unbound bool
}

// refusal is the status of a webhook that is not authentic.
func (g *gate) refusal(body []byte) int {
	f := &g.faults.access
	var m struct{ MessageID, EventType string }
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case f.duplicatesFirst && json.Unmarshal(body, &m) == nil &&
		g.claims[m.EventType+"/"+m.MessageID] != nil:
		return http.StatusAccepted
	case f.refusal != 0:
		return f.refusal
	}
	return http.StatusUnauthorized
}

// authentic checks the credential of a webhook.
func (g *gate) authentic(r *http.Request, body []byte) bool {
	f := &g.faults.access
	authorization, signed := r.Header.Get("Authorization"), r.Header.Values(signatureHeader)
	if key, ok := strings.CutPrefix(authorization, "Bearer "); ok {
		if f.keyed != nil && f.keyed(key) {
			return true
		}
		return key == gateKey
	}
	if len(signed) == 0 {
		return f.unsigned && authorization == ""
	}
	mac := hmac.New(sha256.New, []byte(gateSecret))
	mac.Write(body)
	want := "sha256=" + hex.EncodeToString(mac.Sum(nil))
	if f.signed != nil && f.signed(signed[0], want) {
		return true
	}
	return signed[0] == want
}

// roleOf is the role of a caller. A token has the name of its role, and the number of the one that
// made it.
func (g *gate) roleOf(r *http.Request) string {
	token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	role, _, made := strings.Cut(token, " of ")
	g.mu.Lock()
	if made && g.revoked[token] && !g.faults.access.keepsRevoked {
		role = ""
	}
	g.mu.Unlock()
	if f := g.faults.access.role; f != nil {
		role = f(r, role)
	}
	return role
}

// tokens makes and revokes tokens.
func (g *gate) tokens(w http.ResponseWriter, r *http.Request, may bool) {
	var wanted struct{ Name, Role string }
	usable := r.Method == http.MethodPost && json.NewDecoder(r.Body).Decode(&wanted) == nil &&
		wanted.Role != ""
	may = may || usable && g.faults.access.wellFormedFirst
	switch {
	case !may:
		w.WriteHeader(http.StatusForbidden)
	case r.Method == http.MethodDelete:
		g.mu.Lock()
		defer g.mu.Unlock()
		name := strings.TrimPrefix(r.URL.Path, "/admin/tokens/")
		for _, role := range madeRoles {
			g.revoked[role+" of "+name] = true
		}
	case !usable:
		w.WriteHeader(http.StatusBadRequest)
	default:
		w.WriteHeader(http.StatusCreated)
		fmt.Fprintf(w, `{"token":%q}`, wanted.Role+" of "+wanted.Name)
	}
}

// consumer answers a consumer; false if the call is not for consumers alone.
func (g *gate) consumer(w http.ResponseWriter, r *http.Request) bool {
	switch path := r.URL.Path; {
	case path == "/api/events/stream":
		w.Header().Set("Content-Type", "text/event-stream")
	case strings.HasPrefix(path, "/api/subscriptions/cert-") && strings.HasSuffix(path,
		"-absent/pull") || g.faults.access.unbound &&
		strings.HasPrefix(path, "/api/subscriptions/"):
		w.WriteHeader(http.StatusNotFound)
	default:
		w.WriteHeader(http.StatusForbidden)
	}
	return true
}

// accessRules are those of a few calls more.
var accessRules = append([]Rule{
	{"GET", "/api/events", "/api/events?limit=1", "", map[string]int{consuming: 403}},
	{"GET", "/api/events/stream", "/api/events/stream?wait=0s", "", map[string]int{nobody: 401,
		sender: 401, consuming: 200, "viewer": 200, "operator": 200, admin: 200}},
	{"POST", "/api/subscriptions/{name}/pull", "/api/subscriptions/none/pull", "{}",
		map[string]int{nobody: 401, sender: 401, consuming: 404, admin: 404}},
}, testRules...)

// certifyAccess certifies a gate of which only the access matters.
func certifyAccess(t *testing.T, target string, c load.Credentials,
	streamTimeout time.Duration) Verdict {
	t.Helper()
	p := testProfile()
	phase := p.Phases[Smoke]
	phase.Events, phase.Keys = 60, 10
	p.Phases[Smoke] = phase
	v, err := Run(t.Context(), Options{Target: target, Token: gateToken, Credentials: c, Profile: p,
		Phases: []string{Smoke}, Dir: filepath.Join(t.TempDir(), "evidence"), Version: "test",
		Rules: accessRules, streamTimeout: streamTimeout})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// Goal: a gate that lets in a caller whom it must refuse fails for that alone. Method: a saboteur
// for each way to compare a credential wrongly, and for each caller who gets too far.
func TestSaboteursOfAccess(t *testing.T) {
	// as gives a role to callers that have none.
	as := func(role string, who func(*http.Request) bool) func(*http.Request, string) string {
		return func(r *http.Request, had string) string {
			if who(r) {
				return role
			}
			return had
		}
	}
	keyed := func(r *http.Request) bool { return r.Header.Get("Authorization") == "Bearer "+gateKey }
	isSigned := func(r *http.Request) bool { return len(r.Header.Values(signatureHeader)) > 0 }
	both := load.Credentials{HMACSecret: gateSecret, BearerKey: gateKey}
	signing := load.Credentials{HMACSecret: gateSecret}
	tried := few{}
	for _, test := range []struct {
		name        string
		faults      accessFaults
		credentials load.Credentials
		fail        string
	}{
		{name: "honest"},
		{name: "honest, signatures only", credentials: signing},
		{name: "honest, keys only", credentials: load.Credentials{BearerKey: gateKey}},
		{name: "takes any signature", faults: accessFaults{
			signed: func(got, want string) bool { return len(got) == len(want) }}, fail: "credentials"},
		{name: "takes an empty signature", faults: accessFaults{
			signed: func(got, _ string) bool { return got == "" }}, fail: "credentials"},
		{name: "compares the beginning of a signature", faults: accessFaults{
			signed: func(got, want string) bool { return len(got) > 20 && strings.HasPrefix(want, got) }},
			fail: "credentials"},
		{name: "compares half of a signature", faults: accessFaults{
			signed: func(got, want string) bool {
				return len(got) == len(want) && got[:40] == want[:40]
			}}, fail: "credentials"},
		{name: "does not sign the body", faults: accessFaults{signed: func(got, _ string) bool {
			return got == signing.Sign(nil)
		}}, fail: "credentials"},
		{name: "takes webhooks without a credential", faults: accessFaults{unsigned: true},
			fail: "credentials"},
		{name: "compares the beginning of a key", faults: accessFaults{keyed: func(got string) bool {
			return got != "" && strings.HasPrefix(gateKey, got)
		}}, fail: "credentials"},
		{name: "compares a key in any case", faults: accessFaults{keyed: func(got string) bool {
			return strings.EqualFold(gateKey, got)
		}}, fail: "credentials"},
		{name: "takes any key", faults: accessFaults{keyed: func(got string) bool { return true }},
			fail: "credentials"},
		{name: "answers duplicates to anyone", faults: accessFaults{duplicatesFirst: true},
			fail: "credentials"},
		{name: "stores what it refuses", faults: accessFaults{takesRefused: true}, fail: "credentials"},
		{name: "refuses with another status", faults: accessFaults{refusal: http.StatusForbidden},
			fail: "credentials"},
		{name: "lets a sender's key read", faults: accessFaults{role: as("viewer", keyed)},
			fail: "roles"},
		{name: "lets a sender's key follow the stream", faults: accessFaults{
			role: as("viewer", func(r *http.Request) bool {
				return keyed(r) && strings.HasSuffix(r.URL.Path, "/stream")
			})}, fail: "roles"},
		{name: "lets a sender's signature read", credentials: signing,
			faults: accessFaults{role: as("viewer", isSigned)}, fail: "roles"},
		{name: "lets a consumer read", faults: accessFaults{
			role: func(r *http.Request, role string) string {
				if role == consuming && r.URL.Path == "/api/events" {
					return "viewer"
				}
				return role
			}}, fail: "roles"},
		{name: "lets a consumer pull from another subscription", faults: accessFaults{unbound: true},
			fail: "roles"},
		{name: "lets a viewer do what is well-formed", faults: accessFaults{wellFormedFirst: true},
			fail: "roles"},
		{name: "takes revoked tokens", faults: accessFaults{keepsRevoked: true}, fail: "roles"},
	} {
		t.Run(test.name, func(t *testing.T) {
			tried.skip(t, test.fail)
			t.Parallel()
			if test.credentials == (load.Credentials{}) {
				test.credentials = both
			}
			v := certifyAccess(t, newGate(t, faults{access: test.faults}).URL, test.credentials, 0)
			want, fail := Pass, []string(nil)
			if test.fail != "" {
				want, fail = Fail, []string{test.fail}
			}
			if ids, text := faulty(v); v.Status != want || !slices.Equal(ids, fail) {
				t.Errorf("%s by %q, want %s by %q\n%s", v.Status, ids, want, fail, text)
			}
		})
	}
}

// Goal: an honest gate behind a proxy that answers some calls itself does not fail: what could not
// be tried is INVALID, and the note says why. Method: a proxy for each way.
func TestHonestGateBehindAProxy(t *testing.T) {
	page := func(w http.ResponseWriter, status int) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.WriteHeader(status)
		fmt.Fprint(w, "<h1>This is a proxy</h1>")
	}
	at := func(path string, answer http.HandlerFunc) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool {
			if strings.HasPrefix(r.URL.Path, path) {
				answer(w, r)
				return true
			}
			return false
		}
	}
	for _, test := range []struct {
		name    string
		answers func(http.ResponseWriter, *http.Request) bool
		invalid string
		note    string
	}{
		{name: "passes everything on", answers: at("/nothing", nil)},
		{name: "buffers server-sent events", answers: at("/api/events/stream",
			func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }),
			invalid: "roles", note: "buffers server-sent events"},
		{name: "answers 502", answers: at("/admin/tokens", func(w http.ResponseWriter,
			r *http.Request) {
			page(w, http.StatusBadGateway)
		}), invalid: "roles", note: "502"},
		{name: "limits the rate", answers: at("/api/subscriptions", func(w http.ResponseWriter,
			r *http.Request) {
			w.WriteHeader(http.StatusTooManyRequests)
		}), invalid: "roles", note: "429"},
		{name: "has a page of its own for a refusal", answers: at("/api/subscriptions",
			func(w http.ResponseWriter, r *http.Request) { page(w, http.StatusForbidden) }),
			invalid: "roles", note: "HTML"},
		{name: "has a page of its own for wrong webhooks", answers: func(w http.ResponseWriter,
			r *http.Request) bool {
			if r.URL.Path != webhookPath+"/"+hookgate.TestSource || r.Header.Get(signatureHeader) != "" {
				return false
			}
			page(w, http.StatusForbidden)
			return true
		}, invalid: "credentials", note: "HTML"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			g := newGate(t, faults{})
			target, err := url.Parse(g.URL)
			if err != nil {
				t.Fatal(err)
			}
			pass := httputil.NewSingleHostReverseProxy(target)
			between := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if !test.answers(w, r) {
					pass.ServeHTTP(w, r)
				}
			}))
			t.Cleanup(between.Close)
			wait := time.Duration(0)
			if strings.Contains(test.note, "server-sent") { // it never ends
				wait = time.Second
			}
			v := certifyAccess(t, between.URL, load.Credentials{HMACSecret: gateSecret}, wait)
			ids, text := faulty(v)
			if want := test.invalid; want == "" && v.Status != Pass || want != "" && (v.Status != Invalid ||
				!slices.Equal(ids, []string{want}) || !strings.Contains(text, test.note)) {
				t.Errorf("%s by %q, want INVALID by %q\n%s", v.Status, ids, want, text)
			}
		})
	}
}

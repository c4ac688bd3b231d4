package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/httpd"
)

// TestMatrix is who may do what, tried against the real binary: every row of the matrix with every kind of caller. A route
// without a row, and a row without a route, fail.
func TestMatrix(t *testing.T) {
	rows := map[string]bool{}
	for _, rule := range httpd.Matrix {
		rows[rule.Method+" "+rule.Path] = true
	}
	for _, r := range httpd.Routes() {
		if !rows[r.Method+" "+r.Path] {
			t.Errorf("%s %s has no row in the matrix", r.Method, r.Path)
		}
		delete(rows, r.Method+" "+r.Path)
	}
	if len(rows) != 2 || !rows["POST /webhooks"] || !rows["POST /webhooks/{source}"] {
		t.Errorf("rows without a route: %v", rows)
	}

	g := startGate(t, startOptions{env: []string{"HOOKGATE_ADMIN_FAILED_LOGINS=100000"}})
	revoked := g.newToken("revoked", hookgate.RoleAdmin, "")
	g.mustRequest(200, http.MethodDelete, "/admin/tokens/revoked", "")
	expires := time.Now().Add(2 * time.Second)
	expired := g.newToken("expired", hookgate.RoleAdmin, expires.UTC().Format(time.RFC3339Nano))
	credentials := []struct {
		name   string
		caller httpd.Caller
		header string
	}{
		{"no token", httpd.Nobody, ""},
		{"garbage", httpd.Nobody, "Bearer garbage"},
		{"token of another gate", httpd.Nobody, "Bearer " + hookgate.NewTokenText()},
		{"revoked token", httpd.Nobody, "Bearer " + revoked},
		{"webhook key", httpd.Sender, "Bearer " + g.key(bearerKeyName)},
		{"viewer", httpd.Viewer, "Bearer " + g.newToken("a-viewer", hookgate.RoleViewer, "")},
		{"operator", httpd.Operator, "Bearer " + g.newToken("an-operator", hookgate.RoleOperator, "")},
		{"admin", httpd.Admin, "Bearer " + g.newToken("an-admin", hookgate.RoleAdmin, "")},
		{"configured admin", httpd.Admin, "Bearer " + g.key(adminTokenName)},
		{"expired token", httpd.Nobody, "Bearer " + expired},
	}
	g.await("the token expires", func() bool { return time.Now().After(expires) })
	for _, c := range credentials {
		for _, rule := range httpd.Matrix {
			status, body := g.request(rule.Method, rule.Probe, rule.Body, "Authorization", c.header, "Content-Type", "application/json")
			if want := rule.Status[c.caller]; status != want {
				t.Errorf("%s: %s %s got %d, want %d: %.200s", c.name, rule.Method, rule.Probe, status, want, body)
			}
		}
	}
	// The probes have changed nothing.
	if h := g.health(); h.Mode != "normal" {
		t.Errorf("the mode is %s", h.Mode)
	}
	for _, a := range g.trail() {
		if !strings.HasPrefix(a.Action, "token_") || a.By != "configured" {
			t.Errorf("a probe did something: %+v", a)
		}
	}
}

// mustRequest is request with the configured admin token and the status that it must get.
func (g *gate) mustRequest(want int, method, path, body string, header ...string) string {
	g.t.Helper()
	status, answer := g.request(method, path, body, header...)
	if status != want {
		g.t.Fatalf("%s %s got %d, want %d: %s", method, path, status, want, answer)
	}
	return answer
}

// newToken makes a token, which expires at a time in RFC 3339 unless that is empty.
func (g *gate) newToken(name string, role hookgate.Role, expires string) string {
	g.t.Helper()
	body := fmt.Sprintf(`{"name":%q,"role":%q}`, name, role)
	if expires != "" {
		body = fmt.Sprintf(`{"name":%q,"role":%q,"expiresAt":%q}`, name, role, expires)
	}
	var answer tokenAnswer
	if err := json.Unmarshal([]byte(g.mustRequest(201, http.MethodPost, "/admin/tokens", body)), &answer); err != nil || !hookgate.IsTokenText(answer.Token) {
		g.t.Fatalf("a new token is %+v (error %v)", answer, err)
	}
	return answer.Token
}

// trail reads the admin trail.
func (g *gate) trail() []action {
	g.t.Helper()
	var answer struct{ Actions []action }
	if err := json.Unmarshal([]byte(g.mustRequest(200, http.MethodGet, "/admin/actions?limit=1000", "")), &answer); err != nil {
		g.t.Fatal(err)
	}
	return answer.Actions
}

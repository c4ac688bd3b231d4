package adminapi

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hookgate/hookgate/api"
	"github.com/hookgate/hookgate/control"
)

// failingAccess is a real Access whose store goes away when the test says so.
type failingAccess struct {
	Access
	away atomic.Bool
	// records is how many actions can still be recorded; negative: without end.
	records atomic.Int64
}

func (f *failingAccess) Token(ctx context.Context, hash [32]byte) (control.Token, error) {
	if f.away.Load() {
		return control.Token{}, errInjected
	}
	return f.Access.Token(ctx, hash)
}

func (f *failingAccess) RecordAction(ctx context.Context, a control.AdminAction) error {
	if f.records.Add(-1) == -1 {
		f.records.Store(0)
		return errInjected
	}
	return f.Access.RecordAction(ctx, a)
}

// withFailures lets the store of a gate's tokens and trail fail.
func withFailures(g *gate) *failingAccess {
	f := &failingAccess{Access: g.access}
	f.records.Store(-1000)
	g.API.access = f
	return f
}

// create makes a token over the API.
func (g *gate) create(t *testing.T, body string) api.NewToken {
	t.Helper()
	var made api.NewToken
	must(t, json.Unmarshal(g.admin(t, "POST", "/admin/tokens", body).want(t, 201).body, &made))
	return made
}

// trail reads the admin trail.
func (g *gate) trail(t *testing.T) []api.Action {
	t.Helper()
	var page api.Actions
	must(t, json.Unmarshal(g.admin(t, "GET", "/admin/actions?limit=1000", "").want(t, 200).body,
		&page))
	return page.Actions
}

// TestTokens makes, lists, uses and revokes tokens.
func TestTokens(t *testing.T) {
	g := newGate(t, nil)
	expires := time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
	made := g.create(t, fmt.Sprintf(`{"name":"alice","role":"operator","expiresAt":%q}`, expires))
	if !control.IsTokenText(made.Text) || made.Name != "alice" || made.Role != "operator" ||
		made.CreatedBy != "configured-2" || made.ExpiresAt == nil {
		t.Fatalf("made %+v", made)
	}
	bearer := "Bearer " + made.Text
	g.do(t, "POST", "/admin/maintenance", strings.NewReader(`{"mode":"normal"}`), "Authorization",
		bearer, "X-Reason", "practice: ü").want(t, 200)
	a := g.do(t, "GET", "/admin/tokens", nil, "Authorization", bearer).want(t, 403)
	if told := a.errorText(t); !strings.Contains(told, "alice") ||
		!strings.Contains(told, "operator") ||
		!strings.Contains(told, "admin") {
		t.Errorf("told %q", told)
	}
	list := string(g.admin(t, "GET", "/admin/tokens", "").want(t, 200).body)
	if !strings.Contains(list, `"name":"alice"`) || !strings.Contains(list, `"revokedAt":null`) ||
		strings.Contains(list, made.Text) {
		t.Errorf("the list is %s", list)
	}
	g.admin(t, "POST", "/admin/tokens", `{"name":"alice","role":"viewer"}`).want(t, 409)
	for range 2 {
		g.admin(t, "DELETE", "/admin/tokens/alice", "", "X-Reason", "has left").want(t, 200)
		a := g.do(t, "GET", "/admin/maintenance", nil, "Authorization", bearer).want(t, 401)
		if told := a.errorText(t); !strings.Contains(told, "revoked") {
			t.Errorf("told %q", told)
		}
	}
	g.admin(t, "DELETE", "/admin/tokens/nobody", "").want(t, 404)
	g.admin(t, "POST", "/admin/tokens", `{"name":"alice","role":"viewer"}`).want(t, 409)

	var got []string
	for _, row := range g.trail(t) {
		got = append(got, fmt.Sprintf("%s %s %s %s|%s|%s", row.By, row.Role, row.Action, row.Target,
			row.Result, row.Reason))
	}
	const target = "alice (operator) until "
	want := []string{
		"configured-2 admin token_create " + target + expires + "|begun|",
		"configured-2 admin token_create " + target + expires + "|done|",
		"alice operator maintenance normal|begun|practice: ü",
		"alice operator maintenance normal|done|practice: ü",
		"configured-2 admin token_create alice (viewer)|begun|",
		"configured-2 admin token_create alice (viewer)|failed: the name is taken|",
		"configured-2 admin token_revoke alice|begun|has left",
		"configured-2 admin token_revoke alice|done|has left",
		"configured-2 admin token_revoke alice|begun|has left",
		"configured-2 admin token_revoke alice|done|has left",
		"configured-2 admin token_revoke nobody|begun|",
		"configured-2 admin token_revoke nobody|failed: there is no such token|",
		"configured-2 admin token_create alice (viewer)|begun|",
		"configured-2 admin token_create alice (viewer)|failed: the name is taken|",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("the trail is\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if strings.Contains(g.log.String(), made.Text) {
		t.Error("the log has the text of a token")
	}
}

// TestTokenExpires: a token works before its time and not from then on.
func TestTokenExpires(t *testing.T) {
	g := newGate(t, nil)
	expires := time.Now().Add(time.Hour).Truncate(time.Microsecond)
	text := control.NewTokenText()
	must(t, g.access.CreateToken(t.Context(), control.Token{Name: "a", Role: control.RoleViewer,
		Hash:      control.HashToken(text),
		CreatedAt: time.Now(), ExpiresAt: expires}))
	if who, err := g.findHash(t.Context(), control.HashToken(text), expires.Add(-1)); err != nil ||
		who.name != "a" || who.role != control.RoleViewer {
		t.Errorf("before: %+v (error %v)", who, err)
	}
	if who, err := g.findHash(t.Context(), control.HashToken(text), expires); err == nil ||
		!strings.Contains(err.Error(), "expired") {
		t.Errorf("at the time: %+v (error %v)", who, err)
	}
}

// TestBadTokens: what is no token to be made is refused and leaves nothing behind.
func TestBadTokens(t *testing.T) {
	g := newGate(t, nil)
	for _, body := range []string{
		``, `{}`, `{"name":"a"}`, `{"role":"viewer"}`, `{"name":"","role":"viewer"}`,
		`{"name":"a","role":"root"}`, `{"name":"a","role":""}`,
		`{"name":"-a","role":"viewer"}`, `{"name":"a b","role":"viewer"}`,
		`{"name":"a/b","role":"viewer"}`, `{"name":"ä","role":"viewer"}`,
		`{"name":"configured","role":"viewer"}`, `{"name":"configured-7","role":"viewer"}`, `{"name":"` +
			strings.Repeat("a", 65) + `","role":"viewer"}`,
		`{"name":"a","role":"viewer","expiresAt":"tomorrow"}`,
		`{"name":"a","role":"viewer","expiresAt":"2020-01-01T00:00:00Z"}`,
		`{"name":"a","role":"viewer","expires":"2099-01-01T00:00:00Z"}`,
		`{"name":"a","role":"viewer","expiresAt":null}`, `{"NAME":"a","role":"viewer"}`,
	} {
		checkRefusal(t, g.admin(t, "POST", "/admin/tokens", body).want(t, 400))
	}
	long := strings.Repeat("x", maxReason+1)
	for _, reason := range []string{long, "\xff"} {
		checkRefusal(t, g.admin(t, "POST", "/admin/tokens", `{"name":"a","role":"viewer"}`, "X-Reason",
			reason).want(t, 400))
	}
	if list := string(g.admin(t, "GET", "/admin/tokens", "").body); list != `{"tokens":[]}`+"\n" {
		t.Errorf("the list is %s", list)
	}
	if rows := g.trail(t); len(rows) != 0 {
		t.Errorf("the trail has %+v", rows)
	}
	g.create(t, `{"name":"`+strings.Repeat("a", 64)+`","role":"viewer"}`)
}

// TestStoreAway: while tokens cannot be looked up, a stored one gets 503, because it may be valid.
// Configured tokens keep working, and a text that has not the form of a token gets 401 as before.
func TestStoreAway(t *testing.T) {
	g := newGate(t, nil)
	text := g.create(t, `{"name":"alice","role":"viewer"}`).Text
	withFailures(g).away.Store(true)
	a := g.do(t, "GET", "/admin/maintenance", nil, "Authorization", "Bearer "+text).want(t, 503)
	checkRefusal(t, a)
	g.do(t, "GET", "/admin/maintenance", nil, "Authorization", "Bearer guess").want(t, 401)
	g.do(t, "GET", "/admin/maintenance", nil, "Authorization", "Bearer hgt_guess").want(t, 401)
	g.admin(t, "GET", "/admin/maintenance", "").want(t, 200)
}

// TestTrailAway: if the admin trail cannot be written before an action, the action is not done. If
// it cannot be written after the action, the call is not answered as done. The modes buffer and
// read_only are set all the same.
func TestTrailAway(t *testing.T) {
	g := newGate(t, nil)
	f := withFailures(g)
	for _, call := range []struct{ method, path, body string }{
		{"POST", "/admin/maintenance", `{"mode":"normal"}`}, {"POST", "/admin/tokens",
			`{"name":"a","role":"admin"}`}, {"DELETE", "/admin/tokens/a", ""},
	} {
		f.records.Store(0)
		a := g.admin(t, call.method, call.path, call.body).want(t, 503)
		checkRefusal(t, a)
		if told := a.errorText(t); !strings.Contains(told, "admin trail") {
			t.Errorf("%s %s: told %q", call.method, call.path, told)
		}
		f.records.Store(1) // the row before it is written, and the one after it is not
		if a := g.admin(t, call.method, call.path, call.body).want(t,
			503); !strings.Contains(a.errorText(t),
			"the action was ") {
			t.Errorf("%s %s: told %q", call.method, call.path, a.errorText(t))
		}
	}
	f.records.Store(-1000)
	if all, err := g.access.Tokens(t.Context()); err != nil || len(all) != 1 ||
		all[0].RevokedAt.IsZero() {
		t.Errorf("the tokens are %+v (error %v)", all, err)
	}
	for _, records := range []int64{0, 1} {
		f.records.Store(records)
		if a := g.admin(t, "POST", "/admin/maintenance", `{"mode":"read_only"}`).want(t,
			200); string(a.body) != `{"mode":"read_only","recorded":false}`+"\n" {
			t.Errorf("answer %s", a.body)
		}
		if !strings.Contains(g.log.String(), "but the admin trail could not be written") {
			t.Error("the log does not say that read_only is not recorded")
		}
		f.records.Store(-1000)
		g.admin(t, "POST", "/admin/maintenance", `{"mode":"normal"}`).want(t, 200)
	}
}

// TestUnrecordedActionPanics: a handler that answers that it has done something, and has not
// written it into the trail, is found out.
func TestUnrecordedActionPanics(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("nothing happened")
		}
	}()
	c := &call{route: &route{Route: Route{Path: "/admin/x", Action: "x"}}}
	c.WriteHeader(200)
}

// TestActionPages: a listing of the trail by pages is the trail.
func TestActionPages(t *testing.T) {
	g := newGate(t, nil)
	for range 3 {
		g.admin(t, "POST", "/admin/maintenance", `{"mode":"normal"}`).want(t, 200)
	}
	var all []api.Action
	for after := "0"; after != ""; {
		var page api.Actions
		must(t, json.Unmarshal(g.admin(t, "GET", "/admin/actions?limit=4&after="+after, "").want(t,
			200).body, &page))
		all, after = append(all, page.Actions...), page.Next
	}
	whole := g.trail(t)
	if len(all) != 6 || fmt.Sprint(all) != fmt.Sprint(whole) {
		t.Errorf("by pages\n%+v, as a whole\n%+v", all, whole)
	}
	for i, row := range all {
		if row.Sequence != int64(i+1) || row.RequestID != all[i/2*2].RequestID || len(row.Hash) != 64 {
			t.Errorf("row %d is %+v", i, row)
		}
	}
	for _, query := range []string{"after=-1", "after=x", "after=", "limit=0", "limit=1001", "limit=x",
		"before=1", "after=1&after=2", "a=%zz"} {
		checkRefusal(t, g.admin(t, "GET", "/admin/actions?"+query, "").want(t, 400))
	}
}

// TestConfiguredNames: the trail distinguishes the configured tokens.
func TestConfiguredNames(t *testing.T) {
	one, two := newConfiguredTokens([]string{"first"}),
		newConfiguredTokens([]string{"first", "second"})
	for _, c := range []struct {
		tokens     configuredTokens
		text, want string
	}{{one, "first", "configured"}, {two, "first", "configured-1"}, {two, "second", "configured-2"},
		{two, "third", ""}, {nil, "", ""}} {
		if name, ok := c.tokens.find(control.HashToken(c.text)); name != c.want || ok != (c.want != "") {
			t.Errorf("%q of %d tokens is %q (%t), want %q", c.text, len(c.tokens), name, ok, c.want)
		}
	}
}

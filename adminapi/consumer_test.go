package adminapi

import (
	"net/url"
	"slices"
	"strings"
	"testing"
)

// TestConsumerTokens: a token with the role consumer names its subscriptions, and no other token
// does. It may read nothing and cannot sign in.
func TestConsumerTokens(t *testing.T) {
	g := newGate(t, nil)
	for _, body := range []string{
		`{"name":"a","role":"consumer"}`, `{"name":"a","role":"consumer","subscriptions":[]}`,
		`{"name":"a","role":"consumer","subscriptions":["A"]}`,
		`{"name":"a","role":"consumer","subscriptions":["a","a"]}`,
		`{"name":"a","role":"consumer","subscriptions":["a b"]}`,
		`{"name":"a","role":"consumer","subscriptions":[""]}`,
		`{"name":"a","role":"consumer","subscriptions":"billing"}`,
		`{"name":"a","role":"consumer","subscriptions":[` + strings.Repeat(`"a",`, maxBound) + `"b"]}`,
		`{"name":"a","role":"operator","subscriptions":["billing"]}`,
	} {
		checkRefusal(t, g.admin(t, "POST", "/admin/tokens", body).want(t, 400))
	}
	made := g.create(t, `{"name":"app","role":"consumer","subscriptions":["billing","ware_house-2"]}`)
	if !slices.Equal(made.Subscriptions, []string{"billing", "ware_house-2"}) {
		t.Errorf("made %+v", made)
	}
	list := string(g.admin(t, "GET", "/admin/tokens", "").want(t, 200).body)
	if !strings.Contains(list, `"role":"consumer","subscriptions":["billing","ware_house-2"]`) {
		t.Errorf("the list is %s", list)
	}
	if row := g.trail(t)[0]; row.Target != "app (consumer of billing, ware_house-2)" {
		t.Errorf("the trail has %+v", row)
	}
	for _, path := range []string{"/api/events", "/api/subscriptions", "/api/subscriptions/billing",
		"/ui/", "/admin/tokens"} {
		g.do(t, "GET", path, nil, "Authorization", "Bearer "+made.Text).want(t, 403)
	}
	form := url.Values{"token": {made.Text}}.Encode()
	a := g.do(t, "POST", signInPath, strings.NewReader(form), "Content-Type",
		"application/x-www-form-urlencoded").want(t, 403)
	if !strings.Contains(string(a.body), "cannot sign in") || a.header.Get("Set-Cookie") != "" {
		t.Errorf("the answer to the sign-in is %v %s", a.header, a.body)
	}
}

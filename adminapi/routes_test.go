package adminapi

import (
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/hookgate/hookgate/control"
	"github.com/hookgate/hookgate/internal/httpserver"
)

// TestRoutesFit checks which paths fit a pattern, and that the mux never answers by itself: a path
// that is only similar is not redirected, but gets 404.
func TestRoutesFit(t *testing.T) {
	for _, c := range []struct {
		pattern, path string
		fits          bool
		value         string // of the parameter
	}{
		{"/a/b", "/a/b", true, ""},
		{"/a/b", "/a/b/", false, ""},
		{"/a/b", "/a", false, ""},
		{"/a/b", "/a/b/c", false, ""},
		{"/a/b", "//a/b", false, ""},
		{"/a/b", "/x/../a/b", false, ""},
		{"/a/b", "/a/%62", true, ""},
		{"/a/b", "/a%2Fb", false, ""},
		{"/a/{x}", "/a/1", true, "1"},
		{"/a/{x}", "/a/1%2F2%20", true, "1/2 "},
		{"/a/{x}", "/a/%2E%2E", true, ".."},
		{"/a/{x}", "/a/", false, ""},
		{"/a/{x}", "/a/1/2", false, ""},
		{"/a/{x}/b", "/a/1/b", true, "1"},
		{"/a/{x}/b", "/a//b", false, ""},
		{"/a/{x...}", "/a/1/2%2F3", true, "1/2/3"},
		{"/a/{x...}", "/a/", true, ""},
		{"/a/{x...}", "/a", false, ""},
	} {
		g := newGate(t, func(s *setup) { s.queue, s.reader = &fakeQueue{}, &fakeReader{} })
		handled, value := false, ""
		g.API.muxes[httpserver.Everything] = newMux([]route{{Route{"GET", c.pattern, anyone, ""},
			func(_ *API, c *call) { handled, value = true, c.parameter("x") }}}, httpserver.Everything)
		w := httptest.NewRecorder()
		g.ServeHTTP(w, httptest.NewRequest("GET", c.path, nil))
		if handled != c.fits || value != c.value {
			t.Errorf("%s fits %s: %t with %q, want %t with %q", c.path, c.pattern, handled, value, c.fits,
				c.value)
		}
		if !handled && (w.Code != 404 || w.Header().Get("Location") != "" ||
			!strings.Contains(w.Body.String(), `"status":"error"`)) {
			t.Errorf("%s, which does not fit %s, gets %d %v %s", c.path, c.pattern, w.Code, w.Header(),
				w.Body)
		}
	}
}

// TestRoutesTable finds rows that could not work: a change that everyone or a viewer may make, and
// one that would not be in the admin trail. (The mux panics if two rows conflict.)
func TestRoutesTable(t *testing.T) {
	for _, r := range routes {
		if r.Role.Covers(control.RoleNone) == false {
			t.Errorf("%s %s: role %q is none", r.Method, r.Path, r.Role)
		}
		session := r.Path == signInPath || r.Path == signOutPath // changes nothing of the gate
		consumes := r.Role == control.RoleConsumer               // too often for the trail
		if changes := r.Method != "GET" && !session && !consumes; changes != (r.Action != "") {
			t.Errorf("%s %s: action is %q", r.Method, r.Path, r.Action)
		}
		if r.Action != "" && !r.Role.Covers(control.RoleOperator) {
			t.Errorf("%s %s changes something, and role %q may call it", r.Method, r.Path, r.Role)
		}
	}
}

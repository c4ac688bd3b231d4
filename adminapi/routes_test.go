package adminapi

import (
	"strings"
	"testing"

	"github.com/hookgate/hookgate/control"
)

// TestRoutesFit holds the matcher to what the paths of the table may look like.
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
		{"/a/b", "/a/%62", false, ""},
		{"/a/{x}", "/a/1", true, "1"},
		{"/a/{x}", "/a/1%2F2%20", true, "1/2 "},
		{"/a/{x}", "/a/%zz", true, ""},
		{"/a/{x}", "/a/", false, ""},
		{"/a/{x}", "/a/1/2", false, ""},
		{"/a/{x}/b", "/a/1/b", true, "1"},
		{"/a/{x}/b", "/a//b", false, ""},
		{"/a/{x...}", "/a/1/2%2F3", true, "1/2/3"},
		{"/a/{x...}", "/a/", true, ""},
		{"/a/{x...}", "/a", false, ""},
	} {
		segments := strings.Split(c.path, "/")
		r := route{Route: Route{Path: c.pattern}, segments: strings.Split(c.pattern, "/")}
		if got := r.fits(segments); got != c.fits {
			t.Errorf("%s fits %s: %t, want %t", c.path, c.pattern, got, c.fits)
		} else if call := (&call{route: &r, segments: segments}); got && strings.Contains(c.pattern,
			"{") {
			if value := call.parameter("x"); value != c.value {
				t.Errorf("%s as %s: parameter is %q, want %q", c.path, c.pattern, value, c.value)
			}
		}
	}
}

// TestRoutesTable finds rows that could not work: one that an earlier one hides, a change that
// everyone or a viewer may make, and one that would not be in the admin trail.
func TestRoutesTable(t *testing.T) {
	for i, r := range routes {
		if r.Role.Covers(control.RoleNone) == false {
			t.Errorf("%s %s: role %q is none", r.Method, r.Path, r.Role)
		}
		session := r.Path == signInPath || r.Path == signOutPath // changes nothing of the gate
		if changes := r.Method != "GET" && !session; changes != (r.Action != "") {
			t.Errorf("%s %s: action is %q", r.Method, r.Path, r.Action)
		}
		if r.Action != "" && !r.Role.Covers(control.RoleOperator) {
			t.Errorf("%s %s changes something, and role %q may call it", r.Method, r.Path, r.Role)
		}
		for _, before := range routes[:i] {
			if before.Method == r.Method && before.fits(r.segments) {
				t.Errorf("%s %s is hidden by %s", r.Method, r.Path, before.Path)
			}
		}
	}
}

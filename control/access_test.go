package control_test

import (
	"strings"
	"testing"

	"github.com/hookgate/hookgate/control"
)

// TestRolesCover: each role includes those before it. An unknown role covers nothing, and no role
// covers it.
func TestRolesCover(t *testing.T) {
	order := []control.Role{control.RoleNone, control.RoleViewer, control.RoleOperator,
		control.RoleAdmin}
	for i, role := range order {
		for j, least := range order {
			if got := role.Covers(least); got != (i >= j) {
				t.Errorf("%q covers %q: %t", role, least, got)
			}
		}
		for _, odd := range []control.Role{"Admin", "root", "viewer "} {
			if odd.Covers(role) || role.Covers(odd) {
				t.Errorf("%q and %q cover one another", odd, role)
			}
		}
		if parsed, err := control.ParseRole(string(role)); (err == nil) != (i > 0) || parsed != role {
			t.Errorf("%q is read as %q (error %v)", role, parsed, err)
		}
	}
	// A consumer is beside the viewer, and an operator covers it.
	if r := control.RoleConsumer; !r.Covers(control.RoleNone) || !r.Covers(r) ||
		r.Covers(control.RoleViewer) || r.Covers(control.RoleAdmin) || control.RoleNone.Covers(r) ||
		control.RoleViewer.Covers(r) || !control.RoleOperator.Covers(r) || !control.RoleAdmin.Covers(r) {
		t.Error("role consumer covers others, or the wrong ones cover it")
	}
	if _, err := control.ParseRole("ADMIN"); err == nil {
		t.Error("ADMIN is read as a role")
	}
}

// TestTokenText: each text is new, and is recognised by its form.
func TestTokenText(t *testing.T) {
	text := control.NewTokenText()
	if !control.IsTokenText(text) || text == control.NewTokenText() ||
		!strings.HasPrefix(text, "hgt_") || len(text) != 47 {
		t.Errorf("a text is %q", text)
	}
	// The last character has 4 bits, so a second encoding of the same bits would end in another
	// character.
	for _, odd := range []string{"", "hgt_", text[:46], text + "A", text[4:], "HGT_" + text[4:],
		text[:46] + "=", text[:46] + "B", text[:20] + "\n" + text[20:], " " + text} {
		if control.IsTokenText(odd) {
			t.Errorf("%q is taken for a token", odd)
		}
	}
}

package hookgate

import "fmt"

// Role says what the bearer of a token may do. Each role may do what those before it may.
type Role string

// The roles.
const (
	// RoleNone is that of everyone: what needs no more is open.
	RoleNone Role = ""
	// RoleViewer reads.
	RoleViewer Role = "viewer"
	// RoleOperator also steers the gate: maintenance, drain, dead letters.
	RoleOperator Role = "operator"
	// RoleAdmin may do everything.
	RoleAdmin Role = "admin"
)

// rank orders the roles; it is negative for what is none.
func (r Role) rank() int {
	switch r {
	case RoleNone:
		return 0
	case RoleViewer:
		return 1
	case RoleOperator:
		return 2
	case RoleAdmin:
		return 3
	}
	return -1
}

// Covers reports whether r may do what takes at least the role least. An unknown role covers nothing, and nothing covers it.
func (r Role) Covers(least Role) bool { return least.rank() >= 0 && r.rank() >= least.rank() }

// ParseRole reads the role of a token.
func ParseRole(s string) (Role, error) {
	switch r := Role(s); r {
	case RoleViewer, RoleOperator, RoleAdmin:
		return r, nil
	}
	return RoleNone, fmt.Errorf("role %q is none of %s, %s and %s", s, RoleViewer, RoleOperator, RoleAdmin)
}

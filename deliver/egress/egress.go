// Package egress decides to which addresses the gate may connect when a URL comes from its
// configuration. A dialer checks each address after the look-up of the name, at the moment when it
// connects. So a name that resolves to another address later cannot lead inside.
package egress

import (
	"fmt"
	"net/netip"
	"syscall"
)

// Policy selects the addresses to which a client may connect.
type Policy string

// The policies. All of them refuse addresses that no consumer has: link-local, unspecified,
// multicast and broadcast addresses, and those of the metadata services of clouds.
const (
	// Any allows every other address.
	Any Policy = "any"
	// Private allows private and loopback addresses.
	Private Policy = "private"
	// Public allows addresses of the public Internet.
	Public Policy = "public"
)

// ParsePolicy returns the policy with a name. An empty name is Any.
func ParsePolicy(name string) (Policy, error) {
	switch p := Policy(name); p {
	case "":
		return Any, nil
	case Any, Private, Public:
		return p, nil
	}
	return "", fmt.Errorf("%q is not one of any, private, public", name)
}

// RefusedError is the error of a connection that the policy forbids. Nothing was sent.
type RefusedError struct {
	Addr netip.Addr
	// Is says what the address is, such as "a link-local address".
	Is string
	// Policy is the policy that refuses the address; empty if all policies do.
	Policy Policy
}

// Error implements error.
func (e *RefusedError) Error() string {
	if e.Policy == "" {
		return fmt.Sprintf("%s is %s, to which the gate never connects", e.Addr, e.Is)
	}
	return fmt.Sprintf("%s is %s, and egress is %s", e.Addr, e.Is, e.Policy)
}

// Check returns a *RefusedError if the policy forbids an address.
func (p Policy) Check(addr netip.Addr) error {
	kind := kindOf(addr)
	switch {
	case kind.never:
		return &RefusedError{Addr: addr, Is: kind.is}
	case p == Private && !kind.private, p == Public && !kind.public:
		return &RefusedError{Addr: addr, Is: kind.is, Policy: p}
	}
	return nil
}

// Control is a net.Dialer.Control that checks the address of each connection.
func (p Policy) Control(_, address string, _ syscall.RawConn) error {
	addr, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("check the address %s: %w", address, err)
	}
	return p.Check(addr.Addr())
}

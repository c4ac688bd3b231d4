package egress

import (
	"errors"
	"net"
	"net/netip"
	"testing"
)

// TestPolicies checks one address of each range, and IPv6 addresses that stand for IPv4 addresses,
// against the three policies.
func TestPolicies(t *testing.T) {
	never, private, public, special := []bool{false, false, false}, []bool{true, true, false},
		[]bool{true, false, true}, []bool{true, false, false}
	for text, want := range map[string][]bool{
		"169.254.169.254": never, "169.254.170.2": never, "169.254.0.1": never,
		"100.100.100.200": never, "168.63.129.16": never, "192.0.0.192": never,
		"0.0.0.0": never, "0.1.2.3": never, "224.0.0.1": never, "239.255.255.255": never,
		"255.255.255.255": never,
		"fd00:ec2::254":   never, "fd00:ec2::23": never, "fd20:ce::254": never,
		"fd00:c1::a9fe:a9fe": never, "fd00:42::42": never,
		"::": never, "fe80::1": never, "fe80::1%eth0": never, "febf::1": never, "ff02::1": never,
		// IPv4 addresses in IPv6 addresses
		"::ffff:169.254.169.254": never, "::169.254.169.254": never, "::ffff:0:169.254.169.254": never,
		"64:ff9b::169.254.169.254": never, "64:ff9b::a9fe:a9fe": never, "2002:a9fe:a9fe::1": never,
		"2002:6464:64c8::1": never, "2001:0:1:2:3:4:5601:5601": never,
		"2001:0:a9fe:a9fe::1": never, "fd12::5efe:a9fe:a9fe": never,
		"2a00::200:5efe:169.254.169.254": never,
		"fe80::5efe:10.0.0.1":            never, "64:ff9b:1::169.254.169.254": never,
		"64:ff9b:1:a9fe:a9:fe00::": never, "64:ff9b:1:a9:fe:a9fe::": never, "::ffff:0.0.0.0": never,
		"64:ff9b:1:1:a9:fea9:fe00:0": never,

		"127.0.0.1": private, "127.9.9.9": private, "::1": private, "10.0.0.7": private,
		"172.16.0.1": private, "172.31.255.255": private, "192.168.1.1": private, "100.64.0.1": private,
		"fd12::1": private, "fec0::1": private, "::ffff:10.0.0.7": private, "64:ff9b::10.0.0.7": private,
		"2002:a00:7::1": private, "64:ff9b:1::10.0.0.7": private,

		"8.8.8.8": public, "172.32.0.1": public, "100.128.0.1": public, "2a00:1450::1": public,
		"::ffff:8.8.8.8": public, "64:ff9b::8.8.8.8": public, "2002:808:808::1": public,

		"192.0.2.1": special, "198.18.0.1": special, "198.51.100.1": special, "203.0.113.1": special,
		"240.0.0.1": special, "2001:db8::1": special, "3fff::1": special, "100::1": special,
		"5f00::1": special, "2001:20::1": special, "::8.8.8.8": special,
		"2001:0:808:808::f7f7:f7f7": special,
	} {
		for i, p := range []Policy{Any, Private, Public} {
			err := p.Check(netip.MustParseAddr(text))
			if (err == nil) != want[i] {
				t.Errorf("%s: %s: %v", p, text, err)
			}
			if refused := (*RefusedError)(nil); err != nil && (!errors.As(err, &refused) ||
				(refused.Policy == "") != (&want[0] == &never[0])) {
				t.Errorf("%s: %s: the error is %#v", p, text, err)
			}
		}
	}
	if Any.Check(netip.Addr{}) == nil {
		t.Error("an invalid address is allowed")
	}
}

// TestControl checks that a dialer with a policy connects or refuses, and that an error of the
// dialer wraps the refusal.
func TestControl(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for p, allowed := range map[Policy]bool{Any: true, Private: true, Public: false} {
		d := net.Dialer{Control: p.Control}
		conn, err := d.Dial("tcp", l.Addr().String())
		var refused *RefusedError
		if err == nil {
			conn.Close()
		}
		if (err == nil) != allowed || !allowed && !errors.As(err, &refused) {
			t.Errorf("%s: %v", p, err)
		}
	}
	if err := Any.Control("tcp", "not an address", nil); err == nil {
		t.Error("an address that does not parse is allowed")
	}
}

// FuzzCheck checks that no policy allows more than Any, that no address is both private and public,
// and that an IPv4 address in an IPv6 address has the kind that it has alone.
func FuzzCheck(f *testing.F) {
	f.Add(netip.MustParseAddr("64:ff9b::a9fe:a9fe").AsSlice())
	f.Add(netip.MustParseAddr("10.0.0.1").AsSlice())
	f.Fuzz(func(t *testing.T, b []byte) {
		addr, ok := netip.AddrFromSlice(b)
		if !ok {
			return
		}
		all, inside, outside := Any.Check(addr), Private.Check(addr), Public.Check(addr)
		if all != nil && (inside == nil || outside == nil) || inside == nil && outside == nil {
			t.Errorf("%s: any %v, private %v, public %v", addr, all, inside, outside)
		}
		if addr.Is4() {
			mapped := netip.AddrFrom16(addr.As16())
			if (Any.Check(mapped) == nil) != (all == nil) ||
				(Public.Check(mapped) == nil) != (outside == nil) {
				t.Errorf("%s differs from %s", mapped, addr)
			}
		}
	})
}

func TestParsePolicy(t *testing.T) {
	for name, want := range map[string]Policy{"": Any, "any": Any, "private": Private,
		"public": Public} {
		if p, err := ParsePolicy(name); err != nil || p != want {
			t.Errorf("%q: %s %v", name, p, err)
		}
	}
	if _, err := ParsePolicy("none"); err == nil {
		t.Error("none is a policy")
	}
}

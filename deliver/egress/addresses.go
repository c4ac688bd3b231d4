package egress

import (
	"encoding/binary"
	"net/netip"
	"slices"
)

// kind describes a range of addresses.
type kind struct {
	is string
	// never means that every policy refuses the range. private and public say which policy allows it.
	never, private, public bool
}

var (
	metadata  = kind{is: "an address of a cloud's metadata service", never: true}
	linkLocal = kind{is: "a link-local address", never: true}
	nobody    = kind{is: "an unspecified address", never: true}
	group     = kind{is: "a multicast or broadcast address", never: true}
	loopback  = kind{is: "a loopback address", private: true}
	private   = kind{is: "a private address", private: true}
	reserved  = kind{is: "an address for special use"}
	public    = kind{is: "a public address", public: true}
)

// ranges are the ranges of the IANA special-purpose registries, and the metadata services that are
// not link-local. The first that has an address decides.
var ranges = []struct {
	prefix netip.Prefix
	kind   kind
}{
	{netip.MustParsePrefix("169.254.169.254/32"), metadata}, // nearly all clouds
	{netip.MustParsePrefix("100.100.100.200/32"), metadata}, // Alibaba
	{netip.MustParsePrefix("168.63.129.16/32"), metadata},   // Azure
	{netip.MustParsePrefix("192.0.0.192/32"), metadata},     // Oracle
	{netip.MustParsePrefix("fd00:ec2::/32"), metadata},      // AWS
	{netip.MustParsePrefix("fd20:ce::/32"), metadata},       // Google
	{netip.MustParsePrefix("fd00:c1::/32"), metadata},       // Oracle
	{netip.MustParsePrefix("fd00:42::/32"), metadata},       // Scaleway

	{netip.MustParsePrefix("0.0.0.0/8"), nobody},
	{netip.MustParsePrefix("10.0.0.0/8"), private},
	{netip.MustParsePrefix("100.64.0.0/10"), private},
	{netip.MustParsePrefix("127.0.0.0/8"), loopback},
	{netip.MustParsePrefix("169.254.0.0/16"), linkLocal},
	{netip.MustParsePrefix("172.16.0.0/12"), private},
	{netip.MustParsePrefix("192.0.0.0/24"), reserved},
	{netip.MustParsePrefix("192.0.2.0/24"), reserved},
	{netip.MustParsePrefix("192.88.99.0/24"), reserved},
	{netip.MustParsePrefix("192.168.0.0/16"), private},
	{netip.MustParsePrefix("198.18.0.0/15"), reserved},
	{netip.MustParsePrefix("198.51.100.0/24"), reserved},
	{netip.MustParsePrefix("203.0.113.0/24"), reserved},
	{netip.MustParsePrefix("224.0.0.0/4"), group},
	{netip.MustParsePrefix("255.255.255.255/32"), group},
	{netip.MustParsePrefix("240.0.0.0/4"), reserved},
	{netip.MustParsePrefix("0.0.0.0/0"), public},

	{netip.MustParsePrefix("::/128"), nobody},
	{netip.MustParsePrefix("::1/128"), loopback},
	{netip.MustParsePrefix("64:ff9b::/96"), public}, // as the IPv4 address in it
	{netip.MustParsePrefix("64:ff9b:1::/48"), private},
	{netip.MustParsePrefix("2001::/23"), reserved},
	{netip.MustParsePrefix("2001:db8::/32"), reserved},
	{netip.MustParsePrefix("3fff::/20"), reserved},
	{netip.MustParsePrefix("2000::/3"), public},
	{netip.MustParsePrefix("fc00::/7"), private},
	{netip.MustParsePrefix("fe80::/10"), linkLocal},
	{netip.MustParsePrefix("fec0::/10"), private},
	{netip.MustParsePrefix("ff00::/8"), group},
	{netip.MustParsePrefix("::/0"), reserved},
}

// kindOf returns the kind of an address. An IPv6 address that stands for IPv4 addresses has the
// strictest kind of all of them.
func kindOf(addr netip.Addr) kind {
	addr = addr.Unmap().WithZone("")
	found := rangeOf(addr)
	for _, inner := range embedded(addr) {
		if k := rangeOf(inner); !found.never && (k.never || found.public) {
			found = k
		}
	}
	return found
}

func rangeOf(addr netip.Addr) kind {
	for _, r := range ranges {
		if r.prefix.Contains(addr) {
			return r.kind
		}
	}
	return nobody // the zero Addr
}

// The prefixes of IPv6 addresses that contain IPv4 addresses.
var (
	compatible = netip.MustParsePrefix("::/96")           // RFC 4291
	translated = netip.MustParsePrefix("::ffff:0:0:0/96") // RFC 7915
	nat64      = netip.MustParsePrefix("64:ff9b::/96")    // RFC 6052
	nat64Local = netip.MustParsePrefix("64:ff9b:1::/48")  // RFC 8215
	teredo     = netip.MustParsePrefix("2001::/32")       // RFC 4380
	sixToFour  = netip.MustParsePrefix("2002::/16")       // RFC 3056
)

// isatap is the middle of the interface identifiers of RFC 5214, without its universal bit.
const isatap = 0x5efe

// embedded returns the IPv4 addresses that an IPv6 address contains. A router may send its packets
// to them.
func embedded(addr netip.Addr) []netip.Addr {
	if !addr.Is6() {
		return nil
	}
	b := addr.As16()
	v4 := func(i ...int) netip.Addr {
		return netip.AddrFrom4([4]byte{b[i[0]], b[i[1]], b[i[2]], b[i[3]]})
	}
	last := v4(12, 13, 14, 15)
	switch {
	case compatible.Contains(addr):
		if binary.BigEndian.Uint32(b[12:]) <= 1 {
			return nil // :: and ::1
		}
		return []netip.Addr{last}
	case translated.Contains(addr), nat64.Contains(addr):
		return []netip.Addr{last}
	case nat64Local.Contains(addr):
		// The prefix of the translator may have 48, 56, 64 or 96 bits. Bits 64 to 71 are not used.
		return slices.DeleteFunc([]netip.Addr{v4(6, 7, 9, 10), v4(7, 9, 10, 11), v4(9, 10, 11, 12), last},
			func(a netip.Addr) bool { return a.As4()[0] == 0 })
	case teredo.Contains(addr):
		return []netip.Addr{v4(4, 5, 6, 7), netip.AddrFrom4([4]byte{^b[12], ^b[13], ^b[14], ^b[15]})}
	case sixToFour.Contains(addr):
		return []netip.Addr{v4(2, 3, 4, 5)}
	case binary.BigEndian.Uint32(b[8:])&^0x02000000 == isatap:
		return []netip.Addr{last}
	}
	return nil
}

package httpserver

import (
	"errors"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// ClientAddr returns the address of the client: the peer, or behind a trusted proxy the last
// address in X-Forwarded-For that is not a trusted proxy itself. Anyone can write the addresses
// before that one. ok is false if an address cannot be parsed.
func ClientAddr(r *http.Request, trusted []netip.Prefix) (client netip.Addr, ok bool) {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}, false
	}
	client = peer.Addr().Unmap().WithZone("")
	isTrusted := func(a netip.Addr) bool {
		return slices.ContainsFunc(trusted, func(p netip.Prefix) bool { return p.Contains(a) })
	}
	hops := strings.Join(r.Header["X-Forwarded-For"], ",")
	for isTrusted(client) && hops != "" {
		hop := hops
		if i := strings.LastIndexByte(hops, ','); i >= 0 {
			hops, hop = hops[:i], hops[i+1:]
		} else {
			hops = ""
		}
		if client, err = parseHop(strings.TrimSpace(hop)); err != nil {
			return netip.Addr{}, false
		}
	}
	return client, true
}

// parseHop reads an address with or without a port, as proxies write them.
func parseHop(text string) (netip.Addr, error) {
	a, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(text, "["), "]"))
	if err != nil {
		var withPort netip.AddrPort
		if withPort, err = netip.ParseAddrPort(text); err != nil {
			return a, errors.New("not an address")
		}
		a = withPort.Addr()
	}
	return a.Unmap().WithZone(""), nil
}

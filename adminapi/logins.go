package adminapi

import (
	"container/list"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/hookgate/hookgate/internal/httpserver"
	"golang.org/x/time/rate"
)

// maxLoginAddresses is how many addresses with failed logins are remembered; beyond it the one that
// failed longest ago is forgotten. Whoever has more addresses than that to guess from could as well
// guess from each of them.
const maxLoginAddresses = 10_000

// logins counts failed logins by address. Only failures count, and while an address is blocked only
// those are refused with 429: whoever brings a token that is known gets in, from there too.
type logins struct {
	perMinute int

	mu        sync.Mutex // guards all below, for a few instructions at a time
	byAddress map[netip.Prefix]*list.Element
	recent    *list.List // of *failures, the latest first
}

// failures are those of one address.
type failures struct {
	from   netip.Prefix
	bucket *rate.Limiter // holds what may still fail
}

func newLogins(perMinute int) *logins {
	return &logins{perMinute: perMinute, byAddress: map[netip.Prefix]*list.Element{},
		recent: list.New()}
}

// addressOf returns the address of a peer as failures are counted by it: one of IPv4, and 64 bits
// of IPv6, which is what one subscriber has. What is no address is one for all.
func addressOf(remoteAddr string) netip.Prefix {
	peer, err := netip.ParseAddrPort(remoteAddr)
	if err != nil {
		return netip.Prefix{}
	}
	return subscriberOf(peer.Addr())
}

// loginFrom returns the address that a failed login of a request counts for: the client's behind
// trusted proxies, or that of the peer if it cannot be told.
func (s *API) loginFrom(r *http.Request) netip.Prefix {
	if client, ok := httpserver.ClientAddr(r, s.config.TrustedProxies); ok {
		return subscriberOf(client)
	}
	return addressOf(r.RemoteAddr)
}

func subscriberOf(addr netip.Addr) netip.Prefix {
	addr, bits := addr.Unmap().WithZone(""), 64
	if addr.Is4() {
		bits = 32
	}
	prefix, err := addr.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return prefix
}

// blocked returns how long the address must wait; 0 if it need not.
func (l *logins) blocked(from netip.Prefix) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.byAddress[from]
	if e == nil {
		return 0
	}
	missing := 1 - e.Value.(*failures).bucket.Tokens()
	if missing <= 0 {
		return 0
	}
	return time.Duration(missing * float64(time.Minute) / float64(l.perMinute))
}

// failed counts a failure.
func (l *logins) failed(from netip.Prefix) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.byAddress[from]
	if e == nil {
		e = l.recent.PushFront(&failures{from, rate.NewLimiter(rate.Limit(l.perMinute)/60, l.perMinute)})
		l.byAddress[from] = e
	}
	l.recent.MoveToFront(e)
	e.Value.(*failures).bucket.Allow()
	if last := l.recent.Back(); l.recent.Len() > maxLoginAddresses {
		l.recent.Remove(last)
		delete(l.byAddress, last.Value.(*failures).from)
	}
}

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

// maxLoginAddresses bounds how many addresses with failed logins are remembered. Beyond it, the
// address that failed longest ago is forgotten: an attacker with more addresses can guess from each
// of them anyway.
const maxLoginAddresses = 10_000

// logins counts failed logins by address. Only failed logins of a blocked address get 429; a valid
// token works from there too.
type logins struct {
	perMinute int

	mu        sync.Mutex // guards all below, for a few instructions at a time
	byAddress map[netip.Prefix]*list.Element
	recent    *list.List // of *failures, the latest first
}

// failures are the failed logins of one address.
type failures struct {
	from   netip.Prefix
	bucket *rate.Limiter // the failures that are still allowed
}

func newLogins(perMinute int) *logins {
	return &logins{perMinute: perMinute, byAddress: map[netip.Prefix]*list.Element{},
		recent: list.New()}
}

// addressOf returns the address of a peer by which failures are counted: an IPv4 address, or the
// first 64 bits of an IPv6 address, which one subscriber has. All texts that are no addresses count
// as one.
func addressOf(remoteAddr string) netip.Prefix {
	peer, err := netip.ParseAddrPort(remoteAddr)
	if err != nil {
		return netip.Prefix{}
	}
	return subscriberOf(peer.Addr())
}

// loginFrom returns the address that a failed login counts for: the client behind trusted proxies,
// or the peer if the client's address cannot be read.
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

// failed counts a failed login.
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

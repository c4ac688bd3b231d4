package adminapi

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/control"
)

// TestLoginsBlock: so many failures in a minute block an address and no other; time opens it again;
// what did not fail does not count.
func TestLoginsBlock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLogins(6)
		guesser, other := addressOf("192.0.2.1:1"), addressOf("192.0.2.2:1")
		for n := range 6 {
			if wait := l.blocked(guesser); wait != 0 {
				t.Fatalf("blocked for %v after %d failures", wait, n)
			}
			l.failed(guesser)
		}
		wait := l.blocked(guesser)
		if wait <= 0 || wait > 10*time.Second {
			t.Fatalf("blocked for %v after 6 failures, want up to 10 s", wait)
		}
		if wait := l.blocked(other); wait != 0 {
			t.Errorf("another address is blocked for %v", wait)
		}
		l.failed(guesser) // calls that were under way make it no longer
		if again := l.blocked(guesser); again != wait {
			t.Errorf("a further failure makes it %v, want %v", again, wait)
		}
		time.Sleep(wait)
		if wait := l.blocked(guesser); wait != 0 {
			t.Errorf("still blocked for %v", wait)
		}
		l.failed(guesser)
		if l.blocked(guesser) == 0 {
			t.Error("one failure after another ten seconds, and it is not blocked again")
		}
		time.Sleep(time.Minute)
		for range 5 {
			l.failed(guesser)
		}
		if wait := l.blocked(guesser); wait != 0 {
			t.Errorf("after a quiet minute 5 failures block for %v", wait)
		}
	})
}

// TestLoginsBounded: addresses without number take no memory without bound, and the ones that
// failed last are kept.
func TestLoginsBounded(t *testing.T) {
	l := newLogins(1)
	for n := range maxLoginAddresses + 10 {
		l.failed(addressOf(fmt.Sprintf("10.%d.%d.%d:1", n>>16, n>>8&255, n&255)))
	}
	if len(l.byAddress) != maxLoginAddresses || l.recent.Len() != maxLoginAddresses {
		t.Errorf("%d and %d addresses are kept, want %d", len(l.byAddress), l.recent.Len(),
			maxLoginAddresses)
	}
	if l.blocked(addressOf("10.0.0.9:1")) != 0 {
		t.Error("one of the first is still blocked")
	}
	if l.blocked(addressOf("10.0.0.10:1")) == 0 {
		t.Error("one of the last has been forgotten")
	}
}

func TestAddressOf(t *testing.T) {
	for remote, want := range map[string]string{
		"192.0.2.1:80":                "192.0.2.1/32",
		"[::ffff:192.0.2.1]:80":       "192.0.2.1/32",
		"[2001:db8:1:2:3:4:5:6]:80":   "2001:db8:1:2::/64",
		"[2001:db8:1:2::9%eth0]:4711": "2001:db8:1:2::/64",
		"@":                           "invalid Prefix",
	} {
		if got := addressOf(remote).String(); got != want {
			t.Errorf("%s counts as %s, want %s", remote, got, want)
		}
	}
}

// TestFailedLogins: on the real server unknown tokens of one address get 429 after some. Nobody
// else there notices: neither tokens that are right, of the configuration and of the store, nor
// sessions, nor those who sign in, nor what has no token or one that has ended. Other addresses and
// webhooks are not concerned.
func TestFailedLogins(t *testing.T) {
	g := newGate(t, func(s *setup) { s.config.FailedLogins = 5 })
	elsewhere := &http.Client{Timeout: within, Transport: &http.Transport{
		DialContext: (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}).DialContext,
	}}
	defer elsewhere.CloseIdleConnections()
	fromElsewhere := func(token string) int {
		t.Helper()
		r, err := http.NewRequestWithContext(context.Background(), http.MethodGet, g.url+
			"/admin/maintenance", nil)
		must(t, err)
		r.Header.Set("Authorization", "Bearer "+token)
		response, err := elsewhere.Do(r)
		must(t, err)
		defer response.Body.Close()
		return response.StatusCode
	}
	call := func(token string) *answer {
		t.Helper()
		return g.do(t, "GET", "/admin/maintenance", nil, "Authorization", "Bearer "+token)
	}
	signIn := func(token string) *answer {
		t.Helper()
		a, _ := g.form(t, signInPath, "token="+token)
		return a
	}
	stored := g.create(t, `{"name":"stored","role":"operator"}`).Text
	ended := g.create(t, `{"name":"ended","role":"viewer"}`).Text
	g.admin(t, "DELETE", "/admin/tokens/ended", "").want(t, 200)
	right := func() {
		t.Helper()
		call(adminToken).want(t, 200)
		call(stored).want(t, 200)
		call(ended).want(t, 401)
		g.do(t, "GET", "/admin/maintenance", nil).want(t, 401)
		signIn(adminToken).want(t, 303)
		signIn(stored).want(t, 303)
		if status := fromElsewhere(adminToken); status != 200 {
			t.Errorf("from elsewhere: %d", status)
		}
	}
	for range 8 { // none of these is a failed login
		right()
	}
	unknown := control.TokenPrefix + strings.Repeat("A", 43)
	for i := range 5 {
		call([]string{"guess", unknown}[i%2]).want(t, 401)
	}
	for range 2 {
		for _, token := range []string{"guess", unknown} {
			a := call(token).want(t, 429)
			checkRefusal(t, a)
			if wait, err := strconv.Atoi(a.header.Get("Retry-After")); err != nil || wait < 1 || wait > 12 {
				t.Errorf("Retry-After is %q", a.header.Get("Retry-After"))
			}
			signIn(token).want(t, 429)
		}
		right()
	}
	if status := fromElsewhere("guess"); status != 401 {
		t.Errorf("a first guess from elsewhere: %d", status)
	}
	g.post(t, envelope("m", "t", "")).want(t, 202)
	g.do(t, "GET", "/api/health", nil).want(t, 200)
}

// slowAccess answers a look-up of a token when it may.
type slowAccess struct {
	Access
	asked, answer chan struct{}
}

func (a slowAccess) Token(context.Context, [32]byte) (control.Token, error) {
	a.asked <- struct{}{}
	<-a.answer
	return control.Token{}, hookgate.ErrNotFound
}

// TestGuessesAreBounded: however many guesses come from an address that is known for them, the
// store is asked for few at a time.
func TestGuessesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		access := slowAccess{asked: make(chan struct{}, 100), answer: make(chan struct{})}
		s := &API{access: access, logins: newLogins(1), guesses: make(chan struct{}, maxGuesses)}
		request := httptest.NewRequest(http.MethodGet, "/", nil)
		s.logins.failed(s.loginFrom(request))
		for range 20 {
			go func() {
				c := &call{server: s, request: request}
				if _, err := c.find(control.TokenPrefix + strings.Repeat("A", 43)); !errors.Is(err,
					unknownToken) {
					t.Errorf("got %v", err)
				}
			}()
		}
		synctest.Wait()
		if n := len(access.asked); n != maxGuesses {
			t.Errorf("the store is asked for %d tokens at a time, want %d", n, maxGuesses)
		}
		close(access.answer)
	})
}

// TestFailedLoginsBehindProxy: behind a trusted proxy, a client that guesses blocks only itself,
// and a forged header gives it no more guesses. The header of a client that is not behind the proxy
// is ignored.
func TestFailedLoginsBehindProxy(t *testing.T) {
	g := newGate(t, func(s *setup) {
		s.config.FailedLogins = 3
		s.config.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
	})
	call := func(token, forwarded string) *answer {
		t.Helper()
		return g.do(t, "GET", "/admin/maintenance", nil, "Authorization", "Bearer "+token,
			"X-Forwarded-For", forwarded)
	}
	for i := range 3 {
		call("guess", fmt.Sprintf("192.0.2.%d, 198.51.100.7", i)).want(t, 401)
	}
	call("guess", "192.0.2.99, 198.51.100.7").want(t, 429)
	call("guess", "198.51.100.8").want(t, 401)

	direct := newGate(t, func(s *setup) { s.config.FailedLogins = 3 })
	for i := range 3 {
		direct.do(t, "GET", "/admin/maintenance", nil, "Authorization", "Bearer guess", "X-Forwarded-For",
			fmt.Sprintf("192.0.2.%d", i)).want(t, 401)
	}
	direct.do(t, "GET", "/admin/maintenance", nil, "Authorization", "Bearer guess", "X-Forwarded-For",
		"192.0.2.9").want(t, 429)
}

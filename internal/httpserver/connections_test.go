package httpserver

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/internal/certtest"
	"github.com/hookgate/hookgate/internal/metrics"
)

// within bounds the wait for something that must happen.
const within = 2 * time.Minute

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// handlerFunc is a handler of webhooks and of everything else.
type handlerFunc func(http.ResponseWriter, *http.Request) int

func (f handlerFunc) ServeRequest(w http.ResponseWriter, r *http.Request, _ Request) int {
	return f(w, r)
}

func (handlerFunc) RequestID(_ string, received time.Time) hookgate.RequestID {
	return hookgate.NewRequestID(received)
}

// newTestServer returns a server whose webhooks the function answers, and 200 to everything else.
func newTestServer(t *testing.T, webhooks handlerFunc) *Server {
	t.Helper()
	return New(Config{MaxHeaderBytes: 64 << 10, MaxHeaderMemory: 64 << 20,
		MaxConnectionsPerAddress: 100, RetryAfter: time.Second, Metrics: metrics.New(metrics.Config{}),
		Logger: slog.New(slog.DiscardHandler),
	}, Handlers{Webhooks: webhooks, API: handlerFunc(func(w http.ResponseWriter,
		_ *http.Request) int {
		w.WriteHeader(http.StatusOK)
		return http.StatusOK
	})})
}

// fakeConn is a connection from any address, of which nothing but Read and Close is used.
type fakeConn struct {
	net.Conn
	remote string
	text   io.Reader
	closed bool
}

func (c *fakeConn) Read(p []byte) (int, error) { return c.text.Read(p) }
func (c *fakeConn) Close() error               { c.closed = true; return nil }
func (c *fakeConn) RemoteAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(c.remote))
}

// fakeListener gives out connections.
type fakeListener struct {
	net.Listener
	conns []net.Conn
}

func (l *fakeListener) Accept() (net.Conn, error) {
	if len(l.conns) == 0 {
		return nil, net.ErrClosed
	}
	c := l.conns[0]
	l.conns = l.conns[1:]
	return c, nil
}

func testConnections(change func(*Config)) *connections {
	c := Config{MaxHeaderBytes: 4096, MaxHeaderMemory: LeastHeaderMemory[int64](4096),
		MaxConnectionsPerAddress: 2,
		TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"),
			netip.MustParsePrefix("2001:db8:1::7/128")},
		Logger: slog.New(slog.DiscardHandler)}
	if change != nil {
		change(&c)
	}
	return newConnections(c)
}

// TestConnectionsOfAnAddress: one address has a bounded number of connections, with IPv6 its
// network; trusted proxies and this machine have as many as they want; one that ends makes room.
func TestConnectionsOfAnAddress(t *testing.T) {
	all := testConnections(nil)
	dial := func(remote string) (net.Conn, bool) {
		raw := &fakeConn{remote: remote}
		c, err := all.limit(&fakeListener{conns: []net.Conn{raw}}, 10).Accept()
		if (err == nil) == raw.closed {
			t.Errorf("%s: accepted %v, closed %v", remote, err == nil, raw.closed)
		}
		return c, err == nil
	}
	for _, c := range []struct {
		remotes []string
		bounded bool
	}{
		{[]string{"192.0.2.1:1", "192.0.2.1:2", "[::ffff:192.0.2.1]:3"}, true},
		{[]string{"192.0.2.2:1", "192.0.2.3:1", "192.0.2.4:1"}, false},
		{[]string{"[2001:db8::1]:1", "[2001:db8::2]:1", "[2001:db8:0:0:ffff::]:1"}, true},
		{[]string{"10.1.2.3:1", "10.1.2.3:2", "10.1.2.3:3"}, false},
		{[]string{"[2001:db8:1::7]:1", "[2001:db8:1::7]:2", "[2001:db8:1::7]:3"}, false},
		{[]string{"127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3"}, false},
	} {
		var open []net.Conn
		for i, remote := range c.remotes {
			conn, ok := dial(remote)
			if want := !c.bounded || i < 2; ok != want {
				t.Errorf("%s, connection %d: accepted %v", remote, i+1, ok)
			}
			if ok {
				open = append(open, conn)
			}
		}
		if open[0].Close(); c.bounded {
			conn, ok := dial(c.remotes[2])
			if !ok {
				t.Errorf("%s: a connection that has ended makes no room", c.remotes[2])
			} else {
				open = append(open, conn)
			}
		}
		for _, conn := range open {
			conn.Close() // the first for the second time
		}
	}
	if len(all.addresses) != 0 {
		t.Errorf("after the last connection there are %v", all.addresses)
	}
}

// TestHeaderMemory: headers that are arriving take no more than their budget and one address a
// quarter of it; the largest header fits; and a connection that ends gives everything back.
func TestHeaderMemory(t *testing.T) {
	all := testConnections(func(c *Config) { c.MaxConnectionsPerAddress = 100 })
	limit := all.headers.Limit()
	accept := func(remote, text string) net.Conn {
		c, err := all.limit(&fakeListener{conns: []net.Conn{&fakeConn{remote: remote,
			text: strings.NewReader(text)}}}, 10).Accept()
		must(t, err)
		return c
	}
	whole := strings.Repeat("x", 4096+4096)
	var open []net.Conn
	for i := range 4 { // each a quarter
		c := accept(fmt.Sprintf("192.0.2.%d:1", i), whole+whole)
		if _, err := io.ReadFull(c, make([]byte, 2*len(whole))); err != nil {
			t.Errorf("the largest header of address %d is refused: %v", i, err)
		}
		open = append(open, c)
	}
	if used := all.headers.Used(); used != limit {
		t.Errorf("four headers of a quarter take %d of %d", used, limit)
	}
	beyond := accept("192.0.2.9:1", "GET")
	if _, err := beyond.Read(make([]byte, 3)); err == nil {
		t.Error("a header beyond the budget is read")
	}
	open[0].Close()
	if _, err := accept("192.0.2.1:2", "GET").Read(make([]byte, 3)); err == nil {
		t.Error("an address that has its quarter gets more")
	}
	c := accept("192.0.2.9:2", "GET")
	if _, err := c.Read(make([]byte, 3)); err != nil {
		t.Errorf("where a connection has ended there is no room: %v", err)
	}
	for _, c := range append(open, c) {
		c.Close()
	}
	if used := all.headers.Used(); used != 0 || len(all.addresses) != 0 || all.slow.Len() != 0 {
		t.Errorf("in the end %d bytes are taken by %v, and %d are slow", used, all.addresses,
			all.slow.Len())
	}
}

// TestSlowHeaderMakesRoom: when the memory for headers is nearly used up, a header that has been
// arriving for long loses its connection to one that arrives now.
func TestSlowHeaderMakesRoom(t *testing.T) {
	all := testConnections(nil)
	all.headers.Reserve(all.headers.Limit()/4*3+1, false)
	slow := &fakeConn{remote: "192.0.2.1:1", text: strings.NewReader("GET / HTTP")}
	c, err := all.limit(&fakeListener{conns: []net.Conn{slow}}, 10).Accept()
	must(t, err)
	for range 2 {
		if _, err := c.Read(make([]byte, 2)); err != nil {
			t.Fatal(err)
		}
	}
	if all.slow.Cut(); slow.closed {
		t.Error("a header that has only begun is cut off")
	}
	c.(*conn).pending.Began = time.Now().Add(-2 * time.Second)
	other, err := all.limit(&fakeListener{conns: []net.Conn{&fakeConn{remote: "192.0.2.2:1",
		text: strings.NewReader("GET")}}}, 10).Accept()
	must(t, err)
	if _, err := other.Read(make([]byte, 3)); err != nil || !slow.closed {
		t.Errorf("the header that arrives now: %v; the slow one is closed: %v", err, slow.closed)
	}
}

// TestHeaderMemoryIsGivenBack sends requests of every kind over HTTP/1.1 and HTTP/2: afterwards
// nothing is charged, and a request for which there is no memory gets 503 and is not looked at.
func TestHeaderMemoryIsGivenBack(t *testing.T) {
	taken := 0
	g := newTestServer(t, func(w http.ResponseWriter, r *http.Request) int {
		status := http.StatusUnauthorized // without reading the body
		if r.Header.Get("Authorization") != "" || r.TLS != nil {
			taken++
			io.Copy(io.Discard, r.Body)
			status = http.StatusAccepted
		}
		w.WriteHeader(status)
		return status
	})
	awaitFree := func() {
		t.Helper()
		for end := time.Now().Add(within); g.connections.headers.Used() != 0; time.Sleep(
			time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%d bytes are charged for headers when no request is", g.connections.headers.Used())
			}
		}
	}
	plain := httptest.NewUnstartedServer(g)
	plain.Config.ConnContext = keepConn
	plain.Listener = g.connections.limit(plain.Listener, 10)
	plain.Start()
	t.Cleanup(plain.Close)
	for _, c := range []struct {
		method, path, key string
		size, status      int
	}{
		{"POST", "/webhooks", "k", 30, 202}, {"POST", "/webhooks", "k", 300_000, 202},
		{"POST", "/webhooks", "", 300_000, 401}, {"GET", "/livez", "", 0, 200},
	} {
		r, err := http.NewRequest(c.method, plain.URL+c.path,
			strings.NewReader(strings.Repeat("x", c.size)))
		must(t, err)
		if c.key != "" {
			r.Header.Set("Authorization", "Bearer "+c.key)
		}
		resp, err := plain.Client().Do(r)
		must(t, err)
		resp.Body.Close()
		if resp.StatusCode != c.status {
			t.Errorf("%s %s of %d bytes: %s, want %d", c.method, c.path, c.size, resp.Status, c.status)
		}
	}
	awaitFree()

	secure := secureServer(t, g)
	client := secure.Client()
	for _, proto := range []int{2, 1} {
		if proto == 1 { // all that there may be of HTTP/2
			g.connections.http2.Add(maxHTTP2)
			client.CloseIdleConnections()
		}
		resp, err := client.Get(secure.URL + "/livez")
		must(t, err)
		resp.Body.Close()
		if resp.ProtoMajor != proto {
			t.Errorf("spoke %s, want HTTP/%d", resp.Proto, proto)
		}
		awaitFree()
	}
	client.CloseIdleConnections()
	for end := time.Now().Add(within); g.connections.http2.Load() != maxHTTP2; time.Sleep(
		time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d connections count for HTTP/2, want %d", g.connections.http2.Load(), maxHTTP2)
		}
	}

	g.connections.http2.Store(0)
	// a connection that is there before the memory is gone
	resp, err := client.Get(secure.URL + "/livez")
	must(t, err)
	resp.Body.Close()
	awaitFree()
	if !g.connections.headers.Reserve(g.connections.headers.Limit(), false) {
		t.Fatal("the memory for headers is not free")
	}
	before := taken
	resp, err = client.Post(secure.URL+"/webhooks", "application/json",
		strings.NewReader("{}"))
	must(t, err)
	told, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" ||
		!bytes.Contains(told, []byte("headers")) {
		t.Errorf("without memory for headers: %s %v %s", resp.Status, resp.Header, told)
	}
	if taken != before {
		t.Error("a request without memory for its header is taken")
	}
	client.CloseIdleConnections()
}

// secureServer serves a gate over TLS until the test ends.
func secureServer(t *testing.T, s *Server) *httptest.Server {
	t.Helper()
	files, err := certtest.Make(t.TempDir())
	must(t, err)
	pair, err := tls.LoadX509KeyPair(files.Cert, files.Key)
	must(t, err)
	secure := httptest.NewUnstartedServer(s)
	secure.Config.HTTP2, secure.Config.ConnContext = &http2Config, keepConn
	secure.Config.ErrorLog = newServerErrors(slog.New(slog.DiscardHandler))
	secure.EnableHTTP2 = true
	secure.Listener = s.connections.limit(secure.Listener, 10)
	secure.TLS = s.connections.bound(&tls.Config{Certificates: []tls.Certificate{pair},
		NextProtos: []string{"h2", "http/1.1"}})
	secure.StartTLS()
	t.Cleanup(secure.Close)
	return secure
}

// TestServerErrorsAreBounded: failed handshakes fill no log.
func TestServerErrorsAreBounded(t *testing.T) {
	log := &bytes.Buffer{}
	to := newServerErrors(slog.New(slog.NewJSONHandler(log, nil)))
	for range 1000 {
		to.Print("http: TLS handshake error from 192.0.2.1:1: EOF")
	}
	if n := strings.Count(log.String(), "handshake"); n < 1 || n > 20 {
		t.Errorf("1000 failed handshakes make %d lines", n)
	}
}

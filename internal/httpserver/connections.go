package httpserver

import (
	"context"
	"crypto/tls"
	"errors"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/netutil"
	"golang.org/x/time/rate"

	"github.com/hookgate/hookgate/guard"
	"github.com/hookgate/hookgate/internal/arrivals"
	"github.com/hookgate/hookgate/internal/metrics"
)

// These bounds hold for a connection before its sender has authenticated itself.
//
//	accepted ─► header arrives ──────────► handler begins ───────► handler ends ─► next header
//	            each byte read is charged  the charge becomes the  nothing is
//	            with headerFactor          header's real size      charged
//
// An HTTP/2 connection reads the headers of many streams at once. The constants below, and the
// number of such connections, bound its reading; each stream is charged when its handler begins.
const (
	// headerFactor is how many bytes of memory a byte of a header may take: a line such as "abc:"
	// becomes an entry of a map.
	headerFactor = 32
	// fieldCost is the memory of an entry in addition to its text, and requestCost that of a request
	// in addition to its header.
	fieldCost, requestCost = 128, 2 << 10
	// maxHTTP2 is how many connections may use HTTP/2 at a time. The others use HTTP/1.1.
	maxHTTP2 = 256
	// maxStreams is how many requests one HTTP/2 connection may have in flight.
	maxStreams = 32
	// connectionWindow and streamWindow are how many bytes a client may send over HTTP/2 before the
	// gate reads them, for a connection and for a stream.
	connectionWindow, streamWindow = 256 << 10, 128 << 10
	// frameBytes is the largest frame of HTTP/2 that is read.
	frameBytes = 16 << 10
	// addressPart is how much of the memory for headers one address may take: a quarter.
	addressPart = 4
)

// http2Config is for every listener.
var http2Config = http.HTTP2Config{
	MaxConcurrentStreams:          maxStreams,
	MaxReadFrameSize:              frameBytes,
	MaxReceiveBufferPerConnection: connectionWindow,
	MaxReceiveBufferPerStream:     streamWindow,
}

// connections bounds the connections of all listeners: their number for each address, and the
// memory of their headers.
type connections struct {
	perAddress int
	exempt     []netip.Prefix
	headers    *guard.Budget
	headerMax  int64 // bytes of the largest header
	http2      atomic.Int64
	slow       arrivals.Slowest
	log        *slog.Logger
	limiter    *rate.Limiter // of log

	mu        sync.Mutex // guards addresses, for a few instructions at a time
	addresses map[netip.Addr]*address
}

// address is a client with open connections.
type address struct {
	connections int // guarded by connections.mu
	headers     atomic.Int64
}

func newConnections(c Config) *connections {
	return &connections{
		perAddress: c.MaxConnectionsPerAddress, exempt: c.TrustedProxies,
		headerMax: int64(c.MaxHeaderBytes) + 4096,
		headers:   guard.NewBudget(c.MaxHeaderMemory), log: c.Logger, limiter: rate.NewLimiter(1, 10),
		addresses: map[netip.Addr]*address{},
	}
}

// LeastHeaderMemory returns the smallest Config.MaxHeaderMemory with which one address can send one
// header of the largest size, in bytes.
func LeastHeaderMemory[T ~int64](maxHeader T) T {
	return addressPart * headerFactor * (maxHeader + 4096)
}

// limit returns a listener whose connections are bounded.
func (c *connections) limit(l net.Listener, most int) net.Listener {
	return &boundedListener{netutil.LimitListener(l, most), c}
}

type boundedListener struct {
	net.Listener
	all *connections
}

// Accept returns the next connection whose address does not have too many.
func (l *boundedListener) Accept() (net.Conn, error) {
	for {
		raw, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		from, at, ok := l.all.enter(raw.RemoteAddr())
		if ok {
			return &conn{Conn: raw, all: l.all, from: from, at: at}, nil
		}
		l.all.refused("address has too many connections", raw.RemoteAddr())
		raw.Close()
	}
}

// enter counts a connection for its address, unless that has too many. The address is nil if it has
// no bound: a trusted proxy, or this machine, where an unconfigured proxy may run.
func (c *connections) enter(remote net.Addr) (*address, netip.Addr, bool) {
	tcp, ok := remote.(*net.TCPAddr)
	if !ok {
		return nil, netip.Addr{}, true
	}
	at := tcp.AddrPort().Addr().Unmap().WithZone("")
	if at.IsLoopback() || slices.ContainsFunc(c.exempt,
		func(p netip.Prefix) bool { return p.Contains(at) }) {
		return nil, at, true
	}
	at = network(at)
	c.mu.Lock()
	defer c.mu.Unlock()
	from := c.addresses[at]
	if from == nil {
		from = &address{}
		c.addresses[at] = from
	}
	if from.connections >= c.perAddress {
		return nil, at, false
	}
	from.connections++
	return from, at, true
}

func (c *connections) leave(from *address, at netip.Addr) {
	if from == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if from.connections--; from.connections == 0 {
		delete(c.addresses, at)
	}
}

// network returns the address that a client is counted as: an IPv4 address, or the first 64 bits of
// an IPv6 address, which one client usually has.
func network(at netip.Addr) netip.Addr {
	if p, err := at.Prefix(64); err == nil && at.Is6() {
		return p.Addr()
	}
	return at
}

// refused logs a rejected connection, at a bounded rate.
func (c *connections) refused(why string, remote net.Addr) {
	if c.limiter.Allow() {
		c.log.Warn("connection closed: "+why, "remote", remote.String())
	}
}

// reserve reserves memory for headers. While it is nearly used up, it closes the slowest
// connection.
func (c *connections) reserve(from *address, n int64) bool {
	if from != nil && n > 0 {
		if from.headers.Add(n) > c.headers.Limit()/addressPart {
			from.headers.Add(-n)
			return false
		}
	}
	if c.headers.Used() > c.headers.Limit()/4*3 {
		c.slow.Cut()
	}
	if c.headers.Reserve(n, false) {
		return true
	}
	if from != nil {
		from.headers.Add(-n)
	}
	return false
}

func (c *connections) release(from *address, n int64) {
	c.headers.Release(n)
	if from != nil {
		from.headers.Add(-n)
	}
}

// conn is an accepted connection. With TLS it is the layer below, so that it counts encrypted
// bytes.
type conn struct {
	net.Conn
	all   *connections
	from  *address // nil: without bound
	at    netip.Addr
	http2 atomic.Bool

	mu      sync.Mutex // guards what follows
	busy    bool       // a handler is running, so the bytes that are read are a body's
	read    int64      // bytes of the header that is arriving
	reads   int
	charged int64
	pending *arrivals.Arrival
	closed  bool
}

var errHeaderMemory = errors.New("no memory for more headers")

// Read reads, and charges the bytes of a header.
func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 && !c.http2.Load() && !c.charge(n) {
		c.all.refused("no memory for more headers; see http.max_header_memory", c.RemoteAddr())
		c.Close()
		return 0, errHeaderMemory
	}
	return n, err
}

// charge charges n bytes that were read, unless they are a body's. It returns false if there is no
// memory.
func (c *conn) charge(n int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.busy || c.closed {
		return true
	}
	c.read += int64(n)
	// Most headers arrive with the first read. One that needs more may be slow.
	if c.reads++; c.reads == 2 && c.pending == nil {
		c.pending = &arrivals.Arrival{Began: time.Now(), Stop: func() { c.Close() }}
		c.all.slow.Add(c.pending)
	}
	if c.pending != nil {
		c.pending.Bytes.Store(c.read)
	}
	more := min(c.read, c.all.headerMax)*headerFactor - c.charged
	if more <= 0 {
		return true
	}
	// reserve may close the slowest connection, which takes the lock of that one, or of this one.
	c.mu.Unlock()
	ok := c.all.reserve(c.from, more)
	c.mu.Lock()
	switch {
	case ok && c.closed:
		c.all.release(c.from, more)
	case ok:
		c.charged += more
	}
	return ok
}

// settle ends the arrival of a header. From then on, n bytes are charged for it.
func (c *conn) settle(n int64, busy bool) bool {
	c.mu.Lock()
	pending := c.pending
	c.pending, c.read, c.reads, c.busy = nil, 0, 0, busy
	more := n - c.charged
	if more <= 0 || c.closed {
		if !c.closed {
			c.charged = n
			c.all.release(c.from, -more)
		}
		c.mu.Unlock()
		c.all.slow.Remove(pending)
		return true
	}
	c.mu.Unlock()
	c.all.slow.Remove(pending)
	ok := c.all.reserve(c.from, more)
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case ok && c.closed:
		c.all.release(c.from, more)
	case ok:
		c.charged += more
	}
	return ok
}

// Close closes the connection and releases the memory of its header.
func (c *conn) Close() error {
	c.mu.Lock()
	was, charged, pending := c.closed, c.charged, c.pending
	c.closed, c.charged, c.pending = true, 0, nil
	c.mu.Unlock()
	if !was {
		c.all.slow.Remove(pending)
		c.all.release(c.from, charged)
		c.all.leave(c.from, c.at)
		if c.http2.Load() {
			c.all.http2.Add(-1)
		}
	}
	return c.Conn.Close()
}

type connKey struct{}

// keepConn stores the connection in the context of its requests.
func keepConn(ctx context.Context, c net.Conn) context.Context {
	if secure, ok := c.(*tls.Conn); ok {
		c = secure.NetConn()
	}
	return context.WithValue(ctx, connKey{}, c)
}

// begin charges the memory of a request's header. Pass its results to end. If ok is false, there is
// no memory, and the request must be rejected.
func (c *connections) begin(r *http.Request) (of *conn, cost int64, ok bool) {
	of, _ = r.Context().Value(connKey{}).(*conn)
	if of == nil {
		return nil, 0, true // the listener is not ours, as in tests
	}
	cost = requestCost + int64(len(r.RequestURI))
	for name, values := range r.Header {
		cost += int64(fieldCost + len(name))
		for _, v := range values {
			cost += int64(16 + len(v))
		}
	}
	if of.http2.Load() {
		return of, cost, c.reserve(of.from, cost)
	}
	return of, cost, of.settle(cost, true)
}

// end ends a request after begin.
func (c *connections) end(of *conn, cost int64) {
	switch {
	case of == nil:
	case of.http2.Load():
		c.release(of.from, cost)
	default:
		of.settle(0, false)
	}
}

// bound returns a TLS configuration that offers HTTP/2 to at most maxHTTP2 connections.
func (c *connections) bound(config *tls.Config) *tls.Config {
	only := config.Clone()
	only.NextProtos = []string{"http/1.1"}
	both := config.Clone()
	both.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		of, ours := hello.Conn.(*conn)
		if !ours || !slices.Contains(hello.SupportedProtos, "h2") {
			return nil, nil
		}
		if c.http2.Add(1) > maxHTTP2 {
			c.http2.Add(-1)
			return only, nil
		}
		of.http2.Store(true)
		of.settle(0, false) // frames are bounded in another way
		return nil, nil
	}
	return both
}

// refuseHeader rejects a request because there is no memory for its header.
func (s *Server) refuseHeader(w http.ResponseWriter, r *http.Request, idText string) int {
	const status = http.StatusServiceUnavailable
	h := w.Header()
	h["Retry-After"] = []string{RetryAfter(s.config.RetryAfter)}
	h["Connection"] = []string{"close"}
	s.rejections.Log(r, idText, Rejection{Status: status, Text: noHeaderMemory})
	s.config.Metrics.Refused(metrics.ReasonHeaderMemory, status)
	WriteError(w, status, noHeaderMemory, idText)
	return status
}

const noHeaderMemory = "too many headers in flight"

// serverErrors logs the messages of net/http at a bounded rate. Strangers can cause some of them,
// such as those of failed handshakes, as often as they like.
type serverErrors struct {
	limiter *rate.Limiter
	log     *slog.Logger
	missing atomic.Int64
}

func newServerErrors(l *slog.Logger) *log.Logger {
	return log.New(&serverErrors{limiter: rate.NewLimiter(1, 10), log: l}, "", 0)
}

// Write logs one message, or counts it if there were too many.
func (e *serverErrors) Write(text []byte) (int, error) {
	if !e.limiter.Allow() {
		e.missing.Add(1)
		return len(text), nil
	}
	var args []any
	if n := e.missing.Swap(0); n > 0 {
		args = append(args, "suppressed", n)
	}
	e.log.Warn(strings.TrimSpace(string(text)), args...)
	return len(text), nil
}

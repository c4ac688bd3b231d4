package canary

import (
	"context"
	"errors"
	"io"
	stdlog "log"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Upstream is the previous service, whose webhooks move to the gate.
type Upstream struct {
	// URL is its base URL, without a query. The path of a request is appended to the path of the URL.
	URL *url.URL
	// Timeout bounds the time to connect and to receive the header of the response, and then the time
	// between two parts of the response. Time spent waiting for the sender's body does not count.
	Timeout time.Duration
	// MaxConnections limits the requests that are forwarded at a time. Forward rejects more.
	MaxConnections int
	// Logger gets a line for each response that breaks off.
	Logger *slog.Logger
}

// GateCookie is the prefix of the names of the cookies of the gate's own dashboard. Browsers send
// cookies to every port of a host, so a forwarded request may have them. The upstream must neither
// get nor set them.
const GateCookie = "hookgate_"

// isGateCookie reports whether a cookie, written NAME or NAME=VALUE, is the gate's.
func isGateCookie(cookie string) bool {
	cookie = strings.TrimPrefix(strings.TrimSpace(cookie), "__Host-")
	return len(cookie) >= len(GateCookie) && strings.EqualFold(cookie[:len(GateCookie)], GateCookie)
}

// withoutGateCookies removes the gate's cookies from the values of a Cookie header. It does not
// change values without any.
func withoutGateCookies(values []string) (kept []string) {
	for _, value := range values {
		pairs := strings.Split(value, ";")
		if slices.ContainsFunc(pairs, isGateCookie) {
			value = strings.TrimSpace(strings.Join(slices.DeleteFunc(pairs, isGateCookie), ";"))
		}
		if value != "" {
			kept = append(kept, value)
		}
	}
	return kept
}

// idleTimeout is how long an idle connection to the upstream stays open. Some servers close theirs
// after 5 s. The proxy closes first, because it does not repeat a request that fails when the
// server closes the connection.
const idleTimeout = 4 * time.Second

// Failure says why a request got no response from the upstream, or only a part of it.
type Failure string

// The failures.
const (
	Unreachable Failure = "unreachable" // no connection
	TimedOut    Failure = "timeout"     // no response in time
	Broken      Failure = "broken"      // the connection broke off, or the response was not HTTP
	Busy        Failure = "busy"        // Upstream.MaxConnections is reached
	// The sender closed the connection or did not send its body. The upstream is not at fault.
	Sender Failure = "sender"
)

// Failures are all failures.
var Failures = []Failure{Unreachable, TimedOut, Broken, Busy, Sender}

// Outcome is the result of a forwarded request.
type Outcome struct {
	// Status is the status of the upstream's response. If there is no response, Status is what the
	// caller must answer: 502 or 503, or 400 or 408 if the sender is at fault.
	Status int
	// Failure is empty if the sender has the whole response. Err is the cause of the failure.
	Failure Failure
	Err     error
	// Partial says that the sender has a part of the response. The caller must close the connection.
	Partial bool
}

// Proxy forwards requests to the upstream. It sends each request once at most.
type Proxy struct {
	upstream  Upstream
	transport *http.Transport
	busy      atomic.Int64
	buffers   buffers
	errors    *stdlog.Logger
}

func newProxy(u Upstream) *Proxy {
	return &Proxy{
		upstream: u,
		errors:   slog.NewLogLogger(u.Logger.Handler(), slog.LevelWarn),
		transport: &http.Transport{
			DialContext:         (&net.Dialer{Timeout: u.Timeout}).DialContext,
			TLSHandshakeTimeout: u.Timeout,
			// An upstream may reject a body before the body is sent; see RFC 9110, section 10.1.1.
			ExpectContinueTimeout: time.Second,
			IdleConnTimeout:       idleTimeout,
			MaxIdleConns:          u.MaxConnections,
			MaxIdleConnsPerHost:   u.MaxConnections,
			DisableCompression:    true, // the sender gets the bytes that the upstream sent
		},
	}
}

// Close closes the idle connections.
func (p *Proxy) Close() { p.transport.CloseIdleConnections() }

// Forward sends a request to the upstream and the response to w. It streams both, and leaves
// method, path, query, header and body as they are, with these exceptions: it changes the headers
// that belong to the connection, adds the peer to X-Forwarded-For, sets X-Forwarded-Proto if it is
// missing, and removes the gate's own cookies in both directions. Headers that w has already stay,
// unless the response has them too. After a failure without a response Forward has written nothing.
func (p *Proxy) Forward(w http.ResponseWriter, r *http.Request) (o Outcome) {
	if p.busy.Add(1) > int64(p.upstream.MaxConnections) {
		p.busy.Add(-1)
		return Outcome{Status: http.StatusServiceUnavailable, Failure: Busy,
			Err: errors.New("too many requests are being forwarded (canary.max_connections)")}
	}
	defer p.busy.Add(-1)
	ctx, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)
	timer := newStallTimer(p.upstream.Timeout, func() { cancel(errTimeout) })
	defer timer.stop()
	out := r.WithContext(ctx)
	body := &sent{ReadCloser: r.Body, timer: timer}
	if r.Body != nil && r.Body != http.NoBody {
		out.Body = body
	}
	var answer *received
	own := maps.Clone(w.Header())
	// ReverseProxy clears the header when it forwards a 1xx response. restore sets it again.
	restore := func() {
		for name, values := range own {
			if w.Header()[name] == nil {
				w.Header()[name] = values
			}
		}
	}
	fail := func(err error) {
		switch sender := body.err(); {
		case context.Cause(ctx) == errTimeout: // first, because the end of ctx makes other reads fail
			o = Outcome{Status: http.StatusServiceUnavailable, Failure: TimedOut, Err: errTimeout}
		case sender != nil || r.Context().Err() != nil:
			o = Outcome{Status: http.StatusBadRequest, Failure: Sender, Err: err}
			if errors.Is(sender, os.ErrDeadlineExceeded) {
				o.Status = http.StatusRequestTimeout
			}
		case isDial(err):
			o = Outcome{Status: http.StatusBadGateway, Failure: Unreachable, Err: err}
		default:
			o = Outcome{Status: http.StatusBadGateway, Failure: Broken, Err: err}
		}
	}
	proxy := httputil.ReverseProxy{
		Transport:     p.transport,
		FlushInterval: -1, // stream
		BufferPool:    &p.buffers,
		ErrorLog:      p.errors,
		Rewrite:       p.rewrite,
		ModifyResponse: func(resp *http.Response) error {
			timer.stop()
			o.Status = resp.StatusCode
			if set := resp.Header["Set-Cookie"]; slices.ContainsFunc(set, isGateCookie) {
				resp.Header["Set-Cookie"] = slices.DeleteFunc(set, isGateCookie)
			}
			restore()
			for name := range resp.Header {
				delete(w.Header(), name)
			}
			answer = &received{ReadCloser: resp.Body, timer: newStallTimer(p.upstream.Timeout,
				func() { cancel(errTimeout) })}
			resp.Body = answer
			return nil
		},
		ErrorHandler: func(_ http.ResponseWriter, _ *http.Request, err error) {
			restore()
			fail(err)
		},
	}
	defer func() {
		if answer != nil {
			answer.timer.stop()
		}
		cause := recover()
		if cause == nil {
			return
		}
		if cause != http.ErrAbortHandler {
			panic(cause)
		}
		status := o.Status
		if answer == nil || answer.failed == nil {
			o = Outcome{Failure: Sender, Err: errors.New("the sender did not read the response")}
		} else {
			fail(answer.failed)
		}
		o.Status, o.Partial = status, true
	}()
	proxy.ServeHTTP(w, out)
	return o
}

// rewrite turns the sender's request into the request for the upstream. ReverseProxy has removed
// the forwarding headers; rewrite restores them, because here the upstream decides whether to trust
// them.
func (p *Proxy) rewrite(r *httputil.ProxyRequest) {
	r.SetURL(p.upstream.URL)
	r.Out.Host = r.In.Host
	r.Out.URL.RawQuery = r.In.URL.RawQuery
	for _, name := range []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host",
		"X-Forwarded-Proto"} {
		if values, ok := r.In.Header[name]; ok {
			r.Out.Header[name] = values
		}
	}
	if peer, _, err := net.SplitHostPort(r.In.RemoteAddr); err == nil {
		r.Out.Header["X-Forwarded-For"] = []string{strings.Join(append(slices.Clone(
			r.In.Header["X-Forwarded-For"]), peer), ", ")}
	}
	if r.Out.Header["X-Forwarded-Proto"] == nil {
		proto := "http"
		if r.In.TLS != nil {
			proto = "https"
		}
		r.Out.Header["X-Forwarded-Proto"] = []string{proto}
	}
	if cookies := r.In.Header["Cookie"]; cookies != nil {
		if r.Out.Header["Cookie"] = withoutGateCookies(cookies); r.Out.Header["Cookie"] == nil {
			delete(r.Out.Header, "Cookie")
		}
	}
	r.Out.Header.Del("Connection") // a webhook does not switch protocols
	r.Out.Header.Del("Upgrade")
}

func isDial(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

var errTimeout = errors.New("the upstream did not respond in time (canary.timeout)")

// stallTimer calls a function when nothing has happened for a time. stop ends it for good.
type stallTimer struct {
	after time.Duration
	mu    sync.Mutex // guards the fields below
	timer *time.Timer
	ended bool
}

func newStallTimer(after time.Duration, stalled func()) *stallTimer {
	return &stallTimer{after: after, timer: time.AfterFunc(after, stalled)}
}

// pause stops the clock while the proxy waits for the sender. resume restarts it from zero.
func (t *stallTimer) pause() { t.timer.Stop() }

func (t *stallTimer) resume() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.ended {
		t.timer.Reset(t.after)
	}
}

func (t *stallTimer) stop() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ended = true
	t.timer.Stop()
}

// sent is the sender's body while it is forwarded.
type sent struct {
	io.ReadCloser
	timer  *stallTimer
	closed atomic.Bool
	failed atomic.Pointer[error]
}

func (b *sent) Read(to []byte) (int, error) {
	b.timer.pause()
	n, err := b.ReadCloser.Read(to)
	b.timer.resume()
	if err != nil && err != io.EOF && !b.closed.Load() {
		b.failed.CompareAndSwap(nil, &err)
	}
	return n, err
}

// Close ends the body when the upstream wants no more of it. If a read fails after that, the sender
// is not at fault.
func (b *sent) Close() error {
	b.closed.Store(true)
	return b.ReadCloser.Close()
}

// err returns why the sender's body did not arrive, or nil.
func (b *sent) err() error {
	if err := b.failed.Load(); err != nil {
		return *err
	}
	return nil
}

// received is the body of the upstream's response while it is forwarded. The time that a slow
// sender takes to read it does not count; net/http limits that.
type received struct {
	io.ReadCloser
	timer  *stallTimer
	failed error
}

func (b *received) Read(to []byte) (int, error) {
	b.timer.resume()
	n, err := b.ReadCloser.Read(to)
	b.timer.pause()
	if err != nil && err != io.EOF {
		b.failed = err
	}
	return n, err
}

// buffers are for copying responses.
type buffers struct{ pool sync.Pool }

// Get implements httputil.BufferPool.
func (b *buffers) Get() []byte {
	if buffer, ok := b.pool.Get().(*[]byte); ok {
		return *buffer
	}
	return make([]byte, 32<<10)
}

// Put implements httputil.BufferPool.
func (b *buffers) Put(buffer []byte) { b.pool.Put(&buffer) }

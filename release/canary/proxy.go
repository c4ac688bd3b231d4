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

// Upstream is the service whose place the gate is to take.
type Upstream struct {
	// URL is its base, without a query: the path of a request goes behind that of the URL.
	URL *url.URL
	// Timeout is how long it may take until the header of its answer, connecting included, and then
	// for each part of the answer; what the sender's body takes does not count.
	Timeout time.Duration
	// MaxConnections bounds the requests that are passed on at a time. One more is refused.
	MaxConnections int
	// Logger is told of answers that break off.
	Logger *slog.Logger
}

// GateCookie begins the names of the cookies of the gate's own dashboard. Browsers send cookies to
// every port of a host, so they may come with what is passed on. The upstream must neither get nor
// set them.
const GateCookie = "hookgate_"

// isGateCookie reports whether a cookie, NAME or NAME=VALUE, is the gate's.
func isGateCookie(cookie string) bool {
	cookie = strings.TrimPrefix(strings.TrimSpace(cookie), "__Host-")
	return len(cookie) >= len(GateCookie) && strings.EqualFold(cookie[:len(GateCookie)], GateCookie)
}

// withoutGateCookies takes the gate's cookies out of the values of a header Cookie. Values without
// any stay as they are.
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

// idleTimeout is how long a connection to the upstream is kept for the next request: a little less
// than the 5 s after which some servers close theirs, since a request that meets its end is not
// sent again.
const idleTimeout = 4 * time.Second

// Failure says why a request got no answer of the upstream, or not all of it.
type Failure string

// The failures.
const (
	Unreachable Failure = "unreachable" // no connection
	TimedOut    Failure = "timeout"     // no answer in time
	Broken      Failure = "broken"      // the connection broke off, or what came was no HTTP
	Busy        Failure = "busy"        // as many are passed on as may be
	// the sender hung up, or did not send its body: no fault of the upstream
	Sender Failure = "sender"
)

// Failures are all that there are.
var Failures = []Failure{Unreachable, TimedOut, Broken, Busy, Sender}

// Outcome is what became of a request that was passed on.
type Outcome struct {
	// Status is that of the upstream's answer; after a Failure without one, what the caller must
	// answer: 502 or 503, or 400 or 408 if it was the sender.
	Status int
	// Failure is empty if the sender has the whole answer. Err is its cause.
	Failure Failure
	Err     error
	// Begun says that the upstream's answer had begun when it failed. The caller must break the
	// connection off.
	Begun bool
}

// Proxy passes requests on to the upstream. Nothing is sent twice.
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
			// An upstream that refuses a body before it has seen it must have the time to; see RFC 9110,
			// 10.1.1.
			ExpectContinueTimeout: time.Second,
			IdleConnTimeout:       idleTimeout,
			MaxIdleConns:          u.MaxConnections,
			MaxIdleConnsPerHost:   u.MaxConnections,
			DisableCompression:    true, // what the upstream packs the sender unpacks
		},
	}
}

// Close ends the connections that are not in use.
func (p *Proxy) Close() { p.transport.CloseIdleConnections() }

// Pass sends a request to the upstream and its answer to w: method, path, query, header and body as
// they came, the body as it comes in, and the answer as it comes back. Of the header it changes
// what belongs to the connection, adds the peer to X-Forwarded-For, and X-Forwarded-Proto if there
// is none, and keeps the gate's own cookies back, both ways. What w has in its header stays, unless
// the answer has it too. After a failure without an answer nothing has been written.
func (p *Proxy) Pass(w http.ResponseWriter, r *http.Request) (o Outcome) {
	if p.busy.Add(1) > int64(p.upstream.MaxConnections) {
		p.busy.Add(-1)
		return Outcome{Status: http.StatusServiceUnavailable, Failure: Busy,
			Err: errors.New("as many requests are passed on as may be")}
	}
	defer p.busy.Add(-1)
	ctx, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)
	timer := newPatience(p.upstream.Timeout, func() { cancel(errTimeout) })
	defer timer.end()
	passed := r.WithContext(ctx)
	body := &sent{ReadCloser: r.Body, timer: timer}
	if r.Body != nil && r.Body != http.NoBody {
		passed.Body = body
	}
	var answer *received
	own := maps.Clone(w.Header())
	// restore brings back what ReverseProxy clears when it passes an answer of 1xx on.
	restore := func() {
		for name, values := range own {
			if w.Header()[name] == nil {
				w.Header()[name] = values
			}
		}
	}
	fail := func(err error) {
		switch sender := body.err(); {
		case sender != nil || r.Context().Err() != nil:
			o = Outcome{Status: http.StatusBadRequest, Failure: Sender, Err: err}
			if errors.Is(sender, os.ErrDeadlineExceeded) {
				o.Status = http.StatusRequestTimeout
			}
		case context.Cause(ctx) == errTimeout:
			o = Outcome{Status: http.StatusServiceUnavailable, Failure: TimedOut, Err: errTimeout}
		case isDial(err):
			o = Outcome{Status: http.StatusBadGateway, Failure: Unreachable, Err: err}
		default:
			o = Outcome{Status: http.StatusBadGateway, Failure: Broken, Err: err}
		}
	}
	proxy := httputil.ReverseProxy{
		Transport:     p.transport,
		FlushInterval: -1, // as it comes
		BufferPool:    &p.buffers,
		ErrorLog:      p.errors,
		Rewrite:       p.rewrite,
		ModifyResponse: func(resp *http.Response) error {
			timer.end()
			o.Status = resp.StatusCode
			if set := resp.Header["Set-Cookie"]; slices.ContainsFunc(set, isGateCookie) {
				resp.Header["Set-Cookie"] = slices.DeleteFunc(set, isGateCookie)
			}
			restore()
			for name := range resp.Header {
				delete(w.Header(), name)
			}
			answer = &received{ReadCloser: resp.Body, timer: newPatience(p.upstream.Timeout,
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
			answer.timer.end()
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
			o = Outcome{Failure: Sender, Err: errors.New("the sender did not take the answer")}
		} else {
			fail(answer.failed)
		}
		o.Status, o.Begun = status, true
	}()
	proxy.ServeHTTP(w, passed)
	return o
}

// rewrite makes the upstream's request of the sender's. ReverseProxy has taken away what it thinks
// unsafe; it is put back, because the upstream decides about that here, and not the gate.
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
	r.Out.Header.Del("Connection") // a webhook is no other protocol
	r.Out.Header.Del("Upgrade")
}

func isDial(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

var errTimeout = errors.New("the upstream did not answer in time")

// patience ends when nothing has happened for so long, unless it was ended before.
type patience struct {
	most  time.Duration
	mu    sync.Mutex // guards the timer's state and ended
	timer *time.Timer
	ended bool
}

func newPatience(most time.Duration, over func()) *patience {
	return &patience{most: most, timer: time.AfterFunc(most, over)}
}

// pause stops the time while somebody else is waited for, and resume lets it begin anew.
func (p *patience) pause() { p.timer.Stop() }

func (p *patience) resume() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.ended {
		p.timer.Reset(p.most)
	}
}

func (p *patience) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
	p.timer.Stop()
}

// sent is the sender's body on its way.
type sent struct {
	io.ReadCloser
	timer  *patience
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

// Close ends the body when the upstream wants no more of it; reads that fail from then on are no
// fault of the sender.
func (b *sent) Close() error {
	b.closed.Store(true)
	return b.ReadCloser.Close()
}

// err is why the sender's body did not arrive; nil if it did.
func (b *sent) err() error {
	if err := b.failed.Load(); err != nil {
		return *err
	}
	return nil
}

// received is the body of the upstream's answer on its way. A sender that is slow to take it has
// net/http's time for that.
type received struct {
	io.ReadCloser
	timer  *patience
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

// buffers are what answers are copied through.
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

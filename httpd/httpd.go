// Package httpd is the HTTP edge: it takes deliveries, and shows and steers the gate. It is where errors
// become statuses.
//
//	POST /webhooks…   ingest.go  no more I/O than the body and one Append
//	/api/…            read.go    what is stored
//	/admin/…          admin.go   operations
//	/livez … /metrics health.go
package httpd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/netutil"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/metrics"
)

// DefaultSource is the name of the source that POST /webhooks belongs to.
const DefaultSource = "default"

// Config of the server. Each field must be set that does not say otherwise.
type Config struct {
	// MaxBodyBytes is the largest body of a webhook.
	MaxBodyBytes int64
	// MaxBodyMemory bounds, in bytes, what all bodies beyond 64 KiB take that are being received at a
	// time. A request that would exceed it gets 503.
	MaxBodyMemory int64
	// MaxUnpackedBytes is the largest body of a webhook without its Content-Encoding.
	MaxUnpackedBytes int64
	// MaxHeaderBytes is the largest header of a request.
	MaxHeaderBytes int
	// MaxConnections is the number of connections served at a time; more wait to be accepted.
	MaxConnections int
	// Time-outs of net/http's Server. WriteTimeout counts anew for each page of a stream.
	ReadHeaderTimeout, ReadTimeout, WriteTimeout, IdleTimeout time.Duration
	// RetryAfter is what a 503 tells the sender to wait, rounded up to seconds.
	RetryAfter time.Duration
	// TrustedProxies are those whose X-Forwarded-For is believed, for Source.AllowIPs; may be nil.
	TrustedProxies []netip.Prefix
	// TLS is nil if the listener takes connections in the clear.
	TLS *tls.Config
	// AdminTokens open /api and /admin; all are valid at once.
	AdminTokens []string
	// Version is shown by the health.
	Version string
	Logger  *slog.Logger
}

// ModeKeeper knows the mode of the gate and keeps it across restarts.
type ModeKeeper interface {
	Mode() hookgate.Mode
	// SetMode returns when the new mode is in effect and kept. An error means that it is not.
	SetMode(context.Context, hookgate.Mode) error
}

// Server is the HTTP edge of one gate.
type Server struct {
	config     Config
	sources    map[string]*servedSource // by path
	queue      hookgate.Queue
	reader     hookgate.Reader
	mode       ModeKeeper
	metrics    *metrics.Metrics
	tokens     tokens
	retryAfter []string
	log        *slog.Logger
	refusals   *refusals
	http       *http.Server
	started    time.Time

	exchanges   sync.Pool    // of *exchange
	unpackers   sync.Pool    // of *gzip.Reader
	largeBodies atomic.Int64 // bytes, see Config.MaxBodyMemory
}

// secretHeaders must not be kept with an event.
var secretHeaders = []string{"Authorization", "Proxy-Authorization", "Cookie"}

// New returns a server for the sources. An error means that a source cannot be served as it is configured.
func New(c Config, sources []Source, q hookgate.Queue, r hookgate.Reader, mode ModeKeeper, m *metrics.Metrics) (*Server, error) {
	s := &Server{
		config: c, queue: q, reader: r, mode: mode, metrics: m,
		sources:    map[string]*servedSource{},
		tokens:     newTokens(c.AdminTokens),
		retryAfter: []string{fmt.Sprint(int64((c.RetryAfter + time.Second - 1) / time.Second))},
		log:        c.Logger,
		refusals:   newRefusals(c.Logger),
		started:    time.Now(),
		exchanges:  sync.Pool{New: func() any { return new(exchange) }},
	}
	for _, source := range sources {
		served, err := newServedSource(source, c.MaxBodyBytes)
		if err != nil {
			return nil, err
		}
		s.sources[webhookPrefix+source.Name] = served
		if source.Name == DefaultSource {
			s.sources[webhookPath] = served
		}
	}
	s.http = &http.Server{
		Handler:           s,
		ReadHeaderTimeout: c.ReadHeaderTimeout,
		ReadTimeout:       c.ReadTimeout,
		WriteTimeout:      c.WriteTimeout,
		IdleTimeout:       c.IdleTimeout,
		MaxHeaderBytes:    c.MaxHeaderBytes,
		TLSConfig:         c.TLS,
		// Else net/http would answer "OPTIONS *" by itself, without a request id.
		DisableGeneralOptionsHandler: true,
		ErrorLog:                     slog.NewLogLogger(c.Logger.Handler(), slog.LevelWarn),
	}
	return s, nil
}

// Serve serves the listener until Shutdown, and then returns http.ErrServerClosed.
func (s *Server) Serve(l net.Listener) error {
	l = netutil.LimitListener(l, s.config.MaxConnections)
	if s.config.TLS != nil {
		return s.http.ServeTLS(l, "", "") // with HTTP/2; the configuration has the certificate
	}
	return s.http.Serve(l)
}

// Shutdown takes no more connections and returns when the requests in flight are answered, or with the
// error of ctx after cutting them off.
func (s *Server) Shutdown(ctx context.Context) error {
	err := s.http.Shutdown(ctx)
	if err != nil {
		s.http.Close()
	}
	return err
}

// ServeHTTP answers one request of any kind.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	received := time.Now()
	id := hookgate.NewRequestID(received)
	idText := id.String()
	w.Header()["X-Request-Id"] = []string{idText}
	status := http.StatusInternalServerError
	defer func() {
		if cause := recover(); cause != nil {
			s.metrics.Request(r.Method, status, time.Since(received))
			if err, ok := cause.(error); !ok || !errors.Is(err, http.ErrAbortHandler) {
				s.log.Error("request made the gate panic", "request_id", idText, "path", r.URL.Path, "panic", fmt.Sprint(cause), "stack", stack())
			}
			panic(http.ErrAbortHandler) // part of an answer may be out; the connection ends
		}
		s.metrics.Request(r.Method, status, time.Since(received))
	}()
	if path := r.URL.Path; path == webhookPath || strings.HasPrefix(path, webhookPrefix) {
		status = s.ingest(w, r, id, idText, received)
		return
	}
	status = s.serveOther(w, r, idText)
}

// serveOther answers everything but webhooks.
func (s *Server) serveOther(w http.ResponseWriter, r *http.Request, requestID string) (status int) {
	c := &call{ResponseWriter: w, server: s, request: r, requestID: requestID, status: http.StatusOK}
	path := r.URL.EscapedPath()
	switch {
	case path == "/livez":
		c.only(s.livez, http.MethodGet)
	case path == "/readyz":
		c.only(s.readyz, http.MethodGet)
	case path == "/api/health":
		c.only(s.health, http.MethodGet)
	case path == "/metrics":
		c.only(func(c *call) { s.metrics.Handler().ServeHTTP(c, r) }, http.MethodGet)
	case path == "/admin/maintenance":
		c.only(c.authorised(s.maintenance), http.MethodGet, http.MethodPost)
	case path == "/api/sources":
		c.only(c.authorised(s.showSources), http.MethodGet)
	case path == "/api/events":
		c.only(c.authorised(s.events), http.MethodGet)
	case strings.HasPrefix(path, "/api/events/"):
		c.only(c.authorised(s.event), http.MethodGet)
	case strings.HasPrefix(path, "/api/trace/"):
		c.only(c.authorised(s.trace), http.MethodGet)
	default:
		c.fail(http.StatusNotFound, "there is nothing at this path")
	}
	return c.status
}

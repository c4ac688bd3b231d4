// Package httpserver is what every HTTP request of a gate passes first: listeners, bounds on
// connections and headers, request ids, metrics, and panics. It also has what both handlers share:
// error answers, the client's address, and a bounded log of rejected requests.
//
//	listener ─► connections, header memory ─► request id ─┬─ /webhooks… ─► Handlers.Webhooks (ingest)
//	                                                      └─ other      ─► Handlers.API (adminapi)
package httpserver

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/internal/metrics"
)

// WebhookPath is the path of the default source. The path of any other source is below it.
const WebhookPath = "/webhooks"

// Config of a server. Set each field whose comment does not say otherwise.
type Config struct {
	// MaxHeaderBytes is the largest header of a request.
	MaxHeaderBytes int
	// MaxHeaderMemory bounds the memory that the headers of all requests take, in bytes.
	MaxHeaderMemory int64
	// MaxConnections is the number of connections served at a time; more wait to be accepted.
	MaxConnections int
	// MaxConnectionsPerAddress bounds the connections of one address; the server closes more. There
	// is no such bound for TrustedProxies and for this machine.
	MaxConnectionsPerAddress int
	// Time-outs of net/http's Server.
	ReadHeaderTimeout, ReadTimeout, WriteTimeout, IdleTimeout time.Duration
	// RetryAfter is how long a 503 asks the sender to wait, rounded up to seconds.
	RetryAfter time.Duration
	// TrustedProxies have no bound on the connections of their address; may be nil.
	TrustedProxies []netip.Prefix
	// TLS is nil if the listeners take connections in the clear.
	TLS     *tls.Config
	Metrics *metrics.Metrics
	Logger  *slog.Logger
	// Around, if set, wraps the handler of each side.
	Around func(http.Handler) http.Handler
	// OnShutdown, if set, is called once, when Shutdown begins. It must end the requests that would
	// go on for ever.
	OnShutdown func()
}

// Request is what the server knows about a request before a handler gets it.
type Request struct {
	ID       hookgate.RequestID
	IDText   string
	Received time.Time
	Side     Side
}

// Handler answers requests. Like an http.Handler, but it gets a Request too and returns the status
// of its answer.
type Handler interface {
	ServeRequest(http.ResponseWriter, *http.Request, Request) (status int)
}

// WebhookHandler answers requests to WebhookPath and below.
type WebhookHandler interface {
	Handler
	// RequestID returns a new id for a request to path that was received at the time given.
	RequestID(path string, received time.Time) hookgate.RequestID
}

// Handlers answer the requests of a server.
type Handlers struct {
	Webhooks WebhookHandler
	API      Handler // everything else
}

// Server serves one gate over HTTP.
type Server struct {
	config      Config
	handlers    Handlers
	rejections  *RejectionLog
	connections *connections
	http        [Sides]*http.Server
	endOnce     sync.Once
}

// New returns a server.
func New(c Config, h Handlers) *Server {
	s := &Server{config: c, handlers: h, connections: newConnections(c),
		rejections: NewRejectionLog(c.Logger, "request refused", 10, 50)}
	for side := range s.http {
		var handler http.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			s.serve(w, r, Side(side))
		})
		if c.Around != nil {
			handler = c.Around(handler)
		}
		s.http[side] = &http.Server{
			Handler:           handler,
			ReadHeaderTimeout: c.ReadHeaderTimeout,
			ReadTimeout:       c.ReadTimeout,
			WriteTimeout:      c.WriteTimeout,
			IdleTimeout:       c.IdleTimeout,
			MaxHeaderBytes:    c.MaxHeaderBytes,
			HTTP2:             &http2Config,
			ConnContext:       keepConn,
			// Else net/http would answer "OPTIONS *" by itself, without a request id.
			DisableGeneralOptionsHandler: true,
			ErrorLog:                     newServerErrors(c.Logger),
		}
		if c.TLS != nil {
			s.http[side].TLSConfig = s.connections.bound(c.TLS)
		}
	}
	return s
}

// Side is the part of the HTTP interface that a listener serves.
type Side int

// The sides.
const (
	// Everything is for a gate with one listener.
	Everything Side = iota
	// PublicSide is what senders need: webhooks, /livez and /readyz.
	PublicSide
	// AdminSide is everything else.
	AdminSide

	// Sides is how many sides there are.
	Sides int = iota
)

// Serve serves a side on the listener until Shutdown, and then returns http.ErrServerClosed.
// Config.MaxConnections counts for each listener.
func (s *Server) Serve(l net.Listener, side Side) error {
	l = s.connections.limit(l, s.config.MaxConnections)
	if s.config.TLS != nil {
		return s.http[side].ServeTLS(l, "", "") // with HTTP/2; the configuration has the certificate
	}
	return s.http[side].Serve(l)
}

// Shutdown accepts no more connections and returns when the requests in flight are answered. If ctx
// ends first it cuts them off and returns the error of ctx.
func (s *Server) Shutdown(ctx context.Context) error {
	s.endOnce.Do(func() {
		if s.config.OnShutdown != nil {
			s.config.OnShutdown()
		}
	})
	var ended [Sides]error
	var all sync.WaitGroup
	for side, h := range s.http {
		all.Go(func() {
			if ended[side] = h.Shutdown(ctx); ended[side] != nil {
				h.Close()
			}
		})
	}
	all.Wait()
	return errors.Join(ended[:]...)
}

// Handler returns the handler of a side, for a server that the caller runs.
func (s *Server) Handler(side Side) http.Handler { return s.http[side].Handler }

// ServeHTTP answers one request of any kind.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.serve(w, r, Everything) }

// serve answers one request to a side.
func (s *Server) serve(w http.ResponseWriter, r *http.Request, side Side) {
	q := Request{Received: time.Now(), Side: side}
	webhook := isWebhook(r, side)
	if webhook {
		q.ID = s.handlers.Webhooks.RequestID(r.URL.Path, q.Received)
	} else {
		q.ID = hookgate.NewRequestID(q.Received)
	}
	q.IDText = q.ID.String()
	w.Header()["X-Request-Id"] = []string{q.IDText}
	status := http.StatusInternalServerError
	defer func() {
		cause := recover()
		s.config.Metrics.Request(r.Method, status, time.Since(q.Received))
		if cause == nil {
			return
		}
		// A handler ends a connection with http.ErrAbortHandler; anything else is a bug.
		if err, ok := cause.(error); !ok || !errors.Is(err, http.ErrAbortHandler) {
			s.config.Logger.Error("request made the gate panic", "request_id", q.IDText,
				"path", Printable(r.URL.Path, MaxLogged), "panic", fmt.Sprint(cause),
				"stack", string(debug.Stack()))
		}
		panic(http.ErrAbortHandler) // part of an answer may be out; the connection ends
	}()
	conn, cost, ok := s.connections.begin(r)
	if !ok {
		status = s.refuseHeader(w, r, q.IDText)
		return
	}
	defer s.connections.end(conn, cost)
	if webhook {
		status = s.handlers.Webhooks.ServeRequest(w, r, q)
	} else {
		status = s.handlers.API.ServeRequest(w, r, q)
	}
}

func isWebhook(r *http.Request, side Side) bool {
	path := r.URL.Path
	return side != AdminSide && (path == WebhookPath || strings.HasPrefix(path, WebhookPath+"/"))
}

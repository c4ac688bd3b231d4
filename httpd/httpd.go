// Package httpd is the HTTP edge: it takes deliveries, and shows and steers the gate. It is where
// errors become statuses.
//
//	POST /webhooks…   ingest.go  no more I/O than the body and one Append; share.go, if others have a part of them
//	everything else   routes.go  one table: method, path, least role, what answers it
//	pages             pages.go   rows of that table that answer HTML; package dashboard makes it
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
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/control"
	"github.com/hookgate/hookgate/dashboard"
	"github.com/hookgate/hookgate/guard"
	"github.com/hookgate/hookgate/internal/attention"
	"github.com/hookgate/hookgate/internal/metrics"
	"github.com/hookgate/hookgate/release"
	"github.com/hookgate/hookgate/release/canary"
)

// DefaultSource is the name of the source that POST /webhooks belongs to.
const DefaultSource = "default"

// Config of the server. Each field must be set that does not say otherwise.
type Config struct {
	// MaxBodyBytes is the largest body of a webhook.
	MaxBodyBytes int64
	// MaxUnpackedBytes is the largest body of a webhook without its Content-Encoding.
	MaxUnpackedBytes int64
	// MaxHeaderBytes is the largest header of a request.
	MaxHeaderBytes int
	// MaxHeaderMemory bounds the memory that the headers of all requests take, in bytes.
	MaxHeaderMemory int64
	// MaxConnections is the number of connections served at a time; more wait to be accepted.
	MaxConnections int
	// MaxConnectionsPerAddress bounds those of one address; more are closed. TrustedProxies and this
	// machine have no such bound.
	MaxConnectionsPerAddress int
	// Time-outs of net/http's Server. WriteTimeout counts anew for each page of a stream.
	ReadHeaderTimeout, ReadTimeout, WriteTimeout, IdleTimeout time.Duration
	// RetryAfter is what a 503 tells the sender to wait, rounded up to seconds.
	RetryAfter time.Duration
	// TrustedProxies are those whose X-Forwarded-For is believed, for Source.AllowIPs and failed
	// logins, and whose connections are not bounded by their address; may be nil.
	TrustedProxies []netip.Prefix
	// TLS is nil if the listeners take connections in the clear.
	TLS *tls.Config
	// AuditTimeout bounds a verification of the audit chain that was asked for here.
	AuditTimeout time.Duration
	// MaxEvidenceAge is how old the evidence may be on which the canary leaves 0 percent.
	MaxEvidenceAge time.Duration
	// SearchTime is how long one page of a search looks for events when few match; then it says how
	// far it came.
	SearchTime time.Duration
	// AdminTokens have the role admin and work while the store is away; all are valid at once.
	AdminTokens []string
	// EvidenceTokens open /api/intake and nothing else; there need not be any.
	EvidenceTokens []string
	// MaxEvidence bounds a bundle of evidence in bytes, and EvidenceTimeout the time that it takes to
	// arrive.
	MaxEvidence     int64
	EvidenceTimeout time.Duration
	// Approvals say what takes the approval of another person; by itself nothing does.
	Approvals ApprovalRules
	// SessionIdle is how long a session of the dashboard lasts without being used, SessionMax how long
	// it lasts at most.
	SessionIdle, SessionMax time.Duration
	// FailedLogins is how many unknown tokens an address may show in a minute; further ones get 429.
	FailedLogins int
	// QueueKind is the kind of queue, direct or redis, and Version that of the gate; the health shows
	// both.
	QueueKind string
	Version   string
	Logger    *slog.Logger
	// Around, if it is set, wraps the handler of each side.
	Around func(http.Handler) http.Handler
}

// ModeKeeper knows the mode of the gate and keeps it across restarts.
type ModeKeeper interface {
	Mode() control.Mode
	// SetMode returns when the new mode is in effect and kept. An error means that it is not.
	SetMode(context.Context, control.Mode) error
}

// Parts are the parts of a gate that the server shows and steers. Each must be set.
type Parts struct {
	Queue   hookgate.Queue
	Reader  hookgate.Reader
	Purger  hookgate.Purger
	Mode    ModeKeeper
	Access  Access
	Verify  Verifier
	Intake  Intake
	Metrics *metrics.Metrics
	Pages   *dashboard.Dashboard
	// Guard decides how many webhooks are taken and how much memory their bodies may have.
	Guard *guard.Guard
	// Release watches the release triggers.
	Release *release.Monitor
	// Canary shares the webhooks with the service before; nil if the gate takes all.
	Canary *canary.Canary
	// Attention is what the health shows beside the state; nil for nothing.
	Attention *attention.List
}

// Server is the HTTP edge of one gate.
type Server struct {
	config                 Config
	sources                map[string]*servedSource // by path, with and without a slash behind it
	byName                 []*servedSource          // each once, sorted
	queue                  hookgate.Queue
	reader                 hookgate.Reader
	purger                 hookgate.Purger
	mode                   ModeKeeper
	access                 Access
	verify                 Verifier
	intake                 Intake
	auditing, receiving    sync.Mutex // held by the one call of its kind at a time; see call.alone
	removing               sync.Mutex // likewise
	metrics                *metrics.Metrics
	guard                  *guard.Guard
	release                *release.Monitor
	canary                 *canary.Canary // nil: the gate takes all
	attention              *attention.List
	configured             configuredTokens
	evidenceTokens         configuredTokens
	logins                 *logins
	guesses                chan struct{} // has a place for each look-up that maxGuesses allows
	sessions               *sessions
	pages                  *dashboard.Dashboard
	retryAfter             []string
	log                    *slog.Logger
	refusals, refusedCalls *refusals
	failedPasses, unshared *refusals
	judged                 *rate.Limiter // see judgedPerSecond
	strays                 *refusals
	connections            *connections
	slowBodies             slowest // of strangers
	http                   [sides]*http.Server
	started                time.Time
	ending                 chan struct{} // closed when Shutdown begins
	endOnce                sync.Once

	exchanges sync.Pool // of *exchange
	unpackers sync.Pool // of *gzip.Reader
}

// secretHeaders must not be kept with an event, beside those of the source's scheme.
var secretHeaders = []string{"Authorization", "Proxy-Authorization", "Cookie"}

// New returns a server for the sources. An error means that a source cannot be served as it is
// configured.
func New(c Config, sources []Source, p Parts) (*Server, error) {
	s := &Server{
		config: c, queue: p.Queue, reader: p.Reader, purger: p.Purger, mode: p.Mode, access: p.Access,
		verify: p.Verify, intake: p.Intake, metrics: p.Metrics, guard: p.Guard, release: p.Release,
		canary:         p.Canary,
		attention:      p.Attention,
		sources:        map[string]*servedSource{},
		configured:     newConfiguredTokens(c.AdminTokens),
		evidenceTokens: newConfiguredTokens(c.EvidenceTokens),
		logins:         newLogins(c.FailedLogins),
		guesses:        make(chan struct{}, maxGuesses),
		sessions:       newSessions(c.AdminTokens, c.SessionIdle, c.SessionMax),
		pages:          p.Pages,
		retryAfter:     []string{fmt.Sprint(int64((c.RetryAfter + time.Second - 1) / time.Second))},
		log:            c.Logger,
		refusals:       newRefusals(c.Logger, "delivery refused"),
		refusedCalls:   newRefusals(c.Logger, "call refused"),
		failedPasses: newRefusals(c.Logger,
			"delivery was passed on, and the upstream did not answer it"),
		unshared:    newRefusals(c.Logger, "delivery was passed on that the gate would refuse"),
		connections: newConnections(c),
		judged:      rate.NewLimiter(judgedPerSecond, judgedPerSecond),
		strays:      newStrays(c.Logger),
		started:     time.Now(),
		ending:      make(chan struct{}),
		exchanges:   sync.Pool{New: func() any { return new(exchange) }},
	}
	for _, source := range sources {
		served, err := newServedSource(source, c.MaxBodyBytes)
		if err != nil {
			return nil, err
		}
		served.answered = p.Metrics.Source(source.Name)
		if source.Name != hookgate.TestSource { // nobody has configured it
			s.byName = append(s.byName, served)
		}
		paths := []string{webhookPrefix + source.Name}
		if source.Name == DefaultSource {
			paths = append(paths, webhookPath)
		}
		for _, path := range paths {
			s.sources[path], s.sources[path+"/"] = served, served
		}
	}
	slices.SortFunc(s.byName, func(a, b *servedSource) int { return strings.Compare(a.Name, b.Name) })
	for side := range s.http {
		var handler http.Handler = http.HandlerFunc(func(w http.ResponseWriter,
			r *http.Request) {
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
	return s, nil
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

	sides int = iota
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

// Shutdown takes no more connections and returns when the requests in flight are answered, or with
// the error of ctx after cutting them off.
func (s *Server) Shutdown(ctx context.Context) error {
	s.endOnce.Do(func() { close(s.ending) })
	var ended [sides]error
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

// ServeHTTP answers one request of any kind.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.serve(w, r, Everything) }

// serve answers one request to a side.
func (s *Server) serve(w http.ResponseWriter, r *http.Request, side Side) {
	received := time.Now()
	id := hookgate.NewRequestID(received)
	if source := s.sources[r.URL.Path]; source != nil && source.splitter != nil {
		id = id.WithoutPart() // its events have the others
	}
	idText := id.String()
	w.Header()["X-Request-Id"] = []string{idText}
	status := http.StatusInternalServerError
	defer func() {
		if cause := recover(); cause != nil {
			s.metrics.Request(r.Method, status, time.Since(received))
			// else the canary's upstream broke off
			if err, ok := cause.(error); !ok || !errors.Is(err, http.ErrAbortHandler) {
				s.log.Error("request made the gate panic", "request_id", idText, "path", head(r.URL.Path),
					"panic", fmt.Sprint(cause), "stack", stack())
			}
			panic(http.ErrAbortHandler) // part of an answer may be out; the connection ends
		}
		s.metrics.Request(r.Method, status, time.Since(received))
	}()
	conn, cost, ok := s.connections.begin(r)
	if !ok {
		status = s.refuseHeader(w, r, idText)
		return
	}
	defer s.connections.end(conn, cost)
	if isWebhook(r, side) {
		if s.canary != nil {
			status = s.share(w, r, id, idText, received)
			return
		}
		status = s.ingest(w, r, id, idText, received)
		return
	}
	status = s.serveOther(w, r, side, id, idText)
}

func isWebhook(r *http.Request, side Side) bool {
	path := r.URL.Path
	return side != AdminSide && (path == webhookPath || strings.HasPrefix(path, webhookPrefix))
}

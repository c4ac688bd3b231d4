// Package ingest is the webhook handler: it authenticates a request, finds out which events it
// carries, appends it to the queue and answers 202. During a canary it decides which requests the
// gate handles, and forwards the others to the upstream.
//
//	POST /webhooks… ─► percent? ─┬─► admit: source, header, body, signature, identity ─► queue ─► 202
//	               (upstream.go) │   (ingest.go)
//	                             └─► upstream
package ingest

import (
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/control"
	"github.com/hookgate/hookgate/guard"
	"github.com/hookgate/hookgate/internal/arrivals"
	"github.com/hookgate/hookgate/internal/httpserver"
	"github.com/hookgate/hookgate/internal/metrics"
	"github.com/hookgate/hookgate/refused"
	"github.com/hookgate/hookgate/release/canary"
)

// DefaultSource is the name of the source that POST /webhooks belongs to.
const DefaultSource = "default"

// Config of a handler. Set each field whose comment does not say otherwise.
type Config struct {
	// MaxBodyBytes is the largest body of a webhook.
	MaxBodyBytes int64
	// MaxUnpackedBytes is the largest body of a webhook without its Content-Encoding.
	MaxUnpackedBytes int64
	// RetryAfter is how long a 503 asks the sender to wait, rounded up to seconds.
	RetryAfter time.Duration
	// TrustedProxies are the proxies whose X-Forwarded-For names the client, for Source.AllowIPs; may
	// be nil.
	TrustedProxies []netip.Prefix
	Queue          hookgate.Queue
	// Mode returns the mode of the gate.
	Mode    func() control.Mode
	Metrics *metrics.Metrics
	// Guard bounds how many webhooks are in flight and how much memory their bodies take.
	Guard *guard.Guard
	// Canary shares the webhooks with the previous service; nil if the gate takes all.
	Canary *canary.Canary
	// Refused keeps refused requests; nil: they are only counted.
	Refused *refused.Recorder
	Logger  *slog.Logger
}

// Handler handles the webhooks of all sources. All methods may be called concurrently.
type Handler struct {
	config     Config
	sources    map[string]*servedSource // by path, with and without a slash behind it
	byName     []*servedSource          // each once, sorted
	metrics    *metrics.Metrics
	guard      *guard.Guard
	retryAfter []string
	unknown    *refused.Budget  // of requests to paths without a source; nil: they are not kept
	sampled    *rate.Limiter    // see sampledPerSecond
	slowBodies arrivals.Slowest // of senders that have not authenticated themselves

	rejections, strays, wouldReject, failedForwards *httpserver.RejectionLog

	exchanges sync.Pool // of *exchange
	unpackers sync.Pool // of *gzip.Reader
}

const (
	webhookPath   = httpserver.WebhookPath
	webhookPrefix = webhookPath + "/"

	// rejectionsPerSecond is how many rejected requests are logged a second, and rejectionBurst how
	// many at once.
	rejectionsPerSecond, rejectionBurst = 10, 50
	// sampledPerSecond is how many requests a second are authenticated although the gate is
	// overloaded.
	sampledPerSecond = 10
	// A line a second finds a sender with a wrong address. Scanners cause many more.
	straysPerSecond, strayBurst = 1, 20
)

// secretHeaders must not be stored with an event, in addition to the secret headers of the source's
// scheme.
var secretHeaders = []string{"Authorization", "Proxy-Authorization", "Cookie"}

// New returns a handler for the sources. An error means that a source is misconfigured.
func New(c Config, sources []Source) (*Handler, error) {
	rejections := func(message string) *httpserver.RejectionLog {
		return httpserver.NewRejectionLog(c.Logger, message, rejectionsPerSecond, rejectionBurst)
	}
	h := &Handler{
		config: c, metrics: c.Metrics, guard: c.Guard,
		sources:        map[string]*servedSource{},
		retryAfter:     []string{httpserver.RetryAfter(c.RetryAfter)},
		sampled:        rate.NewLimiter(sampledPerSecond, sampledPerSecond),
		rejections:     rejections("webhook rejected"),
		wouldReject:    rejections("webhook passed to the upstream that the gate would reject"),
		failedForwards: rejections("webhook passed to the upstream, which did not answer"),
		strays: httpserver.NewRejectionLog(c.Logger, "request to a path that no source has",
			straysPerSecond, strayBurst),
		exchanges: sync.Pool{New: func() any { return new(exchange) }},
	}
	if c.Refused != nil {
		h.unknown = c.Refused.Source()
	}
	for _, source := range sources {
		served, err := newServedSource(source, c.MaxBodyBytes)
		if err != nil {
			return nil, err
		}
		served.answered = c.Metrics.Source(source.Name)
		if c.Refused != nil {
			served.refused = c.Refused.Source()
		}
		if source.Name != hookgate.TestSource { // it is not configured
			h.byName = append(h.byName, served)
		}
		paths := []string{webhookPrefix + source.Name}
		if source.Name == DefaultSource {
			paths = append(paths, webhookPath)
		}
		for _, path := range paths {
			h.sources[path], h.sources[path+"/"] = served, served
		}
	}
	slices.SortFunc(h.byName, func(a, b *servedSource) int { return strings.Compare(a.Name, b.Name) })
	return h, nil
}

// Sources returns the number of paths of sources; 0 in a process that takes no webhooks.
func (h *Handler) Sources() int { return len(h.sources) }

// RequestID implements httpserver.WebhookHandler. The events of a request that carries several have
// ids of their own, derived from the request's.
func (h *Handler) RequestID(path string, received time.Time) hookgate.RequestID {
	id := hookgate.NewRequestID(received)
	if source := h.sources[path]; source != nil && source.splitter != nil {
		return id.WithoutPart()
	}
	return id
}

// ServeRequest implements httpserver.Handler.
func (h *Handler) ServeRequest(w http.ResponseWriter, r *http.Request,
	q httpserver.Request) (status int) {
	if h.config.Canary != nil {
		return h.withCanary(w, r, q)
	}
	return h.ingest(w, r, q)
}

// LogStray logs a request to a path that does not take it, with the source that its sender probably
// meant.
func (h *Handler) LogStray(r *http.Request, requestID string, status int, text string) {
	h.strays.Log(r, requestID, httpserver.Rejection{Status: status, Text: text},
		func() []any { return h.nearest(r.URL.Path) })
}
